//! Secrets and configs, both ways. The content of a secret is never written.

use super::fields::{Fields, strings};
use super::object::Object;
use super::time::rfc3339_ms;
use crate::call::decode_base64;
use crate::error::ApiError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use swarm_core::Sensitive;
use swarm_core::control::ContentWish;
use swarm_core::model::{Config, Labels, Meta, Secret};

/// What API `SecretSpec` and `ConfigSpec` have in common. `None`: not sent.
pub struct Content {
    pub name: String,
    pub labels: Labels,
    pub data: Option<Vec<u8>>,
    pub templated: Option<bool>,
}

impl Content {
    /// As an update.
    pub fn wish(self) -> ContentWish {
        let Self { name, labels, data, templated } = self;
        ContentWish { name, labels, data: data.map(Sensitive::new), templated }
    }
}

/// The one template driver (API `Templating.Name`).
const GOLANG: &str = "golang";

fn read_templating(mut object: Object) -> Result<bool, ApiError> {
    let name = object.string("Name")?;
    if name != GOLANG && !name.is_empty() {
        let place = object.path("Name");
        return Err(ApiError::bad(format!("{place}: template driver \"{name}\" is not known, use {GOLANG}")));
    }
    if let Some(option) = object.map("Options")?.keys().next() {
        return Err(ApiError::bad(format!("{}: {GOLANG} has no option \"{option}\"", object.path("Options"))));
    }
    object.finish()?;
    Ok(name == GOLANG)
}

/// Reads a secret or config spec. `Driver` is refused.
pub fn read_content(mut object: Object) -> Result<Content, ApiError> {
    let data = match object.opt_string("Data")?.filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => Some(decode_base64(&text).ok_or_else(|| ApiError::bad("Data: not base64"))?),
    };
    let templated = object.object("Templating")?.map(read_templating).transpose()?;
    let content = Content { name: object.string("Name")?, labels: object.map("Labels")?, data, templated };
    object.finish()?;
    Ok(content)
}

fn templating(templated: bool) -> Option<Value> {
    templated.then(|| json!({ "Name": GOLANG }))
}

/// `ContentVersion` is beyond the API: 1, and one more with each new content.
fn write(id: String, meta: Meta, content_version: u64, spec: Fields) -> Fields {
    Fields::new()
        .set("ID", id)
        .set("Version", json!({ "Index": meta.version }))
        .set("ContentVersion", content_version)
        .set("CreatedAt", rfc3339_ms(meta.created.wall))
        .set("UpdatedAt", rfc3339_ms(meta.updated.wall))
        .set("Spec", spec)
}

/// API `Secret`, without its data.
pub fn write_secret(secret: &Secret) -> Fields {
    let spec = Fields::new()
        .set("Name", secret.spec.name.as_str())
        .set("Labels", strings(&secret.spec.labels))
        .opt("Templating", templating(secret.spec.templated));
    write(secret.id.to_string(), secret.meta, secret.content_version, spec)
}

/// API `Config`, with its newest content.
pub fn write_config(config: &Config) -> Fields {
    let spec = Fields::new()
        .set("Name", config.spec.name.as_str())
        .set("Labels", strings(&config.spec.labels))
        .set("Data", STANDARD.encode(&config.spec.data))
        .opt("Templating", templating(config.spec.templated));
    write(config.id.to_string(), config.meta, config.content_version, spec)
}
