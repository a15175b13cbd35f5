//! The store as the log's state machine: applies committed entries, tells who watches, makes and takes
//! snapshots.

use super::snapshot;
use crate::clock::Clock;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use swarm_core::WallTime;
use swarm_core::leader;
use swarm_core::store::{Conflict, Event, Store, View};
use tokio::sync::{broadcast, watch};
use wire::decode_entry;

use crate::raft::{ApplyError, StateMachine};

/// Applied transactions a slow watcher may lag behind before it is told to read again.
const NEWS_KEPT: usize = 4096;
/// Refusals kept for writers that learn of theirs by its index.
const OUTCOMES_KEPT: u64 = 4096;

/// What happened to the store.
#[derive(Debug)]
pub enum News {
    /// One transaction was applied.
    Applied { index: u64, wall: WallTime, events: Vec<Event> },
    /// Another manager's state took its place: what changed with it is not told.
    Restored,
}

/// What became of the entry at an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Applied,
    Refused(Conflict),
    /// It was applied on the way through a snapshot: this node can't tell.
    Unknown,
}

/// The results of recent entries, and how far this node has applied.
#[derive(Clone, Debug, Default)]
pub struct Outcomes {
    refused: BTreeMap<u64, Conflict>,
    /// Indexes up to here are not told apart.
    unknown_below: u64,
    applied: u64,
}

impl Outcomes {
    fn of(&self, index: u64) -> Outcome {
        if index <= self.unknown_below {
            Outcome::Unknown
        } else {
            self.refused.get(&index).cloned().map_or(Outcome::Applied, Outcome::Refused)
        }
    }
}

/// What others see of the machine.
#[derive(Clone, Debug)]
pub struct StoreFeed {
    pub views: watch::Receiver<View>,
    time: watch::Receiver<leader::Clock>,
    outcomes: watch::Receiver<Arc<Outcomes>>,
    news: broadcast::Sender<Arc<News>>,
}

impl StoreFeed {
    /// From now on.
    pub fn news(&self) -> broadcast::Receiver<Arc<News>> {
        self.news.subscribe()
    }

    /// The state now.
    pub fn view(&self) -> View {
        self.views.borrow().clone()
    }

    /// The leaders' time, as heard here.
    pub fn time(&self) -> leader::Clock {
        *self.time.borrow()
    }

    /// Waits until `index` is applied here and says what became of it; `None` when the machine is gone.
    pub async fn outcome(&self, index: u64) -> Option<Outcome> {
        let mut outcomes = self.outcomes.clone();
        let seen = outcomes.wait_for(|outcomes| outcomes.applied >= index).await.ok()?;
        Some(seen.of(index))
    }
}

/// The machine the log drives.
#[derive(Debug)]
pub struct StoreMachine {
    store: Store,
    clock: Clock,
    time: watch::Sender<leader::Clock>,
    views: watch::Sender<View>,
    outcomes: watch::Sender<Arc<Outcomes>>,
    news: broadcast::Sender<Arc<News>>,
}

impl StoreMachine {
    /// An empty machine and its feed.
    pub fn new(clock: Clock) -> (Self, StoreFeed) {
        Self::with(Store::new(), clock)
    }

    /// A machine that holds `store`: the begin of a new cluster.
    pub fn with(store: Store, clock: Clock) -> (Self, StoreFeed) {
        let (time, time_heard) = watch::channel(leader::Clock::new(clock.mono()));
        let (views, views_seen) = watch::channel(store.view());
        let (outcomes, outcomes_seen) = watch::channel(Arc::default());
        let (news, _) = broadcast::channel(NEWS_KEPT);
        let feed = StoreFeed { views: views_seen, time: time_heard, outcomes: outcomes_seen, news: news.clone() };
        (Self { store, clock, time, views, outcomes, news }, feed)
    }

    fn restored(&mut self, index: u64) {
        let outcomes = Outcomes { refused: BTreeMap::new(), unknown_below: index, applied: index };
        self.outcomes.send_replace(Arc::new(outcomes));
        self.views.send_replace(self.store.view());
        // No receiver is no loss, here and below.
        let _ = self.news.send(Arc::new(News::Restored));
    }

