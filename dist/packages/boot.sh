# SPDX-License-Identifier: GPL-2.0-only OR MIT
# Booting a copy of a Debian tree, in RAM, without KVM. Sourced by bash after lib.sh, with what the sandbox's `info` says, and
# `scratch`, a directory.
# shellcheck shell=bash disable=SC2154

# prepare_boot ROOT CHECKS: a file system, $scratch/initramfs, of the tree mounted at ROOT without its compilers. It runs
# `guest-check CHECKS` and ends.
prepare_boot() {
	local root=$1
	cp "$here/guest-check" "$root/usr/local/bin/"
	cp "$root/usr/share/doc/ivshmem-server/example.toml" "$root/usr/share/doc/ivshmem-server/ivshmem-server.apparmor" \
		"$root/usr/local/share/"
	cat >"$root/etc/systemd/system/guest-check.service" <<-END
		[Unit]
		After=multi-user.target systemd-udev-settle.service
		Wants=systemd-udev-settle.service
		[Service]
		Type=oneshot
		ExecStart=/usr/local/bin/guest-check $2
		ExecStopPost=/usr/bin/systemctl --force --force poweroff
		StandardOutput=file:/dev/ttyS0
		StandardError=inherit
		[Install]
		WantedBy=default.target
	END
	mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
	ln -sf ../guest-check.service "$root/etc/systemd/system/multi-user.target.wants/"
	ln -sf lib/systemd/systemd "$root/usr/init"
	# Without what guest-check needs not, and without what keeps daemons from starting in the tree.
	(cd "$root" && find . -xdev \( -path ./proc -o -path ./dev -o -path ./packages -o -path './usr/src/linux-*' \
		-o -path './usr/src/rustc-*' -o -path './usr/lib/llvm*' -o -path ./usr/lib/rustlib -o -path './usr/lib/modules/*/kernel' \
		-o -path ./usr/lib/gcc -o -path ./usr/libexec/gcc -o -path ./var/cache -o -path ./var/lib/apt -o -path ./usr/share/doc \
		-o -path ./usr/share/locale -o -path ./usr/share/perl -o -path ./usr/share/man -o -path ./usr/sbin/policy-rc.d \
		-o -name 'libLLVM*.so*' -o -name 'libclang*.so*' -o -name 'librustc*.so*' -o -name '*.a' \) -prune -o -print0 |
		"$BUSYBOX" cpio -0 -o -H newc) >"$scratch/initramfs"
}

# boot QEMU-OPTIONS...: boot that file system under the sandbox's kernel, and say what guest-check said. Fails unless all was
# well: the last line of guest-check decides that, however QEMU ended and whatever else there is on the console.
boot() {
	# A login on the line would hang it up, and with it guest-check.
	local quiet="systemd.show_status=false systemd.mask=serial-getty@ttyS0.service"
	timeout 900 "$ENTER" qemu-system-x86_64 -accel tcg -M q35 -cpu max -smp 2 -m 3G -nodefaults -display none -no-reboot \
		-kernel "$VMLINUZ" -initrd "$scratch/initramfs" -append "console=ttyS0 rdinit=/usr/lib/systemd/systemd panic=-1 $quiet" \
		-serial "file:$scratch/console" "$@" || true
	tr -d '\r' <"$scratch/console" | grep -a '^check: ' || true
	grep -aq '^check: all is well' "$scratch/console" || { tail -n 60 "$scratch/console"; return 1; }
}
