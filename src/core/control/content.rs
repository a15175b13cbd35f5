//! Create, update and remove secrets and configs: alike but for their size and their secrecy.

use super::{Refusal, check_version, invalid, txn};
use crate::model::*;
use crate::spec;
use crate::store::{Change, Object, ObjectRef, Precondition, Txn, View, fits};
use crate::{ConfigId, SecretId, Sensitive, WallTime};
use std::sync::Arc;

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
        if self.name.is_empty() || self.name == name {
            return Ok(());
        }
        invalid(format!("Name: a {kind} keeps its name; make another {kind} for \"{}\"", self.name))
    }
}

/// Makes a secret.
pub fn create_secret(view: &View, spec: SecretSpec, id: SecretId, now: WallTime) -> Result<Txn, Refusal> {
    spec::secret(&spec)?;
    if view.secret_by_name(&spec.name).is_some() {
        return Err(Refusal::Exists(format!("secret {} already exists", spec.name)));
    }
    fits::new_content(view, spec.data.expose().len())?;
    let secret = Secret::new(id, spec);
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
    spec::secret(&spec)?;
    fits::secret(view, old, &spec)?;
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
    spec::config(&spec)?;
    if view.config_by_name(&spec.name).is_some() {
        return Err(Refusal::Exists(format!("config {} already exists", spec.name)));
    }
    fits::new_content(view, spec.data.len())?;
    let config = Config::new(id, spec);
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
    spec::config(&spec)?;
    fits::config(view, old, &spec)?;
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

fn check_unused(view: &View, kind: &str, name: &str, object: ObjectRef) -> Result<(), Refusal> {
    let users: Vec<_> = view.users(object).map(|service| service.spec.name.as_str()).collect();
    match users.as_slice() {
        [] => Ok(()),
        [one] => invalid(format!("{kind} '{name}' is in use by the following service: {one}")),
        many => invalid(format!("{kind} '{name}' is in use by the following services: {}", many.join(", "))),
    }
}
