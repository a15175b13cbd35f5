//! `swarm node`.

use crate::cli::Context;
use crate::client::{Client, segment};
use crate::commands::cluster::Availability;
use crate::commands::common::{InspectArgs, ListArgs, capitalized, each, label_lines, natural, own_node, pairs, tell};
use crate::commands::drain;
use crate::commands::tasks::{self, TaskListArgs};
use crate::error::{CliError, Result};
use crate::filter;
use crate::json::{self, flag, int, object, object_mut, set, text};
use crate::names::Object;
use crate::table::{Table, write_out};
use crate::units::{binary_size, go_time};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const NODES: Table = Table {
    headers: &[
        ("ID", "ID"),
        ("Self", ""),
        ("Hostname", "HOSTNAME"),
        ("Status", "STATUS"),
        ("Availability", "AVAILABILITY"),
        ("ManagerStatus", "MANAGER STATUS"),
        ("EngineVersion", "ENGINE VERSION"),
        ("TLSStatus", "TLS STATUS"),
        ("TasksLeft", "TASKS LEFT"),
    ],
    template: "{{.ID}} {{if .Self}}*{{else}} {{ end }}\t{{.Hostname}}\t{{.Status}}\t{{.Availability}}\t{{.ManagerStatus}}\t{{.EngineVersion}}",
    quiet: "ID",
    row: "*node.nodeContext",
    raw: "node_id: {{.ID}}\nhostname: {{.Hostname}}\nstatus: {{.Status}}\navailability: {{.Availability}}\nmanager_status: {{.ManagerStatus}}\n",
    configured: "nodesFormat",
};

/// Tries of a change of role or labels when others write the same node at the same time.
const WRITE_TRIES: usize = 8;

#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// List the nodes
    #[command(visible_alias = "list")]
    Ls(ListArgs),
    /// Print what is known of nodes
    Inspect(NodeInspectArgs),
    /// List the tasks of nodes (this one by default)
    Ps(NodePsArgs),
    /// Change a node
    Update(UpdateArgs),
    /// Make nodes managers
    Promote(Names),
    /// Make managers workers
    Demote(Names),
    /// Remove nodes that are down or have left
    #[command(visible_alias = "remove")]
    Rm(RemoveArgs),
}

#[derive(Debug, Args)]
pub struct NodeInspectArgs {
    #[command(flatten)]
    inspect: InspectArgs,
    /// In words
    #[arg(long, conflicts_with = "format")]
    pretty: bool,
}

#[derive(Debug, Args)]
pub struct NodePsArgs {
    #[command(flatten)]
    list: TaskListArgs,
    #[arg(value_name = "NODE")]
    nodes: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Names {
    #[arg(required = true, value_name = "NODE")]
    nodes: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Role {
    Worker,
    Manager,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Manager => "manager",
        }
    }
}

#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// Whether the node gets tasks; with drain, waits until it has none left
    #[arg(long, value_enum)]
    availability: Option<Availability>,
    /// Do not wait until a drained node has no tasks left
    #[arg(short, long)]
    detach: bool,
    /// Add or change a label, KEY=VALUE (may be repeated)
    #[arg(long, value_name = "LABEL")]
    label_add: Vec<String>,
    /// Remove a label (may be repeated)
    #[arg(long, value_name = "KEY")]
    label_rm: Vec<String>,
    /// Manager or worker
    #[arg(long, value_enum)]
    role: Option<Role>,
    #[arg(value_name = "NODE")]
    node: String,
}

#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// Remove nodes that are not down (drain them first to move their tasks without a gap)
    #[arg(short, long)]
    force: bool,
    #[arg(required = true, value_name = "NODE")]
    nodes: Vec<String>,
}

