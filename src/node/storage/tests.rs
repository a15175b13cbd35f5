//! The database survives what happens to machines, and says clearly when it does not.

use super::*;
use bytes::Bytes;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use swarm_core::consensus::{LogRecord, Persist, Recovered, SnapshotRequest, StoredSnapshot};
use swarm_core::{NodeId, Sensitive};

const IDENTITY: Identity = Identity { raft_id: 42, node: NodeId(7) };

fn key() -> DataKey {
    Sensitive::new([9; 32])
}

fn batch(first: u64, last: u64, text: &str) -> Persist {
    let append = (first..=last).map(|index| LogRecord { index, bytes: format!("{text} {index}").into() }).collect();
    Persist { number: last, hard_state: format!("hard {last}").into(), snapshot: None, append }
}

fn snapshot(index: u64, bytes: usize) -> StoredSnapshot {
    let state = (0..bytes).map(|i| u8::try_from(i % 251).unwrap_or(0)).collect::<Vec<_>>().into();
    StoredSnapshot { index, meta: "meta".into(), state, floor: "floor".into() }
}

fn create(dir: &Path) -> PathBuf {
    let path = dir.join("raft.redb");
    RaftStorage::create(&path, &key(), IDENTITY, None).unwrap();
    path
}

fn open(path: &Path) -> (RaftStorage, Recovered) {
    let (storage, identity, recovered) = RaftStorage::open(path, &key()).unwrap();
    assert_eq!(identity, IDENTITY);
    (storage, recovered)
}

fn indexes(recovered: &Recovered) -> Vec<u64> {
    recovered.entries.iter().map(|record| record.index).collect()
}

#[test]
fn what_was_persisted_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = create(dir.path());
    let (mut storage, recovered) = open(&path);
    assert!(recovered.entries.is_empty() && recovered.snapshot.is_none() && recovered.hard_state.is_empty());
    storage.persist(&batch(1, 5, "a")).unwrap();
    storage.persist(&batch(4, 4, "b")).unwrap();
    drop(storage);
    let (_storage, recovered) = open(&path);
    assert_eq!(indexes(&recovered), [1, 2, 3, 4], "4 was replaced and 5 went with it");
    assert_eq!(recovered.entries[3].bytes, "b 4");
    assert_eq!(recovered.hard_state, "hard 4");
}

#[test]
fn a_snapshot_of_the_leader_replaces_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = create(dir.path());
    let (mut storage, _) = open(&path);
    storage.persist(&batch(1, 5, "a")).unwrap();
    let large = snapshot(100, 3 * format::CHUNK_BYTES + 17);
    storage.persist(&Persist { snapshot: Some(large.clone()), ..batch(101, 102, "c") }).unwrap();
    drop(storage);
    let (mut storage, recovered) = open(&path);
    assert_eq!(recovered.snapshot, Some(large));
    assert_eq!(indexes(&recovered), [101, 102]);
    let small = snapshot(200, 10);
    storage.persist(&Persist { snapshot: Some(small.clone()), ..batch(201, 200, "none") }).unwrap();
    drop(storage);
    assert_eq!(open(&path).1.snapshot, Some(small), "the chunks of the larger one are gone");
}

fn request(index: u64, floor_index: u64) -> SnapshotRequest {
    SnapshotRequest { index, meta: "meta".into(), floor: "floor".into(), floor_index }
}

#[test]
fn an_own_snapshot_cuts_the_log_and_keeps_a_tail() {
    let dir = tempfile::tempdir().unwrap();
    let path = create(dir.path());
    let (mut storage, _) = open(&path);
    storage.persist(&batch(1, 20, "a")).unwrap();
    storage.store_snapshot(&request(15, 10), b"state").unwrap();
    drop(storage);
    let (mut storage, recovered) = open(&path);
    assert_eq!(indexes(&recovered), (11..=20).collect::<Vec<_>>());
    assert_eq!(recovered.snapshot.unwrap().state, "state");
    storage.persist(&Persist { snapshot: Some(snapshot(50, 3)), ..batch(51, 50, "none") }).unwrap();
    storage.store_snapshot(&request(18, 18), b"older").unwrap();
    drop(storage);
    assert_eq!(open(&path).1.snapshot.unwrap().index, 50, "an older snapshot does not replace a later one");
}

#[test]
fn nothing_is_stored_in_the_clear() {
    let dir = tempfile::tempdir().unwrap();
    let path = create(dir.path());
    let (mut storage, _) = open(&path);
    storage.persist(&batch(1, 3, "a very secret value")).unwrap();
    storage.store_snapshot(&request(2, 1), b"a very secret value in a snapshot").unwrap();
    drop(storage);
    let file = std::fs::read(&path).unwrap();
    assert!(!file.windows(11).any(|window| window == b"very secret"));
}

#[test]
fn each_wrong_file_gets_its_own_error() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let open = |name: &str, key: &DataKey| RaftStorage::open(&at(name), key).map(|_| ()).unwrap_err();
    assert!(matches!(open("none", &key()), StorageError::Missing { .. }));
    std::fs::write(at("text"), vec![b'x'; 100_000]).unwrap();
    assert!(matches!(open("text", &key()), StorageError::Foreign { .. }), "{:?}", open("text", &key()));
    std::fs::write(at("empty"), b"").unwrap();
    assert!(matches!(open("empty", &key()), StorageError::Foreign { .. }));
    drop(redb::Database::create(at("foreign")).unwrap());
    assert!(matches!(open("foreign", &key()), StorageError::Foreign { .. }));
    let path = create(dir.path());
    assert!(matches!(open("raft.redb", &Sensitive::new([1; 32])), StorageError::WrongKey { .. }));
    let again = RaftStorage::create(&path, &key(), IDENTITY, None);
    assert!(matches!(again, Err(StorageError::Exists { .. })));
    let _held = RaftStorage::open(&path, &key()).unwrap();
    assert!(matches!(open("raft.redb", &key()), StorageError::InUse { .. }));
}

