//! Which images there are and what they are called: one file, replaced as a whole.

use super::digest::Digest;
use super::disk;
use super::error::{ImageError, Result};
use super::reference::Reference;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Version of the file; a newer one is refused rather than misread.
const CATALOG_VERSION: u32 = 1;

/// One image of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageRecord {
    /// Digest of the configuration.
    pub id: Digest,
    /// Lowest first.
    pub diff_ids: Vec<Digest>,
    /// Lowest first; the directories of its layers.
    pub chain_ids: Vec<Digest>,
    /// Bytes of the files of all layers.
    pub size: u64,
    /// RFC 3339, from the configuration.
    pub created: Option<String>,
    /// The manifest it was pulled by.
    pub manifest: Option<Digest>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Catalog {
    version: u32,
    pub images: BTreeMap<Digest, ImageRecord>,
    /// Name and tag to image.
    pub tags: BTreeMap<Reference, Digest>,
    /// Name and digest of manifest or index to image.
    pub digests: BTreeMap<Reference, Digest>,
}

impl Default for Catalog {
    fn default() -> Self {
        Self { version: CATALOG_VERSION, images: BTreeMap::new(), tags: BTreeMap::new(), digests: BTreeMap::new() }
    }
}

impl Catalog {
    /// Reads the file; none is an empty catalog, a damaged one an error.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(ImageError::io("cannot read", path, e)),
        };
        let bad = |reason: String| ImageError::BadStoreFile { path: path.to_path_buf(), reason };
        let catalog: Catalog = serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?;
        if catalog.version != CATALOG_VERSION {
            return Err(bad(format!("version {} is not known to this build, only {CATALOG_VERSION}", catalog.version)));
        }
        Ok(catalog)
    }

    /// Replaces the file, durably.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(self).map_err(|e| ImageError::io("cannot write", path, e.into()))?;
        disk::write_atomic(path, &bytes)
    }

    /// Finds by full id, by name (a digest in it wins over the tag), or by the first digits of an id.
    pub(crate) fn find(&self, name: &str) -> Result<&ImageRecord> {
        let not_found = || ImageError::NotFound { name: name.chars().take(300).collect() };
        if let Ok(id) = Digest::parse(name) {
            return self.images.get(&id).ok_or_else(not_found);
        }
        let reference = Reference::parse(name);
        if let Ok(reference) = &reference
            && let Some(id) = self.id_of(reference)
        {
            return self.images.get(id).ok_or_else(not_found);
        }
        let prefix = name.strip_prefix("sha256:").unwrap_or(name);
        if !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            let mut fits = self.images.values().filter(|r| r.id.hex().starts_with(prefix));
            return match (fits.next(), fits.next()) {
                (Some(record), None) => Ok(record),
                (Some(_), Some(_)) => Err(ImageError::Ambiguous { prefix: prefix.to_owned() }),
                (None, _) => Err(not_found()),
            };
        }
        reference?;
        Err(not_found())
    }

    /// The image a name stands for.
    pub(crate) fn id_of(&self, reference: &Reference) -> Option<&Digest> {
        match reference.digest() {
            Some(digest) => self.digests.get(&reference.pinned(digest.clone())),
            None => self.tags.get(reference),
        }
    }

    /// All tags of an image.
    pub(crate) fn tags_of(&self, id: &Digest) -> Vec<Reference> {
        self.tags.iter().filter(|(_, to)| *to == id).map(|(reference, _)| reference.clone()).collect()
    }

    /// All digest names of an image.
    pub(crate) fn digests_of(&self, id: &Digest) -> Vec<Reference> {
        self.digests.iter().filter(|(_, to)| *to == id).map(|(reference, _)| reference.clone()).collect()
    }

    /// Forgets an image with all its names.
    pub(crate) fn forget(&mut self, id: &Digest) {
        self.images.remove(id);
        self.tags.retain(|_, to| to != id);
        self.digests.retain(|_, to| to != id);
    }

    /// The layers of all images.
    pub(crate) fn layers(&self) -> BTreeSet<&Digest> {
        self.images.values().flat_map(|r| &r.chain_ids).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(seed: u8) -> ImageRecord {
        let id = Digest::sha256(&[seed]);
        ImageRecord { id, diff_ids: vec![], chain_ids: vec![], size: 0, created: None, manifest: None }
    }

    fn catalog() -> Catalog {
        let mut catalog = Catalog::default();
        for seed in 0..40 {
            let record = record(seed);
            catalog.images.insert(record.id.clone(), record);
        }
        let parse = |text: &str| Reference::parse(text).expect(text);
        catalog.tags.insert(parse("web:2"), record(1).id);
        catalog.digests.insert(parse("web").pinned(Digest::sha256(b"m")), record(2).id);
        catalog
    }

    #[test]
    fn an_image_is_found_by_name_by_digest_and_by_the_start_of_its_id() {
        let catalog = catalog();
        let found = |name: &str| catalog.find(name).map(|r| r.id.clone());
        assert_eq!(found("web:2").expect("tag"), record(1).id);
        assert_eq!(found("docker.io/library/web:2").expect("full name"), record(1).id);
        assert_eq!(found(&format!("web:2@{}", Digest::sha256(b"m"))).expect("digest wins"), record(2).id);
        assert_eq!(found(record(3).id.short()).expect("short id"), record(3).id);
        assert_eq!(found(record(3).id.hex()).expect("hex id"), record(3).id);
        assert_eq!(found(record(3).id.as_str()).expect("id"), record(3).id);
        assert!(matches!(found("web"), Err(ImageError::NotFound { .. })));
        assert!(matches!(found("WEB!"), Err(ImageError::BadReference { .. })));
        let first: Vec<char> = catalog.images.keys().filter_map(|id| id.hex().chars().next()).collect();
        let twice = first.iter().find(|c| first.iter().filter(|d| d == c).count() > 1).expect("40 ids, 16 digits");
        assert!(matches!(found(&twice.to_string()), Err(ImageError::Ambiguous { .. })));
    }

    #[test]
    fn the_file_is_read_back_and_a_damaged_one_is_never_taken_for_empty() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("images.json");
        assert_eq!(Catalog::read(&path).expect("none"), Catalog::default());
        catalog().write(&path).expect("written");
        assert_eq!(Catalog::read(&path).expect("read"), catalog());
        fs::write(&path, b"{").expect("damage");
        assert!(matches!(Catalog::read(&path), Err(ImageError::BadStoreFile { .. })));
    }
}
