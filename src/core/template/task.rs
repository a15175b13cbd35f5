//! Templates of services: what is filled in on the task's node, for each task.
//!
//! In the environment, the host name, and the sources, targets and volume labels of mounts; and in the contents of
//! configs and secrets that say so. Names as in docker: `.Service.ID`, `.Service.Name`, `.Service.Labels`, `.Node.ID`,
//! `.Node.Hostname`, `.Node.Platform.OS`, `.Node.Platform.Architecture`, `.Task.ID`, `.Task.Name`, `.Task.Slot`; in
//! contents also `env`, `secret` and `config`, the latter two by the name of the file in the container or of the object.
//! What they name is put in as it is: a template in it is not filled in.

use super::{Fault, Limits, Mention, Mode, Named, Template, Uses};
use crate::NodeId;
use crate::model::{CONFIG_BYTES_MAX, ContainerSpec, ContentId, Labels, MountSource, Platform, SECRET_BYTES_MAX, Task};
use serde_json::{Value, json};
use std::cell::Cell;

/// Of a host name (Linux: `HOST_NAME_MAX`).
const HOSTNAME_BYTES_MAX: usize = 64;
/// Of a path of a mount (Linux: `PATH_MAX`).
const PATH_BYTES_MAX: usize = 4096;
/// Of a variable (Linux: `MAX_ARG_STRLEN`, name and end included).
const ENV_BYTES_MAX: usize = 128 * 1024;
/// Of all values on the way to one field or content: some tens of times the largest of them.
const WORK_BYTES_MAX: usize = 64 << 20;

/// What a template can know of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    pub id: Option<NodeId>,
    pub hostname: String,
    pub platform: Platform,
}

/// Whether there is anything to fill in.
pub fn is_template(text: &str) -> bool {
    text.contains("{{")
}

fn limits(output_bytes: usize) -> Limits {
    Limits { output_bytes, work_bytes: WORK_BYTES_MAX }
}

/// What the fields of templates are for one task.
fn values(task: &Task, node: &NodeFacts) -> Value {
    let id = task.node.or(node.id).map(|id| id.to_string()).unwrap_or_default();
    // As in docker the node stands for the slot where there is none.
    let slot = if task.slot == 0 { id.clone() } else { task.slot.to_string() };
    json!({
        "Service": { "ID": task.service.to_string(), "Name": task.service_name, "Labels": task.service_labels },
        "Node": {
            "ID": id,
            "Hostname": node.hostname,
            "Platform": { "OS": node.platform.os, "Architecture": node.platform.architecture },
        },
        "Task": { "ID": task.id.to_string(), "Name": task.name(), "Slot": slot },
    })
}

/// Every text of a container that may be a template: its place below `ContainerSpec`, its largest length, and itself.
fn fields_mut(spec: &mut ContainerSpec) -> impl Iterator<Item = (String, usize, &mut String)> {
    let env = spec.env.iter_mut().enumerate().map(|(at, entry)| (format!("Env[{at}]"), ENV_BYTES_MAX, entry));
    let hostname = std::iter::once(("Hostname".to_owned(), HOSTNAME_BYTES_MAX, &mut spec.hostname));
    let mounts = spec.mounts.iter_mut().enumerate().flat_map(|(at, mount)| {
        let place = format!("Mounts[{at}]");
        let mut fields = vec![(format!("{place}.Target"), PATH_BYTES_MAX, &mut mount.target)];
        match &mut mount.source {
            MountSource::Bind { path, .. } => fields.push((format!("{place}.Source"), PATH_BYTES_MAX, path)),
            MountSource::Volume { name, labels, .. } => {
                fields.push((format!("{place}.Source"), PATH_BYTES_MAX, name));
                let labels = labels.iter_mut();
                fields.extend(
                    labels.map(|(key, value)| (format!("{place}.VolumeOptions.Labels[{key}]"), ENV_BYTES_MAX, value)),
                );
            }
            MountSource::Tmpfs { .. } => {}
        }
        fields
    });
    env.chain(hostname).chain(mounts)
}

/// Whether a container has anything to fill in.
pub fn has_templates(spec: &ContainerSpec) -> bool {
    fields_mut(&mut spec.clone()).any(|(_, _, text)| is_template(text))
}

/// The part of an entry of `Env` that is a template: what comes after the name.
fn split(place: &str, text: &str) -> (String, String) {
    match text.split_once('=') {
        Some((name, value)) if place.starts_with("Env[") => (format!("{name}="), value.to_owned()),
        Some(_) | None => (String::new(), text.to_owned()),
    }
}

/// The container of a task on this node, with everything filled in. The error names the field.
pub fn fill_container(task: &Task, node: &NodeFacts) -> Result<ContainerSpec, String> {
    let mut spec = task.spec.container.clone();
    let values = values(task, node);
    for (place, bytes_max, text) in fields_mut(&mut spec).filter(|(_, _, text)| is_template(text)) {
        let (head, template) = split(&place, text);
        let filled = Template::parse(&template, Uses::Fields)
            .and_then(|template| template.render(&values, Mode::Strict, limits(bytes_max)));
        *text = head + &filled.map_err(|fault| format!("{place}: {fault}"))?;
    }
    Ok(spec)
}

