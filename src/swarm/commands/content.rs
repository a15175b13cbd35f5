//! `swarm secret` and `swarm config`: content the tasks can read.

use crate::cli::Context;
use crate::client::{Client, segment};
use crate::commands::common::{InspectArgs, ListArgs, each, label_lines, label_map, labels, natural, pairs};
use crate::error::{CliError, Result};
use crate::json::{int, set, set_some, text};
use crate::names::Object;
use crate::table::{LABEL, Table, write_out};
use crate::units::{ago, go_time};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use time::OffsetDateTime;

/// Writes of an object that others write at the same time; beyond it something writes without pause.
const WRITE_TRIES: usize = 8;
/// Largest content, in bytes (docker's limit of a config; the daemon refuses larger secrets itself).
const CONTENT_BYTES_MAX: u64 = 1000 * 1024;

const SECRETS: Table = Table {
    headers: &[
        ("ID", "ID"),
        ("Name", "NAME"),
        ("Driver", "DRIVER"),
        ("Version", "VERSION"),
        ("CreatedAt", "CREATED"),
        ("UpdatedAt", "UPDATED"),
        ("Labels", "LABELS"),
    ],
    template: "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.CreatedAt}}\t{{.UpdatedAt}}",
    quiet: "ID",
    row: "*secret.secretContext",
    raw: "",
    configured: "secretFormat",
};

const CONFIGS: Table = Table {
    headers: &[
        ("ID", "ID"),
        ("Name", "NAME"),
        ("Version", "VERSION"),
        ("CreatedAt", "CREATED"),
        ("UpdatedAt", "UPDATED"),
        ("Labels", "LABELS"),
    ],
    template: "{{.ID}}\t{{.Name}}\t{{.CreatedAt}}\t{{.UpdatedAt}}",
    row: "*config.configContext",
    configured: "configFormat",
    ..SECRETS
};

#[derive(Debug, Subcommand)]
pub enum SecretCommand {
    /// Make a secret from a file or standard input (-)
    Create(SecretCreateArgs),
    /// Give a secret a new content; the services that use it are updated by their own update settings
    Update(UpdateArgs),
    /// List the secrets
    #[command(visible_alias = "list")]
    Ls(ListArgs),
    /// Print what is known of secrets, without their content
    Inspect(ContentInspectArgs),
    /// Remove secrets
    #[command(visible_alias = "remove")]
    Rm(Names),
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Make a config from a file or standard input (-)
    Create(CreateArgs),
    /// Give a config a new content; the services that use it are updated by their own update settings
    Update(UpdateArgs),
    /// List the configs
    #[command(visible_alias = "list")]
    Ls(ListArgs),
    /// Print what is known of configs
    Inspect(ContentInspectArgs),
    /// Remove configs
    #[command(visible_alias = "remove")]
    Rm(Names),
}

#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Label, KEY=VALUE (may be repeated)
    #[arg(short, long = "label", value_name = "LABEL")]
    labels: Vec<String>,
    /// What fills the content in for each task: golang (Go templates, such as {{.Node.Hostname}})
    #[arg(long, value_name = "DRIVER")]
    template_driver: Option<String>,
    #[arg(value_name = "NAME")]
    name: String,
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
}

#[derive(Debug, Args)]
pub struct SecretCreateArgs {
    /// Driver that keeps the content, instead of a file (the daemon has none)
    #[arg(short, long, value_name = "DRIVER")]
    driver: Option<String>,
    /// Label, KEY=VALUE (may be repeated)
    #[arg(short, long = "label", value_name = "LABEL")]
    labels: Vec<String>,
    /// What fills the content in for each task: golang (Go templates, such as {{.Node.Hostname}})
    #[arg(long, value_name = "DRIVER")]
    template_driver: Option<String>,
    #[arg(value_name = "NAME")]
    name: String,
    #[arg(value_name = "FILE|-", required_unless_present = "driver", conflicts_with = "driver")]
    file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// Add or change a label, KEY=VALUE (may be repeated)
    #[arg(long = "label-add", value_name = "LABEL")]
    labels_add: Vec<String>,
    /// Remove a label by its key (may be repeated)
    #[arg(long = "label-rm", value_name = "KEY")]
    labels_rm: Vec<String>,
    /// What fills the content in for each task: golang, or none; as it was when not given
    #[arg(long, value_name = "DRIVER", value_parser = ["golang", "none"])]
    template_driver: Option<String>,
    #[arg(value_name = "NAME")]
    name: String,
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
}

