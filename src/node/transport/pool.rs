//! Connections kept for the next call: one per peer and conversation.
//!
//! A slot's lock is held while it dials, so callers for one peer wait for one handshake. After a
//! failure the slot answers with the same error until its backoff is over, so a dead peer costs its
//! callers nothing.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::conversation::Conversation;
use super::dial::{Established, Expect};
use super::error::TransportError;

/// First and longest pause after failed attempts to dial a peer. The longest is short because a
/// returning manager must be found again within a second.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_millis(1000);
/// Doublings from the first to the longest pause; more change nothing.
const BACKOFF_DOUBLINGS_MAX: u32 = 5;
/// A connection without streams is closed after this; dialling again costs two round trips.
const UNUSED_MAX: Duration = Duration::from_secs(60);
/// How often unused connections are looked for.
pub(super) const SWEEP_PERIOD: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    address: SocketAddr,
    expect: Expect,
    alpn: &'static str,
}

#[derive(Default)]
struct Slot {
    established: Option<Established>,
    /// Which of our identities it was made with.
    identity: u64,
    failure: Option<Failure>,
    last_used: Option<Instant>,
}

struct Failure {
    error: TransportError,
    /// Which of our identities was refused: another one may be welcome.
    identity: u64,
    count: u32,
    until: Instant,
}

/// All slots. Bounded by the number of nodes times conversations: slots unused for a minute go.
#[derive(Default)]
pub(super) struct Pool {
    slots: Mutex<HashMap<Key, Arc<tokio::sync::Mutex<Slot>>>>,
}

impl Pool {
    /// A live connection made with our identity number `identity`, dialled if there is none.
    pub(super) async fn get<F>(
        &self,
        address: SocketAddr,
        expect: Expect,
        conversation: &'static Conversation,
        identity: u64,
        deadline: Instant,
        dial: F,
    ) -> Result<Established, TransportError>
    where
        F: AsyncFnOnce() -> Result<Established, TransportError>,
    {
        let key = Key { address, expect, alpn: conversation.alpn };
        let slot = Arc::clone(self.lock().entry(key).or_default());
        let start = Instant::now();
        let Ok(mut slot) = timeout_at(deadline, slot.lock()).await else {
            return Err(TransportError::Unreachable { address, waited: start.elapsed() });
        };
        slot.last_used = Some(Instant::now());
        if let Some(live) = slot.live(identity) {
            return Ok(live);
        }
        if let Some(failure) = &slot.failure
            && failure.identity == identity
            && Instant::now() < failure.until
        {
            return Err(failure.error.clone());
        }
        match dial().await {
            Ok(established) => {
                slot.established = Some(established.clone());
                slot.identity = identity;
                slot.failure = None;
                Ok(established)
            }
            Err(error) => {
                slot.fail(error.clone(), identity);
                Err(error)
            }
        }
    }

    /// Forgets a connection that does not answer; its streams end by themselves.
    pub(super) async fn forget(
        &self,
        address: SocketAddr,
        expect: Expect,
        conversation: &'static Conversation,
        established: &Established,
    ) {
        let key = Key { address, expect, alpn: conversation.alpn };
        let slot = self.lock().get(&key).cloned();
        if let Some(slot) = slot {
            let mut slot = slot.lock().await;
            let same = slot
                .established
                .as_ref()
                .is_some_and(|kept| kept.connection.stable_id() == established.connection.stable_id());
            if same {
                slot.established = None;
            }
        }
    }

    /// Closes what was not used for a while. A slot in use (locked, or with streams) stays.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        self.lock().retain(|_, slot| {
            let Ok(slot) = slot.try_lock() else { return true };
            let recent = slot.last_used.is_some_and(|used| now.duration_since(used) < UNUSED_MAX);
            recent || slot.has_streams()
        });
    }

    /// Closes connections to peers for which `gone` holds.
    pub(super) fn close_where(&self, gone: impl Fn(&Established) -> bool, code: quinn::VarInt) {
        for slot in self.lock().values() {
            if let Ok(mut slot) = slot.try_lock()
                && slot.established.as_ref().is_some_and(&gone)
                && let Some(established) = slot.established.take()
            {
                established.connection.close(code, b"");
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Arc<tokio::sync::Mutex<Slot>>>> {
        // A panic cannot leave the map half changed: every change is one call.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    fn live(&mut self, identity: u64) -> Option<Established> {
        let established = self.established.as_ref()?;
        if established.connection.close_reason().is_some() || self.identity != identity {
            self.established = None;
            return None;
        }
        Some(established.clone())
    }

    fn fail(&mut self, error: TransportError, identity: u64) {
        let count = self.failure.as_ref().map_or(0, |failure| failure.count);
        let pause = BACKOFF_FIRST * 2u32.pow(count.min(BACKOFF_DOUBLINGS_MAX));
        self.failure = Some(Failure {
            error,
            identity,
            count: count.saturating_add(1),
            until: Instant::now() + pause.min(BACKOFF_MAX),
        });
    }

    fn has_streams(&self) -> bool {
        self.established.as_ref().is_some_and(|established| {
            established.connection.close_reason().is_none() && Arc::strong_count(&established.in_use) > 1
        })
    }
}
