//! Clusters to measure.

use std::collections::BTreeMap;
use std::sync::Arc;
use swarm_core::model::*;
use swarm_core::store::{Object, Store};
use swarm_core::{NodeId, ServiceId, Stamp, TaskId, WallTime};

/// Ids spread over the whole range, as random ones are, and the same in each run.
fn spread(number: u128) -> u128 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835).rotate_left(61)
}

pub fn node(number: u128) -> Node {
    Node {
        id: NodeId(spread(number)),
        meta: Meta::default(),
        spec: NodeSpec::default(),
        description: Some(NodeDescription {
            hostname: format!("host{number}"),
            platform: Platform { os: "linux".into(), architecture: "x86_64".into() },
            resources: Resources { nano_cpus: 64_000_000_000, memory_bytes: 256 << 30, generic: BTreeMap::new() },
            ..NodeDescription::default()
        }),
        status: NodeStatus { state: NodeState::Ready, ..NodeStatus::default() },
        raft: None,
        certificate_role: NodeRole::Worker,
    }
}

pub fn task(number: u128, service: ServiceId, slot: u64, spec: &Arc<TaskSpec>) -> Task {
    let made = Stamp { index: 1, wall: WallTime(0) };
    Task {
        id: TaskId(spread(number)),
        meta: Meta { version: 1, created: made, updated: made },
        service,
        slot,
        node: None,
        spec: Arc::clone(spec),
        spec_version: 1,
        service_name: "web".to_owned(),
        service_labels: Labels::new(),
        status: TaskStatus {
            state: TaskState::Pending,
            message: "pending task scheduling".into(),
            ..Default::default()
        },
        desired: TaskState::Running,
        attachments: Vec::new(),
        host_ports: Vec::new(),
        restarts: RestartHistory::default(),
        start_after: None,
        origin: TaskOrigin::Scale,
        up_since: None,
        ended: None,
        job_iteration: None,
    }
}

/// `nodes` empty nodes, and one service whose `tasks` wait for a node.
pub fn waiting(tasks: u128, nodes: u128) -> Store {
    let spec = Arc::new(TaskSpec::default());
    let nodes = (1..=nodes).map(|number| Object::from(node(number)));
    let tasks = (1..=tasks).map(|number| {
        let slot = u64::try_from(number).expect("a slot");
        Object::Task(Arc::new(task(number, ServiceId(1), slot, &spec)))
    });
    Store::restore(1, nodes.chain(tasks))
}
