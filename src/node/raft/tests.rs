//! Members with real databases, in one process, over channels.

use super::*;
use crate::storage::StorageError;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use swarm_core::Sensitive;
use swarm_core::consensus::limits::SNAPSHOT_EVERY_ENTRIES;
use swarm_core::consensus::{Dropped, Refusal};
use tokio::task::{AbortHandle, JoinSet};

type Log = Arc<Mutex<BTreeMap<u64, String>>>;

/// Keeps every entry; the reply is its index. The text `poison` cannot be applied.
#[derive(Default, Clone)]
struct Recorder(Log);

impl StateMachine for Recorder {
    type Reply = u64;

    fn apply(&mut self, index: u64, _term: u64, data: &Bytes) -> Result<u64, ApplyError> {
        if data == "poison" {
            return Err(ApplyError("poison".to_owned()));
        }
        self.0.lock().unwrap().insert(index, String::from_utf8(data.to_vec()).unwrap());
        Ok(index)
    }

    fn snapshot(&self) -> Box<dyn FnOnce() -> Bytes + Send> {
        let state = self.0.lock().unwrap().clone();
        Box::new(move || serde_json::to_vec(&state).unwrap().into())
    }

    fn restore(&mut self, _index: u64, state: &Bytes) -> Result<(), ApplyError> {
        *self.0.lock().unwrap() = serde_json::from_slice(state).map_err(|e| ApplyError(e.to_string()))?;
        Ok(())
    }
}

struct Member {
    identity: Identity,
    path: PathBuf,
    handle: Handle<u64>,
    ended: JoinHandle<Result<(), RaftError>>,
    log: Log,
    pump: AbortHandle,
}

#[derive(Default)]
struct Wires {
    handles: HashMap<NodeId, Handle<u64>>,
    cut: HashSet<NodeId>,
}

struct Cluster {
    dir: tempfile::TempDir,
    wires: Arc<Mutex<Wires>>,
    members: BTreeMap<u64, Member>,
}

fn key() -> DataKey {
    Sensitive::new([3; 32])
}

fn identity(number: u64) -> Identity {
    Identity { raft_id: number, node: NodeId(u128::from(number) << 64) }
}

/// Carries the messages of one member, as a transport would.
fn pump(from: NodeId, mut outgoing: mpsc::Receiver<Outgoing>, wires: Arc<Mutex<Wires>>) -> AbortHandle {
    let task = tokio::spawn(async move {
        while let Some(message) = outgoing.recv().await {
            let wires = wires.lock().unwrap();
            let open = !wires.cut.contains(&from) && !wires.cut.contains(&message.to);
            let to = wires.handles.get(&message.to).filter(|_| open);
            let own = wires.handles.get(&from);
            match (to, own) {
                (Some(to), _) => to.step(from, message.bytes),
                (None, Some(own)) => own.report_unreachable(message.raft_id),
                (None, None) => {}
            }
            if let (true, Some(own)) = (message.snapshot, own) {
                own.report_snapshot(message.raft_id, to.is_some());
            }
        }
    });
    task.abort_handle()
}

