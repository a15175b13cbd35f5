//! The leader's loop over desired state: pure decisions on the newest view, written under the term's
//! fence, again and again until there is nothing to do.

use super::leader::LeaderParts;
use super::write::{WriteError, Writer};
use std::collections::VecDeque;
use std::time::Duration;
use swarm_core::WallTime;
use swarm_core::leader::Ledger;
use swarm_core::store::{Txn, View};
use tokio::time::{Instant, sleep};

/// After a write that did not come through, before the decision is made anew.
const RETRY: Duration = Duration::from_millis(200);
/// Refusals in a row that writes of others explain.
const REFUSALS: u32 = 8;
/// Longest sleep, and how often to look at what nothing tells of: due times are by the leaders' time, which may be set.
const LOOK: Duration = Duration::from_secs(5);

/// What became of the writes of one step.
enum Written {
    All,
    /// Someone wrote in between: decided anew on what is there now. Perhaps `after` others were written.
    Overtaken {
        after: bool,
    },
    /// One may or may not come through; what follows it was not tried.
    Broken,
}

/// Writes what was decided at `now`, in its order.
async fn write(ledger: &mut Ledger, txns: Vec<Txn>, term: u64, now: WallTime, writer: &Writer) -> Written {
    let mut txns = VecDeque::from(txns);
    let mut after = false;
    while let Some(mut txn) = txns.pop_front() {
        txn.term = Some(term);
        txn.wall = now;
        match writer.propose(&txn).await {
            Ok(_) => after = true,
            Err(WriteError::Refused(conflict)) => {
                tracing::debug!(%conflict, "a decision was overtaken");
                return Written::Overtaken { after };
            }
            // Its size is estimated when it is made. Each half is decided by itself as well: all is level-triggered.
            Err(WriteError::TooLarge { .. }) if txn.changes.len() > 1 => {
                let rest = txn.changes.split_off(txn.changes.len() / 2);
                txns.push_front(Txn { changes: rest, ..Txn::default() });
                txns.push_front(txn);
            }
            // The rest must not wait for what never fits.
            Err(error @ WriteError::TooLarge { bytes, limit }) => {
                let is_news = txn.changes.first().is_some_and(|change| ledger.too_large(change, bytes, limit));
                match is_news {
                    true => tracing::warn!(%error, term, "a decision is left out"),
                    // It is left out of the next step; one that is not is not tried in a tight loop.
                    false => sleep(RETRY).await,
                }
            }
            Err(error) => {
                tracing::info!(%error, term, "a decision was not written");
                return Written::Broken;
            }
        }
    }
    Written::All
}

/// Runs until the term ends.
pub async fn run(term: u64, parts: LeaderParts) {
    let mut views = parts.writer.feed.views.clone();
    // Set while entries may be on their way whose outcome is not in the view: those of the leader before,
    // and writes of ours that were not answered in time.
    let mut behind = true;
    // Decisions in a row that were refused.
    let mut refused = 0u32;
    // Follows from the views it is shown; a new term begins with a new one, which looks at everything.
    let mut ledger = Ledger::default();
    let mut looked = Instant::now();
    loop {
        if behind {
            // What is committed after them shows that they are applied, or never will be.
            let barrier = Txn { term: Some(term), wall: parts.clock.wall(), ..Txn::default() };
            if let Err(error) = parts.writer.propose(&barrier).await {
                tracing::debug!(%error, term, "waiting for what is on its way");
                sleep(RETRY).await;
                continue;
            }
            behind = false;
        }
        let view: View = views.borrow_and_update().clone();
        let now = parts.clock.wall();
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            ledger.look();
        }
        let step = ledger.step(&view, now, &mut rand::rng());
        let idle = step.txns.is_empty();
        match write(&mut ledger, step.txns, term, now, &parts.writer).await {
            Written::All => refused = 0,
            Written::Overtaken { after: true } => refused = 1,
            Written::Overtaken { after: false } => refused = refused.saturating_add(1),
            Written::Broken => {
                behind = true;
                // Decided anew it may end the same way.
                sleep(RETRY).await;
            }
        }
        if !idle {
            if refused > REFUSALS {
                // Not overtaken but wrong: it would fill the log as fast as the disk writes.
                tracing::warn!(term, refused, "the same decision is refused again and again");
                sleep(RETRY).await;
            }
            continue;
        }
        let due = step.wake_at.map_or(LOOK, |at| at.since(parts.clock.wall()).min(LOOK));
        tokio::select! {
            changed = views.changed() => if changed.is_err() { return },
            () = sleep(due.max(Duration::from_millis(1))) => {}
        }
    }
}
