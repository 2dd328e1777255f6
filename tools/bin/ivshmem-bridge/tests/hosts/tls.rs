// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Hosts that know each other by certificates, with the settings of the sample `zenoh.json5`.

use std::path::Path;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, KeyPair};
use test_limit::wait_until;

use super::host::count;
use super::link::{Hosts, ADDRESSES};

const SAMPLE: &str = include_str!("../../../../../dist/bridge/zenoh.json5");
/// Where the sample has certificates, and the names in them.
const DIRECTORY: &str = "/etc/ivshmem/tls";
const NAMES: [&str; 2] = ["host1.example.org", "host2.example.org"];
/// A key that its rules allow.
const KEY: &str = "plant/line1/temperature";
/// How long nothing arrives of who is not let in. Who is has it in a second.
const SILENCE: Duration = Duration::from_secs(3);

/// An authority.
struct Authority {
    certificate: Certificate,
    key: KeyPair,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self {
            certificate: params.self_signed(&key).unwrap(),
            key,
        }
    }

    /// Writes `NAME.pem` and `NAME.key` of a host into a directory, as the sample calls them, and the authority's own.
    fn certify(&self, directory: &Path, name: &str, common_name: &str, address: &str) {
        let names = [common_name, address].map(String::from);
        let mut params = CertificateParams::new(names).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        let key = KeyPair::generate().unwrap();
        let certificate = params
            .signed_by(&key, &self.certificate, &self.key)
            .unwrap();
        for (file, text) in [
            ("ca.pem".into(), self.certificate.pem()),
            (format!("{name}.pem"), certificate.pem()),
            (format!("{name}.key"), key.serialize_pem()),
        ] {
            std::fs::write(directory.join(file), text).unwrap();
        }
    }
}

/// What the sample says of links and of access, for the first or the second host, with certificates in this directory.
fn settings(directory: &Path, host: usize) -> String {
    let from = SAMPLE.find("  transport:").unwrap();
    let text = &SAMPLE[from..SAMPLE.rfind('}').unwrap()];
    // The other host's name, and one's own files.
    text.replace(NAMES[1], NAMES[1 - host])
        .replace("/host1.", &format!("/host{}.", host + 1))
        .replace(DIRECTORY, directory.to_str().unwrap())
}

/// Two hosts with certificates of one authority.
fn hosts(directory: &Path) -> Hosts {
    let authority = Authority::new();
    for host in 0..2 {
        let name = format!("host{}", host + 1);
        authority.certify(directory, &name, NAMES[host], ADDRESSES[host]);
    }
    let [first, second] = [0, 1].map(|host| settings(directory, host));
    Hosts::by("tls", [&first, &second])
}

/// Whether a value of the second host's arrives at the first one under this key; if it is not expected to, it may take a while to
/// say so.
fn arrives(hosts: &Hosts, key: &str, text: &str, expected: bool) -> bool {
    let topic =
        |direction| format!("topic = [{{ key = {key:?}, kind = \"latest\", {direction} }}]");
    let [mut reader, mut sender] = [hosts.first.program(), hosts.second.program()];
    let mut to = hosts.first.bridge(&topic("from-zenoh = 1"));
    let mut from = hosts.second.bridge(&topic("to-zenoh = 0"));
    to.expect("joined");
    from.expect("joined");
    sender.publish(text);
    wait_until("its bridge has it", || {
        count(&mut from, "to_zenoh", "values") > 0
    });
    let mut has_arrived = || reader.look().is_some_and(|(value, _)| value == text);
    if expected {
        wait_until("it arrives", has_arrived);
        return true;
    }
    let begin = Instant::now();
    while begin.elapsed() < SILENCE {
        std::thread::sleep(Duration::from_millis(100));
        if has_arrived() {
            return true;
        }
    }
    false
}

#[test]
fn hosts_are_known_by_certificates_and_keys_by_rules() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let mut hosts = hosts(directory);
    assert!(arrives(&hosts, KEY, "first", true));

    let good = hosts.second.zenoh.clone();
    // Another authority's, for the same name.
    let foreign = directory.join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    Authority::new().certify(&foreign, "host2", NAMES[1], ADDRESSES[1]);
    std::fs::copy(directory.join("ca.pem"), foreign.join("ca.pem")).unwrap();
    let of_foreign = good.replace(directory.to_str().unwrap(), foreign.to_str().unwrap());
    // None.
    let mut none = good.clone();
    for setting in ["connect_certificate", "connect_private_key", "enable_mtls"] {
        let from = none.find(setting).unwrap();
        let end = from + none[from..].find('\n').unwrap();
        none.replace_range(from..end, "");
    }
    // No encryption.
    let plain = good.replace("tls/", "tcp/");
    for (what, zenoh) in [("foreign", of_foreign), ("none", none), ("plain", plain)] {
        assert_ne!(zenoh, good);
        hosts.second.zenoh = zenoh;
        assert!(!arrives(&hosts, KEY, what, false), "{what} is let in");
    }
    hosts.second.zenoh = good;
    assert!(
        !arrives(&hosts, "other/key", "other", false),
        "a key that no rule allows is carried"
    );
    assert!(arrives(&hosts, KEY, "last", true));
}
