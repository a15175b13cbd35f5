//! What a service says of its container.

use super::image::is_reference;
use super::mounts::mounts;
use super::references::references;
use super::{Refusal, invalid, labels};
use crate::model::*;
use crate::template::task::is_template;

/// Lowest and highest `OomScoreAdj` (proc_pid_oom_score_adj(5)).
const OOM_SCORE_ADJ: std::ops::RangeInclusive<i32> = -1000..=1000;
/// Health checks may not run more often than each millisecond (API `HealthConfig`: "0 or at least 1000000 (1 ms)").
const HEALTH_INTERVAL_MIN: std::time::Duration = std::time::Duration::from_millis(1);

pub(super) fn container(container: &ContainerSpec) -> Result<(), Refusal> {
    if container.image.is_empty() {
        return invalid("TaskTemplate.ContainerSpec.Image: image reference must be provided");
    }
    if !is_reference(&container.image) {
        return invalid(format!(
            "TaskTemplate.ContainerSpec.Image: \"{}\" is not a valid repository/tag",
            container.image
        ));
    }
    labels("TaskTemplate.ContainerSpec.Labels", &container.labels)?;
    if let Some(entry) = container.env.iter().find(|entry| entry.is_empty() || entry.starts_with('=')) {
        return invalid(format!("TaskTemplate.ContainerSpec.Env: invalid environment variable: \"{entry}\""));
    }
    if !OOM_SCORE_ADJ.contains(&container.oom_score_adj) {
        return invalid(format!(
            "TaskTemplate.ContainerSpec.OomScoreAdj: {} is out of range, use -1000 to 1000",
            container.oom_score_adj
        ));
    }
    for ulimit in &container.ulimits {
        if ulimit.name.is_empty() || (ulimit.hard >= 0 && ulimit.soft > ulimit.hard) {
            return invalid(format!(
                "TaskTemplate.ContainerSpec.Ulimits: ulimit soft limit must be less than or equal to hard limit: {} > {}",
                ulimit.soft, ulimit.hard
            ));
        }
    }
    for entry in &container.hosts {
        let mut words = entry.split_whitespace();
        let address = words.next().is_some_and(|word| word.parse::<std::net::IpAddr>().is_ok());
        if !address || words.next().is_none() {
            return invalid(format!(
                "TaskTemplate.ContainerSpec.Hosts: \"{entry}\" is not \"address name [alias...]\""
            ));
        }
    }
    mounts(&container.mounts, is_template)?;
    references(container)?;
    health(container.health_check.as_ref())
}

fn health(check: Option<&HealthConfig>) -> Result<(), Refusal> {
    let Some(check) = check else { return Ok(()) };
    let place = "TaskTemplate.ContainerSpec.Healthcheck";
    let times = [
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    ];
    for (name, time) in times {
        if time.is_some_and(|time| !time.is_zero() && time < HEALTH_INTERVAL_MIN) {
            return invalid(format!("{place}: {name} in Healthcheck cannot be less than 1ms"));
        }
    }
    match check.test.first().map(String::as_str) {
        None => Ok(()),
        Some("NONE") if check.test.len() == 1 => Ok(()),
        Some("CMD" | "CMD-SHELL") if check.test.len() > 1 => Ok(()),
        Some("NONE" | "CMD" | "CMD-SHELL") => invalid(format!("{place}.Test: no command after its first word")),
        Some(other) => invalid(format!("{place}.Test: must start with NONE, CMD or CMD-SHELL, not \"{other}\"")),
    }
}