/// Waits for a condition, and fails after `seconds`.
async fn until(what: &str, seconds: u64, mut done: impl AsyncFnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !done().await {
        assert!(start.elapsed() < Duration::from_secs(seconds), "not within {seconds} s: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    start.elapsed()
}

impl Cluster {
    async fn of(count: u64) -> Self {
        let mut cluster =
            Cluster { dir: tempfile::tempdir().unwrap(), wires: Arc::default(), members: BTreeMap::new() };
        bootstrap(&cluster.path(1), &key(), identity(1), &Recorder::default()).unwrap();
        cluster.start(1).await;
        cluster.leader().await;
        for number in 2..=count {
            cluster.add(number).await;
        }
        cluster
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.path().join(format!("{number}.redb"))
    }

    async fn add(&mut self, number: u64) {
        let identity = identity(number);
        join(&self.path(number), &key(), identity).unwrap();
        self.start(number).await;
        let leader = self.leader().await;
        leader.add_learner(identity.raft_id, identity.node).await.unwrap();
        leader.promote(identity.raft_id).await.unwrap();
        let members = self.members[&number].handle.clone();
        until("the new member knows that it votes", 5, async || {
            let status = members.status().await.unwrap().consensus;
            status.members.iter().any(|m| m.raft_id == identity.raft_id && m.voter)
        })
        .await;
    }

    async fn start(&mut self, number: u64) {
        let (identity, path) = (identity(number), self.path(number));
        let machine = Recorder::default();
        let log = machine.0.clone();
        let (outgoing, outgoing_out) = mpsc::channel(1024);
        let Running { handle, ended } = start(&path, &key(), machine, outgoing).await.unwrap();
        let pump = pump(identity.node, outgoing_out, self.wires.clone());
        self.wires.lock().unwrap().handles.insert(identity.node, handle.clone());
        self.members.insert(number, Member { identity, path, handle, ended, log, pump });
    }

    /// The member is gone from one moment to the next, for the others; its database is closed.
    async fn stop(&mut self, number: u64) {
        let member = self.members.remove(&number).unwrap();
        self.wires.lock().unwrap().handles.remove(&member.identity.node);
        member.pump.abort();
        member.handle.shutdown().await;
        member.ended.await.unwrap().unwrap();
    }

    fn cut(&self, number: u64) {
        self.wires.lock().unwrap().cut.insert(identity(number).node);
    }

    fn heal(&self) {
        self.wires.lock().unwrap().cut.clear();
    }

    fn leading(&self) -> Option<(u64, Handle<u64>)> {
        let states = self.members.iter().map(|(number, m)| (*m.handle.leader().borrow(), *number, m));
        let leading = states.filter(|(state, ..)| state.is_leader);
        leading.max_by_key(|(state, ..)| state.term).map(|(_, number, m)| (number, m.handle.clone()))
    }

    async fn leader(&self) -> Handle<u64> {
        until("a leader", 10, async || self.leading().is_some()).await;
        self.leading().unwrap().1
    }

    fn texts(&self, number: u64) -> Vec<String> {
        self.members[&number].log.lock().unwrap().values().cloned().collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_alone_leads_at_once_and_remembers_over_a_restart() {
    let mut cluster = Cluster::of(1).await;
    let leader = cluster.leader().await;
    leader.propose("first".into()).await.unwrap();
    let index = leader.propose("second".into()).await.unwrap();
    assert!(leader.read_index().await.unwrap() >= index);
    drop(leader);
    cluster.stop(1).await;
    let began = Instant::now();
    cluster.start(1).await;
    let leader = cluster.leader().await;
    assert!(began.elapsed() < Duration::from_secs(1), "no election timeout for one: {:?}", began.elapsed());
    leader.read_index().await.unwrap();
    assert_eq!(cluster.texts(1), ["first", "second"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_read_at_every_manager_and_taken_only_by_the_leader() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    leader.propose("hello".into()).await.unwrap();
    for number in 1..=3 {
        cluster.members[&number].handle.read_index().await.unwrap();
        assert_eq!(cluster.texts(number), ["hello"], "manager {number} after its read index");
    }
    let error = cluster.members[&2].handle.propose("no".into()).await.unwrap_err();
    assert_eq!(error, ProposeError::NotLeader { leader: Some(identity(1).node) });
    assert!(!error.outcome_unknown());
    let term = leader.leader().borrow().term;
    assert!(leader.propose_in_term(term, "now".into()).await.is_ok());
    let late = leader.propose_in_term(term - 1, "late".into()).await;
    assert_eq!(late, Err(ProposeError::Dropped(Dropped::StaleTerm { current: term })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_leader_is_replaced_within_three_seconds_and_no_acknowledged_write_is_lost() {
    let mut cluster = Cluster::of(3).await;
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let (handles, acknowledged) = (cluster.wires.clone(), acknowledged.clone());
        writers.spawn(async move {
            for number in 0.. {
                let text = format!("{writer}/{number}");
                // Any manager may lead; the writer asks them all in turn, as a client would.
                let all: Vec<_> = handles.lock().unwrap().handles.values().cloned().collect();
                for handle in all {
                    if handle.propose(text.clone().into()).await.is_ok() {
                        acknowledged.lock().unwrap().push(text.clone());
                        break;
                    }
                }
            }
        });
    }
    until("writes flow", 10, async || acknowledged.lock().unwrap().len() > 100).await;
    let (old, _) = cluster.leading().unwrap();
    cluster.stop(old).await;
    let before = acknowledged.lock().unwrap().len();
    let took = until("writes flow again", 3, async || acknowledged.lock().unwrap().len() > before + 20).await;
    println!("writes flowed again after {took:?}");
    writers.shutdown().await;
    cluster.start(old).await;
    for number in 1..=3 {
        let handle = cluster.members[&number].handle.clone();
        until("the manager reads", 10, async || handle.read_index().await.is_ok()).await;
        let texts: HashSet<String> = cluster.texts(number).into_iter().collect();
        let lost: Vec<_> = acknowledged.lock().unwrap().iter().filter(|t| !texts.contains(*t)).cloned().collect();
        assert!(lost.is_empty(), "manager {number} misses {lost:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writes_share_an_fsync() {
    let cluster = Cluster::of(1).await;
    let leader = cluster.leader().await;
    let before = leader.status().await.unwrap().disk_batches;
    let began = Instant::now();
    let mut writers = JoinSet::new();
    for number in 0..4000 {
        let leader = leader.clone();
        writers.spawn(async move { leader.propose(format!("write {number}").into()).await.unwrap() });
    }
    assert_eq!(writers.join_all().await.len(), 4000);
    let batches = leader.status().await.unwrap().disk_batches - before;
    println!("4000 writes in {:?} with {batches} fsyncs", began.elapsed());
    assert!(batches < 400, "4000 writes took {batches} fsyncs");
    assert_eq!(cluster.texts(1).len(), 4000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_missed_too_much_gets_a_snapshot() {
    let mut cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let last = cluster.members.keys().copied().find(|n| cluster.leading().unwrap().0 != *n).unwrap();
    cluster.cut(last);
    let total = usize::try_from(SNAPSHOT_EVERY_ENTRIES).unwrap() + 1500;
    let mut writers = JoinSet::new();
    for number in 0..total {
        let leader = leader.clone();
        writers.spawn(async move { leader.propose(format!("{number}").into()).await.unwrap() });
        if writers.len() == 1000 {
            while writers.join_next().await.is_some() {}
        }
    }
    writers.join_all().await;
    until("the log is cut", 10, async || leader.status().await.unwrap().consensus.first_index > 5000).await;
    assert!(cluster.texts(last).len() < 10);
    cluster.heal();
    until("the follower has caught up", 10, async || cluster.texts(last).len() == total).await;
    cluster.stop(last).await;
    cluster.start(last).await;
    assert!(cluster.texts(last).len() > 1000, "the snapshot is there before anyone is asked");
    cluster.members[&last].handle.read_index().await.unwrap();
    assert_eq!(cluster.texts(last).len(), total);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_majority_lost_is_said_and_nothing_is_acknowledged() {
    let mut cluster = Cluster::of(3).await;
    let (number, leader) = cluster.leading().unwrap();
    for other in (1..=3).filter(|n| *n != number) {
        cluster.stop(other).await;
    }
    let write = tokio::spawn({
        let leader = leader.clone();
        async move { leader.propose("alone".into()).await }
    });
    let read = leader.read_index().await;
    assert_eq!(read, Err(ReadError::NoQuorum));
    let error = write.await.unwrap().unwrap_err();
    assert!(error.outcome_unknown(), "{error}");
    assert_eq!(leader.propose("later".into()).await, Err(ProposeError::NotLeader { leader: None }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_manager_ends_and_says_why() {
    let mut cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let (leading, _) = cluster.leading().unwrap();
    let gone = (1..=3).find(|n| *n != leading).unwrap();
    leader.remove(gone).await.unwrap();
    let member = cluster.members.remove(&gone).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(10), member.ended).await.unwrap().unwrap();
    assert!(matches!(ended, Err(RaftError::Stopped(Stop::Removed))), "{ended:?}");
    assert_eq!(member.handle.propose("x".into()).await, Err(ProposeError::Stopped));
    assert_eq!(member.handle.read_index().await, Err(ReadError::Stopped));
    assert!(!member.handle.leader().borrow().is_leader);
    assert_eq!(leader.members().borrow().len(), 2);
    let refused = leader.add_learner(gone, identity(gone).node).await;
    assert_eq!(refused, Err(ProposeError::Dropped(Dropped::Refused(Refusal::IdUsed { raft_id: gone }))));
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_handed_over_and_a_leader_is_removed_by_its_successor() {
    let mut cluster = Cluster::of(3).await;
    let (first, leader) = cluster.leading().unwrap();
    let target = (1..=3).find(|n| *n != first).unwrap();
    leader.transfer_leader(Some(target)).await.unwrap();
    until("the target leads", 3, async || cluster.leading().is_some_and(|(n, _)| n == target)).await;
    let leader = cluster.leader().await;
    let error = leader.remove(target).await.unwrap_err();
    let ProposeError::NotLeader { leader: Some(next) } = error else { panic!("{error:?}") };
    until("its successor leads", 3, async || cluster.leading().is_some_and(|(n, _)| identity(n).node == next)).await;
    cluster.leader().await.remove(target).await.unwrap();
    let ended = cluster.members.remove(&target).unwrap().ended;
    let ended = tokio::time::timeout(Duration::from_secs(10), ended).await.unwrap().unwrap();
    assert!(matches!(ended, Err(RaftError::Stopped(Stop::Removed))), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_cannot_be_applied_ends_the_manager() {
    let mut cluster = Cluster::of(1).await;
    let leader = cluster.leader().await;
    let error = leader.propose("poison".into()).await.unwrap_err();
    assert!(error.outcome_unknown(), "{error:?}");
    let ended = cluster.members.remove(&1).unwrap().ended.await.unwrap();
    assert!(matches!(ended, Err(RaftError::Apply { .. })), "{ended:?}");
}

struct SmallDisk(PathBuf);

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_the_manager_and_keeps_what_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("tmpfs"), dir.path(), Some("tmpfs"), flags, Some("size=8m"))
        .expect("mounting a tmpfs; this test runs as root");
    let _disk = SmallDisk(dir.path().to_owned());
    let path = dir.path().join("raft.redb");
    bootstrap(&path, &key(), identity(1), &Recorder::default()).unwrap();
    let (outgoing, _out) = mpsc::channel(1);
    let Running { handle, ended } = start(&path, &key(), Recorder::default(), outgoing).await.unwrap();
    until("it leads", 3, async || handle.leader().borrow().is_leader).await;
    let large = "x".repeat(200_000);
    let mut acknowledged = 0;
    let error = loop {
        match handle.propose(large.clone().into()).await {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 200, "the disk never fills");
    };
    assert!(error.outcome_unknown(), "{error:?}");
    let ended = ended.await.unwrap();
    assert!(matches!(ended, Err(RaftError::Storage(StorageError::DiskFull { .. }))), "{ended:?}");
    assert!(!handle.leader().borrow().is_leader, "it does not pretend to lead");
    let (_storage, _, recovered) = RaftStorage::open(&path, &key()).unwrap();
    let stored = recovered.entries.iter().filter(|record| record.bytes.len() > large.len()).count();
    assert!(stored >= acknowledged, "{acknowledged} were acknowledged, {stored} are stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_is_free_again_when_the_member_has_ended() {
    let mut cluster = Cluster::of(1).await;
    let path = cluster.members[&1].path.clone();
    let busy = RaftStorage::open(&path, &key()).map(|_| ()).unwrap_err();
    assert!(matches!(busy, StorageError::InUse { .. }), "{busy:?}");
    cluster.stop(1).await;
    RaftStorage::open(&path, &key()).unwrap();
}
