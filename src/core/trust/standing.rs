//! Who speaks as a manager: a certificate lives for months, and the role may end the day after.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::NodeRole;
use crate::store::View;
use crate::{NodeId, WallTime};

use super::validity::{BACKDATE, Validity};

/// Clocks of two managers differ by less.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(5 * 60);

/// The managers as one copy of the store has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownManagers {
    /// Who is to be a manager, or has its vote still.
    pub nodes: BTreeSet<NodeId>,
    /// The last word of this copy on any node.
    pub as_of: WallTime,
}

impl KnownManagers {
    /// `None`: the copy is empty, because its manager has only just joined and is to hear from the others.
    #[must_use]
    pub fn of(view: &View) -> Option<Self> {
        view.cluster()?;
        let managers = view.nodes().filter(|node| node.spec.role == NodeRole::Manager || node.raft.is_some());
        let as_of = view.nodes().map(|node| node.meta.updated.wall).max();
        Some(Self { nodes: managers.map(|node| node.id).collect(), as_of: as_of.unwrap_or_default() })
    }

    /// These and no others.
    #[must_use]
    pub fn exactly(nodes: BTreeSet<NodeId>) -> Self {
        Self { nodes, as_of: WallTime(i64::MAX) }
    }

    /// Whether a node with a manager's certificate of this `validity` is taken for one.
    ///
    /// One that the copy does not name may be newer than the copy, and may be the only one who can bring it up to
    /// date. Then its certificate is newer too: nobody gets a manager's certificate who is no manager.
    #[must_use]
    pub fn accepts(&self, node: NodeId, validity: Validity) -> bool {
        let issued = validity.not_before + BACKDATE;
        self.nodes.contains(&node) || issued + CLOCKS_APART_MAX > self.as_of
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);
    const START: WallTime = WallTime(1_800_000_000_000);

    fn certificate(issued: WallTime) -> Validity {
        Validity::issued(issued, 90 * DAY)
    }

    fn known() -> KnownManagers {
        KnownManagers { nodes: BTreeSet::from([NodeId(1)]), as_of: START + DAY }
    }

    #[test]
    fn a_manager_is_accepted_however_old_its_certificate_is() {
        assert!(known().accepts(NodeId(1), certificate(START)));
    }

    #[test]
    fn a_certificate_from_before_the_end_of_the_role_is_worth_nothing() {
        assert!(!known().accepts(NodeId(2), certificate(START)));
        assert!(!known().accepts(NodeId(2), certificate(START + (DAY - 2 * CLOCKS_APART_MAX))));
    }

    #[test]
    fn a_manager_that_a_late_copy_does_not_know_yet_is_accepted() {
        assert!(known().accepts(NodeId(2), certificate(START + 2 * DAY)));
        let slow = START + (DAY - CLOCKS_APART_MAX / 2);
        assert!(known().accepts(NodeId(2), certificate(slow)), "by a clock that is behind");
    }

    #[test]
    fn an_exact_list_knows_no_newcomers() {
        let exact = KnownManagers::exactly(BTreeSet::from([NodeId(1)]));
        assert!(exact.accepts(NodeId(1), certificate(START)));
        assert!(!exact.accepts(NodeId(2), certificate(START + 9 * DAY)));
    }
}
