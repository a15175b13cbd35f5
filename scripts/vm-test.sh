#!/usr/bin/env bash
# Runs the runtime's tests and the whole binary on a real cgroup v2 host: a virtual machine with the
# distribution's kernel, in which cgroup2 is the only hierarchy. For machines that boot with v1 or both.
# usage: scripts/vm-test.sh [runtime|swarm]...       VM_FILTER=NAME: only the tests with NAME in theirs
# Downloads distribution packages only and installs none of them; everything is in target/vm. Needs what
# `scripts/setup.sh vm` installs, and no root. The processor is emulated; VM_ACCEL=kvm is faster where it works
# (a /dev/kvm inside a virtual machine often does not).
set -euo pipefail
export LC_ALL=C CARGO_TERM_COLOR=never PATH=$PATH:/usr/sbin:/sbin
unset CARGO_TARGET_DIR

# Seconds until a machine that does not end is ended; emulated on two cores it takes a quarter of that.
bound=${VM_SECONDS_MAX:-1200}
memory_mib=1536
accelerator=${VM_ACCEL:-tcg}

say() { printf 'vm-test: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

top=$(cd "$(dirname "$0")/.." && pwd)
vm=$top/target/vm root=$top/target/vm/root boot=$top/target/vm/boot
[ "$(uname -m)" = x86_64 ] || die "only x86_64 is known here"
[ $# -gt 0 ] || set -- runtime swarm

# unpack PACKAGE...: the files of each package in target/vm/PACKAGE, downloaded once per version.
unpack() {
    local package version
    for package in "$@"; do
        version=$(apt-cache policy "$package" | awk '$1 == "Candidate:" { print $2 }')
        case $version in ''|'(none)') die "the package $package is not to be had: run apt-get update" ;; esac
        [ -e "$vm/$package/.is-$version" ] && continue
        say "fetching $package $version"
        rm -rf "${vm:?}/$package" "$vm/$package"_*.deb; mkdir -p "$vm/$package"
        (cd "$vm" && apt-get -qq -o APT::Sandbox::User="$(id -un)" download "$package")
        dpkg-deb -x "$vm/$package"_*.deb "$vm/$package"
        rm -f "$vm/$package"_*.deb; touch "$vm/$package/.is-$version"
    done
}

# The kernel that the distribution's meta package depends on; Ubuntu has the modules in a package of their own.
fetch_kernel() {
    local meta image=''
    for meta in linux-image-amd64 linux-image-virtual; do
        image=$(apt-cache depends "$meta" 2>/dev/null | awk '/Depends: linux-image-[0-9]/ { print $2; exit }')
        [ -z "$image" ] || break
    done
    [ -n "$image" ] || die "no kernel package is to be had: run apt-get update"
    release=${image#linux-image-} kernel=$vm/$image/boot/vmlinuz-${image#linux-image-} modules=$vm/$image
    unpack "$image"
    if [ ! -d "$vm/$image/lib/modules" ]; then unpack "linux-modules-$release"; modules=$vm/linux-modules-$release; fi
    modules=$modules/lib/modules/$release
}

# modules_into DIR PART...: these parts of the kernel's modules, with the index that modprobe reads.
modules_into() {
    local to=$1/lib/modules/$release part; shift
    for part in "$@"; do
        mkdir -p "$to/kernel/$(dirname "$part")"
        cp -r "$modules/kernel/$part"* "$to/kernel/$(dirname "$part")/" 2>/dev/null || true  # else it is built in
    done
    find "$to" -name '*.ko.zst' -exec zstd -q -d --rm {} +  # busybox cannot read these
    cp "$modules"/modules.{order,builtin}* "$to/"
    depmod -b "${to%/lib/modules/*}" "$release"
}

# put FILE [PATH]: a program at its own path, or this one, with the libraries it is linked to.
put() {
    local library
    install -D "$1" "$root${2:-$1}"
    for library in $(ldd "$1" 2>/dev/null | grep -o '/[^ ]*'); do install -D "$library" "$root$library"; done
}

found() { command -v "$1" || die "no $1: run scripts/setup.sh vm"; }

# The root file system: busybox, ip and nft, runc to compare with, and what is tested.
make_root() {
    local dir program
    rm -rf "$root"; mkdir -p "$root"/{usr/{bin,sbin,lib,lib64},proc,sys,dev,run,tmp,etc,root,var/lib,tests}
    for dir in bin sbin lib lib64; do ln -s "usr/$dir" "$root/$dir"; done
    for program in busybox mount umount unshare ip nft; do put "$(found $program)" "/usr/bin/$program"; done
    ln -s ../bin/busybox "$root/usr/sbin/modprobe"  # where the kernel looks for it
    unpack runc; put "$vm/runc/usr/sbin/runc" /usr/sbin/runc
    [ ! -x "$top/target/tools/docker-registry" ] || put "$top/target/tools/docker-registry" /usr/bin/docker-registry
    echo 'root:x:0:0:root:/root:/bin/sh' > "$root/etc/passwd"; echo 'root:x:0:' > "$root/etc/group"
    echo '127.0.0.1 localhost' > "$root/etc/hosts"; install -D /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
    modules_into "$root" net lib crypto arch/x86/crypto fs/{overlayfs,fuse} drivers/net/{tun,veth,dummy}
    install -m 755 "$top"/scripts/vm/*.sh "$root/tests/"
}

# What was built, stripped: the disk holds a copy.
put_runtime() {
    local test path
    say "building the runtime's tests"
    path=$(cd "$top" && cargo build --locked --quiet -p runtime --bins && cargo test --locked -p runtime --no-run 2>&1) \
        || die "the tests do not build: $path"
    for test in $(sed -n 's/.*Executable .*(\(.*\))/\1/p' <<< "$path"); do
        path=$(basename "$test"); put "$top/$test" "/tests/runtime-tests/${path%-*}"
    done
    put "$top/target/debug/runtime-shim"
    strip "$root"/tests/runtime-tests/* "$root$top/target/debug/runtime-shim"
}

put_swarm() {
    say "building swarm"
    (cd "$top" && cargo build --locked --quiet -p swarm)
    put "$top/target/debug/swarm" /usr/bin/swarm; strip "$root/usr/bin/swarm"
    mkdir -p "$vm/image/bin"; cp "$root/usr/bin/busybox" "$vm/image/bin/"
    local name; for name in sh sleep echo cat httpd wget; do ln -sf busybox "$vm/image/bin/$name"; done
    "$top/scripts/oci-image.sh" "$vm/image" busybox:vm "$root/tests/busybox.tar" >/dev/null
}

# The disk, one to swap to, and the small first root that mounts the former.
make_disks() {
    rm -rf "$boot"; mkdir -p "$boot"/{bin,dev,proc,sys,root}
    cp "$root/usr/bin/busybox" "$boot/bin/busybox"; install -m 755 "$top/scripts/vm/boot.sh" "$boot/init"; rm "$root/tests/boot.sh"
    modules_into "$boot" drivers/virtio drivers/block/virtio_blk fs/{ext4,jbd2,mbcache} lib crypto/crc
    (cd "$boot" && find . | cpio --quiet -o -R 0:0 -H newc | gzip -1) > "$vm/boot.img"
    rm -f "$vm"/{disk,swap}.img; truncate -s 2G "$vm/disk.img"; truncate -s 256M "$vm/swap.img"
    mke2fs -q -t ext4 -E root_owner=0:0 -d "$root" "$vm/disk.img"
    mkswap -q "$vm/swap.img" >/dev/null
}

run_machine() {
    local began=$SECONDS verdict
    rm -f "$vm/verdict"
    say "booting Linux $release ($accelerator, at most $bound s); the output is kept in target/vm/console.log"
    # The first serial line is the output, the second takes the verdict.
    timeout --foreground "$bound" qemu-system-x86_64 -accel "$accelerator" -cpu max -smp 2 -m "$memory_mib" -nodefaults -no-reboot \
        -display none -serial stdio -serial "file:$vm/verdict" -nic none \
        -drive "file=$vm/disk.img,if=virtio,format=raw,cache=unsafe" -drive "file=$vm/swap.img,if=virtio,format=raw,cache=unsafe" \
        -kernel "$kernel" -initrd "$vm/boot.img" -append "console=ttyS0 quiet panic=-1 cgroup_no_v1=all parts=$(IFS=,; echo "$*") filter=${VM_FILTER-}" \
        < /dev/null | tr -d '\r' | tee "$vm/console.log" || say "the machine did not end by itself"
    verdict=$(tr -d '\r\n' < "$vm/verdict" 2>/dev/null || true)
    [ "$verdict" = passed ] || die "FAILED after $((SECONDS - began)) s: ${verdict:-no verdict came}"
    say "passed in $((SECONDS - began)) s"
}

found qemu-system-x86_64 >/dev/null
mkdir -p "$vm"; fetch_kernel; make_root
for part in "$@"; do
    case $part in
        runtime) put_runtime ;;
        swarm) put_swarm ;;
        *) die "unknown part '$part'; known: runtime swarm" ;;
    esac
done
make_disks; run_machine "$@"
