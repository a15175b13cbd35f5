//! What a service may depend on (beyond the API: `Swarm.DependsOn`).

use super::{Refusal, invalid};
use crate::dependency;
use crate::model::ServiceSpec;
use crate::store::View;
use std::collections::BTreeSet;

pub(super) fn dependencies(view: &View, spec: &ServiceSpec) -> Result<(), Refusal> {
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
    let of = |name: &str| {
        let other = view.service_by_name(name).map(|service| &service.spec.depends_on);
        let list = if name == spec.name { Some(&spec.depends_on) } else { other };
        list.into_iter().flatten().map(|dependency| dependency.service.clone()).collect()
    };
    match dependency::cycle(&spec.name, of) {
        Some(path) => invalid(format!(
            "Swarm.DependsOn: none of these could ever start, each waits for the next: {} -> {}",
            path.join(" -> "),
            spec.name
        )),
        None => Ok(()),
    }
}
