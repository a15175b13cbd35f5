//! Waiting until a service is as wanted, with docker's lines of progress on standard error.

use super::canary;
use super::list::{mode, replicas};
use super::options::WaitOptions;
use crate::client::{Client, segment};
use crate::commands::common::tell;
use crate::commands::{node, tasks};
use crate::error::{CliError, Result};
use crate::filter;
use crate::json::{int, object, text};
use crate::progress::{Board, bar};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Time between two looks at the service (docker's).
const LOOK_PERIOD: Duration = Duration::from_millis(200);
/// How long new tasks are watched when the service does not say (docker's default of `Monitor`).
const MONITOR_DEFAULT: Duration = Duration::from_secs(5);
/// With more tasks than this only the sum is shown (docker's).
const TASKS_SHOWN_MAX: usize = 20;
const BAR_WIDTH: usize = 50;
/// States of a task on its way to running, in order (API `TaskState`).
const STATES: [&str; 9] =
    ["new", "pending", "assigned", "accepted", "preparing", "ready", "starting", "running", "complete"];

/// Waits for a service unless told otherwise.
///
/// # Errors
/// When its update or rollback pauses, or was rolled back: the message says why.
pub async fn wait(client: &Client, id: &str, options: WaitOptions) -> Result<()> {
    watch(client, id, options, false).await
}

/// As `wait`, after a rollback that was asked for.
pub async fn wait_rolled_back(client: &Client, id: &str, options: WaitOptions) -> Result<()> {
    watch(client, id, options, true).await
}

async fn watch(client: &Client, id: &str, options: WaitOptions, asked: bool) -> Result<()> {
    if options.detach {
        return Ok(());
    }
    let board = (!options.quiet).then(|| RefCell::new(Board::new()));
    let view = View { board: board.as_ref(), name: None };
    let result = Watch::new(client, id, view, asked).run().await;
    if let Some(board) = board {
        board.into_inner().finish();
    }
    result
}

/// Waits for several services at the same time, each given as id and name.
///
/// # Errors
/// That of the last one that failed; those of the others are printed.
pub async fn wait_all(client: &Client, services: &[(String, String)], quiet: bool) -> Result<()> {
    let board = (!quiet).then(|| RefCell::new(Board::new()));
    let watches = services.iter().map(|(id, name)| {
        let view = View { board: board.as_ref(), name: Some(name) };
        async move {
            let result = Watch::new(client, id, view, false).run().await;
            result.map_err(|error| CliError::usage(format!("{name}: {error}")))
        }
    });
    let results = futures_util::future::join_all(watches).await;
    if let Some(board) = board {
        board.into_inner().finish();
    }
    tell(results.into_iter().filter_map(Result::err).collect())
}

/// Where the progress of one service is shown.
#[derive(Clone, Copy)]
struct View<'a> {
    board: Option<&'a RefCell<Board>>,
    /// Given when several services share the board: then each has few lines, with its name in front.
    name: Option<&'a str>,
}

impl View<'_> {
    fn is_live(&self) -> bool {
        self.board.is_some_and(|board| board.borrow().is_live())
    }

    /// As `set`, when there is such a line.
    fn replace(&self, line: &str, text: &str) {
        let (Some(board), Some(name)) = (self.board, self.name) else { return };
        if board.borrow().has(&format!("{name} {line}")) {
            self.set(line, text);
        }
    }

    fn set(&self, line: &str, text: &str) {
        self.with(line, text, Board::set);
    }

    /// What may count down.
    fn set_words(&self, line: &str, text: &str) {
        self.with(line, text, Board::set_words);
    }

    fn with(&self, line: &str, text: &str, set: impl Fn(&mut Board, &str, &str)) {
        let Some(board) = self.board else { return };
        match self.name {
            Some(name) => set(&mut board.borrow_mut(), &format!("{name} {line}"), &format!("{name}: {text}")),
            None => set(&mut board.borrow_mut(), line, text),
        }
    }
}

