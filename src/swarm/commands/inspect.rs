//! `swarm inspect`: of whatever kind a name is.

use super::common::{print_found, tell};
use crate::cli::Context;
use crate::client::{Client, image_segment, segment};
use crate::error::{CliError, Result};
use crate::names::Object;
use clap::{Args, ValueEnum};
use serde_json::Value;

#[derive(Debug, Args)]
pub struct InspectAnyArgs {
    /// Form of the output: json or a Go template
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Also how much containers have written
    #[arg(short, long)]
    size: bool,
    /// Only of that kind
    #[arg(long = "type", value_enum, value_name = "KIND")]
    kind: Option<Kind>,
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// In docker's order: the first kind that has the name is meant.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Container,
    Image,
    Network,
    Volume,
    Service,
    Task,
    Node,
    Secret,
    Config,
}

impl Kind {
    fn object(self) -> Object {
        match self {
            Self::Container => Object::Container,
            Self::Image => Object::Image,
            Self::Network => Object::Network,
            Self::Volume => Object::Volume,
            Self::Service => Object::Service,
            Self::Task => Object::Task,
            Self::Node => Object::Node,
            Self::Secret => Object::Secret,
            Self::Config => Object::Config,
        }
    }

    fn path(self, name: &str) -> String {
        match self {
            Self::Container => format!("/containers/{}/json", segment(name)),
            Self::Image => format!("/images/{}/json", image_segment(name)),
            Self::Network => format!("/networks/{}", segment(name)),
            Self::Volume => format!("/volumes/{}", segment(name)),
            Self::Service => format!("/services/{}", segment(name)),
            Self::Task => format!("/tasks/{}", segment(name)),
            Self::Node => format!("/nodes/{}", segment(name)),
            Self::Secret => format!("/secrets/{}", segment(name)),
            Self::Config => format!("/configs/{}", segment(name)),
        }
    }
}

pub async fn run(context: &Context, args: InspectAnyArgs) -> Result<()> {
    let client = context.client().await?;
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in &args.names {
        let object = match args.kind {
            Some(kind) => get(&client, kind, name, args.size).await.map(|value| (kind.object(), value)),
            None => find(&client, name, args.size).await,
        };
        match object {
            Ok(object) => found.push(object),
            Err(error @ CliError::Connect { .. }) => return Err(error),
            Err(error) => failures.push(error),
        }
    }
    print_found(&found, args.format.as_deref())?;
    tell(failures)
}

async fn get(client: &Client, kind: Kind, name: &str, size: bool) -> Result<Value> {
    let query = [("size", (size && matches!(kind, Kind::Container)).then_some("1"))];
    client.get_with(&kind.path(name), &query).await
}

async fn find(client: &Client, name: &str, size: bool) -> Result<(Object, Value)> {
    for kind in Kind::value_variants() {
        match get(client, *kind, name, size).await {
            Ok(value) => return Ok((kind.object(), value)),
            // A name may be none for one kind, and a host that is no manager knows nothing of services.
            Err(CliError::Daemon { status: 400 | 404 | 406 | 503, .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Err(CliError::usage(format!("Error: No such object: {name}")))
}