pub async fn run(context: &Context, command: NodeCommand) -> Result<()> {
    let client = context.client().await?;
    match command {
        NodeCommand::Ls(args) => list(&client, args).await,
        NodeCommand::Inspect(args) => inspect(&client, args).await,
        NodeCommand::Ps(args) => ps(&client, args).await,
        NodeCommand::Update(args) => update(&client, args).await,
        NodeCommand::Promote(args) => change_role(&client, &args.nodes, Role::Manager).await,
        NodeCommand::Demote(args) => change_role(&client, &args.nodes, Role::Worker).await,
        NodeCommand::Rm(args) => {
            let force = [("force", args.force.then_some("1"))];
            let force = &force;
            let client = &client;
            each(&args.nodes, |node| async move {
                client.delete(&format!("/nodes/{}", segment(&node)), force).await.map(drop)
            })
            .await
        }
    }
}

async fn list(client: &Client, args: ListArgs) -> Result<()> {
    let mut nodes = args.fetch(client, "/nodes").await?;
    let info = if args.quiet { Value::Null } else { client.get("/info").await? };
    sort(&mut nodes);
    let rows: Vec<Value> = nodes.iter().map(|node| row(node, &info)).collect();
    NODES.print(&rows, &args.output())?;
    if !args.quiet && args.format.is_none() {
        nodes.iter().filter_map(left).for_each(|words| eprintln!("{words}"));
    }
    Ok(())
}

/// That a node that is drained still has tasks.
fn left(node: &Value) -> Option<String> {
    let name = text(node, "/Description/Hostname");
    match int(node, "/Swarm/TasksLeft") {
        0 => None,
        1 => Some(format!("{name}: 1 task is left")),
        tasks => Some(format!("{name}: {tasks} tasks are left")),
    }
}

fn sort(nodes: &mut [Value]) {
    nodes.sort_by(|a, b| natural(text(a, "/Description/Hostname"), text(b, "/Description/Hostname")));
}

fn row(node: &Value, info: &Value) -> Value {
    let manager = match object(node, "/ManagerStatus") {
        Some(_) if flag(node, "/ManagerStatus/Leader") => "Leader".to_owned(),
        Some(_) => capitalized(text(node, "/ManagerStatus/Reachability")),
        None => String::new(),
    };
    json!({
        "ID": text(node, "/ID"),
        "Self": text(node, "/ID") == text(info, "/Swarm/NodeID"),
        "Hostname": text(node, "/Description/Hostname"),
        "Status": capitalized(text(node, "/Status/State")),
        "Availability": capitalized(text(node, "/Spec/Availability")),
        "ManagerStatus": manager,
        "EngineVersion": text(node, "/Description/Engine/EngineVersion"),
        "TLSStatus": tls_status(node, info),
        // Ours: of a node that is drained.
        "TasksLeft": int(node, "/Swarm/TasksLeft").to_string(),
    })
}

/// Whether the node's certificate is of the cluster's present CA.
fn tls_status(node: &Value, info: &Value) -> &'static str {
    let (own, wanted) = ("/Description/TLSInfo/TrustRoot", "/Swarm/Cluster/TLSInfo/TrustRoot");
    match (text(node, own), text(info, wanted)) {
        ("", _) | (_, "") => "Unknown",
        (own, wanted) if own == wanted => "Ready",
        (_, _) => "Needs Rotation",
    }
}

/// The node's path; `self` is this node.
async fn path(client: &Client, name: &str) -> Result<String> {
    let id = if name == "self" { own_node(client).await? } else { name.to_owned() };
    Ok(format!("/nodes/{}", segment(&id)))
}

async fn inspect(client: &Client, args: NodeInspectArgs) -> Result<()> {
    let fetch = async |name: String| client.get(&path(client, &name).await?).await;
    if !args.pretty && !args.inspect.is_pretty() {
        return args.inspect.run_with(Object::Node, fetch).await;
    }
    args.inspect.run_pretty(fetch, async |node| Ok(describe(node))).await
}

