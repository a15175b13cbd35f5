//! `/swarm/rebalance`, beyond the Engine API: what would be moved to even out what runs where, and one round of it.

use crate::call::{Call, Outcome, ok};
use crate::json::Fields;
use crate::services::decide_and_submit;
use serde_json::Value;
use std::sync::Mutex;
use swarm_core::NodeId;
use swarm_core::plan::{self, Shift};
use swarm_core::store::View;

/// `GET`: an array of `{Task, TaskID, From, To, Why}`; `From` and `To` are names of nodes.
pub async fn show(call: Call) -> Outcome {
    let view = call.view().await?;
    let (shifts, _) = plan::rebalance_round(&view, call.ports.cluster.now(), 0);
    ok(write(&view, &shifts))
}

/// `POST`: moves them; the same array says what.
pub async fn carry_out(call: Call) -> Outcome {
    let moved = Mutex::new(Value::Array(Vec::new()));
    decide_and_submit(&call, |view, now| {
        let seed = (call.ports.cluster.random() & u128::from(u64::MAX)) as u64;
        let (shifts, txn) = plan::rebalance_round(view, now, seed);
        *moved.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = write(view, &shifts);
        Ok(txn)
    })
    .await?;
    ok(moved.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
}

fn write(view: &View, shifts: &[Shift]) -> Value {
    let name = |id: NodeId| view.node(id).map_or_else(|| id.to_string(), |node| node.display_name());
    let one = |shift: &Shift| {
        let task = view.task(shift.task);
        Value::from(
            Fields::new()
                .set("Task", task.map(|task| format!("{}.{}", task.service_name, task.slot)).unwrap_or_default())
                .set("TaskID", shift.task.to_string())
                .set("From", name(shift.from))
                .set("To", name(shift.to))
                .set("Why", shift.why.as_str()),
        )
    };
    shifts.iter().map(one).collect()
}
