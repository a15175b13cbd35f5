//! `swarm version`: of this program and of the daemon. Only what exists is told: this program is not built by Go.

use crate::VERSION;
use crate::cli::Context;
use crate::client::Client;
use crate::error::Result;
use crate::json::{list, object, text};
use crate::names::Object;
use crate::table::write_out;
use clap::Args;
use serde_json::{Value, json};

/// The context of a daemon that is named by a flag, a variable, or not at all.
pub const CONTEXT: &str = "default";

#[derive(Debug, Args)]
pub struct VersionArgs {
    /// Form of the output: json or a Go template
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
}

pub async fn run(context: &Context, args: VersionArgs) -> Result<()> {
    let (server, api, failure) = match server(context).await {
        Ok((server, api)) => (server, api, None),
        // The client's own version is told also when no daemon runs.
        Err(error) => (Value::Null, Client::newest_version(), Some(error)),
    };
    let both = json!({ "Client": client(&api), "Server": server });
    match args.format.as_deref() {
        None | Some("") => write_out(&describe(&both)),
        Some("json") => write_out(&format!("{both}\n")),
        Some(format) => write_out(&super::info::fill(format, "version", &both, Object::Version)?),
    }
    failure.map_or(Ok(()), Err)
}

/// The daemon's versions, and that of the API the two speak.
async fn server(context: &Context) -> Result<(Value, String)> {
    let client = context.client().await?;
    Ok((client.get("/version").await?, client.version().to_owned()))
}

fn client(api: &str) -> Value {
    json!({
        "Version": VERSION,
        "ApiVersion": api,
        "DefaultAPIVersion": Client::newest_version(),
        "Os": std::env::consts::OS,
        "Arch": arch(),
        "Context": CONTEXT,
    })
}

/// What `info` tells of this program.
pub fn client_info() -> Value {
    let mut info = client(&Client::newest_version());
    info["Debug"] = Value::Bool(false);
    info["Plugins"] = json!([]);
    info["Warnings"] = Value::Null;
    info
}

/// The processor by the name images have for it.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn describe(both: &Value) -> String {
    let (client, server) = (&both["Client"], &both["Server"]);
    let mut out = String::from("Client:\n");
    let mut line = |depth: usize, name: &str, value: &str| {
        if !value.is_empty() {
            out.push_str(&format!("{}{:<width$}{value}\n", " ".repeat(depth), format!("{name}:"), width = 20 - depth));
        }
    };
    let (api, newest) = (text(client, "/ApiVersion"), text(client, "/DefaultAPIVersion"));
    let downgraded = if api == newest { String::new() } else { format!(" (downgraded from {newest})") };
    line(1, "Version", text(client, "/Version"));
    line(1, "API version", &format!("{api}{downgraded}"));
    line(1, "OS/Arch", &format!("{}/{}", text(client, "/Os"), text(client, "/Arch")));
    line(1, "Context", text(client, "/Context"));
    if server.is_null() {
        return out;
    }
    out.push_str(&format!("\nServer: {}\n", text(server, "/Platform/Name")));
    for component in list(server, "/Components") {
        out.push_str(&format!(" {}:\n", text(component, "/Name")));
        out.push_str(&details(component));
    }
    out
}

/// Of a part of the daemon: its version, and what else it says of itself; of the engine, by docker's names for it.
fn details(component: &Value) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            out.push_str(&format!("  {:<18}{value}\n", format!("{name}:")));
        }
    };
    line("Version", text(component, "/Version"));
    if text(component, "/Name") != "Engine" {
        for (name, value) in object(component, "/Details").into_iter().flatten() {
            line(name, value.as_str().unwrap_or(""));
        }
        return out;
    }
    let at = |field: &str| text(component, &format!("/Details/{field}"));
    line("API version", &format!("{} (minimum version {})", at("ApiVersion"), at("MinAPIVersion")));
    line("Go version", at("GoVersion"));
    line("Git commit", at("GitCommit"));
    line("Built", at("BuildTime"));
    line("OS/Arch", &format!("{}/{}", at("Os"), at("Arch")));
    line("Experimental", at("Experimental"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_has_no_line() {
        let engine = json!({"Name": "Engine", "Version": "1.2.3", "Details": {"ApiVersion": "1.50",
            "MinAPIVersion": "1.24", "GoVersion": "", "GitCommit": "abc", "Os": "linux", "Arch": "amd64"}});
        let client = json!({"Version": "1.2.3", "ApiVersion": "1.50", "DefaultAPIVersion": "1.53", "Os": "linux",
            "Arch": "amd64", "Context": "default"});
        let both = json!({"Client": client, "Server": {"Platform": {"Name": "swarm"}, "Components": [engine]}});
        let expected = "\
Client:
 Version:           1.2.3
 API version:       1.50 (downgraded from 1.53)
 OS/Arch:           linux/amd64
 Context:           default

Server: swarm
 Engine:
  Version:          1.2.3
  API version:      1.50 (minimum version 1.24)
  Git commit:       abc
  OS/Arch:          linux/amd64
";
        assert_eq!(describe(&both), expected);
    }
}
