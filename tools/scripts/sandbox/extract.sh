# SPDX-License-Identifier: GPL-2.0-only OR MIT
# Sourced by sh and bash.
# shellcheck shell=sh

# extract DIR [OPTION...]: unpack the archive that is read, in DIR; OPTIONs are those of tar.
#
# To its last byte: tar itself leaves at the mark of the end, and whoever writes the padding behind that after it has gone
# fails, and with it a pipeline of `set -o pipefail`.
extract() {
	tar -x -C "$@" && cat >/dev/null
}
