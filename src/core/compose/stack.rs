//! The stack that the files describe: core specifications under the names docker gives them (`shop_web`,
//! `shop_default`), references to other objects still by name.
//!
//! Built once by `load`. The caller makes or finds the objects, then turns each service into a
//! [`ServiceSpec`] with [`StackService::resolve`].

use super::interpolate::join;
use super::origin::Origins;
use super::report::{Report, closest};
use super::value::{Entry, Node, Pos};
use super::{Files, LABEL_NAMESPACE, depends, rehearse, service, unserved, unused};
use crate::model::{
    CONFIG_BYTES_MAX, ConfigReference, ConfigSpec, FileTarget, IpamSubnet, Labels, NetworkDriver, NetworkSpec,
    NetworkTarget, SECRET_BYTES_MAX, SecretReference, SecretSpec, ServiceSpec,
};
use crate::{ConfigId, NetworkId, SecretId, Sensitive};
use std::collections::{BTreeMap, BTreeSet};

/// Longest name of a stack: names of services are built from it, and those are host names (RFC 1123).
const STACK_NAME_CHARS_MAX: usize = 63;

/// What the files describe. Names are final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    pub name: String,
    /// To be made: those that a service uses, sorted by name.
    pub networks: Vec<NetworkSpec>,
    /// Names of networks that must exist already.
    pub external_networks: BTreeSet<String>,
    /// To be made.
    pub secrets: Vec<SecretSpec>,
    /// Names of secrets that must exist already and are used.
    pub external_secrets: BTreeSet<String>,
    /// To be made.
    pub configs: Vec<ConfigSpec>,
    /// Names of configs that must exist already and are used.
    pub external_configs: BTreeSet<String>,
    /// Sorted by name.
    pub services: Vec<StackService>,
}

/// A service whose networks, secrets and configs are known by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackService {
    /// Complete but for `task.networks`, `task.container.secrets` and `.configs`, which are empty.
    pub spec: ServiceSpec,
    pub networks: Vec<Attachment>,
    pub secrets: Vec<FileUse>,
    pub configs: Vec<FileUse>,
}

/// A network of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    pub network: String,
    pub aliases: Vec<String>,
    pub driver_options: BTreeMap<String, String>,
}

/// A secret or config of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileUse {
    pub name: String,
    pub file: FileTarget,
}

/// From names to ids, in the cluster the stack goes to.
pub trait Lookup {
    fn network(&self, name: &str) -> Option<NetworkId>;
    fn secret(&self, name: &str) -> Option<SecretId>;
    fn config(&self, name: &str) -> Option<ConfigId>;
}

/// A service names what the cluster does not have. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("service {service}: there is no {kind} {name}; make it first, or declare it in the file without external")]
pub struct UnknownName {
    pub service: String,
    /// `network`, `secret` or `config`.
    pub kind: &'static str,
    pub name: String,
}

impl StackService {
    /// The specification with ids in place of names.
    pub fn resolve(&self, lookup: &dyn Lookup) -> Result<ServiceSpec, UnknownName> {
        let unknown = |kind, name: &str| UnknownName { service: self.spec.name.clone(), kind, name: name.to_owned() };
        let mut spec = self.spec.clone();
        for attachment in &self.networks {
            let target = lookup.network(&attachment.network).ok_or_else(|| unknown("network", &attachment.network))?;
            let (aliases, driver_options) = (attachment.aliases.clone(), attachment.driver_options.clone());
            spec.task.networks.push(NetworkTarget { target, aliases, driver_options });
        }
        for FileUse { name, file } in &self.secrets {
            let id = lookup.secret(name).ok_or_else(|| unknown("secret", name))?;
            spec.task.container.secrets.push(SecretReference {
                id,
                name: name.clone(),
                file: file.clone(),
                version: 0,
            });
        }
        for FileUse { name, file } in &self.configs {
            let id = lookup.config(name).ok_or_else(|| unknown("config", name))?;
            spec.task.container.configs.push(ConfigReference {
                id,
                name: name.clone(),
                file: file.clone(),
                version: 0,
            });
        }
        Ok(spec)
    }
}

