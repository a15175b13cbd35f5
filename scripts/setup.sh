#!/usr/bin/env bash
# Installs what building, testing and the demo need and the machine lacks. Debian 12, Ubuntu 24.04.
# usage: scripts/setup.sh build|test|check|demo|bench|fuzz|vm ...
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

# take_out COMMAND PACKAGE...: one program out of the first of these packages that there is, into
# target/tools. For programs that tests use, whose packages would start a service if they were installed.
take_out() {
    local tools=$top/target/tools command=$1 work package; shift
    command -v "$command" >/dev/null || [ -x "$tools/$command" ] || {
        say "fetching the program $command (not its service) into target/tools"
        as_root apt-get -qq update >&2
        work=$(mktemp -d); mkdir -p "$tools"
        for package in "$@"; do
            (cd "$work" && apt-get -qq -o APT::Sandbox::User=root download "$package" 2>/dev/null) || continue
            dpkg-deb --fsys-tarfile "$work"/*.deb | tar -xO "./usr/bin/$command" > "$tools/$command.part" 2>/dev/null || { rm -f "$work"/*.deb; continue; }
            chmod 755 "$tools/$command.part"; mv "$tools/$command.part" "$tools/$command"
            break
        done
        rm -rf "$work"
        [ -x "$tools/$command" ] || die "none of the packages $* can be fetched: install the program $command by hand"
    }
}

# docker-py, of the version the tests were written with, into target/tools/python.
take_docker_py() {
    local into=$top/target/tools/python
    PYTHONPATH=$into python3 -c 'import docker' 2>/dev/null && return
    say "installing docker-py into target/tools/python"
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$into" docker==7.1.0 >&2
}

# The peer that `make bench` measures beside: Docker's engine, unpacked into target/tools/peer and not installed,
# so that no service is started. Where it cannot be had the bench says so and goes on.
take_peer() {
    local peer=$top/target/tools/peer work package
    [ -x "$peer/usr/sbin/dockerd" ] || [ -x "$peer/usr/bin/dockerd" ] && return
    say "fetching Docker's engine (not its service) into target/tools/peer"
    as_root apt-get -qq update >&2
    work=$(mktemp -d); mkdir -p "$peer"
    for package in docker.io containerd runc tini; do
        (cd "$work" && apt-get -qq -o APT::Sandbox::User=root download "$package") || say "no package $package"
    done
    for package in "$work"/*.deb; do [ ! -e "$package" ] || dpkg-deb -x "$package" "$peer"; done
    rm -rf "$work"
}

top=$(cd "$(dirname "$0")/.." && pwd)
command -v cargo >/dev/null || die "no cargo in PATH; install Rust first: https://rustup.rs"
[ $# -gt 0 ] || die "usage: scripts/setup.sh build|test|check|demo|bench|fuzz|vm ..."
# A C linker for Rust; nft, which the daemon drives; ip and iptables, with which tests make hosts and
# their firewalls; busybox and redis, of which the images of the demo and of the tests are made
# (redis-tools holds the server too and starts no service).
for part in "$@"; do
    case $part in
        build) packages cc=gcc ;;
        demo) packages cc=gcc nft=nftables busybox=busybox-static redis-check-rdb=redis-tools ;;
        test) packages cc=gcc nft=nftables ip=iproute2 iptables=iptables busybox=busybox-static redis-check-rdb=redis-tools \
                python3=python3 pip3=python3-pip
            take_docker_py
            # The command line as a client, a registry to pull from. The former is in docker.io in older releases.
            take_out docker docker-cli docker.io; take_out docker-registry docker-registry
            take_out prometheus prometheus
            cargo_tool nextest cargo-nextest ;;
        bench) packages cc=gcc nft=nftables ip=iproute2 iptables=iptables busybox=busybox-static
            take_out docker docker-cli docker.io; take_out docker-registry docker-registry
            take_peer ;;
        # A machine to boot, what makes its disks, and what goes onto them.
        vm) packages cc=gcc qemu-system-x86_64=qemu-system-x86 mke2fs=e2fsprogs cpio=cpio depmod=kmod zstd=zstd strip=binutils \
            busybox=busybox-static ip=iproute2 nft=nftables ;;
        check) packages cc=gcc; cargo_tool deny cargo-deny ;;
        # The fuzzer's engine is C++.
        fuzz) packages cc=gcc c++=g++; cargo_tool fuzz cargo-fuzz ;;
        *) die "unknown part '$part'; known: build test check demo bench fuzz vm" ;;
    esac
done
