// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The C header and the Rust files say the same: every number, every size, every offset.
//!
//! The header goes through the bindgen of the sandbox; what comes out is compared as a whole, so
//! that a name that only one side has is a difference too.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use ivshmem_abi::{events, ioctl, mmap, pci, regs};

type Facts = BTreeMap<String, u64>;

#[test]
fn header_and_rust_agree() {
    let header = header_facts();
    assert!(header.len() > 60, "only {} facts were found", header.len());
    for (name, value) in &header {
        assert_eq!(rust_facts().get(name), Some(value), "{name}");
    }
    for name in rust_facts().keys() {
        assert!(header.contains_key(name), "the header lacks {name}");
    }
}

fn rust_facts() -> Facts {
    let mut facts = constants();
    macro_rules! layout {
        ($c:literal, $rust:ty, $($field:ident),+) => {
            facts.insert(format!("size {}", $c), size_of::<$rust>() as u64);
            $(facts.insert(
                format!("offset {}::{}", $c, stringify!($field)),
                std::mem::offset_of!($rust, $field) as u64,
            );)+
        };
    }
    layout!("ivshmem_event", events::Event, vector, reserved, count);
    layout!(
        "ivshmem_info",
        ioctl::Info,
        abi_version,
        flags,
        shm_size,
        peer_id,
        vectors,
        vectors_offered,
        revision,
        subsystem_vendor,
        subsystem_device,
        cache,
        page_order,
        generation,
        bus_id,
        reserved
    );
    layout!("ivshmem_ring", ioctl::Ring, peer, vector);
    layout!("ivshmem_ring_many", ioctl::RingMany, count, flags, rings);
    layout!(
        "ivshmem_eventfd",
        ioctl::SetEventfd,
        vector,
        fd,
        flags,
        reserved
    );
    layout!("ivshmem_acrn_eventfd", ioctl::AcrnEventfd, fd, vector);
    layout!(
        "ivshmem_dma_buf",
        ioctl::DmaBuf,
        flags,
        padding,
        offset,
        size
    );
    layout!(
        "ivshmem_wait",
        ioctl::Wait,
        vectors,
        timeout_ns,
        offset,
        value,
        flags
    );

    layout!(
        "ivshmem_event_page",
        events::EventPage,
        dead,
        generation,
        reserved,
        seq
    );
    facts
}

fn constants() -> Facts {
    let constants = [
        ("IVSHMEM_ABI_VERSION", ioctl::ABI_VERSION.into()),
        ("IVSHMEM_MAX_VECTORS", pci::MAX_VECTORS as u64),
        ("IVSHMEM_MAX_PEER", regs::MAX_PEER.into()),
        ("IVSHMEM_MAX_RING_VECTOR", regs::MAX_RING_VECTOR.into()),
        ("IVSHMEM_RING_MANY_MAX", ioctl::RING_MANY_MAX.into()),
        ("IVSHMEM_INFO_DOORBELL", ioctl::INFO_DOORBELL.into()),
        (
            "IVSHMEM_INFO_PEER_ID_OVERRIDDEN",
            ioctl::INFO_PEER_ID_OVERRIDDEN.into(),
        ),
        (
            "IVSHMEM_INFO_REGISTERS_MAPPABLE",
            ioctl::INFO_REGISTERS_MAPPABLE.into(),
        ),
        ("IVSHMEM_CACHE_WB", ioctl::CACHE_WB.into()),
        ("IVSHMEM_CACHE_WC", ioctl::CACHE_WC.into()),
        ("IVSHMEM_CACHE_UC", ioctl::CACHE_UC.into()),
        ("IVSHMEM_BUS_ID_LEN", ioctl::BUS_ID_LEN as u64),
        ("IVSHMEM_WAIT_WORD", ioctl::WAIT_WORD.into()),
        ("IVSHMEM_REGION_SHIFT", mmap::REGION_SHIFT.into()),
        ("IVSHMEM_REGION_MEMORY", mmap::Region::Memory as u64),
        ("IVSHMEM_REGION_EVENTS", mmap::Region::Events as u64),
        ("IVSHMEM_REGION_REGISTERS", mmap::Region::Registers as u64),
        ("IVSHMEM_GET_INFO", ioctl::GET_INFO.into()),
        ("IVSHMEM_RING", ioctl::RING.into()),
        ("IVSHMEM_RING_MANY", ioctl::RING_MANY.into()),
        ("IVSHMEM_SUBSCRIBE", ioctl::SUBSCRIBE.into()),
        ("IVSHMEM_SET_EVENTFD", ioctl::SET_EVENTFD.into()),
        ("IVSHMEM_WAIT", ioctl::WAIT.into()),
        ("IVSHMEM_ACRN_SET_EVENTFD", ioctl::ACRN_SET_EVENTFD.into()),
        ("IVSHMEM_DMA_BUF_CLOEXEC", ioctl::DMA_BUF_CLOEXEC.into()),
        (
            "IVSHMEM_KVMFR_CREATE_DMA_BUF",
            ioctl::KVMFR_CREATE_DMA_BUF.into(),
        ),
        ("IVSHMEM_KVMFR_GET_SIZE", ioctl::KVMFR_GET_SIZE.into()),
    ];
    constants
        .map(|(name, value): (&str, u64)| (name.to_string(), value))
        .into()
}

