//! Addresses of tasks: the first thing a task is given, and so the last before which one can be held back.

use super::books::Books;
use super::pool::{Draw, has_addresses};
use super::services::{obstacle, publishes_on_ingress};
use crate::dependency::Gates;
use crate::model::{Service, Task, TaskAttachment};
use crate::store::{Change, View};

/// Moves new tasks to pending with their addresses, at most `limit` changes; what has to wait gets the
/// reason, once. `books` are at `view`.
pub fn allocate_tasks(view: &View, books: &Books, limit: usize) -> Vec<Change> {
    let mut pools = Draw::of(view, &books.pools);
    let mut gates = Gates::default();
    let mut changes = Vec::new();
    for task in books.tasks.values() {
        if changes.len() >= limit {
            break;
        }
        // A task whose service is gone is about to be removed.
        let Some(service) = view.service(task.service) else { continue };
        let (attachments, reason) =
            match gates.pass(view, service).and_then(|()| serve(view, service, task, &mut pools)) {
                Ok(attachments) => (Some(attachments), String::new()),
                Err(reason) if reason == task.status.err => continue,
                Err(reason) => (None, reason),
            };
        changes.push(Change::TaskAllocated { task: task.id, attachments, reason });
    }
    changes
}

/// All of its addresses or none.
fn serve(view: &View, service: &Service, task: &Task, pools: &mut Draw) -> Result<Vec<TaskAttachment>, String> {
    obstacle(view, service)?;
    let mut wanted: Vec<(crate::NetworkId, Vec<String>)> = Vec::new();
    for target in task.spec.networks.iter().filter(|target| has_addresses(view, target.target)) {
        if !wanted.iter().any(|(network, _)| *network == target.target) {
            wanted.push((target.target, target.aliases.clone()));
        }
    }
    if publishes_on_ingress(service) {
        let ingress = view.ingress_network().ok_or("there is no ingress network to publish ports on")?.id;
        if !wanted.iter().any(|(network, _)| *network == ingress) {
            wanted.push((ingress, Vec::new()));
        }
    }
    if task.spec.networks.is_empty()
        && wanted.is_empty()
        && let Some(ingress) = view.ingress_network()
    {
        // Its way to the outside. Nobody reaches it there: it has no name, and tasks do not see each other.
        wanted.push((ingress.id, Vec::new()));
    }
    let mut attachments: Vec<TaskAttachment> = Vec::with_capacity(wanted.len());
    for (network, aliases) in wanted {
        match pools.take(network) {
            Ok(addr) => attachments.push(TaskAttachment { network, addr, aliases }),
            Err(reason) => {
                for taken in attachments {
                    pools.give_back(taken.network, taken.addr);
                }
                return Err(reason);
            }
        }
    }
    Ok(attachments)
}
