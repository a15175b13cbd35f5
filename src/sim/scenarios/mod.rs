//! What the simulator has found: each bug of the product with its story and a script that shows it, so that it stays
//! mended. A story says what a user would have seen.

mod canaries;
mod moves;
mod updates;

use crate::script::Step;
use std::fmt;

/// One bug.
pub struct Scenario {
    /// As it is given on the command line.
    pub name: &'static str,
    /// What happened, and what it was mended with.
    pub story: &'static str,
    pub managers: usize,
    pub workers: usize,
    pub(crate) script: fn() -> Vec<Step>,
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Scenario {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// All of them, oldest first.
pub const ALL: &[Scenario] = &[
    moves::FULL_NETWORK,
    canaries::LOST_NODE,
    updates::OVERTAKEN,
    updates::EXCLUDED_NODE,
    moves::NO_LONGER_FITS,
    canaries::EXCLUDED_NODE,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::run;
    use crate::settings::Settings;

    #[test]
    fn what_was_found_once_stays_mended() {
        for scenario in ALL {
            let outcome = run(Settings::scripted(scenario), None);
            let said = outcome.violations.iter().map(ToString::to_string).collect::<Vec<_>>();
            assert!(outcome.is_good(), "{}: {said:?}\n{}", scenario.name, outcome.tail.join("\n"));
        }
    }
}
