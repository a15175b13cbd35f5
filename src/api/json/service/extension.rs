//! What a service can ask for beyond the Engine API: the object `Swarm` in its specification.
//!
//! One object for all of it, so that one rule holds: where it is absent, as from a client that does not
//! know it, an update keeps what the service has; where it is there, it is the whole wish.

use super::word_of;
use crate::error::ApiError;
use crate::json::container::nanos;
use crate::json::fields::Fields;
use crate::json::object::Object;
use serde_json::{Value, json};
use std::time::Duration;
use swarm_core::model::*;

type Read<T> = Result<T, ApiError>;

/// Compose's words.
const CONDITIONS: [(&str, DependencyCondition); 3] = [
    ("service_started", DependencyCondition::Started),
    ("service_healthy", DependencyCondition::Healthy),
    ("service_completed_successfully", DependencyCondition::Completed),
];

/// Reads `Swarm` into the parts of `spec` it is about, all of which have their defaults.
pub(super) fn read_extension(mut object: Object, spec: &mut ServiceSpec) -> Read<()> {
    spec.task.placement.priority = object.number("Priority", "a priority, -2147483648 to 2147483647")?;
    spec.task.at_most_one = object.duration("AtMostOne")?.filter(|lease| !lease.is_zero());
    spec.task.restart.backoff_max = object.duration("RestartBackoffMax")?.unwrap_or_default();
    spec.task.container.readiness = object.object("Readiness")?.map(read_probe).transpose()?;
    spec.task.container.liveness = object.object("Liveness")?.map(read_probe).transpose()?;
    if let Some(canary) = object.object("Canary")? {
        read_canary(canary, spec.update.get_or_insert_default())?;
    }
    spec.depends_on = object.objects("DependsOn")?.into_iter().map(read_dependency).collect::<Read<_>>()?;
    spec.autoscale = object.object("Autoscale")?.map(read_autoscale).transpose()?;
    object.finish()
}

fn read_canary(mut object: Object, update: &mut UpdateConfig) -> Read<()> {
    update.canary = object.u64("Tasks")?;
    update.canary_promote_after = object.duration("PromoteAfter")?.filter(|after| !after.is_zero());
    object.finish()
}

fn read_probe(mut object: Object) -> Read<Probe> {
    let mut actions = Vec::new();
    if let Some(mut http) = object.object("HTTP")? {
        let port = http.number("Port", "a port, 1 to 65535")?;
        actions.push(ProbeAction::Http { port, path: http.string("Path")?, host: http.string("Host")? });
        http.finish()?;
    }
    if let Some(mut tcp) = object.object("TCP")? {
        actions.push(ProbeAction::Tcp { port: tcp.number("Port", "a port, 1 to 65535")? });
        tcp.finish()?;
    }
    if let Some(mut exec) = object.object("Exec")? {
        actions.push(ProbeAction::Exec { command: exec.strings("Command")? });
        exec.finish()?;
    }
    let (Some(action), true) = (actions.pop(), actions.is_empty()) else {
        let place = object.path("HTTP");
        return Err(ApiError::bad(format!("{place}: a probe has exactly one of HTTP, TCP and Exec")));
    };
    let default = Probe::of(action);
    let filled = |time: Option<Duration>, default| time.filter(|time| !time.is_zero()).unwrap_or(default);
    let counted = |count: u32, default| if count == 0 { default } else { count };
    let probe = Probe {
        interval: filled(object.duration("Interval")?, default.interval),
        timeout: filled(object.duration("Timeout")?, default.timeout),
        failures: counted(object.number("Failures", "a count")?, default.failures),
        successes: counted(object.number("Successes", "a count")?, default.successes),
        start_period: object.duration("StartPeriod")?.unwrap_or_default(),
        action: default.action,
    };
    object.finish()?;
    Ok(probe)
}

fn read_dependency(mut object: Object) -> Read<Dependency> {
    let dependency = Dependency {
        service: object.string("Service")?,
        condition: object.word("Condition", &CONDITIONS)?,
        optional: object.bool("Optional")?,
    };
    object.finish()?;
    Ok(dependency)
}

fn read_autoscale(mut object: Object) -> Read<Autoscale> {
    let autoscale = Autoscale {
        min: object.opt_u64("Min")?.unwrap_or(1),
        max: object.u64("Max")?,
        cpu_percent: object.number("CPUPercent", "a percentage")?,
        memory_percent: object.number("MemoryPercent", "a percentage")?,
        requests_per_second: object.number("RequestsPerSecond", "a count")?,
        window: object.duration("Window")?.unwrap_or(AUTOSCALE_WINDOW_DEFAULT),
        scale_down_delay: object.duration("ScaleDownDelay")?.unwrap_or(AUTOSCALE_DELAY_DEFAULT),
    };
    object.finish()?;
    Ok(autoscale)
}

