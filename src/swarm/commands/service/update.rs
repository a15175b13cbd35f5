//! `swarm service update`, `scale`, `rollback`: read, change, write.

use super::canary::{self, CanaryOptions};
use super::lists::{ContainerListOptions, ListOptions};
use super::options::{CONTAINER, SpecOptions, WaitOptions, split_words};
use super::{converge, create, find, pin};
use crate::client::{Client, Query, segment};
use crate::commands::common::tell;
use crate::commands::rehearsal::{DRY_RUN, DryRunOptions};
use crate::error::{CliError, Result};
use crate::json::{drop_empty, int, list_mut, object, set, text, texts};
use crate::registry;
use crate::table::write_out;
use crate::units::parse_count;
use clap::Args;
use serde_json::{Value, json};

/// Tries of a change when others write the same service at the same time (its own update does, too).
const WRITE_TRIES: usize = 8;

#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// Image
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Arguments of the program, in one word
    #[arg(long, value_name = "ARGS")]
    args: Option<String>,
    /// Replace the tasks also when nothing changes
    #[arg(long)]
    force: bool,
    /// Go back to the specification before the last update
    #[arg(long)]
    rollback: bool,
    #[command(flatten)]
    dry_run: DryRunOptions,
    #[command(flatten)]
    canary: CanaryOptions,
    #[command(flatten)]
    lists: ListOptions,
    #[command(flatten)]
    containers: ContainerListOptions,
    #[command(flatten)]
    options: SpecOptions,
    #[arg(value_name = "SERVICE")]
    service: String,
}

#[derive(Debug, Args)]
pub struct ScaleArgs {
    #[command(flatten)]
    dry_run: DryRunOptions,
    /// Do not wait until the services are as wanted
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    detach: bool,
    #[arg(required = true, value_name = "SERVICE=REPLICAS")]
    scales: Vec<String>,
}

#[derive(Debug, Args)]
pub struct RollbackArgs {
    #[command(flatten)]
    dry_run: DryRunOptions,
    #[command(flatten)]
    wait: WaitOptions,
    /// Version to go back to, as "swarm service history" lists them [default: the one before the last update]
    #[arg(long, value_name = "VERSION")]
    to: Option<u64>,
    #[arg(value_name = "SERVICE")]
    service: String,
}

pub async fn run(client: &Client, args: UpdateArgs) -> Result<()> {
    if args.rollback {
        return roll_back(client, &args.service, None, args.options.wait, args.dry_run).await;
    }
    let credentials = match args.options.with_registry_auth {
        true => {
            let service = find(client, &args.service).await?;
            let current = text(&service, &format!("/Spec{CONTAINER}/Image")).to_owned();
            registry::auth_header(args.image.as_deref().unwrap_or(&current))?
        }
        false => Vec::new(),
    };
    let pinned = match &args.image {
        Some(image) if !args.options.no_resolve_image => pin::ask(client, image).await,
        Some(_) | None => None,
    };
    let change = async |spec: &mut Value| {
        // Names are looked up in the try they belong to: between tries they may have changed.
        args.change(spec)?;
        pinned.iter().for_each(|pinned| pinned.put(spec));
        remove_networks(client, spec, &args.lists.network_rm).await?;
        create::resolve(client, spec).await
    };
    if args.dry_run.dry_run {
        let mut service = find(client, &args.service).await?;
        change(&mut service["Spec"]).await?;
        return args.dry_run.print(&write(client, &service, &credentials, &[DRY_RUN]).await?);
    }
    let id = modify(client, &args.service, &credentials, change).await?;
    write_out(&format!("{}\n", args.service));
    converge::wait(client, &id, args.options.wait).await
}

