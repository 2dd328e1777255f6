// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The arguments of a QEMU that runs.

use std::collections::BTreeMap;

/// The memory of an `ivshmem-plain` that is in a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Memory {
    /// The file.
    pub path: String,
    /// Whether what the guest writes goes to the file.
    pub shared: bool,
    /// Whether QEMU empties the file when it ends.
    pub discarded: bool,
}

/// One object or device, by key.
type Properties = BTreeMap<String, String>;

/// What the devices of a process have, whose arguments end with zero bytes each, as in `/proc/PID/cmdline`; nothing if it is
/// no QEMU.
pub fn plain_memories(arguments: &[u8]) -> Vec<Memory> {
    let arguments = String::from_utf8_lossy(arguments);
    let arguments: Vec<&str> = arguments.split_terminator('\0').collect();
    let program = arguments.first().and_then(|path| path.rsplit('/').next());
    if !program.is_some_and(|name| name.starts_with("qemu")) {
        return Vec::new();
    }
    let files = of_option(&arguments, "object", "qom-type", "memory-backend-file");
    let devices = of_option(&arguments, "device", "driver", "ivshmem-plain");
    let file = |device: &Properties| {
        let name = device.get("memdev")?;
        let file = files.iter().find(|file| file.get("id") == Some(name))?;
        Some(Memory {
            path: file.get("mem-path")?.clone(),
            shared: is_on(file, "share"),
            discarded: is_on(file, "discard-data"),
        })
    };
    devices.iter().filter_map(file).collect()
}

/// The values of an option that are of this type; `key` is that of the type.
fn of_option(arguments: &[&str], option: &str, key: &str, of_type: &str) -> Vec<Properties> {
    let is_option = |argument: &str| {
        let name = argument.strip_prefix('-');
        name.is_some_and(|name| name.strip_prefix('-').unwrap_or(name) == option)
    };
    arguments
        .windows(2)
        .filter(|pair| is_option(pair[0]))
        .map(|pair| properties(pair[1], key))
        .filter(|properties| properties.get(key).is_some_and(|word| word == of_type))
        .collect()
}

/// JSON, as libvirt writes it, or `TYPE,KEY=VALUE,...`, where two commas stand for one in a value.
fn properties(text: &str, type_key: &str) -> Properties {
    if let Ok(json) = serde_json::from_str::<BTreeMap<String, serde_json::Value>>(text) {
        let word = |value: serde_json::Value| match value {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        return json
            .into_iter()
            .map(|(key, value)| (key, word(value)))
            .collect();
    }
    // No argument of a program holds a zero byte.
    let text = text.replace(",,", "\0");
    let pairs = text.split(',').enumerate().map(|(at, field)| {
        let (key, value) = match field.split_once('=') {
            Some(pair) => pair,
            None if at == 0 => (type_key, field),
            None => (field, "on"),
        };
        (key.to_string(), value.replace('\0', ","))
    });
    pairs.collect()
}

/// QEMU's default for all that is asked here is off.
fn is_on(properties: &Properties, key: &str) -> bool {
    let value = properties.get(key).map(String::as_str);
    matches!(value, Some("on" | "yes" | "true" | "y"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memories(arguments: &str) -> Vec<Memory> {
        let arguments = arguments.split_whitespace().collect::<Vec<_>>().join("\0") + "\0";
        plain_memories(arguments.as_bytes())
    }

    fn memory(path: &str, shared: bool, discarded: bool) -> Memory {
        Memory {
            path: path.into(),
            shared,
            discarded,
        }
    }

    #[test]
    fn options_are_read_as_qemu_reads_them() {
        for (object, expected) in [
            ("share=on", memory("/dev/shm/a", true, false)),
            ("share=yes", memory("/dev/shm/a", true, false)),
            ("share", memory("/dev/shm/a", true, false)),
            ("share=off", memory("/dev/shm/a", false, false)),
            ("prealloc=on", memory("/dev/shm/a", false, false)),
            ("share=on,discard-data=on", memory("/dev/shm/a", true, true)),
        ] {
            let arguments = format!(
                "/usr/bin/qemu-system-x86_64 -m 1G -object memory-backend-file,id=m,size=1M,mem-path=/dev/shm/a,{object} \
                 -device ivshmem-plain,memdev=m"
            );
            assert_eq!(memories(&arguments), [expected], "{arguments}");
        }
    }

    #[test]
    fn commas_in_paths_are_doubled() {
        let found = memories(
            "qemu-kvm --object memory-backend-file,id=m,mem-path=/tmp/a,,share=off,share=on --device ivshmem-plain,memdev=m",
        );
        assert_eq!(found, [memory("/tmp/a,share=off", true, false)]);
    }

    #[test]
    fn libvirt_writes_json() {
        let found = memories(
            r#"/usr/bin/qemu-system-x86_64
               -object {"qom-type":"memory-backend-ram","id":"pc.ram","size":268435456}
               -object {"qom-type":"memory-backend-file","id":"shmmem-shmem0","mem-path":"/dev/shm/ivshmem","size":67108864,"share":true}
               -device {"driver":"ivshmem-plain","id":"shmem0","memdev":"shmmem-shmem0","bus":"pci.5","addr":"0x0"}"#,
        );
        assert_eq!(found, [memory("/dev/shm/ivshmem", true, false)]);
    }

    #[test]
    fn other_memory_and_other_programs_are_not_ours() {
        let options =
            "-object memory-backend-file,id=m,mem-path=/dev/shm/a -device ivshmem-plain,memdev=m";
        assert_eq!(memories(&format!("sudo qemu-system-x86_64 {options}")), []);
        let ram = "-object memory-backend-file,id=ram,mem-path=/dev/shm/ram -numa node,memdev=ram";
        let device = "-object memory-backend-memfd,id=m,size=1M -device ivshmem-plain,memdev=m";
        assert_eq!(memories(&format!("qemu-system-x86_64 {ram} {device}")), []);
    }
}
