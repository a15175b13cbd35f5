//! Beyond the Engine API: dry runs. What a change would lead to is told, and nothing is done.
//!
//! `?dryRun=1` at `POST /services/create`, `POST /services/{id}/update` (rollbacks included), `POST /services/{id}/promote`
//! and `DELETE /services/{id}`; and for several changes at once `POST /rehearsal`.

use crate::call::{Call, Outcome, ok};
use crate::error::ApiError;
use crate::json::{
    Fields, Object, keep_extension, read_content, read_network_spec, read_service_spec, strings, write_network,
    write_service_spec,
};
use crate::lookup;
use crate::ports::SubmitError;
use crate::routes::unknown_below;
use serde_json::{Value, json};
use swarm_core::model::{ConfigSpec, SecretSpec};
use swarm_core::rehearsal::{Action, Deed, Outlook, Place, Rehearsal, Rehearsed};
use swarm_core::store::{self, Event, Txn, View};
use swarm_core::{ConfigId, NetworkId, NodeId, SecretId, Sensitive, ServiceId, WallTime, control};

pub async fn route(call: Call, method: &str, rest: &[&str]) -> Outcome {
    match (method, rest) {
        ("POST", []) => several(call).await,
        _ => Err(unknown_below(method, "rehearsal", rest)),
    }
}

/// Whether the request only asks what would be.
pub fn is_wanted(call: &Call) -> bool {
    call.query.flag("dryRun")
}

/// What this transaction, decided on `view`, would lead to.
pub async fn answer(call: &Call, view: &View, txn: &Txn) -> Outcome {
    let mut change = Change::new(call, view);
    change.apply(txn)?;
    change.tell().await
}

/// A change made of several: services that go, then networks, secrets, configs and services, each made or, where there is
/// one of its name, changed. What comes later may name what came before.
async fn several(mut call: Call) -> Outcome {
    let mut body = call.object().await?;
    let removed = body.strings("RemoveServices")?;
    let networks = body.objects("Networks")?;
    let secrets = body.objects("Secrets")?;
    let configs = body.objects("Configs")?;
    let services = body.objects("Services")?;
    body.finish()?;
    let view = call.view().await?;
    let mut change = Change::new(&call, &view);
    for name in removed {
        let view = change.rehearsal.view();
        let id = lookup::service(&view, &name)?.id;
        change.apply(&control::remove_service(&view, id, change.now)?)?;
    }
    networks.into_iter().try_for_each(|network| change.network(network))?;
    secrets.into_iter().try_for_each(|secret| change.secret(secret))?;
    configs.into_iter().try_for_each(|config| change.config(config))?;
    services.into_iter().try_for_each(|service| change.service(service))?;
    change.tell().await
}

struct Change {
    rehearsal: Rehearsal,
    now: WallTime,
}

impl Change {
    fn new(call: &Call, view: &View) -> Self {
        let now = call.ports.cluster.now();
        Self { rehearsal: Rehearsal::new(view, now, call.ports.cluster.random()), now }
    }

    fn apply(&mut self, txn: &Txn) -> Result<(), ApiError> {
        self.rehearsal.apply(txn).map_err(|conflict| SubmitError::Conflict(conflict).into())
    }

    fn network(&mut self, object: Object) -> Result<(), ApiError> {
        let (spec, id) = (read_network_spec(object)?, NetworkId(self.rehearsal.id()));
        let txn = control::create_network(&self.rehearsal.view(), spec, id, self.now)?;
        self.apply(&txn)
    }

    fn secret(&mut self, object: Object) -> Result<(), ApiError> {
        let content = read_content(object)?;
        let (view, now) = (self.rehearsal.view(), self.now);
        let txn = match view.secret_by_name(&content.name) {
            Some(old) => control::update_secret(&view, old.id, old.meta.version, content.wish(), now)?,
            None => {
                let templated = content.templated.unwrap_or(false);
                let data = Sensitive::new(content.data.unwrap_or_default());
                let spec = SecretSpec { name: content.name, labels: content.labels, data, templated };
                control::create_secret(&view, spec, SecretId(self.rehearsal.id()), now)?
            }
        };
        self.apply(&txn)
    }

    fn config(&mut self, object: Object) -> Result<(), ApiError> {
        let content = read_content(object)?;
        let (view, now) = (self.rehearsal.view(), self.now);
        let txn = match view.config_by_name(&content.name) {
            Some(old) => control::update_config(&view, old.id, old.meta.version, content.wish(), now)?,
            None => {
                let templated = content.templated.unwrap_or(false);
                let data = content.data.unwrap_or_default();
                let spec = ConfigSpec { name: content.name, labels: content.labels, data, templated };
                control::create_config(&view, spec, ConfigId(self.rehearsal.id()), now)?
            }
        };
        self.apply(&txn)
    }

    fn service(&mut self, object: Object) -> Result<(), ApiError> {
        let view = self.rehearsal.view();
        let mut reading = read_service_spec(object, &view)?;
        let txn = match view.service_by_name(&reading.spec.name) {
            Some(old) => {
                reading.spec.task.container.pull_auth.clone_from(&old.spec.task.container.pull_auth);
                if !reading.extended {
                    keep_extension(&old.spec, &mut reading.spec);
                }
                control::update_service(&view, old.id, old.meta.version, reading.spec, self.now)?
            }
            None => control::create_service(&view, reading.spec, ServiceId(self.rehearsal.id()), self.now)?,
        };
        self.apply(&txn)
    }

