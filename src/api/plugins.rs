//! `/plugins`: there are none.
//!
//! Told as Docker tells it: `docker inspect NAME` asks for a plugin on its way to secrets and configs, and goes on at
//! "not found" alone.

use crate::call::{Call, Outcome, ok};
use crate::error::ApiError;
use crate::filters::Filters;
use crate::routes::unknown_below;
use serde_json::json;

const FILTERS: [&str; 2] = ["capability", "enable"];

pub fn route(call: &Call, method: &str, rest: &[&str]) -> Outcome {
    match (method, rest) {
        ("GET", []) => {
            Filters::read(&call.query, &FILTERS)?;
            ok(json!([]))
        }
        ("GET", ["privileges"]) | ("POST", ["pull" | "create"]) => Err(unknown_below(method, "plugins", rest)),
        ("GET", [name @ .., "json"])
        | ("POST", [name @ .., "enable" | "disable" | "upgrade" | "push" | "set"])
        | ("DELETE", name)
            if !name.is_empty() =>
        {
            Err(ApiError::not_found(format!("plugin \"{}\" not found", name.join("/"))))
        }
        _ => Err(unknown_below(method, "plugins", rest)),
    }
}
