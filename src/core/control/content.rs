//! Create, update and remove secrets and configs: alike but for their size and their secrecy.

use super::validate::{labels, object_name};
use super::{Refusal, check_version, invalid, txn};
use crate::model::*;
use crate::store::{Change, Object, ObjectRef, Precondition, Txn, View};
use crate::{ConfigId, SecretId, WallTime};
use std::sync::Arc;

/// Contents of all secrets and configs together, in bytes. They are in the memory of every manager and in each snapshot
/// of the store, which has a bound: a store over it could take no more writes, not even removals.
pub const CONTENTS_BYTES_MAX: usize = 48 * 1024 * 1024;

/// Makes a secret.
pub fn create_secret(view: &View, spec: SecretSpec, id: SecretId, now: WallTime) -> Result<Txn, Refusal> {
    object_name(&spec.name)?;
    labels("Labels", &spec.labels)?;
    let len = spec.data.expose().len();
    if len == 0 || len > SECRET_BYTES_MAX {
        return invalid(format!("secret data must be larger than 0 and less than {SECRET_BYTES_MAX} bytes"));
    }
    if view.secret_by_name(&spec.name).is_some() {
        return Err(Refusal::Exists(format!("secret {} already exists", spec.name)));
    }
    check_room(view, len)?;
    let secret = Secret { id, meta: Meta::default(), spec, content_version: 1, older: Vec::new() };
    Ok(txn(now, Vec::new(), vec![Change::Create(Object::Secret(Arc::new(secret)))]))
}

/// Replaces the labels of a secret. `data` of `None` or as stored: unchanged; anything else is refused.
pub fn update_secret(
    view: &View,
    id: SecretId,
    version: u64,
    name: &str,
    new_labels: Labels,
    data: Option<&[u8]>,
    now: WallTime,
) -> Result<Txn, Refusal> {
    let old = view.secret(id).ok_or_else(|| Refusal::NotFound(format!("secret {id} not found")))?;
    check_version(version, old.meta.version)?;
    labels("Labels", &new_labels)?;
    let same_name = name.is_empty() || name == old.spec.name;
    if !same_name || data.is_some_and(|data| data != old.spec.data.expose().as_slice()) {
        return invalid("only updates to Labels are allowed");
    }
    let mut new = (**old).clone();
    new.spec.labels = new_labels;
    let preconditions = vec![Precondition::Version(ObjectRef::Secret(id), version)];
    Ok(txn(now, preconditions, vec![Change::Replace(Object::Secret(Arc::new(new)))]))
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
    if spec.data.is_empty() || spec.data.len() > CONFIG_BYTES_MAX {
        return invalid(format!("config data must be larger than 0 and less than {CONFIG_BYTES_MAX} bytes"));
    }
    if view.config_by_name(&spec.name).is_some() {
        return Err(Refusal::Exists(format!("config {} already exists", spec.name)));
    }
    check_room(view, spec.data.len())?;
    let config = Config { id, meta: Meta::default(), spec, content_version: 1, older: Vec::new() };
    Ok(txn(now, Vec::new(), vec![Change::Create(Object::Config(Arc::new(config)))]))
}

/// Replaces the labels of a config; `data` as for secrets.
pub fn update_config(
    view: &View,
    id: ConfigId,
    version: u64,
    name: &str,
    new_labels: Labels,
    data: Option<&[u8]>,
    now: WallTime,
) -> Result<Txn, Refusal> {
    let old = view.config(id).ok_or_else(|| Refusal::NotFound(format!("config {id} not found")))?;
    check_version(version, old.meta.version)?;
    labels("Labels", &new_labels)?;
    let same_name = name.is_empty() || name == old.spec.name;
    if !same_name || data.is_some_and(|data| data != old.spec.data.as_slice()) {
        return invalid("only updates to Labels are allowed");
    }
    let mut new = (**old).clone();
    new.spec.labels = new_labels;
    let preconditions = vec![Precondition::Version(ObjectRef::Config(id), version)];
    Ok(txn(now, preconditions, vec![Change::Replace(Object::Config(Arc::new(new)))]))
}

/// Removes a config no service uses.
pub fn remove_config(view: &View, id: ConfigId, now: WallTime) -> Result<Txn, Refusal> {
    let old = view.config(id).ok_or_else(|| Refusal::NotFound(format!("config {id} not found")))?;
    let object = ObjectRef::Config(id);
    check_unused(view, "config", &old.spec.name, object)?;
    Ok(txn(now, vec![Precondition::Present(object)], vec![Change::Delete(object)]))
}

fn check_room(view: &View, more: usize) -> Result<(), Refusal> {
    let secrets = view.secrets().map(|secret| secret.spec.data.expose().len());
    let held: usize = secrets.chain(view.configs().map(|config| config.spec.data.len())).sum();
    if held + more <= CONTENTS_BYTES_MAX {
        return Ok(());
    }
    invalid(format!(
        "the secrets and configs of the swarm hold {held} bytes, and with these {more} they would hold more than the {CONTENTS_BYTES_MAX} they may: remove those that no service uses"
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