#[derive(Debug, Args)]
pub struct ContentInspectArgs {
    #[command(flatten)]
    inspect: InspectArgs,
    /// In words; of a config, with the content
    #[arg(long, conflicts_with = "format")]
    pretty: bool,
}

#[derive(Debug, Args)]
pub struct Names {
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

pub async fn secret(context: &Context, command: SecretCommand) -> Result<()> {
    let client = context.client().await?;
    match command {
        SecretCommand::Create(args) => {
            let SecretCreateArgs { driver, labels, template_driver, name, file } = args;
            create(&client, "/secrets", Made { driver, labels, template_driver, name, file }).await
        }
        SecretCommand::Update(args) => args.run(&client, "secret").await,
        SecretCommand::Ls(args) => ls(&client, "/secrets", &SECRETS, args).await,
        SecretCommand::Inspect(args) => inspect(&client, Object::Secret, "/secrets", args, describe_secret).await,
        SecretCommand::Rm(args) => remove(&client, "/secrets", &args.names).await,
    }
}

pub async fn config(context: &Context, command: ConfigCommand) -> Result<()> {
    let client = context.client().await?;
    match command {
        ConfigCommand::Create(args) => {
            let CreateArgs { labels, template_driver, name, file } = args;
            create(&client, "/configs", Made { driver: None, labels, template_driver, name, file: Some(file) }).await
        }
        ConfigCommand::Update(args) => args.run(&client, "config").await,
        ConfigCommand::Ls(args) => ls(&client, "/configs", &CONFIGS, args).await,
        ConfigCommand::Inspect(args) => inspect(&client, Object::Config, "/configs", args, describe_config).await,
        ConfigCommand::Rm(args) => remove(&client, "/configs", &args.names).await,
    }
}

async fn inspect(
    client: &Client,
    object: Object,
    path: &str,
    args: ContentInspectArgs,
    describe: fn(&Value) -> String,
) -> Result<()> {
    if !args.pretty && !args.inspect.is_pretty() {
        return args.inspect.run(client, object, path).await;
    }
    let fetch = async |name: String| client.get(&format!("{path}/{}", segment(&name))).await;
    args.inspect.run_pretty(fetch, async |found| Ok(describe(found))).await
}

/// Labels, each on its line.
fn label_list(object: &Value) -> String {
    let lines = label_lines(object, "/Spec/Labels");
    let list: String = lines.iter().map(|line| format!(" - {line}\n")).collect();
    if list.is_empty() { list } else { format!("Labels:\n{list}") }
}

/// The text of docker's template for secrets.
fn describe_secret(secret: &Value) -> String {
    let at = |path: &str| go_time(text(secret, path)).to_lowercase();
    format!(
        "ID:              {}\nName:              {}\n{}Driver:            {}\nCreated at:        {}\nUpdated at:        {}\n",
        text(secret, "/ID"),
        text(secret, "/Spec/Name"),
        label_list(secret),
        text(secret, "/Spec/Driver/Name"),
        at("/CreatedAt"),
        at("/UpdatedAt"),
    )
}

/// The text of docker's template for configs.
fn describe_config(config: &Value) -> String {
    let at = |path: &str| go_time(text(config, path)).to_lowercase();
    let data = STANDARD.decode(text(config, "/Spec/Data")).unwrap_or_default();
    format!(
        "ID:\t\t\t{}\nName:\t\t\t{}\n{}Created at:            \t{}\nUpdated at:            \t{}\nData:\n{}\n",
        text(config, "/ID"),
        text(config, "/Spec/Name"),
        label_list(config),
        at("/CreatedAt"),
        at("/UpdatedAt"),
        String::from_utf8_lossy(&data)
    )
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    let limit = CONTENT_BYTES_MAX + 1;
    if path == Path::new("-") {
        let read = std::io::stdin().lock().take(limit).read_to_end(&mut content);
        read.map_err(|error| CliError::usage(format!("cannot read standard input: {error}")))?;
    } else {
        let file = std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut content));
        file.map_err(|error| CliError::file("read", path, &error))?;
    }
    if content.len() as u64 > CONTENT_BYTES_MAX {
        return Err(CliError::usage(format!("{} holds more than {} kB", path.display(), CONTENT_BYTES_MAX / 1024)));
    }
    Ok(content)
}

