//! `swarm system df`: the space that images, containers and volumes use on this host.

use crate::cli::Context;
use crate::commands::containers::list::{CONTAINERS, row as container_row};
use crate::commands::image::list::{IMAGES, usage_row};
use crate::commands::volume::{VOLUMES, row as volume_row};
use crate::error::{CliError, Result};
use crate::json::{int, list, text};
use crate::table::{LABEL, Output, Table, write_out};
use crate::template::Template;
use crate::units::human_size;
use clap::Args;
use serde_json::{Value, json};
use time::OffsetDateTime;

const KINDS: Table = Table {
    headers: &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ],
    template: "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
    quiet: "Type",
    row: "*formatter.diskUsageImagesContext",
    ..Table::OURS
};

/// There is no builder, and so none of what one keeps: docker's heading alone.
const CACHE: &str = "CACHE ID   CACHE TYPE   SIZE      CREATED   LAST USED   USAGE     SHARED\n";

#[derive(Debug, Args)]
pub struct UsageArgs {
    /// Form of the output: table, "table TEMPLATE", json, or a Go template
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Each image, container and volume
    #[arg(short, long)]
    verbose: bool,
}

pub async fn run(context: &Context, args: UsageArgs) -> Result<()> {
    let usage = context.client().await?.get("/system/df").await?;
    let format = args.format.as_deref().filter(|format| !format.is_empty());
    if !args.verbose {
        return KINDS.print(&kinds(&usage), &Output { quiet: false, format });
    }
    let now = OffsetDateTime::now_utc();
    match format {
        None | Some("table") => write_out(&in_words(&Parts::of(&usage, false, now))?),
        Some("json") => write_out(&format!("{}\n", Parts::of(&usage, true, now).object())),
        Some(format) => {
            let template = Template::for_objects(format)
                .map_err(|fault| CliError::usage(format!("template parsing error: {}", fault.as_in_go(""))))?;
            let object = Parts::of(&usage, true, now).object();
            let text = template.render_raw(&object).map_err(|fault| CliError::usage(fault.as_in_go("").to_string()))?;
            write_out(&text);
        }
    }
    Ok(())
}

/// One row for each kind.
fn kinds(usage: &Value) -> Vec<Value> {
    let row = |kind: &str, total: usize, active: usize, size: i64, free: String| {
        json!({
            "Type": kind,
            "TotalCount": total.to_string(),
            "Active": active.to_string(),
            "Size": human_size(size, 4),
            "Reclaimable": free,
        })
    };
    let part = |free: i64, size: i64| match size {
        ..=0 => human_size(free, 4),
        size => format!("{} ({}%)", human_size(free, 4), free * 100 / size),
    };
    let (images, containers) = (list(usage, "/Images"), list(usage, "/Containers"));
    let volumes = list(usage, "/Volumes");
    let layers = int(usage, "/LayersSize");
    // Of images that containers use, what no other image has.
    let unique =
        |image: &&Value| int(image, "/Containers") != 0 && int(image, "/SharedSize") != -1 && int(image, "/Size") != -1;
    let held: i64 = images.iter().filter(unique).map(|image| int(image, "/Size") - int(image, "/SharedSize")).sum();
    let runs = |container: &&Value| matches!(text(container, "/State"), "running" | "paused" | "restarting");
    let written = |containers: &[&Value]| containers.iter().map(|container| int(container, "/SizeRw")).sum::<i64>();
    let all: Vec<&Value> = containers.iter().collect();
    let ended: Vec<&Value> = containers.iter().filter(|container| !runs(container)).collect();
    let known: Vec<&Value> = volumes.iter().filter(|volume| int(volume, "/UsageData/Size") != -1).collect();
    let is_used = |volume: &&&Value| int(volume, "/UsageData/RefCount") > 0;
    let bytes = |volume: &&Value| int(volume, "/UsageData/Size");
    let held_by_volumes: i64 = known.iter().map(bytes).sum();
    let free_volumes: i64 = known.iter().filter(|volume| !is_used(volume)).map(bytes).sum();
    let used_images = images.iter().filter(|image| int(image, "/Containers") > 0).count();
    let used_volumes = volumes.iter().filter(|volume| int(volume, "/UsageData/RefCount") > 0).count();
    vec![
        row("Images", images.len(), used_images, layers, part(layers - held, layers)),
        row("Containers", all.len(), all.len() - ended.len(), written(&all), part(written(&ended), written(&all))),
        row("Local Volumes", volumes.len(), used_volumes, held_by_volumes, part(free_volumes, held_by_volumes)),
        row("Build Cache", 0, 0, 0, human_size(0, 4)),
    ]
}

/// The rows of each kind.
struct Parts {
    images: Vec<Value>,
    containers: Vec<Value>,
    volumes: Vec<Value>,
}

impl Parts {
    fn of(usage: &Value, whole: bool, now: OffsetDateTime) -> Self {
        let container = |container: &Value| {
            let mut container = container.clone();
            // What the image has is told with the image.
            container["SizeRootFs"] = Value::Null;
            container_row(&container, whole, now)
        };
        Self {
            images: list(usage, "/Images").iter().map(|image| usage_row(image, whole, now)).collect(),
            containers: list(usage, "/Containers").iter().map(container).collect(),
            volumes: list(usage, "/Volumes").iter().map(volume_row).collect(),
        }
    }

    fn object(self) -> Value {
        let plain = |mut rows: Vec<Value>| {
            rows.iter_mut().filter_map(Value::as_object_mut).for_each(|row| drop(row.remove(LABEL)));
            rows
        };
        json!({
            "Images": plain(self.images),
            "Containers": plain(self.containers),
            "Volumes": plain(self.volumes),
            "BuildCache": [],
        })
    }
}

fn in_words(parts: &Parts) -> Result<String> {
    let table = |table: &Table, template: &'static str, rows: &[Value]| {
        Table { template, ..*table }.render(rows, &Output::default())
    };
    let images = table(
        &IMAGES,
        "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}",
        &parts.images,
    )?;
    let containers = table(
        &CONTAINERS,
        "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}",
        &parts.containers,
    )?;
    let volumes = table(&VOLUMES, "{{.Name}}\t{{.Links}}\t{{.Size}}", &parts.volumes)?;
    Ok(format!(
        "Images space usage:\n\n{images}\nContainers space usage:\n\n{containers}\nLocal Volumes space usage:\n\n{volumes}\n\
         Build cache usage: 0B\n\n{CACHE}"
    ))
}