/// Reads, changes and writes a service; once more when somebody else wrote it in between. Its id.
pub async fn modify(
    client: &Client,
    name: &str,
    headers: &[(&str, String)],
    change: impl AsyncFn(&mut Value) -> Result<()>,
) -> Result<String> {
    let mut last = None;
    for _ in 0..WRITE_TRIES {
        let mut service = find(client, name).await?;
        let id = text(&service, "/ID").to_owned();
        change(&mut service["Spec"]).await?;
        match write(client, &service, headers, &[]).await {
            Ok(_) => return Ok(id),
            Err(CliError::Daemon { status, message }) if message.contains("out of sequence") => {
                last = Some(CliError::Daemon { status, message });
            }
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or_else(|| CliError::usage(format!("service {name} was not changed"))))
}

/// Writes a service as it was read and changed; `how` are further parameters. The answer.
async fn write(client: &Client, service: &Value, headers: &[(&str, String)], how: Query<'_>) -> Result<Value> {
    let version = int(service, "/Version/Index").to_string();
    let path = format!("/services/{}/update", segment(text(service, "/ID")));
    let mut query = vec![("version", Some(version.as_str()))];
    query.extend(how);
    let answer = client.post_with_headers(&path, &query, headers, &service["Spec"]).await?;
    for warning in texts(&answer, "/Warnings") {
        eprintln!("{warning}");
    }
    Ok(answer)
}

pub async fn rollback(client: &Client, args: RollbackArgs) -> Result<()> {
    roll_back(client, &args.service, args.to, args.wait, args.dry_run).await
}

async fn roll_back(
    client: &Client,
    name: &str,
    to: Option<u64>,
    wait: WaitOptions,
    dry_run: DryRunOptions,
) -> Result<()> {
    let mut last = None;
    let to = to.map(|revision| revision.to_string());
    let mut how = vec![("rollback", Some("previous")), ("to", to.as_deref())];
    how.extend(dry_run.dry_run.then_some(DRY_RUN));
    for _ in 0..WRITE_TRIES {
        let service = find(client, name).await?;
        match write(client, &service, &[], &how).await {
            Ok(told) if dry_run.dry_run => return dry_run.print(&told),
            Ok(_) => {
                write_out(&format!("{name}\n"));
                return converge::wait_rolled_back(client, text(&service, "/ID"), wait).await;
            }
            Err(CliError::Daemon { status, message }) if message.contains("out of sequence") => {
                last = Some(CliError::Daemon { status, message });
            }
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or_else(|| CliError::usage(format!("service {name} was not rolled back"))))
}

pub async fn scale(client: &Client, args: ScaleArgs) -> Result<()> {
    let mut wanted = Vec::new();
    for word in &args.scales {
        let parts = word.split_once('=').filter(|(name, count)| !name.is_empty() && !count.is_empty());
        let (name, count) =
            parts.ok_or_else(|| CliError::usage(format!("invalid scale specifier '{word}': use SERVICE=REPLICAS")))?;
        let count = parse_count(count)
            .map_err(|why| CliError::usage(format!("{name}: invalid replicas value {count}: {why}")))?;
        wanted.push((name.to_owned(), count));
    }
    if args.dry_run.dry_run {
        return rehearse_scale(client, &wanted, args.dry_run).await;
    }
    let (mut failures, mut scaled) = (Vec::new(), Vec::new());
    for (name, count) in &wanted {
        let autoscaled = std::cell::Cell::new(false);
        let change = async |spec: &mut Value| {
            autoscaled.set(object(spec, "/Swarm/Autoscale").is_some());
            rescale(spec, *count)
        };
        match modify(client, name, &[], change).await {
            Ok(id) => {
                write_out(&format!("{name} scaled to {count}\n"));
                if autoscaled.get() && *count > 0 {
                    eprintln!("{name} is scaled by its load: it goes on from there");
                }
                scaled.push(id);
            }
            Err(error @ CliError::Connect { .. }) => return Err(error),
            Err(error) => failures.push(CliError::usage(format!("{name}: {error}"))),
        }
    }
    for id in &scaled {
        if let Err(error) = converge::wait(client, id, WaitOptions { detach: args.detach, quiet: false }).await {
            failures.push(error);
        }
    }
    tell(failures)
}

/// All of them as one change: they share the nodes.
async fn rehearse_scale(client: &Client, wanted: &[(String, u64)], dry_run: DryRunOptions) -> Result<()> {
    let mut specs = Vec::new();
    for (name, count) in wanted {
        let mut service = find(client, name).await?;
        rescale(&mut service["Spec"], *count).map_err(|error| CliError::usage(format!("{name}: {error}")))?;
        specs.push(service["Spec"].take());
    }
    dry_run.print(&client.post("/rehearsal", &[], Some(&json!({ "Services": specs }))).await?)
}

fn rescale(spec: &mut Value, count: u64) -> Result<()> {
    canary::forget(spec);
    set_replicas(spec, count, None)
}

fn set_replicas(spec: &mut Value, count: u64, at_once: Option<u64>) -> Result<()> {
    if object(spec, "/Mode/ReplicatedJob").is_some() {
        set(spec, "/Mode/ReplicatedJob/TotalCompletions", count);
        if let Some(at_once) = at_once {
            set(spec, "/Mode/ReplicatedJob/MaxConcurrent", at_once);
        }
        return Ok(());
    }
    if object(spec, "/Mode/Replicated").is_none() {
        return Err(CliError::usage("replicas can only be used with replicated or replicated-job mode"));
    }
    set(spec, "/Mode/Replicated/Replicas", count);
    Ok(())
}

impl UpdateArgs {
    fn change(&self, spec: &mut Value) -> Result<()> {
        if let Some(image) = &self.image {
            set(spec, &format!("{CONTAINER}/Image"), image.as_str());
        }
        if let Some(args) = &self.args {
            set(spec, &format!("{CONTAINER}/Args"), split_words(args)?);
        }
        if self.force {
            let forced = int(spec, "/TaskTemplate/ForceUpdate") + 1;
            set(spec, "/TaskTemplate/ForceUpdate", forced);
        }
        match (self.options.replicas, self.options.max_concurrent) {
            (Some(count), at_once) => set_replicas(spec, count, at_once)?,
            (None, Some(at_once)) if object(spec, "/Mode/ReplicatedJob").is_some() => {
                set(spec, "/Mode/ReplicatedJob/MaxConcurrent", at_once);
            }
            (None, Some(_)) => {
                return Err(CliError::usage("max-concurrent can only be used with replicated-job mode"));
            }
            (None, None) => {}
        }
        self.canary.apply(spec)?;
        self.lists.change(spec)?;
        self.containers.change(spec)?;
        self.options.apply(spec)
    }
}

/// Networks are kept by id; a flag may give the name.
async fn remove_networks(client: &Client, spec: &mut Value, names: &[String]) -> Result<()> {
    for name in names {
        let found = client.get(&format!("/networks/{}", segment(name))).await?;
        let gone = [text(&found, "/Id"), name.as_str()];
        list_mut(spec, "/TaskTemplate/Networks").retain(|network| !gone.contains(&text(network, "/Target")));
    }
    if !names.is_empty() && spec.pointer("/TaskTemplate/Networks") == Some(&json!([])) {
        drop_empty(spec, "/TaskTemplate/Networks");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: UpdateArgs,
    }

    fn changed(flags: &[&str], mut spec: Value) -> Value {
        let words = ["update"].iter().chain(flags).chain(&["web"]);
        match Line::try_parse_from(words) {
            Ok(line) => match line.args.change(&mut spec) {
                Ok(()) => spec,
                Err(error) => Value::from(error.to_string()),
            },
            Err(error) => Value::from(error.to_string()),
        }
    }

    fn container(container: Value) -> Value {
        json!({ "TaskTemplate": { "ContainerSpec": container } })
    }

    #[test]
    fn variables_are_changed_in_place_removed_and_added() {
        let before = container(json!({"Env": ["A=1", "B=2", "C=3"]}));
        let after = changed(&["--env-add", "B=9", "--env-rm", "A", "--env-add", "D=4"], before);
        assert_eq!(after, container(json!({"Env": ["B=9", "C=3", "D=4"]})));
    }

    #[test]
    fn a_port_is_removed_by_its_target() {
        let port = |published: u16, target: u16, protocol: &str| json!({"PublishedPort": published, "TargetPort": target, "Protocol": protocol, "PublishMode": "ingress"});
        let before = json!({"EndpointSpec": {"Ports": [port(8080, 80, "tcp"), port(8080, 80, "udp")]}});
        let after = changed(&["--publish-rm", "80/udp", "--publish-add", "9000:90"], before);
        let expected = json!([port(8080, 80, "tcp"), port(9000, 90, "tcp")]);
        assert_eq!(after["EndpointSpec"]["Ports"], expected);
    }

    #[test]
    fn a_mount_replaces_the_one_at_its_target() {
        let before = container(json!({"Mounts": [{"Type": "volume", "Source": "a", "Target": "/d"}]}));
        let after = changed(&["--mount-add", "type=volume,source=b,target=/d"], before);
        assert_eq!(after, container(json!({"Mounts": [{"Type": "volume", "Source": "b", "Target": "/d"}]})));
    }

    #[test]
    fn replicas_are_refused_for_global_services() {
        let after = changed(&["--replicas", "3"], json!({"Mode": {"Global": {}}}));
        assert_eq!(after, "replicas can only be used with replicated or replicated-job mode");
    }

    #[test]
    fn what_is_not_named_stays_as_it_is() {
        let before = json!({"Name": "web", "Mode": {"Replicated": {"Replicas": 2}}, "Unknown": {"x": 1},
            "TaskTemplate": {"ContainerSpec": {"Image": "web:1", "Later": true}, "ForceUpdate": 1}});
        let mut expected = before.clone();
        set(&mut expected, "/TaskTemplate/ContainerSpec/Image", "web:2");
        set(&mut expected, "/TaskTemplate/ForceUpdate", 2);
        assert_eq!(changed(&["--image", "web:2", "--force"], before), expected);
    }

    #[test]
    fn canaries_are_of_one_update() {
        let canary = json!({"Swarm": {"Canary": {"Tasks": 2, "PromoteAfter": 60_000_000_000i64}}});
        let given = changed(&["--canary", "2", "--canary-promote-after", "1m"], json!({}));
        assert_eq!(given, canary);
        assert_eq!(changed(&["--image", "web:2"], given)["Swarm"], json!({}));
        let alone = changed(&["--canary-promote-after", "1m"], canary);
        assert_eq!(alone, "--canary-promote-after needs --canary, of at least 1");
    }

    #[test]
    fn a_new_update_section_does_one_at_a_time() {
        let after = changed(&["--update-delay", "5s"], json!({}));
        assert_eq!(after["UpdateConfig"], json!({"Parallelism": 1, "Delay": 5_000_000_000i64}));
    }
}
