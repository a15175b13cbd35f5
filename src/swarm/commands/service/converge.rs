//! Waiting until a service is as wanted, with docker's lines of progress on standard error.

use super::list::mode;
use super::options::WaitOptions;
use crate::client::{Client, segment};
use crate::commands::node;
use crate::error::{CliError, Result};
use crate::filter;
use crate::json::{int, object, text};
use crate::progress::{Board, bar};
use serde_json::Value;
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
    let mut board = if options.quiet { None } else { Some(Board::new()) };
    let mut watch = Watch { client, id, since: None, rollback: asked, failed: None };
    let result = watch.run(board.as_mut()).await;
    if let Some(board) = board {
        board.finish();
    }
    match (result, watch.failed) {
        (Ok(()), Some(message)) if !asked => Err(CliError::hinted(
            format!("service rolled back: {message}"),
            "\"swarm service ps --no-trunc\" shows why the new tasks failed",
        )),
        (result, _) => result,
    }
}

struct Watch<'a> {
    client: &'a Client,
    id: &'a str,
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
    /// A line for each place: its name, its state, its error.
    places: BTreeMap<String, (String, String)>,
}

impl Watch<'_> {
    async fn run(&mut self, mut board: Option<&mut Board>) -> Result<()> {
        let live = board.as_deref().is_some_and(Board::is_live);
        loop {
            let service = self.client.get(&format!("/services/{}", segment(self.id))).await?;
            let monitor = self.monitor(&service);
            if let Some(done) = self.update_state(&service, &mut board)? {
                return done;
            }
            let progress = self.look(&service).await?;
            if let Some(board) = board.as_deref_mut() {
                show(board, &progress, self.rollback);
            }
            let converged = progress.running >= progress.wanted;
            let mut verify = |words: &str| {
                if let Some(board) = board.as_deref_mut() {
                    board.set("~verify", &format!("verify: {words}"));
                }
            };
            match (converged, self.since) {
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
                let elapsed = if live { since.elapsed() } else { Duration::ZERO };
                let left = monitor.saturating_sub(elapsed).as_secs_f64().ceil();
                verify(&format!("Waiting {left} seconds to verify that tasks are stable..."));
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

    /// What the service's own update says; something when the waiting is over.
    fn update_state(&mut self, service: &Value, board: &mut Option<&mut Board>) -> Result<Option<Result<()>>> {
        let message = text(service, "/UpdateStatus/Message");
        let mut say = |words: &str| {
            if let Some(board) = board.as_deref_mut() {
                board.set("~state", words);
            }
        };
        Ok(match text(service, "/UpdateStatus/State") {
            "paused" => Some(Err(CliError::usage(format!("service update paused: {message}")))),
            "rollback_started" => {
                if !self.rollback {
                    say(&format!("service rollback: {message}"));
                    (self.rollback, self.since) = (true, None);
                    self.failed = Some(message.to_owned());
                }
                None
            }
            "rollback_paused" => Some(Err(CliError::usage(format!("service rollback paused: {message}")))),
            "rollback_completed" if self.since.is_none() => {
                say(&format!("service rolled back: {message}"));
                self.rollback = true;
                self.failed = Some(message.to_owned());
                None
            }
            _ => None,
        })
    }

    async fn look(&self, service: &Value) -> Result<Progress> {
        let filters = filter::with(&[], &[("service", self.id), ("_up-to-date", "true")])?;
        let tasks = self.client.list("/tasks", &[("filters", filters.as_deref())]).await?;
        let nodes = node::alive(self.client).await?;
        Ok(progress(service, &tasks, &nodes))
    }
}

/// Counts the newest task of each place: a slot, or a node for global services.
fn progress(service: &Value, tasks: &[Value], nodes: &BTreeSet<String>) -> Progress {
    let mode = mode(service);
    let global = mode.starts_with("global");
    let job = mode.ends_with("job");
    let mut newest: BTreeMap<(i64, String), &Value> = BTreeMap::new();
    for task in tasks {
        let wanted = !matches!(text(task, "/DesiredState"), "shutdown" | "remove" | "orphaned");
        let (slot, node) = (int(task, "/Slot"), text(task, "/NodeID"));
        if !wanted || (global && node.is_empty()) {
            continue;
        }
        let key = if global { (0, node.to_owned()) } else { (slot, String::new()) };
        let better = newest.get(&key).is_none_or(|known| text(known, "/CreatedAt") <= text(task, "/CreatedAt"));
        if better {
            newest.insert(key, task);
        }
    }
    let is_done = |task: &Value| {
        let (state, node) = (text(task, "/Status/State"), text(task, "/NodeID"));
        if job { state == "complete" } else { state == "running" && nodes.contains(node) }
    };
    let wanted = match mode {
        "replicated" => int(service, "/Spec/Mode/Replicated/Replicas"),
        "replicated-job" => int(service, "/Spec/Mode/ReplicatedJob/TotalCompletions"),
        _ => i64::try_from(newest.len()).unwrap_or(i64::MAX),
    };
    let wanted = usize::try_from(wanted).unwrap_or(0);
    let mut progress = Progress { running: 0, wanted, places: BTreeMap::new() };
    for ((slot, node), task) in &newest {
        progress.running += usize::from(is_done(task));
        let name = if global { node.clone() } else { format!("{slot}/{wanted}") };
        let error = text(task, "/Status/Err").to_owned();
        progress.places.insert(name, (text(task, "/Status/State").to_owned(), error));
    }
    // A global service without tasks yet has not begun, unless no node takes one.
    if global && tasks.is_empty() && object(service, "/UpdateStatus").is_none() {
        progress.wanted = progress.wanted.max(usize::from(!nodes.is_empty()));
    }
    progress
}

fn show(board: &mut Board, progress: &Progress, rollback: bool) {
    let what = if rollback { "rolling back update" } else { "overall progress" };
    board.set(" overall", &format!("{what}: {} out of {} tasks", progress.running, progress.wanted));
    if progress.wanted > TASKS_SHOWN_MAX {
        return;
    }
    let last = STATES.iter().position(|state| *state == "running").unwrap_or(1) as u64;
    for (name, (state, error)) in &progress.places {
        let reached = STATES.iter().position(|known| known == state).unwrap_or(0) as u64;
        let line = match (error.is_empty(), board.is_live()) {
            (false, _) => format!("{name}: {error}"),
            (true, true) => format!("{name}: {state:<9} {}", bar(reached, last, BAR_WIDTH)),
            (true, false) => format!("{name}: {state}"),
        };
        board.set(name, &line);
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
    fn a_global_service_wants_a_task_on_each_node_that_got_one() {
        let service = json!({"Spec": {"Mode": {"Global": {}}}});
        let nodes: BTreeSet<String> = ["a".to_owned(), "b".to_owned()].into();
        let tasks = [task(0, "a", "1", "running"), task(0, "b", "1", "starting")];
        let found = progress(&service, &tasks, &nodes);
        assert_eq!((found.running, found.wanted), (1, 2));
        assert_eq!(progress(&service, &[], &nodes).wanted, 1);
    }
}
