//! What users may set of a node.

use super::{Refusal, invalid, labels, name_pattern_holds};
use crate::model::NodeSpec;

/// Characters of a node's name: it is a host name (RFC 1035).
const NODE_NAME_LEN_MAX: usize = 253;

pub fn node(spec: &NodeSpec) -> Result<(), Refusal> {
    labels("Labels", &spec.labels)?;
    match spec.name.as_deref() {
        Some(name) if !name.is_empty() && !name_pattern_holds(name, b"-_.", NODE_NAME_LEN_MAX) => {
            invalid(format!("Name: \"{name}\" is not a host name"))
        }
        Some(_) | None => Ok(()),
    }
}
