# SPDX-License-Identifier: GPL-2.0-only OR MIT
# Where the sandbox lies and how its scripts speak. Sourced by sh and bash with `here` set to this directory.
# shellcheck shell=sh disable=SC2154

. "$here/versions"
. "$here/extract.sh"

die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# The directory of all sandboxes of this user.
sandbox_cache() {
	[ -n "${XDG_CACHE_HOME:-}${HOME:-}" ] || die "set HOME or XDG_CACHE_HOME: the sandbox is kept below it."
	printf '%s/ivshmem-rs\n' "${XDG_CACHE_HOME:-$HOME/.cache}"
}

# triplet ARCH: what GNU calls the architecture that Debian calls ARCH.
triplet() {
	case $1 in
	amd64) echo x86_64-linux-gnu ;;
	arm64) echo aarch64-linux-gnu ;;
	*) die "the sandbox has no compilers for the architecture '$1'." ;;
	esac
}

# Sets KERNEL_NAME and the variables after it to the line of `kernels` that is called $KERNEL, or to the first; KERNEL_VERSION
# to what its package's version begins with; and what follows from its architecture: KERNEL_ARCH, as the kernel calls it, and
# KERNEL_TRIPLET, what its compiler's name begins with.
# shellcheck disable=SC2034 # for those who source this
select_kernel() {
	kernel_line=$(awk -v name="${KERNEL:-}" '!/^#/ && (name == "" || $1 == name) { $1 = $1; print; exit }' "$here/kernels")
	[ -n "$kernel_line" ] ||
		die "there is no kernel '$KERNEL'. KERNEL is one of:$(awk '!/^#/ { printf " %s", $1 }' "$here/kernels")."
	read -r KERNEL_NAME DEBIAN_ARCH KERNEL_SERIES KERNEL_ARCHIVE KERNEL_FLAVOUR KERNEL_SUITE cc RUSTC_VERSION <<-END
		$kernel_line
	END
	KERNEL_VERSION=$KERNEL_SERIES
	KERNEL_SERIES=${KERNEL_VERSION%~*}
	case $DEBIAN_ARCH in amd64) KERNEL_ARCH=x86 ;; *) KERNEL_ARCH=$DEBIAN_ARCH ;; esac
	KERNEL_TRIPLET=$(triplet "$DEBIAN_ARCH") || exit
	KERNEL_CC=$KERNEL_TRIPLET-$cc
}

# key TEXT FILE...: a name for what TEXT and FILEs determine: with another content, another name.
key() { printf '%s\n' "$1" | (shift; cat -- - "$@") | sha256sum | cut -c -16; }

# Sets the directories that the parts of the selected kernel have, or will have: `native`, the Debian tree, shared by the
# kernels that have the same compilers; `debian`, the tree that is used, which is that one, or for another architecture
# that one with cross compilers; and `sandbox`, the kernel with its build tree.
# shellcheck disable=SC2034 # for those who source this
locate_sandbox() {
	select_kernel
	cache=$(sandbox_cache) || exit
	native=debian-$(key "$KERNEL_SUITE $(triplet "$SANDBOX_ARCH")-$cc $RUSTC_VERSION" \
		"$here/versions" "$here/debian" "$here/debian-hook")
	debian=$native
	[ "$DEBIAN_ARCH" = "$SANDBOX_ARCH" ] || debian=debian-$DEBIAN_ARCH-$(key "$native" "$here/cross" "$here/extend")
	sandbox=$cache/$KERNEL_NAME-$(key "$debian $kernel_line" "$here/packages" "$here/kdir")
	native=$cache/$native
	debian=$cache/$debian
}

# need_sandbox DIR: end with advice unless DIR, one of the two, is there.
need_sandbox() {
	[ -e "$1/manifest" ] || die "the sandbox is not prepared for the kernel $KERNEL_NAME." \
		"Run 'make KERNEL=$KERNEL_NAME sandbox' (once, about 5 minutes)."
}
