//! The root file systems of containers: an overlay of the image's layers with a writable one on top, in
//! `snapshots/<container>/{snapshot.json,upper,work,rootfs}`, mounted on `rootfs`.
//!
//! They outlive this process: the mounts stay, and the directory says what they are. What a container
//! writes to its root is gone with it, and is not kept over a restart of the host; volumes are for that.

use super::digest::Digest;
use super::disk::{self, Scratch};
use super::error::{ImageError, Result};
use super::layer::overlay::{self, Overlay};
use super::store::{Image, ImageStore, Inner};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

/// Characters of a container id; ids have 64.
const CONTAINER_ID_LENGTH_MAX: usize = 128;

/// A mounted root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rootfs {
    /// Where it is mounted.
    pub path: PathBuf,
    /// What the container has written, as overlayfs keeps it.
    pub upper: PathBuf,
    pub image_id: Digest,
}

/// A root that was prepared and not released.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    pub container_id: String,
    pub image_id: Digest,
    pub path: PathBuf,
    /// False after the host restarted: what was written is gone, preparing again starts anew.
    pub mounted: bool,
}

/// The directories of an overlay (kernel documentation, filesystems/overlayfs.rst).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootParts {
    /// Of the image's layers, topmost first.
    pub lower: Vec<PathBuf>,
    /// What the container has written.
    pub upper: PathBuf,
    pub work: PathBuf,
}

/// `snapshot.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotMeta {
    pub container_id: String,
    pub image: Digest,
    pub chain_ids: Vec<Digest>,
}

/// What is on disk. A directory appears with its file in it, so one that cannot be read is damage.
pub(crate) fn read_all(dir: &Path) -> Result<BTreeMap<String, SnapshotMeta>> {
    let mut all = BTreeMap::new();
    for name in disk::names(dir)? {
        let path = dir.join(&name).join("snapshot.json");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e)
                if e.kind() == std::io::ErrorKind::NotFound && overlay::mounts_below(&dir.join(&name))?.is_empty() =>
            {
                disk::remove_tree(&dir.join(&name))?;
                continue;
            }
            Err(e) => return Err(ImageError::io("cannot read", &path, e)),
        };
        let meta: SnapshotMeta = serde_json::from_slice(&bytes)
            .map_err(|e| ImageError::BadStoreFile { path: path.clone(), reason: e.to_string() })?;
        all.insert(meta.container_id.clone(), meta);
    }
    Ok(all)
}

impl ImageStore {
    /// Mounts a root file system made from `image` for a container. Blocks.
    ///
    /// Again for the same container and image it gives the mounted root as it is, or a new one if the
    /// host restarted meanwhile.
    /// Errors: [`ImageError::NotFound`] if the image was removed, [`ImageError::SnapshotExists`],
    /// [`ImageError::Damaged`], [`ImageError::DiskFull`].
    pub fn prepare(&self, container_id: &str, image: &Image) -> Result<Rootfs> {
        check_id(container_id)?;
        let _turn = Turn::wait(&self.inner, container_id);
        let (meta, existed) = self.reserve(container_id, &image.id)?;
        let result = self.inner.mount_snapshot(&meta, existed);
        if result.is_err() && !existed {
            self.inner.state().snapshots.remove(container_id);
            self.inner.discard(&self.inner.snapshots_dir().join(container_id))?;
        }
        result
    }

    /// Unmounts and deletes the root of a container. None there is fine. Blocks.
    pub fn release(&self, container_id: &str) -> Result<()> {
        check_id(container_id)?;
        let _turn = Turn::wait(&self.inner, container_id);
        let dir = self.inner.snapshots_dir().join(container_id);
        for path in overlay::mounts_below(&dir)?.iter().rev() {
            overlay::unmount(path)?;
        }
        let gone = self.inner.take_away(&dir)?;
        let forgotten = {
            let mut state = self.inner.state();
            let meta = state.snapshots.remove(container_id);
            meta.is_some_and(|m| !state.catalog.images.contains_key(&m.image))
        };
        disk::remove_tree(&gone)?;
        if forgotten { self.inner.collect_layers() } else { Ok(()) }
    }

    /// All roots that were prepared and not released, also by an earlier process.
    pub fn list_prepared(&self) -> Result<Vec<Prepared>> {
        let metas: Vec<SnapshotMeta> = self.inner.state().snapshots.values().cloned().collect();
        let mounts = overlay::mounts_below(&self.inner.snapshots_dir())?;
        let prepared = |meta: SnapshotMeta| {
            let path = self.inner.snapshots_dir().join(&meta.container_id).join("rootfs");
            Prepared { mounted: mounts.contains(&path), path, container_id: meta.container_id, image_id: meta.image }
        };
        Ok(metas.into_iter().map(prepared).collect())
    }

