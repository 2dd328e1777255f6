# SPDX-License-Identifier: GPL-2.0-only OR MIT
# What the scripts share that fetch packages of Debian for guests, once: each has a directory beside the sandbox, which is removed
# with it. Sourced by bash after lib.sh, with `here`, and with a function `fetch`, which makes that directory's contents in the
# present one.
# shellcheck shell=bash disable=SC2154

# fetched NAME WHAT KEY [--where]: fetch WHAT unless it is there; or only print where it is, or will be. NAME begins the
# directory's name, KEY ends it.
fetched() {
	local what=$2 kept=$cache/$1-$3
	local partial=$kept.partial # what `prepare` knows as left by a run that died
	case ${4-} in
	--where)
		echo "$kept"
		return
		;;
	'') [ ! -d "$kept" ] || return 0 ;;
	*) die "unknown argument '$4'. It takes none, or --where." ;;
	esac
	need_sandbox "$debian"
	exec {lock}<>"$kept.lock"
	flock "$lock"
	[ ! -d "$kept" ] || return 0
	echo "Fetching $what: once, about a minute. Log: $kept.log"
	rm -rf -- "$partial"
	mkdir -- "$partial"
	cd -- "$partial" || exit
	# In the background, for within a list with || the shell would not stop at an error.
	(fetch) >"$kept.log" 2>&1 </dev/null &
	wait $! || { tail -n 12 -- "$kept.log" >&2; die "that failed; the whole log is $kept.log"; }
	cd -- "$cache" || exit
	mv -- "$partial" "$kept"
	rm -f -- "$kept.lock"
}

# apt COMMAND...: with the Debian tree's keys, and all its own files in this directory.
apt() {
	local command=$1
	shift
	"$here/enter" "$command" -o Dir::Etc::SourceList="$PWD/sources" -o Dir::Etc::SourceParts=/dev/null \
		-o Dir::State="$PWD/apt" -o Dir::State::status=/dev/null -o Dir::Cache="$PWD" -o Debug::NoLocking=true \
		-o APT::Sandbox::User=root -o Acquire::Retries=3 "$@" </dev/null
}

# apt_sources ARCHIVE: what apt knows.
apt_sources() {
	local mirror
	mkdir -p apt/lists/partial archives/partial
	mirror=$(sed -n 's/^MIRROR=//p' "$native/manifest")
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $1 main" >sources
	apt apt-get update
}

# apt_clean: leave nothing of all that.
apt_clean() {
	rm -rf apt archives sources ./*.deb ./*.bin
}
