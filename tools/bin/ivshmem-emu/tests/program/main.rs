// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The program as users run it.

mod launch;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

/// Runs the program until it fails, and returns its exit code and what it wrote to standard error.
fn failure(args: &[&str]) -> (i32, String) {
    let output: Output = program(args).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), errors.trim_end().into())
}

fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ivshmem-emu"));
    command.args(args).env_remove("RUST_LOG");
    command
}

/// A server that is ready: its machines' command lines. Dropping it kills it.
struct Served {
    child: Child,
    lines: Vec<String>,
}

impl Served {
    fn start(args: &[&str], machines: usize) -> Self {
        Self::spawn(&mut program(args), machines)
    }

    fn spawn(command: &mut Command, machines: usize) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let lines = (0..machines).map(|_| {
            let mut line = String::new();
            output.read_line(&mut line).unwrap();
            line.trim_end().to_string()
        });
        let lines = lines.collect();
        Self { child, lines }
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let kill = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(kill.unwrap().success());
    }

    /// Ends it by SIGTERM; its exit code and standard error.
    fn stop(self) -> (i32, String) {
        self.signal("TERM");
        self.wait()
    }

    /// Waits until it has ended; its exit code and standard error.
    fn wait(mut self) -> (i32, String) {
        let mut errors = String::new();
        let mut pipe = self.child.stderr.take().unwrap();
        pipe.read_to_string(&mut errors).unwrap();
        (self.child.wait().unwrap().code().unwrap(), errors)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Both fail only if it has been stopped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn the_tutorial_s_hv_land_example() {
    let sockets = TempDir::new().unwrap();
    let served = Served::start(
        &[
            "--region",
            "hv:/shm_region_0, 2, 0:2",
            "--vm",
            "2",
            "-s",
            "5,ivshmem,hv:/shm_region_0,2",
            "--socket-dir",
            text(sockets.path()),
            "--",
            "-m",
            "512",
            "-drive",
            "file=vm{vm}.img",
        ],
        2,
    );
    let socket = |vm| sockets.path().join(format!("vm{vm}-hv-shm_region_0"));
    // VM0 is pre-launched: nobody says where its device goes.
    for (line, vm, address) in [(0, 0, "08.0"), (1, 2, "05.0")] {
        let device = format!(
            r#"'{{"addr":"{address}","rombar":0,"driver":"vfio-user-pci","socket":{{"type":"unix","path":"{}"}}}}'"#,
            socket(vm).display()
        );
        assert_eq!(
            served.lines[line],
            format!("qemu-system-x86_64 -m 512 -drive file=vm{vm}.img -device {device}")
        );
    }
    UnixStream::connect(socket(0)).unwrap();
    let (code, _) = served.stop();
    assert_eq!(code, 0);
    assert!(!socket(0).exists() && !socket(2).exists());
}

#[test]
fn dm_land_memory_is_a_file_that_stays() {
    let shm = TempDir::new().unwrap();
    let path = shm.path().join("test");
    let args = ["--vm", "1", "-s", "6,ivshmem,dm:/test,2", "--vm", "2"];
    let vm2 = ["-s", "7,virtio-net,tap0", "-s", "5,ivshmem,dm:/test,2"];
    let args: Vec<&str> = args
        .into_iter()
        .chain(vm2)
        .chain(["--shm-dir", text(shm.path())])
        .collect();
    let (code, errors) = Served::start(&args, 2).stop();
    assert_eq!(code, 0);
    for line in [
        "virtual machine 2: virtio-net at 00:07.0 is left out; give QEMU such a device after --",
        "VM1 00:06.0 dm:/test ",
        "VM2 00:05.0 dm:/test ",
    ] {
        assert!(errors.contains(line), "{errors}");
    }
    let metadata = std::fs::metadata(&path).unwrap();
    assert_eq!(metadata.len(), 2 << 20);
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777,
        0o600
    );
    // The next one finds what the last one left.
    std::fs::write(&path, vec![7; 2 << 20]).unwrap();
    assert_eq!(Served::start(&args, 2).stop().0, 0);
    assert_eq!(std::fs::read(&path).unwrap(), vec![7; 2 << 20]);
    std::fs::write(&path, "small").unwrap();
    let (code, errors) = failure(&args);
    assert_eq!(code, 1);
    let expected = format!("ivshmem-emu: region dm:/test: shm size is different, cur 2097152, creator 5 (if nobody uses {}, remove it)", path.display());
    assert!(errors.ends_with(&expected), "{errors}");
}

