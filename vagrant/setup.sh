#!/bin/bash
# Installs what frazil's checks and demonstrations need, then runs a command with it:
#
#   vagrant/setup.sh [--lab|--vms] [COMMAND ARGUMENT...]
#
# Without --lab: Python and a virtual environment with what requirements-dev.lock pins, kept in
# ${FRAZIL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/frazil}. With it: also the Debian packages
# that build and run test guests; with --vms: those for Vagrant's machines. What is there already
# is left alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cache=${FRAZIL_CACHE:-${XDG_CACHE_HOME:-${HOME:?}/.cache}/frazil}
python=/usr/bin/python3
lock=requirements-dev.lock
mkdir -p "$cache"

say() { echo "setup: $*" >&2; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Run a command quietly; when it fails, show the end of what it said.
quietly() {
    local log
    log=$(mktemp "$cache/setup-XXXXXX.log")
    if ! "$@" >"$log" 2>&1 </dev/null; then
        tail -n 40 "$log" >&2
        say "failed: $* (all of it: $log)"
        return 1
    fi
    rm -f "$log"
}

# Those of the packages named that are not installed.
missing() {
    local installed
    installed=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' "$@" 2>/dev/null |
        sed -n 's/^installed //p' || true)
    comm -23 <(printf '%s\n' "$@" | sort -u) <(sort -u <<<"$installed")
}

install_packages() {
    local wanted
    if ! command -v dpkg-query >/dev/null; then
        say "this is not Debian; taken to be here: $*"
        return
    fi
    mapfile -t wanted < <(missing "$@")
    [ ${#wanted[@]} -gt 0 ] || return 0
    say "installing with apt: ${wanted[*]}"
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300
        -o Acquire::Retries=3)
    quietly as_root "${apt[@]}" update
    quietly as_root "${apt[@]}" install --yes --no-install-recommends "${wanted[@]}"
}

# One package a line; what stands behind # is a remark.
packages_in() { sed 's/#.*//' "$1"; }

# The name carries all that the environment depends on; .complete is made last.
environment_path() {
    local version
    version=$("$python" -c 'import sys; print(*sys.version_info[:3])')
    echo "$cache/venv-$({ echo "$python $version"; cat "$lock"; } | sha256sum | cut -c1-16)"
}

make_environment() {
    say "making the Python environment $1"
    rm -rf "$1"
    quietly "$python" -m venv "$1"
    quietly "$1/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
        --no-deps --only-binary=:all: -r "$lock"
    find "$cache" -maxdepth 1 -name 'venv-*' -mtime +30 -exec rm -rf {} +
    touch "$1/.complete"
}

ensure_environment() {
    if [ ! -e "$1/.complete" ]; then
        exec 9>"$cache/.venv.lock"
        flock 9
        [ -e "$1/.complete" ] || make_environment "$1"
        exec 9>&-
    fi
    touch "$1" # In use: not to be swept away.
}

# etcd-server, for the tests of the authority: 24 MB installed, 8 MB to download.
packages=(python3 python3-venv etcd-server)
case ${1:-} in
--lab) list=vagrant/lab/apt-packages.txt ;;
--vms) list=vagrant/box/apt-packages.txt ;;
*) list= ;;
esac
if [ -n "$list" ]; then
    shift
    mapfile -t -O 3 packages < <(packages_in "$list" | tr -s ' \t' '\n' | sed '/^$/d')
fi
install_packages "${packages[@]}"
environment=$(environment_path)
ensure_environment "$environment"
[ $# -gt 0 ] || exit 0
export VIRTUAL_ENV=$environment PATH=$environment/bin:$PATH
exec "$@"
