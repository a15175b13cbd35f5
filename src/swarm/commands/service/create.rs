//! `swarm service create`.

use super::options::{CONTAINER, SpecOptions};
use super::{converge, parse, pin};
use crate::client::{Client, segment};
use crate::commands::common::pairs;
use crate::commands::rehearsal::{DRY_RUN, DryRunOptions};
use crate::error::{CliError, Result};
use crate::json::{list_mut, set, text, texts};
use crate::registry;
use crate::table::write_out;
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Name of the service [default: made up]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// How many tasks: replicated, global, replicated-job, global-job
    #[arg(long, value_name = "MODE", default_value = "replicated",
        value_parser = ["replicated", "global", "replicated-job", "global-job"])]
    mode: String,
    /// Label of the service, KEY=VALUE (may be repeated)
    #[arg(short, long = "label", value_name = "LABEL")]
    labels: Vec<String>,
    /// Label of the containers, KEY=VALUE (may be repeated)
    #[arg(long = "container-label", value_name = "LABEL")]
    container_labels: Vec<String>,
    /// Environment variable, KEY=VALUE (may be repeated)
    #[arg(short, long, value_name = "VARIABLE")]
    env: Vec<String>,
    /// File of environment variables (may be repeated)
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Supplementary group (may be repeated)
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// Where tasks may run, such as node.role==worker (may be repeated)
    #[arg(long = "constraint", value_name = "CONSTRAINT")]
    constraints: Vec<String>,
    /// How tasks are spread, such as spread=node.labels.zone (may be repeated)
    #[arg(long = "placement-pref", value_name = "PREFERENCE")]
    preferences: Vec<String>,
    /// Generic resource kept for each task, KIND=AMOUNT, of what `swarm daemon --node-generic-resource` gives a node
    /// (may be repeated)
    #[arg(long = "generic-resource", value_name = "KIND=AMOUNT")]
    generic_resources: Vec<String>,
    /// Port reached from outside, [PUBLISHED:]TARGET[/PROTOCOL] or published=..,target=..,mode=.. (may be repeated)
    #[arg(short, long, value_name = "PORT")]
    publish: Vec<String>,
    /// Mount, type=..,source=..,target=.. (may be repeated)
    #[arg(long = "mount", value_name = "MOUNT")]
    mounts: Vec<String>,
    /// Network the tasks are in (may be repeated)
    #[arg(long = "network", value_name = "NETWORK")]
    networks: Vec<String>,
    /// Secret the tasks can read (may be repeated)
    #[arg(long = "secret", value_name = "SECRET")]
    secrets: Vec<String>,
    /// Config the tasks can read (may be repeated)
    #[arg(long = "config", value_name = "CONFIG")]
    configs: Vec<String>,
    /// Line of the containers' hosts file, NAME:ADDRESS (may be repeated)
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// DNS server (may be repeated)
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<String>,
    /// DNS option (may be repeated)
    #[arg(long, value_name = "OPTION")]
    dns_option: Vec<String>,
    /// DNS search domain (may be repeated)
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// Kernel setting of the container, KEY=VALUE (may be repeated)
    #[arg(long = "sysctl", value_name = "SETTING")]
    sysctls: Vec<String>,
    /// Limit of processes, NAME=SOFT[:HARD] (may be repeated)
    #[arg(long = "ulimit", value_name = "LIMIT")]
    ulimits: Vec<String>,
    #[command(flatten)]
    dry_run: DryRunOptions,
    #[command(flatten)]
    options: SpecOptions,
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Arguments of the program
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARG")]
    args: Vec<String>,
}

pub async fn run(client: &Client, args: CreateArgs) -> Result<()> {
    let mut spec = spec(&args)?;
    resolve(client, &mut spec).await?;
    if !args.options.no_resolve_image
        && let Some(pinned) = pin::ask(client, &args.image).await
    {
        pinned.put(&mut spec);
    }
    let headers = if args.options.with_registry_auth { registry::auth_header(&args.image)? } else { Vec::new() };
    if args.dry_run.dry_run {
        let told = client.post_with_headers("/services/create", &[DRY_RUN], &headers, &spec).await?;
        return args.dry_run.print(&told);
    }
    let created = client.post_with_headers("/services/create", &[], &headers, &spec).await?;
    for warning in texts(&created, "/Warnings") {
        eprintln!("{warning}");
    }
    let id = text(&created, "/ID");
    write_out(&format!("{id}\n"));
    converge::wait(client, id, args.options.wait).await
}

