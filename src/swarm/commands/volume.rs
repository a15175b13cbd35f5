//! `swarm volume`: the volumes of this host.

use crate::cli::Context;
use crate::client::{Client, segment};
use crate::commands::common::{InspectArgs, ListArgs, each, label_map, labels, natural, pairs};
use crate::commands::unserved::Unserved;
use crate::error::Result;
use crate::filter;
use crate::json::{list, text};
use crate::names::Object;
use crate::table::{LABEL, Table, write_out};
use crate::units::human_size;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

pub const VOLUMES: Table = Table {
    headers: &[
        ("Driver", "DRIVER"),
        ("Name", "VOLUME NAME"),
        ("Scope", "SCOPE"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Labels", "LABELS"),
        ("Availability", "AVAILABILITY"),
        ("Group", "GROUP"),
        ("Links", "LINKS"),
        ("Size", "SIZE"),
        ("Status", "STATUS"),
    ],
    template: "{{.Driver}}\t{{.Name}}",
    quiet: "Name",
    row: "*formatter.volumeContext",
    raw: "name: {{.Name}}\ndriver: {{.Driver}}\n",
    configured: "volumesFormat",
};

#[derive(Debug, Subcommand)]
pub enum VolumeCommand {
    /// List the volumes
    #[command(visible_alias = "list")]
    Ls(ListArgs),
    /// Make a volume
    Create(CreateArgs),
    /// Print what is known of volumes
    Inspect(InspectArgs),
    /// Remove volumes
    #[command(visible_alias = "remove")]
    Rm(RemoveArgs),
    Prune(Unserved),
    Update(Unserved),
}

#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Driver of the volume
    #[arg(short, long, default_value = "local")]
    driver: String,
    /// Option of the driver, KEY=VALUE (may be repeated)
    #[arg(short, long = "opt", value_name = "OPTION")]
    options: Vec<String>,
    /// Label, KEY=VALUE (may be repeated)
    #[arg(long = "label", value_name = "LABEL")]
    labels: Vec<String>,
    #[arg(value_name = "VOLUME")]
    name: Option<String>,
}

#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// No error when a volume is not there
    #[arg(short, long)]
    force: bool,
    #[arg(required = true, value_name = "VOLUME")]
    volumes: Vec<String>,
}

pub async fn run(context: &Context, command: VolumeCommand) -> Result<()> {
    match command {
        VolumeCommand::Prune(args) | VolumeCommand::Update(args) => args.answer(context),
        VolumeCommand::Ls(args) => ls(&context.client().await?, args).await,
        VolumeCommand::Create(args) => create(&context.client().await?, args).await,
        VolumeCommand::Inspect(args) => args.run(&context.client().await?, Object::Volume, "/volumes").await,
        VolumeCommand::Rm(args) => {
            let (client, force) = (&context.client().await?, &[("force", args.force.then_some("1"))]);
            each(&args.volumes, |name| async move {
                client.delete(&format!("/volumes/{}", segment(&name)), force).await.map(drop)
            })
            .await
        }
    }
}

async fn ls(client: &Client, args: ListArgs) -> Result<()> {
    let filters = filter::encode(&args.filters)?;
    let answer = client.get_with("/volumes", &[("filters", filters.as_deref())]).await?;
    let mut volumes = list(&answer, "/Volumes").to_vec();
    volumes.sort_by(|a, b| natural(text(a, "/Name"), text(b, "/Name")));
    let rows: Vec<Value> = volumes.iter().map(row).collect();
    VOLUMES.print(&rows, &args.output())
}

/// How much it holds and how many use it is told only with the space that is used on the host.
pub fn row(volume: &Value) -> Value {
    let used = |path: &str| volume.pointer(path).and_then(Value::as_i64).filter(|amount| *amount >= 0);
    let none = || "N/A".to_owned();
    json!({
        "Driver": text(volume, "/Driver"),
        "Name": text(volume, "/Name"),
        "Scope": text(volume, "/Scope"),
        "Mountpoint": text(volume, "/Mountpoint"),
        "Labels": labels(volume, "/Labels"),
        LABEL: label_map(volume, "/Labels"),
        "Links": used("/UsageData/RefCount").map_or_else(none, |count| count.to_string()),
        "Size": used("/UsageData/Size").map_or_else(none, |bytes| human_size(bytes, 4)),
        // Of volumes of the cluster, which there are none of.
        "Availability": "N/A",
        "Group": "N/A",
        "Status": "N/A",
    })
}

async fn create(client: &Client, args: CreateArgs) -> Result<()> {
    let request = json!({
        "Name": args.name.unwrap_or_default(),
        "Driver": args.driver,
        "DriverOpts": pairs(&args.options),
        "Labels": pairs(&args.labels),
    });
    let created = client.post("/volumes/create", &[], Some(&request)).await?;
    write_out(&format!("{}\n", text(&created, "/Name")));
    Ok(())
}
