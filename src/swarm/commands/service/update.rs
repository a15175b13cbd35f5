//! `swarm service update`, `scale`, `rollback`: read, change, write.

use super::options::{CONTAINER, SpecOptions, WaitOptions, split_words};
use super::{converge, create, find, parse};
use crate::client::{Client, segment};
use crate::commands::common::{pairs, tell};
use crate::error::{CliError, Result};
use crate::json::{drop_empty, int, list_mut, object, object_mut, set, text, texts};
use crate::registry;
use crate::table::write_out;
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
    lists: ListOptions,
    #[command(flatten)]
    containers: ContainerListOptions,
    #[command(flatten)]
    options: SpecOptions,
    #[arg(value_name = "SERVICE")]
    service: String,
}

#[derive(Debug, Args)]
struct ListOptions {
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
    network_rm: Vec<String>,
}

#[derive(Debug, Args)]
struct ContainerListOptions {
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

#[derive(Debug, Args)]
pub struct ScaleArgs {
    /// Do not wait until the services are as wanted
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    detach: bool,
    #[arg(required = true, value_name = "SERVICE=REPLICAS")]
    scales: Vec<String>,
}

#[derive(Debug, Args)]
pub struct RollbackArgs {
    #[command(flatten)]
    wait: WaitOptions,
    #[arg(value_name = "SERVICE")]
    service: String,
}

pub async fn run(client: &Client, args: UpdateArgs) -> Result<()> {
    if args.rollback {
        return roll_back(client, &args.service, args.options.wait).await;
    }
    let credentials = match args.options.with_registry_auth {
        true => {
            let service = find(client, &args.service).await?;
            let current = text(&service, &format!("/Spec{CONTAINER}/Image")).to_owned();
            registry::auth_header(args.image.as_deref().unwrap_or(&current))?
        }
        false => Vec::new(),
    };
    let id = modify(client, &args.service, &credentials, async |spec| {
        // Names are looked up in the try they belong to: between tries they may have changed.
        args.change(spec)?;
        remove_networks(client, spec, &args.lists.network_rm).await?;
        create::resolve(client, spec).await
    })
    .await?;
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
        match write(client, &service, headers, None).await {
            Ok(()) => return Ok(id),
            Err(CliError::Daemon { status, message }) if message.contains("out of sequence") => {
                last = Some(CliError::Daemon { status, message });
            }
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or_else(|| CliError::usage(format!("service {name} was not changed"))))
}

/// Writes a service as it was read and changed.
pub async fn write(client: &Client, service: &Value, headers: &[(&str, String)], rollback: Option<&str>) -> Result<()> {
    let version = int(service, "/Version/Index").to_string();
    let path = format!("/services/{}/update", segment(text(service, "/ID")));
    let query = [("version", Some(version.as_str())), ("rollback", rollback)];
    let answer = client.post_with_headers(&path, &query, headers, &service["Spec"]).await?;
    for warning in texts(&answer, "/Warnings") {
        eprintln!("{warning}");
    }
    Ok(())
}

pub async fn rollback(client: &Client, args: RollbackArgs) -> Result<()> {
    roll_back(client, &args.service, args.wait).await
}

async fn roll_back(client: &Client, name: &str, wait: WaitOptions) -> Result<()> {
    let mut last = None;
    for _ in 0..WRITE_TRIES {
        let service = find(client, name).await?;
        match write(client, &service, &[], Some("previous")).await {
            Ok(()) => {
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
        let count: u64 = count
            .parse()
            .map_err(|_| CliError::usage(format!("{name}: invalid replicas value {count}: not a number")))?;
        wanted.push((name.to_owned(), count));
    }
    let (mut failures, mut scaled) = (Vec::new(), Vec::new());
    for (name, count) in &wanted {
        match modify(client, name, &[], async |spec| set_replicas(spec, *count, None)).await {
            Ok(id) => {
                write_out(&format!("{name} scaled to {count}\n"));
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
        self.lists.change(spec)?;
        self.containers.change(spec)?;
        self.options.apply(spec)
    }
}

impl ListOptions {
    fn change(&self, spec: &mut Value) -> Result<()> {
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
    fn change(&self, spec: &mut Value) -> Result<()> {
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
        let kinds =
            [("Secret", &self.secret_rm, &self.secret_add, ""), ("Config", &self.config_rm, &self.config_add, "/")];
        for (kind, remove, add, prefix) in kinds {
            let (path, name) = (format!("{CONTAINER}/{kind}s"), format!("/{kind}Name"));
            drop_from(spec, &path, remove, |item, word| text(item, &name) == word);
            for word in add {
                let reference = parse::file_reference(word, |source| format!("{prefix}{source}"))?;
                add_to(spec, &path, reference.to_api(kind, ""), |a, b| text(a, "/File/Name") == text(b, "/File/Name"));
            }
            drop_empty(spec, &path);
        }
        Ok(())
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
    fn a_new_update_section_does_one_at_a_time() {
        let after = changed(&["--update-delay", "5s"], json!({}));
        assert_eq!(after["UpdateConfig"], json!({"Parallelism": 1, "Delay": 5_000_000_000i64}));
    }
}
