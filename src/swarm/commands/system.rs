//! `swarm info` and `swarm version`.

use crate::VERSION;
use crate::cli::Context;
use crate::commands::common::print_objects;
use crate::error::{CliError, Result};
use crate::json::{flag, int, list, text, texts};
use crate::table::write_out;
use crate::template::Template;
use crate::units::{binary_size, go_duration};
use clap::Args;
use serde_json::{Value, json};

#[derive(Debug, Args)]
pub struct InfoArgs {
    /// Form of the output: json or a Go template
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
}

#[derive(Debug, Args)]
pub struct VersionArgs {
    /// Form of the output: json or a Go template
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
}

pub async fn info(context: &Context, args: InfoArgs) -> Result<()> {
    let client = context.client().await?;
    let info = client.get("/info").await?;
    match args.format.as_deref() {
        None | Some("") => write_out(&describe(&info)),
        Some("json") => write_out(&format!("{info}\n")),
        format @ Some(_) => print_objects(vec![info], format)?,
    }
    Ok(())
}

/// Docker's text, without the parts this daemon has not.
fn describe(info: &Value) -> String {
    let mut out = format!("Client:\n Version:    {VERSION}\n\nServer:\n");
    let mut line = |depth: usize, name: &str, value: &str| {
        out.push_str(&format!("{}{name}: {value}\n", " ".repeat(depth)));
    };
    line(1, "Containers", &int(info, "/Containers").to_string());
    for (name, path) in
        [("Running", "/ContainersRunning"), ("Paused", "/ContainersPaused"), ("Stopped", "/ContainersStopped")]
    {
        line(2, name, &int(info, path).to_string());
    }
    line(1, "Images", &int(info, "/Images").to_string());
    line(1, "Server Version", text(info, "/ServerVersion"));
    line(1, "Storage Driver", text(info, "/Driver"));
    line(1, "Logging Driver", text(info, "/LoggingDriver"));
    line(1, "Cgroup Driver", text(info, "/CgroupDriver"));
    line(1, "Cgroup Version", text(info, "/CgroupVersion"));
    let swarm = swarm(info);
    line(1, "Swarm", text(info, "/Swarm/LocalNodeState"));
    swarm.iter().for_each(|(depth, name, value)| line(*depth, name, value));
    let options = texts(info, "/SecurityOptions");
    if !options.is_empty() {
        line(1, "Security Options", &options.join(" "));
    }
    for (name, path) in [
        ("Kernel Version", "/KernelVersion"),
        ("Operating System", "/OperatingSystem"),
        ("OSType", "/OSType"),
        ("Architecture", "/Architecture"),
    ] {
        line(1, name, text(info, path));
    }
    line(1, "CPUs", &int(info, "/NCPU").to_string());
    line(1, "Total Memory", &binary_size(int(info, "/MemTotal")));
    line(1, "Name", text(info, "/Name"));
    line(1, "ID", text(info, "/ID"));
    line(1, "Docker Root Dir", text(info, "/DockerRootDir"));
    for label in texts(info, "/Labels") {
        line(1, "Label", &label);
    }
    line(1, "Live Restore Enabled", if flag(info, "/LiveRestoreEnabled") { "true" } else { "false" });
    for warning in texts(info, "/Warnings") {
        out.push_str(&format!("{warning}\n"));
    }
    out
}

type Lines = Vec<(usize, String, String)>;

fn swarm(info: &Value) -> Lines {
    let mut out: Lines = Vec::new();
    let mut line = |depth: usize, name: &str, value: String| out.push((depth, name.to_owned(), value));
    let get = |path: &str| text(info, &format!("/Swarm/{path}"));
    let state = get("LocalNodeState");
    if state == "inactive" || state == "locked" {
        return out;
    }
    line(2, "NodeID", get("NodeID").to_owned());
    if !get("Error").is_empty() {
        line(2, "Error", get("Error").to_owned());
    }
    let manager = flag(info, "/Swarm/ControlAvailable");
    line(2, "Is Manager", manager.to_string());
    if manager && get("Error").is_empty() {
        line(2, "ClusterID", get("Cluster/ID").to_owned());
        line(2, "Managers", int(info, "/Swarm/Managers").to_string());
        line(2, "Nodes", int(info, "/Swarm/Nodes").to_string());
        line(2, "Default Address Pool", texts(info, "/Swarm/Cluster/DefaultAddrPool").join("  "));
        line(2, "SubnetSize", int(info, "/Swarm/Cluster/SubnetSize").to_string());
        line(2, "Data Path Port", int(info, "/Swarm/Cluster/DataPathPort").to_string());
        let expiry = int(info, "/Swarm/Cluster/Spec/CAConfig/NodeCertExpiry");
        if expiry > 0 {
            line(2, "Certificate Expiry", go_duration(expiry));
        }
    }
    line(2, "Node Address", get("NodeAddr").to_owned());
    let mut managers: Vec<&str> = list(info, "/Swarm/RemoteManagers").iter().map(|m| text(m, "/Addr")).collect();
    managers.sort_unstable();
    for manager in managers {
        line(2, "Manager Address", manager.to_owned());
    }
    out
}

const VERSION_TEMPLATE: &str = "\
Client:
 Version:           {{.Client.Version}}
 OS/Arch:           {{.Client.Os}}/{{.Client.Arch}}
{{if .Server}}
Server: {{.Server.Platform.Name}}
 Engine:
  Version:          {{.Server.Version}}
  API version:      {{.Server.ApiVersion}} (minimum version {{.Server.MinAPIVersion}})
  OS/Arch:          {{.Server.Os}}/{{.Server.Arch}}
  Kernel Version:   {{.Server.KernelVersion}}
{{end}}";

pub async fn version(context: &Context, args: VersionArgs) -> Result<()> {
    let server = match context.client().await {
        Ok(client) => client.get("/version").await,
        Err(error) => Err(error),
    };
    // The client's own version is told also when no daemon runs.
    let (server, failure) = match server {
        Ok(server) => (server, None),
        Err(error) => (Value::Null, Some(error)),
    };
    let client = json!({ "Version": VERSION, "Os": std::env::consts::OS, "Arch": arch() });
    let both = json!({ "Client": client, "Server": server });
    match args.format.as_deref() {
        None | Some("") => write_out(&Template::parse(VERSION_TEMPLATE)?.render_object(&both)?),
        Some("json") => write_out(&format!("{both}\n")),
        format @ Some(_) => print_objects(vec![both], format)?,
    }
    failure.map_or(Ok(()), |error: CliError| Err(error))
}

/// The processor by the name images have for it.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
