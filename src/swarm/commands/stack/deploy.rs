//! `swarm stack deploy` and `swarm stack config`.
//!
//! Makes what the files describe: secrets, configs, networks, then services, each with the stack's label.
//! What exists already is changed; what an error stops stays as far as it came, and the next run goes on from there.

use super::files::{FileArgs, Sources, failure, warn};
use super::{LABEL_NAMESPACE, existing, of_stack};
use crate::cli::Context;
use crate::client::{Client, segment};
use crate::commands::common::tell;
use crate::commands::content::rewrite;
use crate::commands::service::converge;
use crate::commands::service::options::CONTAINER;
use crate::commands::service::update;
use crate::error::{CliError, Result};
use crate::filter;
use crate::json::{int, list, object, object_mut, set, text, texts};
use crate::registry;
use crate::table::write_out;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use swarm_core::compose::{self, Canonical, LABEL_IMAGE, Loaded, Lookup, Stack, StackService};
use swarm_core::model::{Labels, MountSource, NetworkSpec};
use swarm_core::{ConfigId, NetworkId, SecretId};

#[derive(Debug, Args)]
pub struct DeployArgs {
    #[command(flatten)]
    files: FileArgs,
    /// Remove services of the stack that the files have no more, and those that are left out because their profile is off
    #[arg(long)]
    prune: bool,
    /// Do not wait until the services are as wanted
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    detach: bool,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
    /// Send the credentials for the registries of the images to the cluster
    #[arg(long)]
    with_registry_auth: bool,
    /// Name of the stack [default: COMPOSE_PROJECT_NAME, else the name in the files]
    #[arg(value_name = "STACK")]
    stack: Option<String>,
}

#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(flatten)]
    files: FileArgs,
    /// Leave variables as they are written
    #[arg(long)]
    skip_interpolation: bool,
}

/// Prints the merged files in canonical form.
pub fn config(args: &ConfigArgs) -> Result<()> {
    let canonical = canonical(&args.files.read()?, !args.skip_interpolation)?;
    warn(&canonical.warnings);
    write_out(&canonical.yaml);
    Ok(())
}

pub(super) fn canonical(sources: &Sources, expand: bool) -> Result<Canonical> {
    let print = if expand { compose::config } else { compose::config_uninterpolated };
    print(&sources.files, &sources.env, &sources.disk).map_err(failure)
}

pub(super) fn loaded(sources: &Sources, name: Option<&str>) -> Result<Loaded> {
    compose::load(name, &sources.files, &sources.env, &sources.disk).map_err(failure)
}

impl DeployArgs {
    /// Of a deployment that is planned and not made.
    pub(super) fn planned(files: FileArgs, prune: bool, stack: Option<String>) -> Self {
        Self { files, prune, detach: true, quiet: true, with_registry_auth: false, stack }
    }

    pub(super) fn load(&self) -> Result<Stack> {
        let Loaded { stack, warnings } = loaded(&self.files.read()?, self.stack.as_deref())?;
        warn(&warnings);
        Ok(stack)
    }
}

pub async fn run(context: &Context, args: &DeployArgs) -> Result<()> {
    // Files that are wrong are told of before anything is asked of the daemon.
    let stack = args.load()?;
    let client = &context.client().await?;
    let mut deploy = Deploy::new(client, &stack, args);
    deploy.check_external().await?;
    if args.prune {
        deploy.prune().await?;
    }
    deploy.contents().await?;
    deploy.networks().await?;
    deploy.tell_volumes().await?;
    let services = deploy.services().await?;
    if args.detach {
        return Ok(());
    }
    converge::wait_all(client, &services, args.quiet).await
}

/// Ids of what services refer to, by name.
#[derive(Default)]
pub(super) struct Ids {
    pub networks: BTreeMap<String, String>,
    pub secrets: BTreeMap<String, String>,
    pub configs: BTreeMap<String, String>,
}

impl Lookup for Ids {
    fn network(&self, name: &str) -> Option<NetworkId> {
        self.networks.get(name)?.parse().ok()
    }

    fn secret(&self, name: &str) -> Option<SecretId> {
        self.secrets.get(name)?.parse().ok()
    }

