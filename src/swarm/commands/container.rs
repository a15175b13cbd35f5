//! `swarm ps` and `swarm logs`: containers of this host.

use crate::cli::Context;
use crate::client::segment;
use crate::commands::common::{ListArgs, image_name, labels};
use crate::commands::log_options::LogOptions;
use crate::error::Result;
use crate::filter;
use crate::json::{flag, int, list, text, texts};
use crate::logs;
use crate::table::Table;
use crate::units::{ellipsis, go_time, human_duration, human_size, short_id};
use clap::Args;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Characters of a command in a table.
const COMMAND_WIDTH: usize = 20;

const CONTAINERS: Table = Table {
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
    ],
    template: "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}",
    quiet: "ID",
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
    let query = [("filters", filters.as_deref()), ("all", all), ("limit", last.as_deref())];
    let containers = client.list("/containers/json", &query).await?;
    let now = OffsetDateTime::now_utc();
    let rows: Vec<Value> = containers.iter().map(|container| row(container, args.no_trunc, now)).collect();
    CONTAINERS.print(&rows, &args.list.output())
}

fn row(container: &Value, whole: bool, now: OffsetDateTime) -> Value {
    let id = text(container, "/Id");
    let command = text(container, "/Command");
    let command = if whole { command.to_owned() } else { ellipsis(command, COMMAND_WIDTH) };
    let image = text(container, "/Image");
    let names: Vec<String> =
        texts(container, "/Names").iter().map(|name| name.trim_start_matches('/').to_owned()).collect();
    let networks = crate::json::object(container, "/NetworkSettings/Networks");
    let networks: Vec<&str> = networks.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let mounts: Vec<&str> = list(container, "/Mounts")
        .iter()
        .map(|mount| if text(mount, "/Name").is_empty() { text(mount, "/Source") } else { text(mount, "/Name") })
        .collect();
    let volumes = list(container, "/Mounts").iter().filter(|mount| text(mount, "/Type") == "volume").count();
    let created = match int(container, "/Created") {
        0 => None,
        seconds => OffsetDateTime::from_unix_timestamp(seconds).ok(),
    };
    let ago = created.map(|at| format!("{} ago", human_duration((now - at).whole_seconds())));
    json!({
        "ID": if whole { id } else { short_id(id) },
        "Image": if whole { image } else { image_name(image) },
        "Command": format!("\"{command}\""),
        "CreatedAt": created.and_then(|at| at.format(&Rfc3339).ok()).map(|at| go_time(&at)).unwrap_or_default(),
        "RunningFor": ago.unwrap_or_else(|| "N/A".to_owned()),
        "Status": text(container, "/Status"),
        "State": text(container, "/State"),
        "Ports": ports(list(container, "/Ports")),
        "Names": names.join(","),
        "Labels": labels(container, "/Labels"),
        "Networks": networks.join(","),
        "Mounts": mounts.join(","),
        "LocalVolumes": volumes.to_string(),
        "Size": human_size(int(container, "/SizeRw"), 3),
    })
}

fn ports(ports: &[Value]) -> String {
    let mut words: Vec<String> = ports
        .iter()
        .map(|port| {
            let (private, kind) = (int(port, "/PrivatePort"), text(port, "/Type"));
            match (text(port, "/IP"), int(port, "/PublicPort")) {
                (_, 0) => format!("{private}/{kind}"),
                ("", public) => format!("0.0.0.0:{public}->{private}/{kind}"),
                (ip, public) => format!("{ip}:{public}->{private}/{kind}"),
            }
        })
        .collect();
    words.sort();
    words.join(", ")
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
            "State": "running", "Ports": [{"PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}],
        });
        let now = OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(1000 + 7200);
        let text = CONTAINERS.render(&[row(&container, false, now)], &Output::default()).unwrap_or_default();
        let expected = "\
CONTAINER ID   IMAGE     COMMAND                  CREATED       STATUS         PORTS                  NAMES
0123456789ab   web:1     \"sh -c while true; d…\"   2 hours ago   Up 2 minutes   0.0.0.0:8080->80/tcp   shop_web.1.abc\n";
        assert_eq!(text, expected);
    }
}
