//! The shape of a run, drawn from its seed: how many of what, how bad the network, how often something breaks.

use crate::mutate::Mutation;
use crate::scenarios::Scenario;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Microseconds of virtual time.
pub const MS: u64 = 1_000;
/// Microseconds of virtual time.
pub const SECOND: u64 = 1_000 * MS;

/// Nodes up to which gossip is the real state machine; above, its verdicts are modelled (see `gossip`).
pub const REAL_GOSSIP_NODES_MAX: usize = 10;

/// Where most faults strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    Any,
    /// Votes are asked for again and again, by several at once.
    Elections,
    /// Leaders change all the time, and proposals wait long.
    Leaders,
}

/// Everything a run depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub seed: u64,
    pub managers: usize,
    pub workers: usize,
    /// Bytes added to each log entry: many make snapshots frequent.
    pub padding: usize,
    /// One-way delay of a message, microseconds: at least, and at most in most cases.
    pub delay_us: (u64, u64),
    /// Of 1000 messages, how many are lost, come twice, or come seconds late.
    pub lost_permille: u32,
    pub doubled_permille: u32,
    pub late_permille: u32,
    /// Mean time between faults, and between wishes of users.
    pub fault_every_us: u64,
    pub wish_every_us: u64,
    /// Things broken at the same time, at most: with many the cluster is hardly ever up.
    pub faults_at_once: usize,
    /// When faults begin and end.
    pub calm_us: u64,
    pub faults_us: u64,
    /// Wall clocks differ by up to this, milliseconds.
    pub skew_ms: i64,
    /// A loop of the leader looks at a change after this at most.
    pub lag_us: u64,
    /// What users ask for besides the usual.
    pub asks: Asks,
    pub trouble: Trouble,
    /// What is broken on purpose.
    pub mutation: Option<Mutation>,
    /// What happens, instead of wishes and faults that are drawn.
    pub scenario: Option<&'static Scenario>,
}

/// Kinds of wishes beside the usual ones. Each run has some of them: all at once hide one another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asks {
    /// New contents of secrets and configs.
    pub contents: bool,
    /// In variables, names, mounts and contents.
    pub templates: bool,
    /// Nodes with generic resources, services that reserve them.
    pub generic: bool,
    /// Probes for readiness and liveness, and images that have trouble with them.
    pub probes: bool,
    /// Services that run once at most, on hosts whose clocks do not run at the same rate.
    pub once: bool,
    /// Services that follow their load.
    pub autoscale: bool,
}

/// Of a host's clock at most, in millionths: half of what leases allow one clock to go ahead of another.
const CLOCK_RATE_PPM: i64 = 4_900;

/// Draws of the shape come from their own stream, so that the run's do not depend on how many there are.
const SHAPE_STREAM: u64 = 0x5eed_5ba9_e000_0000;
/// And so do those of what is asked for, so that a new kind of wish leaves shapes as they are.
const ASKS_STREAM: u64 = 0x5eed_a5c5_0000_0000;

impl Asks {
    fn draw(seed: u64) -> Self {
        let rng = &mut StdRng::seed_from_u64(seed ^ ASKS_STREAM);
        let mut some = || rng.random_bool(0.5);
        Self { contents: some(), templates: some(), generic: some(), probes: some(), once: some(), autoscale: some() }
    }
}

impl Settings {
    /// The run of this seed.
    pub fn draw(seed: u64) -> Self {
        let rng = &mut StdRng::seed_from_u64(seed ^ SHAPE_STREAM);
        let managers = [3, 3, 3, 3, 3, 3, 5, 5, 5, 7][rng.random_range(0..10)];
        let workers = match rng.random_range(0..1000) {
            0..800 => rng.random_range(1..=6),
            800..970 => rng.random_range(7..=15),
            970..995 => rng.random_range(16..=50),
            _ => rng.random_range(51..=200),
        };
        let bad = rng.random_range(0..3);
        let large = managers + workers > 20;
        Self {
            seed,
            managers,
            workers,
            padding: [0, 0, 0, 16 * 1024, 64 * 1024][rng.random_range(0..5)],
            delay_us: (rng.random_range(100..2 * MS), rng.random_range(3 * MS..30 * MS)),
            lost_permille: [0, 10, 80][bad],
            doubled_permille: [0, 10, 50][rng.random_range(0..3)],
            late_permille: [0, 5, 20][rng.random_range(0..3)],
            fault_every_us: rng.random_range(SECOND..6 * SECOND),
            wish_every_us: rng.random_range(SECOND / 4..2 * SECOND) * if large { 2 } else { 1 },
            faults_at_once: rng.random_range(1..=5),
            calm_us: 8 * SECOND,
            faults_us: rng.random_range(20 * SECOND..120 * SECOND),
            skew_ms: [0, 50, 5_000, 90_000][rng.random_range(0..4)],
            lag_us: if large { 40 * MS } else { [MS, 5 * MS, 20 * MS][rng.random_range(0..3)] },
            asks: Asks::draw(seed),
            trouble: match rng.random_range(0..20) {
                0..5 => Trouble::Elections,
                5 => Trouble::Leaders,
                _ => Trouble::Any,
            },
            mutation: None,
            scenario: None,
        }
    }

    /// A quiet cluster for a script.
    pub fn scripted(scenario: &'static Scenario) -> Self {
        Self {
            managers: scenario.managers,
            workers: scenario.workers,
            padding: 0,
            delay_us: (100, 3 * MS),
            lost_permille: 0,
            doubled_permille: 0,
            late_permille: 0,
            skew_ms: 0,
            lag_us: MS,
            scenario: Some(scenario),
            ..Self::draw(1)
        }
    }

    /// The run of this seed with something broken; of a kind that gives it a chance to show.
    pub fn broken(seed: u64, mutation: Option<Mutation>) -> Self {
        let drawn = Self { mutation, ..Self::draw(seed) };
        match mutation {
            Some(Mutation::VoteTwice) => Self { trouble: Trouble::Elections, ..drawn },
            Some(Mutation::SkipFence) => Self {
                trouble: Trouble::Leaders,
                managers: 3,
                workers: 2,
                delay_us: (20 * MS, 300 * MS),
                fault_every_us: 400 * MS,
                wish_every_us: 300 * MS,
                ..drawn
            },
            Some(Mutation::ForgetLease) => Self {
                asks: Asks { once: true, ..drawn.asks },
                fault_every_us: drawn.fault_every_us / 2,
                wish_every_us: drawn.wish_every_us / 2,
                faults_us: 120 * SECOND,
                ..drawn
            },
            Some(
                Mutation::SkipFsync
                | Mutation::IgnoreParallelism
                | Mutation::ReuseAddress
                | Mutation::ForgetRestarts
                | Mutation::LeakSecret
                | Mutation::ForgetRecords
                | Mutation::ReadAlone,
            )
            | None => drawn,
        }
    }

    /// The run of this seed, small enough for an unoptimised test.
    pub fn small(seed: u64) -> Self {
        let drawn = Self::draw(seed);
        Self {
            managers: 3,
            workers: drawn.workers.min(2),
            padding: 0,
            faults_us: 12 * SECOND,
            wish_every_us: SECOND / 2,
            ..drawn
        }
    }

    /// By how many millionths the clock of some host is fast; wall clocks, which are set, may be off by any time.
    pub fn clock_rate_ppm(&self, rng: &mut StdRng) -> i64 {
        if self.asks.once { rng.random_range(-CLOCK_RATE_PPM..=CLOCK_RATE_PPM) } else { 0 }
    }

    pub fn hosts(&self) -> usize {
        self.managers + self.workers
    }
}
