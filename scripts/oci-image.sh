#!/usr/bin/env bash
# Makes an image archive of one layer from a folder: an OCI image layout (image-spec v1.0) that also
# holds the manifest.json of `docker save`, so that either kind of reader takes it.
# usage: scripts/oci-image.sh ROOTFS NAME:TAG OUT.tar [--cmd JSON] [--env K=V]... [--workdir DIR] [--volume DIR]... [--expose PORT/PROTO]...
# Needs tar, gzip and sha256sum. The same folder gives the same archive, byte for byte.
set -euo pipefail
[ $# -ge 3 ] || { sed -n '4p' "$0" >&2; exit 2; }
rootfs=$1 name=$2 out=$3; shift 3
cmd='["/bin/sh"]' env='"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"' workdir=/ volumes='' ports=''
while [ $# -gt 0 ]; do
    case $1 in
        --cmd) cmd=$2 ;;
        --env) env="$env,\"$2\"" ;;
        --workdir) workdir=$2 ;;
        --volume) volumes="${volumes:+$volumes,}\"$2\":{}" ;;
        --expose) ports="${ports:+$ports,}\"$2\":{}" ;;
        *) echo "oci-image: unknown option $1" >&2; exit 2 ;;
    esac
    shift 2
done
case $(uname -m) in
    x86_64) arch=amd64 ;;
    aarch64) arch=arm64 ;;
    *) echo "oci-image: no image architecture known for $(uname -m)" >&2; exit 1 ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
blobs=$work/layout/blobs/sha256
mkdir -p "$blobs"
tar_same() { tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --format=gnu "$@"; }
digest() { sha256sum "$1" | cut -d ' ' -f 1; }
size() { stat -c %s "$1"; }
# blob FILE: moves it to where its digest says, prints the digest.
blob() { local d; d=$(digest "$1"); mv "$1" "$blobs/$d"; echo "$d"; }

tar_same -C "$rootfs" -cf "$work/layer.tar" .
diff_id=$(digest "$work/layer.tar")
gzip -n -1 "$work/layer.tar"
layer_size=$(size "$work/layer.tar.gz"); layer=$(blob "$work/layer.tar.gz")

cat > "$work/config" <<JSON
{"created":"1970-01-01T00:00:00Z","architecture":"$arch","os":"linux","config":{"Env":[$env],"Cmd":$cmd,"WorkingDir":"$workdir","Volumes":{$volumes},"ExposedPorts":{$ports}},"rootfs":{"type":"layers","diff_ids":["sha256:$diff_id"]},"history":[{"created":"1970-01-01T00:00:00Z","created_by":"scripts/oci-image.sh"}]}
JSON
config_size=$(size "$work/config"); config=$(blob "$work/config")

cat > "$work/manifest" <<JSON
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:$config","size":$config_size},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:$layer","size":$layer_size}]}
JSON
manifest_size=$(size "$work/manifest"); manifest=$(blob "$work/manifest")

case ${name%%:*} in */*) full=docker.io/$name ;; *) full=docker.io/library/$name ;; esac
cat > "$work/layout/index.json" <<JSON
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:$manifest","size":$manifest_size,"annotations":{"io.containerd.image.name":"$full","org.opencontainers.image.ref.name":"${name##*:}"},"platform":{"architecture":"$arch","os":"linux"}}]}
JSON
printf '[{"Config":"blobs/sha256/%s","RepoTags":["%s"],"Layers":["blobs/sha256/%s"]}]\n' "$config" "$name" "$layer" > "$work/layout/manifest.json"
printf '{"imageLayoutVersion":"1.0.0"}\n' > "$work/layout/oci-layout"
tar_same -C "$work/layout" -cf "$out" .