/// What the conversion of a stack works with.
pub(crate) struct Context<'a> {
    pub root: &'a Node,
    pub stack: &'a str,
    pub report: &'a mut Report,
    /// Keys of networks that services use.
    pub used_networks: BTreeSet<String>,
    pub used_secrets: BTreeSet<String>,
    pub used_configs: BTreeSet<String>,
}

impl Context<'_> {
    /// The declaration `key` of `section`; an error at `at` when there is none.
    pub fn declared(&mut self, section: &str, key: &str, at: &Node, path: &str) -> Option<&Node> {
        let members = self.root.get(section).map_or(&[][..], Node::entries);
        if let Some(entry) = members.iter().find(|entry| entry.key == key) {
            return Some(&entry.node);
        }
        let hint = match closest(key, members.iter().map(|entry| entry.key.as_str())) {
            Some(meant) => format!("did you mean {meant}?"),
            // A service that is extended brings nothing of its file along but itself.
            None if at.pos.file != self.root.pos.file => {
                format!("add it below {section}: in {}", self.report.place(Pos { line: 0, ..self.root.pos }))
            }
            None => format!("add it below {section}: at the top of the file"),
        };
        self.report.error(at.pos, path, format!("{key} is not declared in {section} ({hint})"));
        None
    }

    /// The final name of what is declared as `key`.
    pub fn full_name(&self, section: &str, key: &str) -> String {
        let declared = self.root.get(section).and_then(|members| members.get(key));
        let named = declared.and_then(|node| node.get("name")).and_then(Node::as_text).filter(|name| !name.is_empty());
        named.map_or_else(|| format!("{}_{key}", self.stack), str::to_owned)
    }

    /// Labels of `node`, and the stack's.
    pub fn labels(&self, node: Option<&Node>) -> Labels {
        let mut labels = service::pairs(node);
        labels.insert(LABEL_NAMESPACE.to_owned(), self.stack.to_owned());
        labels
    }
}

/// The stack's name: given by the caller, else written in the file.
fn stack_name<'a>(root: &'a Node, given: Option<&'a str>, report: &mut Report) -> Option<&'a str> {
    let written = root.get("name").filter(|node| !node.is_zero());
    let name = given.or_else(|| written.and_then(Node::as_text));
    let Some(name) = name else {
        report.error(root.pos, "", "the stack has no name; give one on the command line or with name: in the file");
        return None;
    };
    if let Some(node) = written
        && node.as_text() != Some(name)
    {
        report.warn(node.pos, "name", format!("the stack is deployed as {name}, the name in the file is not used"));
    }
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let starts = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !starts || !name.chars().all(fine) || name.len() > STACK_NAME_CHARS_MAX {
        let pos = written.map_or(root.pos, |node| node.pos);
        let message = format!(
            "a stack's name has 1 to {STACK_NAME_CHARS_MAX} letters, digits, dots, dashes and underscores, and begins with a letter or digit"
        );
        report.error(pos, "name", message);
        return None;
    }
    Some(name)
}