struct Watch<'a> {
    client: &'a Client,
    id: &'a str,
    view: View<'a>,
    /// Whether a rollback was asked for.
    asked: bool,
    /// Since when everything runs.
    since: Option<Instant>,
    /// Whether the service goes back to what it was.
    rollback: bool,
    /// Why it did, when nobody asked for it.
    failed: Option<String>,
}

/// How far a service is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Progress {
    /// Tasks that run, of those wanted.
    running: usize,
    wanted: usize,
    /// A job that goes no further: why its last failure came about.
    failed: Option<String>,
    /// A line for each place: its name, its state, its error.
    places: BTreeMap<String, (String, String)>,
}

impl<'a> Watch<'a> {
    fn new(client: &'a Client, id: &'a str, view: View<'a>, asked: bool) -> Self {
        Self { client, id, view, asked, since: None, rollback: asked, failed: None }
    }

    async fn run(mut self) -> Result<()> {
        self.converge().await?;
        match self.failed {
            Some(message) if !self.asked => Err(CliError::hinted(
                format!("service rolled back: {message}"),
                "\"swarm service ps --no-trunc\" shows why the new tasks failed",
            )),
            Some(_) | None => Ok(()),
        }
    }

    async fn converge(&mut self) -> Result<()> {
        loop {
            let service = self.client.get(&format!("/services/{}", segment(self.id))).await?;
            let monitor = self.monitor(&service);
            self.note_update(&service)?;
            let progress = self.look(&service).await?;
            show(&self.view, &progress, self.rollback);
            if let Some(error) = &progress.failed {
                return Err(CliError::hinted(
                    format!("the job failed, {} of {} completed: {error}", progress.running, progress.wanted),
                    "\"swarm service logs\" shows what its tasks said; \"swarm service update --force\" runs it again",
                ));
            }
            let verify = |words: &str| self.view.set("~verify", &format!("verify: {words}"));
            match (progress.running >= progress.wanted, self.since) {
                // The rest follows when someone says so: nothing is left to wait for.
                (true, _) if !canary::waits_since(&service).is_empty() => {
                    verify(text(&service, "/UpdateStatus/Message"));
                    return Ok(());
                }
                // A job that is done stays so.
                (true, None) if mode(&service).ends_with("job") => {
                    verify("job complete");
                    return Ok(());
                }
                (true, None) => self.since = Some(Instant::now()),
                (true, Some(since)) if since.elapsed() >= monitor => {
                    verify(&format!("Service {} converged", self.id));
                    return Ok(());
                }
                (true, Some(_)) | (false, None) => {}
                (false, Some(_)) => {
                    verify("Detected task failure");
                    self.since = None;
                }
            }
            if let Some(since) = self.since {
                // Where lines pile up, the first one says it all.
                let elapsed = if self.view.is_live() { since.elapsed() } else { Duration::ZERO };
                let left = monitor.saturating_sub(elapsed).as_secs_f64().ceil();
                self.view.set("~verify", &format!("verify: Waiting {left} seconds to verify that tasks are stable..."));
            }
            tokio::time::sleep(LOOK_PERIOD).await;
        }
    }

    fn monitor(&self, service: &Value) -> Duration {
        let section = if self.rollback { "RollbackConfig" } else { "UpdateConfig" };
        match int(service, &format!("/Spec/{section}/Monitor")) {
            ns if ns > 0 => Duration::from_nanos(ns.unsigned_abs()),
            _ => MONITOR_DEFAULT,
        }
    }

    /// What the service's own update says.
    ///
    /// # Errors
    /// When it paused: nothing more will happen.
    fn note_update(&mut self, service: &Value) -> Result<()> {
        let message = text(service, "/UpdateStatus/Message");
        match text(service, "/UpdateStatus/State") {
            "paused" => return Err(CliError::usage(format!("service update paused: {message}"))),
            "rollback_paused" => return Err(CliError::usage(format!("service rollback paused: {message}"))),
            "rollback_started" if !self.rollback => {
                self.view.set("~state", &format!("service rollback: {message}"));
                (self.rollback, self.since) = (true, None);
                self.failed = Some(message.to_owned());
            }
            "rollback_completed" if self.since.is_none() => {
                self.view.set("~state", &format!("service rolled back: {message}"));
                self.rollback = true;
                self.failed = Some(message.to_owned());
            }
            _ => {}
        }
        Ok(())
    }