fn checkout() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(3).expect("the checkout")
}

/// The names of the header's commands: macros that bindgen does not evaluate; as constants it does.
fn commands() -> Vec<String> {
    let header = checkout().join("include/uapi/linux/ivshmem_rs.h");
    let text = std::fs::read_to_string(header).expect("the header");
    let words = |line: &str| -> Vec<String> { line.split_whitespace().map(Into::into).collect() };
    text.lines()
        .map(words)
        .filter(|words| words.len() > 2 && words[0] == "#define" && words[2].starts_with("_IO"))
        .map(|words| words[1].clone())
        .collect()
}

/// What bindgen makes of the header.
fn header_facts() -> Facts {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let wrapper = directory.path().join("wrapper.h");
    let mut text = String::from("#include <linux/ivshmem_rs.h>\n");
    for command in commands() {
        text += &format!("static const unsigned int VALUE_OF_{command} = {command};\n");
    }
    std::fs::write(&wrapper, text).expect("the wrapper can be written");

    let output = bindgen(&wrapper);
    let mut facts = Facts::new();
    // A fact can be broken over two lines.
    for statement in output.split(';') {
        let statement = statement.split_whitespace().collect::<Vec<_>>().join(" ");
        facts.extend(fact(&statement));
    }
    facts
}

/// The name and the number in a statement of bindgen's output, if it states one of ours.
fn fact(statement: &str) -> Option<(String, u64)> {
    if let Some((_, constant)) = statement.split_once("pub const ") {
        let (name, rest) = constant.split_once(": ")?;
        let (_, value) = rest.split_once(" = ")?;
        let name = name.strip_prefix("VALUE_OF_").unwrap_or(name);
        return Some((name.to_string(), value.parse().ok()?));
    }
    let name = statement
        .split_once("[\"Size of ")
        .map(|(_, rest)| ("size", rest))
        .or_else(|| {
            statement
                .split_once("[\"Offset of field: ")
                .map(|(_, rest)| ("offset", rest))
        });
    let (kind, rest) = name?;
    let (name, rest) = rest.split_once('"')?;
    let (_, value) = rest.rsplit_once(" - ")?;
    let value = value.strip_suffix("usize]")?.parse().ok()?;
    Some((format!("{kind} {name}"), value))
}

/// Runs the sandbox's bindgen; its path, or another command, can be given in `BINDGEN`.
fn bindgen(header: &Path) -> String {
    let include = checkout().join("include/uapi");
    let mut command = match std::env::var_os("BINDGEN") {
        Some(bindgen) => Command::new(bindgen),
        None => {
            let mut command = Command::new(checkout().join("tools/scripts/sandbox/enter"));
            command.arg("bindgen");
            command
        }
    };
    let output = command
        .arg(header)
        .args(["--allowlist-file", ".*/ivshmem_rs.h"])
        .args(["--allowlist-item", "VALUE_OF_.*"])
        .arg("--")
        .arg("-I")
        .arg(include)
        .output()
        .expect("bindgen can be run: `make sandbox` prepares it");
    assert!(
        output.status.success(),
        "bindgen: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("bindgen writes text")
}
