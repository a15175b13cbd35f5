//! A leadership period: every task that only a leader runs, made by one constructor and ended by one drop.

use super::addresses::Addresses;
use super::autoscale;
use super::members;
use super::orchestrate;
use super::sessions::{self, SessionOffer};
use super::write::Writer;
use crate::clock::TermClock;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Sessions that may wait to be taken in.
const OFFERS: usize = 1024;
/// Loads of nodes that may wait for the autoscaler; more are dropped, and told again.
const LOADS: usize = 4096;

/// What a leader works with.
#[derive(Clone)]
pub struct LeaderParts {
    pub writer: Writer,
    pub addresses: Addresses,
    pub clock: TermClock,
}

/// The tasks of one term. Dropping it stops all of them; when one ends by itself, the others are
/// stopped too and `ended` resolves.
pub struct LeaderTerm {
    sessions: mpsc::Sender<Box<SessionOffer>>,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

impl LeaderTerm {
    /// Begins to lead in `term`.
    pub fn begin(term: u64, parts: LeaderParts) -> Self {
        let stop = CancellationToken::new();
        let (sessions, offered) = mpsc::channel(OFFERS);
        let (loads, told) = mpsc::channel(LOADS);
        let (sampling, sampling_seen) = watch::channel(Arc::default());
        let load = sessions::LoadParts { loads, sampling: sampling_seen };
        let tasks: [(&str, tokio::task::JoinHandle<()>); 4] = [
            ("orchestration", spawn(&stop, orchestrate::run(term, parts.clone()))),
            ("dispatch", spawn(&stop, sessions::run(term, parts.clone(), offered, load))),
            ("autoscale", spawn(&stop, autoscale::run(term, parts.clone(), told, sampling))),
            ("members", spawn(&stop, members::run(term, parts))),
        ];
        for (name, task) in tasks {
            let stop = stop.clone();
            tokio::spawn(async move {
                if let Err(error) = task.await {
                    tracing::error!(name, term, %error, "a leader task failed: the term ends");
                }
                stop.cancel();
            });
        }
        Self { sessions, stop: stop.clone(), _stop_on_drop: stop.drop_guard() }
    }

    /// Hands a node's session to the dispatch task; it comes back when the term is over or overloaded.
    pub fn offer(&self, offer: Box<SessionOffer>) -> Result<(), Box<SessionOffer>> {
        self.sessions.try_send(offer).map_err(|refused| refused.into_inner())
    }

    /// Resolves when the term is over from inside.
    pub fn ended(&self) -> CancellationToken {
        self.stop.clone()
    }
}

fn spawn(stop: &CancellationToken, work: impl Future<Output = ()> + Send + 'static) -> tokio::task::JoinHandle<()> {
    let stop = stop.clone();
    tokio::spawn(async move {
        stop.run_until_cancelled(work).await;
    })
}
