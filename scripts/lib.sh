# shellcheck shell=bash
# Sourced by the set-up scripts: installing Debian packages, only where something is missing.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools="$root/.tools"

die() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# install_packages PACKAGE…: does nothing, and needs no network, without arguments.
install_packages() {
    [ $# -gt 0 ] || return 0
    have apt-get || die "please install by hand what these Debian packages hold: $*"
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        have sudo || die "please install as root: apt-get install $*"
        as_root=(sudo)
    fi
    local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300)
    echo "$(basename "$0"): installing $*" >&2
    "${apt[@]}" update >&2
    "${apt[@]}" install --yes --no-install-recommends "$@" >&2
}

# One set-up at a time in this working copy.
take_turns() {
    mkdir -p "$tools"
    exec 9>"$tools/.lock"
    ! have flock || flock 9
}
