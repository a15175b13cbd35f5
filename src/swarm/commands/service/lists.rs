//! Flags of `service update` that add to lists and remove from them.

use super::options::CONTAINER;
use super::parse;
use crate::commands::common::pairs;
use crate::error::Result;
use crate::json::{drop_empty, int, list_mut, object_mut, text};
use clap::Args;
use serde_json::Value;

#[derive(Debug, Args)]
pub struct ListOptions {
    /// Add or change a label of the service, KEY=VALUE (may be repeated)
    #[arg(long, value_name = "LABEL")]
    label_add: Vec<String>,
    /// Remove a label (may be repeated)
    #[arg(long, value_name = "KEY")]
    label_rm: Vec<String>,
    /// Add a constraint (may be repeated)
    #[arg(long, value_name = "CONSTRAINT")]
    constraint_add: Vec<String>,
    /// Remove a constraint (may be repeated)
    #[arg(long, value_name = "CONSTRAINT")]
    constraint_rm: Vec<String>,
    /// Add a placement preference (may be repeated)
    #[arg(long, value_name = "PREFERENCE")]
    placement_pref_add: Vec<String>,
    /// Remove a placement preference (may be repeated)
    #[arg(long, value_name = "PREFERENCE")]
    placement_pref_rm: Vec<String>,
    /// Keep a generic resource for each task, KIND=AMOUNT (may be repeated)
    #[arg(long, value_name = "KIND=AMOUNT")]
    generic_resource_add: Vec<String>,
    /// Keep a generic resource no more (may be repeated)
    #[arg(long, value_name = "KIND")]
    generic_resource_rm: Vec<String>,
    /// Publish a port (may be repeated)
    #[arg(long, value_name = "PORT")]
    publish_add: Vec<String>,
    /// Publish a port no more, by its target (may be repeated)
    #[arg(long, value_name = "TARGET")]
    publish_rm: Vec<String>,
    /// Add a network (may be repeated)
    #[arg(long, value_name = "NETWORK")]
    network_add: Vec<String>,
    /// Remove a network (may be repeated)
    #[arg(long, value_name = "NETWORK")]
    pub network_rm: Vec<String>,
}

#[derive(Debug, Args)]
pub struct ContainerListOptions {
    /// Add or change an environment variable, KEY=VALUE (may be repeated)
    #[arg(long, value_name = "VARIABLE")]
    env_add: Vec<String>,
    /// Remove an environment variable (may be repeated)
    #[arg(long, value_name = "KEY")]
    env_rm: Vec<String>,
    /// Add or change a label of the containers, KEY=VALUE (may be repeated)
    #[arg(long, value_name = "LABEL")]
    container_label_add: Vec<String>,
    /// Remove a label of the containers (may be repeated)
    #[arg(long, value_name = "KEY")]
    container_label_rm: Vec<String>,
    /// Add or change a mount, by its target (may be repeated)
    #[arg(long, value_name = "MOUNT")]
    mount_add: Vec<String>,
    /// Remove a mount, by its target (may be repeated)
    #[arg(long, value_name = "TARGET")]
    mount_rm: Vec<String>,
    /// Add or change a secret (may be repeated)
    #[arg(long, value_name = "SECRET")]
    secret_add: Vec<String>,
    /// Remove a secret (may be repeated)
    #[arg(long, value_name = "SECRET")]
    secret_rm: Vec<String>,
    /// Add or change a config (may be repeated)
    #[arg(long, value_name = "CONFIG")]
    config_add: Vec<String>,
    /// Remove a config (may be repeated)
    #[arg(long, value_name = "CONFIG")]
    config_rm: Vec<String>,
    /// Add a line to the hosts file, NAME:ADDRESS (may be repeated)
    #[arg(long, value_name = "HOST")]
    host_add: Vec<String>,
    /// Remove a line of the hosts file (may be repeated)
    #[arg(long, value_name = "HOST")]
    host_rm: Vec<String>,
    /// Add a DNS server (may be repeated)
    #[arg(long, value_name = "ADDRESS")]
    dns_add: Vec<String>,
    /// Remove a DNS server (may be repeated)
    #[arg(long, value_name = "ADDRESS")]
    dns_rm: Vec<String>,
    /// Add a DNS option (may be repeated)
    #[arg(long, value_name = "OPTION")]
    dns_option_add: Vec<String>,
    /// Remove a DNS option (may be repeated)
    #[arg(long, value_name = "OPTION")]
    dns_option_rm: Vec<String>,
    /// Add a DNS search domain (may be repeated)
    #[arg(long, value_name = "DOMAIN")]
    dns_search_add: Vec<String>,
    /// Remove a DNS search domain (may be repeated)
    #[arg(long, value_name = "DOMAIN")]
    dns_search_rm: Vec<String>,
    /// Add a supplementary group (may be repeated)
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,
    /// Remove a supplementary group (may be repeated)
    #[arg(long, value_name = "GROUP")]
    group_rm: Vec<String>,
    /// Add or change a kernel setting, KEY=VALUE (may be repeated)
    #[arg(long, value_name = "SETTING")]
    sysctl_add: Vec<String>,
    /// Remove a kernel setting (may be repeated)
    #[arg(long, value_name = "KEY")]
    sysctl_rm: Vec<String>,
    /// Add or change a limit, NAME=SOFT[:HARD] (may be repeated)
    #[arg(long, value_name = "LIMIT")]
    ulimit_add: Vec<String>,
    /// Remove a limit (may be repeated)
    #[arg(long, value_name = "NAME")]
    ulimit_rm: Vec<String>,
}

