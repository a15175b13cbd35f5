//! The store: what is there, what is used, and what may go.

use super::blobs::BlobStore;
use super::catalog::{Catalog, ImageRecord};
use super::config::{CONFIG_BYTES_MAX, ConfigFile, History, ImageConfig};
use super::digest::Digest;
use super::disk;
use super::error::{ImageError, Result};
use super::layer::{LayerStore, Limits, overlay};
use super::reference::Reference;
use super::registry::{Registries, RetryPolicy};
use super::snapshot::SnapshotMeta;
use nix::fcntl::{Flock, FlockArg};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// How the store reaches registries.
#[derive(Clone, Debug, Default)]
pub struct StoreOptions {
    /// `host` or `host:port` of registries spoken to in plain http. `localhost` and 127.0.0.0/8 always are.
    pub insecure_registries: Vec<String>,
    /// `host` or `host:port` asked before docker.io for its images.
    pub mirrors: Vec<String>,
    /// PEM files of certificate authorities trusted beside those of the system.
    pub ca_files: Vec<PathBuf>,
    pub retry: RetryPolicy,
}

/// An image of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Digest of its configuration (the API's `Id`).
    pub id: Digest,
    /// `web:2`, as people write it.
    pub repo_tags: Vec<String>,
    /// `web@sha256:...`.
    pub repo_digests: Vec<String>,
    pub config: ImageConfig,
    /// Digests of the plain layers, lowest first (the API's `RootFS.Layers`).
    pub diff_ids: Vec<Digest>,
    /// Bytes of the files of all layers, also of those shared with other images.
    pub size: u64,
    /// RFC 3339.
    pub created: Option<String>,
    pub history: Vec<History>,
}

/// What removing did, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// A name is gone.
    Untagged(String),
    /// An image is gone.
    Deleted(Digest),
}

/// What pruning did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    pub removed: Vec<Removed>,
    /// Bytes of files deleted.
    pub reclaimed: u64,
}

/// The images of one node; clones share it.
#[derive(Clone, Debug)]
pub struct ImageStore {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub dir: PathBuf,
    pub tmp: PathBuf,
    pub blobs: BlobStore,
    pub layers: LayerStore,
    pub registries: Registries,
    state: Mutex<State>,
    /// A container's root is no longer being made or removed.
    pub snapshot_idle: Condvar,
    _lock: Flock<File>,
}

/// Held for lookups and for replacing the catalog, never while layers are read, written or deleted.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub catalog: Catalog,
    configs: BTreeMap<Digest, Arc<ConfigFile>>,
    pub snapshots: BTreeMap<String, SnapshotMeta>,
    /// Containers whose root is being made or removed.
    pub busy: HashSet<String>,
    pins: HashMap<Digest, usize>,
}

/// Keeps layers and blobs from being collected while an operation needs them.
#[derive(Debug)]
pub(crate) struct Pins {
    inner: Arc<Inner>,
    digests: Vec<Digest>,
}

impl Drop for Pins {
    fn drop(&mut self) {
        let mut state = self.inner.state();
        for digest in &self.digests {
            if let Some(count) = state.pins.get_mut(digest) {
                *count -= 1;
                if *count == 0 {
                    state.pins.remove(digest);
                }
            }
        }
    }
}

