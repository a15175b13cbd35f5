//! Which slots go first when a service has too many.

use crate::NodeId;
use std::collections::BTreeMap;

/// A slot that may be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub slot: u64,
    pub running: bool,
    pub node: Option<NodeId>,
}

/// All slots, the first to be removed first: those that do not run, then from the nodes with the most
/// of the service so that the rest stays spread, the highest slot first among equals.
pub fn rank_for_removal(candidates: &[Candidate]) -> Vec<u64> {
    let mut sorted = candidates.to_vec();
    sorted.sort_by_key(|c| c.slot);
    let mut on_node: BTreeMap<NodeId, u64> = BTreeMap::new();
    let mut ranked: Vec<(bool, u64, u64)> = Vec::with_capacity(sorted.len());
    for candidate in sorted {
        // The how-manieth running one of its node it is: removing the highest first evens nodes out.
        let nth = match (candidate.running, candidate.node) {
            (true, Some(node)) => {
                let count = on_node.entry(node).or_default();
                *count += 1;
                *count
            }
            (false, _) | (true, None) => 0,
        };
        ranked.push((candidate.running, nth, candidate.slot));
    }
    ranked.sort_by_key(|(running, nth, slot)| (*running, std::cmp::Reverse(*nth), std::cmp::Reverse(*slot)));
    ranked.into_iter().map(|(_, _, slot)| slot).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(slot: u64, running: bool, node: u128) -> Candidate {
        Candidate { slot, running, node: Some(NodeId(node)) }
    }

    #[test]
    fn what_does_not_run_goes_first_then_the_fullest_node_then_the_highest_slot() {
        let all = [
            candidate(1, true, 1),
            candidate(2, true, 1),
            candidate(3, true, 2),
            candidate(4, false, 2),
            candidate(5, true, 1),
        ];
        assert_eq!(rank_for_removal(&all), [4, 5, 2, 3, 1]);
    }
}
