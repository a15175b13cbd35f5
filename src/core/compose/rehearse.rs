//! Would a cluster take this stack? It is made in an empty one, in memory, before anything is made in the real one:
//! what is refused for itself, or because two parts of the stack clash, is an error with a place in the file,
//! and nothing is left half made.
//!
//! Called by `stack` when every part is right by itself.

use super::interpolate::join;
use super::stack::{Context, Lookup, Stack};
use super::value::{Node, Pos};
use crate::control::{Refusal, create_config, create_network, create_secret, create_service};
use crate::model::{ConfigSpec, NetworkSpec, SecretSpec};
use crate::store::{Store, Txn, View};
use crate::{ConfigId, NetworkId, SecretId, Sensitive, ServiceId, WallTime};
use std::collections::BTreeMap;

const NOW: WallTime = WallTime(0);

struct Rehearsal<'a, 'c> {
    context: &'a mut Context<'c>,
    store: Store,
    /// Ids and log indexes are drawn from it.
    next: u64,
}

struct Names(View);

impl Lookup for Names {
    fn network(&self, name: &str) -> Option<NetworkId> {
        self.0.network_by_name(name).map(|network| network.id)
    }

    fn secret(&self, name: &str) -> Option<SecretId> {
        self.0.secret_by_name(name).map(|secret| secret.id)
    }

    fn config(&self, name: &str) -> Option<ConfigId> {
        self.0.config_by_name(name).map(|config| config.id)
    }
}

/// Makes `stack` in an empty cluster and reports what is refused.
pub(crate) fn rehearse(context: &mut Context<'_>, stack: &Stack) {
    let mut rehearsal = Rehearsal { context, store: Store::new(), next: 0 };
    rehearsal.networks(stack);
    rehearsal.contents(stack);
    // One wrong object would make each of its users wrong too.
    if !rehearsal.context.report.failed() {
        rehearsal.services(stack);
    }
}

