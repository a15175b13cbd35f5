//! `/volumes`: the named volumes of this host.

use crate::call::{Call, Outcome, created, empty, ok};
use crate::compat::Answer;
use crate::error::ApiError;
use crate::filters::Filters;
use crate::json::{Fields, rfc3339_ns, strings};
use crate::ports::{Failure, VolumeRecord};
use crate::routes::unknown_below;
use axum::http::StatusCode;

const FILTERS: [&str; 4] = ["dangling", "driver", "label", "name"];
/// Characters of a volume made without a name (as Docker's: 64 hexadecimal digits).
const ANONYMOUS_DRAWS: usize = 2;

pub async fn route(call: Call, method: &str, rest: &[&str]) -> Outcome {
    match (method, rest) {
        ("GET", []) => list(call).await,
        ("POST", ["create"]) => create(call).await,
        ("GET", [name]) => inspect(call, name).await,
        ("DELETE", [name]) => remove(call, name).await,
        _ => Err(unknown_below(method, "volumes", rest)),
    }
}

/// API `Volume`.
pub fn write_volume(volume: &VolumeRecord) -> Fields {
    Fields::new()
        .set("Name", volume.name.as_str())
        .set("Driver", volume.driver.as_str())
        .set("Mountpoint", volume.mountpoint.as_str())
        .set("CreatedAt", rfc3339_ns(volume.created_s.saturating_mul(1_000_000_000)))
        .set("Labels", strings(&volume.labels))
        .set("Scope", "local")
        .set("Options", strings(&volume.options))
}

async fn list(call: Call) -> Outcome {
    let filters = Filters::read(&call.query, &FILTERS)?;
    let dangling = filters.flag("dangling")?;
    let volumes = call.ports.local.volumes().await?;
    let found = volumes.iter().filter(|volume| {
        filters.any("name", |name| volume.name.contains(name))
            && filters.any("driver", |driver| volume.driver == driver)
            && filters.labels("label", &volume.labels)
            && dangling.is_none_or(|wanted| (volume.users == 0) == wanted)
    });
    let written: Vec<_> = found.map(|volume| call.write(Answer::Volume, write_volume(volume))).collect();
    ok(Fields::new().set("Volumes", written).set("Warnings", Vec::<String>::new()))
}

async fn create(mut call: Call) -> Outcome {
    let mut object = call.object().await?;
    let mut volume = VolumeRecord {
        name: object.string("Name")?,
        driver: object.string("Driver")?,
        labels: object.map("Labels")?,
        options: object.map("DriverOpts")?,
        ..VolumeRecord::default()
    };
    object.finish()?;
    if volume.driver.is_empty() {
        volume.driver = "local".to_owned();
    }
    if volume.driver != "local" {
        let driver = volume.driver;
        return Err(ApiError::not_found(format!("Driver: volume driver \"{driver}\" is not supported, use local")));
    }
    if volume.name.is_empty() {
        volume.name = (0..ANONYMOUS_DRAWS).map(|_| format!("{:032x}", call.ports.cluster.random())).collect();
    }
    created(write_volume(&call.ports.local.create_volume(volume).await?))
}

async fn inspect(call: Call, name: &str) -> Outcome {
    let volumes = call.ports.local.volumes().await?;
    match volumes.iter().find(|volume| volume.name == name) {
        Some(volume) => ok(call.write(Answer::Volume, write_volume(volume))),
        None => Err(ApiError::not_found(format!("get {name}: no such volume"))),
    }
}

async fn remove(call: Call, name: &str) -> Outcome {
    let force = call.query.flag("force");
    match call.ports.local.remove_volume(name, force).await {
        Ok(()) => empty(StatusCode::NO_CONTENT),
        Err(Failure::NotFound(_)) if force => empty(StatusCode::NO_CONTENT),
        Err(failure) => Err(failure.into()),
    }
}