impl Inner {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // Every change is made as a whole, so a panic elsewhere leaves a sound state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn catalog_path(&self) -> PathBuf {
        self.dir.join("images.json")
    }

    pub(crate) fn snapshots_dir(&self) -> PathBuf {
        self.dir.join("snapshots")
    }

    /// Changes the catalog: on disk first, then in memory; on an error in neither.
    fn change<T>(&self, state: &mut State, change: impl FnOnce(&mut Catalog) -> Result<T>) -> Result<T> {
        let mut next = state.catalog.clone();
        let result = change(&mut next)?;
        if next != state.catalog {
            next.write(&self.catalog_path())?;
            state.catalog = next;
        }
        Ok(result)
    }

    /// Until the result is dropped the layers and blobs stay.
    pub(crate) fn pin(self: &Arc<Self>, mut digests: Vec<Digest>) -> Pins {
        digests.sort();
        digests.dedup();
        let mut state = self.state();
        for digest in &digests {
            *state.pins.entry(digest.clone()).or_default() += 1;
        }
        drop(state);
        Pins { inner: self.clone(), digests }
    }

    /// How many operations need a layer or blob.
    pub(crate) fn pin_count(&self, digest: &Digest) -> usize {
        self.state().pins.get(digest).copied().unwrap_or(0)
    }

    /// Deletes the layers that no image, container or running operation needs.
    pub(crate) fn collect_layers(&self) -> Result<()> {
        let mut removed = Vec::new();
        {
            let state = self.state();
            let mut used: HashSet<&str> = state.catalog.layers().into_iter().map(Digest::hex).collect();
            used.extend(state.snapshots.values().flat_map(|s| &s.chain_ids).map(Digest::hex));
            used.extend(state.pins.keys().map(Digest::hex));
            for hex in self.layers.list()? {
                if !used.contains(hex.as_str()) {
                    removed.push(self.layers.take_away(&hex)?);
                }
            }
        }
        removed.iter().try_for_each(|path| disk::remove_tree(path))
    }

    /// Makes an image with its names durable. Its layers are in the layer store, pinned by the caller.
    pub(crate) fn commit(&self, new: NewImage) -> Result<Image> {
        let config = ConfigFile::parse(&new.config, new.record.id.short())?;
        self.blobs.put(&new.record.id, &new.config)?;
        if let Some((digest, bytes)) = &new.manifest {
            self.blobs.put(digest, bytes)?;
        }
        disk::sync_file_system(&self.dir)?;
        let mut state = self.state();
        let id = new.record.id.clone();
        self.change(&mut state, |catalog| {
            let mut record = new.record;
            if record.manifest.is_none() {
                record.manifest = catalog.images.get(&id).and_then(|old| old.manifest.clone());
            }
            catalog.images.insert(id.clone(), record);
            for name in new.names {
                let names = if name.digest().is_some() { &mut catalog.digests } else { &mut catalog.tags };
                names.insert(name, id.clone());
            }
            Ok(())
        })?;
        state.configs.insert(id.clone(), Arc::new(config));
        state.image(&id)
    }
}

/// What [`Inner::commit`] makes an image of.
pub(crate) struct NewImage {
    pub record: ImageRecord,
    pub config: Vec<u8>,
    pub manifest: Option<(Digest, Vec<u8>)>,
    /// With a tag or with a digest, not both.
    pub names: Vec<Reference>,
}

impl State {
    pub(crate) fn image(&self, id: &Digest) -> Result<Image> {
        let not_found = || ImageError::NotFound { name: id.to_string() };
        let record = self.catalog.images.get(id).ok_or_else(not_found)?;
        let config = self.configs.get(id).ok_or_else(not_found)?;
        Ok(Image {
            id: id.clone(),
            repo_tags: self.catalog.tags_of(id).iter().map(Reference::familiar).collect(),
            repo_digests: self.catalog.digests_of(id).iter().map(Reference::familiar).collect(),
            config: config.to_public(),
            diff_ids: record.diff_ids.clone(),
            size: record.size,
            created: record.created.clone(),
            history: config.history.clone().unwrap_or_default(),
        })
    }

    /// The image of that name, if all of it is known to be here.
    pub(crate) fn image_named(&self, reference: &Reference) -> Option<Image> {
        self.image(self.catalog.id_of(reference)?).ok()
    }

    fn containers_of(&self, id: &Digest) -> Vec<String> {
        self.snapshots.values().filter(|s| s.image == *id).map(|s| s.container_id.clone()).collect()
    }
}