/// Drops from a list what `matches` one of the words.
fn drop_from(spec: &mut Value, path: &str, words: &[String], matches: impl Fn(&Value, &str) -> bool) {
    if !words.is_empty() {
        list_mut(spec, path).retain(|item| !words.iter().any(|word| matches(item, word)));
    }
}

/// Adds to a list; what `same` as the new one goes.
fn add_to(spec: &mut Value, path: &str, new: Value, same: impl Fn(&Value, &Value) -> bool) {
    let list = list_mut(spec, path);
    list.retain(|item| !same(item, &new));
    list.push(new);
}

fn is_word(item: &Value, word: &str) -> bool {
    item.as_str() == Some(word)
}

/// Words of a list: removes, then adds what is not there.
fn words(spec: &mut Value, path: &str, remove: &[String], add: &[String]) {
    if remove.is_empty() && add.is_empty() {
        return;
    }
    drop_from(spec, path, remove, is_word);
    for word in add {
        add_to(spec, path, Value::from(word.as_str()), |a, b| a == b);
    }
    drop_empty(spec, path);
}

/// `KEY=VALUE` of an object: removes, then adds.
fn map(spec: &mut Value, path: &str, remove: &[String], add: &[String]) {
    if remove.is_empty() && add.is_empty() {
        return;
    }
    let fields = object_mut(spec, path);
    fields.retain(|key, _| !remove.contains(key));
    fields.extend(pairs(add));
}

impl ListOptions {
    pub fn change(&self, spec: &mut Value) -> Result<()> {
        map(spec, "/Labels", &self.label_rm, &self.label_add);
        let placement = "/TaskTemplate/Placement";
        words(spec, &format!("{placement}/Constraints"), &self.constraint_rm, &self.constraint_add);
        let preferences = format!("{placement}/Preferences");
        for word in &self.placement_pref_rm {
            let gone = parse::preference(word)?;
            list_mut(spec, &preferences).retain(|item| *item != gone);
        }
        for word in &self.placement_pref_add {
            add_to(spec, &preferences, parse::preference(word)?, |a, b| a == b);
        }
        drop_empty(spec, &preferences);
        super::placing::remove_generic(spec, &self.generic_resource_rm);
        super::placing::add_generic(spec, &self.generic_resource_add)?;
        self.change_ports(spec)?;
        for word in &self.network_add {
            let network = parse::network(word)?;
            list_mut(spec, "/TaskTemplate/Networks").push(network);
        }
        Ok(())
    }