fn spec(args: &CreateArgs) -> Result<Value> {
    let mut spec = json!({ "TaskTemplate": { "ContainerSpec": { "Image": args.image } } });
    set(&mut spec, "/Mode", mode(args)?);
    if let Some(name) = &args.name {
        set(&mut spec, "/Name", name.as_str());
    }
    set(&mut spec, "/Labels", pairs(&args.labels));
    let at = |field: &str| format!("{CONTAINER}/{field}");
    let mut env = Vec::new();
    for file in &args.env_file {
        env.extend(parse::env_file(file)?);
    }
    env.extend(args.env.iter().filter_map(|word| parse::variable(word)));
    let mut some = |path: String, words: Vec<String>| {
        if !words.is_empty() {
            set(&mut spec, &path, words);
        }
    };
    some(at("Env"), env);
    some(at("Args"), args.args.clone());
    some(at("Groups"), args.groups.clone());
    some(at("DNSConfig/Nameservers"), args.dns.clone());
    some(at("DNSConfig/Options"), args.dns_option.clone());
    some(at("DNSConfig/Search"), args.dns_search.clone());
    some("/TaskTemplate/Placement/Constraints".to_owned(), args.constraints.clone());
    some(at("Hosts"), args.hosts.iter().map(|word| parse::host(word)).collect::<Result<_>>()?);
    if !args.container_labels.is_empty() {
        set(&mut spec, &at("Labels"), pairs(&args.container_labels));
    }
    if !args.sysctls.is_empty() {
        set(&mut spec, &at("Sysctls"), pairs(&args.sysctls));
    }
    lists(args, &mut spec)?;
    args.options.apply(&mut spec)?;
    Ok(spec)
}

fn lists(args: &CreateArgs, spec: &mut Value) -> Result<()> {
    for word in &args.publish {
        list_mut(spec, "/EndpointSpec/Ports").extend(parse::publish(word)?);
    }
    for word in &args.mounts {
        list_mut(spec, &format!("{CONTAINER}/Mounts")).push(parse::mount(word)?);
    }
    for word in &args.networks {
        list_mut(spec, "/TaskTemplate/Networks").push(parse::network(word)?);
    }
    for word in &args.preferences {
        list_mut(spec, "/TaskTemplate/Placement/Preferences").push(parse::preference(word)?);
    }
    super::placing::add_generic(spec, &args.generic_resources)?;
    for word in &args.ulimits {
        list_mut(spec, &format!("{CONTAINER}/Ulimits")).push(parse::ulimit(word)?);
    }
    for word in &args.secrets {
        let reference = parse::file_reference(word)?;
        list_mut(spec, &format!("{CONTAINER}/Secrets")).push(reference.to_api("Secret", ""));
    }
    for word in &args.configs {
        let reference = parse::file_reference(word)?;
        list_mut(spec, &format!("{CONTAINER}/Configs")).push(reference.to_api("Config", ""));
    }
    Ok(())
}

fn mode(args: &CreateArgs) -> Result<Value> {
    let replicas = args.options.replicas;
    let refuse = |flag: &str, mode: &str| CliError::usage(format!("{flag} can only be used with {mode} mode"));
    if args.options.max_concurrent.is_some() && args.mode != "replicated-job" {
        return Err(refuse("max-concurrent", "replicated-job"));
    }
    match args.mode.as_str() {
        "global" | "global-job" if replicas.is_some() => Err(refuse("replicas", "replicated or replicated-job")),
        "global" => Ok(json!({ "Global": {} })),
        "global-job" => Ok(json!({ "GlobalJob": {} })),
        "replicated-job" => {
            let total = replicas.unwrap_or(1);
            let most = args.options.max_concurrent.unwrap_or(total);
            Ok(json!({ "ReplicatedJob": { "TotalCompletions": total, "MaxConcurrent": most } }))
        }
        _ => Ok(json!({ "Replicated": { "Replicas": replicas.unwrap_or(1) } })),
    }
}

/// Puts ids where flags gave names: networks, secrets, configs.
pub async fn resolve(client: &Client, spec: &mut Value) -> Result<()> {
    for network in list_mut(spec, "/TaskTemplate/Networks") {
        let name = text(network, "/Target").to_owned();
        let found = client.get(&format!("/networks/{}", segment(&name))).await?;
        set(network, "/Target", text(&found, "/Id"));
    }
    crate::json::drop_empty(spec, "/TaskTemplate/Networks");
    for (field, kind, path) in [("Secrets", "Secret", "secrets"), ("Configs", "Config", "configs")] {
        let list = format!("{CONTAINER}/{field}");
        for reference in list_mut(spec, &list) {
            if !text(reference, &format!("/{kind}ID")).is_empty() {
                continue;
            }
            let name = text(reference, &format!("/{kind}Name")).to_owned();
            let found = client.get(&format!("/{path}/{}", segment(&name))).await?;
            set(reference, &format!("/{kind}ID"), text(&found, "/ID"));
            set(reference, &format!("/{kind}Name"), text(&found, "/Spec/Name"));
        }
        crate::json::drop_empty(spec, &list);
    }
    Ok(())
}
