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

# The name of the sandbox that these very scripts make: another content of what determines the tree, another name.
sandbox_key() {
	printf '%.16s\n' "$(cat "$here/versions" "$here/debian" "$here/debian-hook" "$here/kdir" | sha256sum)"
}
