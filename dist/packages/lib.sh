# SPDX-License-Identifier: GPL-2.0-only OR MIT
# What the scripts here share: cached Debian trees, and running commands in a copy of one. Sourced by bash with `here` set to
# this directory.
# shellcheck shell=bash disable=SC2154

shopt -s inherit_errexit
checkout=$(CDPATH='' cd -- "$here/../.." && pwd)
. "$checkout/tools/scripts/sandbox/versions"
. "$checkout/tools/scripts/sandbox/extract.sh"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/ivshmem-rs-packages
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}

die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

[ "$(id -u)" = 0 ] || die "it needs root, because it installs packages in Debian trees."

# In a mount namespace of its own, so that no mount outlives the script.
if [ -z "${IN_NAMESPACE:-}" ]; then
	IN_NAMESPACE=1 exec unshare --mount --propagation private "$0" "$@"
fi

# One run at a time: they share the trees, the packages and the crates.
mkdir -p "$cache"
exec {lock}>"$cache/lock"
flock --nonblock "$lock" || { echo "Another run is at work in $cache; waiting for it to end." >&2; flock "$lock"; }

# tree PACKAGES [SUITE]: print the directory of a tree of Debian's SUITE, by default the sandbox's, with the PACKAGES, a list with
# commas; make it if it is not there.
tree() {
	local dir suite=${2:-$SANDBOX_SUITE}
	dir=$cache/$(printf '%s %s' "$suite" "$1" | sha256sum | head -c 16)
	if [ ! -d "$dir" ]; then
		command -v mmdebstrap >/dev/null || die "the Debian trees are made by mmdebstrap. Install the package mmdebstrap."
		rm -rf "$dir.partial"
		mkdir "$dir.partial"
		echo "Making a Debian tree in $dir" >&2
		mmdebstrap --quiet --variant=minbase --aptopt='APT::Install-Recommends "false"' --include="$1" "$suite" - \
			"deb $mirror $suite main" "deb $mirror $suite-backports main" |
			extract "$dir.partial" --exclude='./dev/*'
		mv "$dir.partial" "$dir"
	fi
	echo "$dir"
}

# copy_of TREE DIR: mount, as DIR/root, what begins as TREE and can be changed; what changed is in DIR/changes.
copy_of() {
	mkdir -p "$2/changes" "$2/work" "$2/root" "$cache/archives/partial"
	mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/changes,workdir=$2/work" "$2/root"
	mount -t proc proc "$2/root/proc"
	mount --rbind /dev "$2/root/dev"
	cat /etc/resolv.conf >"$2/root/etc/resolv.conf"
	# Packages are downloaded once.
	mount -o bind "$cache/archives" "$2/root/var/cache/apt/archives"
	echo 'Binary::apt-get::APT::Keep-Downloaded-Packages "true";' >"$2/root/etc/apt/apt.conf.d/keep"
	# Daemons shall not start in the tree.
	printf '#!/bin/sh\nexit 101\n' >"$2/root/usr/sbin/policy-rc.d"
	chmod +x "$2/root/usr/sbin/policy-rc.d"
}

# inside ROOT COMMAND...: run COMMAND in the tree that is mounted at ROOT.
inside() {
	local root=$1
	shift
	env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
		${http_proxy:+http_proxy="$http_proxy"} chroot "$root" "$@" </dev/null
}
