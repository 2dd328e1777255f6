# SPDX-License-Identifier: GPL-2.0-only OR MIT
# shellcheck shell=sh
#
# Sourced by the examples: what their machines boot, from the sandbox and from this repository.
#
#   make_machine FILE...   packs busybox, lspci, the driver, the built samples FILE... and ./init into $work/initramfs
#   emulate OPTION...      runs ivshmem-emu with these options and machines that boot it

top=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
here=$top/samples/acrn
make -C "$top" --no-print-directory --silent guest
make -C "$top" --no-print-directory --silent modules KDIR=sandbox
sandbox_value() { "$top/tools/scripts/sandbox/info" | sed -n "s/^$1=//p"; }
enter=$(sandbox_value ENTER)
busybox=$(sandbox_value BUSYBOX)
root=$(sandbox_value SANDBOX_ROOT)
kernel=$(sandbox_value VMLINUZ)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

make_machine() {
	mkdir -p "$work/tree/bin" "$work/tree/proc" "$work/tree/sys" "$work/tree/dev"
	cp "$busybox" "$work/tree/bin/busybox"
	cp "$here/init" "$work/tree/init"
	cp "$top/build/module/ivshmem_rs.ko" "$work/tree/"
	for program; do cp "$top/build/guest/$program" "$work/tree/bin/"; done
	# lspci, as the tutorial uses it: the program, its libraries, and the names of devices.
	for path in /usr/bin/lspci /usr/share/misc/pci.ids $("$enter" ldd /usr/bin/lspci | grep -o '/[^ ]*'); do
		mkdir -p "$work/tree${path%/*}"
		cp -L "$root$path" "$work/tree$path"
	done
	(cd "$work/tree" && "$busybox" find . | "$busybox" cpio -o -H newc 2>/dev/null) >"$work/initramfs"
}

emulate() {
	cargo run --quiet --manifest-path "$top/tools/Cargo.toml" --package ivshmem-emu -- --launch \
		--qemu "$enter qemu-system-x86_64" "$@" -- -machine q35 -cpu max -m 192 -nodefaults -no-reboot \
		-display none -serial stdio -kernel "$kernel" -initrd "$work/initramfs" \
		-append "console=ttyS0 quiet loglevel=0 panic=-1 VM={vm} EXAMPLE=${0##*/}"
}