/// What a secret or config is made of.
struct Made {
    driver: Option<String>,
    labels: Vec<String>,
    template_driver: Option<String>,
    name: String,
    file: Option<PathBuf>,
}

async fn create(client: &Client, path: &str, made: Made) -> Result<()> {
    let mut request = json!({ "Name": made.name, "Labels": pairs(&made.labels) });
    if let Some(file) = &made.file {
        set(&mut request, "/Data", STANDARD.encode(read(file)?));
    }
    set_some(&mut request, "/Driver/Name", made.driver);
    set_some(&mut request, "/Templating/Name", made.template_driver);
    let created = client.post(&format!("{path}/create"), &[], Some(&request)).await?;
    write_out(&format!("{}\n", text(&created, "/ID")));
    Ok(())
}

impl UpdateArgs {
    async fn run(self, client: &Client, kind: &str) -> Result<()> {
        let data = STANDARD.encode(read(&self.file)?);
        let path = format!("/{kind}s/{}", segment(&self.name));
        let change = |found: &Value| {
            let mut spec = found["Spec"].clone();
            set(&mut spec, "/Data", data.as_str());
            for label in &self.labels_add {
                let (key, value) = label.split_once('=').unwrap_or((label, ""));
                spec["Labels"][key] = Value::from(value);
            }
            if let Some(labels) = spec["Labels"].as_object_mut() {
                labels.retain(|key, _| !self.labels_rm.contains(key));
            }
            match self.template_driver.as_deref() {
                Some("none") => spec["Templating"] = Value::Null,
                Some(driver) => set(&mut spec, "/Templating/Name", driver),
                None => {}
            }
            spec
        };
        rewrite(client, &path, change).await?;
        write_out(&format!("{}\n", self.name));
        Ok(())
    }
}

/// Writes a secret or config as it is found and changed; again when someone wrote it in between, as the leader does
/// when it drops old contents.
pub async fn rewrite(client: &Client, path: &str, change: impl Fn(&Value) -> Value) -> Result<()> {
    let update = format!("{path}/update");
    for _ in 1..WRITE_TRIES {
        let found = client.get(path).await?;
        let version = int(&found, "/Version/Index").to_string();
        match client.post(&update, &[("version", Some(&version))], Some(&change(&found))).await {
            Ok(_) => return Ok(()),
            Err(CliError::Daemon { message, .. }) if message.contains("out of sequence") => {}
            Err(error) => return Err(error),
        }
    }
    let found = client.get(path).await?;
    let version = int(&found, "/Version/Index").to_string();
    client.post(&update, &[("version", Some(&version))], Some(&change(&found))).await.map(drop)
}

async fn ls(client: &Client, path: &str, table: &Table, args: ListArgs) -> Result<()> {
    let mut found = args.fetch(client, path).await?;
    found.sort_by(|a, b| natural(text(a, "/Spec/Name"), text(b, "/Spec/Name")));
    let now = OffsetDateTime::now_utc();
    let row = |object: &Value| {
        let mut row = json!({
            "ID": text(object, "/ID"),
            "Name": text(object, "/Spec/Name"),
            // Ours: which content it has.
            "Version": int(object, "/ContentVersion").to_string(),
            "CreatedAt": ago(text(object, "/CreatedAt"), now),
            "UpdatedAt": ago(text(object, "/UpdatedAt"), now),
            "Labels": labels(object, "/Spec/Labels"),
            LABEL: label_map(object, "/Spec/Labels"),
        });
        // Of secrets alone.
        if table.headers.iter().any(|(field, _)| *field == "Driver") {
            row["Driver"] = Value::from(text(object, "/Spec/Driver/Name"));
        }
        row
    };
    let rows: Vec<Value> = found.iter().map(row).collect();
    table.print(&rows, &args.output())
}

async fn remove(client: &Client, path: &str, names: &[String]) -> Result<()> {
    each(names, |name| async move { client.delete(&format!("{path}/{}", segment(&name)), &[]).await.map(drop) }).await
}