#[test]
fn a_device_model_without_its_directory() {
    let args = [
        "--vm",
        "1",
        "-s",
        "6,ivshmem,dm:/test,2",
        "--shm-dir",
        "/nonexistent",
    ];
    assert_eq!(
        failure(&args),
        (1, "ivshmem-emu: region dm:/test: failed to get test status, error No such file or directory (os error 2)".into())
    );
}

/// `shm_open()` does not either.
#[test]
fn a_device_model_follows_no_link() {
    let shm = TempDir::new().unwrap();
    let target = shm.path().join("target");
    std::fs::write(&target, vec![7; 2 << 20]).unwrap();
    std::os::unix::fs::symlink(&target, shm.path().join("test")).unwrap();
    let slot = "6,ivshmem,dm:/test,2";
    let (code, errors) = failure(&["--vm", "1", "-s", slot, "--shm-dir", text(shm.path())]);
    assert_eq!(code, 1);
    assert!(errors.contains("failed to get test status"), "{errors}");
}

#[test]
fn a_device_model_without_room() {
    let shm = TempDir::new().unwrap();
    let script = r#"trap '' XFSZ; ulimit -f 1; exec "$0" "$@""#;
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_ivshmem-emu")]);
    command.args(["--vm", "1", "-s", "6,ivshmem,dm:/test,2", "--shm-dir"]);
    let output = command.arg(shm.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "ivshmem-emu: region dm:/test: can't resize the shm size 2097152: File too large (os error 27)\n"
    );
}

#[test]
fn options_that_do_not_fit() {
    let text = failure(&["--region", "hv:/a,3,0:1"]);
    assert_eq!(text, (1, "ivshmem-emu: hv,FEATURES,IVSHMEM,IVSHMEM_REGION,0: The size of share Memory region should be a power of 2.".into()));
    let name = failure(&["--vm", "1", "-s", "6,ivshmem,dm:/a b,2"]);
    assert_eq!(name, (1, "ivshmem-emu: virtual machine 1: Name must be between 1-27 characters and contain only letters, digits and \"_\".".into()));
    let region = "hv:/a, 2, 0:2";
    let ioctl = "ACRN_IOCTL_CREATE_VDEV ioctl() returned an error: Invalid argument";
    let hv = |slots: &[&str], with_region: bool| {
        let mut args = Vec::new();
        if with_region {
            args.extend(["--region", region]);
        }
        args.extend(slots);
        let (code, errors) = failure(&args);
        assert_eq!(code, 1);
        errors
    };
    let unknown = hv(&["--vm", "2", "-s", "5,ivshmem,hv:/b,2"], true);
    assert!(
        unknown.starts_with(&format!(
            "ivshmem-emu: virtual machine 2: {ioctl} (no region hv:/b"
        )),
        "{unknown}"
    );
    let size = hv(&["--vm", "2", "-s", "5,ivshmem,hv:/a,4"], true);
    assert!(
        size.contains(&format!(
            "{ioctl} (hv:/a is configured with 2 MB, not 4 MB)"
        )),
        "{size}"
    );
    let member = hv(&["--vm", "1", "-s", "5,ivshmem,hv:/a,2"], true);
    assert!(
        member.contains("does not name virtual machine 1"),
        "{member}"
    );
    let sizes = hv(
        &[
            "--vm",
            "1",
            "-s",
            "5,ivshmem,dm:/a,2",
            "--vm",
            "2",
            "-s",
            "5,ivshmem,dm:/a,4",
        ],
        false,
    );
    assert!(
        sizes.contains("shm size is different, cur 4194304, creator 2097152"),
        "{sizes}"
    );
    let slot = hv(
        &[
            "--vm",
            "1",
            "-s",
            "6,ivshmem,dm:/a,2",
            "-s",
            "6,ivshmem,dm:/b,2",
        ],
        false,
    );
    assert!(
        slot.ends_with("virtual machine 1: pci slot 6:0 already occupied!"),
        "{slot}"
    );
    let tutorial = hv(
        &[
            "--vm",
            "1",
            "-s",
            "6,virtio-hyper_dmabuf",
            "-s",
            "6,ivshmem,dm:/test,2",
        ],
        false,
    );
    assert!(
        tutorial.ends_with("virtual machine 1: pci slot 6:0 already occupied!"),
        "{tutorial}"
    );
    let automatic = hv(&["--vm", "2", "-s", "8,ivshmem,dm:/b,2"], true);
    assert!(
        automatic.contains("pci slot 8:0 already occupied! (hv:/a and dm:/b are both at 00:08.0)"),
        "{automatic}"
    );
    let function = hv(&["--vm", "1", "-s", "6:1,ivshmem,dm:/b,2"], false);
    assert!(function.contains("nothing is at 00:06.0"), "{function}");
    let bus = hv(&["--vm", "1", "-s", "1:6:0,ivshmem,dm:/b,2"], false);
    assert!(bus.contains("is not on bus 0"), "{bus}");
    let id = hv(&["--vm", "16", "-s", "6,ivshmem,dm:/b,2"], false);
    assert!(id.contains("ACRN's IDs are below 16"), "{id}");
}

