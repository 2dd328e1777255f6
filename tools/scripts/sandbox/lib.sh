# SPDX-License-Identifier: GPL-2.0-only OR MIT
# Where the sandbox lies and how its scripts speak. Sourced by sh and bash with `here` set to this directory.
# shellcheck shell=sh disable=SC2154

. "$here/versions"

die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# The directory of all sandboxes of this user.
sandbox_cache() {
	[ -n "${XDG_CACHE_HOME:-}${HOME:-}" ] || die "set HOME or XDG_CACHE_HOME: the sandbox is kept below it."
	printf '%s/ivshmem-rs\n' "${XDG_CACHE_HOME:-$HOME/.cache}"
}

# Sets KERNEL_NAME and the variables after it to the line of `kernels` that is called $KERNEL, or to the first.
# shellcheck disable=SC2034 # for those who source this
select_kernel() {
	kernel_line=$(awk -v name="${KERNEL:-}" '!/^#/ && (name == "" || $1 == name) { $1 = $1; print; exit }' "$here/kernels")
	[ -n "$kernel_line" ] ||
		die "there is no kernel '$KERNEL'. KERNEL is one of:$(awk '!/^#/ { printf " %s", $1 }' "$here/kernels")."
	read -r KERNEL_NAME KERNEL_SERIES KERNEL_ARCHIVE KERNEL_FLAVOUR KERNEL_SUITE KERNEL_CC RUSTC_VERSION <<-END
		$kernel_line
	END
}

# key TEXT FILE...: a name for what TEXT and FILEs determine: with another content, another name.
key() { printf '%s\n' "$1" | (shift; cat -- - "$@") | sha256sum | cut -c -16; }

# Sets the directories that the parts of the selected kernel have, or will have: `debian`, the Debian tree, shared by the
# kernels that have the same compilers, and `sandbox`, the kernel with its build tree.
# shellcheck disable=SC2034 # for those who source this
locate_sandbox() {
	select_kernel
	cache=$(sandbox_cache) || exit
	debian=debian-$(key "$KERNEL_SUITE $KERNEL_CC $RUSTC_VERSION" "$here/versions" "$here/debian" "$here/debian-hook")
	sandbox=$cache/$KERNEL_NAME-$(key "$debian $kernel_line" "$here/packages" "$here/kdir")
	debian=$cache/$debian
}

# need_sandbox DIR: end with advice unless DIR, one of the two, is there.
need_sandbox() {
	[ -e "$1/manifest" ] || die "the sandbox is not prepared for the kernel $KERNEL_NAME." \
		"Run 'make KERNEL=$KERNEL_NAME sandbox' (once, about 5 minutes)."
}
