//! `GET /containers/json` on a manager: the containers of tasks on every node, in one list.
//!
//! Each node that has some is asked, all at the same time and not for long. What a node that does not answer runs
//! is told from the store instead, and said to be: nothing vanishes from the list because a cable was pulled.

use crate::call::Call;
use crate::carry::{self, Elsewhere, container_id, node_name};
use crate::containers::{Wanted, find, write_summary};
use crate::error::ApiError;
use crate::filters::Filters;
use crate::json::parse_timestamp_ns;
use crate::ports::{ContainerNetwork, ContainerRecord, ContainerState};
use axum::body::Body;
use axum::http::{Request, StatusCode};
use futures_util::{StreamExt as _, stream};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use swarm_core::model::{NodeState, Task, TaskState};
use swarm_core::store::View;
use swarm_core::{NodeId, WallTime};

/// For all nodes together: a list is waited for by a person, or asked for again by a dashboard.
const DEADLINE: Duration = Duration::from_secs(2);
/// Nodes asked at the same time; each answer may be large.
const AT_ONCE: usize = 64;
/// Of one node's answer: some thousands of containers, each of about 2 KiB.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Label that tells the node of a task's container (as Docker's), and beside it ours with the node's name.
const NODE_ID_LABEL: &str = "com.docker.swarm.node.id";
const NODE_NAME_LABEL: &str = "com.docker.swarm.node.name";

/// What of the filters the manager looks at itself: only it knows the nodes by name.
pub struct Gather {
    own: NodeId,
    view: View,
    nodes: Vec<String>,
    names: Filters,
    /// Made after and before a container that may be on any node.
    since_ns: Option<i64>,
    before_ns: Option<i64>,
}

impl Gather {
    /// `None` where only this host is asked for: on a worker, outside a swarm, and for a manager's own request.
    /// Takes out of the filters what the nodes do not know.
    pub async fn new(call: &Call, filters: &mut Filters) -> Result<Option<Self>, ApiError> {
        let Some((own, view)) = carry::entered(call).zip(call.ports.cluster.known()) else { return Ok(None) };
        let of_name = |label: &str| label.split('=').next() == Some(NODE_NAME_LABEL);
        let labels = filters.take("label").into_iter();
        let (names, others): (Vec<String>, Vec<String>) = labels.partition(|label| of_name(label));
        filters.put("label", others);
        let mut kept = Filters::default();
        kept.put("label", names);
        let since_ns = made_at(call, "since", &filters.take("since")).await?;
        let before_ns = made_at(call, "before", &filters.take("before")).await?;
        Ok(Some(Self { own, view, nodes: filters.take("node"), names: kept, since_ns, before_ns }))
    }

    /// Tells what this host is asked for the times that were looked up.
    pub fn bound(&self, wanted: &mut Wanted) {
        wanted.made_between(self.since_ns, self.before_ns);
    }

    /// Rows tell the second only.
    fn made_between(&self, row: &Value) -> bool {
        let created_s = row["Created"].as_i64().unwrap_or(0);
        let second = |ns: i64| ns.div_euclid(1_000_000_000);
        self.since_ns.is_none_or(|since| created_s > second(since))
            && self.before_ns.is_none_or(|before| created_s < second(before))
    }

    fn wants(&self, node: NodeId) -> bool {
        if self.nodes.is_empty() {
            return true;
        }
        let (id, name) = (node.to_string(), node_name(&self.view, node));
        self.nodes.iter().any(|wanted| *wanted == id || *wanted == name)
    }

