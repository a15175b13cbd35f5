//! Named invariants over a view: what must hold whatever happened. Used by tests, the simulator and for
//! finding out what is wrong in a cluster. It repeats no decision: it looks only at results.

mod updates;

use crate::model::*;
use crate::store::View;
use crate::{NetworkId, NodeId, ServiceId, TaskId, scheduler};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub invariant: &'static str,
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.detail)
    }
}

type Check = fn(&View, &mut Vec<String>);

/// After every transaction.
const ALWAYS: &[(&str, Check)] = &[
    ("an address has one holder", one_holder_per_address),
    ("a published port belongs to one service", one_service_per_port),
    ("subnets do not overlap and tunnel ids are unique", networks_apart),
    ("a node is not given more than it has", nothing_overcommitted),
    ("a unit of a named resource is held once", named_resources_held_once),
    ("a host port is bound once per node", host_ports_bound_once),
    ("a node has no more tasks of a service than that allows", within_replicas_per_node),
    ("a slot runs once, or twice while an update starts first", one_running_per_slot),
    ("of a service that is to run once at most, no two tasks may run", one_at_most),
    ("a job runs no more at once than it may", jobs_within_concurrency),
    ("an update keeps to its parallelism", updates::within_parallelism),
    ("moves keep to the parallelism of updates", moves_within_parallelism),
    ("an update stops at its failure ratio", updates::within_failure_ratio),
    ("an update that is not promoted stays with its canaries", updates::within_canaries),
    ("a task that was given a node has one, and one that ended says when", tasks_are_whole),
    ("the autoscaler keeps to its limits, and to services that ask for it", scaled_within_limits),
    ("the contents a service is made of are there", contents_are_there),
];

/// Once a step of the leader finds nothing to do at the time.
const RESTING: &[(&str, Check)] = &[("a waiting task has a reason", waiting_has_a_reason)];

/// Once the leader has nothing left to do, now or later.
const SETTLED: &[(&str, Check)] = &[
    ("a wanted task is on a node that may have it", placed_where_allowed),
    ("a service has no more slots than it wants", no_slot_too_many),
    ("what a job has completed is not run again, and nothing of an earlier run goes on", jobs_run_once),
    ("nothing runs for a service that is gone", nothing_without_a_service),
    ("a service has the newest contents it was not rolled back from, and no others are kept", contents_are_new),
];

