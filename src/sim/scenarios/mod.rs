//! What the simulator has found: each bug of the product with its story and the run that showed it, so that it stays
//! mended. A story says what a user would have seen.

use crate::settings::Settings;

/// One bug, by the run that found it.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub name: &'static str,
    /// What happened, and what it was mended with.
    pub story: &'static str,
    pub settings: Settings,
}

/// All of them, oldest first.
pub fn all() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "a move into a full network",
            story: "With a budget of moves per minute set, a service that starts first was to move to an emptier node, and \
                    its network had no free address for the second task. The move was given up and forgotten, with it \
                    the budget it had used, and made again: the leader filled the log with tasks as fast as the disk \
                    writes. What was made to move, in vain or not, is now kept for the minute it counts.",
            settings: Settings::draw(4),
        },
        Scenario {
            name: "a canary on a node that is lost",
            story: "A global service was updated with two canaries. The node of one went down, and the update took \
                    another node in its place: three had the new version, and nobody had promoted it. A canary whose \
                    node is away is now counted, and not taken for good while its node is lost.",
            settings: Settings::draw(23),
        },
        Scenario {
            name: "an update overtaken by one that changes no container",
            story: "A node was lost while it brought up a task for an update that was overtaken by one that needed no \
                    other container. The task made in its place counted as brought in by the later update: more were \
                    under way than its parallelism, and a failure would have paused it or rolled it back.",
            settings: Settings::draw(14),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::run;

    #[test]
    fn what_was_found_once_stays_mended() {
        for Scenario { name, settings, .. } in all() {
            let outcome = run(settings, None);
            let said = outcome.violations.iter().map(ToString::to_string).collect::<Vec<_>>();
            assert!(outcome.is_good(), "{name}: {said:?}");
        }
    }
}
