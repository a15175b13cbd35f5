//! `swarm init`, `join`, `leave`, `join-token`.

use super::settings::{self, ClusterSettings};
use super::{ca, rebalance, unlock};
use crate::cli::Context;
use crate::client::Client;
use crate::error::{CliError, Result};
use crate::json::{flag, set, set_some, text};
use crate::start;
use crate::table::write_out;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

/// Port of managers (docker's).
const PORT: u16 = 2377;

#[derive(Debug, Subcommand)]
pub enum SwarmCommand {
    /// Make a cluster with this host as its first manager
    Init(InitArgs),
    /// Join this host to a cluster
    Join(JoinArgs),
    /// Leave the cluster
    ///
    /// The tasks that run here are started on other nodes once it has left. To move them without a gap, drain it first
    /// ("swarm node update --availability drain NODE").
    Leave(LeaveArgs),
    /// Change the settings of the cluster
    Update(settings::UpdateArgs),
    /// Print or rotate a join token
    JoinToken(JoinTokenArgs),
    /// Print the certificate of the cluster's CA
    Ca(ca::CaArgs),
    /// Unlock a manager that was locked when it restarted
    Unlock,
    /// Print or rotate the key that unlocks managers
    UnlockKey(unlock::UnlockKeyArgs),
    /// Even out what runs where, once
    Rebalance(rebalance::RebalanceArgs),
}

pub async fn run(context: &Context, command: SwarmCommand) -> Result<()> {
    match command {
        SwarmCommand::Init(args) => init(context, args).await,
        SwarmCommand::Join(args) => join(context, args).await,
        SwarmCommand::Leave(args) => leave(context, args).await,
        SwarmCommand::Update(args) => settings::update(context, args).await,
        SwarmCommand::JoinToken(args) => join_token(context, args).await,
        SwarmCommand::Ca(args) => ca::run(context, args).await,
        SwarmCommand::Unlock => unlock::unlock(context).await,
        SwarmCommand::UnlockKey(args) => unlock::key(context, args).await,
        SwarmCommand::Rebalance(args) => rebalance::run(context, args).await,
    }
}

/// Where this node is reached.
#[derive(Debug, Args)]
pub struct Addresses {
    /// Address the other nodes reach this one at (ADDRESS[:PORT] or an interface)
    #[arg(long, value_name = "ADDR")]
    advertise_addr: Option<String>,
    /// Address to listen at
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:2377")]
    listen_addr: String,
    /// Address for the traffic of containers, if another than the advertised one
    #[arg(long, value_name = "ADDR")]
    data_path_addr: Option<String>,
    /// Whether this node gets tasks
    #[arg(long, value_enum, default_value_t = Availability::Active)]
    availability: Availability,
}

/// Whether a node gets tasks.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Availability {
    Active,
    Pause,
    Drain,
}

impl Availability {
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Pause => "pause",
            Self::Drain => "drain",
        }
    }
}

impl Addresses {
    fn request(&self) -> Value {
        let mut request = json!({ "ListenAddr": self.listen_addr, "Availability": self.availability.name() });
        set_some(&mut request, "/AdvertiseAddr", self.advertise_addr.clone());
        set_some(&mut request, "/DataPathAddr", self.data_path_addr.clone());
        request
    }
}

#[derive(Debug, Args)]
pub struct InitArgs {
    #[command(flatten)]
    addresses: Addresses,
    /// Pool of addresses the networks are drawn from, in CIDR form (may be repeated)
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    default_addr_pool: Vec<String>,
    /// Prefix length of the networks drawn from the pools
    #[arg(long, value_name = "LENGTH", default_value_t = 24)]
    default_addr_pool_mask_length: u8,
    /// UDP port for the traffic of containers (no other than 4789 yet)
    #[arg(long, value_name = "PORT")]
    data_path_port: Option<u16>,
    #[command(flatten)]
    settings: ClusterSettings,
    /// Lock the managers after a restart (not supported yet)
    #[arg(long)]
    autolock: bool,
    /// Make a new cluster from the state of this node (not supported yet)
    #[arg(long)]
    force_new_cluster: bool,
}