/// Makes the stack of the merged tree. `None`, or errors in `report`: do not use it.
pub(crate) fn build(
    root: &Node,
    given: Option<&str>,
    origins: &Origins,
    files: &dyn Files,
    report: &mut Report,
) -> Option<Stack> {
    let name = stack_name(root, given, report)?;
    let mut context = Context {
        root,
        stack: name,
        report,
        used_networks: BTreeSet::new(),
        used_secrets: BTreeSet::new(),
        used_configs: BTreeSet::new(),
    };
    let declared = root.get("services").map_or(&[][..], Node::entries);
    if declared.is_empty() {
        context.report.error(root.pos, "services", "the stack has no services");
    }
    let mut services: Vec<StackService> = declared.iter().map(|entry| service::service(&mut context, entry)).collect();
    depends::refuse_cycles(root, context.report);
    for found in unserved::find(root) {
        context.report.error(found.pos, &found.path, format!("not honoured: {}", found.instead));
    }
    services.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
    let mut stack = Stack {
        name: name.to_owned(),
        networks: Vec::new(),
        external_networks: BTreeSet::new(),
        secrets: Vec::new(),
        external_secrets: BTreeSet::new(),
        configs: Vec::new(),
        external_configs: BTreeSet::new(),
        services,
    };
    networks(&mut context, &mut stack);
    unused::warn(&mut context);
    contents(&mut context, &mut stack, origins, files);
    // A closer look is only worth it, and only possible, when each part is right by itself.
    if !context.report.failed() {
        rehearse::rehearse(&mut context, &stack);
    }
    Some(stack)
}

fn external(node: &Node) -> bool {
    node.get("external").and_then(Node::as_bool) == Some(true)
}

fn networks(context: &mut Context<'_>, stack: &mut Stack) {
    for key in context.used_networks.clone() {
        let name = context.full_name("networks", &key);
        let declared = context.root.get("networks").and_then(|networks| networks.get(&key));
        match declared {
            Some(node) if external(node) => {
                stack.external_networks.insert(name);
            }
            Some(node) => stack.networks.push(network(context, name, node, &join("networks", &key))),
            // Only `default` is used without a declaration.
            None => {
                let labels = context.labels(None);
                stack.networks.push(NetworkSpec { name, labels, ..NetworkSpec::default() });
            }
        }
    }
    stack.networks.sort_by(|a, b| a.name.cmp(&b.name));
}

/// Why there is no network of this driver.
pub(crate) fn driver_trouble(driver: &str) -> Option<&'static str> {
    match driver {
        "" | "overlay" | "default" | "bridge" => None,
        "host" | "none" => Some("this network exists already; declare it with external: true and its name"),
        _ => Some("unknown driver; only overlay is supported"),
    }
}

fn network(context: &mut Context<'_>, name: String, node: &Node, path: &str) -> NetworkSpec {
    let flag = |key| node.get(key).and_then(Node::as_bool) == Some(true);
    if let Some(driver) = node.get("driver") {
        let word = driver.as_text().unwrap_or_default();
        if word == "bridge" {
            let message = "a bridge network lives on one host; an overlay network between all hosts is made";
            context.report.warn(driver.pos, &join(path, "driver"), message);
        } else if let Some(trouble) = driver_trouble(word) {
            context.report.error(driver.pos, &join(path, "driver"), trouble);
        }
    }
    let path = join(path, "ipam.config");
    let mut ipam = Vec::new();
    let config = node.get("ipam").and_then(|ipam| ipam.get("config"));
    for (index, item) in config.map_or(&[][..], Node::items).iter().enumerate() {
        ipam.extend(subnet(context, item, &format!("{path}[{index}]")));
    }
    NetworkSpec {
        name,
        labels: context.labels(node.get("labels")),
        driver: NetworkDriver::Overlay,
        driver_options: service::pairs(node.get("driver_opts")),
        internal: flag("internal"),
        attachable: flag("attachable"),
        ingress: false,
        ipv6: flag("enable_ipv6"),
        ipam,
    }
}

fn subnet(context: &mut Context<'_>, item: &Node, path: &str) -> Option<IpamSubnet> {
    let Some(subnet) = item.get("subnet").filter(|subnet| !subnet.is_zero()) else {
        context.report.error(item.pos, path, "subnet is missing");
        return None;
    };
    Some(IpamSubnet {
        subnet: service::parsed(context, Some(subnet), &join(path, "subnet"), "a subnet such as 10.1.0.0/24")?,
        gateway: service::parsed(context, item.get("gateway"), &join(path, "gateway"), "an IP address"),
        range: service::parsed(context, item.get("ip_range"), &join(path, "ip_range"), "a subnet such as 10.1.0.0/26"),
    })
}

