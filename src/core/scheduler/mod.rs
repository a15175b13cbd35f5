//! Which node a waiting task goes to, and which task goes first when there are too many.
//!
//! Pure functions of one snapshot, called by the leader. [`Board`] is that snapshot in the order placing
//! needs it; the leader keeps it and brings it up to date with what changed, and the outcome is the same
//! as from a new one. Every filter can say in words why it leaves a node out; a task that finds no node
//! carries those words. It never moves a task that has a node: that is the plan's business.
//!
//! `filter/` says which nodes are possible, `score` which of them is better, `spread` finds the best one
//! without looking at all, `place` does it for one task after the other.

mod board;
mod demand;
mod filter;
mod nodes;
mod place;
mod preempt;
mod removal;
mod score;
mod shelf;
mod spread;
mod stuck;
mod table;
mod tally;
mod trail;

pub use board::Board;
pub use demand::{Demand, fits, spread_path};
pub use filter::takes_tasks;
pub use nodes::NodeInfo;
pub use place::{place, takes};
pub use preempt::Eviction;
pub use removal::{Candidate, rank_for_removal};
pub use score::load_step;
pub use table::{FAILURES_WINDOW, NodeTable, avoided_until};

/// A node where this many tasks of a service failed lately comes after all others for that service.
const FAILURES_TO_AVOID: u32 = 3;

#[cfg(test)]
mod preempt_tests;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod stuck_tests;
#[cfg(test)]
mod tests;
