//! `/events`: what was committed in the cluster and what happened on this host, as one stream.
//!
//! One task reads both ports, keeps the newest events for `since`, and passes them on. A client too
//! slow to follow is cut off rather than left with a gap it does not know of.

use crate::call::{Call, Outcome};
use crate::error::ApiError;
use crate::filters::Filters;
use crate::json::{Fields, parse_timestamp_ns, role_name, state_name, strings};
use crate::ports::{LocalEvent, Watched};
use crate::routes::unknown_below;
use crate::{Ports, Server};
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse as _;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use swarm_core::WallTime;
use swarm_core::model::{Node, Service, ServiceMode};
use swarm_core::store::{Event, Object};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Events kept for `since` (as dockerd keeps).
const HISTORY_EVENTS: usize = 256;
/// Events a client may be behind before it is cut off.
const BEHIND_EVENTS_MAX: usize = 1024;
/// Clients that may wait to be let in at once.
const SUBSCRIBE_QUEUE: usize = 64;

const FILTERS: [&str; 14] = [
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

/// One event as clients see it.
#[derive(Clone, Debug)]
pub struct Record {
    kind: &'static str,
    action: String,
    scope: &'static str,
    id: String,
    attributes: BTreeMap<String, String>,
    time_ns: i64,
}

/// What a client gets on its way in: what was, and what comes.
struct Subscription {
    history: Vec<Arc<Record>>,
    live: broadcast::Receiver<Arc<Record>>,
}

/// Client of the task that owns the events.
#[derive(Clone)]
pub struct Hub {
    subscribe: mpsc::Sender<oneshot::Sender<Subscription>>,
}

impl Hub {
    /// Starts the task; it ends with `shutdown`.
    pub fn start(ports: &Ports, shutdown: CancellationToken) -> Self {
        let (subscribe, subscribers) = mpsc::channel(SUBSCRIBE_QUEUE);
        let (watched, local) = (ports.cluster.watch(), ports.local.events());
        tokio::spawn(run(watched, local, subscribers, shutdown));
        Self { subscribe }
    }

    async fn subscribe(&self) -> Result<Subscription, ApiError> {
        let gone = || ApiError::unavailable("the daemon is shutting down");
        let (answer, subscription) = oneshot::channel();
        self.subscribe.send(answer).await.map_err(|_| gone())?;
        subscription.await.map_err(|_| gone())
    }
}

async fn run(
    mut watched: stream::BoxStream<'static, Watched>,
    mut local: stream::BoxStream<'static, LocalEvent>,
    mut subscribers: mpsc::Receiver<oneshot::Sender<Subscription>>,
    shutdown: CancellationToken,
) {
    let mut live = broadcast::Sender::new(BEHIND_EVENTS_MAX);
    let mut history = VecDeque::with_capacity(HISTORY_EVENTS);
    let (mut cluster_ended, mut local_ended, mut told) = (false, false, false);
    loop {
        let records = tokio::select! {
            () = shutdown.cancelled() => return,
            subscriber = subscribers.recv() => {
                let Some(subscriber) = subscriber else { return };
                let history = history.iter().cloned().collect();
                // A client that went away meanwhile is no concern.
                let _ = subscriber.send(Subscription { history, live: live.subscribe() });
                continue;
            }
            next = watched.next(), if !cluster_ended => match next {
                Some(Watched::Committed { wall, events, .. }) => {
                    told = true;
                    events.iter().filter_map(|event| describe(event, wall)).collect()
                }
                // Nothing was told yet, so nothing is missing: this node just became a manager.
                Some(Watched::Resync) if !told => continue,
                Some(Watched::Resync) => {
                    told = false;
                    // Events are missing: clients must look for themselves, so their streams end.
                    live = broadcast::Sender::new(BEHIND_EVENTS_MAX);
                    history.clear();
                    continue;
                }
                None => { cluster_ended = true; continue }
            },
            next = local.next(), if !local_ended => match next {
                Some(event) => vec![describe_local(event)],
                None => { local_ended = true; continue }
            },
        };
        for record in records {
            let record = Arc::new(record);
            if history.len() == HISTORY_EVENTS {
                history.pop_front();
            }
            history.push_back(Arc::clone(&record));
            // Nobody listening is fine.
            let _ = live.send(record);
        }
    }
}

fn describe_local(event: LocalEvent) -> Record {
    let LocalEvent { kind, action, id, attributes, time_ns } = event;
    Record { kind, action, scope: "local", id, attributes, time_ns }
}

/// `None` for what is no event to users: tasks, the cluster's keys, bookkeeping of ours.
fn describe(event: &Event, wall: WallTime) -> Option<Record> {
    let action = match event {
        Event::Created(_) => "create",
        // Removed by its user; that its last tasks have ended later is bookkeeping of ours.
        Event::Updated { old, new } if !is_removing(old) && is_removing(new) => "remove",
        Event::Updated { new: object, .. } | Event::Removed(object) if is_removing(object) => return None,
        Event::Updated { .. } => "update",
        Event::Removed(_) => "remove",
    };
    let named = |name: &str| BTreeMap::from([("name".to_owned(), name.to_owned())]);
    let (kind, id, mut attributes) = match event.object() {
        Object::Service(o) => ("service", o.id.to_string(), named(&o.spec.name)),
        Object::Node(o) => ("node", o.id.to_string(), named(&o.display_name())),
        Object::Network(o) => ("network", o.id.to_string(), named(&o.spec.name)),
        Object::Secret(o) => ("secret", o.id.to_string(), named(&o.spec.name)),
        Object::Config(o) => ("config", o.id.to_string(), named(&o.spec.name)),
        Object::Cluster(_) | Object::Task(_) => return None,
    };
    if let Event::Updated { old, new } = event
        && action == "update"
    {
        match (old, new) {
            (Object::Service(old), Object::Service(new)) => service_changes(old, new, &mut attributes)?,
            (Object::Node(old), Object::Node(new)) => node_changes(old, new, &mut attributes)?,
            (Object::Network(old), Object::Network(new)) if old.spec == new.spec => return None,
            _ => {}
        }
    }
    let time_ns = wall.0.saturating_mul(1_000_000);
    Some(Record { kind, action: action.to_owned(), scope: "swarm", id, attributes, time_ns })
}

fn is_removing(object: &Object) -> bool {
    match object {
        Object::Service(service) => service.removing,
        Object::Network(network) => network.removing,
        Object::Cluster(_) | Object::Node(_) | Object::Task(_) | Object::Secret(_) | Object::Config(_) => false,
    }
}

fn changed(attributes: &mut BTreeMap<String, String>, name: &str, old: String, new: String) {
    if old != new {
        attributes.insert(format!("{name}.old"), old);
        attributes.insert(format!("{name}.new"), new);
    }
}

/// `None` when nothing a user asked for or waits for has changed.
fn service_changes(old: &Service, new: &Service, attributes: &mut BTreeMap<String, String>) -> Option<()> {
    let state =
        |service: &Service| service.update_status.as_ref().map(|status| format!("{:?}", status.state).to_lowercase());
    if old.spec == new.spec && state(old) == state(new) && old.wanted_replicas() == new.wanted_replicas() {
        return None;
    }
    let replicas = |service: &Service| match &service.spec.mode {
        ServiceMode::Replicated { .. } => service.wanted_replicas().unwrap_or_default().to_string(),
        ServiceMode::ReplicatedJob { total_completions, .. } => total_completions.to_string(),
        ServiceMode::Global | ServiceMode::GlobalJob => String::new(),
    };
    let image = |service: &Service| service.spec.task.container.image.clone();
    changed(attributes, "replicas", replicas(old), replicas(new));
    changed(attributes, "image", image(old), image(new));
    changed(attributes, "updatestate", state(old).unwrap_or_default(), state(new).unwrap_or_default());
    Some(())
}

fn node_changes(old: &Node, new: &Node, attributes: &mut BTreeMap<String, String>) -> Option<()> {
    if old.spec == new.spec && old.status.state == new.status.state {
        return None;
    }
    let availability = |node: &Node| format!("{:?}", node.spec.availability).to_lowercase();
    changed(attributes, "state", state_name(old.status.state).to_owned(), state_name(new.status.state).to_owned());
    changed(attributes, "role", role_name(old.spec.role).to_owned(), role_name(new.spec.role).to_owned());
    changed(attributes, "availability", availability(old), availability(new));
    Some(())
}

pub async fn route(call: Call, server: &Server, method: &str, rest: &[&str]) -> Outcome {
    match (method, rest) {
        ("GET", []) => events(call, server).await,
        _ => Err(unknown_below(method, "events", rest)),
    }
}

struct Client {
    history: VecDeque<Arc<Record>>,
    live: broadcast::Receiver<Arc<Record>>,
    filters: Filters,
    since_ns: Option<i64>,
    until_ns: Option<i64>,
    /// Cancelled when the daemon ends or the time asked for is over.
    end: CancellationToken,
}

async fn events(call: Call, server: &Server) -> Outcome {
    let filters = Filters::read(&call.query, &FILTERS)?;
    let since_ns = parse_timestamp_ns("since", call.query.text("since"))?;
    let until_ns = parse_timestamp_ns("until", call.query.text("until"))?;
    let Subscription { history, live } = server.events.subscribe().await?;
    let asks_for_past = since_ns.is_some() || until_ns.is_some();
    let end = server.shutdown.child_token();
    if let Some(until_ns) = until_ns {
        let now_ns = call.ports.cluster.now().0.saturating_mul(1_000_000);
        let left = u64::try_from(until_ns.saturating_sub(now_ns)).unwrap_or(0);
        let end = end.clone();
        tokio::spawn(async move {
            let time_is_up = tokio::time::sleep(Duration::from_nanos(left));
            tokio::select! { () = time_is_up => end.cancel(), () = end.cancelled() => {} }
        });
    }
    let history = if asks_for_past { history.into() } else { VecDeque::new() };
    let client = Client { history, live, filters, since_ns, until_ns, end };
    let lines = stream::unfold(client, |mut client| async move {
        let record = client.next().await?;
        Some((Ok::<_, Infallible>(write(&record)), client))
    });
    Ok(([(CONTENT_TYPE, "application/json")], Body::from_stream(lines)).into_response())
}

impl Drop for Client {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

impl Client {
    async fn next(&mut self) -> Option<Arc<Record>> {
        loop {
            let record = match self.history.pop_front() {
                Some(record) => record,
                None => tokio::select! {
                    biased;
                    received = self.live.recv() => received.ok()?,
                    () = self.end.cancelled() => return None,
                },
            };
            let early = self.since_ns.is_some_and(|since| record.time_ns < since);
            let late = self.until_ns.is_some_and(|until| record.time_ns > until);
            if !early && !late && passes(&self.filters, &record) {
                return Some(record);
            }
        }
    }
}

fn passes(filters: &Filters, record: &Record) -> bool {
    let name = record.attributes.get("name").map_or("", String::as_str);
    let is = |wanted: &str| wanted == record.id || wanted == name || record.id.starts_with(wanted);
    let of_kind = |kind: &str| filters.values(kind).is_empty() || (record.kind == kind && filters.any(kind, is));
    let kinds = ["config", "container", "daemon", "image", "network", "node", "plugin", "secret", "service", "volume"];
    // Several kinds named at once are alternatives: an event has one kind.
    let asked: Vec<_> = kinds.into_iter().filter(|kind| !filters.values(kind).is_empty()).collect();
    (asked.is_empty() || asked.into_iter().any(of_kind))
        && filters.any("type", |kind| record.kind == kind)
        && filters.any("event", |action| record.action == action || record.action.starts_with(&format!("{action}:")))
        && filters.any("scope", |scope| record.scope == scope)
        && filters.labels("label", &record.attributes)
}

fn write(record: &Record) -> String {
    let mut fields = Fields::new();
    // The older form, of containers and images only.
    if matches!(record.kind, "container" | "image") {
        fields = fields.set("status", record.action.as_str()).set("id", record.id.as_str());
        fields = fields.opt("from", record.attributes.get("image").cloned());
    }
    let line: Value = fields
        .set("Type", record.kind)
        .set("Action", record.action.as_str())
        .set("Actor", json!({ "ID": record.id, "Attributes": strings(&record.attributes) }))
        .set("scope", record.scope)
        .set("time", record.time_ns / 1_000_000_000)
        .set("timeNano", record.time_ns)
        .into();
    format!("{line}\n")
}
