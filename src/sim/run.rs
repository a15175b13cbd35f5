//! One run from its settings to its outcome.

use crate::check::SURVIVES;
use crate::log::{Log, Sink};
use crate::settings::{SECOND, Settings};
use crate::world::World;
use std::panic::{AssertUnwindSafe, catch_unwind};
use swarm_core::audit::Violation;

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub settings: Settings,
    pub violations: Vec<Violation>,
    /// It came to what is wanted.
    pub converged: bool,
    /// Of the event log.
    pub hash: u64,
    pub lines: u64,
    pub tail: Vec<String>,
    /// The newest state of the store.
    pub state: Vec<String>,
    pub virtual_s: u64,
    /// Seconds of virtual time from the end of the faults.
    pub converged_in_s: u64,
    /// Events handled, entries applied, terms with a leader, containers started.
    pub counts: [u64; 4],
    /// Wishes granted, refused, failed.
    pub wishes: [u64; 3],
}

impl Outcome {
    pub fn is_good(&self) -> bool {
        self.violations.is_empty() && self.converged
    }
}

/// Runs to the end.
pub fn run(settings: Settings, sink: Option<Sink>) -> Outcome {
    run_until(settings, sink, u64::MAX)
}

/// Runs to the end, at most until the log has `until` lines.
pub fn run_until(settings: Settings, sink: Option<Sink>, until: u64) -> Outcome {
    let log = sink.map_or_else(Log::default, Log::with_sink);
    let mut world = World::new(settings, log);
    let survived = catch_unwind(AssertUnwindSafe(|| world.run(until)));
    if let Err(panic) = survived {
        let words = panic.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words");
        world.check.fail(SURVIVES, words.to_owned());
    }
    let (entries, terms, containers) = world.check.counts();
    Outcome {
        violations: world.check.violations().to_vec(),
        converged: world.converged,
        hash: world.log.hash(),
        lines: world.log.lines(),
        tail: world.log.tail().map(str::to_owned).collect(),
        state: crate::check::describe_view(world.check.newest()),
        virtual_s: world.now / SECOND,
        converged_in_s: world.healed_at.map_or(0, |at| (world.now - at) / SECOND),
        counts: [world.events, entries as u64, terms as u64, containers as u64],
        wishes: [world.users.granted, world.users.refused, world.users.failed],
        settings: world.settings,
    }
}
