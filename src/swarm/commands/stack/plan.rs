//! `swarm stack plan`: what `stack deploy` would do, asked of the cluster in one request and not done.

use super::deploy::{Deploy, DeployArgs, content_request, has_held, over, request};
use crate::cli::Context;
use crate::commands::rehearsal::EndOptions;
use crate::commands::stack::files::FileArgs;
use crate::error::Result;
use crate::json::{drop_empty, list_mut, object_mut, set, text};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use swarm_core::NetworkId;

#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    files: FileArgs,
    /// As with deploy --prune: services of the stack that the files have no more, and those whose profile is off, would
    /// be removed
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    end: EndOptions,
    /// Name of the stack [default: COMPOSE_PROJECT_NAME, else the name in the files]
    #[arg(value_name = "STACK")]
    stack: Option<String>,
}

pub async fn run(context: &Context, args: PlanArgs) -> Result<()> {
    let PlanArgs { files, prune, end, stack } = args;
    let args = DeployArgs::planned(files, prune, stack);
    let stack = args.load()?;
    let client = &context.client().await?;
    let mut deploy = Deploy::new(client, &stack, &args);
    deploy.check_external().await?;
    let mut body = json!({});
    if prune {
        let gone = deploy.pruned().await?;
        set(&mut body, "/RemoveServices", gone.into_iter().map(|(_, name)| name).collect::<Vec<_>>());
    }
    let mut made = Made::default();
    for network in &stack.networks {
        if deploy.ids.networks.contains_key(&network.name) {
            deploy.check_own(network).await?;
            continue;
        }
        list_mut(&mut body, "/Networks").push(request(network));
        deploy.ids.networks.insert(network.name.clone(), made.id(&network.name));
    }
    for secret in &stack.secrets {
        let data = STANDARD.encode(secret.data.expose());
        let content = content_request(&secret.name, &secret.labels, data, secret.templated);
        list_mut(&mut body, "/Secrets").push(content);
        deploy.ids.secrets.entry(secret.name.clone()).or_insert_with(|| made.id(&secret.name));
    }
    for config in &stack.configs {
        let data = STANDARD.encode(&config.data);
        let content = content_request(&config.name, &config.labels, data, config.templated);
        list_mut(&mut body, "/Configs").push(content);
        deploy.ids.configs.entry(config.name.clone()).or_insert_with(|| made.id(&config.name));
    }
    deploy.tell_volumes().await?;
    let existing = deploy.existing().await?;
    for service in &stack.services {
        let spec = deploy.spec(service)?;
        let spec = match existing.get(&service.spec.name) {
            Some(old) => over(&old["Spec"], spec, has_held(old)),
            None => spec,
        };
        list_mut(&mut body, "/Services").push(made.named(spec));
    }
    end.print(&client.post("/rehearsal", &[], Some(&body)).await?)
}

/// What would be made first has no id yet: it gets one that nothing has, and is asked for by name.
#[derive(Debug, Default)]
struct Made(BTreeMap<String, String>);

impl Made {
    fn id(&mut self, name: &str) -> String {
        // Ids of the cluster are random: none is this small.
        let id = NetworkId(self.0.len() as u128 + 1).to_string();
        self.0.insert(id.clone(), name.to_owned());
        id
    }

    /// The specification with names in place of these ids.
    fn named(&self, mut spec: Value) -> Value {
        for network in list_mut(&mut spec, "/TaskTemplate/Networks") {
            if let Some(name) = self.0.get(text(network, "/Target")).cloned() {
                set(network, "/Target", name);
            }
        }
        drop_empty(&mut spec, "/TaskTemplate/Networks");
        for (list, id) in [("Secrets", "SecretID"), ("Configs", "ConfigID")] {
            let path = format!("/TaskTemplate/ContainerSpec/{list}");
            for reference in list_mut(&mut spec, &path) {
                if self.0.contains_key(text(reference, &format!("/{id}"))) {
                    object_mut(reference, "").remove(id);
                }
            }
            drop_empty(&mut spec, &path);
        }
        spec
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_yet_is_asked_for_by_name() {
        let mut made = Made::default();
        let (back, key) = (made.id("shop_back"), made.id("shop_key"));
        let spec = json!({"TaskTemplate": {"Networks": [{"Target": back}, {"Target": "n1"}], "ContainerSpec": {
            "Secrets": [{"SecretID": key, "SecretName": "shop_key"}, {"SecretID": "s1", "SecretName": "other"}]}}});
        let expected = json!({"TaskTemplate": {"Networks": [{"Target": "shop_back"}, {"Target": "n1"}], "ContainerSpec": {
            "Secrets": [{"SecretName": "shop_key"}, {"SecretID": "s1", "SecretName": "other"}]}}});
        assert_eq!(made.named(spec), expected);
    }
}