/// Nothing is left out without a word.
#[test]
fn one_device_of_a_region_for_each_machine() {
    let slots = ["--vm", "2", "-s", "5,ivshmem,hv:/a,2"];
    let again = ["-s", "6,ivshmem,hv:/a,2", "--launch", "--qemu", "true"];
    let (code, errors) = failure(&[&["--region", "hv:/a, 2, 0:2"], &slots[..], &again].concat());
    assert_eq!(code, 1, "{errors}");
    assert!(
        errors.ends_with("virtual machine 2: hv:/a is at 00:05.0 and at 00:06.0; ivshmem-emu gives a machine one device of a region: leave one -s out"),
        "{errors}"
    );
}

#[test]
fn nothing_to_serve_is_an_error() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("board.xml");
    std::fs::write(&path, "<acrn-config board=\"qemu\"></acrn-config>").unwrap();
    let (code, text) = failure(&["--scenario", path.to_str().unwrap()]);
    assert_eq!(code, 1);
    assert!(
        text.contains("there is no region in") && text.contains("board.xml"),
        "{text}"
    );
    let (code, text) = failure(&["--region", ""]);
    assert_eq!(code, 1);
    assert!(text.contains("there is no region"), "{text}");
}

#[test]
fn scenario_files() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("scenario.toml");
    std::fs::write(
        &path,
        r#"vm = [{ id = 0, name = "A" }, { id = 1, name = "B" }]
           [[region]]
           name = "r"
           vms = [{ name = "A", vbdf = "00:04.0" }, { name = "B", vbdf = "00:04.0" }]
           [[region]]
           name = "s"
           vms = [{ name = "A", vbdf = "00:04.1" }, { name = "B" }]"#,
    )
    .unwrap();
    let served = Served::start(&["--scenario", text(&path)], 2);
    assert!(served.lines[0].contains(r#"{"addr":"04.0","rombar":0,"multifunction":true,"#));
    assert!(served.lines[0].contains(r#"{"addr":"04.1","rombar":0,"driver""#));
    assert!(served.lines[1].contains(r#"{"addr":"04.0","rombar":0,"driver""#));
    std::fs::write(directory.path().join("bad.xml"), "<IVSHMEM>").unwrap();
    let (code, errors) = failure(&["--scenario", text(&directory.path().join("bad.xml"))]);
    assert_eq!(code, 1);
    assert!(errors.contains("bad.xml: scenario: "), "{errors}");
}

/// What `--record` writes, and what the log says of the same ring.
#[test]
fn everything_that_guests_do_is_recorded() {
    let directory = TempDir::new().unwrap();
    let record = directory.path().join("record");
    let sockets = text(directory.path());
    let args = ["--region", "hv:/r, 2, 0:2", "--socket-dir", sockets];
    let mut command = program(&args);
    command.args(["--record", text(&record)]);
    let served = Served::spawn(command.env("RUST_LOG", "debug,vfio_user=off"), 2);
    let mut guest = vfio_user::Client::new(&directory.path().join("vm2-hv-r")).unwrap();
    let (position, doorbell) = (8, 12);
    guest.region_read(0, position, &mut [0; 4]).unwrap();
    guest
        .region_write(0, doorbell, &5_u32.to_le_bytes())
        .unwrap();
    let lines = std::fs::read_to_string(&record).unwrap();
    let expected = [
        "hv:/r 2 attached",
        "hv:/r 2 read bar0+0x8/4 0x2",
        "hv:/r 2 write bar0+0xc/4 0x5",
        "hv:/r 2 ring 0.5 lost: no such peer",
    ];
    assert_eq!(lines.lines().collect::<Vec<_>>(), expected);
    let (_, log) = served.stop();
    assert!(log.contains("2 ring 0.5 lost: no such peer"), "{log}");
    assert!(!log.contains("read bar0"), "{log}");
}

/// Each `acrn-dm` shows the region ID of its own option.
#[test]
fn each_machine_sees_the_region_id_of_its_own_option() {
    let directory = TempDir::new().unwrap();
    let path = text(directory.path());
    let vm1 = ["--vm", "1", "-s", "6,ivshmem,dm:/r,2,4096"];
    let vm2 = ["--vm", "2", "-s", "5,ivshmem,dm:/r,2,8192"];
    let args = [&vm1[..], &vm2, &["--socket-dir", path, "--shm-dir", path]].concat();
    let _served = Served::start(&args, 2);
    let (config, subsystem) = (7, 0x2e);
    for (vm, expected) in [(1, 0x1000_u16), (2, 0x2000)] {
        let socket = directory.path().join(format!("vm{vm}-dm-r"));
        let mut guest = vfio_user::Client::new(&socket).unwrap();
        let mut id = [0; 2];
        guest.region_read(config, subsystem, &mut id).unwrap();
        assert_eq!(u16::from_le_bytes(id), expected, "machine {vm}");
    }
}

/// The devices of other hypervisors, over the memory of the same configuration.
#[test]
fn devices_of_other_hypervisors() {
    let directory = TempDir::new().unwrap();
    let path = text(directory.path());
    let places = ["--socket-dir", path, "--shm-dir", path];
    let vm = ["--vm", "1", "-s", "6,ivshmem,dm:/r,2"];
    for (flavour, vectors) in [("cloud-hypervisor", 0), ("stratovirt", 2)] {
        let args = [&["--flavour", flavour][..], &vm, &places].concat();
        let _served = Served::start(&args, 1);
        let mut guest = vfio_user::Client::new(&directory.path().join("vm1-dm-r")).unwrap();
        let (config, msix) = (7, 2);
        let mut subsystem = [0xff; 4];
        guest.region_read(config, 0x2c, &mut subsystem).unwrap();
        assert_eq!(subsystem, [0; 4], "{flavour}");
        assert_eq!(guest.get_irq_info(msix).unwrap().count, vectors);
        assert_eq!(guest.region(2).unwrap().size, 2 << 20);
    }
    assert_eq!(
        std::fs::metadata(directory.path().join("r")).unwrap().len(),
        2 << 20
    );
    let args = [&["--flavour", "stratovirt", "--release", "3.3"][..], &vm].concat();
    let (code, errors) = failure(&args);
    assert_eq!(code, 2);
    assert!(
        errors.contains("--release and --ovmf are about ACRN's"),
        "{errors}"
    );
}

#[test]
fn manual_page_and_completions() {
    let printed = |args: &[&str]| {
        let output = program(args).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stdout).unwrap()
    };
    let page = printed(&["--print-man-page"]);
    assert!(page.contains(".TH ivshmem-emu 1"), "{page}");
    for section in ["SYNOPSIS", "OPTIONS", "\"EXAMPLES\"", "\"EXIT STATUS\""] {
        assert!(page.contains(&format!("\n.SH {section}\n")), "{page}");
    }
    let completions = printed(&["--print-completions", "bash"]);
    for part in ["--shm-dir", "--flavour", "cloud-hypervisor", "stratovirt"] {
        assert!(completions.contains(part), "{completions}");
    }
    assert!(page.contains("cloud\\-hypervisor"), "{page}");
}

#[test]
fn wrong_usage() {
    let (code, errors) = failure(&[]);
    assert_eq!(code, 2);
    assert!(errors.contains("give at least one --region"), "{errors}");
}

#[test]
fn a_command_without_words_is_wrong_usage() {
    let (code, errors) = failure(&["--region", "hv:/a, 2, 0:2", "--launch", "--qemu", " "]);
    assert_eq!(code, 2, "{errors}");
    assert!(errors.contains("--qemu needs a command"), "{errors}");
}

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

/// Exit codes do not depend on who listens.
#[test]
fn nothing_can_be_written() {
    let region = ["--region", "hv:/a, 2, 0:2"];
    let output = program(&region).stdout(full()).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains("ivshmem-emu: cannot write to the standard output"),
        "{errors}"
    );
    for args in [&["--print-man-page"][..], &["--print-completions", "bash"]] {
        let output = program(args).stdout(full()).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {errors}");
        assert_eq!(
            errors,
            "ivshmem-emu: cannot write to the standard output: No space left on device (os error 28)\n"
        );
    }
    let bad = program(&["--region", "hv:/a,3,0:1"])
        .stderr(full())
        .status();
    assert_eq!(bad.unwrap().code(), Some(1));
}

/// Machines come and go after whoever read the log has gone.
#[test]
fn a_log_that_nobody_reads() {
    let sockets = TempDir::new().unwrap();
    let args = ["--region", "hv:/a, 2, 0:2", "--socket-dir"];
    let args = [&args[..], &[text(sockets.path())]].concat();
    let mut served = Served::start(&args, 2);
    drop(served.child.stderr.take());
    for _ in 0..3 {
        let mut machine = UnixStream::connect(sockets.path().join("vm2-hv-a")).unwrap();
        machine.set_read_timeout(Some(test_limit::limit())).unwrap();
        // Message 7: what kind of device is it?
        let words = [7 | 4 << 16, 32, 0, 0, 0, 0, 0, 0_u32];
        machine
            .write_all(&words.map(u32::to_le_bytes).concat())
            .unwrap();
        machine.read_exact(&mut [0; 32]).unwrap();
    }
}

/// The signals of a terminal end it too, unless whoever started it had them ignored, as `nohup` does.
#[test]
fn a_terminal_that_is_closed() {
    let region = ["--region", "hv:/a, 2, 0:2"];
    let directory = |served: &Served| {
        let path = served.lines[0].split('"').rev().nth(1).unwrap();
        Path::new(path).parent().unwrap().to_path_buf()
    };
    for signal in ["HUP", "INT"] {
        let served = Served::start(&region, 2);
        let sockets = directory(&served);
        assert!(sockets.is_dir(), "{}", sockets.display());
        served.signal(signal);
        assert_eq!(served.wait().0, 0);
        assert!(!sockets.exists(), "{}", sockets.display());
    }
    let script = r#"trap '' HUP; exec "$0" "$@""#;
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_ivshmem-emu")]);
    let served = Served::spawn(command.args(region), 2);
    served.signal("HUP");
    UnixStream::connect(directory(&served).join("vm2-hv-a")).unwrap();
    assert_eq!(served.stop().0, 0);
}
