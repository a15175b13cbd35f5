//! What can be broken on purpose, to show that the simulator notices.
//!
//! Each is done in the shells of the simulator (a disk that lies, a plan that is altered on its way to the log):
//! nothing of it is in the product.

use crate::check;
use std::fmt;

/// One thing broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutation {
    /// A manager forgets at a restart whom it voted for.
    VoteTwice,
    /// The disk says that it synced what it did not.
    SkipFsync,
    /// The plan sees updates as if all slots could be replaced at once.
    IgnoreParallelism,
    /// A task is given the address of another.
    ReuseAddress,
    /// Decisions of a leader are written whoever leads by then.
    SkipFence,
    /// A replacement counts its restarts from nothing.
    ForgetRestarts,
    /// A session is sent a secret its node does not need.
    LeakSecret,
    /// The agent forgets its records when the daemon restarts.
    ForgetRecords,
    /// A leader answers reads without asking the others.
    ReadAlone,
    /// A shim does not look at the end of its lease.
    ForgetLease,
}

impl Mutation {
    pub const ALL: [Self; 10] = [
        Self::VoteTwice,
        Self::SkipFsync,
        Self::IgnoreParallelism,
        Self::ReuseAddress,
        Self::SkipFence,
        Self::ForgetRestarts,
        Self::LeakSecret,
        Self::ForgetRecords,
        Self::ReadAlone,
        Self::ForgetLease,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::VoteTwice => "vote-twice",
            Self::SkipFsync => "skip-fsync",
            Self::IgnoreParallelism => "ignore-parallelism",
            Self::ReuseAddress => "reuse-address",
            Self::SkipFence => "skip-fence",
            Self::ForgetRestarts => "forget-restarts",
            Self::LeakSecret => "leak-secret",
            Self::ForgetRecords => "forget-records",
            Self::ReadAlone => "read-alone",
            Self::ForgetLease => "forget-lease",
        }
    }

    /// The invariants that this is to break: noticed by another one, those would not be proven to work.
    pub fn breaks(self) -> &'static [&'static str] {
        match self {
            Self::VoteTwice => &[check::ONE_LEADER],
            Self::SkipFsync => &[check::NOTHING_LOST, check::SAME_HISTORY],
            Self::IgnoreParallelism => &["an update keeps to its parallelism"],
            Self::ReuseAddress => &["an address has one holder"],
            Self::SkipFence => &[check::FENCED],
            Self::ForgetRestarts => &[check::COUNTED],
            Self::LeakSecret => &[check::NEED_TO_KNOW],
            Self::ForgetRecords => &[check::STARTS_ONCE],
            Self::ReadAlone => &[check::READS_CURRENT],
            Self::ForgetLease => &[check::ONCE, check::OVER],
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mutation| mutation.name() == name)
    }
}

impl fmt::Display for Mutation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