fn contents(context: &mut Context<'_>, stack: &mut Stack, origins: &Origins, files: &dyn Files) {
    let root = context.root;
    for entry in root.get("secrets").map_or(&[][..], Node::entries) {
        let name = context.full_name("secrets", &entry.key);
        if external(&entry.node) {
            if context.used_secrets.contains(&entry.key) {
                stack.external_secrets.insert(name);
            }
        } else if let Some(data) = content(context, "secrets", entry, SECRET_BYTES_MAX, origins, files) {
            let labels = context.labels(entry.node.get("labels"));
            let templated = templated(context, "secrets", entry);
            stack.secrets.push(SecretSpec { name, labels, data: Sensitive::new(data), templated });
        }
    }
    for entry in root.get("configs").map_or(&[][..], Node::entries) {
        let name = context.full_name("configs", &entry.key);
        if external(&entry.node) {
            if context.used_configs.contains(&entry.key) {
                stack.external_configs.insert(name);
            }
        } else if let Some(data) = content(context, "configs", entry, CONFIG_BYTES_MAX, origins, files) {
            let labels = context.labels(entry.node.get("labels"));
            let templated = templated(context, "configs", entry);
            stack.configs.push(ConfigSpec { name, labels, data, templated });
        }
    }
    stack.secrets.sort_by(|a, b| a.name.cmp(&b.name));
    stack.configs.sort_by(|a, b| a.name.cmp(&b.name));
}

/// Whether the content is a template.
fn templated(context: &mut Context<'_>, section: &str, entry: &Entry) -> bool {
    let Some(node) = entry.node.get("template_driver").filter(|node| !node.is_zero()) else { return false };
    let driver = node.as_text().unwrap_or_default();
    if driver != "golang" {
        let path = join(&join(section, &entry.key), "template_driver");
        context.report.error(node.pos, &path, format!("template driver {driver} is not known; use golang"));
    }
    true
}

/// The bytes of a secret or config, from a file, a variable or the compose file itself.
fn content(
    context: &mut Context<'_>,
    section: &str,
    entry: &Entry,
    bytes_max: usize,
    origins: &Origins,
    files: &dyn Files,
) -> Option<Vec<u8>> {
    let path = join(section, &entry.key);
    for key in ["driver", "driver_opts"] {
        if let Some(node) = entry.node.get(key).filter(|node| !node.is_zero()) {
            context.report.error(
                node.pos,
                &join(&path, key),
                "not honoured: only contents from this file are supported",
            );
            return None;
        }
    }
    let sources: Vec<(&str, &Node)> = ["file", "environment", "content"]
        .into_iter()
        .filter_map(|key| entry.node.get(key).map(|node| (key, node)))
        .collect();
    let [(kind, node)] = sources.as_slice() else {
        let wanted = if section == "configs" { "file, content, environment" } else { "file, environment" };
        let message = format!("needs exactly one of {wanted}, or external: true");
        context.report.error(entry.pos, &path, message);
        return None;
    };
    let text = node.as_text().unwrap_or_default();
    let data = match *kind {
        "content" => Ok(text.as_bytes().to_vec()),
        "environment" => match origins.of(node.pos).env.get(text) {
            Some(value) => Ok(value.as_bytes().to_vec()),
            None => Err(format!("the variable {text} is not set")),
        },
        _ => files.read(text).map_err(|why| format!("cannot read {text}: {why}")),
    };
    match data {
        Ok(data) if data.len() > bytes_max => {
            let message = format!("has {} bytes; at most {bytes_max} are allowed", data.len());
            context.report.error(node.pos, &join(&path, kind), message);
            None
        }
        Ok(data) => Some(data),
        Err(why) => {
            context.report.error(node.pos, &join(&path, kind), why);
            None
        }
    }
}
