//! `--autoscale`: limits and targets of a service whose number of tasks follows its load.

use crate::error::{CliError, Result};
use crate::json::{object, object_mut, set};
use crate::units::{parse_count, parse_duration_ns};
use serde_json::Value;

const AT: &str = "/Swarm/Autoscale";

/// Sets what `text` gives and leaves the other values as they are; `off` removes all of them.
pub fn apply(text: &str, spec: &mut Value) -> Result<()> {
    if text == "off" {
        // `Swarm` stays, though it may be empty: without it nothing would be changed.
        object_mut(spec, "/Swarm").remove("Autoscale");
        return Ok(());
    }
    if object(spec, AT).is_none() {
        set(spec, &format!("{AT}/Min"), 1);
    }
    for word in text.split(',').map(str::trim) {
        let (key, value) = word.split_once('=').ok_or_else(|| bad(text, &format!("\"{word}\" is not KEY=VALUE")))?;
        let (field, value) = match key {
            "min" => ("Min", count(text, value)?),
            "max" => ("Max", count(text, value)?),
            "cpu" => ("CPUPercent", count(text, value.trim_end_matches('%'))?),
            "memory" => ("MemoryPercent", count(text, value.trim_end_matches('%'))?),
            "requests" => ("RequestsPerSecond", count(text, value)?),
            "window" => ("Window", duration(text, value)?),
            "scale-down-delay" => ("ScaleDownDelay", duration(text, value)?),
            _ => return Err(bad(text, &format!("there is no \"{key}\""))),
        };
        set(spec, &format!("{AT}/{field}"), value);
    }
    Ok(())
}

fn bad(text: &str, why: &str) -> CliError {
    CliError::hinted(
        format!("invalid value \"{text}\" for --autoscale: {why}"),
        "give min, max, cpu, memory, requests, window or scale-down-delay, such as min=1,max=5,cpu=70; or off",
    )
}

fn count(text: &str, value: &str) -> Result<Value> {
    parse_count(value).map(Value::from).map_err(|why| bad(text, &why))
}

fn duration(text: &str, value: &str) -> Result<Value> {
    parse_duration_ns(value).map(Value::from).map_err(|why| bad(text, &why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn after(text: &str, mut spec: Value) -> Value {
        apply(text, &mut spec).map(|()| spec).unwrap_or_else(|error| json!(error.to_string()))
    }

    #[test]
    fn what_is_given_is_set_and_the_rest_stays() {
        let spec = after("max=5,cpu=70%,window=30s", json!({}));
        let expected = json!({"Min": 1, "Max": 5, "CPUPercent": 70, "Window": 30_000_000_000i64});
        assert_eq!(spec, json!({"Swarm": {"Autoscale": expected}}));
        let spec = after("min=2,scale-down-delay=1m,memory=80", spec);
        let expected = json!({"Min": 2, "Max": 5, "CPUPercent": 70, "MemoryPercent": 80,
            "Window": 30_000_000_000i64, "ScaleDownDelay": 60_000_000_000i64});
        assert_eq!(spec, json!({"Swarm": {"Autoscale": expected}}));
        assert_eq!(after("off", spec), json!({"Swarm": {}}));
        assert_eq!(after("off", json!({"Swarm": {"Priority": 1}})), json!({"Swarm": {"Priority": 1}}));
    }

    #[test]
    fn what_it_does_not_know_is_refused_by_name() {
        for (text, why) in [("max", "\"max\" is not KEY=VALUE"), ("disk=3", "there is no \"disk\"")] {
            let said = after(text, json!({}));
            assert_eq!(said, json!(format!("invalid value \"{text}\" for --autoscale: {why}")));
        }
        for text in ["max=x", "cpu=-1", "window=soon", ""] {
            assert!(after(text, json!({})).is_string(), "{text}");
        }
    }
}
