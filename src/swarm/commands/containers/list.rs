//! `swarm ps` and `swarm logs`: containers of this host.

use crate::cli::Context;
use crate::client::segment;
use crate::commands::common::{ListArgs, familiar, label_map, labels};
use crate::commands::log_options::LogOptions;
use crate::error::Result;
use crate::filter;
use crate::json::{flag, int, list, text, texts};
use crate::logs;
use crate::table::{LABEL, Table};
use crate::units::{ellipsis, go_local_time, human_duration, human_size, short_id};
use clap::Args;
use serde_json::{Value, json};
use time::OffsetDateTime;

/// Characters of a command in a table.
const COMMAND_WIDTH: usize = 20;
/// Characters of the name of a mount.
const MOUNT_WIDTH: usize = 15;

pub const CONTAINERS: Table = Table {
    headers: &[
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("CreatedAt", "CREATED AT"),
        ("RunningFor", "CREATED"),
        ("Status", "STATUS"),
        ("State", "STATE"),
        ("Ports", "PORTS"),
        ("Names", "NAMES"),
        ("Labels", "LABELS"),
        ("Networks", "NETWORKS"),
        ("Mounts", "MOUNTS"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Size", "SIZE"),
        ("Platform", "PLATFORM"),
    ],
    template: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}",
    quiet: "ID",
    row: "*formatter.ContainerContext",
    raw: "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\nstate:{{pad .State 1 0}}\nstatus:{{pad .Status 1 0}}\nnames: {{.Names}}\nlabels:{{pad .Labels 1 0}}\nports:{{pad .Ports 1 0}}\n",
    configured: "psFormat",
};

const WITH_SIZES: Table = Table {
    template: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}\t{{.Size}}",
    ..CONTAINERS
};

#[derive(Debug, Args)]
pub struct PsArgs {
    #[command(flatten)]
    list: ListArgs,
    /// Also those that do not run
    #[arg(short, long)]
    all: bool,
    /// Only the newest N, also when they do not run
    #[arg(short = 'n', long, value_name = "N")]
    last: Option<u32>,
    /// Only the newest, also when it does not run
    #[arg(short, long)]
    latest: bool,
    /// Whole ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// Also how much they have written
    #[arg(short, long)]
    size: bool,
}

#[derive(Debug, Args)]
pub struct LogsArgs {
    #[command(flatten)]
    log: LogOptions,
    /// Only lines before that time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    #[arg(value_name = "CONTAINER")]
    container: String,
}

pub async fn ps(context: &Context, args: PsArgs) -> Result<()> {
    let client = context.client().await?;
    let filters = filter::encode(&args.list.filters)?;
    let last = if args.latest { Some(1) } else { args.last }.map(|last| last.to_string());
    let all = (args.all || last.is_some()).then_some("1");
    let mut output = args.list.output();
    if output.quiet && output.format.is_some_and(|format| !matches!(format, "" | "table" | "raw")) {
        eprintln!("WARNING: Ignoring custom format, because both --format and --quiet are set.");
        output.format = None;
    }
    let sizes = args.size || output.format.is_some_and(|format| format.contains(".Size"));
    let size = sizes.then_some("1");
    let query = [("filters", filters.as_deref()), ("all", all), ("limit", last.as_deref()), ("size", size)];
    let containers = client.list("/containers/json", &query).await?;
    let now = OffsetDateTime::now_utc();
    let rows: Vec<Value> = containers.iter().map(|container| row(container, args.no_trunc, now)).collect();
    let table = if args.size { &WITH_SIZES } else { &CONTAINERS };
    table.print(&rows, &output)
}

pub fn row(container: &Value, whole: bool, now: OffsetDateTime) -> Value {
    let id = text(container, "/Id");
    let command = text(container, "/Command");
    let command = if whole { command.to_owned() } else { ellipsis(command, COMMAND_WIDTH) };
    let names: Vec<String> =
        texts(container, "/Names").iter().map(|name| name.strip_prefix('/').unwrap_or(name).to_owned()).collect();
    let networks = crate::json::object(container, "/NetworkSettings/Networks");
    let networks: Vec<&str> = networks.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let mounts = list(container, "/Mounts").iter().map(|mount| {
        let name = if text(mount, "/Name").is_empty() { text(mount, "/Source") } else { text(mount, "/Name") };
        if whole { name.to_owned() } else { ellipsis(name, MOUNT_WIDTH) }
    });
    let mounts: Vec<String> = mounts.collect();
    let volumes = list(container, "/Mounts").iter().filter(|mount| text(mount, "/Driver") == "local").count();
    let created = int(container, "/Created");
    let age = OffsetDateTime::from_unix_timestamp(created).map(|at| (now - at).whole_seconds()).unwrap_or(0);
    json!({
        "ID": if whole { id } else { short_id(id) },
        "Image": image(container, whole),
        "Command": Value::from(command).to_string(),
        "CreatedAt": go_local_time(created),
        "RunningFor": format!("{} ago", human_duration(age)),
        "Status": text(container, "/Status"),
        "State": text(container, "/State"),
        "Ports": ports(list(container, "/Ports")),
        "Names": names.join(","),
        "Labels": labels(container, "/Labels"),
        LABEL: label_map(container, "/Labels"),
        "Networks": networks.join(","),
        "Mounts": mounts.join(","),
        "LocalVolumes": volumes.to_string(),
        "Size": size(container),
        "Platform": container.pointer("/ImageManifestDescriptor/platform"),
    })
}

