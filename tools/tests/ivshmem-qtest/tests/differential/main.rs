// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The model against QEMU's own devices, access by access: one machine here, two in [`pair`].
//!
//! `IVSHMEM_DIFFERENTIAL_STEPS` sets the number of steps of each run (default 100,000),
//! `IVSHMEM_DIFFERENTIAL_SEED` the seed (default 1), and `IVSHMEM_DIFFERENTIAL_VECTORS` the vectors (default 8,
//! at most 128: with more, the BAR of the table is larger than the script has it).

mod pair;

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use ivshmem_model::{flavour, Event, Region};
use ivshmem_qtest::{difference, InModel, InQemu, Limits, Machines, Qemu, Script, Turns};
use ivshmem_vfio_user::{Backing, Endpoint, Host};

const SIZE: u64 = 1 << 20;
const SLOT: u8 = 4;

/// Messages that the server lets be in the socket of a client that has not read them.
const IN_FLIGHT: u16 = 64;

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().expect(variable),
        Err(_) => default,
    }
}

fn steps() -> usize {
    number("IVSHMEM_DIFFERENTIAL_STEPS", 100_000) as usize
}

fn seed() -> u64 {
    number("IVSHMEM_DIFFERENTIAL_SEED", 1)
}

fn vectors() -> u16 {
    let vectors = number("IVSHMEM_DIFFERENTIAL_VECTORS", 8);
    assert!(
        (1..=128).contains(&vectors),
        "1 to 128 vectors, not {vectors}"
    );
    vectors as u16
}

/// Blocks until a server has these clients and no others, and they have acted on all that it told them.
fn wait_until_told(server: &vmbench::Region, clients: &mut dyn Machines, count: usize) {
    test_limit::wait_until("the server has sent everything", || {
        // Each turn reads some, so that more can be sent.
        clients.settle().unwrap();
        let mut text = String::new();
        let mut socket = UnixStream::connect(server.status_socket()).unwrap();
        socket.read_to_string(&mut text).unwrap();
        let report: serde_json::Value = serde_json::from_str(&text).unwrap();
        let peers = report["regions"][0]["peers"].as_array().unwrap();
        peers.len() == count && peers.iter().all(|peer| peer["queued"] == 0)
    });
    // What is left is in the socket, of which each turn of QEMU's main loop takes a message at least.
    for _ in 0..=IN_FLIGHT {
        clients.settle().unwrap();
    }
}

/// The arguments of QEMU's own device, with these vectors.
fn doorbell(server: &vmbench::Region, vectors: u16) -> [String; 4] {
    [
        "-chardev".into(),
        format!("socket,id=server,path={}", server.socket().display()),
        "-device".into(),
        format!("ivshmem-doorbell,chardev=server,vectors={vectors},addr={SLOT}"),
    ]
}

/// The model's device behind vfio-user, as an argument of QEMU.
fn emulated(endpoint: &Endpoint) -> String {
    let place = format!("{{\"addr\":\"{SLOT}\",");
    endpoint.qemu_device().replacen('{', &place, 1)
}

fn start(args: &[String]) -> InQemu {
    InQemu {
        qemu: Qemu::start("pc", args).unwrap(),
        slot: SLOT,
    }
}

/// A virtual machine with the ID 0, alone in its region.
fn model(flavour: flavour::Qemu) -> InModel<Vec<u8>> {
    let mut region = Region::new(flavour, vec![0; SIZE as usize]);
    region.attach(0).unwrap();
    InModel::new(region, 0)
}

/// What became of rings: between two machines or from one to itself, the outcome, and how often.
type Outcomes = BTreeMap<(bool, String), u32>;

/// Counts what becomes of the rings from now on.
fn count_outcomes(model: &mut InModel<Vec<u8>>) -> Arc<Mutex<Outcomes>> {
    let outcomes: Arc<Mutex<Outcomes>> = Arc::default();
    let counted = Arc::clone(&outcomes);
    model.with(|region| {
        region.observe(move |event| {
            if let Event::Ring {
                from, to, outcome, ..
            } = event
            {
                let kind = (from != to, outcome.to_string());
                *counted.lock().unwrap().entry(kind).or_default() += 1;
            }
        });
    });
    outcomes
}

/// A script would prove little if none of its rings had these outcomes.
fn assert_tried(outcomes: &Mutex<Outcomes>, wanted: &[(bool, &str)]) {
    let outcomes = outcomes.lock().unwrap();
    for (between, outcome) in wanted {
        let found = outcomes.get(&(*between, (*outcome).into()));
        let rings = found.copied().unwrap_or(0);
        assert!(rings > 20, "{rings} rings were {outcome}: {outcomes:?}");
    }
}

/// Runs a script on both and fails with the steps that led to the first difference.
fn compare(qemu: InQemu, model: InModel<Vec<u8>>, limits: Limits) {
    let mut script = Script::new(seed(), limits);
    let (mut first, mut second) = (vec![qemu], vec![model]);
    run(
        &mut [&mut script],
        &mut Turns::new(0),
        steps(),
        &mut first,
        &mut second,
    );
}

fn run(
    scripts: &mut [&mut Script],
    turns: &mut Turns,
    steps: usize,
    first: &mut dyn Machines,
    second: &mut dyn Machines,
) {
    let found = difference(scripts, turns, steps, first, second).unwrap();
    if let Some(difference) = found {
        panic!("{difference}");
    }
}

#[test]
fn plain_equals_the_model() {
    let qemu = start(&[
        "-object".into(),
        format!("memory-backend-memfd,id=hm,share=on,size={SIZE}"),
        "-device".into(),
        format!("ivshmem-plain,memdev=hm,addr={SLOT}"),
    ]);
    let limits = Limits {
        bars: [256, 0, SIZE],
        vectors: 0,
        everything: true,
    };
    compare(qemu, model(flavour::Qemu::plain()), limits);
}

#[test]
fn doorbell_equals_the_model() {
    // The first client of a server gets the peer ID 0.
    let vectors = vectors();
    let server = vmbench::Region::start(SIZE, vectors).unwrap();
    let mut qemu = vec![start(&doorbell(&server, vectors))];
    // The device's own event descriptors come after it is there.
    wait_until_told(&server, &mut qemu, 1);
    let limits = Limits {
        bars: [256, 4096, SIZE],
        vectors,
        everything: true,
    };
    let mut model = model(flavour::Qemu::doorbell(vectors).unwrap());
    let outcomes = count_outcomes(&mut model);
    compare(qemu.remove(0), model, limits);
    let itself = ["sent", "pending", "lost: MSI-X is off"].map(|outcome| (false, outcome));
    assert_tried(&outcomes, &itself);
    assert_tried(&outcomes, &[(true, "lost: no such peer")]);
}

/// The model in QEMU against the model alone. BARs, the command register and the MSI-X table are QEMU's own
/// here, so the rest of configuration space and the pending bits are left out.
#[test]
fn the_model_in_qemu_equals_the_model() {
    let directory = tempfile::tempdir().unwrap();
    let vectors = vectors();
    let flavour = flavour::Qemu::doorbell(vectors).unwrap();
    let host = Host::new(Region::new(
        flavour,
        Backing::anonymous("differential", SIZE).unwrap(),
    ));
    let endpoint = host.listen(0, &directory.path().join("vm0")).unwrap();
    let qemu = start(&["-device".into(), emulated(&endpoint)]);
    let limits = Limits {
        bars: [256, 4096, SIZE],
        vectors,
        everything: false,
    };
    compare(qemu, model(flavour), limits);
}