/// Which key of a service a refusal is about: it begins with the path of a field of the API. With it the words to show:
/// without that path where the key says as much.
fn part(failure: &str) -> Option<(&'static str, &str)> {
    const TELLING: [(&str, &str); 3] = [
        ("TaskTemplate.ContainerSpec.Image", "image"),
        ("TaskTemplate.ContainerSpec.Mounts[", "volumes"),
        ("EndpointSpec.Ports[", "ports"),
    ];
    const OTHERS: [(&str, &str); 9] = [
        ("TaskTemplate.LogDriver", "logging"),
        ("TaskTemplate.ContainerSpec.Hostname", "hostname"),
        ("TaskTemplate.Networks[", "networks"),
        ("TaskTemplate.ContainerSpec.Healthcheck", "healthcheck"),
        ("TaskTemplate.Placement", "deploy"),
        ("TaskTemplate.Resources", "deploy"),
        ("Swarm.Autoscale", "deploy"),
        ("Swarm.Readiness", "deploy"),
        ("Swarm.Liveness", "deploy"),
    ];
    let of = |parts: &[(&str, &'static str)]| {
        parts.iter().find(|(path, _)| failure.starts_with(path)).map(|(_, part)| *part)
    };
    let words = failure.split_once(": ").map_or(failure, |(_, words)| words);
    of(&TELLING).map(|part| (part, words)).or_else(|| of(&OTHERS).map(|part| (part, failure)))
}

/// Without what the place in the file says already.
fn by_itself(failure: &str) -> String {
    failure.strip_prefix("Name: ").or_else(|| failure.strip_prefix("Data: ")).unwrap_or(failure).to_owned()
}

impl Rehearsal<'_, '_> {
    fn id(&mut self) -> u128 {
        self.next += 1;
        u128::from(self.next)
    }

    /// Why it is refused.
    fn refusal(&mut self, made: Result<Txn, Refusal>) -> Option<String> {
        self.next += 1;
        match made {
            Ok(txn) => self.store.apply(self.next, 1, &txn).err().map(|conflict| conflict.to_string()),
            // The ids are those of the rehearsal and mean nothing to anyone.
            Err(refusal) => {
                let ids = (1..=self.next).map(|id| format!(" ({})", ServiceId(u128::from(id))));
                Some(ids.fold(refusal.to_string(), |message, id| message.replace(&id, "")))
            }
        }
    }

    fn make(&mut self, made: Result<Txn, Refusal>, (pos, path): (Pos, String)) {
        if let Some(failure) = self.refusal(made) {
            self.context.report.error(pos, &path, by_itself(&failure));
        }
    }

    /// As above, at the key of the network that it is about.
    fn make_network(&mut self, made: Result<Txn, Refusal>, (pos, path): (Pos, String)) {
        let Some(failure) = self.refusal(made) else { return };
        const KEYS: [(&str, &str); 3] =
            [("Options.", "driver_opts"), ("IPAM.", "ipam"), ("EnableIPv6: ", "enable_ipv6")];
        let key = KEYS.iter().find(|(field, _)| failure.starts_with(field)).map(|(_, key)| *key);
        let node = key.and_then(|key| {
            let network = path.strip_prefix("networks.")?;
            self.context.root.get("networks")?.get(network)?.get(key)
        });
        match (key, node) {
            (Some(key), Some(node)) => self.context.report.error(node.pos, &join(&path, key), failure),
            (Some(_) | None, _) => self.context.report.error(pos, &path, by_itself(&failure)),
        }
    }

    /// As above, at the key of the service that it is about.
    fn make_service(&mut self, made: Result<Txn, Refusal>, key: &str, place: (Pos, String)) {
        let Some(failure) = self.refusal(made) else { return };
        let part = part(&failure);
        let service = self.context.root.get("services").and_then(|services| services.get(key));
        let node = part.and_then(|(part, _)| service?.get(part));
        match (part, node) {
            (Some((part, words)), Some(node)) => {
                self.context.report.error(node.pos, &join(&place.1, part), words.to_owned());
            }
            (Some(_) | None, _) => self.context.report.error(place.0, &place.1, by_itself(&failure)),
        }
    }

    /// Where each final name of a section is declared.
    fn places(&self, section: &str) -> BTreeMap<String, (Pos, String)> {
        let entries = self.context.root.get(section).map_or(&[][..], Node::entries).iter();
        let place = |key: &str, pos| (self.context.full_name(section, key), (pos, join(section, key)));
        entries.map(|entry| place(&entry.key, entry.pos)).collect()
    }

    fn networks(&mut self, stack: &Stack) {
        let places = self.places("networks");
        let existing = stack.external_networks.iter();
        let existing = existing.map(|name| NetworkSpec { name: name.clone(), ..NetworkSpec::default() });
        for spec in existing.chain(stack.networks.iter().cloned()) {
            let undeclared = || (self.context.root.pos, join("networks", &spec.name));
            let place = places.get(&spec.name).cloned().unwrap_or_else(undeclared);
            if stack.external_networks.contains(&spec.name) && ["host", "none", "bridge"].contains(&spec.name.as_str())
            {
                let message = format!("services on the network {} are not supported yet", spec.name);
                self.context.report.error(place.0, &place.1, message);
                continue;
            }
            let id = NetworkId(self.id());
            let made = create_network(&self.store.view(), spec, id, NOW);
            self.make_network(made, place);
        }
    }

    fn contents(&mut self, stack: &Stack) {
        let top = (self.context.root.pos, String::new());
        let places = self.places("secrets");
        // Contents of what exists already do not matter; empty ones are refused.
        let existing = |name: &String| (name.clone(), Default::default(), b"-".to_vec());
        let external = stack.external_secrets.iter().map(existing);
        let external = external.map(|(name, labels, data)| SecretSpec {
            name,
            labels,
            data: Sensitive::new(data),
            templated: false,
        });
        for spec in external.chain(stack.secrets.iter().cloned()) {
            let place = places.get(&spec.name).unwrap_or(&top).clone();
            let id = SecretId(self.id());
            let made = create_secret(&self.store.view(), spec, id, NOW);
            self.make(made, place);
        }
        let places = self.places("configs");
        let external = stack.external_configs.iter().map(existing);
        let external = external.map(|(name, labels, data)| ConfigSpec { name, labels, data, templated: false });
        for spec in external.chain(stack.configs.iter().cloned()) {
            let place = places.get(&spec.name).unwrap_or(&top).clone();
            let id = ConfigId(self.id());
            let made = create_config(&self.store.view(), spec, id, NOW);
            self.make(made, place);
        }
    }

    fn services(&mut self, stack: &Stack) {
        let entries = self.context.root.get("services").map_or(&[][..], Node::entries).iter();
        let name = |key: &str| format!("{}_{key}", stack.name);
        let places: BTreeMap<String, (Pos, String)> =
            entries.map(|entry| (name(&entry.key), (entry.pos, join("services", &entry.key)))).collect();
        for service in &stack.services {
            let place =
                places.get(&service.spec.name).cloned().unwrap_or((self.context.root.pos, "services".to_owned()));
            match service.resolve(&Names(self.store.view())) {
                Ok(spec) => {
                    let id = ServiceId(self.id());
                    let made = create_service(&self.store.view(), spec, id, NOW);
                    let key = service.spec.name.strip_prefix(&format!("{}_", stack.name)).unwrap_or_default();
                    self.make_service(made, key, place);
                }
                Err(unknown) => self.context.report.error(place.0, &place.1, unknown.to_string()),
            }
        }
    }
}
