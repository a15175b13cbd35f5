//! Contents of secrets and configs on a node, and templates: what is drawn of them, and what has to come out.

use crate::agent::Agent;
use crate::check::{CONTENTS_THERE, FILLED_IN, NEED_TO_KNOW};
use crate::host::description;
use crate::net::HostId;
use crate::world::World;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, IteratorRandom};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use swarm_core::dispatch::Assignments;
use swarm_core::model::{Config, ContainerSpec, ContentId, MountSource, Secret, Task};
use swarm_core::spec::mounts;
use swarm_core::store::View;
use swarm_core::template::task::{NodeFacts, fill_container, fill_content};
use swarm_core::{ConfigId, SecretId};

/// What templates of fields are made of; the values are in [`value`].
const FIELDS: [&str; 5] =
    ["{{.Service.Name}}", "{{.Task.Slot}}", "{{.Task.ID}}", "{{.Node.Hostname}}", "{{.Node.Platform.OS}}"];
/// And those of contents besides.
const LOOKUPS: [&str; 4] = ["{{env \"N\"}}", "{{env \"SLOT\"}}", "{{config \"config0\"}}", "{{secret \"secret0\"}}"];

/// A template for a field of a container.
pub fn field(rng: &mut StdRng) -> String {
    FIELDS.choose_multiple(rng, 2).copied().collect::<Vec<_>>().join("-")
}

/// A content, and whether it is a template.
pub fn content(rng: &mut StdRng, templates: bool) -> (Vec<u8>, bool) {
    let templated = templates && rng.random_bool(0.5);
    let mut text = format!("content {} ", rng.random_range(0..1000));
    if templated {
        let count = rng.random_range(1..=2);
        text.extend(FIELDS.iter().choose_multiple(rng, count).into_iter().copied());
        // What a service does not have can not be filled in.
        text.extend(LOOKUPS.iter().choose(rng).filter(|_| rng.random_bool(0.3)).copied());
    }
    (text.into_bytes(), templated)
}

/// What a node was given, by id and version of the content.
#[derive(Debug, Default)]
pub struct Held {
    secrets: BTreeMap<(SecretId, u64), Arc<Secret>>,
    configs: BTreeMap<(ConfigId, u64), Arc<Config>>,
}

impl Held {
    pub fn take(&mut self, assignments: &Assignments) {
        if assignments.complete {
            *self = Self::default();
        }
        let secrets = assignments.secrets.iter().map(|secret| ((secret.id, secret.content_version), secret.clone()));
        self.secrets.extend(secrets);
        let configs = assignments.configs.iter().map(|config| ((config.id, config.content_version), config.clone()));
        self.configs.extend(configs);
        self.secrets.retain(|id, _| !assignments.removed_secrets.contains(id));
        self.configs.retain(|id, _| !assignments.removed_configs.contains(id));
    }

    fn all(&self) -> impl Iterator<Item = (ContentId, u64)> {
        let secrets = self.secrets.keys().map(|(id, version)| (ContentId::Secret(*id), *version));
        secrets.chain(self.configs.keys().map(|(id, version)| (ContentId::Config(*id), *version)))
    }

    /// The data, and whether it is a template.
    fn get(&self, content: ContentId, version: u64) -> Option<(&[u8], bool)> {
        match content {
            ContentId::Secret(id) => {
                let secret = self.secrets.get(&(id, version))?;
                Some((secret.spec.data.expose(), secret.spec.templated))
            }
            ContentId::Config(id) => {
                let config = self.configs.get(&(id, version))?;
                Some((&config.spec.data, config.spec.templated))
            }
        }
    }

    /// As the daemon does: the fields first, then each content.
    fn fill(&self, task: &Task, node: &NodeFacts) -> Result<(ContainerSpec, Vec<String>), String> {
        let spec = fill_container(task, node)?;
        mounts(&spec.mounts, |_| false).map_err(|refusal| refusal.to_string())?;
        let find = |content, version| self.get(content, version).map(|(data, _)| data);
        let mut filled = Vec::new();
        for (content, version) in spec.contents() {
            let Some((data, true)) = self.get(content, version) else { continue };
            let text = fill_content(content, data, task, &spec, node, &find);
            filled.push(text.map_err(|fault| fault.discreet().to_string())?.text.into_inner());
        }
        Ok((spec, filled))
    }

    /// What is to come out, by the words of the templates alone; `None` when something in them is nowhere.
    fn expected(&self, task: &Task, hostname: &str) -> Option<(Vec<String>, Vec<String>)> {
        let value = |action: &str| value(action, task, hostname);
        let fields = fields(&task.spec.container).map(|text| replaced(text, &value)).collect::<Option<Vec<_>>>()?;
        let spec = &task.spec.container;
        let lookup = |action: &str| match action.split_once(' ') {
            None => value(action),
            Some((function, name)) => {
                let name = name.trim_matches('"');
                let content = match function {
                    "env" => {
                        let of = |entry: &&String| entry.split_once('=').is_some_and(|(key, _)| key == name);
                        let entry = spec.env.iter().rfind(of).map(|entry| &entry[name.len() + 1..]);
                        return replaced(entry.unwrap_or_default(), &value);
                    }
                    "secret" => {
                        spec.secrets.iter().find(|r| r.name == name).map(|r| (ContentId::Secret(r.id), r.version))
                    }
                    _config => {
                        spec.configs.iter().find(|r| r.name == name).map(|r| (ContentId::Config(r.id), r.version))
                    }
                };
                let (content, version) = content?;
                Some(String::from_utf8_lossy(self.get(content, version)?.0).into_owned())
            }
        };
        let contents = spec.contents().filter_map(|(content, version)| self.get(content, version));
        let templates = contents.filter(|(_, templated)| *templated);
        let filled = templates.map(|(data, _)| replaced(&String::from_utf8_lossy(data), &lookup));
        Some((fields, filled.collect::<Option<_>>()?))
    }
}

