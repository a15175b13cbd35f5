//! Whole groups of members on a virtual clock, with disks that lose what was not synced.

mod elections;
mod faults;
mod harness;
mod membership;
mod recovery;
mod writes;
