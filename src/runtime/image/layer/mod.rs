//! Unpacked layers on disk, each in a directory named by its chain id: `layers/<hex>/{diff,layer.json}`.
//!
//! A directory gets its name when it is complete, by a rename; what has no name yet lies in `tmp` and is
//! gone when the store opens again. Whether a layer survived a lost power supply is decided above: only
//! those named by a committed image are trusted at start.

mod decompress;
pub(crate) mod in_root;
mod kept;
pub(crate) mod overlay;
pub(crate) mod tar_stream;
mod unpack;

pub(crate) use decompress::decompress;
pub(crate) use unpack::Limits;

use super::digest::{Digest, chain_ids};
use super::disk::{self, Scratch};
use super::error::{ImageError, Result};
use overlay::Overlay;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Layers of one image; Docker's limit, and below overlayfs's of 500.
pub(crate) const LAYERS_MAX: usize = 127;

/// What is known of a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerMeta {
    pub chain_id: Digest,
    pub diff_id: Digest,
    /// Bytes of its files.
    pub size: u64,
}

/// An overlay to unpack into; it must stay mounted meanwhile, as a detached mount does not resolve absolute
/// links within itself. What a killed process left mounted goes when the store opens.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = overlay::unmount(&self.0) {
            tracing::warn!(error = %error.one_line(), "a mount stays until the store is opened again");
        }
    }
}

/// A layer that has been unpacked; gone again unless it is committed.
pub(crate) struct NewLayer {
    scratch: Scratch,
    pub meta: LayerMeta,
}

/// The directory of layers. All calls block on the disk.
#[derive(Clone, Debug)]
pub(crate) struct LayerStore {
    dir: PathBuf,
    tmp: PathBuf,
    limits: Limits,
}

impl LayerStore {
    /// `tmp` must be on the same file system.
    pub(crate) fn new(dir: PathBuf, tmp: PathBuf, limits: Limits) -> Result<Self> {
        disk::make_dir(&dir)?;
        Ok(Self { dir, tmp, limits })
    }

    fn layer_dir(&self, chain_id: &Digest) -> PathBuf {
        self.dir.join(chain_id.hex())
    }

    /// Where the files of a layer are.
    pub(crate) fn diff_dir(&self, chain_id: &Digest) -> PathBuf {
        self.layer_dir(chain_id).join("diff")
    }

    /// What is known of a layer, if it is there.
    pub(crate) fn get(&self, chain_id: &Digest) -> Option<LayerMeta> {
        let bytes = fs::read(self.layer_dir(chain_id).join("layer.json")).ok()?;
        serde_json::from_slice(&bytes).ok().filter(|meta: &LayerMeta| meta.chain_id == *chain_id)
    }

    /// The chain ids on disk, as hex.
    pub(crate) fn list(&self) -> Result<Vec<String>> {
        Ok(disk::names(&self.dir)?.into_iter().filter_map(|name| name.into_string().ok()).collect())
    }

    /// Moves a layer out of the way, quick; the caller deletes what it is given.
    pub(crate) fn take_away(&self, hex: &str) -> Result<PathBuf> {
        let (from, to) = (self.dir.join(hex), disk::fresh_path(&self.tmp, "removed"));
        fs::rename(&from, &to).map_err(|e| ImageError::io("cannot remove the layer", &from, e))?;
        Ok(to)
    }

    /// Unpacks a layer on top of `below` (diff ids, lowest first). If `expected` is given, a layer whose
    /// plain tar has another digest is an error. On any error nothing is left.
    pub(crate) fn apply(
        &self,
        source: impl Read,
        compressed_bytes: Option<u64>,
        below: &[Digest],
        expected: Option<&Digest>,
        what: &str,
    ) -> Result<LayerMeta> {
        let new = self.unpack(source, compressed_bytes, below, expected, what)?;
        self.commit(new)
    }

    /// The first half of [`LayerStore::apply`]: the layer is complete, and not yet under its name.
    pub(crate) fn unpack(
        &self,
        source: impl Read,
        compressed_bytes: Option<u64>,
        below: &[Digest],
        expected: Option<&Digest>,
        what: &str,
    ) -> Result<NewLayer> {
        let scratch = Scratch::directory(&self.tmp, "layer")?;
        let diff = scratch.path().join("diff");
        disk::make_dir(&diff)?;
        fs::set_permissions(&diff, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .map_err(|e| ImageError::io("cannot set the mode of", &diff, e))?;
        let (root, mounted) = self.open_merged(scratch.path(), &diff, &chain_ids(below))?;
        let result = unpack::unpack(source, compressed_bytes, root, &self.dir, what, &self.limits);
        drop(mounted);
        let unpacked = result?;
        if let Some(expected) = expected
            && unpacked.diff_id != *expected
        {
            return Err(ImageError::DigestMismatch {
                what: what.to_owned(),
                expected: expected.to_string(),
                actual: unpacked.diff_id.to_string(),
            });
        }
        for leftover in ["work", "merged"] {
            disk::remove_tree(&scratch.path().join(leftover))?;
        }
        let mut all = below.to_vec();
        all.push(unpacked.diff_id.clone());
        let chain_id = chain_ids(&all).pop().unwrap_or_else(|| unpacked.diff_id.clone());
        let meta = LayerMeta { chain_id, diff_id: unpacked.diff_id, size: unpacked.content_bytes };
        Ok(NewLayer { scratch, meta })
    }

    /// The directory to unpack into: the new layer's own, or an overlay on top of those below.
    fn open_merged(&self, scratch: &Path, diff: &Path, below: &[Digest]) -> Result<(OwnedFd, Option<Mounted>)> {
        let open = |path: &Path| in_root::open_host_dir(path).map_err(|e| ImageError::io("cannot open", path, e));
        let lower: Vec<PathBuf> = below.iter().rev().map(|id| self.diff_dir(id)).collect();
        let Some(top) = lower.first() else { return Ok((open(diff)?, None)) };
        overlay::copy_root_attributes(top, diff)?;
        let (work, merged) = (scratch.join("work"), scratch.join("merged"));
        disk::make_dir(&work)?;
        disk::make_dir(&merged)?;
        Overlay { lower: &lower, upper: diff, work: &work }.mount(&merged)?;
        let mounted = Mounted(merged);
        Ok((open(&mounted.0)?, Some(mounted)))
    }

    /// The second half of [`LayerStore::apply`]. Who has pinned the chain id before keeps the layer.
    pub(crate) fn commit(&self, new: NewLayer) -> Result<LayerMeta> {
        let NewLayer { scratch, meta } = new;
        let json = serde_json::to_vec(&meta).map_err(|e| ImageError::io("cannot write", scratch.path(), e.into()))?;
        let file = scratch.path().join("layer.json");
        fs::write(&file, json).map_err(|e| ImageError::io("cannot write", &file, e))?;
        let target = self.layer_dir(&meta.chain_id);
        match fs::rename(scratch.path(), &target) {
            Ok(()) => {
                scratch.keep();
                Ok(meta)
            }
            // Somebody else unpacked the same meanwhile; ours is dropped.
            Err(_) if self.get(&meta.chain_id).is_some() => Ok(meta),
            Err(e) => Err(ImageError::io("cannot move a layer to", &target, e)),
        }
    }
}
