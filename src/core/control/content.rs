//! Create, update and remove secrets and configs: alike but for their size and their secrecy.

use super::validate::{labels, object_name};
use super::{Refusal, check_version, invalid, templates, txn};
use crate::model::*;
use crate::store::{Change, Object, ObjectRef, Precondition, Txn, View};
use crate::{ConfigId, SecretId, Sensitive, WallTime};
use std::sync::Arc;

/// Contents of all secrets and configs together, earlier ones included, in bytes. They are in the memory of every manager and in each snapshot
/// of the store, which has a bound: a store over it could take no more writes, not even removals.
pub const CONTENTS_BYTES_MAX: usize = 48 * 1024 * 1024;

/// What an update of a secret or config asks for.
#[derive(Clone, Debug, Default)]
pub struct ContentWish {
    /// Empty or the present one.
    pub name: String,
    pub labels: Labels,
    /// `None`: as it is.
    pub data: Option<Sensitive<Vec<u8>>>,
    /// `None`: as it is, and no template when there is new data.
    pub templated: Option<bool>,
}

impl ContentWish {
    fn check(&self, kind: &str, name: &str) -> Result<(), Refusal> {
        labels("Labels", &self.labels)?;
        if self.name.is_empty() || self.name == name {
            return Ok(());
        }
        invalid(format!("Name: a {kind} keeps its name; make another {kind} for \"{}\"", self.name))
    }
}

fn secret_data(spec: &SecretSpec) -> Result<(), Refusal> {
    let len = spec.data.expose().len();
    if len == 0 || len > SECRET_BYTES_MAX {
        return invalid(format!("secret data must be larger than 0 and less than {SECRET_BYTES_MAX} bytes"));
    }
    templates::secret(spec)
}

fn config_data(spec: &ConfigSpec) -> Result<(), Refusal> {
    if spec.data.is_empty() || spec.data.len() > CONFIG_BYTES_MAX {
        return invalid(format!("config data must be larger than 0 and less than {CONFIG_BYTES_MAX} bytes"));
    }
    templates::config(spec)
}

/// Makes a secret.
pub fn create_secret(view: &View, spec: SecretSpec, id: SecretId, now: WallTime) -> Result<Txn, Refusal> {
    object_name(&spec.name)?;
    labels("Labels", &spec.labels)?;
    secret_data(&spec)?;
    if view.secret_by_name(&spec.name).is_some() {
        return Err(Refusal::Exists(format!("secret {} already exists", spec.name)));
    }
    check_room(view, spec.data.expose().len())?;
    let secret = Secret { id, meta: Meta::default(), spec, content_version: 1, older: Vec::new() };
    Ok(txn(now, Vec::new(), vec![Change::Create(Object::Secret(Arc::new(secret)))]))
}

/// Changes labels and content of a secret. A new content is taken by the services that use it, as an update of them.
pub fn update_secret(
    view: &View,
    id: SecretId,
    version: u64,
    wish: ContentWish,
    now: WallTime,
) -> Result<Txn, Refusal> {
    let old = view.secret(id).ok_or_else(|| Refusal::NotFound(format!("secret {id} not found")))?;
    check_version(version, old.meta.version)?;
    let mut spec = old.spec.clone();
    wish.check("secret", &spec.name)?;
    spec.templated = wish.templated.unwrap_or(spec.templated && wish.data.is_none());
    spec.labels = wish.labels;
    if let Some(data) = wish.data {
        spec.data = data;
    }
    if spec.data != old.spec.data || spec.templated != old.spec.templated {
        secret_data(&spec)?;
        check_room(view, spec.data.expose().len())?;
    }
    let preconditions = vec![Precondition::Version(ObjectRef::Secret(id), version)];
    Ok(txn(now, preconditions, vec![Change::SecretSpec { secret: id, spec }]))
}

/// Removes a secret no service uses.
pub fn remove_secret(view: &View, id: SecretId, now: WallTime) -> Result<Txn, Refusal> {
    let old = view.secret(id).ok_or_else(|| Refusal::NotFound(format!("secret {id} not found")))?;
    let object = ObjectRef::Secret(id);
    check_unused(view, "secret", &old.spec.name, object)?;
    Ok(txn(now, vec![Precondition::Present(object)], vec![Change::Delete(object)]))
}

/// Makes a config.
pub fn create_config(view: &View, spec: ConfigSpec, id: ConfigId, now: WallTime) -> Result<Txn, Refusal> {
    object_name(&spec.name)?;
    labels("Labels", &spec.labels)?;
    config_data(&spec)?;
    if view.config_by_name(&spec.name).is_some() {
        return Err(Refusal::Exists(format!("config {} already exists", spec.name)));
    }
    check_room(view, spec.data.len())?;
    let config = Config { id, meta: Meta::default(), spec, content_version: 1, older: Vec::new() };
    Ok(txn(now, Vec::new(), vec![Change::Create(Object::Config(Arc::new(config)))]))
}

/// Changes labels and content of a config. A new content is taken by the services that use it, as an update of them.
pub fn update_config(
    view: &View,
    id: ConfigId,
    version: u64,
    wish: ContentWish,
    now: WallTime,
) -> Result<Txn, Refusal> {
    let old = view.config(id).ok_or_else(|| Refusal::NotFound(format!("config {id} not found")))?;
    check_version(version, old.meta.version)?;
    let mut spec = old.spec.clone();
    wish.check("config", &spec.name)?;
    spec.templated = wish.templated.unwrap_or(spec.templated && wish.data.is_none());
    spec.labels = wish.labels;
    if let Some(data) = wish.data {
        spec.data = data.into_inner();
    }
    if spec.data != old.spec.data || spec.templated != old.spec.templated {
        config_data(&spec)?;
        check_room(view, spec.data.len())?;
    }
    let preconditions = vec![Precondition::Version(ObjectRef::Config(id), version)];
    Ok(txn(now, preconditions, vec![Change::ConfigSpec { config: id, spec }]))
}

/// Removes a config no service uses.
pub fn remove_config(view: &View, id: ConfigId, now: WallTime) -> Result<Txn, Refusal> {
    let old = view.config(id).ok_or_else(|| Refusal::NotFound(format!("config {id} not found")))?;
    let object = ObjectRef::Config(id);
    check_unused(view, "config", &old.spec.name, object)?;
    Ok(txn(now, vec![Precondition::Present(object)], vec![Change::Delete(object)]))
}

fn check_room(view: &View, more: usize) -> Result<(), Refusal> {
    let secrets = view.secrets().map(|secret| secret.content_bytes());
    let held: usize = secrets.chain(view.configs().map(|config| config.content_bytes())).sum();
    if held + more <= CONTENTS_BYTES_MAX {
        return Ok(());
    }
    invalid(format!(
        "the secrets and configs of the swarm hold {held} bytes, and with these {more} they would hold more than the {CONTENTS_BYTES_MAX} they may: remove those that no service uses (earlier contents count for as long as a service can go back to them)"
    ))
}

fn check_unused(view: &View, kind: &str, name: &str, object: ObjectRef) -> Result<(), Refusal> {
    let users: Vec<_> = view.users(object).map(|service| service.spec.name.as_str()).collect();
    match users.as_slice() {
        [] => Ok(()),
        [one] => invalid(format!("{kind} '{name}' is in use by the following service: {one}")),
        many => invalid(format!("{kind} '{name}' is in use by the following services: {}", many.join(", "))),
    }
}