/// The text of docker's template for nodes.
fn describe(node: &Value) -> String {
    let mut out = format!("ID:\t\t\t{}\n", text(node, "/ID"));
    let mut line = |name: &str, value: &str| out.push_str(&format!("{name}{value}\n"));
    if !text(node, "/Spec/Name").is_empty() {
        line("Name:\t\t\t", text(node, "/Spec/Name"));
    }
    let list = label_lines(node, "/Spec/Labels");
    if !list.is_empty() {
        line("Labels:", "");
        list.iter().for_each(|label| line(" - ", label));
    }
    line("Hostname:              \t", text(node, "/Description/Hostname"));
    line("Joined at:             \t", &go_time(text(node, "/CreatedAt")).to_lowercase());
    line("Status:", "");
    line(" State:\t\t\t", &capitalized(text(node, "/Status/State")));
    if !text(node, "/Status/Message").is_empty() {
        line(" Message:\t\t", &capitalized(text(node, "/Status/Message")));
    }
    line(" Availability:         \t", &capitalized(text(node, "/Spec/Availability")));
    match int(node, "/Swarm/TasksLeft") {
        0 => {}
        tasks => line(" Tasks Left:\t\t", &tasks.to_string()),
    }
    line(" Address:\t\t", text(node, "/Status/Addr"));
    if object(node, "/ManagerStatus").is_some() {
        line("Manager Status:", "");
        line(" Address:\t\t", text(node, "/ManagerStatus/Addr"));
        line(" Raft Status:\t\t", &capitalized(text(node, "/ManagerStatus/Reachability")));
        line(" Leader:\t\t", if flag(node, "/ManagerStatus/Leader") { "Yes" } else { "No" });
    }
    line("Platform:", "");
    line(" Operating System:\t", text(node, "/Description/Platform/OS"));
    line(" Architecture:\t\t", text(node, "/Description/Platform/Architecture"));
    line("Resources:", "");
    line(" CPUs:\t\t\t", &(int(node, "/Description/Resources/NanoCPUs") / 1_000_000_000).to_string());
    line(" Memory:\t\t", &binary_size(int(node, "/Description/Resources/MemoryBytes")));
    let generic = generic(node);
    if !generic.is_empty() {
        line(" Generic:\t\t", &generic);
    }
    let plugins = plugins(node);
    if !plugins.is_empty() {
        line("Plugins:", "");
    }
    for (kind, names) in plugins {
        line(&format!(" {kind}:\t\t"), &names.join(", "));
    }
    line("Engine Version:\t\t", text(node, "/Description/Engine/EngineVersion"));
    let list = label_lines(node, "/Description/Engine/Labels");
    if !list.is_empty() {
        line("Engine Labels:", "");
        list.iter().for_each(|label| line(" - ", label));
    }
    let tls = |field: &str| text(node, &format!("/Description/TLSInfo/{field}"));
    if !tls("TrustRoot").is_empty() {
        line("TLS Info:", "");
        line(" TrustRoot:\n", tls("TrustRoot"));
        line(" Issuer Subject:\t", tls("CertIssuerSubject"));
        line(" Issuer Public Key:\t", tls("CertIssuerPublicKey"));
    }
    out
}

/// `gpu=GPU-1, ssd=2`: generic resources as the daemon was told of them.
fn generic(node: &Value) -> String {
    let one = |item: &Value| match text(item, "/NamedResourceSpec/Kind") {
        "" => format!("{}={}", text(item, "/DiscreteResourceSpec/Kind"), int(item, "/DiscreteResourceSpec/Value")),
        kind => format!("{kind}={}", text(item, "/NamedResourceSpec/Value")),
    };
    let items = json::list(node, "/Description/Resources/GenericResources").iter();
    items.map(one).collect::<Vec<_>>().join(", ")
}

/// Names of plugins by their type.
fn plugins(node: &Value) -> BTreeMap<String, Vec<String>> {
    let mut out: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for plugin in json::list(node, "/Description/Engine/Plugins") {
        out.entry(text(plugin, "/Type").to_owned()).or_default().push(text(plugin, "/Name").to_owned());
    }
    out
}

