//! The database itself: create, open, persist a batch, store a snapshot.

use super::error::StorageError;
use super::format::{
    CHECK, CHUNK_BYTES, CHUNKS, FORMAT, Identity, IdentityRecord, KEY_CHECK, KEY_FORMAT, KEY_HARD_STATE, KEY_IDENTITY,
    KEY_SNAPSHOT, LOG, META, SnapshotRecord, place_of_chunk, place_of_entry, place_of_meta,
};
use super::seal::{DataKey, Sealer};
use bytes::Bytes;
use prost::Message as _;
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, TableError, WriteTransaction};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use swarm_core::NodeId;
use swarm_core::consensus::limits::SNAPSHOT_BYTES_MAX;
use swarm_core::consensus::{LogRecord, Persist, Recovered, SnapshotRequest, StoredSnapshot};

/// Bytes of pages redb keeps in memory. The log is read only at start, so a cache is of use for the tree's upper
/// pages alone.
const CACHE_BYTES: usize = 4 * 1024 * 1024;

/// The open database of one member. Dropping it closes the file.
#[derive(Debug)]
pub struct RaftStorage {
    path: PathBuf,
    db: Database,
    sealer: Sealer,
    /// Of the stored snapshot; 0 without one.
    snapshot_index: u64,
    chunks: u32,
}

/// redb checks its pages only when it repairs; on a page damaged in another way it may panic. Such a file is damaged,
/// which is an answer and no reason to take the process down.
fn guarded<T>(path: &Path, run: impl FnOnce() -> Result<T, StorageError>) -> Result<T, StorageError> {
    catch_unwind(AssertUnwindSafe(run))
        .unwrap_or_else(|_| Err(StorageError::damaged(path, "its structure makes no sense")))
}

fn open_file(path: &Path, new: bool) -> Result<Database, StorageError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(new).mode(0o600);
    let action = if new { "created" } else { "opened" };
    let file = options.open(path).map_err(|e| StorageError::io(path, action, e))?;
    let empty = file.metadata().map_err(|e| StorageError::io(path, action, e))?.len() == 0;
    if empty && !new {
        return Err(StorageError::Foreign { path: path.to_owned() });
    }
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder.create_file(file).map_err(|error| match error {
        redb::DatabaseError::Storage(redb::StorageError::Io(e)) if e.kind() == std::io::ErrorKind::InvalidData => {
            StorageError::Foreign { path: path.to_owned() }
        }
        other => StorageError::redb(path, action, other),
    })
}

impl RaftStorage {
    /// Makes the database of a new member: with `first` (from `consensus::bootstrap`) of a new group, without it of a
    /// member that will get everything from its leader. On an error nothing is left behind at `path`.
    pub fn create(path: &Path, key: &DataKey, identity: Identity, first: Option<&Persist>) -> Result<(), StorageError> {
        if path.exists() {
            return Err(StorageError::Exists { path: path.to_owned() });
        }
        // Built under another name: whoever dies half-way leaves no file that looks finished.
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let draft = PathBuf::from(name);
        if draft.exists() {
            std::fs::remove_file(&draft).map_err(|e| StorageError::io(&draft, "replaced", e))?;
        }
        let written = Self::write_new(&draft, key, identity, first);
        let moved = written.and_then(|()| {
            std::fs::rename(&draft, path).map_err(|e| StorageError::io(path, "created", e))?;
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let sync = File::open(folder).and_then(|folder| folder.sync_all());
            sync.map_err(|e| StorageError::io(path, "created", e))
        });
        if moved.is_err() && draft.exists() {
            // What is left over is replaced by the next attempt anyway.
            let _ = std::fs::remove_file(&draft);
        }
        moved
    }

    fn write_new(path: &Path, key: &DataKey, identity: Identity, first: Option<&Persist>) -> Result<(), StorageError> {
        let db = open_file(path, true)?;
        let sealer = Sealer::new(key.clone())?;
        let mut storage = Self { path: path.to_owned(), db, sealer, snapshot_index: 0, chunks: 0 };
        let record = IdentityRecord { raft_id: identity.raft_id, node: identity.node.to_bytes().to_vec() };
        storage.write(|storage, txn| {
            storage.put_plain(txn, KEY_FORMAT, FORMAT.as_bytes())?;
            storage.put_meta(txn, KEY_CHECK, CHECK)?;
            storage.put_meta(txn, KEY_IDENTITY, &record.encode_to_vec())?;
            // So that an empty log is a log.
            txn.open_table(LOG).map_err(|e| storage.failed(e))?;
            txn.open_table(CHUNKS).map_err(|e| storage.failed(e))?;
            Ok(())
        })?;
        first.map_or(Ok(()), |batch| storage.persist(batch))
    }

