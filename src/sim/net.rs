//! The network: who reaches whom, and what becomes of a message.
//!
//! Messages of the log and of gossip are single packets here: lost, doubled, reordered. Sessions and calls go over
//! connections that repair that (QUIC): they are delayed, and break when nothing comes through for long.

use crate::settings::{MS, SECOND, Settings};
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::BTreeMap;

/// A host by its number.
pub type HostId = usize;

/// How long a connection goes on without a sign of life (`node::transport` ends it after that).
pub const IDLE_US: u64 = 3 * SECOND;

/// One-way delay of a message while the network is slow: an election of two candidates fits into it.
const SLOW_US: (u64, u64) = (10 * MS, 400 * MS);

/// What becomes of packets, and which ways are closed.
#[derive(Clone, Debug)]
pub struct Net {
    delay_us: (u64, u64),
    lost_permille: u32,
    doubled_permille: u32,
    late_permille: u32,
    /// Number of faults that make it slow.
    slow: u32,
    /// Number of faults that close a way; from, to.
    closed: BTreeMap<(HostId, HostId), u32>,
}

impl Net {
    pub fn new(settings: &Settings) -> Self {
        Self {
            delay_us: settings.delay_us,
            lost_permille: settings.lost_permille,
            doubled_permille: settings.doubled_permille,
            late_permille: settings.late_permille,
            slow: 0,
            closed: BTreeMap::new(),
        }
    }

    pub fn is_open(&self, from: HostId, to: HostId) -> bool {
        from == to || !self.closed.contains_key(&(from, to))
    }

    /// Both ways.
    pub fn is_linked(&self, one: HostId, other: HostId) -> bool {
        self.is_open(one, other) && self.is_open(other, one)
    }

    pub fn close(&mut self, from: HostId, to: HostId) {
        if from != to {
            *self.closed.entry((from, to)).or_insert(0) += 1;
        }
    }

    pub fn open(&mut self, from: HostId, to: HostId) {
        if let Some(count) = self.closed.get_mut(&(from, to)) {
            *count -= 1;
            if *count == 0 {
                self.closed.remove(&(from, to));
            }
        }
    }

    /// From now on every message arrives, after a moment.
    pub fn heal(&mut self) {
        self.closed.clear();
        self.slow = 0;
        (self.lost_permille, self.doubled_permille, self.late_permille) = (0, 0, 0);
    }

    /// A worse network for a while, or the better one again.
    pub fn set_loss(&mut self, lost_permille: u32, late_permille: u32) {
        (self.lost_permille, self.late_permille) = (lost_permille, late_permille);
    }

    /// Messages take longer than the leader's heartbeats are apart, until that many times [`Self::speed_up`].
    pub fn slow_down(&mut self) {
        self.slow += 1;
    }

    pub fn speed_up(&mut self) {
        self.slow = self.slow.saturating_sub(1);
    }

    fn delay(&self, rng: &mut StdRng) -> u64 {
        let (least, most) = if self.slow > 0 { SLOW_US } else { self.delay_us };
        let late = rng.random_range(0..1000) < self.late_permille;
        if late { rng.random_range(MS * 100..3 * SECOND) } else { rng.random_range(least..=most) }
    }

    /// After which times a packet arrives: never, once or twice.
    pub fn packet(&self, rng: &mut StdRng, from: HostId, to: HostId) -> Vec<u64> {
        if from == to {
            return vec![50];
        }
        if !self.is_open(from, to) || rng.random_range(0..1000) < self.lost_permille {
            return Vec::new();
        }
        let copies = if rng.random_range(0..1000) < self.doubled_permille { 2 } else { 1 };
        (0..copies).map(|_| self.delay(rng)).collect()
    }

    /// After which time the next part of a connection's data arrives: lost packets are sent again.
    pub fn segment(&self, rng: &mut StdRng, from: HostId, to: HostId) -> u64 {
        if from == to {
            return 50;
        }
        let again = if rng.random_range(0..1000) < self.lost_permille { 200 * MS } else { 0 };
        self.delay(rng) + again
    }
}
