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
use crate::version::ApiVersion;
use crate::{Ports, Server};
use axum::body::Body;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
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

/// Filters by name or id that are of objects of one kind; `image` is of two.
const KINDS: [&str; 9] = ["config", "container", "daemon", "network", "node", "plugin", "secret", "service", "volume"];

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
    let (since, until) = (call.query.text("since"), call.query.text("until"));
    let since_ns = parse_timestamp_ns("since", since)?;
    let until_ns = parse_timestamp_ns("until", until)?;
    if since_ns.zip(until_ns).is_some_and(|(since_ns, until_ns)| since_ns > until_ns) {
        let words = format!("`since` time ({since}) cannot be after `until` time ({until})");
        return Err(ApiError::bad(words));
    }
    let form = Form::of(&call);
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
    let lines = stream::unfold(client, move |mut client| async move {
        loop {
            let record = client.next().await?;
            if let Some(line) = form.write(&record) {
                return Some((Ok::<_, Infallible>(line), client));
            }
        }
    });
    Ok(([(CONTENT_TYPE, form.media_type)], Body::from_stream(lines)).into_response())
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

/// Several values of one filter are alternatives, all filters must hold.
fn passes(filters: &Filters, record: &Record) -> bool {
    let name = record.attributes.get("name").map_or("", String::as_str);
    let is = |wanted: &str| wanted == record.id || wanted == name || record.id.starts_with(wanted);
    let of_kind = |kind: &str| filters.values(kind).is_empty() || (record.kind == kind && filters.any(kind, is));
    KINDS.into_iter().all(of_kind)
        && filters.any("image", |image| is_of_image(record, image))
        && filters.any("type", |kind| record.kind == kind)
        && filters.any("event", |action| record.action == action || record.action.starts_with(&format!("{action}:")))
        && filters.any("scope", |scope| record.scope == scope)
        && filters.labels("label", &record.attributes)
}

/// An image's own events, and those of the containers made from it; with or without the tag.
fn is_of_image(record: &Record, image: &str) -> bool {
    let attribute = if record.kind == "image" { "name" } else { "image" };
    let name = record.attributes.get(attribute).map_or("", String::as_str);
    let is = |text: &str| text == image || without_tag(text) == image;
    is(&record.id) || (!name.is_empty() && is(name))
}

fn without_tag(reference: &str) -> &str {
    let bare = reference.split_once('@').map_or(reference, |(bare, _)| bare);
    let slash = bare.rfind('/').map_or(0, |at| at + 1);
    bare[slash..].find(':').map_or(bare, |colon| &bare[..slash + colon])
}

/// How one client has its events written.
#[derive(Clone, Copy)]
struct Form {
    version: ApiVersion,
    media_type: &'static str,
}

/// What a client may ask for in `Accept` (API v1.52 and v1.53); else it is called JSON, which lines of JSON are not.
const MEDIA_TYPES: [&str; 3] = ["application/x-ndjson", JSON_SEQUENCE, "application/jsonl"];
const JSON_SEQUENCE: &str = "application/json-seq";
/// RFC 7464: in front of each text of a sequence.
const RECORD_SEPARATOR: char = '\u{1e}';
/// From here on an event is not told a second time in the form of before 1.10.
const NO_LEGACY_SINCE: u16 = 52;

impl Form {
    fn of(call: &Call) -> Self {
        let accepted = call.headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut names = accepted.split(',').map(|name| name.split(';').next().unwrap_or_default().trim());
        let known = names.find_map(|name| MEDIA_TYPES.into_iter().find(|known| *known == name));
        let asked = known.filter(|_| call.version.has(NO_LEGACY_SINCE));
        Self { version: call.version, media_type: asked.unwrap_or("application/json") }
    }

    /// `None` for what this client does not know.
    fn write(self, record: &Record) -> Option<String> {
        if record.kind == "image" && record.action == "create" && !self.version.has(46) {
            return None;
        }
        let mut fields = Fields::new();
        if matches!(record.kind, "container" | "image") && !self.version.has(NO_LEGACY_SINCE) {
            fields = fields.set("status", record.action.as_str()).set("id", record.id.as_str());
            if record.kind == "container" {
                fields = fields.set("from", record.attributes.get("image").cloned().unwrap_or_default());
            }
        }
        let line: Value = fields
            .set("Type", record.kind)
            .set("Action", record.action.as_str())
            .set("Actor", json!({ "ID": record.id, "Attributes": strings(&record.attributes) }))
            .set("scope", record.scope)
            .set("time", record.time_ns / 1_000_000_000)
            .set("timeNano", record.time_ns)
            .into();
        let separator = if self.media_type == JSON_SEQUENCE { RECORD_SEPARATOR.to_string() } else { String::new() };
        Some(format!("{separator}{line}\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Query;

    fn record(kind: &'static str, id: &str, attributes: &[(&str, &str)]) -> Record {
        let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Record { kind, action: "start".to_owned(), scope: "local", id: id.to_owned(), attributes, time_ns: 1 }
    }

    fn filters(text: &str) -> Filters {
        let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
        Filters::read(&Query::parse(&format!("/events?filters={encoded}").parse().unwrap()).unwrap(), &FILTERS).unwrap()
    }

    #[test]
    fn an_image_is_asked_for_with_its_containers_and_with_or_without_the_tag() {
        let container = record("container", "ab12", &[("name", "web"), ("image", "registry:5000/redis:7")]);
        let image = record("image", "registry:5000/redis:7", &[("name", "registry:5000/redis:7")]);
        let volume = record("volume", "redis", &[]);
        for asked in ["registry:5000/redis:7", "registry:5000/redis"] {
            let filters = filters(&format!(r#"{{"image":["{asked}"]}}"#));
            assert!(passes(&filters, &container) && passes(&filters, &image), "{asked}");
            assert!(!passes(&filters, &volume));
        }
        assert!(!passes(&filters(r#"{"image":["redis"]}"#), &image));
    }

    #[test]
    fn values_of_a_filter_are_alternatives_and_filters_must_all_hold() {
        let container = record("container", "ab12", &[("name", "web"), ("image", "redis:7"), ("team", "a")]);
        assert!(passes(&filters(r#"{"container":["db","web"]}"#), &container));
        assert!(passes(&filters(r#"{"container":["ab"],"image":["redis"],"label":["team=a"]}"#), &container));
        assert!(!passes(&filters(r#"{"container":["web"],"image":["nginx"]}"#), &container));
        assert!(!passes(&filters(r#"{"container":["web"],"network":["web"]}"#), &container));
        assert!(passes(&filters(r#"{"scope":["local"],"event":["start","stop"],"type":["container"]}"#), &container));
        assert!(!passes(&filters(r#"{"scope":["swarm"]}"#), &container));
    }

    #[test]
    fn the_older_form_is_told_to_older_clients_alone() {
        let form = |minor| Form { version: ApiVersion { major: 1, minor }, media_type: "application/json" };
        let container = record("container", "ab", &[("image", "redis:7")]);
        let written = |minor| serde_json::from_str::<Value>(&form(minor).write(&container).unwrap()).unwrap();
        assert_eq!(written(51)["status"], "start");
        assert_eq!((&written(51)["id"], &written(51)["from"]), (&json!("ab"), &json!("redis:7")));
        assert!(written(52).get("status").is_none() && written(52).get("id").is_none());
        let created = Record { action: "create".to_owned(), ..record("image", "a", &[]) };
        assert!(form(45).write(&created).is_none() && form(46).write(&created).is_some());
    }
}