    /// Opens the database and reads everything in it.
    pub fn open(path: &Path, key: &DataKey) -> Result<(Self, Identity, Recovered), StorageError> {
        guarded(path, || {
            let db = open_file(path, false)?;
            let sealer = Sealer::new(key.clone())?;
            let mut storage = Self { path: path.to_owned(), db, sealer, snapshot_index: 0, chunks: 0 };
            let txn = storage.db.begin_read().map_err(|e| StorageError::redb(path, "read", e))?;
            let identity = storage.read_identity(&txn)?;
            let recovered = storage.read_state(&txn)?;
            drop(txn);
            storage.sealer.forget_old_keys();
            Ok((storage, identity, recovered))
        })
    }

    /// Writes a batch, with one fsync: it is on stable storage when this returns.
    pub fn persist(&mut self, batch: &Persist) -> Result<(), StorageError> {
        let mut after = (self.snapshot_index, self.chunks);
        self.write(|storage, txn| {
            storage.put_meta(txn, KEY_HARD_STATE, &batch.hard_state)?;
            if let Some(snapshot) = &batch.snapshot {
                let StoredSnapshot { index, meta, state, floor } = snapshot;
                after = storage.put_snapshot(txn, *index, meta, floor, state)?;
                let mut log = txn.open_table(LOG).map_err(|e| storage.failed(e))?;
                log.retain(|_, _| false).map_err(|e| storage.failed(e))?;
            }
            storage.append(txn, &batch.append)
        })?;
        (self.snapshot_index, self.chunks) = after;
        Ok(())
    }

    /// Replaces the stored snapshot and cuts the log up to `request.floor_index`. Does nothing when a later snapshot
    /// is stored already (the leader's came in between).
    pub fn store_snapshot(&mut self, request: &SnapshotRequest, state: &[u8]) -> Result<(), StorageError> {
        if request.index <= self.snapshot_index {
            return Ok(());
        }
        let mut after = (self.snapshot_index, self.chunks);
        self.write(|storage, txn| {
            after = storage.put_snapshot(txn, request.index, &request.meta, &request.floor, state)?;
            let mut log = txn.open_table(LOG).map_err(|e| storage.failed(e))?;
            log.retain_in(..=request.floor_index, |_, _| false).map_err(|e| storage.failed(e))
        })?;
        (self.snapshot_index, self.chunks) = after;
        Ok(())
    }

    /// One transaction; nothing of it stays when `fill` fails.
    fn write(
        &mut self,
        fill: impl FnOnce(&mut Self, &WriteTransaction) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let path = self.path.clone();
        guarded(&path, || {
            let txn = self.db.begin_write().map_err(|e| self.failed(e))?;
            fill(self, &txn)?;
            txn.commit().map_err(|e| self.failed(e))
        })
    }

    fn failed(&self, error: impl Into<redb::Error>) -> StorageError {
        StorageError::redb(&self.path, "written", error)
    }

    fn unread(&self, error: impl Into<redb::Error>) -> StorageError {
        StorageError::redb(&self.path, "read", error)
    }

    fn put_plain(&self, txn: &WriteTransaction, key: &str, value: &[u8]) -> Result<(), StorageError> {
        let mut meta = txn.open_table(META).map_err(|e| self.failed(e))?;
        meta.insert(key, value).map_err(|e| self.failed(e))?;
        Ok(())
    }

    fn put_meta(&mut self, txn: &WriteTransaction, key: &str, value: &[u8]) -> Result<(), StorageError> {
        let sealed = self.sealer.seal(&place_of_meta(key), value)?;
        self.put_plain(txn, key, &sealed)
    }

    fn append(&mut self, txn: &WriteTransaction, records: &[LogRecord]) -> Result<(), StorageError> {
        let Some(first) = records.first() else { return Ok(()) };
        let mut log = txn.open_table(LOG).map_err(|e| self.failed(e))?;
        let last = log.last().map_err(|e| self.failed(e))?.map(|(index, _)| index.value());
        if last.is_some_and(|last| last >= first.index) {
            log.retain_in(first.index.., |_, _| false).map_err(|e| self.failed(e))?;
        }
        for record in records {
            let sealed = self.sealer.seal(&place_of_entry(record.index), &record.bytes)?;
            log.insert(record.index, sealed.as_slice()).map_err(|e| self.failed(e))?;
        }
        Ok(())
    }

    /// Returns the index and number of chunks now stored.
    fn put_snapshot(
        &mut self,
        txn: &WriteTransaction,
        index: u64,
        meta: &Bytes,
        floor: &Bytes,
        state: &[u8],
    ) -> Result<(u64, u32), StorageError> {
        let mut table = txn.open_table(CHUNKS).map_err(|e| self.failed(e))?;
        let mut chunks = 0;
        for (number, chunk) in (0..).zip(state.chunks(CHUNK_BYTES)) {
            let sealed = self.sealer.seal(&place_of_chunk(index, number), chunk)?;
            table.insert(number, sealed.as_slice()).map_err(|e| self.failed(e))?;
            chunks = number + 1;
        }
        for number in chunks..self.chunks {
            table.remove(number).map_err(|e| self.failed(e))?;
        }
        drop(table);
        let (meta, floor, bytes) = (meta.clone(), floor.clone(), state.len() as u64);
        let record = SnapshotRecord { index, meta, floor, chunks, bytes };
        self.put_meta(txn, KEY_SNAPSHOT, &record.encode_to_vec())?;
        Ok((index, chunks))
    }

