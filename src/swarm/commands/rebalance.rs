//! `swarm rebalance`: even out what runs where, once.

use crate::cli::Context;
use crate::error::Result;
use crate::json::text;
use crate::table::{Output, Table};
use clap::Args;
use serde_json::{Value, json};

const MOVES: Table = Table {
    headers: &[("Task", "TASK"), ("From", "FROM"), ("To", "TO"), ("Why", "WHY")],
    template: "{{.Task}}\t{{.From}}\t{{.To}}\t{{.Why}}",
    quiet: "Task",
    ..Table::OURS
};

#[derive(Debug, Args)]
pub struct RebalanceArgs {
    /// Only print what would be moved, and why
    #[arg(long)]
    dry_run: bool,
    /// Form of the output: table, "table TEMPLATE", json, or a Go template
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
}

pub async fn run(context: &Context, args: RebalanceArgs) -> Result<()> {
    let client = context.client().await?;
    let moves = match args.dry_run {
        true => client.get("/swarm/rebalance").await?,
        false => client.post("/swarm/rebalance", &[], None).await?,
    };
    let moves = moves.as_array().map_or(&[][..], Vec::as_slice);
    if moves.is_empty() && args.format.is_none() {
        eprintln!("nothing to move: what can be moved is spread evenly");
        eprintln!(
            "hint: only tasks of services with --update-order start-first are moved, not while their service is being \
             updated, and none while nodes are packed"
        );
        return Ok(());
    }
    MOVES
        .print(&moves.iter().map(row).collect::<Vec<_>>(), &Output { quiet: false, format: args.format.as_deref() })?;
    if args.format.is_none() {
        eprintln!(
            "hint: a service moves as many tasks at once as its update replaces: more may be left to move after these"
        );
    }
    Ok(())
}

fn row(shift: &Value) -> Value {
    json!({
        "Task": text(shift, "/Task"),
        "From": text(shift, "/From"),
        "To": text(shift, "/To"),
        "Why": text(shift, "/Why"),
    })
}
