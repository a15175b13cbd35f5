//! Which services a service waits for before its first task: a start gate, no more.
//!
//! Answers from a view, for the allocator (a task that waits keeps the state `New`: it holds nothing, and its status is
//! the leader's, which can say what it waits for) and for whoever checks specifications. Once a task of the service
//! got through, the gate stays open: what happens to the others later is no reason to hold a restart back. Each
//! iteration of a job has its own first task.

use crate::ServiceId;
use crate::model::*;
use crate::store::View;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The gates of one view, each looked at once.
#[derive(Debug, Default)]
pub struct Gates {
    known: BTreeMap<ServiceId, Result<(), String>>,
}

impl Gates {
    /// Whether tasks of the service may go on; if not, what they wait for.
    pub fn pass(&mut self, view: &View, service: &Service) -> Result<(), String> {
        if service.spec.depends_on.is_empty() {
            return Ok(());
        }
        self.known.entry(service.id).or_insert_with(|| gate(view, service)).clone()
    }
}

/// Whether tasks of the service may go on; if not, what they wait for.
pub fn gate(view: &View, service: &Service) -> Result<(), String> {
    if of_this_run(view, service).any(|task| got_through(task)) {
        return Ok(());
    }
    let waits: Vec<String> =
        service.spec.depends_on.iter().filter_map(|dependency| unmet(view, dependency).err()).collect();
    if waits.is_empty() { Ok(()) } else { Err(format!("waits for {}", waits.join(", and for "))) }
}

fn of_this_run<'a>(view: &'a View, service: &Service) -> impl Iterator<Item = &'a Arc<Task>> {
    let iteration = service.job.map(|job| job.iteration);
    view.tasks_of_service(service.id).filter(move |task| iteration.is_none() || task.job_iteration == iteration)
}

/// The task went on from `New`; one that was given up before that only ever shows `Shutdown` or `Orphaned`.
fn got_through(task: &Task) -> bool {
    match task.status.state {
        TaskState::New => false,
        TaskState::Pending
        | TaskState::Assigned
        | TaskState::Accepted
        | TaskState::Preparing
        | TaskState::Ready
        | TaskState::Starting
        | TaskState::Running
        | TaskState::Complete
        | TaskState::Failed
        | TaskState::Rejected => true,
        TaskState::Shutdown | TaskState::Remove | TaskState::Orphaned => task.status.container.is_some(),
    }
}

fn unmet(view: &View, dependency: &Dependency) -> Result<(), String> {
    let name = &dependency.service;
    let Some(service) = view.service_by_name(name) else {
        return match dependency.optional {
            true => Ok(()),
            false => Err(format!("service {name}, which does not exist: create it, or make the dependency optional")),
        };
    };
    let tasks: Vec<&Arc<Task>> = of_this_run(view, service).filter(|task| task.desired < TaskState::Remove).collect();
    match dependency.condition {
        DependencyCondition::Started => some(name, ("start", "started"), service, &tasks, has_started),
        DependencyCondition::Healthy => {
            some(name, ("be healthy", "healthy"), service, &tasks, |task| task.is_wanted() && task.is_up())
        }
        DependencyCondition::Completed => completed(name, service, &tasks),
    }
}

/// At least one task is so far.
fn some(
    name: &str,
    (verb, adjective): (&str, &str),
    service: &Service,
    tasks: &[&Arc<Task>],
    is_so: impl Fn(&Task) -> bool,
) -> Result<(), String> {
    if tasks.iter().any(|task| is_so(task)) {
        return Ok(());
    }
    let all = asked_for(service).unwrap_or(tasks.iter().filter(|task| task.is_wanted()).count() as u64);
    Err(format!("service {name} to {verb}: 0 of {all} tasks {adjective}"))
}

/// How many tasks it is to have, where that does not depend on the nodes.
fn asked_for(service: &Service) -> Option<u64> {
    match service.spec.mode {
        ServiceMode::Replicated { .. } => service.wanted_replicas(),
        ServiceMode::ReplicatedJob { total_completions, .. } => Some(total_completions),
        ServiceMode::Global | ServiceMode::GlobalJob => None,
    }
}

fn has_started(task: &Task) -> bool {
    let pid = task.status.container.as_ref().map_or(0, |container| container.pid);
    pid != 0 || task.up_since.is_some() || matches!(task.status.state, TaskState::Running | TaskState::Complete)
}

/// All of its slots have completed. A service that is no job can, too, when it is not restarted for ever.
fn completed(name: &str, service: &Service, tasks: &[&Arc<Task>]) -> Result<(), String> {
    if service.job.is_none() && service.spec.task.restart.condition == RestartCondition::Any {
        return Err(format!(
            "service {name} to complete, which it never does: it is restarted whenever it ends; make it a job (mode \
             replicated-job), or set its restart condition to none or on-failure"
        ));
    }
    let slot = |task: &Task| (task.slot, task.node.filter(|_| task.slot == 0));
    let mut slots: BTreeMap<_, Vec<&Arc<Task>>> = BTreeMap::new();
    for task in tasks {
        slots.entry(slot(task)).or_default().push(task);
    }
    let is_complete = |tasks: &[&Arc<Task>]| tasks.iter().any(|task| task.status.state == TaskState::Complete);
    let is_at_work = |tasks: &[&Arc<Task>]| tasks.iter().any(|task| task.is_wanted());
    let done = slots.values().filter(|tasks| is_complete(tasks)).count() as u64;
    let failed = slots.values().filter(|tasks| !is_complete(tasks) && !is_at_work(tasks)).count();
    let all = asked_for(service).unwrap_or(slots.len().max(1) as u64);
    if done >= all {
        return Ok(());
    }
    let lost = match failed {
        0 => String::new(),
        failed => format!(", {failed} failed for good (run it again with \"service update --force {name}\")"),
    };
    Err(format!("service {name} to complete: {done} of {all} tasks completed{lost}"))
}