    fn change_ports(&self, spec: &mut Value) -> Result<()> {
        let ports = "/EndpointSpec/Ports";
        for word in &self.publish_rm {
            let gone = parse::publish(word)?;
            let matches = |port: &Value, gone: &Value| {
                int(port, "/TargetPort") == int(gone, "/TargetPort")
                    && protocol(port) == protocol(gone)
                    && (gone.get("PublishedPort").is_none()
                        || int(port, "/PublishedPort") == int(gone, "/PublishedPort"))
            };
            list_mut(spec, ports).retain(|port| !gone.iter().any(|gone| matches(port, gone)));
        }
        for word in &self.publish_add {
            for port in parse::publish(word)? {
                add_to(spec, ports, port, |a, b| {
                    let key = |port: &Value| (int(port, "/PublishedPort"), int(port, "/TargetPort"), protocol(port));
                    key(a) == key(b)
                });
            }
        }
        if !self.publish_rm.is_empty() || !self.publish_add.is_empty() {
            drop_empty(spec, ports);
        }
        Ok(())
    }
}

fn protocol(port: &Value) -> String {
    match text(port, "/Protocol") {
        "" => "tcp".to_owned(),
        protocol => protocol.to_owned(),
    }
}

impl ContainerListOptions {
    pub fn change(&self, spec: &mut Value) -> Result<()> {
        let at = |field: &str| format!("{CONTAINER}/{field}");
        let key = |item: &Value| item.as_str().and_then(|item| item.split('=').next()).unwrap_or("").to_owned();
        drop_from(spec, &at("Env"), &self.env_rm, |item, word| key(item) == word);
        for word in self.env_add.iter().filter_map(|word| parse::variable(word)) {
            // A changed variable keeps its place.
            let env = list_mut(spec, &at("Env"));
            let new = Value::from(word);
            match env.iter_mut().find(|item| key(item) == key(&new)) {
                Some(item) => *item = new,
                None => env.push(new),
            }
        }
        drop_empty(spec, &at("Env"));
        map(spec, &at("Labels"), &self.container_label_rm, &self.container_label_add);
        map(spec, &at("Sysctls"), &self.sysctl_rm, &self.sysctl_add);
        words(spec, &at("Groups"), &self.group_rm, &self.group_add);
        words(spec, &at("DNSConfig/Nameservers"), &self.dns_rm, &self.dns_add);
        words(spec, &at("DNSConfig/Options"), &self.dns_option_rm, &self.dns_option_add);
        words(spec, &at("DNSConfig/Search"), &self.dns_search_rm, &self.dns_search_add);
        let lines = |words: &[String]| words.iter().map(|word| parse::host(word)).collect::<Result<Vec<String>>>();
        words(spec, &at("Hosts"), &lines(&self.host_rm)?, &lines(&self.host_add)?);
        self.change_mounts(spec)?;
        self.change_files(spec)
    }

    fn change_mounts(&self, spec: &mut Value) -> Result<()> {
        let (mounts, ulimits) = (format!("{CONTAINER}/Mounts"), format!("{CONTAINER}/Ulimits"));
        drop_from(spec, &mounts, &self.mount_rm, |mount, target| text(mount, "/Target") == target);
        for word in &self.mount_add {
            add_to(spec, &mounts, parse::mount(word)?, |a, b| text(a, "/Target") == text(b, "/Target"));
        }
        drop_empty(spec, &mounts);
        drop_from(spec, &ulimits, &self.ulimit_rm, |limit, name| text(limit, "/Name") == name);
        for word in &self.ulimit_add {
            add_to(spec, &ulimits, parse::ulimit(word)?, |a, b| text(a, "/Name") == text(b, "/Name"));
        }
        drop_empty(spec, &ulimits);
        Ok(())
    }

    fn change_files(&self, spec: &mut Value) -> Result<()> {
        let kinds = [("Secret", &self.secret_rm, &self.secret_add), ("Config", &self.config_rm, &self.config_add)];
        for (kind, remove, add) in kinds {
            let (path, name) = (format!("{CONTAINER}/{kind}s"), format!("/{kind}Name"));
            drop_from(spec, &path, remove, |item, word| text(item, &name) == word);
            for word in add {
                let reference = parse::file_reference(word)?;
                add_to(spec, &path, reference.to_api(kind, ""), |a, b| text(a, "/File/Name") == text(b, "/File/Name"));
            }
            drop_empty(spec, &path);
        }
        Ok(())
    }
}