async fn ps(client: &Client, args: NodePsArgs) -> Result<()> {
    let names = if args.nodes.is_empty() { vec!["self".to_owned()] } else { args.nodes };
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in &names {
        let node = match client.get(&path(client, name).await?).await {
            Ok(node) => node,
            Err(error @ CliError::Connect { .. }) => return Err(error),
            Err(error) => {
                failures.push(error);
                continue;
            }
        };
        let filters = filter::with(&args.list.filters, &[("node", text(&node, "/ID"))])?;
        found.extend(client.list("/tasks", &[("filters", filters.as_deref())]).await?);
    }
    if failures.len() < names.len() {
        tasks::print(client, found, &args.list).await?;
    }
    tell(failures)
}

/// Reads, changes and writes a node; once more when somebody else wrote it in between.
async fn modify(client: &Client, name: &str, mut change: impl FnMut(&mut Value) -> Result<bool>) -> Result<bool> {
    let path = path(client, name).await?;
    let mut last = None;
    for _ in 0..WRITE_TRIES {
        let mut node = client.get(&path).await?;
        if !change(&mut node)? {
            return Ok(false);
        }
        let version = int(&node, "/Version/Index").to_string();
        let update = format!("/nodes/{}/update", segment(text(&node, "/ID")));
        match client.post(&update, &[("version", Some(&version))], Some(&node["Spec"])).await {
            Ok(_) => return Ok(true),
            Err(CliError::Daemon { message, status }) if message.contains("out of sequence") => {
                last = Some(CliError::Daemon { status, message });
            }
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or_else(|| CliError::usage(format!("node {name} was not changed"))))
}

async fn update(client: &Client, args: UpdateArgs) -> Result<()> {
    let (labels, role, availability) = (pairs(&args.label_add), args.role, args.availability);
    modify(client, &args.node, |node| {
        if let Some(availability) = availability {
            set(node, "/Spec/Availability", availability.name());
        }
        if let Some(role) = role {
            set(node, "/Spec/Role", role.name());
        }
        let fields = object_mut(node, "/Spec/Labels");
        for key in &args.label_rm {
            if fields.remove(key).is_none() {
                return Err(CliError::usage(format!("key {key} doesn't exist in node's labels")));
            }
        }
        fields.extend(labels.clone());
        Ok(true)
    })
    .await?;
    write_out(&format!("{}\n", args.node));
    if matches!(availability, Some(Availability::Drain)) && !args.detach {
        let node = client.get(&path(client, &args.node).await?).await?;
        drain::wait(client, text(&node, "/ID"), text(&node, "/Description/Hostname")).await?;
    }
    Ok(())
}

async fn change_role(client: &Client, names: &[String], role: Role) -> Result<()> {
    for name in names {
        let changed = modify(client, name, |node| {
            let changes = text(node, "/Spec/Role") != role.name();
            set(node, "/Spec/Role", role.name());
            Ok(changes)
        });
        let words = match (changed.await?, role) {
            (true, Role::Manager) => format!("Node {name} promoted to a manager in the swarm.\n"),
            (true, Role::Worker) => format!("Manager {name} demoted in the swarm.\n"),
            (false, role) => format!("Node {name} is already a {}.\n", role.name()),
        };
        write_out(&words);
    }
    Ok(())
}

/// Names of the nodes, by id.
pub async fn names(client: &Client) -> Result<BTreeMap<String, String>> {
    let nodes = client.list("/nodes", &[]).await?;
    let pair = |node: &Value| {
        let name = match text(node, "/Spec/Name") {
            "" => text(node, "/Description/Hostname"),
            name => name,
        };
        (text(node, "/ID").to_owned(), name.to_owned())
    };
    Ok(nodes.iter().map(pair).collect())
}

/// Ids of the nodes that are up, and so hold tasks that count.
pub async fn alive(client: &Client) -> Result<BTreeSet<String>> {
    let nodes = client.list("/nodes", &[]).await?;
    let up = nodes.iter().filter(|node| text(node, "/Status/State") != "down");
    Ok(up.map(|node| text(node, "/ID").to_owned()).collect())
}
