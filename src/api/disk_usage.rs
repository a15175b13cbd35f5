//! `/system/df`: what takes how much space on this host.

use crate::call::{Call, Outcome, ok};
use crate::containers::write_summary as write_container;
use crate::error::ApiError;
use crate::images::write_summary as write_image;
use crate::json::Fields;
use crate::ports::{ContainerRecord, ContainerState, DiskUsage, ImageRecord, VolumeRecord};
use crate::volumes::write_volume;
use serde_json::{Value, json};

const KINDS: [&str; 4] = ["container", "image", "volume", "build-cache"];

/// Which parts are asked for, and in which form.
struct Wanted {
    kinds: Vec<String>,
    /// Before 1.53: the objects themselves, side by side.
    legacy: bool,
    /// From 1.52 on: sums by kind.
    sums: bool,
    /// The objects inside the sums.
    items: bool,
}

impl Wanted {
    fn read(call: &Call) -> Result<Self, ApiError> {
        // Older clients do not know the parameter.
        let kinds = if call.version.has(42) { call.query.all("type") } else { Vec::new() };
        if let Some(kind) = kinds.iter().find(|kind| !KINDS.contains(&kind.as_str())) {
            return Err(ApiError::bad(format!("unknown object type: {kind}")));
        }
        let sums = call.version.has(52);
        let asked = sums && !call.query.text("verbose").is_empty();
        let items = sums && call.query.strict_flag("verbose")?;
        Ok(Self { kinds, legacy: !call.version.has(53) && !asked, sums, items })
    }

    fn has(&self, kind: &str) -> bool {
        self.kinds.is_empty() || self.kinds.iter().any(|wanted| wanted == kind)
    }

    fn write(&self, mut fields: Fields, names: [&str; 2], part: Part) -> Fields {
        if self.sums {
            let sums = Fields::new()
                .set("ActiveCount", part.active)
                .set("TotalCount", part.objects.len())
                .set("Reclaimable", part.reclaimable)
                .set("TotalSize", part.bytes);
            let sums = sums.opt("Items", self.items.then(|| part.objects.clone()));
            fields = fields.set(names[0], sums);
        }
        if self.legacy { fields.set(names[1], part.objects) } else { fields }
    }
}

/// Objects of one kind: how many are in use, and how much space they take.
#[derive(Default)]
struct Part {
    objects: Vec<Value>,
    active: usize,
    bytes: i64,
    reclaimable: i64,
}

pub async fn answer(call: Call) -> Outcome {
    let wanted = Wanted::read(&call)?;
    let local = &call.ports.local;
    let usage = local.disk_usage().await.map_err(ApiError::from)?;
    let mut fields = Fields::new();
    if wanted.has("image") {
        fields = wanted.write(fields, ["ImageUsage", "Images"], images(&local.images().await?, &usage));
        if wanted.legacy {
            fields = fields.set("LayersSize", usage.layers_bytes);
        }
    }
    if wanted.has("container") {
        let now_ns = call.ports.cluster.now().0.saturating_mul(1_000_000);
        fields = wanted.write(fields, ["ContainerUsage", "Containers"], containers(&local.containers().await?, now_ns));
    }
    if wanted.has("volume") {
        fields = wanted.write(fields, ["VolumeUsage", "Volumes"], volumes(&local.volumes().await?, &usage));
    }
    if wanted.has("build-cache") {
        fields = wanted.write(fields, ["BuildCacheUsage", "BuildCache"], Part::default());
    }
    ok(fields)
}

/// Layers are shared: what would come free is at most all of them.
fn images(images: &[ImageRecord], usage: &DiskUsage) -> Part {
    let unused = images.iter().filter(|image| image.containers == 0);
    Part {
        objects: images.iter().map(|image| write_image(image).into()).collect(),
        active: images.iter().filter(|image| image.containers > 0).count(),
        bytes: usage.layers_bytes,
        reclaimable: unused.map(|image| image.size_bytes).sum::<i64>().min(usage.layers_bytes),
    }
}

/// What they have written themselves is not counted.
fn containers(containers: &[ContainerRecord], now_ns: i64) -> Part {
    let runs = |one: &&ContainerRecord| matches!(one.state, ContainerState::Running | ContainerState::Paused);
    Part {
        objects: containers.iter().map(|one| write_container(one, now_ns)).collect(),
        active: containers.iter().filter(runs).count(),
        ..Part::default()
    }
}

fn volumes(volumes: &[VolumeRecord], usage: &DiskUsage) -> Part {
    let bytes = |volume: &VolumeRecord| usage.volumes_bytes.get(&volume.name).copied();
    let objects = volumes.iter().map(|volume| {
        let data = json!({ "Size": bytes(volume).unwrap_or(-1), "RefCount": volume.users });
        write_volume(volume).set("UsageData", data).into()
    });
    let unused = volumes.iter().filter(|volume| volume.users == 0);
    Part {
        objects: objects.collect(),
        active: volumes.iter().filter(|volume| volume.users > 0).count(),
        bytes: volumes.iter().filter_map(bytes).sum(),
        reclaimable: unused.filter_map(bytes).sum(),
    }
}