impl ImageStore {
    /// Opens the store in `dir`, makes it if needed, and clears away what a killed process left.
    ///
    /// Errors: [`ImageError::Locked`] if another process has it; [`ImageError::BadStoreFile`].
    pub fn open(dir: &Path, options: StoreOptions) -> Result<Self> {
        disk::make_dir(dir)?;
        let dir = dir.canonicalize().map_err(|e| ImageError::io("cannot find", dir, e))?;
        let lock = lock(&dir)?;
        let tmp = dir.join("tmp");
        for path in overlay::mounts_below(&tmp)?.iter().rev() {
            overlay::unmount(path)?;
        }
        disk::remove_tree(&tmp)?;
        for sub in ["tmp", "snapshots", "empty"] {
            disk::make_dir(&dir.join(sub))?;
        }
        let inner = Inner {
            blobs: BlobStore::new(&dir)?,
            layers: LayerStore::new(dir.join("layers"), tmp.clone(), Limits::default())?,
            registries: Registries::new(options),
            state: Mutex::default(),
            snapshot_idle: Condvar::new(),
            _lock: lock,
            tmp,
            dir,
        };
        inner.recover()?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// All images, by id.
    pub fn list(&self) -> Result<Vec<Image>> {
        let state = self.inner.state();
        state.catalog.images.keys().map(|id| state.image(id)).collect()
    }

    /// Finds an image by name, id or the first digits of the id.
    pub fn inspect(&self, name: &str) -> Result<Image> {
        let state = self.inner.state();
        let id = state.catalog.find(name)?.id.clone();
        state.image(&id)
    }

    /// Gives the image `source` the name `target`, taking it from any other image.
    pub fn tag(&self, source: &str, target: &Reference) -> Result<()> {
        let name = match (target.digest(), target.tagged()) {
            (None, Some(name)) => name,
            (Some(_), _) | (None, None) => {
                let reason = "a tag cannot contain a digest";
                return Err(ImageError::BadReference { text: target.familiar(), reason });
            }
        };
        let mut state = self.inner.state();
        let id = state.catalog.find(source)?.id.clone();
        self.inner.change(&mut state, |catalog| {
            catalog.tags.insert(name, id);
            Ok(())
        })
    }

    /// Removes a name, and the image with its layers when it was the last (Docker API `DELETE /images/{name}`).
    /// By id it removes the image; with several tags only when `force`. An image that is the root of a
    /// container stays in any case: `force` then only takes its name.
    pub fn remove(&self, name: &str, force: bool) -> Result<Vec<Removed>> {
        let removed = {
            let mut state = self.inner.state();
            let id = state.catalog.find(name)?.id.clone();
            let named = Reference::parse(name).ok().filter(|r| state.catalog.id_of(r) == Some(&id));
            let containers = state.containers_of(&id);
            let removed = self
                .inner
                .change(&mut state, |catalog| remove_from(catalog, &id, named.as_ref(), &containers, name, force))?;
            if removed.contains(&Removed::Deleted(id.clone())) {
                state.configs.remove(&id);
                self.drop_blobs(&state)?;
            }
            removed
        };
        self.inner.collect_layers()?;
        Ok(removed)
    }

    /// Removes images that no container uses: those without a tag, or with `all` every one.
    pub fn prune(&self, all: bool) -> Result<Pruned> {
        let mut pruned = Pruned::default();
        let before = self.layer_bytes()?;
        {
            let mut state = self.inner.state();
            let unused: Vec<Digest> = state
                .catalog
                .images
                .keys()
                .filter(|id| (all || state.catalog.tags_of(id).is_empty()) && state.containers_of(id).is_empty())
                .cloned()
                .collect();
            pruned.removed = self.inner.change(&mut state, |catalog| {
                let mut removed = Vec::new();
                for id in &unused {
                    removed.extend(remove_from(catalog, id, None, &[], id.as_str(), true)?);
                }
                Ok(removed)
            })?;
            state.configs.retain(|id, _| !unused.contains(id));
            self.drop_blobs(&state)?;
        }
        self.inner.collect_layers()?;
        pruned.reclaimed = before.saturating_sub(self.layer_bytes()?);
        Ok(pruned)
    }

    /// Bytes of the files of all layers on disk, each counted once (the API's `LayersSize`).
    pub fn layer_bytes(&self) -> Result<u64> {
        let ids = self.inner.layers.list()?;
        let digests = ids.iter().filter_map(|hex| Digest::parse(&format!("sha256:{hex}")).ok());
        Ok(digests.filter_map(|id| self.inner.layers.get(&id)).map(|meta| meta.size).sum())
    }

    /// Deletes manifests and configurations of images that are gone.
    fn drop_blobs(&self, state: &State) -> Result<()> {
        let kept = needed_blobs(&self.inner.blobs, &state.catalog);
        let dir = self.inner.blobs.path(&Digest::sha256(b""));
        let dir = dir.parent().unwrap_or(&self.inner.dir).to_path_buf();
        for name in disk::names(&dir)? {
            let path = dir.join(&name);
            let pinned = name.to_str().and_then(|hex| Digest::parse(&format!("sha256:{hex}")).ok());
            if !kept.contains(&path) && pinned.is_none_or(|d| !state.pins.contains_key(&d)) {
                disk::remove_file(&path)?;
            }
        }
        Ok(())
    }
}

impl Inner {
    /// Brings memory in line with the disk after a start.
    fn recover(&self) -> Result<()> {
        let mut state = self.state();
        state.catalog = Catalog::read(&self.catalog_path())?;
        let mut configs = BTreeMap::new();
        for id in state.catalog.images.keys() {
            match self.blobs.read(id, CONFIG_BYTES_MAX).and_then(|bytes| ConfigFile::parse(&bytes, id.short())) {
                Ok(config) => drop(configs.insert(id.clone(), Arc::new(config))),
                Err(e) => {
                    tracing::warn!(image = %id, error = %e.one_line(), "dropping a damaged image; pull or load it again")
                }
            }
        }
        let damaged: Vec<Digest> =
            state.catalog.images.keys().filter(|id| !configs.contains_key(*id)).cloned().collect();
        self.change(&mut state, |catalog| {
            damaged.iter().for_each(|id| catalog.forget(id));
            Ok(())
        })?;
        state.configs = configs;
        state.snapshots = super::snapshot::read_all(&self.snapshots_dir())?;
        let needed = needed_blobs(&self.blobs, &state.catalog);
        drop(state);
        self.blobs.recover(&needed)?;
        self.collect_layers()
    }
}

fn lock(dir: &Path) -> Result<Flock<File>> {
    let path = dir.join("lock");
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|e| ImageError::io("cannot open", &path, e))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, e)| match e {
        nix::errno::Errno::EWOULDBLOCK => ImageError::Locked { path: dir.to_path_buf() },
        other => ImageError::io("cannot lock", &path, other.into()),
    })
}

