//! `swarm network`.

use crate::cli::Context;
use crate::client::{Client, segment};
use crate::commands::common::{InspectArgs, ListArgs, each, label_map, labels, natural, pairs};
use crate::commands::unserved::Unserved;
use crate::error::{CliError, Result};
use crate::filter;
use crate::json::{flag, set, set_some, text, texts};
use crate::names::Object;
use crate::prompt::confirm;
use crate::table::{LABEL, Table, write_out};
use crate::units::{go_time, short_id};
use clap::{Args, Subcommand};
use ipnet::IpNet;
use serde_json::{Value, json};
use std::net::IpAddr;

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
    row: "*network.networkContext",
    raw: "network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n",
    configured: "networksFormat",
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
    Rm(RemoveArgs),
    Connect(Unserved),
    Disconnect(Unserved),
    /// Remove all networks that nothing uses
    Prune(PruneArgs),
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
    #[arg(long = "subnet", value_name = "CIDR", value_delimiter = ',')]
    subnets: Vec<IpNet>,
    /// Gateway of the subnet that it is in (may be repeated)
    #[arg(long = "gateway", value_name = "ADDRESS", value_delimiter = ',')]
    gateways: Vec<IpAddr>,
    /// Part that addresses are drawn from, of the subnet that it is in (may be repeated)
    #[arg(long = "ip-range", value_name = "CIDR", value_delimiter = ',')]
    ranges: Vec<IpNet>,
    /// Address that containers do not get, NAME=ADDRESS (may be repeated)
    #[arg(long = "aux-address", value_name = "ADDRESS")]
    auxiliary: Vec<String>,
    /// What manages the addresses
    #[arg(long, value_name = "DRIVER", default_value = "default")]
    ipam_driver: String,
    /// Option of what manages the addresses, KEY=VALUE (may be repeated)
    #[arg(long = "ipam-opt", value_name = "OPTION")]
    ipam_options: Vec<String>,
    /// Whether the network has IPv4 addresses
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ipv4: Option<bool>,
    /// Whether the network has IPv6 addresses
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ipv6: Option<bool>,
    /// The network of published ports
    #[arg(long)]
    ingress: bool,
    /// Only settings, for other networks to take
    #[arg(long)]
    config_only: bool,
    /// Network whose settings are taken
    #[arg(long, value_name = "NETWORK")]
    config_from: Option<String>,
    /// Where the network is known: swarm
    #[arg(long, value_name = "SCOPE")]
    scope: Option<String>,
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
pub struct RemoveArgs {
    /// No error when a network is not there
    #[arg(short, long)]
    force: bool,
    #[arg(required = true, value_name = "NETWORK")]
    networks: Vec<String>,
}

