// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `tunnel` between network namespaces, on the real server. Takes root.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ivshmem_channel::{Channel, Member, Message};
use ivshmem_peer::Peer;
use rustix::process::Signal;
use test_limit::wait_until;

use super::end::{End, Machines};
use super::netns::Namespace;
use super::{stderr, PROGRAM};

/// Bytes that go each way.
const BYTES: usize = 8 << 20;
/// A payload that takes most of the largest packet.
const LARGE: usize = 60_000;

/// An endpoint with these options, up and known to nobody yet.
fn tunnel(machines: &Machines, namespace: &Namespace, options: &str) -> End {
    let mut end = start(machines, namespace, options);
    end.expect("up");
    end
}

fn start(machines: &Machines, namespace: &Namespace, options: &str) -> End {
    namespace.within(|| machines.start(&format!("tunnel {options}")))
}

/// Sends bytes through what listens at `address` in `to`, and expects them back while it sends.
fn echo(from: &Namespace, to: &Namespace, address: &str) {
    let listener = to.within(|| TcpListener::bind((address, 0)).unwrap());
    let port = listener.local_addr().unwrap().port();
    let sent: Vec<u8> = (0..BYTES).map(|n| (n / 7) as u8).collect();
    thread::scope(|scope| {
        scope.spawn(|| {
            let (stream, _) = listener.accept().unwrap();
            std::io::copy(&mut &stream, &mut &stream).unwrap();
        });
        let mut stream = from.within(|| TcpStream::connect((address, port)).unwrap());
        let mut writer = stream.try_clone().unwrap();
        scope.spawn(|| {
            writer.write_all(&sent).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
            drop(writer);
        });
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        assert!(back == sent, "other bytes came back");
    });
}

#[test]
fn three_ends_reach_each_other_and_one_comes_back_after_it_was_killed() {
    let machines = Machines::new("4M");
    let spaces = [(); 3].map(|()| Namespace::new());
    let [a, b, c] = &spaces;
    let address = |n| format!("10.1.0.{n}");
    let mut ends: Vec<_> = spaces
        .iter()
        .zip(1..)
        .map(|(space, n)| tunnel(&machines, space, &format!("--address {}/24", address(n))))
        .collect();
    for (number, space) in spaces.iter().enumerate() {
        for other in (0..3).filter(|other| *other != number) {
            let (from, to) = (number + 1, address(other + 1));
            wait_until(&format!("{from} reaches {to}"), || space.ping(&to, 56));
            assert!(
                space.ping(&to, LARGE),
                "{from} does not reach {to} with large packets"
            );
        }
    }
    for (from, to, n) in [(a, b, 2), (b, c, 3), (c, a, 1)] {
        echo(from, to, &address(n));
    }
    let status = ends[0].status();
    assert_eq!(status["mtu"], 65520);
    assert_eq!(status["endpoints"].as_array().unwrap().len(), 2, "{status}");
    let sent = status["packets"]["sent"]["bytes"].as_u64();
    assert!(sent > Some(2 * BYTES as u64), "{status}");

    // A connection outlives an endpoint that is killed.
    let listener = b.within(|| TcpListener::bind((address(2), 0)).unwrap());
    let to = listener.local_addr().unwrap();
    let mut client = a.within(|| TcpStream::connect(to).unwrap());
    let (mut server, _) = listener.accept().unwrap();
    ends[1].signal(Signal::KILL);
    assert_eq!(ends[0].expect("left")["addresses"][0], address(2));
    // The others are not held up meanwhile.
    client.write_all(b"sent while nobody was there").unwrap();
    assert!(a.ping(&address(3), 56));
    ends[1] = tunnel(&machines, b, &format!("--address {}/24", address(2)));
    wait_until("a reaches b again", || a.ping(&address(2), 56));
    drop(client);
    let mut heard = String::new();
    server.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "sent while nobody was there");
    for end in ends {
        end.end();
    }
}