    fn tell(&mut self, index: u64, refused: Option<Conflict>) {
        self.views.send_replace(self.store.view());
        self.outcomes.send_modify(|outcomes| {
            let outcomes = Arc::make_mut(outcomes);
            outcomes.applied = index;
            if let Some(conflict) = refused {
                outcomes.refused.insert(index, conflict);
            }
            let floor = index.saturating_sub(OUTCOMES_KEPT);
            if floor > outcomes.unknown_below {
                outcomes.unknown_below = floor;
                outcomes.refused = outcomes.refused.split_off(&(floor + 1));
            }
        });
    }
}

impl StateMachine for StoreMachine {
    type Reply = (u64, Result<(), Conflict>);

    /// An entry that can't be understood is an error the node stops at: going on would make managers differ.
    fn apply(&mut self, index: u64, term: u64, data: &Bytes) -> Result<Self::Reply, ApplyError> {
        let txn = decode_entry(data).map_err(|error| ApplyError(error.to_string()))?;
        if txn.term == Some(term) {
            self.time.send_modify(|time| time.hear(self.clock.mono(), txn.wall));
        }
        let result = self.store.apply(index, term, &txn);
        self.tell(index, result.as_ref().err().cloned());
        Ok(match result {
            Ok(events) => {
                if !events.is_empty() {
                    let _ = self.news.send(Arc::new(News::Applied { index, wall: txn.wall, events }));
                }
                (index, Ok(()))
            }
            Err(conflict) => (index, Err(conflict)),
        })
    }

    fn snapshot(&self) -> Box<dyn FnOnce() -> Bytes + Send> {
        // A copy of persistent maps: quick to take, and encoded elsewhere.
        let store = self.store.clone();
        Box::new(move || snapshot::pack(&store))
    }

    fn restore(&mut self, index: u64, state: &Bytes) -> Result<(), ApplyError> {
        self.store = snapshot::unpack(state)?;
        self.restored(index);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_core::SecretId;
    use swarm_core::model::{Labels, Meta, Secret, SecretSpec};
    use swarm_core::store::{Change, Object, Txn};
    use wire::encode_entry;

    fn secret(id: u128) -> Bytes {
        let spec = SecretSpec {
            name: "s".to_owned(),
            labels: Labels::new(),
            data: swarm_core::Sensitive::new(vec![1]),
            templated: false,
        };
        let secret = Secret { id: SecretId(id), meta: Meta::default(), spec, content_version: 1, older: Vec::new() };
        encode_entry(&Txn { changes: vec![Change::Create(Object::Secret(Arc::new(secret)))], ..Txn::default() }).into()
    }

    #[tokio::test]
    async fn a_writer_learns_from_its_index_what_became_of_its_write() {
        let (mut machine, feed) = StoreMachine::new(Clock::new());
        let waiting = tokio::spawn({
            let feed = feed.clone();
            async move { (feed.outcome(1).await, feed.outcome(2).await) }
        });
        machine.apply(1, 1, &secret(1)).expect("understood").1.expect("applied");
        let refused = machine.apply(2, 1, &secret(2)).expect("understood").1.expect_err("same name");
        let outcomes = waiting.await.expect("joins");
        assert_eq!(outcomes, (Some(Outcome::Applied), Some(Outcome::Refused(refused))));
    }

    #[tokio::test]
    async fn what_came_by_snapshot_is_not_told_apart() {
        let (mut machine, _) = StoreMachine::new(Clock::new());
        machine.apply(1, 1, &secret(1)).expect("understood").1.expect("applied");
        let (mut copy, feed) = StoreMachine::new(Clock::new());
        let mut news = feed.news();
        copy.restore(2, &machine.snapshot()()).expect("restores");
        assert_eq!(feed.outcome(2).await, Some(Outcome::Unknown));
        assert!(matches!(*news.recv().await.expect("news"), News::Restored), "watchers read again");
        assert!(feed.view().secret_by_name("s").is_some());
    }
}