    /// The rows of this host with those of the others, the newest first. The filters as they are asked for, and what
    /// this host made of them.
    pub async fn all(
        self,
        call: &Call,
        here: Vec<Value>,
        (filters, wanted): (&Filters, &Wanted),
        now: WallTime,
    ) -> Vec<Value> {
        let mut rows = if self.wants(self.own) { here } else { Vec::new() };
        let tasks_wanted = filters.flag("is-task").ok().flatten() != Some(false);
        let mut missing = if tasks_wanted { self.tasks() } else { BTreeMap::new() };
        let mut asked = Vec::new();
        for node in missing.keys() {
            // One that is down is known not to answer.
            if self.view.node(*node).is_some_and(|node| node.status.state != NodeState::Down) {
                asked.push(Elsewhere::list(*node, node_name(&self.view, *node)));
            }
        }
        let query = query(call, filters, wanted.all());
        let answers = stream::iter(asked).map(|there| ask(call, there, &query)).buffer_unordered(AT_ONCE);
        let mut answers = std::pin::pin!(answers.take_until(tokio::time::sleep(DEADLINE)));
        while let Some((node, answer)) = answers.next().await {
            match answer {
                Ok(listed) => {
                    missing.remove(&node);
                    rows.extend(listed.into_iter().filter(|row| self.made_between(row)));
                }
                Err(error) => {
                    tracing::debug!(%node, error = error.message, "the containers of a node are not listed by it")
                }
            }
        }
        for (node, tasks) in missing {
            rows.extend(self.stored_rows(node, &tasks, wanted, now));
        }
        rows.iter_mut().for_each(|row| self.name_node(row));
        rows.retain(|row| self.names.labels("label", &labels(row)));
        sort(&mut rows);
        rows
    }

    /// What the store knows of containers elsewhere.
    fn tasks(&self) -> BTreeMap<NodeId, Vec<Arc<Task>>> {
        let mut by_node: BTreeMap<NodeId, Vec<Arc<Task>>> = BTreeMap::new();
        for task in self.view.tasks().filter(|task| !container_id(task).is_empty()) {
            if let Some(node) = task.node.filter(|node| *node != self.own && self.wants(*node)) {
                by_node.entry(node).or_default().push(task.clone());
            }
        }
        by_node
    }

    fn stored_rows(&self, node: NodeId, tasks: &[Arc<Task>], wanted: &Wanted, now: WallTime) -> Vec<Value> {
        let down = self.view.node(node).is_some_and(|node| node.status.state == NodeState::Down);
        let why = if down { "is down" } else { "did not answer" };
        let why = format!("node {} {why}", node_name(&self.view, node));
        let records = tasks.iter().map(|task| record(&self.view, node, task));
        let wanted = records.filter(|record| wanted.matches(record));
        let row = |record: ContainerRecord| {
            let mut row = write_summary(&record, now.0.saturating_mul(1_000_000));
            row["Status"] = format!("{} ({why})", row["Status"].as_str().unwrap_or_default()).into();
            row
        };
        wanted.map(row).collect()
    }

    fn name_node(&self, row: &mut Value) {
        let Some(labels) = row.get_mut("Labels").and_then(Value::as_object_mut) else { return };
        let node = labels.get(NODE_ID_LABEL).and_then(Value::as_str).and_then(|node| node.parse().ok());
        if let Some(node) = node {
            labels.insert(NODE_NAME_LABEL.to_owned(), node_name(&self.view, node).into());
        }
    }
}

