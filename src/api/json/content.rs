//! Secrets and configs, both ways. The content of a secret is never written.

use super::fields::{Fields, strings};
use super::object::Object;
use super::time::rfc3339_ms;
use crate::call::decode_base64;
use crate::error::ApiError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use swarm_core::model::{Config, Labels, Meta, Secret};

/// What API `SecretSpec` and `ConfigSpec` have in common: name, labels, content (`None` when not sent).
pub struct Content {
    pub name: String,
    pub labels: Labels,
    pub data: Option<Vec<u8>>,
}

/// Reads a secret or config spec. `Driver` and `Templating` are refused.
pub fn read_content(mut object: Object) -> Result<Content, ApiError> {
    let data = match object.opt_string("Data")?.filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => Some(decode_base64(&text).ok_or_else(|| ApiError::bad("Data: not base64"))?),
    };
    let content = Content { name: object.string("Name")?, labels: object.map("Labels")?, data };
    object.finish()?;
    Ok(content)
}

fn write(id: String, meta: Meta, spec: Fields) -> Value {
    Fields::new()
        .set("ID", id)
        .set("Version", json!({ "Index": meta.version }))
        .set("CreatedAt", rfc3339_ms(meta.created.wall))
        .set("UpdatedAt", rfc3339_ms(meta.updated.wall))
        .set("Spec", spec)
        .into()
}

/// API `Secret`, without its data.
pub fn write_secret(secret: &Secret) -> Value {
    let spec = Fields::new().set("Name", secret.spec.name.as_str()).set("Labels", strings(&secret.spec.labels));
    write(secret.id.to_string(), secret.meta, spec)
}

/// API `Config`.
pub fn write_config(config: &Config) -> Value {
    let spec = Fields::new()
        .set("Name", config.spec.name.as_str())
        .set("Labels", strings(&config.spec.labels))
        .set("Data", STANDARD.encode(&config.spec.data));
    write(config.id.to_string(), config.meta, spec)
}