    fn config(&self, name: &str) -> Option<ConfigId> {
        self.configs.get(name)?.parse().ok()
    }
}

pub(super) struct Deploy<'a> {
    client: &'a Client,
    stack: &'a Stack,
    args: &'a DeployArgs,
    pub ids: Ids,
}

/// Ids by name.
fn by_name(objects: &[Value], id: &str, name: &str) -> BTreeMap<String, String> {
    objects.iter().map(|object| (text(object, name).to_owned(), text(object, id).to_owned())).collect()
}

impl<'a> Deploy<'a> {
    pub fn new(client: &'a Client, stack: &'a Stack, args: &'a DeployArgs) -> Self {
        Self { client, stack, args, ids: Ids::default() }
    }

    /// What must exist already is looked for before anything is made.
    pub async fn check_external(&mut self) -> Result<()> {
        self.ids.networks = by_name(&self.client.list("/networks", &[]).await?, "/Id", "/Name");
        self.ids.secrets = by_name(&self.client.list("/secrets", &[]).await?, "/ID", "/Spec/Name");
        self.ids.configs = by_name(&self.client.list("/configs", &[]).await?, "/ID", "/Spec/Name");
        let wanted = [
            ("network", &self.stack.external_networks, &self.ids.networks),
            ("secret", &self.stack.external_secrets, &self.ids.secrets),
            ("config", &self.stack.external_configs, &self.ids.configs),
        ];
        for (kind, names, known) in wanted {
            if let Some(name) = names.iter().find(|name| !known.contains_key(*name)) {
                return Err(CliError::hinted(
                    format!("{kind} \"{name}\" is declared as external, but could not be found"),
                    format!("make it with \"swarm {kind} create\", or declare it without external"),
                ));
            }
        }
        Ok(())
    }

    fn filters(&self) -> Result<Option<String>> {
        filter::with(&[], &[("label", of_stack(&self.stack.name).as_str())])
    }

    /// The services of the stack in the cluster, by name.
    pub async fn existing(&self) -> Result<BTreeMap<String, Value>> {
        let filters = self.filters()?;
        let services = self.client.list("/services", &[("filters", filters.as_deref())]).await?;
        Ok(services.into_iter().map(|service| (text(&service, "/Spec/Name").to_owned(), service)).collect())
    }

    /// Services that the files have no more: id and name.
    pub async fn pruned(&self) -> Result<Vec<(String, String)>> {
        let gone = |(name, _): &(String, Value)| !self.stack.services.iter().any(|wanted| wanted.spec.name == *name);
        let services = self.existing().await?.into_iter().filter(gone);
        Ok(services.map(|(name, service)| (text(&service, "/ID").to_owned(), name)).collect())
    }

    async fn prune(&self) -> Result<()> {
        let mut failures = Vec::new();
        for (id, name) in self.pruned().await? {
            write_out(&format!("Removing service {name}\n"));
            if let Err(error) = self.client.delete(&format!("/services/{}", segment(&id)), &[]).await {
                failures.push(CliError::usage(format!("failed to remove service {name}: {error}")));
            }
        }
        tell(failures)
    }

    async fn contents(&mut self) -> Result<()> {
        for secret in &self.stack.secrets {
            let data = STANDARD.encode(secret.data.expose());
            let known = self.ids.secrets.get(&secret.name).cloned();
            let request = content_request(&secret.name, &secret.labels, data, secret.templated);
            let id = self.content("secret", &secret.name, request, known).await?;
            self.ids.secrets.insert(secret.name.clone(), id);
        }
        for config in &self.stack.configs {
            let data = STANDARD.encode(&config.data);
            let known = self.ids.configs.get(&config.name).cloned();
            let request = content_request(&config.name, &config.labels, data, config.templated);
            let id = self.content("config", &config.name, request, known).await?;
            self.ids.configs.insert(config.name.clone(), id);
        }
        Ok(())
    }

