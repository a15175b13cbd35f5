#!/usr/bin/env bash
# Installs what building, testing and the demo need and the machine lacks. Debian 12, Ubuntu 24.04.
# usage: scripts/setup.sh build|test|check|demo ...
# Prints nothing when nothing is missing. Run as root, or as a user who may use sudo.
set -euo pipefail

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else die "needs root for: $* (run as root, or install sudo)"
    fi
}

# The package of each command, so that a machine which has the command by other means is left alone.
packages() {
    local missing=() pair
    for pair in "$@"; do
        command -v "${pair%%=*}" >/dev/null || PATH=$PATH:/usr/sbin:/sbin command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
    done
    [ -e /usr/include/stdlib.h ] || missing+=(libc6-dev)
    [ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)
    [ ${#missing[@]} = 0 ] && return
    command -v apt-get >/dev/null || die "no apt-get here; install by hand what gives these packages on Debian: ${missing[*]}"
    say "installing ${missing[*]}"
    as_root apt-get -qq update >&2
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 install "${missing[@]}" >/dev/null
}

# cargo_tool COMMAND CRATE: built from source, once; nothing prebuilt is downloaded.
cargo_tool() {
    cargo "$1" --version >/dev/null 2>&1 && return
    say "building $2 (once, some minutes)"
    cargo install --quiet --locked "$2"
}

command -v cargo >/dev/null || die "no cargo in PATH; install Rust first: https://rustup.rs"
[ $# -gt 0 ] || die "usage: scripts/setup.sh build|test|check|demo ..."
# A C linker for Rust; nft, which the daemon drives; busybox and redis, of which the images of the
# demo and of the tests are made (redis-tools holds the server too and starts no service).
for part in "$@"; do
    case $part in
        build) packages cc=gcc ;;
        demo) packages cc=gcc nft=nftables busybox=busybox-static redis-check-rdb=redis-tools ;;
        test) packages cc=gcc nft=nftables busybox=busybox-static redis-check-rdb=redis-tools; cargo_tool nextest cargo-nextest ;;
        check) packages cc=gcc; cargo_tool deny cargo-deny ;;
        *) die "unknown part '$part'; known: build test check demo" ;;
    esac
done
