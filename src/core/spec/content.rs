//! Secrets and configs: alike but for their size and their secrecy.

use super::{Refusal, invalid, labels, object_name, templates};
use crate::model::{CONFIG_BYTES_MAX, ConfigSpec, SECRET_BYTES_MAX, SecretSpec};

pub fn secret(spec: &SecretSpec) -> Result<(), Refusal> {
    object_name(&spec.name)?;
    labels("Labels", &spec.labels)?;
    let len = spec.data.expose().len();
    if len == 0 || len > SECRET_BYTES_MAX {
        return invalid(format!("Data: secret data must be larger than 0 and less than {SECRET_BYTES_MAX} bytes"));
    }
    templates::secret(spec)
}

pub fn config(spec: &ConfigSpec) -> Result<(), Refusal> {
    object_name(&spec.name)?;
    labels("Labels", &spec.labels)?;
    if spec.data.is_empty() || spec.data.len() > CONFIG_BYTES_MAX {
        return invalid(format!("Data: config data must be larger than 0 and less than {CONFIG_BYTES_MAX} bytes"));
    }
    templates::config(spec)
}
