//! Archives and images for tests.

use super::digest::Digest;
use super::store::{ImageStore, StoreOptions};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

/// Builds a tar entry by entry; names are written raw, so hostile ones too.
pub(crate) struct TarBuilder(Vec<u8>);

impl TarBuilder {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn file(self, path: &str, mode: u32, content: &str) -> Self {
        self.entry(EntryType::Regular, path, "", mode, (0, 0), content.as_bytes())
    }

    pub(crate) fn dir(self, path: &str, mode: u32) -> Self {
        self.entry(EntryType::Directory, path, "", mode, (0, 0), b"")
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, path, target, 0o777, (0, 0), b"")
    }

    pub(crate) fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Link, path, target, 0o644, (0, 0), b"")
    }

    pub(crate) fn whiteout(self, path: &str) -> Self {
        self.file(path, 0o644, "")
    }

    pub(crate) fn owned(self, path: &str, mode: u32, owner: (u64, u64)) -> Self {
        let kind = if path.ends_with('/') { EntryType::Directory } else { EntryType::Regular };
        self.entry(kind, path, "", mode, owner, b"")
    }

    pub(crate) fn entry(
        self,
        kind: EntryType,
        path: &str,
        link: &str,
        mode: u32,
        owner: (u64, u64),
        content: &[u8],
    ) -> Self {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(owner.0);
        header.set_gid(owner.1);
        header.set_mtime(1_000_000_000);
        header.set_size(content.len() as u64);
        header.set_device_major(0).expect("gnu header");
        header.set_device_minor(0).expect("gnu header");
        header.set_cksum();
        self.raw(header.as_bytes()).raw(content).pad()
    }

    /// An extended attribute of the next entry.
    pub(crate) fn xattr(self, key: &str, value: &[u8]) -> Self {
        let body = key.len() + value.len() + "SCHILY.xattr.".len() + 3;
        let length = (body + 1..).find(|n| n.to_string().len() + body == *n).expect("some length fits");
        let record = [format!("{length} SCHILY.xattr.{key}=").as_bytes(), value, b"\n"].concat();
        self.entry(EntryType::XHeader, "pax", "", 0o644, (0, 0), &record)
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn pad(mut self) -> Self {
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("compress");
    encoder.finish().expect("compress")
}

/// A store in a new directory.
pub(crate) fn store() -> (TempDir, ImageStore) {
    let dir = tempfile::tempdir().expect("tempdir");
    let store = ImageStore::open(&dir.path().join("images"), StoreOptions::default()).expect("opens");
    (dir, store)
}

/// The parts of an image made of plain layers.
pub(crate) struct TestImage {
    pub config: Vec<u8>,
    pub layers: Vec<Vec<u8>>,
}

impl TestImage {
    /// `layers` are plain tars; `extra` goes into the configuration's `config` object.
    pub(crate) fn new(layers: Vec<Vec<u8>>, extra: &str) -> Self {
        let arch = super::platform::Platform::host().architecture;
        let ids: Vec<String> = layers.iter().map(|l| format!("\"{}\"", Digest::sha256(l))).collect();
        let config = format!(
            r#"{{"architecture":"{arch}","os":"linux","created":"2024-01-02T03:04:05Z","config":{{{extra}}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
            ids.join(",")
        );
        Self { config: config.into_bytes(), layers }
    }

    pub(crate) fn id(&self) -> Digest {
        Digest::sha256(&self.config)
    }

    /// As old `docker save` writes it, with the description last.
    pub(crate) fn docker_save(&self, tags: &[&str]) -> Vec<u8> {
        let mut archive = Archive::new();
        let mut names = Vec::new();
        for (i, layer) in self.layers.iter().enumerate() {
            let name = format!("layer{i}/layer.tar");
            archive.add(&name, layer);
            names.push(name);
        }
        let config = format!("{}.json", self.id().hex());
        archive.add(&config, &self.config);
        let manifest = serde_json::json!([{ "Config": config, "RepoTags": tags, "Layers": names }]);
        archive.add("manifest.json", manifest.to_string().as_bytes());
        archive.finish()
    }

    /// As a registry holds it, with gzip layers: the manifest, and the blobs by digest.
    pub(crate) fn for_registry(&self) -> (Vec<u8>, BTreeMap<String, Vec<u8>>) {
        let mut blobs = BTreeMap::new();
        let mut layers = Vec::new();
        for layer in &self.layers {
            let packed = gzip(layer);
            let digest = Digest::sha256(&packed).to_string();
            let kind = "application/vnd.oci.image.layer.v1.tar+gzip";
            layers.push(serde_json::json!({ "mediaType": kind, "digest": digest, "size": packed.len() }));
            blobs.insert(digest, packed);
        }
        blobs.insert(self.id().to_string(), self.config.clone());
        let manifest = serde_json::json!({ "schemaVersion": 2, "layers": layers,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": self.id(), "size": self.config.len() } });
        (manifest.to_string().into_bytes(), blobs)
    }

    /// An OCI archive with gzip layers; the annotation is given as it is.
    pub(crate) fn oci(&self, annotations: serde_json::Value) -> Vec<u8> {
        let mut archive = Archive::new();
        archive.add("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        let mut layers = Vec::new();
        for layer in &self.layers {
            let packed = gzip(layer);
            let digest = archive.blob(&packed);
            layers.push(serde_json::json!({ "mediaType": "x", "digest": digest, "size": packed.len() }));
        }
        let config = archive.blob(&self.config);
        let manifest = serde_json::json!({ "schemaVersion": 2, "layers": layers,
            "config": { "mediaType": "x", "digest": config, "size": self.config.len() } })
        .to_string();
        let digest = archive.blob(manifest.as_bytes());
        let index = serde_json::json!({ "schemaVersion": 2, "manifests": [
            { "mediaType": "x", "digest": digest, "size": manifest.len(), "annotations": annotations }] });
        archive.add("index.json", index.to_string().as_bytes());
        archive.finish()
    }
}

struct Archive(Builder<Vec<u8>>);

impl Archive {
    fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    fn add(&mut self, name: &str, content: &[u8]) {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        self.0.append_data(&mut header, Path::new(name), content).expect("append");
    }

    fn blob(&mut self, content: &[u8]) -> String {
        let digest = Digest::sha256(content);
        self.add(&format!("blobs/sha256/{}", digest.hex()), content);
        digest.to_string()
    }

    fn finish(self) -> Vec<u8> {
        self.0.into_inner().expect("finish")
    }
}