    /// What the root of a container is made of; `None` when none was prepared.
    pub fn parts(&self, container_id: &str) -> Option<RootParts> {
        let meta = self.inner.state().snapshots.get(container_id).cloned()?;
        Some(RootParts {
            lower: meta.chain_ids.iter().rev().map(|id| self.inner.layers.diff_dir(id)).collect(),
            upper: self.inner.snapshots_dir().join(container_id).join("upper"),
            work: self.inner.snapshots_dir().join(container_id).join("work"),
        })
    }

    /// From here on the layers stay.
    fn reserve(&self, container_id: &str, image: &Digest) -> Result<(SnapshotMeta, bool)> {
        let mut state = self.inner.state();
        if let Some(there) = state.snapshots.get(container_id) {
            if there.image != *image {
                let image = there.image.to_string();
                return Err(ImageError::SnapshotExists { id: container_id.to_owned(), image });
            }
            return Ok((there.clone(), true));
        }
        let record = state.catalog.images.get(image).ok_or_else(|| ImageError::NotFound { name: image.to_string() })?;
        let meta = SnapshotMeta {
            container_id: container_id.to_owned(),
            image: image.clone(),
            chain_ids: record.chain_ids.clone(),
        };
        state.snapshots.insert(container_id.to_owned(), meta.clone());
        Ok((meta, false))
    }
}

impl Inner {
    fn mount_snapshot(&self, meta: &SnapshotMeta, existed: bool) -> Result<Rootfs> {
        let dir = self.snapshots_dir().join(&meta.container_id);
        let (upper, work, path) = (dir.join("upper"), dir.join("work"), dir.join("rootfs"));
        let rootfs = Rootfs { path: path.clone(), upper: upper.clone(), image_id: meta.image.clone() };
        if existed {
            if overlay::mounts_below(&path)?.contains(&path) {
                return Ok(rootfs);
            }
            self.discard(&dir)?;
        }
        if let Some(missing) = meta.chain_ids.iter().find(|id| self.layers.get(id).is_none()) {
            return Err(ImageError::Damaged { name: meta.image.to_string(), layer: missing.short().to_owned() });
        }
        let mut lower: Vec<PathBuf> = meta.chain_ids.iter().rev().map(|id| self.layers.diff_dir(id)).collect();
        if lower.is_empty() {
            lower.push(self.dir.join("empty"));
        }
        self.make_directories(meta, &dir, &lower[0])?;
        Overlay { lower: &lower, upper: &upper, work: &work }.mount(&path)?;
        Ok(rootfs)
    }

    /// Renames a directory to where it is deleted in peace; a process killed meanwhile leaves it for the next start.
    fn take_away(&self, dir: &Path) -> Result<PathBuf> {
        let gone = disk::fresh_path(&self.tmp, "snapshot");
        match fs::rename(dir, &gone) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(ImageError::io("cannot remove", dir, e)),
            Ok(()) | Err(_) => Ok(gone),
        }
    }

    fn discard(&self, dir: &Path) -> Result<()> {
        disk::remove_tree(&self.take_away(dir)?)
    }

    /// All at once, by a rename.
    fn make_directories(&self, meta: &SnapshotMeta, dir: &Path, top: &Path) -> Result<()> {
        let scratch = Scratch::directory(&self.tmp, "snapshot")?;
        for sub in ["upper", "work", "rootfs"] {
            disk::make_dir(&scratch.path().join(sub))?;
        }
        let upper = scratch.path().join("upper");
        overlay::copy_root_attributes(top, &upper)?;
        if meta.chain_ids.is_empty() {
            fs::set_permissions(&upper, std::os::unix::fs::PermissionsExt::from_mode(0o755))
                .map_err(|e| ImageError::io("cannot set the mode of", &upper, e))?;
        }
        let file = scratch.path().join("snapshot.json");
        let json = serde_json::to_vec(meta).map_err(|e| ImageError::io("cannot write", &file, e.into()))?;
        disk::write_atomic(&file, &json)?;
        fs::rename(scratch.path(), dir).map_err(|e| ImageError::io("cannot make", dir, e))?;
        scratch.keep();
        disk::sync_dir(&self.snapshots_dir())
    }
}

/// It becomes the name of a directory.
fn check_id(id: &str) -> Result<()> {
    let ok = !id.is_empty()
        && id.len() <= CONTAINER_ID_LENGTH_MAX
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        && !id.starts_with('.');
    if ok { Ok(()) } else { Err(ImageError::BadContainerId { id: id.chars().take(CONTAINER_ID_LENGTH_MAX).collect() }) }
}

/// One operation on a container's root at a time.
struct Turn<'a> {
    inner: &'a Inner,
    id: String,
}

impl<'a> Turn<'a> {
    fn wait(inner: &'a Inner, id: &str) -> Self {
        let mut state = inner.state();
        while state.busy.contains(id) {
            state = inner.snapshot_idle.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.busy.insert(id.to_owned());
        Self { inner, id: id.to_owned() }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.inner.state().busy.remove(&self.id);
        self.inner.snapshot_idle.notify_all();
    }
}