#[derive(Debug, Args)]
pub struct JoinArgs {
    /// Token that admits to the cluster ("swarm join-token worker" on a manager prints it)
    #[arg(long, value_name = "TOKEN", hide_env_values = true)]
    token: String,
    #[command(flatten)]
    addresses: Addresses,
    /// Address of a manager
    #[arg(value_name = "HOST:PORT")]
    manager: String,
}

#[derive(Debug, Args)]
pub struct LeaveArgs {
    /// Leave although this node is a manager, or the cluster cannot be told
    #[arg(short, long)]
    force: bool,
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
pub struct JoinTokenArgs {
    /// Print the token only
    #[arg(short, long)]
    quiet: bool,
    /// Make a new token; the old one admits nobody any more
    #[arg(long)]
    rotate: bool,
    #[arg(value_enum)]
    role: Role,
}

pub async fn init(context: &Context, args: InitArgs) -> Result<()> {
    if args.autolock {
        return Err(CliError::usage("--autolock: locking managers is not supported yet"));
    }
    if args.force_new_cluster {
        return Err(CliError::usage("--force-new-cluster: making a new cluster from old state is not supported yet"));
    }
    let mut request = args.addresses.request();
    if !args.default_addr_pool.is_empty() {
        set(&mut request, "/DefaultAddrPool", args.default_addr_pool.clone());
    }
    set(&mut request, "/SubnetSize", args.default_addr_pool_mask_length);
    set_some(&mut request, "/DataPathPort", args.data_path_port);
    set(&mut request, "/Spec", json!({}));
    args.settings.apply(&mut request["Spec"])?;
    let client = start::connect_or_start(context.host.clone()).await?;
    let node = client.post("/swarm/init", &[], Some(&request)).await.map_err(hint_address)?;
    let node = node.as_str().unwrap_or("");
    write_out(&format!("Swarm initialized: current node ({node}) is now a manager.\n\n"));
    print_join(&client, Role::Worker).await?;
    write_out("To add a manager to this swarm, run 'swarm join-token manager' and follow the instructions.\n\n");
    Ok(())
}

/// Docker's words for hosts with several addresses end with its flag; they say enough, others get a hint.
fn hint_address(error: CliError) -> CliError {
    match error {
        CliError::Daemon { status, message }
            if message.contains("advertise") && !message.contains("--advertise-addr") =>
        {
            let hint = "name the address the other hosts reach this one at with --advertise-addr";
            CliError::hinted(CliError::Daemon { status, message }.to_string(), hint)
        }
        other => other,
    }
}

/// The token for `role`, and where to join.
async fn print_join(client: &Client, role: Role) -> Result<()> {
    let (swarm, info) = (client.get("/swarm").await?, client.get("/info").await?);
    let token = token(&swarm, role);
    let node = client.get(&format!("/nodes/{}", text(&info, "/Swarm/NodeID"))).await?;
    let address = text(&node, "/ManagerStatus/Addr");
    write_out(&format!(
        "To add a {} to this swarm, run the following command:\n\n    swarm join --token {token} {address}\n\n",
        role.name()
    ));
    Ok(())
}

fn token(swarm: &Value, role: Role) -> String {
    let path = match role {
        Role::Worker => "/JoinTokens/Worker",
        Role::Manager => "/JoinTokens/Manager",
    };
    text(swarm, path).to_owned()
}

pub async fn join(context: &Context, args: JoinArgs) -> Result<()> {
    let mut request = args.addresses.request();
    set(&mut request, "/JoinToken", args.token);
    set(&mut request, "/RemoteAddrs", vec![with_port(&args.manager)]);
    let client = start::connect_or_start(context.host.clone()).await?;
    client.post("/swarm/join", &[], Some(&request)).await?;
    let info = client.get("/info").await?;
    let role = if flag(&info, "/Swarm/ControlAvailable") { "manager" } else { "worker" };
    write_out(&format!("This node joined a swarm as a {role}.\n"));
    Ok(())
}

/// An address with the managers' port, where none is given.
fn with_port(address: &str) -> String {
    let bare_v6 = address.parse::<std::net::Ipv6Addr>().is_ok();
    match address {
        address if bare_v6 => format!("[{address}]:{PORT}"),
        address if address.ends_with(']') || !address.contains(':') => format!("{address}:{PORT}"),
        address => address.to_owned(),
    }
}

pub async fn leave(context: &Context, args: LeaveArgs) -> Result<()> {
    let client = context.client().await?;
    // Asked before: afterwards there are none. Leaving does not depend on the answer.
    let containers = client.list("/containers/json", &[]).await.unwrap_or_default();
    client.post("/swarm/leave", &[("force", args.force.then_some("1"))], None).await?;
    write_out("Node left the swarm.\n");
    if let Some(words) = left_behind(&containers) {
        eprintln!("{words}");
    }
    Ok(())
}

/// What became of the tasks that ran here.
fn left_behind(containers: &[Value]) -> Option<String> {
    let is_task = |container: &&Value| !text(container, "/Labels/com.docker.swarm.task.id").is_empty();
    let whose = match containers.iter().filter(is_task).count() {
        0 => return None,
        1 => "The task that ran here is".to_owned(),
        tasks => format!("The {tasks} tasks that ran here are"),
    };
    Some(format!(
        "{whose} started on other nodes only now.\nTo move tasks without a gap, drain a node before it leaves: swarm node update --availability drain NODE"
    ))
}

pub async fn join_token(context: &Context, args: JoinTokenArgs) -> Result<()> {
    let client = context.client().await?;
    if args.rotate {
        let swarm = client.get("/swarm").await?;
        let version = crate::json::int(&swarm, "/Version/Index").to_string();
        let rotate = match args.role {
            Role::Worker => "rotateWorkerToken",
            Role::Manager => "rotateManagerToken",
        };
        let query = [("version", Some(version.as_str())), (rotate, Some("true"))];
        client.post("/swarm/update", &query, Some(&swarm["Spec"])).await?;
        if !args.quiet {
            write_out(&format!("Successfully rotated {} join token.\n\n", args.role.name()));
        }
    }
    if args.quiet {
        let swarm = client.get("/swarm").await?;
        write_out(&format!("{}\n", token(&swarm, args.role)));
        return Ok(());
    }
    print_join(&client, args.role).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leaves_with_tasks_is_told_how_to_do_so_without_a_gap() {
        let containers = |tasks: usize| {
            let task = json!({ "Labels": { "com.docker.swarm.task.id": "t" } });
            [vec![json!({ "Labels": {} })], vec![task; tasks]].concat()
        };
        assert_eq!(left_behind(&containers(0)), None);
        let one = left_behind(&containers(1)).expect("one task");
        assert!(one.starts_with("The task that ran here is started on other nodes only now.\n"), "{one}");
        assert!(one.ends_with("swarm node update --availability drain NODE"), "{one}");
        assert!(left_behind(&containers(3)).expect("tasks").starts_with("The 3 tasks that ran here are started"));
    }

    #[test]
    fn the_managers_port_is_added_where_none_is_given() {
        for (given, expected) in [
            ("192.0.2.1", "192.0.2.1:2377"),
            ("192.0.2.1:99", "192.0.2.1:99"),
            ("::1", "[::1]:2377"),
            ("[::1]", "[::1]:2377"),
            ("[::1]:5", "[::1]:5"),
            ("host", "host:2377"),
        ] {
            assert_eq!(with_port(given), expected);
        }
    }
}
