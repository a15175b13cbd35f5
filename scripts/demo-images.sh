#!/usr/bin/env bash
# Makes the images of compose/demo.yml from packages of the distribution, under the names of the
# public images, and loads them into hosts, so that the demo needs no image registry.
# usage: scripts/demo-images.sh make DIR            write the archives into DIR
#        scripts/demo-images.sh load DIR SWARM SOCKET...   load them through each daemon's socket
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
PATH=$PATH:/usr/sbin:/sbin

# with_libs ROOTFS FILE DEST: a program and the libraries it is linked to, at their own paths.
with_libs() {
    local lib
    install -D -m 0755 "$(readlink -f "$2")" "$1$3"
    # A static program has none.
    for lib in $(ldd "$2" 2>/dev/null | grep -o '/[^ ]*' || true); do
        [ -e "$1$lib" ] || install -D -m 0755 "$(readlink -f "$lib")" "$1$lib"
    done
}

# A root file system with a shell and the tools of busybox.
base() {
    local applet
    mkdir -p "$1"/{bin,dev,etc,proc,sys,root,run,var,usr/bin}
    install -d -m 1777 "$1/tmp"
    with_libs "$1" "$(command -v busybox)" /bin/busybox
    busybox --list | while read -r applet; do
        [ "$applet" = busybox ] || ln -s busybox "$1/bin/$applet"
    done
    printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' > "$1/etc/passwd"
    printf 'root:x:0:\nnobody:x:65534:\n' > "$1/etc/group"
}

make_images() {
    local out=$1 root
    mkdir -p "$out"
    root=$(mktemp -d)
    base "$root/busybox"
    "$here/oci-image.sh" "$root/busybox" busybox:1.36 "$out/busybox.tar" --cmd '["sh"]'
    cp -a "$root/busybox" "$root/redis"
    # redis-server is redis-check-rdb under another name (redis-tools, Debian and Ubuntu).
    with_libs "$root/redis" "$(command -v redis-check-rdb)" /usr/bin/redis-server
    with_libs "$root/redis" "$(command -v redis-cli)" /usr/bin/redis-cli
    mkdir "$root/redis/data"
    "$here/oci-image.sh" "$root/redis" redis:7-alpine "$out/redis.tar" \
        --cmd '["redis-server"]' --workdir /data --volume /data --expose 6379/tcp
    rm -rf "$root"
}

load_images() {
    local dir=$1 swarm=$2 socket archive; shift 2
    for socket in "$@"; do
        for archive in "$dir"/*.tar; do
            "$swarm" -H "unix://$socket" image load -i "$archive"
        done
    done
}

case ${1-} in
    make) make_images "${2:?folder}" ;;
    load) shift; load_images "$@" ;;
    base) base "${2:?folder}" ;;
    *) sed -n '4,5p' "$0" >&2; exit 2 ;;
esac