#[test]
fn addresses_are_made_of_peer_ids() {
    let machines = Machines::new("1M");
    let spaces = [(); 2].map(|()| Namespace::new());
    let mut ends = Vec::new();
    let mut addresses = Vec::new();
    for space in &spaces {
        let mut end = start(&machines, space, "--network 10.7.0.0/16");
        let peer_id = end.expect("joined")["peer_id"].as_u64().unwrap();
        let up = end.expect("up");
        assert_eq!(up["addresses"][0], format!("10.7.0.{}/16", peer_id + 1));
        addresses.push(format!("10.7.0.{}", peer_id + 1));
        ends.push(end);
    }
    wait_until("one reaches the other", || {
        spaces[0].ping(&addresses[1], 56)
    });
    // Nobody has this one, and it goes nowhere.
    assert!(!spaces[0].ping("10.7.9.9", 56));
    let status = ends[0].status();
    assert!(
        status["packets"]["unknown"]["packets"].as_u64() >= Some(1),
        "{status}"
    );
}

#[test]
fn both_versions_of_ip_go_through_one_tunnel() {
    let machines = Machines::new("1M");
    let [a, b] = [(); 2].map(|()| Namespace::new());
    let addresses = |n| format!("--address 10.1.0.{n}/24 --address fd00:1::{n}/64");
    let _first = tunnel(&machines, &a, &addresses(1));
    let second = tunnel(&machines, &b, &addresses(2));
    wait_until("a reaches b", || a.ping("10.1.0.2", 56));
    echo(&a, &b, "fd00:1::2");
    // It takes the place of one that was killed on the same machine at once.
    second.signal(Signal::KILL);
    let _second = tunnel(&machines, &b, &addresses(2));
    wait_until("a reaches b again", || a.ping("10.1.0.2", 56));
    echo(&b, &a, "fd00:1::1");
}

#[test]
fn an_end_that_stands_still_does_not_hold_up_the_others() {
    let machines = Machines::new("1M");
    let spaces = [(); 3].map(|()| Namespace::new());
    let up = |(space, n)| tunnel(&machines, space, &format!("--address 10.1.0.{n}/24"));
    let mut ends: Vec<_> = spaces.iter().zip(1..).map(up).collect();
    for address in ["10.1.0.2", "10.1.0.3"] {
        wait_until("all are there", || spaces[0].ping(address, 56));
    }
    ends[1].signal(Signal::STOP);
    let sender = spaces[0].within(|| UdpSocket::bind("10.1.0.1:0").unwrap());
    wait_until("packets for it are dropped", || {
        for _ in 0..100 {
            // The interface's queue may be full.
            let _ = sender.send_to(&[0; 10_000], "10.1.0.2:9");
        }
        let status = ends[0].status();
        status["packets"]["full"]["packets"].as_u64() > Some(0)
    });
    wait_until("the third is reached meanwhile", || {
        spaces[0].ping("10.1.0.3", 56)
    });
    ends[1].signal(Signal::CONT);
    wait_until("it is reached again", || spaces[0].ping("10.1.0.2", 56));
}

/// Says when a test is done, also if it panics.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn an_end_that_takes_little_does_not_hold_up_the_others() {
    let machines = Machines::new("1M");
    let spaces = [(); 2].map(|()| Namespace::new());
    let up = |(space, n)| tunnel(&machines, space, &format!("--address 10.1.0.{n}/24"));
    let mut ends: Vec<_> = spaces.iter().zip(1..).map(up).collect();
    let link = Arc::new(Peer::join(&machines.socket).unwrap());
    let channel = Channel::open(link, 0).unwrap();
    let slots: Vec<_> = (0..channel.plan().layout().slots()).collect();
    let slow = channel.join_any(&slots, 0).unwrap();
    let told = [&slow.incarnation().to_le_bytes()[..], &[4, 10, 1, 0, 9]].concat();
    let mut publisher = slow.publisher(slow.slot() as usize).unwrap();
    publisher.publish(&told).unwrap();
    let mut receiver = slow.multi_receiver().unwrap();
    wait_until("the first knows both", || {
        ends[0].status()["endpoints"].as_array().unwrap().len() == 2
    });
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let _ending = Ending(&done);
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // Sooner than it would count as one that takes nothing.
                thread::sleep(Duration::from_millis(50));
                let next = receiver.next(Some(Duration::ZERO)).unwrap();
                next.map(Message::done).transpose().unwrap();
                receiver.release().unwrap();
            }
        });
        let sender = spaces[0].within(|| UdpSocket::bind("10.1.0.1:0").unwrap());
        scope.spawn({
            let done = &done;
            move || {
                while !done.load(Ordering::Relaxed) {
                    for _ in 0..100 {
                        // The interface's queue may be full.
                        let _ = sender.send_to(&[0; 1000], "10.1.0.9:9");
                    }
                    thread::sleep(Duration::from_millis(5));
                }
            }
        });
        wait_until("packets for it wait", || {
            ends[0].status()["packets"]["sent"]["packets"].as_u64() > Some(100)
        });
        for _ in 0..3 {
            wait_until("the other one is reached", || {
                spaces[0].ping("10.1.0.2", 56)
            });
        }
    });
}