    /// The value at `key` of the meta table as it is stored.
    fn stored_meta(&self, txn: &ReadTransaction, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        let table = match txn.open_table(META) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_) | TableError::TableTypeMismatch { .. }) => {
                return Err(StorageError::Foreign { path: self.path.clone() });
            }
            Err(other) => return Err(self.unread(other)),
        };
        let value = table.get(key).map_err(|e| self.unread(e))?;
        Ok(value.map(|value| value.value().to_vec()))
    }

    fn get_meta(&mut self, txn: &ReadTransaction, key: &str) -> Result<Option<Bytes>, StorageError> {
        let Some(sealed) = self.stored_meta(txn, key)? else { return Ok(None) };
        let opened = self.sealer.open(&place_of_meta(key), &sealed);
        let opened = opened.ok_or_else(|| StorageError::damaged(&self.path, format!("its {key}")))?;
        Ok(Some(opened.into()))
    }

    fn read_identity(&mut self, txn: &ReadTransaction) -> Result<Identity, StorageError> {
        let path = self.path.clone();
        match self.stored_meta(txn, KEY_FORMAT)? {
            None => return Err(StorageError::Foreign { path }),
            Some(found) if found != FORMAT.as_bytes() => {
                let found = String::from_utf8_lossy(&found).chars().take(64).collect();
                return Err(StorageError::Format { path, found, known: FORMAT });
            }
            Some(_) => {}
        }
        let check = self.stored_meta(txn, KEY_CHECK)?;
        let check = check.ok_or_else(|| StorageError::damaged(&path, "its key check is missing"))?;
        if self.sealer.open(&place_of_meta(KEY_CHECK), &check).is_none() {
            return Err(StorageError::WrongKey { path });
        }
        let damaged = || StorageError::damaged(&path, "its identity");
        let bytes = self.get_meta(txn, KEY_IDENTITY)?.ok_or_else(damaged)?;
        let record = IdentityRecord::decode(bytes).map_err(|_| damaged())?;
        let node = NodeId::from_bytes(&record.node).ok_or_else(damaged)?;
        Ok(Identity { raft_id: record.raft_id, node })
    }

    fn read_state(&mut self, txn: &ReadTransaction) -> Result<Recovered, StorageError> {
        let hard_state = self.get_meta(txn, KEY_HARD_STATE)?.unwrap_or_default();
        let snapshot = self.read_snapshot(txn)?;
        let table = txn.open_table(LOG).map_err(|e| self.unread(e))?;
        let mut entries = Vec::new();
        for item in table.iter().map_err(|e| self.unread(e))? {
            let (index, sealed) = item.map_err(|e| self.unread(e))?;
            let index = index.value();
            let opened = self.sealer.open(&place_of_entry(index), sealed.value());
            let bytes = opened.ok_or_else(|| StorageError::damaged(&self.path, format!("log entry {index}")))?;
            entries.push(LogRecord { index, bytes: bytes.into() });
        }
        Ok(Recovered { hard_state, snapshot, entries })
    }

    fn read_snapshot(&mut self, txn: &ReadTransaction) -> Result<Option<StoredSnapshot>, StorageError> {
        let Some(bytes) = self.get_meta(txn, KEY_SNAPSHOT)? else { return Ok(None) };
        let path = self.path.clone();
        let damaged = |what: String| StorageError::damaged(&path, what);
        let record = SnapshotRecord::decode(bytes).map_err(|_| damaged("its snapshot".to_owned()))?;
        let len = usize::try_from(record.bytes).ok().filter(|len| *len <= SNAPSHOT_BYTES_MAX);
        let len = len.ok_or_else(|| damaged(format!("a snapshot of {} bytes", record.bytes)))?;
        let table = txn.open_table(CHUNKS).map_err(|e| self.unread(e))?;
        let mut state = Vec::with_capacity(len);
        for number in 0..record.chunks {
            let sealed = table.get(number).map_err(|e| self.unread(e))?;
            let place = place_of_chunk(record.index, number);
            let chunk = sealed.and_then(|sealed| self.sealer.open(&place, sealed.value()));
            state.extend(chunk.ok_or_else(|| damaged(format!("part {number} of its snapshot")))?);
        }
        if state.len() != len {
            return Err(damaged("the length of its snapshot".to_owned()));
        }
        (self.snapshot_index, self.chunks) = (record.index, record.chunks);
        let SnapshotRecord { index, meta, floor, .. } = record;
        Ok(Some(StoredSnapshot { index, meta, state: state.into(), floor }))
    }
}