#[test]
fn a_later_format_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = create(dir.path());
    let db = redb::Database::open(&path).unwrap();
    let txn = db.begin_write().unwrap();
    txn.open_table(format::META).unwrap().insert("format", b"swarm raft 2".as_slice()).unwrap();
    txn.commit().unwrap();
    drop(db);
    let error = RaftStorage::open(&path, &key()).unwrap_err();
    assert!(error.to_string().contains("swarm raft 2"), "{error}");
}

#[test]
fn damage_is_an_error_and_never_other_data() {
    let dir = tempfile::tempdir().unwrap();
    let path = create(dir.path());
    let (mut storage, _) = open(&path);
    storage
        .persist(&Persist { snapshot: Some(snapshot(9, 20_000)), ..batch(10, 200, "entry of some length") })
        .unwrap();
    drop(storage);
    let intact = std::fs::read(&path).unwrap();
    let expected = open(&path).1;
    let mut noticed = 0;
    for position in (0..intact.len()).step_by(509) {
        let mut damaged = intact.clone();
        damaged[position] ^= 0x55;
        std::fs::write(&path, &damaged).unwrap();
        match RaftStorage::open(&path, &key()) {
            Ok((_, _, recovered)) => {
                assert_eq!(recovered.entries, expected.entries, "byte {position}");
                assert_eq!(recovered.snapshot, expected.snapshot, "byte {position}");
            }
            Err(error) => {
                assert!(!error.to_string().contains('\n'), "one line: {error}");
                noticed += 1;
            }
        }
    }
    assert!(noticed > 20, "only {noticed} damages were noticed");
}

/// Runs in the child of the test below: persists entry after entry and says so.
#[test]
#[ignore = "the child process of the kill test"]
fn child_that_writes_until_it_is_killed() {
    let Some(path) = std::env::var_os("RAFT_STORAGE_UNDER_TEST") else { return };
    let (mut storage, recovered) = open(Path::new(&path));
    let mut next = recovered.entries.last().map_or(1, |record| record.index + 1);
    loop {
        storage.persist(&batch(next, next + 2, "from a child")).unwrap();
        println!("acknowledged {}", next + 2);
        next += 3;
        if next % 60 == 1 {
            storage.store_snapshot(&request(next - 1, next - 20), &vec![1; 300_000]).unwrap();
        }
    }
}

#[test]
fn every_acknowledged_entry_survives_a_kill_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let path = create(dir.path());
    let mut acknowledged = 0;
    for round in 0..8 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "storage::tests::child_that_writes_until_it_is_killed", "--ignored", "--nocapture"])
            .env("RAFT_STORAGE_UNDER_TEST", &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let index_of = |line: &str| line.split("acknowledged ").nth(1).and_then(|index| index.parse::<u64>().ok());
        let mut seen = 0;
        while seen < 5 + round * 9 {
            let line = lines.next().expect("the child writes until it is killed").unwrap();
            if let Some(index) = index_of(&line) {
                acknowledged = index;
                seen += 1;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it said before it died counts too.
        for line in lines.map_while(Result::ok) {
            acknowledged = index_of(&line).unwrap_or(acknowledged);
        }
        let (_storage, recovered) = open(&path);
        let found = indexes(&recovered);
        let last = *found.last().unwrap();
        assert!(last >= acknowledged, "round {round}: {acknowledged} was acknowledged, the log ends at {last}");
        assert_eq!(found, (found[0]..=last).collect::<Vec<_>>(), "no holes");
        let whole = recovered.entries.iter().all(|r| r.bytes == format!("from a child {}", r.index));
        assert!(whole, "round {round}");
    }
    assert!(acknowledged > 100);
}

/// A file system of its own, so that it can be full.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = Some("size=8m");
        mount(Some("tmpfs"), dir.path(), Some("tmpfs"), MsFlags::empty(), options)
            .expect("mounting a tmpfs; this test runs as root");
        Self(dir)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = umount2(self.0.path(), MntFlags::MNT_DETACH);
    }
}

#[test]
fn a_full_disk_is_named_and_what_was_acknowledged_is_still_there() {
    let disk = SmallDisk::new();
    let path = create(disk.0.path());
    let (mut storage, _) = open(&path);
    let large = |index| LogRecord { index, bytes: Bytes::from(vec![7; 256 * 1024]) };
    let mut acknowledged = 0;
    let error = loop {
        let append = vec![large(acknowledged + 1)];
        match storage.persist(&Persist { append, ..batch(1, 0, "none") }) {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 100, "the disk never fills");
    };
    assert!(matches!(error, StorageError::DiskFull { .. }), "{error:?}");
    drop(storage);
    let (_storage, recovered) = open(&path);
    assert!(acknowledged > 0);
    assert_eq!(indexes(&recovered), (1..=acknowledged).collect::<Vec<_>>());
}