#[derive(Debug, Args)]
pub struct PruneArgs {
    /// Only what matches, such as label=KEY=VALUE (may be repeated)
    #[arg(long = "filter", value_name = "FILTER")]
    filters: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

pub async fn run(context: &Context, command: NetworkCommand) -> Result<()> {
    match command {
        NetworkCommand::Connect(args) | NetworkCommand::Disconnect(args) => args.answer(context),
        NetworkCommand::Prune(args) => prune(context, args).await,
        NetworkCommand::Ls(args) => ls(&context.client().await?, args).await,
        NetworkCommand::Create(args) => create(&context.client().await?, args).await,
        NetworkCommand::Inspect(args) => {
            let client = context.client().await?;
            let verbose = [("verbose", args.verbose.then_some("true"))];
            let fetch = async |name: String| client.get_with(&format!("/networks/{}", segment(&name)), &verbose).await;
            args.inspect.run_with(Object::Network, fetch).await
        }
        NetworkCommand::Rm(args) => {
            let client = &context.client().await?;
            each(&args.networks, |name| async move {
                match client.delete(&format!("/networks/{}", segment(&name)), &[]).await {
                    Err(error) if args.force && error.is_not_found() => Ok(()),
                    done => done.map(drop),
                }
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
            LABEL: label_map(network, "/Labels"),
            "CreatedAt": go_time(text(network, "/Created")),
        })
    };
    let rows: Vec<Value> = networks.iter().map(row).collect();
    NETWORKS.print(&rows, &args.list.output())
}

async fn create(client: &Client, args: CreateArgs) -> Result<()> {
    let mut request = json!({
        "Name": args.name,
        "Driver": args.driver,
        "Internal": args.internal,
        "Attachable": args.attachable,
        "Options": pairs(&args.options),
        "Labels": pairs(&args.labels),
    });
    let config = args.subnets()?;
    if !config.is_empty() || args.ipam_driver != "default" || !args.ipam_options.is_empty() {
        set(&mut request, "/IPAM", json!({ "Driver": args.ipam_driver, "Config": config }));
        set_some(&mut request, "/IPAM/Options", (!args.ipam_options.is_empty()).then(|| pairs(&args.ipam_options)));
    }
    // What is left out is the daemon's to choose; it refuses by name what it does not do.
    for (path, given) in [("/Ingress", args.ingress), ("/ConfigOnly", args.config_only)] {
        set_some(&mut request, path, given.then_some(true));
    }
    set_some(&mut request, "/EnableIPv4", args.ipv4);
    set_some(&mut request, "/EnableIPv6", args.ipv6);
    set_some(&mut request, "/ConfigFrom/Network", args.config_from.clone());
    set_some(&mut request, "/Scope", args.scope.clone());
    let created = client.post("/networks/create", &[], Some(&request)).await?;
    if !text(&created, "/Warning").is_empty() {
        eprintln!("WARNING: {}", text(&created, "/Warning"));
    }
    write_out(&format!("{}\n", text(&created, "/Id")));
    Ok(())
}

async fn prune(context: &Context, args: PruneArgs) -> Result<()> {
    let filters = filter::encode(&args.filters)?;
    if !args.force && !confirm("All networks that neither a service nor a container uses are removed. Go on?")? {
        return Ok(());
    }
    let query = [("filters", filters.as_deref())];
    let pruned = context.client().await?.post("/networks/prune", &query, None).await?;
    let names = texts(&pruned, "/NetworksDeleted");
    if !names.is_empty() {
        write_out(&format!("Deleted Networks:\n{}\n\n", names.join("\n")));
    }
    Ok(())
}

impl CreateArgs {
    /// API `IPAMConfig` of each subnet, with what was given for it: each belongs to the one it is in.
    fn subnets(&self) -> Result<Vec<Value>> {
        if self.subnets.len() < self.ranges.len() || self.subnets.len() < self.gateways.len() {
            return Err(CliError::usage("every ip-range or gateway must have a corresponding subnet"));
        }
        let mut out: Vec<Value> = self.subnets.iter().map(|subnet| json!({ "Subnet": subnet.to_string() })).collect();
        let mut put = |what: &str, inside: IpAddr, field: &str, value: String| {
            let place = self.subnets.iter().position(|subnet| subnet.contains(&inside));
            let at = place.ok_or_else(|| CliError::usage(format!("no matching subnet for {what} {value}")))?;
            if !out[at][field].is_null() {
                return Err(CliError::usage(format!("{} has more than one {what}", self.subnets[at])));
            }
            out[at][field] = Value::from(value);
            Ok(())
        };
        for range in &self.ranges {
            put("range", range.addr(), "IPRange", range.to_string())?;
        }
        for gateway in &self.gateways {
            put("gateway", *gateway, "Gateway", gateway.to_string())?;
        }
        for (name, address) in self.auxiliary.iter().map(|word| word.split_once('=').unwrap_or((word, ""))) {
            let inside = address.parse::<IpAddr>();
            let inside =
                inside.map_err(|_| CliError::flag(format!("--aux-address: {name}={address} is no NAME=ADDRESS")))?;
            let place = self.subnets.iter().position(|subnet| subnet.contains(&inside));
            let at = place.ok_or_else(|| CliError::usage(format!("no matching subnet for aux-address {address}")))?;
            out[at]["AuxiliaryAddresses"][name] = Value::from(address);
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: CreateArgs,
    }

    fn subnets(line: &str) -> std::result::Result<Vec<Value>, String> {
        let words = ["create"].into_iter().chain(line.split(' ')).chain(["net"]);
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        line.args.subnets().map_err(|error| error.to_string())
    }

    #[test]
    fn gateways_and_ranges_belong_to_the_subnet_they_are_in() {
        let both =
            "--subnet 10.1.0.0/16,10.2.0.0/16 --gateway 10.2.0.1 --ip-range 10.1.5.0/24 --aux-address a=10.2.0.9";
        assert_eq!(
            subnets(both),
            Ok(vec![
                json!({"Subnet": "10.1.0.0/16", "IPRange": "10.1.5.0/24"}),
                json!({"Subnet": "10.2.0.0/16", "Gateway": "10.2.0.1", "AuxiliaryAddresses": {"a": "10.2.0.9"}}),
            ])
        );
        for (line, words) in [
            ("--gateway 10.1.0.1", "every ip-range or gateway must have a corresponding subnet"),
            ("--subnet 10.1.0.0/16 --gateway 10.2.0.1", "no matching subnet for gateway 10.2.0.1"),
            ("--subnet 10.1.0.0/16,10.2.0.0/16 --gateway 10.1.0.1,10.1.0.2", "10.1.0.0/16 has more than one gateway"),
            ("--subnet 10.1.0.0/16 --aux-address a", "is no NAME=ADDRESS"),
        ] {
            assert!(subnets(line).expect_err(line).contains(words), "{line}");
        }
    }
}
