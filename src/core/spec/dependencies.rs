//! What a service may depend on (beyond the API: `Swarm.DependsOn`).

use super::{Refusal, invalid};
use crate::model::ServiceSpec;
use std::collections::BTreeSet;

pub(super) fn dependencies(spec: &ServiceSpec) -> Result<(), Refusal> {
    let mut names = BTreeSet::new();
    for (index, dependency) in spec.depends_on.iter().enumerate() {
        let place = format!("Swarm.DependsOn[{index}].Service");
        if dependency.service.is_empty() {
            return invalid(format!("{place}: name the service that comes first"));
        }
        if !names.insert(&dependency.service) {
            return invalid(format!("{place}: service {} is given twice", dependency.service));
        }
    }
    Ok(())
}

/// The way from `start` over what services depend on back to it, if there is one: each name once, `start` first.
pub fn cycle(start: &str, depends_on: impl Fn(&str) -> Vec<String>) -> Option<Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut path = vec![start.to_owned()];
    let mut left = vec![depends_on(start)];
    while let Some(next) = left.last_mut() {
        let Some(name) = next.pop() else {
            path.pop();
            left.pop();
            continue;
        };
        if name == start {
            return Some(path);
        }
        if seen.insert(name.clone()) {
            left.push(depends_on(&name));
            path.push(name);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::cycle;

    fn of(name: &str) -> Vec<String> {
        let names: &[&str] = match name {
            "web" => &["cache", "app"],
            "app" => &["db", "cache"],
            "db" => &["web"],
            "self" => &["self"],
            "aside" => &["web"],
            _ => &[],
        };
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_cycle_is_named_along_its_way() {
        assert_eq!(cycle("web", of), Some(vec!["web".into(), "app".into(), "db".into()]));
        assert_eq!(cycle("self", of), Some(vec!["self".into()]));
        assert_eq!(cycle("cache", of), None);
        assert_eq!(cycle("aside", of), None, "a cycle it is not part of is not its own");
    }
}