    /// Makes a secret or config, or changes its labels and content. Its id.
    async fn content(&self, kind: &str, name: &str, request: Value, known: Option<String>) -> Result<String> {
        let Some(id) = known else {
            write_out(&format!("Creating {kind} {name}\n"));
            let created = self.client.post(&format!("/{kind}s/create"), &[], Some(&request)).await;
            let created = created.map_err(|error| of(error, "create", kind, name))?;
            return Ok(text(&created, "/ID").to_owned());
        };
        let path = format!("/{kind}s/{}", segment(&id));
        let updated = rewrite(self.client, &path, |_| request.clone()).await;
        updated.map_err(|error| of(error, "update", kind, name))?;
        Ok(id)
    }

    async fn networks(&mut self) -> Result<()> {
        for network in &self.stack.networks {
            if self.ids.networks.contains_key(&network.name) {
                self.check_own(network).await?;
                continue;
            }
            write_out(&format!("Creating network {}\n", network.name));
            let created = self.client.post("/networks/create", &[], Some(&request(network))).await;
            let created = created.map_err(|error| of(error, "create", "network", &network.name))?;
            self.ids.networks.insert(network.name.clone(), text(&created, "/Id").to_owned());
        }
        Ok(())
    }

    /// A network of the same name that is not the stack's is not taken for it.
    pub async fn check_own(&self, network: &NetworkSpec) -> Result<()> {
        let found = self.client.get(&format!("/networks/{}", segment(&network.name))).await?;
        let owner = object(&found, "/Labels").and_then(|labels| labels.get(LABEL_NAMESPACE)).and_then(Value::as_str);
        if owner == Some(self.stack.name.as_str()) {
            existing::tell("network", &network.name, &existing::of_network(&found, network));
            return Ok(());
        }
        Err(CliError::hinted(
            format!("network {} exists, and does not belong to the stack {}", network.name, self.stack.name),
            "declare it with external: true, or give it another name",
        ))
    }

    /// Volumes are of a host each: of those on the one that answers, what differs is told.
    pub async fn tell_volumes(&self) -> Result<()> {
        let mounts = self.stack.services.iter().flat_map(|service| &service.spec.task.container.mounts);
        let wanted: BTreeMap<&str, &MountSource> = mounts.filter_map(|mount| named(&mount.source)).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        for found in list(&self.client.get("/volumes").await?, "/Volumes") {
            let name = text(found, "/Name");
            if let Some(wanted) = wanted.get(name) {
                existing::tell("volume", name, &existing::of_volume(found, wanted));
            }
        }
        Ok(())
    }

    /// Makes or changes the services; their ids and names.
    async fn services(&self) -> Result<Vec<(String, String)>> {
        let existing = self.existing().await?;
        let mut out = Vec::new();
        for service in &self.stack.services {
            let name = &service.spec.name;
            let spec = self.spec(service)?;
            let image = text(&spec, &format!("{CONTAINER}/Image"));
            let headers = if self.args.with_registry_auth { registry::auth_header(image)? } else { Vec::new() };
            let id = match existing.get(name).map(|service| (text(service, "/ID"), has_held(service))) {
                Some((id, again)) => {
                    write_out(&format!("Updating service {name} (id: {id})\n"));
                    let change = async |old: &mut Value| {
                        *old = over(old, spec.clone(), again);
                        Ok(())
                    };
                    let updated = update::modify(self.client, id, &headers, change).await;
                    updated.map_err(|error| of(error, "update", "service", name))?
                }
                None => {
                    write_out(&format!("Creating service {name}\n"));
                    let created = self.client.post_with_headers("/services/create", &[], &headers, &spec).await;
                    let created = created.map_err(|error| of(error, "create", "service", name))?;
                    texts(&created, "/Warnings").iter().for_each(|warning| eprintln!("{warning}"));
                    text(&created, "/ID").to_owned()
                }
            };
            out.push((id, name.clone()));
        }
        Ok(out)
    }

    pub fn spec(&self, service: &StackService) -> Result<Value> {
        let spec = service.resolve(&self.ids).map_err(|error| CliError::usage(error.to_string()))?;
        let mut spec = api::json::write_service_spec(&spec);
        // The file is the whole wish: what it does not say is not kept.
        object_mut(&mut spec, "/Swarm");
        Ok(spec)
    }
}