    async fn look(&self, service: &Value) -> Result<Progress> {
        let of_service = [("service", self.id), ("_up-to-date", "true")];
        // While canaries wait the others are as they are to be.
        let filters = if canary::waits_since(service).is_empty() { &of_service[..] } else { &of_service[..1] };
        let filters = filter::with(&[], filters)?;
        let all = self.client.list("/tasks", &[("filters", filters.as_deref())]).await?;
        let nodes = node::alive(self.client).await?;
        Ok(progress(service, &all, &nodes))
    }
}

/// Counts the newest task of each place: a slot, or a node for global services.
fn progress(service: &Value, all: &[Value], nodes: &BTreeSet<String>) -> Progress {
    let mode = mode(service);
    let global = mode.starts_with("global");
    let job = mode.ends_with("job");
    let mut newest: BTreeMap<(i64, String), &Value> = BTreeMap::new();
    // Places of a job that ended otherwise than by completing; those that go on are taken out again.
    let mut given_up: BTreeMap<(i64, String), &str> = BTreeMap::new();
    for task in all {
        let wanted = !matches!(text(task, "/DesiredState"), "shutdown" | "remove" | "orphaned");
        let (slot, node) = (tasks::slot(task), text(task, "/NodeID"));
        let key = if global { (0, node.to_owned()) } else { (slot, String::new()) };
        if job && matches!(text(task, "/Status/State"), "failed" | "rejected") && !wanted {
            given_up.insert(key, text(task, "/Status/Err"));
            continue;
        }
        if !wanted || (global && node.is_empty()) {
            continue;
        }
        let better = newest.get(&key).is_none_or(|known| text(known, "/CreatedAt") <= text(task, "/CreatedAt"));
        if better {
            newest.insert(key, task);
        }
    }
    given_up.retain(|key, _| !newest.contains_key(key));
    let is_done = |task: &Value| {
        let (state, node) = (text(task, "/Status/State"), text(task, "/NodeID"));
        // One without a readiness probe says nothing of it.
        let unready = task.pointer("/Status/ContainerStatus/Ready").and_then(Value::as_bool) == Some(false);
        if job { state == "complete" } else { state == "running" && !unready && nodes.contains(node) }
    };
    let wanted = match mode {
        "replicated" => replicas(service),
        "replicated-job" => int(service, "/Spec/Mode/ReplicatedJob/TotalCompletions"),
        _ => i64::try_from(newest.len() + given_up.len()).unwrap_or(i64::MAX),
    };
    let wanted = usize::try_from(wanted).unwrap_or(0);
    let mut progress = Progress { wanted, ..Progress::default() };
    for ((slot, node), task) in &newest {
        progress.running += usize::from(is_done(task));
        let name = if global { node.clone() } else { format!("{slot}/{wanted}") };
        let error = text(task, "/Status/Err").to_owned();
        progress.places.insert(name, (text(task, "/Status/State").to_owned(), error));
    }
    if job && !given_up.is_empty() && progress.running + given_up.len() == progress.wanted {
        progress.failed = given_up.into_values().next_back().map(str::to_owned);
    }
    // A global service without tasks yet has not begun, unless no node takes one.
    if global && all.is_empty() && object(service, "/UpdateStatus").is_none() {
        progress.wanted = progress.wanted.max(usize::from(!nodes.is_empty()));
    }
    progress
}

