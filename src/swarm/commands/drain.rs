//! Waiting until a node that is drained has no tasks left.

use crate::client::Client;
use crate::commands::tasks::Names;
use crate::error::Result;
use crate::json::{int, text};
use crate::progress::Board;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Time between two looks at the node.
const LOOK_PERIOD: Duration = Duration::from_millis(500);
/// Tasks that are named; of more only the number is shown.
const TASKS_SHOWN_MAX: usize = 19;

/// Waits until nothing runs on the node `id` any more, or it is no longer drained.
pub async fn wait(client: &Client, id: &str, name: &str) -> Result<()> {
    let mut board = Board::new();
    let result = watch(client, id, name, &mut board).await;
    board.finish();
    result
}

async fn watch(client: &Client, id: &str, name: &str, board: &mut Board) -> Result<()> {
    let path = format!("/nodes/{id}");
    let names = Names::fetch(client).await?;
    let mut shown: BTreeMap<String, String> = BTreeMap::new();
    loop {
        let node = client.get(&path).await?;
        if text(&node, "/Spec/Availability") != "drain" {
            board.set("", &format!("node {name} is no longer drained"));
            return Ok(());
        }
        if text(&node, "/Status/State") == "down" {
            board.set("", &format!("node {name} is down: its tasks run elsewhere or wait"));
            return Ok(());
        }
        let tasks = client.list("/tasks", &[]).await?;
        let left = left(id, &tasks);
        board.set("", &headline(name, left.len()));
        let lines: BTreeMap<String, String> =
            left.iter().take(TASKS_SHOWN_MAX).map(|task| (names.task(task), why(task, &tasks))).collect();
        for (task, why) in &lines {
            board.set(task, &format!("{task}: {why}"));
        }
        for gone in shown.keys().filter(|task| !lines.contains_key(*task)) {
            board.set(gone, &format!("{gone}: gone"));
        }
        if left.is_empty() {
            return Ok(());
        }
        shown = lines;
        tokio::time::sleep(LOOK_PERIOD).await;
    }
}

fn headline(name: &str, left: usize) -> String {
    match left {
        0 => format!("node {name} is drained: no tasks left"),
        1 => format!("draining {name}: 1 task left"),
        left => format!("draining {name}: {left} tasks left"),
    }
}

/// Tasks the node still has.
fn left<'a>(node: &str, tasks: &'a [Value]) -> Vec<&'a Value> {
    let over = ["complete", "shutdown", "failed", "rejected", "remove", "orphaned"];
    let there = |task: &&Value| text(task, "/NodeID") == node && !over.contains(&text(task, "/Status/State"));
    tasks.iter().filter(there).collect()
}

/// What is done about a task that is left.
fn why(task: &Value, tasks: &[Value]) -> String {
    if matches!(text(task, "/DesiredState"), "shutdown" | "remove") {
        return "stops".to_owned();
    }
    // The one that takes over is the newest of its slot.
    let same = |other: &&Value| {
        text(other, "/ServiceID") == text(task, "/ServiceID")
            && int(other, "/Slot") == int(task, "/Slot")
            && text(other, "/CreatedAt") > text(task, "/CreatedAt")
            && !matches!(text(other, "/DesiredState"), "shutdown" | "remove")
    };
    match tasks.iter().filter(same).max_by_key(|other| text(other, "/CreatedAt")) {
        // Once it has a node, what it waits for passes by itself.
        Some(next)
            if matches!(text(next, "/Status/State"), "new" | "pending") && !text(next, "/Status/Err").is_empty() =>
        {
            format!("stays: {}", text(next, "/Status/Err"))
        }
        Some(next) => format!("moves: the new one is {}", text(next, "/Status/State")),
        None => "waits for its turn".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn task(slot: i64, node: &str, created: &str, desired: &str, state: &str, err: &str) -> Value {
        json!({"ServiceID": "s", "Slot": slot, "NodeID": node, "CreatedAt": created, "DesiredState": desired,
               "Status": {"State": state, "Err": err}})
    }

    #[test]
    fn a_task_that_is_left_says_what_becomes_of_it() {
        let tasks = [
            task(1, "a", "1", "running", "running", ""),
            task(1, "", "2", "running", "pending", "no node fits: 1 drained"),
            task(2, "a", "1", "shutdown", "running", ""),
            task(3, "a", "1", "running", "running", ""),
            task(3, "b", "2", "running", "preparing", "waits for node b to go on"),
            task(4, "a", "1", "running", "running", ""),
            task(5, "a", "1", "shutdown", "shutdown", ""),
            task(6, "b", "1", "running", "running", ""),
        ];
        let left = left("a", &tasks);
        let whys: Vec<String> = left.iter().map(|task| why(task, &tasks)).collect();
        assert_eq!(
            whys,
            ["stays: no node fits: 1 drained", "stops", "moves: the new one is preparing", "waits for its turn"]
        );
        assert_eq!(headline("n", 1), "draining n: 1 task left");
    }
}