/// A volume that the files declare, by its name. One that is external has no label of theirs.
fn named(source: &MountSource) -> Option<(&str, &MountSource)> {
    match source {
        MountSource::Volume { name, labels, .. } if labels.contains_key(LABEL_NAMESPACE) => Some((name, source)),
        MountSource::Volume { .. } | MountSource::Bind { .. } | MountSource::Tmpfs { .. } => None,
    }
}

/// A secret or config as it is made and changed.
pub(super) fn content_request(name: &str, labels: &Labels, data: String, templated: bool) -> Value {
    let mut request = json!({ "Name": name, "Labels": labels, "Data": data });
    if templated {
        set(&mut request, "/Templating/Name", "golang");
    }
    request
}

/// It was rolled back from a content of a secret or config.
pub(super) fn has_held(service: &Value) -> bool {
    list(service, "/Contents").iter().any(|content| int(content, "/Held") > 0)
}

/// The new specification, with what a deployment does not decide kept from the old one: how often the
/// tasks were replaced by force, and the digest of an image whose name has not changed. `again`: what runs is not what
/// the files say, since it was rolled back from a content; that is tried again.
pub(super) fn over(old: &Value, mut new: Value, again: bool) -> Value {
    // A file is the whole wish: without it, an update keeps what the service has.
    if new.get("Swarm").is_none() {
        set(&mut new, "/Swarm", json!({}));
    }
    set(&mut new, "/TaskTemplate/ForceUpdate", int(old, "/TaskTemplate/ForceUpdate") + i64::from(again));
    let image = format!("{CONTAINER}/Image");
    let named = object(old, "/Labels").and_then(|labels| labels.get(LABEL_IMAGE)).and_then(Value::as_str);
    if named == Some(text(&new, &image)) {
        let kept = text(old, &image).to_owned();
        set(&mut new, &image, kept);
    }
    new
}

pub(super) fn request(network: &NetworkSpec) -> Value {
    let config: Vec<Value> = network
        .ipam
        .iter()
        .map(|ipam| {
            let mut config = json!({ "Subnet": ipam.subnet.to_string() });
            crate::json::set_some(&mut config, "/Gateway", ipam.gateway.map(|gateway| gateway.to_string()));
            crate::json::set_some(&mut config, "/IPRange", ipam.range.map(|range| range.to_string()));
            config
        })
        .collect();
    let mut request = json!({
        "Name": network.name,
        "Driver": "overlay",
        "Labels": network.labels,
        "Options": network.driver_options,
        "Internal": network.internal,
        "Attachable": network.attachable,
        "EnableIPv6": network.ipv6,
    });
    if !config.is_empty() {
        set(&mut request, "/IPAM", json!({ "Driver": "default", "Config": config }));
    }
    request
}

/// An error with what it was about; a connection that fails is about nothing else.
fn of(error: CliError, doing: &str, kind: &str, name: &str) -> CliError {
    match error {
        CliError::Daemon { status, message } => {
            CliError::Daemon { status, message: format!("failed to {doing} {kind} {name}: {message}") }
        }
        other @ (CliError::Connect { .. }
        | CliError::Broken { .. }
        | CliError::Usage(_)
        | CliError::Hinted { .. }
        | CliError::Coded { .. }
        | CliError::Exit(_)) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_keeps_the_digest_of_an_image_whose_name_is_the_same() {
        let old = json!({"Labels": {LABEL_IMAGE: "web:1"}, "TaskTemplate": {
            "ForceUpdate": 3, "ContainerSpec": {"Image": "web:1@sha256:00"}}});
        let new = |image: &str| json!({"TaskTemplate": {"ContainerSpec": {"Image": image}}});
        let kept = over(&old, new("web:1"), false);
        assert_eq!(kept["Swarm"], json!({}), "what the file does not ask for is not kept");
        assert_eq!(
            kept,
            json!({"Swarm": {}, "TaskTemplate": {"ForceUpdate": 3, "ContainerSpec": {"Image": "web:1@sha256:00"}}})
        );
        assert_eq!(text(&over(&old, new("web:2"), false), "/TaskTemplate/ContainerSpec/Image"), "web:2");
    }
}
