//! Templates are refused where they are written, as far as that can be told without a task.

use super::{Refusal, invalid};
use crate::model::{ConfigSpec, SecretSpec, ServiceSpec};
use crate::template::task::{check_container, check_content};

/// Those of a service's fields.
pub(super) fn service(spec: &ServiceSpec) -> Result<(), Refusal> {
    match check_container(&spec.task.container, &spec.labels) {
        Err(wrong) => invalid(format!("TaskTemplate.ContainerSpec.{wrong}")),
        Ok(()) => Ok(()),
    }
}

/// Whether `user` can fill in that secret, its reference number `at`: with a service, more can be told.
pub fn secret_of(user: &ServiceSpec, at: usize, secret: &SecretSpec) -> Result<(), Refusal> {
    match secret.templated.then(|| check_content(secret.data.expose(), Some((&user.task.container, &user.labels)))) {
        Some(Err(fault)) => invalid(format!(
            "TaskTemplate.ContainerSpec.Secrets[{at}]: the template of secret {}, {}",
            secret.name,
            fault.discreet()
        )),
        Some(Ok(())) | None => Ok(()),
    }
}

/// As [`secret_of`]; the error quotes the config.
pub fn config_of(user: &ServiceSpec, at: usize, config: &ConfigSpec) -> Result<(), Refusal> {
    match config.templated.then(|| check_content(&config.data, Some((&user.task.container, &user.labels)))) {
        Some(Err(fault)) => invalid(format!(
            "TaskTemplate.ContainerSpec.Configs[{at}]: the template of config {}, {}",
            config.name,
            fault.placed()
        )),
        Some(Ok(())) | None => Ok(()),
    }
}

/// The error quotes nothing of the data.
pub(super) fn secret(spec: &SecretSpec) -> Result<(), Refusal> {
    match spec.templated.then(|| check_content(spec.data.expose(), None)) {
        Some(Err(fault)) => invalid(format!("Data: {}", fault.discreet())),
        Some(Ok(())) | None => Ok(()),
    }
}

pub(super) fn config(spec: &ConfigSpec) -> Result<(), Refusal> {
    match spec.templated.then(|| check_content(&spec.data, None)) {
        Some(Err(fault)) => invalid(format!("Data: {}", fault.placed())),
        Some(Ok(())) | None => Ok(()),
    }
}