fn needed_blobs(blobs: &BlobStore, catalog: &Catalog) -> HashSet<PathBuf> {
    let records = catalog.images.values();
    records.flat_map(|r| [Some(&r.id), r.manifest.as_ref()]).flatten().map(|d| blobs.path(d)).collect()
}

/// The rules of [`ImageStore::remove`]; `named` is set when the user gave a name, not an id.
fn remove_from(
    catalog: &mut Catalog,
    id: &Digest,
    named: Option<&Reference>,
    containers: &[String],
    name: &str,
    force: bool,
) -> Result<Vec<Removed>> {
    let in_use = || ImageError::InUse { name: name.to_owned(), containers: containers.to_vec() };
    let mut removed = Vec::new();
    let tags = catalog.tags_of(id);
    if let Some(reference) = named {
        let keep_image = match reference.digest() {
            Some(_) => !tags.is_empty() || catalog.digests_of(id).len() > 1,
            None => tags.len() > 1,
        };
        if !keep_image && !containers.is_empty() && !force {
            return Err(in_use());
        }
        let key = reference.digest().map_or_else(|| reference.clone(), |d| reference.pinned(d.clone()));
        catalog.tags.remove(&key);
        catalog.digests.remove(&key);
        removed.push(Removed::Untagged(key.familiar()));
        if keep_image || !containers.is_empty() {
            return Ok(removed);
        }
    } else {
        if !containers.is_empty() {
            return Err(in_use());
        }
        if tags.len() > 1 && !force {
            let references = tags.iter().map(Reference::familiar).collect();
            return Err(ImageError::SeveralNames { name: name.to_owned(), references });
        }
    }
    let rest = catalog.tags_of(id).into_iter().chain(catalog.digests_of(id));
    removed.extend(rest.map(|r| Removed::Untagged(r.familiar())));
    catalog.forget(id);
    removed.push(Removed::Deleted(id.clone()));
    Ok(removed)
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