    /// Plays it on a thread of its own: an update of a thousand tasks takes seconds.
    async fn tell(self) -> Outcome {
        let rehearsal = self.rehearsal;
        let told = tokio::task::spawn_blocking(move || write(&rehearsal.run())).await;
        ok(told.map_err(|error| ApiError::unavailable(format!("the dry run broke off: {error}")))?)
    }
}

/// `Whole`: it was played to the end.
fn write(told: &Rehearsed) -> Value {
    json!({
        "Objects": told.objects.iter().map(write_object).collect::<Vec<_>>(),
        "Tasks": told.actions.iter().map(|action| write_action(action, &told.view)).collect::<Vec<_>>(),
        "Services": told.services.iter().map(write_outlook).collect::<Vec<_>>(),
        "Whole": told.is_whole,
    })
}

fn write_object(event: &Event) -> Value {
    let (action, before, after) = match event {
        Event::Created(new) => ("create", None, Some(new)),
        Event::Updated { old, new } => ("update", Some(old), Some(new)),
        Event::Removed(old) => ("remove", Some(old), None),
    };
    let (kind, id, name) = words(event.object());
    Fields::new()
        .set("Action", action)
        .set("Kind", kind)
        .set("ID", id)
        .set("Name", name)
        .opt("Before", before.map(spec))
        .opt("After", after.map(spec))
        .filled("ContentChanged", before.zip(after).is_some_and(|(old, new)| data(old) != data(new)))
        .into()
}

fn words(object: &store::Object) -> (&'static str, String, String) {
    match object {
        store::Object::Cluster(o) => ("cluster", o.id.to_string(), o.spec.name.clone()),
        store::Object::Node(o) => ("node", o.id.to_string(), o.display_name()),
        store::Object::Service(o) => ("service", o.id.to_string(), o.spec.name.clone()),
        store::Object::Task(o) => ("task", o.id.to_string(), o.name()),
        store::Object::Network(o) => ("network", o.id.to_string(), o.spec.name.clone()),
        store::Object::Secret(o) => ("secret", o.id.to_string(), o.spec.name.clone()),
        store::Object::Config(o) => ("config", o.id.to_string(), o.spec.name.clone()),
    }
}

/// What users give, without the contents of secrets and configs.
fn spec(object: &store::Object) -> Value {
    let labelled = |name: &str, labels| json!({ "Name": name, "Labels": strings(labels) });
    match object {
        store::Object::Service(o) => write_service_spec(&o.spec),
        store::Object::Network(o) => write_network(o).into(),
        store::Object::Secret(o) => labelled(&o.spec.name, &o.spec.labels),
        store::Object::Config(o) => labelled(&o.spec.name, &o.spec.labels),
        store::Object::Cluster(_) | store::Object::Node(_) | store::Object::Task(_) => Value::Null,
    }
}

fn data(object: &store::Object) -> &[u8] {
    match object {
        store::Object::Secret(o) => o.spec.data.expose(),
        store::Object::Config(o) => &o.spec.data,
        store::Object::Cluster(_)
        | store::Object::Node(_)
        | store::Object::Service(_)
        | store::Object::Task(_)
        | store::Object::Network(_) => &[],
    }
}

fn write_action(action: &Action, view: &View) -> Value {
    let hostname = |id: NodeId| view.node(id).map_or_else(|| id.to_string(), |node| node.display_name());
    let mut fields = Fields::new()
        .set("Step", action.step)
        .set("After", u64::try_from(action.after.as_nanos()).unwrap_or(u64::MAX))
        .set("Service", action.name.as_str());
    fields = match action.place {
        Place::Slot(slot) => fields.set("Slot", slot),
        Place::Node(node) => fields.set("PlaceNode", node.to_string()).set("PlaceHostname", hostname(node)),
    };
    let (word, from, to) = match &action.deed {
        Deed::Start { node } => ("start", None, Some(*node)),
        Deed::Stop { node } => ("stop", Some(*node), None),
        Deed::Replace { from, to, start_first } => {
            fields = fields.set("Order", if *start_first { "start-first" } else { "stop-first" });
            ("replace", Some(*from), Some(*to))
        }
        Deed::Move { from, to } => ("move", Some(*from), Some(*to)),
        Deed::Wait { reason } => {
            fields = fields.set("Reason", reason.as_str());
            ("wait", None, None)
        }
    };
    fields
        .set("Action", word)
        .opt("From", from.map(|id| id.to_string()))
        .opt("FromHostname", from.map(hostname))
        .opt("To", to.map(|id| id.to_string()))
        .opt("ToHostname", to.map(hostname))
        .into()
}

fn write_outlook(outlook: &Outlook) -> Value {
    json!({
        "ID": outlook.service.id.to_string(),
        "Name": outlook.service.spec.name,
        "Up": outlook.up,
        "Wanted": outlook.wanted,
        "Job": outlook.service.job.is_some(),
        "Message": outlook.message,
    })
}