/// `Swarm`; `None` when the service asks for nothing beyond the API.
pub(super) fn write_extension(spec: &ServiceSpec) -> Option<Value> {
    let container = &spec.task.container;
    let canary = spec.update.as_ref().filter(|update| update.canary > 0 || update.canary_promote_after.is_some());
    let fields = Fields::new()
        .filled("Priority", spec.task.placement.priority)
        .opt("AtMostOne", spec.task.at_most_one.map(nanos))
        .filled("RestartBackoffMax", nanos(spec.task.restart.backoff_max))
        .opt("Readiness", container.readiness.as_ref().map(write_probe))
        .opt("Liveness", container.liveness.as_ref().map(write_probe))
        .opt("Canary", canary.map(write_canary))
        .filled("DependsOn", spec.depends_on.iter().map(write_dependency).collect::<Vec<_>>())
        .opt("Autoscale", spec.autoscale.as_ref().map(write_autoscale));
    (!fields.is_empty() || has_own_fields(spec)).then(|| fields.into())
}

/// What is ours and stands outside `Swarm`. An empty one says then that its client knows these.
fn has_own_fields(spec: &ServiceSpec) -> bool {
    let container = &spec.task.container;
    container.privileged
        || container.shm_size_bytes > 0
        || spec.endpoint.ports.iter().any(|port| port.host_ip.is_some())
}

fn write_canary(update: &UpdateConfig) -> Value {
    Fields::new().set("Tasks", update.canary).opt("PromoteAfter", update.canary_promote_after.map(nanos)).into()
}

fn write_probe(probe: &Probe) -> Value {
    let (kind, action) = match &probe.action {
        ProbeAction::Http { port, path, host } => ("HTTP", json!({ "Port": port, "Path": path, "Host": host })),
        ProbeAction::Tcp { port } => ("TCP", json!({ "Port": port })),
        ProbeAction::Exec { command } => ("Exec", json!({ "Command": command })),
    };
    Fields::new()
        .set(kind, action)
        .set("Interval", nanos(probe.interval))
        .set("Timeout", nanos(probe.timeout))
        .set("Failures", probe.failures)
        .set("Successes", probe.successes)
        .set("StartPeriod", nanos(probe.start_period))
        .into()
}

fn write_dependency(dependency: &Dependency) -> Value {
    Fields::new()
        .set("Service", dependency.service.as_str())
        .set("Condition", word_of(&CONDITIONS, &dependency.condition))
        .filled("Optional", dependency.optional)
        .into()
}

fn write_autoscale(autoscale: &Autoscale) -> Value {
    json!({
        "Min": autoscale.min,
        "Max": autoscale.max,
        "CPUPercent": autoscale.cpu_percent,
        "MemoryPercent": autoscale.memory_percent,
        "RequestsPerSecond": autoscale.requests_per_second,
        "Window": nanos(autoscale.window),
        "ScaleDownDelay": nanos(autoscale.scale_down_delay),
    })
}

/// Carries over from `old` what `new` could not say because its client did not know of it. Not its canaries: they are
/// of the update they were given with.
pub fn keep_extension(old: &ServiceSpec, new: &mut ServiceSpec) {
    new.task.placement.priority = old.task.placement.priority;
    new.task.at_most_one = old.task.at_most_one;
    new.task.restart.backoff_max = old.task.restart.backoff_max;
    new.task.container.readiness.clone_from(&old.task.container.readiness);
    new.task.container.liveness.clone_from(&old.task.container.liveness);
    new.depends_on.clone_from(&old.depends_on);
    new.autoscale.clone_from(&old.autoscale);
    let (container, kept) = (&mut new.task.container, &old.task.container);
    container.privileged |= kept.privileged;
    if container.shm_size_bytes == 0 {
        container.shm_size_bytes = kept.shm_size_bytes;
    }
    keep_host_ips(&old.endpoint.ports, &mut new.endpoint.ports);
}

/// A port that is still asked for does not open on addresses it was kept from.
fn keep_host_ips(old: &[PortConfig], new: &mut [PortConfig]) {
    let told = |port: &PortConfig| (port.protocol, port.target_port, port.published_port, port.mode);
    let mut left: Vec<&PortConfig> = old.iter().collect();
    for port in new {
        let same = left.iter().position(|old| told(old) == told(port)).map(|at| left.remove(at));
        port.host_ip = port.host_ip.or(same.and_then(|old| old.host_ip));
    }
}