#[test]
fn ends_that_come_again_and_again_do_not_fill_the_log() {
    const ENDS: u8 = 63;
    const TIMES: u8 = 8;
    let machines = Machines::new("64M");
    let space = Namespace::new();
    let begin = Instant::now();
    let mut end = tunnel(&machines, &space, "--address 10.1.0.1/24 --endpoints 64");
    let link = Arc::new(Peer::join(&machines.socket).unwrap());
    let channel = Channel::open(link, 0).unwrap();
    let come = |time: u8, slot: u8| {
        let me = channel.join(slot.into(), 0).unwrap();
        let address = [4, 10, 1, time, slot];
        let told = [&me.incarnation().to_le_bytes()[..], &address].concat();
        let mut publisher = me.publisher(slot.into()).unwrap();
        publisher.publish(&told).unwrap();
        me
    };
    let mut all = Vec::new();
    for time in 1..=TIMES {
        let _others: Vec<_> = (1..=ENDS).map(|slot| come(time, slot)).collect();
        wait_until("all are known", || {
            end.signal(Signal::USR1);
            all.extend(end.all_until("status"));
            let known = all.last().unwrap()["endpoints"].to_string();
            known.matches(&format!("10.1.{time}.")).count() == usize::from(ENDS)
        });
    }
    let news = all.iter().filter(|told| told["event"] == "here").count();
    // A hundred each ten seconds.
    let most = 100 * (begin.elapsed().as_secs() as usize / 10 + 1);
    assert!(news <= most, "{news} of at most {most}");
}

#[test]
fn ends_meet_again_when_the_server_was_started_anew() {
    let mut machines = Machines::new("1M");
    let spaces = [(); 2].map(|()| Namespace::new());
    let up = |(space, n)| tunnel(&machines, space, &format!("--address 10.1.0.{n}/24"));
    let mut ends: Vec<_> = spaces.iter().zip(1..).map(up).collect();
    wait_until("they meet", || spaces[0].ping("10.1.0.2", 56));
    machines.restart();
    for end in &mut ends {
        let away = end.expect("away")["reason"].to_string();
        assert!(away.contains("started again"), "{away}");
        end.expect("joined");
    }
    wait_until("they meet again", || spaces[0].ping("10.1.0.2", 56));
}

/// One in slot 1 that tells to have an address.
fn stranger(channel: &Channel<Arc<Peer>>, address: [u8; 4]) -> Member<Arc<Peer>> {
    let me = channel.join(1, 0).unwrap();
    let incarnation = me.incarnation().to_le_bytes();
    let told = [&incarnation[..], &[4], &address].concat();
    me.publisher(1).unwrap().publish(&told).unwrap();
    me
}

#[test]
fn an_end_that_was_there_does_not_end_because_another_one_has_its_address() {
    let machines = Machines::new("1M");
    let space = Namespace::new();
    let mut end = tunnel(&machines, &space, "--address 10.1.0.1/24");
    let link = Arc::new(Peer::join(&machines.socket).unwrap());
    let channel = Channel::open(link.clone(), 0).unwrap();
    let layout = channel.plan().layout().clone();
    let channel = Channel::create(link, 0, &layout).unwrap();
    let thief = stranger(&channel, [10, 1, 0, 1]);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let _ending = Ending(&done);
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                thief.beat().unwrap();
                thread::sleep(Duration::from_millis(50));
            }
        });
        end.expect("away");
        end.expect("joined");
        let reason = end.expect("overlap")["reason"].to_string();
        assert!(reason.contains("an --address of its own"), "{reason}");
    });
    end.end();
}