/// The texts of a container that are drawn as templates.
fn fields(spec: &ContainerSpec) -> impl Iterator<Item = &str> {
    let sources = spec.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Volume { name, .. } => Some(name.as_str()),
        MountSource::Bind { .. } | MountSource::Tmpfs { .. } => None,
    });
    spec.env.iter().map(String::as_str).chain([spec.hostname.as_str()]).chain(sources)
}

fn value(action: &str, task: &Task, hostname: &str) -> Option<String> {
    Some(match action {
        ".Service.Name" => task.service_name.clone(),
        ".Task.Slot" if task.slot == 0 => task.node?.to_string(),
        ".Task.Slot" => task.slot.to_string(),
        ".Task.ID" => task.id.to_string(),
        ".Node.Hostname" => hostname.to_owned(),
        ".Node.Platform.OS" => "linux".to_owned(),
        _other => return None,
    })
}

/// With every `{{action}}` replaced by its value.
fn replaced(text: &str, value: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("{{") {
        let (action, after) = after.split_once("}}")?;
        out = out + before + &value(action)?;
        rest = after;
    }
    Some(out + rest)
}

/// Whether the templates that a container has by now name only what it has.
pub fn is_fillable(view: &View, spec: &ContainerSpec) -> bool {
    let texts = spec.contents().filter_map(|(content, version)| match content {
        ContentId::Secret(id) => {
            let secret = view.secret(id)?.at(version).filter(|secret| secret.spec.templated)?;
            Some(String::from_utf8_lossy(secret.spec.data.expose()).into_owned())
        }
        ContentId::Config(id) => {
            let config = view.config(id)?.at(version).filter(|config| config.spec.templated)?;
            Some(String::from_utf8_lossy(&config.spec.data).into_owned())
        }
    });
    let has = |text: &str| {
        let secret = spec.secrets.iter().any(|r| r.name == "secret0") || !text.contains("{{secret");
        secret && (spec.configs.iter().any(|r| r.name == "config0") || !text.contains("{{config"))
    };
    texts.into_iter().all(|text| has(&text))
}

impl World {
    /// Why a task can not have its files: something it refers to is not here, or a template is not to be filled in.
    pub fn without_files(&mut self, host: HostId, task: &Task) -> Option<String> {
        let agent = &self.hosts[host].daemon.as_ref()?.agent;
        if let Some(missing) = missing(agent, task) {
            let wanted = agent.tasks.get(&task.id).is_some_and(|local| local.task.is_wanted());
            // What was removed meanwhile is on no node: a task of an earlier version of its service is refused then.
            let exists = task.spec.container.contents().all(|(content, _)| self.check.has_content(content));
            if wanted && exists {
                self.check.fail(CONTENTS_THERE, format!("h{host} task {}: {missing}", task.id));
            }
            return Some(missing);
        }
        let here = description(self.settings.asks, host);
        let node = NodeFacts { id: task.node, hostname: here.hostname, platform: here.platform };
        let (filled, expected) = (agent.held.fill(task, &node), agent.held.expected(task, &node.hostname));
        let as_it_says = match (&filled, &expected) {
            (Ok((spec, contents)), Some((texts, data))) => fields(spec).eq(texts) && contents == data,
            (Err(_), None) => true,
            (Ok(_), None) | (Err(_), Some(_)) => false,
        };
        if !as_it_says {
            self.check.fail(FILLED_IN, format!("h{host} task {}: {filled:?}, not {expected:?}", task.id));
        }
        filled.err()
    }

    /// A node keeps nothing that none of its tasks refers to.
    pub fn contents_are_needed(&mut self, host: HostId) {
        let Some(agent) = self.hosts[host].daemon.as_ref().map(|daemon| &daemon.agent) else { return };
        let tasks = agent.tasks.values().flat_map(|local| local.task.spec.container.contents());
        let needed: BTreeSet<(ContentId, u64)> = tasks.collect();
        if let Some((content, version)) = agent.held.all().find(|content| !needed.contains(content)) {
            self.check.fail(NEED_TO_KNOW, format!("h{host} keeps content {version} of {content}"));
        }
    }
}

/// A secret or config the task refers to and the node does not have.
fn missing(agent: &Agent, task: &Task) -> Option<String> {
    let lacks = |(content, version): &(ContentId, u64)| agent.held.get(*content, *version).is_none();
    let (content, version) = task.spec.container.contents().find(lacks)?;
    Some(format!("content {version} of {content} is not on this node"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_expected_to_say_its_values() {
        let value = |action: &str| (action == ".Task.Slot").then(|| "7 {{.Task.ID}}".to_owned());
        assert_eq!(replaced("a {{.Task.Slot}}b", &value), Some("a 7 {{.Task.ID}}b".to_owned()));
        assert_eq!(replaced("a {{.Task.Slot}} {{.Nothing}}", &value), None);
    }
}