/// As people call it; the beginning of its id when it has no other name.
fn image(container: &Value, whole: bool) -> String {
    let (image, id) = (text(container, "/Image"), text(container, "/ImageID"));
    if image.is_empty() {
        return "<no image>".to_owned();
    }
    if whole {
        return image.to_owned();
    }
    if image == id || short_id(image) == short_id(id) {
        return short_id(image).to_owned();
    }
    familiar(image.split_once('@').map_or(image, |(name, _)| name)).to_owned()
}

fn size(container: &Value) -> String {
    let written = human_size(int(container, "/SizeRw"), 3);
    match int(container, "/SizeRootFs") {
        0 => written,
        whole => format!("{written} (virtual {})", human_size(whole, 3)),
    }
}

/// Ports of one address and protocol that follow one another.
struct Run<'a> {
    ip: &'a str,
    kind: &'a str,
    first: i64,
    last: i64,
}

impl Run<'_> {
    fn words(&self) -> String {
        let Self { ip, kind, first, last } = self;
        let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
        match *ip {
            "" => format!("{range}/{kind}"),
            ip => format!("{}->{range}/{kind}", address(ip, &range)),
        }
    }
}

/// What is published by its own number, or not at all, in ranges; then the others, each by itself. In docker's order:
/// ranges that ended come before those that are the last of their kind.
fn ports(ports: &[Value]) -> String {
    let port = |port| (int(port, "/PrivatePort"), text(port, "/IP"), int(port, "/PublicPort"), text(port, "/Type"));
    let mut sorted: Vec<(i64, &str, i64, &str)> = ports.iter().map(port).collect();
    sorted.sort_unstable();
    let (mut ended, mut runs, mut mapped) = (Vec::new(), Vec::<Run<'_>>::new(), Vec::new());
    for (private, ip, public, kind) in sorted {
        if public != 0 && public != private {
            mapped.push(format!("{}->{private}/{kind}", address(ip, &public.to_string())));
            continue;
        }
        let new = Run { ip, kind, first: private, last: private };
        match runs.iter_mut().find(|run| (run.ip, run.kind) == (ip, kind)) {
            Some(run) if run.last + 1 == private => run.last = private,
            Some(run) => ended.push(std::mem::replace(run, new).words()),
            None => runs.push(new),
        }
    }
    ended.extend(runs.iter().map(Run::words));
    ended.extend(mapped);
    ended.join(", ")
}

/// `[::]:80`, `0.0.0.0:80`.
fn address(ip: &str, port: &str) -> String {
    match ip {
        "" => port.to_owned(),
        ip if ip.contains(':') => format!("[{ip}]:{port}"),
        ip => format!("{ip}:{port}"),
    }
}

pub async fn logs(context: &Context, args: LogsArgs) -> Result<()> {
    let client = context.client().await?;
    let path = format!("/containers/{}", segment(&args.container));
    let container = client.get(&format!("{path}/json")).await?;
    let tty = flag(&container, "/Config/Tty");
    let (details, until) = (args.log.details, args.until.as_deref());
    let mut reader = args.log.open(&client, &format!("{path}/logs"), details, until, tty).await?;
    while let Some(record) = reader.next().await? {
        logs::write(record.output, &[&record.bytes]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Output;

    #[test]
    fn containers_are_listed_as_docker_does() {
        let container = json!({
            "Id": "0123456789abcdef0123", "Names": ["/shop_web.1.abc"], "Image": "web:1@sha256:00",
            "Command": "sh -c while true; do sleep 1; done", "Created": 1000, "Status": "Up 2 minutes",
            "State": "running", "Ports": [{"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}],
        });
        let now = OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(1000 + 7200);
        let text = CONTAINERS.render(&[row(&container, false, now)], &Output::default()).unwrap_or_default();
        let expected = "\
CONTAINER ID   IMAGE     COMMAND                  CREATED       STATUS         PORTS                  NAMES
0123456789ab   web:1     \"sh -c while true; d…\"   2 hours ago   Up 2 minutes   0.0.0.0:8080->80/tcp   shop_web.1.abc\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn ports_that_follow_one_another_are_one_range_and_others_stand_alone() {
        let port = |ip: &str, private: i64, public: i64, kind: &str| {
            json!({"IP": ip, "PrivatePort": private,
            "PublicPort": public, "Type": kind})
        };
        let all = [
            port("::", 80, 8080, "tcp"),
            port("0.0.0.0", 80, 8080, "tcp"),
            port("", 9001, 0, "tcp"),
            port("", 9000, 0, "tcp"),
            port("0.0.0.0", 53, 53, "udp"),
            port("0.0.0.0", 54, 54, "udp"),
        ];
        assert_eq!(ports(&all), "0.0.0.0:53-54->53-54/udp, 9000-9001/tcp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp");
    }

    #[test]
    fn an_image_without_a_name_is_told_by_the_beginning_of_its_id() {
        let id = format!("sha256:{}", "1".repeat(64));
        let named = |name: &str| image(&json!({"Image": name, "ImageID": id}), false);
        assert_eq!(named("docker.io/library/redis:7@sha256:ab"), "redis:7");
        assert_eq!(named(&id), "1".repeat(12));
        assert_eq!(named(""), "<no image>");
    }
}