#[test]
fn whoever_takes_a_place_at_once_is_not_taken_for_the_one_before() {
    let machines = Machines::new("1M");
    let space = Namespace::new();
    let mut end = tunnel(&machines, &space, "--address 10.1.0.1/24");
    let link = Arc::new(Peer::join(&machines.socket).unwrap());
    let channel = Channel::open(link, 0).unwrap();
    let first = stranger(&channel, [10, 1, 0, 2]);
    end.expect("here");
    end.signal(Signal::STOP);
    drop(first);
    let _second = stranger(&channel, [10, 1, 0, 3]);
    end.signal(Signal::CONT);
    let told = end.all_until("here");
    assert_eq!(told[0]["event"], "left", "{told:?}");
    assert_eq!(told[0]["addresses"][0], "10.1.0.2");
    assert_eq!(told[1]["addresses"][0], "10.1.0.3");
}

#[test]
fn packets_get_shorter_when_the_memory_has_become_smaller() {
    let mut machines = Machines::new("4M");
    let spaces = [(); 2].map(|()| Namespace::new());
    let up = |(space, n)| tunnel(&machines, space, &format!("--address 10.1.0.{n}/24"));
    let mut ends: Vec<_> = spaces.iter().zip(1..).map(up).collect();
    wait_until("they meet", || spaces[0].ping("10.1.0.2", LARGE));
    machines.restart_with("256K");
    for end in &mut ends {
        end.expect("away");
        end.expect("joined");
        assert!(end.expect("up")["mtu"].as_u64() < Some(10_000));
    }
    wait_until("large packets arrive", || spaces[0].ping("10.1.0.2", LARGE));
    assert!(ends[0].status()["mtu"].as_u64() < Some(10_000));
}

#[test]
fn what_cannot_be_is_refused_with_what_to_do() {
    let machines = Machines::new("1M");
    let [a, b] = [(); 2].map(|()| Namespace::new());
    let _first = tunnel(&machines, &a, "--address 10.1.0.1/24");
    for (options, code, message) in [
        (
            "--address 10.1.0.1/24",
            1,
            "give each endpoint an --address of its own",
        ),
        (
            "--mtu 65520 --offset 128K --size 512K",
            6,
            "use a smaller --mtu",
        ),
        ("--endpoints 64", 6, "fewer --endpoints"),
        (
            "--endpoints 3",
            1,
            "give all endpoints the same --endpoints",
        ),
        (
            "--address 10.1.0.2/24 --address 10.1.0.3/24",
            2,
            "one --address of IPv4",
        ),
        ("--address 10.1.0.2/24 --name no/such", 1, "another --name"),
        ("--network 10.1.0.0/31", 6, "a larger --network"),
        ("--address fd00:1::2/64 --address fd00:1::2/64", 2, "twice"),
        ("--address 10.1.0.2/24 --name lo", 1, "another --name"),
    ] {
        let (exit, text) = start(&machines, &b, options).failure();
        assert_eq!(exit, Some(code), "{options}: {text}");
        assert!(text.contains(message), "{options}: {text}");
    }
    b.within(|| {
        for interfaces in ["all", "default"] {
            let path = format!("/proc/sys/net/ipv6/conf/{interfaces}/disable_ipv6");
            fs::write(path, "1").unwrap();
        }
    });
    let (exit, text) = start(&machines, &b, "--address fd00:1::2/64").failure();
    assert_eq!(exit, Some(6), "{text}");
    assert!(text.contains("IPv6 is disabled"), "{text}");
    let mut without_right = Command::new("setpriv");
    without_right.args([
        "--bounding-set=-net_admin",
        PROGRAM,
        "tunnel",
        "--join",
        &machines.socket,
    ]);
    let refused = b.within(|| without_right.output().unwrap());
    assert_eq!(refused.status.code(), Some(4));
    let text = stderr(&refused);
    assert!(text.contains("CAP_NET_ADMIN"), "{text}");
}