fn run(view: &View, checks: &[(&'static str, Check)]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (invariant, check) in checks {
        let mut details = Vec::new();
        check(view, &mut details);
        violations.extend(details.into_iter().map(|detail| Violation { invariant, detail }));
    }
    violations
}

/// What must hold in every view.
pub fn audit(view: &View) -> Vec<Violation> {
    run(view, ALWAYS)
}

/// What must hold besides while a step of the leader finds nothing to do.
pub fn audit_resting(view: &View) -> Vec<Violation> {
    run(view, RESTING)
}

/// What must hold besides once nothing is left for it to do, at any time.
pub fn audit_settled(view: &View) -> Vec<Violation> {
    let mut violations = run(view, RESTING);
    violations.extend(run(view, SETTLED));
    violations
}

fn one_holder_per_address(view: &View, found: &mut Vec<String>) {
    let mut holders: BTreeMap<(NetworkId, IpAddr), String> = BTreeMap::new();
    let mut hold = |network, addr, holder: String| {
        if let Some(other) = holders.insert((network, addr), holder.clone()) {
            found.push(format!("{addr} on network {network}: {other} and {holder}"));
        }
    };
    for network in view.networks() {
        if let Some(allocation) = &network.allocation {
            hold(network.id, allocation.gateway, "the gateway".to_owned());
        }
    }
    for service in view.services() {
        service.endpoint.vips.iter().for_each(|vip| hold(vip.network, vip.addr, format!("service {}", service.id)));
    }
    for task in view.tasks().filter(|task| !task.status.state.is_terminal()) {
        task.attachments.iter().for_each(|a| hold(a.network, a.addr, format!("task {}", task.id)));
    }
}

/// Who listens at a port, at which address.
type Listening<T> = BTreeMap<(Protocol, u16), Vec<(Option<IpAddr>, T)>>;

/// Whether two addresses to listen at are one: `None` and an unspecified one are all of them. Said again here, apart
/// from the model, so that a fault there is noticed.
fn meet(one: Option<IpAddr>, other: Option<IpAddr>) -> bool {
    let all = |ip: Option<IpAddr>| ip.is_none_or(|ip| ip.is_unspecified());
    one == other || all(one) || all(other)
}

fn one_service_per_port(view: &View, found: &mut Vec<String>) {
    let mut owners: Listening<ServiceId> = BTreeMap::new();
    for service in view.services() {
        for port in service.endpoint.ports.iter().filter(|port| port.mode == PublishMode::Ingress) {
            let known = owners.entry((port.protocol, port.published_port)).or_default();
            let clash = known.iter().find(|(at, other)| *other != service.id && meet(*at, port.host_ip));
            if let Some((_, other)) = clash {
                found.push(format!("{:?} {}: service {other} and {}", port.protocol, port.published_port, service.id));
            }
            known.push((port.host_ip, service.id));
        }
    }
}

fn networks_apart(view: &View, found: &mut Vec<String>) {
    let given: Vec<(&Arc<Network>, &NetworkAllocation)> =
        view.networks().filter_map(|network| Some((network, network.allocation.as_ref()?))).collect();
    for (n, (network, one)) in given.iter().enumerate() {
        for (other_network, other) in &given[n + 1..] {
            let overlap = one.subnet.contains(&other.subnet) || other.subnet.contains(&one.subnet);
            if overlap || one.overlay_id == other.overlay_id {
                found.push(format!("{} and {}: {one:?}, {other:?}", network.spec.name, other_network.spec.name));
            }
        }
    }
}

fn placed<'a>(view: &'a View, node: &'a Node) -> impl Iterator<Item = &'a Arc<Task>> {
    view.tasks_of_node(node.id).filter(|task| task.occupies_node() && task.status.state >= TaskState::Assigned)
}

fn nothing_overcommitted(view: &View, found: &mut Vec<String>) {
    for node in view.nodes() {
        let Some(description) = &node.description else { continue };
        let reserved = |amount: fn(&Resources) -> i64| -> i64 {
            placed(view, node).map(|task| amount(&task.spec.resources.reservations)).sum()
        };
        for kind in description.resources.generic.keys().chain(description.resources.named.keys()) {
            let has = match description.resources.named.get(kind) {
                Some(names) => i64::try_from(names.names.len()).unwrap_or(i64::MAX),
                None => description.resources.generic.get(kind).copied().unwrap_or(0),
            };
            let wants = |task: &Arc<Task>| task.spec.resources.reservations.generic.get(kind).copied().unwrap_or(0);
            let given: i64 = placed(view, node).map(wants).sum();
            if given > has {
                found.push(format!("node {}: {given} {kind} of {has}", node.id));
            }
        }
        let (cpus, memory) = (reserved(|r| r.nano_cpus), reserved(|r| r.memory_bytes));
        let has = &description.resources;
        if cpus > has.nano_cpus.max(0) || memory > has.memory_bytes.max(0) {
            found.push(format!("node {}: {cpus} of {} CPU, {memory} of {}", node.id, has.nano_cpus, has.memory_bytes));
        }
    }
}

fn named_resources_held_once(view: &View, found: &mut Vec<String>) {
    for node in view.nodes() {
        let mut held: BTreeMap<(&str, &str), TaskId> = BTreeMap::new();
        for task in placed(view, node) {
            let units = task.assigned_resources.iter();
            for (kind, name) in units.flat_map(|(kind, units)| units.names.iter().map(move |name| (kind, name))) {
                if let Some(other) = held.insert((kind.as_str(), name.as_str()), task.id) {
                    found.push(format!("node {} {kind}={name}: task {other} and {}", node.id, task.id));
                }
            }
        }
    }
}

fn host_ports_bound_once(view: &View, found: &mut Vec<String>) {
    for node in view.nodes() {
        let mut bound: Listening<TaskId> = BTreeMap::new();
        for task in placed(view, node) {
            for port in task.host_ports.iter().filter(|port| port.published_port != 0) {
                let number = port.published_port;
                let known = bound.entry((port.protocol, number)).or_default();
                if let Some((_, other)) = known.iter().find(|(at, _)| meet(*at, port.host_ip)) {
                    found.push(format!("node {} port {number}: task {other} and {}", node.id, task.id));
                }
                known.push((port.host_ip, task.id));
            }
        }
    }
}

/// Of those made from the present specification: what was there before it may stay.
fn within_replicas_per_node(view: &View, found: &mut Vec<String>) {
    for service in view.services().filter(|service| service.spec.task.placement.max_replicas_per_node > 0) {
        let most = service.spec.task.placement.max_replicas_per_node;
        let mut on: BTreeMap<NodeId, u64> = BTreeMap::new();
        let present = |task: &&Arc<Task>| {
            task.is_wanted() && !task.status.state.is_terminal() && task.spec_version == service.spec_version
        };
        for node in view.tasks_of_service(service.id).filter(present).filter_map(|task| task.node) {
            *on.entry(node).or_default() += 1;
        }
        for (node, count) in on.into_iter().filter(|(_, count)| *count > most) {
            found.push(format!("service {} on node {node}: {count} of {most}", service.spec.name));
        }
    }
}

fn slots(view: &View, service: &Service) -> BTreeMap<(u64, Option<NodeId>), Vec<Arc<Task>>> {
    let mut slots: BTreeMap<_, Vec<Arc<Task>>> = BTreeMap::new();
    for task in view.tasks_of_service(service.id).filter(|task| task.is_wanted()) {
        let node = task.node.filter(|_| task.slot == 0);
        slots.entry((task.slot, node)).or_default().push(Arc::clone(task));
    }
    slots
}

/// Any of its settings do: pairs stay while settings change, and each of a pair may be replaced.
fn start_first(service: &Service) -> bool {
    let configs = [&service.spec.update, &service.spec.rollback];
    let previous = service.previous_spec.iter().flat_map(|spec| [&spec.update, &spec.rollback]);
    configs.into_iter().chain(previous).flatten().any(|config| config.order == UpdateOrder::StartFirst)
}

fn one_running_per_slot(view: &View, found: &mut Vec<String>) {
    for service in view.services().filter(|service| !service.removing) {
        for ((slot, _), tasks) in slots(view, service) {
            // The settings may have changed while a pair of an update was on its way.
            let begun_before = |task: &Arc<Task>| {
                task.origin == TaskOrigin::Update && task.meta.created.index < service.spec_written.index
            };
            let most = if start_first(service) || tasks.iter().any(begun_before) { 2 } else { 1 };
            // Of a paused update both tasks may have to leave their nodes, one after the other.
            let moving = usize::from(tasks.iter().any(|task| is_moving(task, &tasks)));
            let wanted = tasks.iter().filter(|task| task.desired == TaskState::Running).count();
            if wanted > most + moving {
                found.push(format!("service {} slot {slot}: {wanted} tasks", service.spec.name));
            }
        }
    }
}

/// Made to take over from an older one of its slot that still serves.
fn is_moving(task: &Task, slot: &[Arc<Task>]) -> bool {
    let older = |other: &&Arc<Task>| other.meta.created.index < task.meta.created.index && serves(other);
    task.origin == TaskOrigin::Move && !task.is_up() && slot.iter().any(|other| older(&other))
}

/// It came up and runs, though it may not be ready now.
fn serves(task: &Task) -> bool {
    task.is_up() || task.status.state == TaskState::Running && task.up_since.is_some()
}

/// Counts what was begun since the settings were last written.
fn moves_within_parallelism(view: &View, found: &mut Vec<String>) {
    for service in view.services().filter(|service| !service.removing) {
        let Some(config) = service.spec.update.as_ref().filter(|config| config.parallelism > 0) else { continue };
        let begun = |task: &Task| task.meta.created.index > service.spec_written.index;
        let slots = slots(view, service);
        let moving = slots.values().filter(|slot| slot.iter().any(|task| is_moving(task, slot) && begun(task))).count();
        if moving as u64 > config.parallelism {
            found.push(format!("service {}: {moving} slots, {} allowed", service.spec.name, config.parallelism));
        }
    }
}

fn tasks_are_whole(view: &View, found: &mut Vec<String>) {
    for task in view.tasks() {
        let state = task.status.state;
        let placed = (TaskState::Assigned..=TaskState::Running).contains(&state);
        if placed && task.node.is_none() {
            found.push(format!("task {} is {} without a node", task.id, state.as_str()));
        }
        if state.is_terminal() && task.ended.is_none() {
            found.push(format!("task {} is {} and does not say since when", task.id, state.as_str()));
        }
    }
}

fn scaled_within_limits(view: &View, found: &mut Vec<String>) {
    for service in view.services() {
        let Some(scaled) = &service.scaled else { continue };
        let limits = service.spec.autoscale.as_ref().map(|autoscale| autoscale.min..=autoscale.max);
        if !limits.is_some_and(|limits| limits.contains(&scaled.replicas)) || service.wanted_replicas().is_none() {
            found.push(format!("service {}: {} replicas", service.spec.name, scaled.replicas));
        }
    }
}

/// One that runs waits for traffic while it is not ready.
fn waiting_has_a_reason(view: &View, found: &mut Vec<String>) {
    let unready = |task: &&Arc<Task>| task.status.container.as_ref().is_some_and(|c| c.ready == Some(false));
    for task in view.tasks().filter(|task| task.status.state == TaskState::Running).filter(unready) {
        if task.status.err.is_empty() {
            found.push(format!("task {} is not ready", task.id));
        }
    }
    for task in view.tasks().filter(|task| task.is_wanted() && task.status.state < TaskState::Assigned) {
        if task.status.err.is_empty() {
            found.push(format!("task {} is {}", task.id, task.status.state.as_str()));
        }
    }
}

/// The service's placement may have been changed to one its task's node satisfies as well. A task that serves may wait
/// for one that is to take its place, or for its turn: as many are moved at once as the service allows.
fn placed_where_allowed(view: &View, found: &mut Vec<String>) {
    // What ended stays where it was until it is replaced.
    let placed = TaskState::Assigned..=TaskState::Running;
    for task in view.tasks().filter(|task| task.is_wanted() && placed.contains(&task.status.state)) {
        let (Some(node), Some(service)) = (task.node.and_then(|id| view.node(id)), view.service(task.service)) else {
            found.push(format!("task {} has no node or no service", task.id));
            continue;
        };
        let fits = scheduler::fits(&task.spec.placement, node) || scheduler::fits(&service.spec.task.placement, node);
        let lost =
            node.spec.availability == Availability::Drain || node.status.state == NodeState::Down && task.slot != 0;
        let waits_its_turn = || {
            let slots = slots(view, service);
            let follows = |other: &&Arc<Task>| {
                other.slot == task.slot && other.meta.created.index > task.meta.created.index && !other.is_up()
            };
            let moving = slots.values().any(|slot| slot.iter().any(|task| is_moving(task, slot)));
            serves(task) && (moving || slots.values().flatten().any(|other| follows(&other)))
        };
        if (!fits || lost) && !waits_its_turn() {
            found.push(format!("task {} on node {}", task.id, node.id));
        }
    }
}

fn no_slot_too_many(view: &View, found: &mut Vec<String>) {
    for service in view.services().filter(|service| !service.removing) {
        let (most, done) = match service.spec.mode {
            ServiceMode::Replicated { .. } => (service.wanted_replicas().unwrap_or_default(), 0),
            ServiceMode::ReplicatedJob { total_completions, .. } => {
                (total_completions, completed(view, service).len() as u64)
            }
            ServiceMode::Global | ServiceMode::GlobalJob => continue,
        };
        let count = slots(view, service).len() as u64;
        // More may be done than a job was later asked for.
        if count > most.saturating_sub(done) {
            found.push(format!("service {}: {count} of {most}, {done} done", service.spec.name));
        }
    }
}

/// Slots of a job that are done in its present iteration.
fn completed(view: &View, service: &Service) -> BTreeSet<(u64, Option<NodeId>)> {
    let complete = |task: &&Arc<Task>| {
        task.status.state == TaskState::Complete && task.job_iteration == service.job.map(|job| job.iteration)
    };
    let tasks = view.tasks_of_service(service.id).filter(complete);
    tasks.map(|task| (task.slot, task.node.filter(|_| task.slot == 0))).collect()
}

/// What has no lease may go on unseen on a node that is lost.
fn one_at_most(view: &View, found: &mut Vec<String>) {
    for service in view.services().filter(|service| service.spec.task.at_most_one.is_some()) {
        let may_run = |task: &&Arc<Task>| {
            let started = task.status.state >= TaskState::Starting && !task.status.state.is_terminal();
            task.spec.at_most_one.is_some()
                && (started || task.desired == TaskState::Running && !task.status.state.is_terminal())
        };
        let tasks: Vec<TaskId> = view.tasks_of_service(service.id).filter(may_run).map(|task| task.id).collect();
        if tasks.len() > 1 {
            found.push(format!("service {}: {tasks:?}", service.spec.name));
        }
    }
}

/// Counts what was begun since the settings were last written: what ran when they were narrowed runs to its end.
fn jobs_within_concurrency(view: &View, found: &mut Vec<String>) {
    for service in view.services().filter(|service| !service.removing) {
        let ServiceMode::ReplicatedJob { max_concurrent, .. } = service.spec.mode else { continue };
        let at_work = slots(view, service).into_values().flatten().filter(|task| {
            !task.status.state.is_terminal()
                && task.job_iteration == service.job.map(|job| job.iteration)
                && task.meta.created.index > service.spec_written.index
        });
        let count = at_work.count() as u64;
        if count > max_concurrent {
            found.push(format!("service {}: {count} of {max_concurrent}", service.spec.name));
        }
    }
}

fn jobs_run_once(view: &View, found: &mut Vec<String>) {
    for service in view.services().filter(|service| !service.removing) {
        let Some(job) = service.job else { continue };
        let done = completed(view, service);
        for (slot, tasks) in slots(view, service) {
            for task in tasks {
                let earlier = task.job_iteration != Some(job.iteration);
                if earlier || done.contains(&slot) {
                    found.push(format!("task {} of slot {} of service {}", task.id, slot.0, service.spec.name));
                }
            }
        }
    }
}

fn nothing_without_a_service(view: &View, found: &mut Vec<String>) {
    for task in view.tasks().filter(|task| task.is_wanted()) {
        if view.service(task.service).is_none_or(|service| service.removing) {
            found.push(format!("task {}", task.id));
        }
    }
}

fn contents_are_there(view: &View, found: &mut Vec<String>) {
    for service in view.services().filter(|service| !service.removing) {
        for (content, version) in service.spec.task.container.contents() {
            if !view.has_content(content, version) {
                found.push(format!("service {}: content {version} of {content}", service.spec.name));
            }
        }
    }
}

/// Jobs keep what they were written with, and nothing new comes into an update that is paused or waits to be promoted,
/// or into a rollback.
fn contents_are_new(view: &View, found: &mut Vec<String>) {
    let follows = |mode: &ServiceMode| match mode {
        ServiceMode::Replicated { .. } | ServiceMode::Global => true,
        ServiceMode::ReplicatedJob { .. } | ServiceMode::GlobalJob => false,
    };
    let mut kept: BTreeSet<(ContentId, u64)> = BTreeSet::new();
    for service in view.services() {
        let specs = std::iter::once(&service.spec).chain(&service.previous_spec);
        let specs = specs.chain(service.history.iter().map(|record| &record.spec));
        kept.extend(specs.flat_map(|spec| spec.task.container.contents()));
        if service.removing || !follows(&service.spec.mode) || service.is_undecided() {
            continue;
        }
        for (content, version) in service.spec.task.container.contents() {
            let held = service.held.iter().find(|held| held.content == content).map(|held| held.version);
            let newest = view.newest_content(content).filter(|newest| held.is_none_or(|held| held < *newest));
            if newest.is_some_and(|newest| newest > version) {
                found.push(format!("service {} has content {version} of {content}", service.spec.name));
            }
        }
    }
    let live = view.tasks().filter(|task| task.is_wanted() || !task.status.state.is_terminal());
    kept.extend(live.flat_map(|task| task.spec.container.contents()));
    let secrets = view.secrets().flat_map(|s| s.older.iter().map(|older| (ContentId::Secret(s.id), older.version)));
    let configs = view.configs().flat_map(|c| c.older.iter().map(|older| (ContentId::Config(c.id), older.version)));
    for (content, version) in secrets.chain(configs).filter(|content| !kept.contains(content)) {
        found.push(format!("content {version} of {content} is kept and nothing refers to it"));
    }
}
