//! `swarm events`.

use crate::cli::Context;
use crate::error::{CliError, EXIT_TEMPLATE, Result};
use crate::filter;
use crate::json::{int, object, text};
use crate::names::Object;
use crate::table::write_out;
use crate::template::Template;
use crate::units::{event_time, parse_moment};
use clap::Args;
use futures_util::StreamExt as _;
use hyper::Method;
use serde_json::Value;
use swarm_core::template::Fault;
use time::OffsetDateTime;

#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Only what matches, KEY=VALUE (may be repeated)
    #[arg(short = 'f', long = "filter", value_name = "FILTER")]
    filters: Vec<String>,
    /// Form of the output: json or a Go template
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Also what happened from that time on
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// End at that time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

pub async fn run(context: &Context, args: EventsArgs) -> Result<()> {
    let now = OffsetDateTime::now_utc();
    let moment = |text: &Option<String>| text.as_deref().map(|text| parse_moment(text, now)).transpose();
    let (since, until) = (moment(&args.since)?, moment(&args.until)?);
    let filters = filter::encode(&args.filters)?;
    let format = args.format.as_deref().filter(|format| !format.is_empty());
    let format = format.map(|format| if format == "json" { "{{json .}}" } else { format });
    let wrong = |fault: Fault| CliError::Coded {
        message: format!("Error parsing format: {}", fault.as_in_go("")),
        code: EXIT_TEMPLATE,
    };
    let template = format.map(Template::for_objects).transpose().map_err(wrong)?;
    let client = context.client().await?;
    let query = [("filters", filters.as_deref()), ("since", since.as_deref()), ("until", until.as_deref())];
    let mut events = client.objects(Method::GET, "/events", &query, &[], None).await?;
    while let Some(event) = events.next().await {
        let event = event?;
        let line = match &template {
            Some(template) => template.render_typed(&event, Object::Event).map_err(wrong)?,
            None => line(&event),
        };
        write_out(&format!("{line}\n"));
    }
    Ok(())
}

/// `TIME TYPE ACTION ID (KEY=VALUE, ...)`.
fn line(event: &Value) -> String {
    let ns = match int(event, "/timeNano") {
        0 => i128::from(int(event, "/time")) * 1_000_000_000,
        ns => i128::from(ns),
    };
    let attributes = object(event, "/Actor/Attributes").into_iter().flatten();
    let attributes: Vec<String> =
        attributes.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or(""))).collect();
    let mut out = event_time(ns);
    for word in [text(event, "/Type"), text(event, "/Action"), text(event, "/Actor/ID")] {
        if !word.is_empty() {
            out.push(' ');
            out.push_str(word);
        }
    }
    if !attributes.is_empty() {
        out.push_str(&format!(" ({})", attributes.join(", ")));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_is_one_line() {
        let event = json!({
            "Type": "service", "Action": "update", "timeNano": 1_500_000_000i64,
            "Actor": {"ID": "s1", "Attributes": {"name": "web", "image": "web:2"}},
        });
        let expected = format!("{} service update s1 (image=web:2, name=web)", event_time(1_500_000_000));
        assert_eq!(line(&event), expected);
    }
}
