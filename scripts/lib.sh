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
    echo "$(basename "$0"): installing $*" >&2
    update_packages
    apt_as_root install --yes --no-install-recommends "$@" >&2
}

# update_packages: learns what packages there are.
update_packages() {
    apt_as_root update >&2
}

apt_as_root() {
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        have sudo || die "please run as root: apt-get $*"
        as_root=(sudo)
    fi
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@"
}

# setup_pip: python3 with pip, which some programs come by.
setup_pip() {
    local missing=()
    have python3 || missing+=(python3)
    have python3 && python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
    install_packages "${missing[@]}"
}

# One set-up at a time in this working copy.
take_turns() {
    mkdir -p "$tools"
    exec 9>"$tools/.lock"
    ! have flock || flock 9
}