/// Whether the templates in a container's fields can be filled in, as far as that can be told without a node. The error
/// names the field, below `ContainerSpec`.
pub fn check_container(spec: &ContainerSpec, service_labels: &Labels) -> Result<(), String> {
    let mut spec = spec.clone();
    for (place, _, text) in fields_mut(&mut spec).filter(|(_, _, text)| is_template(text)) {
        let (_, template) = split(&place, text);
        let checked = Template::parse(&template, Uses::Fields)
            .and_then(|template| template.check(&|mention| known(mention, Some(service_labels), None)));
        checked.map_err(|fault| format!("{place}: {fault}"))?;
    }
    Ok(())
}

/// Whether a content is a template at all; `spec` and labels are of a service that uses it.
pub fn check_content(data: &[u8], of: Option<(&ContainerSpec, &Labels)>) -> Result<(), Fault> {
    let text = std::str::from_utf8(data).map_err(|_| Fault::new("a template is text in UTF-8, and this is not"))?;
    let (spec, labels) = (of.map(|(spec, _)| spec), of.map(|(_, labels)| labels));
    Template::parse(text, Uses::Contents)?.check(&|mention| known(mention, labels, spec))
}

/// Labels and references are only known where there is a service.
fn known(mention: Mention<'_>, labels: Option<&Labels>, spec: Option<&ContainerSpec>) -> Result<(), String> {
    match mention {
        Mention::Field(path) => {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            match path.as_slice() {
                [] | ["Service" | "Node" | "Task"] => Ok(()),
                ["Service", "ID" | "Name" | "Labels"] | ["Task", "ID" | "Name" | "Slot"] => Ok(()),
                ["Node", "ID" | "Hostname" | "Platform"] | ["Node", "Platform", "OS" | "Architecture"] => Ok(()),
                ["Service", "Labels", key] if labels.is_none_or(|labels| labels.contains_key(*key)) => Ok(()),
                ["Service", "Labels", key] => Err(format!("the service has no label {key}")),
                path => Err(format!(
                    "there is no .{}: use .Service.ID, .Service.Name, .Service.Labels, .Node.ID, .Node.Hostname, .Node.Platform.OS, .Node.Platform.Architecture, .Task.ID, .Task.Name or .Task.Slot",
                    path.join(".")
                )),
            }
        }
        // As in docker a variable that is not there is empty.
        Mention::Named(Named::Env, _) => Ok(()),
        Mention::Named(named, name) => match spec {
            Some(spec) => referred(spec, named, name).map(drop),
            None => Ok(()),
        },
    }
}

/// What a template names by its file in the container or by its own name.
fn referred(spec: &ContainerSpec, named: Named, name: &str) -> Result<(ContentId, u64), String> {
    let (word, all): (_, Vec<_>) = match named {
        Named::Secret => {
            let all = spec.secrets.iter();
            ("secret", all.map(|r| (&r.file.name, &r.name, ContentId::Secret(r.id), r.version)).collect())
        }
        Named::Config => {
            let all = spec.configs.iter();
            ("config", all.map(|r| (&r.file.name, &r.name, ContentId::Config(r.id), r.version)).collect())
        }
        Named::Env | Named::Label => return Err("it is no file".to_owned()),
    };
    let by_file = all.iter().find(|(file, ..)| *file == name);
    let found = by_file.or_else(|| all.iter().find(|(_, own, ..)| *own == name));
    let found = found.map(|(_, _, content, version)| (*content, *version));
    found.ok_or_else(|| format!("the service has no {word} \"{name}\""))
}

/// A content, filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filled {
    pub text: crate::Sensitive<String>,
    /// The content of a secret was asked for: it is to be kept as one.
    pub is_secret: bool,
}

/// Where the contents of a task are looked up.
pub type Contents<'a> = &'a dyn Fn(ContentId, u64) -> Option<&'a [u8]>;

/// Fills in a content for a task, whose container `spec` is filled in already.
pub fn fill_content(
    kind: ContentId,
    data: &[u8],
    task: &Task,
    spec: &ContainerSpec,
    node: &NodeFacts,
    contents: Contents<'_>,
) -> Result<Filled, Fault> {
    let text = std::str::from_utf8(data).map_err(|_| Fault::new("a template is text in UTF-8, and this is not"))?;
    let (own_secret, bytes_max) = match kind {
        ContentId::Secret(_) => (true, SECRET_BYTES_MAX),
        ContentId::Config(_) => (false, CONFIG_BYTES_MAX),
    };
    let is_secret = Cell::new(own_secret);
    let lookup = |named: Named, name: &str| match named {
        Named::Env => {
            let mut entries = spec.env.iter().filter_map(|entry| entry.split_once('='));
            Ok(entries.rfind(|(key, _)| *key == name).map_or(String::new(), |(_, value)| value.to_owned()))
        }
        Named::Label => Err("there is no row to ask".to_owned()),
        Named::Secret | Named::Config => {
            let (content, version) = referred(spec, named, name)?;
            is_secret.set(is_secret.get() || named == Named::Secret);
            let data = contents(content, version).ok_or_else(|| format!("\"{name}\" has not arrived here"))?;
            let text = std::str::from_utf8(data).map_err(|_| format!("\"{name}\" is not text in UTF-8"))?;
            Ok(text.to_owned())
        }
    };
    let template = Template::parse(text, Uses::Contents)?;
    let text = template.render_with(&values(task, node), Mode::Strict, limits(bytes_max), &lookup)?;
    Ok(Filled { text: crate::Sensitive::new(text), is_secret: is_secret.get() })
}