fn labels(row: &Value) -> BTreeMap<String, String> {
    let labels = row["Labels"].as_object().into_iter().flatten();
    labels.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

/// The newest first; what is of the same second always in the same order.
fn sort(rows: &mut [Value]) {
    let name = |row: &Value| row["Names"][0].as_str().unwrap_or_default().to_owned();
    rows.sort_by_cached_key(|row| (std::cmp::Reverse(row["Created"].as_i64().unwrap_or(0)), name(row)));
}

/// The limit is the manager's: each node's newest need not be the newest of all.
fn query(call: &Call, filters: &Filters, every: bool) -> String {
    let mut filters = filters.clone();
    filters.put("is-task", vec!["true".to_owned()]);
    let filters = filters.to_json().to_string();
    let flag = |name: &str, on: bool| if on { format!("{name}=1&") } else { String::new() };
    format!(
        "{}{}filters={}",
        flag("all", every),
        flag("size", call.query.flag("size")),
        utf8_percent_encode(&filters, NON_ALPHANUMERIC)
    )
}

async fn ask(call: &Call, there: Elsewhere, query: &str) -> (NodeId, Result<Vec<Value>, ApiError>) {
    let rows = match read(call, &there, &format!("{}?{query}", there.path())).await {
        Ok(Value::Array(rows)) => Ok(rows),
        Ok(_) => Err(ApiError::unavailable("it answered with something else than a list")),
        Err(error) => Err(error),
    };
    (there.node, rows)
}

/// What a node answers at a path.
async fn read(call: &Call, there: &Elsewhere, path: &str) -> Result<Value, ApiError> {
    let response = carry::send(call, there, DEADLINE, |version| {
        let version = version.min(call.version);
        Request::builder().uri(format!("/v{version}{path}")).header("Host", "node").body(Body::empty())
    });
    let (parts, body) = response.await?.into_parts();
    let bytes = axum::body::to_bytes(Body::new(body), ANSWER_BYTES_MAX).await;
    let bytes = bytes.map_err(|error| ApiError::unavailable(format!("its answer broke off: {error}")))?;
    match (parts.status, serde_json::from_slice::<Value>(&bytes)) {
        (StatusCode::OK, Ok(answer)) => Ok(answer),
        (status, Ok(answer)) => Err(ApiError::new(status, answer["message"].as_str().unwrap_or("no words"))),
        (status, Err(error)) => Err(ApiError::unavailable(format!("it answered {status} and no JSON: {error}"))),
    }
}

/// When the container that a filter names was made, wherever it is.
async fn made_at(call: &Call, key: &str, names: &[String]) -> Result<Option<i64>, ApiError> {
    let name = match names {
        [] => return Ok(None),
        [name] => name,
        _ => return Err(ApiError::bad(format!("invalid filter '{key}': it takes one container"))),
    };
    match carry::locate(call, name).await? {
        None => Ok(Some(find(call, name).await?.created_ns)),
        Some(there) => {
            let shown = read(call, &there, &format!("{}/json", there.path())).await?;
            parse_timestamp_ns("Created", shown["Created"].as_str().unwrap_or_default())
        }
    }
}

/// A container as the store knows it.
fn record(view: &View, node: NodeId, task: &Task) -> ContainerRecord {
    let spec = &task.spec.container;
    let status = task.status.container.clone().unwrap_or_default();
    let ns = |wall: WallTime| wall.0.saturating_mul(1_000_000);
    let mut labels = spec.labels.clone();
    labels.extend([
        ("com.docker.swarm.task".to_owned(), String::new()),
        ("com.docker.swarm.task.id".to_owned(), task.id.to_string()),
        ("com.docker.swarm.task.name".to_owned(), task.name()),
        ("com.docker.swarm.service.id".to_owned(), task.service.to_string()),
        ("com.docker.swarm.service.name".to_owned(), task.service_name.clone()),
        (NODE_ID_LABEL.to_owned(), node.to_string()),
    ]);
    let networks = task.attachments.iter().filter_map(|attachment| {
        let network = view.network(attachment.network)?;
        Some(ContainerNetwork {
            name: network.spec.name.clone(),
            id: network.id.to_string(),
            addr: attachment.addr,
            prefix_len: 0,
            gateway: None,
            aliases: attachment.aliases.clone(),
        })
    });
    ContainerRecord {
        id: status.container_id.clone(),
        name: task.name(),
        image: spec.image.clone(),
        task: Some(task.id),
        labels,
        state: state(task.status.state),
        exit_code: status.exit_code.map_or(0, i64::from),
        oom_killed: status.oom_killed,
        health: status.health,
        created_ns: ns(task.meta.created.wall),
        started_ns: ns(task.up_since.unwrap_or(task.status.timestamp)),
        finished_ns: task.ended.map_or(0, ns),
        command: spec.command.iter().chain(&spec.args).cloned().collect(),
        networks: networks.collect(),
        ports: task.host_ports.clone(),
        ..ContainerRecord::default()
    }
}

fn state(state: TaskState) -> ContainerState {
    match state {
        TaskState::New
        | TaskState::Pending
        | TaskState::Assigned
        | TaskState::Accepted
        | TaskState::Preparing
        | TaskState::Ready
        | TaskState::Starting => ContainerState::Created,
        TaskState::Running => ContainerState::Running,
        TaskState::Complete
        | TaskState::Shutdown
        | TaskState::Failed
        | TaskState::Rejected
        | TaskState::Remove
        | TaskState::Orphaned => ContainerState::Exited,
    }
}