fn show(view: &View<'_>, progress: &Progress, rollback: bool) {
    let what = if rollback { "rolling back update" } else { "overall progress" };
    view.set(" overall", &format!("{what}: {} out of {} tasks", progress.running, progress.wanted));
    if progress.wanted > TASKS_SHOWN_MAX {
        return;
    }
    let last = STATES.iter().position(|state| *state == "running").unwrap_or(1) as u64;
    for (name, (state, error)) in &progress.places {
        let reached = STATES.iter().position(|known| known == state).unwrap_or(0) as u64;
        match (error.is_empty(), view.name, view.is_live()) {
            (false, _, _) => view.set_words(name, &format!("{name}: {error}")),
            // Only to take an error back that stands there.
            (true, Some(_), _) => view.replace(name, &format!("{name}: {state}")),
            (true, None, true) => view.set(name, &format!("{name}: {state:<9} {}", bar(reached, last, BAR_WIDTH))),
            (true, None, false) => view.set(name, &format!("{name}: {state}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn task(slot: i64, node: &str, created: &str, state: &str) -> Value {
        json!({"Slot": slot, "NodeID": node, "CreatedAt": created, "DesiredState": "running", "Status": {"State": state}})
    }

    #[test]
    fn the_newest_task_of_a_slot_counts_and_only_on_a_node_that_is_up() {
        let service = json!({"Spec": {"Mode": {"Replicated": {"Replicas": 3}}}});
        let tasks = [
            task(1, "a", "1", "running"),
            task(1, "a", "2", "preparing"),
            task(2, "a", "1", "running"),
            task(3, "gone", "1", "running"),
        ];
        let found = progress(&service, &tasks, &["a".to_owned()].into());
        assert_eq!((found.running, found.wanted), (1, 3));
        assert_eq!(found.places["1/3"].0, "preparing");
    }

    #[test]
    fn a_job_is_done_when_its_slots_have_completed_and_has_failed_when_one_will_not() {
        let service = json!({"Spec": {"Mode": {"ReplicatedJob": {"TotalCompletions": 2, "MaxConcurrent": 2}}}});
        let task = |slot: i64, desired: &str, state: &str, error: &str| {
            json!({
                "ID": "x", "Name": format!("job.{slot}.x"), "JobIteration": {"Index": 0}, "CreatedAt": "1",
                "DesiredState": desired, "Status": {"State": state, "Err": error},
            })
        };
        let nodes = BTreeSet::new();
        let done = task(1, "complete", "complete", "");
        let found = progress(&service, &[done.clone(), task(2, "complete", "running", "")], &nodes);
        assert_eq!((found.running, found.wanted, found.failed), (1, 2, None));
        let failed = task(2, "shutdown", "failed", "task: non-zero exit (1)");
        let found = progress(&service, &[done.clone(), failed.clone(), task(2, "ready", "ready", "")], &nodes);
        assert_eq!(found.failed, None, "it is run again");
        let found = progress(&service, &[done, failed], &nodes);
        assert_eq!(found.failed.as_deref(), Some("task: non-zero exit (1)"));
    }

    #[test]
    fn a_task_that_runs_and_is_not_ready_is_waited_for() {
        let service = json!({"Spec": {"Mode": {"Replicated": {"Replicas": 2}}}});
        let with = |slot, ready| {
            let mut task = task(slot, "a", "1", "running");
            task["Status"]["ContainerStatus"] = json!({ "Ready": ready });
            task
        };
        let nodes = ["a".to_owned()].into();
        assert_eq!(progress(&service, &[with(1, true), with(2, false)], &nodes).running, 1);
        assert_eq!(progress(&service, &[with(1, true), with(2, true)], &nodes).running, 2);
    }

    #[test]
    fn a_global_service_wants_a_task_on_each_node_that_got_one() {
        let service = json!({"Spec": {"Mode": {"Global": {}}}});
        let nodes: BTreeSet<String> = ["a".to_owned(), "b".to_owned()].into();
        let tasks = [task(0, "a", "1", "running"), task(0, "b", "1", "starting")];
        let found = progress(&service, &tasks, &nodes);
        assert_eq!((found.running, found.wanted), (1, 2));
        assert_eq!(progress(&service, &[], &nodes).wanted, 1);
    }
}
