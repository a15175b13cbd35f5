//! Profiles: a service that names some is part of the stack only when one of them is turned on (Compose specification,
//! "Profiles"). What is off is left out, as if it were not in the files; nothing of it is checked but its profiles.
//!
//! `COMPOSE_PROFILES` of the caller's environment says which are on: names with commas between them, or `*` for all.

use super::depends;
use super::interpolate::{Environment, join};
use super::normal::normal;
use super::parse::brief;
use super::read::{Layer, Reader};
use super::report::Report;
use super::schema::Kind;
use super::value::{Node, Pos};
use std::collections::{BTreeMap, BTreeSet};

const VARIABLE: &str = "COMPOSE_PROFILES";

/// Which profiles are on, and what is off because of it.
pub(crate) struct Profiles {
    active: BTreeSet<String>,
    /// Of any service.
    known: BTreeSet<String>,
    /// Services that are left out, with their profiles.
    off: BTreeMap<String, Vec<String>>,
}

impl Profiles {
    pub fn new(env: &Environment) -> Self {
        let wanted = env.get(VARIABLE).map_or("", String::as_str);
        let active = wanted.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Self { active, known: BTreeSet::new(), off: BTreeMap::new() }
    }

    /// Whether the service `name` with these profiles is part of the stack.
    pub fn is_on(&mut self, name: &str, profiles: Vec<String>) -> bool {
        self.known.extend(profiles.iter().cloned());
        let is_active = |profile: &String| self.active.contains(profile) || self.active.contains("*");
        if profiles.is_empty() || profiles.iter().any(is_active) {
            return true;
        }
        self.off.insert(name.to_owned(), profiles);
        false
    }

    /// Refuses services that wait for one that is off, and says which profiles turn nothing on.
    pub fn check(&self, root: &Node, report: &mut Report) {
        for name in self.active.difference(&self.known).filter(|name| *name != "*") {
            let message = format!("no service is in the profile {} that is turned on", brief(name));
            report.warn(Pos::default(), "", message);
        }
        let services = root.get("services");
        for entry in services.map_or(&[][..], Node::entries) {
            let path = join(&join("services", &entry.key), "depends_on");
            for (other, pos) in depends::required(&entry.node) {
                let is_there = services.is_some_and(|services| services.get(&other).is_some());
                let Some(profiles) = self.off.get(&other).filter(|_| !is_there) else { continue };
                let one = profiles.first().map_or("", String::as_str);
                let message = format!(
                    "{} is off: it is in {}; turn it on with --profile {}, or write required: false",
                    brief(&other),
                    brief(&profiles.join(", ")),
                    brief(one)
                );
                report.error(pos, &path, message);
            }
        }
    }
}

impl Reader<'_> {
    /// Takes the profiles out of the layers of a service. `None`: they are wrong, and the report says why.
    pub(super) fn profiles_of(&mut self, piles: &mut [Vec<Layer>]) -> Option<Vec<String>> {
        let mut profiles: Vec<String> = Vec::new();
        let mut good = true;
        for layer in piles.iter_mut().flatten() {
            let Some(node) = layer.node.as_map_mut().and_then(|map| map.remove("profiles")) else { continue };
            if node.is_reset() {
                continue;
            }
            let path = join(&join("services", &layer.name), "profiles");
            let node = self.expanded(node, &path).and_then(|node| normal(&Kind::Texts, node, &path, self.report));
            let Some(node) = node else {
                good = false;
                continue;
            };
            for item in node.items() {
                let name = item.as_text().unwrap_or_default();
                let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
                if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(fine) {
                    let message = format!(
                        "\"{}\" is no profile; it has letters, digits, dots, dashes and underscores, and begins with a letter or digit",
                        brief(name)
                    );
                    self.report.error(item.pos, &path, message);
                    good = false;
                } else if !profiles.iter().any(|known| known == name) {
                    profiles.push(name.to_owned());
                }
            }
        }
        good.then_some(profiles)
    }
}
