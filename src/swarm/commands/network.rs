//! `swarm network`.

use crate::cli::Context;
use crate::client::{Client, segment};
use crate::commands::common::{InspectArgs, ListArgs, each, labels, natural, pairs};
use crate::error::{CliError, Result};
use crate::json::{flag, set, text};
use crate::table::{Table, write_out};
use crate::units::{go_time, short_id};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

const NETWORKS: Table = Table {
    headers: &[
        ("ID", "NETWORK ID"),
        ("Name", "NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("IPv4", "IPV4"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("CreatedAt", "CREATED AT"),
    ],
    template: "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
    quiet: "ID",
};

#[derive(Debug, Subcommand)]
pub enum NetworkCommand {
    /// List the networks
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    /// Make a network
    Create(CreateArgs),
    /// Print what is known of networks
    Inspect(NetworkInspectArgs),
    /// Remove networks
    #[command(visible_alias = "remove")]
    Rm(Names),
}

#[derive(Debug, Args)]
pub struct LsArgs {
    #[command(flatten)]
    list: ListArgs,
    /// Whole ids
    #[arg(long)]
    no_trunc: bool,
}

#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Driver of the network
    #[arg(short, long, default_value = "overlay")]
    driver: String,
    /// Option of the driver, KEY=VALUE (may be repeated)
    #[arg(short, long = "opt", value_name = "OPTION")]
    options: Vec<String>,
    /// Label, KEY=VALUE (may be repeated)
    #[arg(long = "label", value_name = "LABEL")]
    labels: Vec<String>,
    /// Subnet in CIDR form (may be repeated)
    #[arg(long = "subnet", value_name = "CIDR")]
    subnets: Vec<String>,
    /// Gateway of the subnet in the same place (may be repeated)
    #[arg(long = "gateway", value_name = "ADDRESS")]
    gateways: Vec<String>,
    /// Part of the subnet in the same place that addresses are drawn from (may be repeated)
    #[arg(long = "ip-range", value_name = "CIDR")]
    ranges: Vec<String>,
    /// No way out of the network
    #[arg(long)]
    internal: bool,
    /// Let containers be attached by hand
    #[arg(long)]
    attachable: bool,
    #[arg(value_name = "NETWORK")]
    name: String,
}

#[derive(Debug, Args)]
pub struct NetworkInspectArgs {
    #[command(flatten)]
    inspect: InspectArgs,
    /// Also the services and tasks on it
    #[arg(short, long)]
    verbose: bool,
}

#[derive(Debug, Args)]
pub struct Names {
    #[arg(required = true, value_name = "NETWORK")]
    networks: Vec<String>,
}

pub async fn run(context: &Context, command: NetworkCommand) -> Result<()> {
    let client = context.client().await?;
    match command {
        NetworkCommand::Ls(args) => ls(&client, args).await,
        NetworkCommand::Create(args) => create(&client, args).await,
        NetworkCommand::Inspect(args) => {
            let verbose = [("verbose", args.verbose.then_some("true"))];
            let fetch = async |name: String| client.get_with(&format!("/networks/{}", segment(&name)), &verbose).await;
            args.inspect.run_with(fetch).await
        }
        NetworkCommand::Rm(args) => {
            let client = &client;
            each(&args.networks, |name| async move {
                client.delete(&format!("/networks/{}", segment(&name)), &[]).await.map(drop)
            })
            .await
        }
    }
}

async fn ls(client: &Client, args: LsArgs) -> Result<()> {
    let mut networks = args.list.fetch(client, "/networks").await?;
    networks.sort_by(|a, b| natural(text(a, "/Name"), text(b, "/Name")));
    let row = |network: &Value| {
        let id = text(network, "/Id");
        json!({
            "ID": if args.no_trunc { id } else { short_id(id) },
            "Name": text(network, "/Name"),
            "Driver": text(network, "/Driver"),
            "Scope": text(network, "/Scope"),
            "IPv4": flag(network, "/EnableIPv4").to_string(),
            "IPv6": flag(network, "/EnableIPv6").to_string(),
            "Internal": flag(network, "/Internal").to_string(),
            "Labels": labels(network, "/Labels"),
            "CreatedAt": go_time(text(network, "/Created")),
        })
    };
    let rows: Vec<Value> = networks.iter().map(row).collect();
    NETWORKS.print(&rows, &args.list.output())
}

async fn create(client: &Client, args: CreateArgs) -> Result<()> {
    if args.gateways.len() > args.subnets.len() || args.ranges.len() > args.subnets.len() {
        return Err(CliError::usage("--gateway and --ip-range belong to a --subnet: one is missing"));
    }
    let config = args.subnets.iter().enumerate().map(|(place, subnet)| {
        let mut config = json!({ "Subnet": subnet });
        crate::json::set_some(&mut config, "/Gateway", args.gateways.get(place).cloned());
        crate::json::set_some(&mut config, "/IPRange", args.ranges.get(place).cloned());
        config
    });
    let config: Vec<Value> = config.collect();
    let mut request = json!({
        "Name": args.name,
        "Driver": args.driver,
        "Internal": args.internal,
        "Attachable": args.attachable,
        "Options": pairs(&args.options),
        "Labels": pairs(&args.labels),
    });
    if !config.is_empty() {
        set(&mut request, "/IPAM", json!({ "Driver": "default", "Config": config }));
    }
    let created = client.post("/networks/create", &[], Some(&request)).await?;
    if !text(&created, "/Warning").is_empty() {
        eprintln!("WARNING: {}", text(&created, "/Warning"));
    }
    write_out(&format!("{}\n", text(&created, "/Id")));
    Ok(())
}
