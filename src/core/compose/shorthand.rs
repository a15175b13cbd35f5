//! Keys of a service that say what a key below `deploy` says: `scale`, `cpus`, `mem_limit`, `mem_reservation`,
//! `pids_limit` (Compose specification, "services"). They are moved there, so that nothing behind knows them.
//!
//! Called by `compose` when the files are merged: only then is it known whether a service says both.

use super::interpolate::join;
use super::report::Report;
use super::units;
use super::value::{Map, Node, Pos, Value};

/// Where each goes, below `deploy`.
const SHORT: [(&str, &[&str]); 5] = [
    ("scale", &["replicas"]),
    ("cpus", &["resources", "limits", "cpus"]),
    ("mem_limit", &["resources", "limits", "memory"]),
    ("mem_reservation", &["resources", "reservations", "memory"]),
    ("pids_limit", &["resources", "limits", "pids"]),
];

/// Moves them in every service of the merged tree. One that differs from what stands there is an error.
pub(crate) fn expand(root: &mut Node, report: &mut Report) {
    let services = root.as_map_mut().and_then(|root| root.get_mut("services")).and_then(Node::as_map_mut);
    for entry in services.map(|services| &mut services.0).into_iter().flatten() {
        let path = join("services", &entry.key);
        let Some(service) = entry.node.as_map_mut() else { continue };
        for (key, target) in SHORT {
            let Some(node) = service.remove(key) else { continue };
            if node.is_null() || key != "scale" && unlimited(&node) {
                continue;
            }
            let here = join(&path, key);
            if node.as_int().is_some_and(|value| value < 0) {
                report.error(node.pos, &here, "must be -1, which is no limit, or at least 0");
                continue;
            }
            let place = format!("deploy.{}", target.join("."));
            let (pos, (last, parents)) = (node.pos, target.split_last().unwrap_or((&"", &[])));
            let mut parents = std::iter::once(&"deploy").chain(parents);
            let Some(parent) = parents.try_fold(&mut *service, |map, key| member(map, key, pos)) else {
                continue;
            };
            match parent.get(last).filter(|there| !there.is_null()) {
                Some(there) if same(there, &node) => {}
                Some(_) => report.error(pos, &here, format!("{place} is given too, and says something else; keep one")),
                None => parent.put(last, pos, node),
            }
        }
    }
}

/// No limit, written as 0, or as -1 where docker knows that.
fn unlimited(node: &Node) -> bool {
    node.is_zero() || node.as_int() == Some(-1) || node.as_text().and_then(units::nano_cpus) == Some(0)
}

/// The mapping below `key`, made where there is none.
fn member<'m>(map: &'m mut Map, key: &str, pos: Pos) -> Option<&'m mut Map> {
    if map.get(key).is_none_or(Node::is_null) {
        map.put(key, pos, Node::new(pos, Value::Map(Map::default())));
    }
    map.get_mut(key)?.as_map_mut()
}

/// Numbers of processors are texts: 0.5 is 0.50.
fn same(a: &Node, b: &Node) -> bool {
    let cpus = |node: &Node| node.as_text().and_then(units::nano_cpus);
    a.value == b.value || cpus(a).is_some() && cpus(a) == cpus(b)
}
