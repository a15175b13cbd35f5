//! `swarm image history`: how an image came to be.

use crate::client::{Client, image_segment};
use crate::error::Result;
use crate::json::{int, text};
use crate::table::{Output, Table};
use crate::units::{ellipsis, human_duration, human_size, local_rfc3339, short_id};
use clap::Args;
use serde_json::{Value, json};
use time::OffsetDateTime;

/// Characters of a command in a table.
const COMMAND_WIDTH: usize = 45;
/// Images made without a clock say they are of 1970: what is before 2000 is no time.
const FIRST_TIME: i64 = 946_684_800;

const STEPS: Table = Table {
    headers: &[
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
    ],
    template: "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
    row: "*image.historyContext",
    ..Table::OURS
};

const EXACT: Table = Table { template: "{{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}", ..STEPS };

#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Form of the output: table, "table TEMPLATE", json, or a Go template
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Sizes and times in words
    #[arg(short = 'H', long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
        default_value_t = true, action = clap::ArgAction::Set)]
    human: bool,
    /// Whole ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// Only the ids
    #[arg(short, long)]
    quiet: bool,
    #[arg(value_name = "IMAGE")]
    image: String,
}

pub async fn run(client: &Client, args: HistoryArgs) -> Result<()> {
    let steps = client.list(&format!("/images/{}/history", image_segment(&args.image)), &[]).await?;
    let now = OffsetDateTime::now_utc();
    let rows: Vec<Value> = steps.iter().map(|step| row(step, &args, now)).collect();
    let table = if args.human { &STEPS } else { &EXACT };
    table.print(&rows, &Output { quiet: args.quiet, format: args.format.as_deref() })
}

fn row(step: &Value, args: &HistoryArgs, now: OffsetDateTime) -> Value {
    let (id, created, size) = (text(step, "/Id"), int(step, "/Created"), int(step, "/Size"));
    let at = OffsetDateTime::from_unix_timestamp(created).ok().filter(|_| created >= FIRST_TIME);
    let command = text(step, "/CreatedBy").replace('\t', " ");
    json!({
        "ID": if args.no_trunc { id } else { short_id(id) },
        "CreatedSince": match at {
            Some(at) => format!("{} ago", human_duration((now - at).whole_seconds())),
            None => "N/A".to_owned(),
        },
        "CreatedAt": local_rfc3339(created),
        "CreatedBy": if args.no_trunc { command } else { ellipsis(&command, COMMAND_WIDTH) },
        "Size": if args.human { human_size(size, 3) } else { size.to_string() },
        "Comment": text(step, "/Comment"),
    })
}
