//! What holds of a service's specification by itself or against a snapshot.

use super::dependencies::dependencies;
use super::image::is_reference;
use super::mode::mode;
use super::once::at_most_one;
use super::references::references;
use super::{Refusal, invalid, templates};
use crate::ServiceId;
use crate::constraint::Constraint;
use crate::model::*;
use crate::store::View;
use crate::template::task::is_template;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Characters of a service's name: it is a DNS label.
const SERVICE_NAME_LEN_MAX: usize = 63;
/// Characters of the name of a secret, config or network.
const OBJECT_NAME_LEN_MAX: usize = 64;
/// Smallest share of a core that can be limited or reserved: a thousandth.
const NANO_CPUS_MIN: i64 = 1_000_000;
/// Smallest memory that can be limited or reserved.
const MEMORY_BYTES_MIN: i64 = 4 * 1024 * 1024;
/// Lowest and highest `OomScoreAdj` (proc_pid_oom_score_adj(5)).
const OOM_SCORE_ADJ: std::ops::RangeInclusive<i32> = -1000..=1000;
/// Health checks may not run more often than each millisecond (API `HealthConfig`).
const HEALTH_INTERVAL_MIN: std::time::Duration = std::time::Duration::from_millis(1);

/// Log drivers whose meaning our own log has.
const LOG_DRIVERS: [&str; 3] = ["", "json-file", "local"];
/// Their options that it has.
const LOG_OPTIONS: [&str; 2] = ["max-file", "max-size"];

/// Ports that every node of a cluster listens at, unless told otherwise: the managers, gossip, and the overlay. A
/// service published there could never be reached.
const OWN_UDP_PORTS: [u16; 3] = [2377, 7946, 4789];

/// Whether a name is letters, digits and `extra`, with a letter or digit at both ends, and not too long.
pub fn name_pattern_holds(name: &str, extra: &[u8], len_max: usize) -> bool {
    let bytes = name.as_bytes();
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    name.len() <= len_max
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || extra.contains(b))
}

/// Names of secrets, configs and networks.
pub(super) fn object_name(name: &str) -> Result<(), Refusal> {
    if name_pattern_holds(name, b"-_.", OBJECT_NAME_LEN_MAX) {
        return Ok(());
    }
    invalid(format!(
        "invalid name, only {OBJECT_NAME_LEN_MAX} [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]"
    ))
}

/// Label keys may not be empty.
pub(super) fn labels(place: &str, labels: &Labels) -> Result<(), Refusal> {
    if labels.keys().any(String::is_empty) { invalid(format!("{place}: label key cannot be empty")) } else { Ok(()) }
}

/// Everything that must hold of `spec`; `id` is the service itself, whose own ports do not count as taken.
pub fn validate_service(view: &View, spec: &ServiceSpec, id: ServiceId) -> Result<(), Refusal> {
    service_name(&spec.name)?;
    labels("Labels", &spec.labels)?;
    mode(spec)?;
    super::autoscale::autoscale(spec)?;
    restart(&spec.task.restart)?;
    dependencies(view, spec)?;
    at_most_one(view, spec)?;
    if let Some(update) = &spec.update {
        update_config("UpdateConfig", update)?;
        canary(update)?;
    }
    if let Some(rollback) = &spec.rollback {
        update_config("RollbackConfig", rollback)?;
    }
    resources(&spec.task.resources)?;
    placement(spec)?;
    log_driver(spec.task.log_driver.as_ref())?;
    container(&spec.task.container)?;
    super::probes::probes(&spec.task.container)?;
    endpoint(&spec.endpoint)?;
    networks(view, spec)?;
    port_conflicts(view, spec, id)?;
    references(view, &spec.task.container)?;
    templates::service(view, spec)
}

fn service_name(name: &str) -> Result<(), Refusal> {
    if name.is_empty() {
        return invalid("name must be provided");
    }
    if name.len() > SERVICE_NAME_LEN_MAX {
        return invalid(format!("name must be {SERVICE_NAME_LEN_MAX} characters or fewer"));
    }
    if !name_pattern_holds(name, b"-_", SERVICE_NAME_LEN_MAX) {
        return invalid("name must be valid as a DNS name component");
    }
    Ok(())
}

fn restart(policy: &RestartPolicy) -> Result<(), Refusal> {
    if policy.backoff_max.is_zero() || policy.backoff_max >= policy.delay {
        return Ok(());
    }
    invalid(format!(
        "Swarm.RestartBackoffMax: {:?} is less than TaskTemplate.RestartPolicy.Delay, {:?}, from which it doubles",
        policy.backoff_max, policy.delay
    ))
}

fn update_config(place: &str, config: &UpdateConfig) -> Result<(), Refusal> {
    if !(0.0..=1.0).contains(&config.max_failure_ratio) {
        return invalid(format!(
            "{place}.MaxFailureRatio: update-maxfailureratio cannot be less than 0 or bigger than 1"
        ));
    }
    if place == "RollbackConfig" && config.failure_action == FailureAction::Rollback {
        return invalid(
            "RollbackConfig.FailureAction: a rollback can not be rolled back, use \"pause\" or \"continue\"",
        );
    }
    Ok(())
}

fn canary(update: &UpdateConfig) -> Result<(), Refusal> {
    match update.canary_promote_after {
        Some(_) if update.canary == 0 => invalid("Swarm.Canary.PromoteAfter: needs Swarm.Canary.Tasks, of at least 1"),
        Some(_) | None => Ok(()),
    }
}

fn resources(resources: &ResourceRequirements) -> Result<(), Refusal> {
    cpu_and_memory("Limits", resources.limit_nano_cpus, resources.limit_memory_bytes)?;
    cpu_and_memory("Reservations", resources.reservations.nano_cpus, resources.reservations.memory_bytes)?;
    if resources.limit_pids < 0 {
        return invalid("TaskTemplate.Resources.Limits.Pids: cannot be negative");
    }
    for (kind, amount) in &resources.reservations.generic {
        if kind.is_empty() || *amount <= 0 {
            return invalid(format!(
                "TaskTemplate.Resources.Reservations.GenericResources: \"{kind}\" must have a name and an amount above 0"
            ));
        }
    }
    Ok(())
}

fn cpu_and_memory(place: &str, nano_cpus: i64, memory_bytes: i64) -> Result<(), Refusal> {
    if nano_cpus != 0 && nano_cpus < NANO_CPUS_MIN {
        let (given, least) = (nano_cpus as f64 / 1e9, NANO_CPUS_MIN as f64 / 1e9);
        return invalid(format!(
            "TaskTemplate.Resources.{place}.NanoCPUs: invalid cpu value {given}: Must be at least {least}"
        ));
    }
    if memory_bytes != 0 && memory_bytes < MEMORY_BYTES_MIN {
        return invalid(format!(
            "TaskTemplate.Resources.{place}.MemoryBytes: invalid memory value {memory_bytes}: Must be at least 4MiB"
        ));
    }
    Ok(())
}

fn placement(spec: &ServiceSpec) -> Result<(), Refusal> {
    let placement = &spec.task.placement;
    if let Err(wrong) = Constraint::parse_all(&placement.constraints) {
        return invalid(format!("TaskTemplate.Placement.Constraints: {wrong}"));
    }
    for spread in &placement.spread {
        let label = spread.strip_prefix("node.labels.").or_else(|| spread.strip_prefix("engine.labels."));
        if label.is_none_or(str::is_empty) {
            return invalid(format!(
                "TaskTemplate.Placement.Preferences: can not spread over \"{spread}\", only over node.labels.<key> or engine.labels.<key>"
            ));
        }
    }
    let global = matches!(spec.mode, ServiceMode::Global | ServiceMode::GlobalJob);
    if global && placement.max_replicas_per_node > 0 {
        return invalid(
            "TaskTemplate.Placement.MaxReplicas: replicas-max-per-node can only be used with replicated or replicated-job mode",
        );
    }
    Ok(())
}

fn log_driver(driver: Option<&LogDriver>) -> Result<(), Refusal> {
    let Some(driver) = driver else { return Ok(()) };
    if !LOG_DRIVERS.contains(&driver.name.as_str()) {
        return invalid(format!(
            "TaskTemplate.LogDriver.Name: log driver \"{}\" is not supported, use json-file or local",
            driver.name
        ));
    }
    match driver.options.keys().find(|key| !LOG_OPTIONS.contains(&key.as_str())) {
        Some(key) => {
            invalid(format!("TaskTemplate.LogDriver.Options.{key} is not supported, use max-size and max-file"))
        }
        None => Ok(()),
    }
}

fn container(container: &ContainerSpec) -> Result<(), Refusal> {
    if container.image.is_empty() {
        return invalid("ContainerSpec: image reference must be provided");
    }
    if !is_reference(&container.image) {
        return invalid(format!("ContainerSpec: \"{}\" is not a valid repository/tag", container.image));
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
    validate_mounts(&container.mounts, is_template)?;
    health(container.health_check.as_ref())
}

/// What must hold of mounts. Texts that are `open` are left out: they are filled in on the node, and looked at there.
pub fn validate_mounts(mounts: &[Mount], open: impl Fn(&str) -> bool) -> Result<(), Refusal> {
    let mut targets = BTreeSet::new();
    for (index, mount) in mounts.iter().enumerate() {
        let place = format!("TaskTemplate.ContainerSpec.Mounts[{index}]");
        let is_open = open(&mount.target);
        if !is_open && !mount.target.starts_with('/') {
            return invalid(format!("{place}: invalid mount target, must be an absolute path: {}", mount.target));
        }
        let target = clean_path(&mount.target);
        if !is_open && target == "/" {
            return invalid(format!("{place}: invalid specification: destination can't be '/'"));
        }
        if !is_open && !targets.insert(target) {
            return invalid(format!("ContainerSpec: duplicate mount point: {}", mount.target));
        }
        match &mount.source {
            MountSource::Bind { path, propagation, .. } => {
                if !open(path) && !path.starts_with('/') {
                    return invalid(format!("{place}: invalid mount source, must be an absolute path: {path}"));
                }
                let known = ["", "private", "rprivate", "shared", "rshared", "slave", "rslave"];
                if !known.contains(&propagation.as_str()) {
                    return invalid(format!(
                        "{place}.BindOptions.Propagation: invalid propagation mode: {propagation}"
                    ));
                }
            }
            MountSource::Volume { name, driver, driver_options, .. } => {
                if !matches!(driver.as_str(), "" | "local") || !driver_options.is_empty() {
                    return invalid(format!(
                        "{place}.VolumeOptions.DriverConfig: only driver local without options is supported"
                    ));
                }
                if !name.is_empty() && !open(name) && !name_pattern_holds(name, b"-_.", 255) {
                    return invalid(format!(
                        "{place}: \"{name}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed"
                    ));
                }
            }
            MountSource::Tmpfs { mode, .. } => {
                if *mode > 0o7777 {
                    return invalid(format!("{place}.TmpfsOptions.Mode: {mode:o} is not a file mode"));
                }
            }
        }
    }
    Ok(())
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

fn endpoint(endpoint: &EndpointSpec) -> Result<(), Refusal> {
    let mut published = BTreeSet::new();
    for (index, port) in endpoint.ports.iter().enumerate() {
        if port.target_port == 0 {
            return invalid(format!("EndpointSpec.Ports[{index}].TargetPort: must be 1 to 65535"));
        }
        if endpoint.mode == EndpointMode::Dnsrr && port.mode == PublishMode::Ingress {
            return invalid("EndpointSpec: port published with ingress mode can't be used with dnsrr mode");
        }
        if port.protocol == Protocol::Udp && OWN_UDP_PORTS.contains(&port.published_port) {
            return invalid(format!(
                "EndpointSpec.Ports[{index}].PublishedPort: port {}/udp is used by the cluster itself on every node",
                port.published_port
            ));
        }
        if port.protocol == Protocol::Sctp {
            return invalid(format!("EndpointSpec.Ports[{index}].Protocol: sctp is not supported, use tcp or udp"));
        }
        let free = port.published_port == 0 || published.insert((port.protocol, port.published_port, port.host_ip));
        if !free {
            return invalid(format!(
                "EndpointSpec: duplicate published ports provided: {}/{}",
                port.published_port,
                protocol_word(port.protocol)
            ));
        }
    }
    Ok(())
}

fn protocol_word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

fn networks(view: &View, spec: &ServiceSpec) -> Result<(), Refusal> {
    let mut seen = BTreeSet::new();
    for attachment in &spec.task.networks {
        let Some(network) = view.network(attachment.target).filter(|network| !network.removing) else {
            return Err(Refusal::NotFound(format!("network {} not found", attachment.target)));
        };
        let name = &network.spec.name;
        if network.spec.ingress {
            return Err(Refusal::NotNow(format!(
                "Service cannot be explicitly attached to the ingress network \"{name}\""
            )));
        }
        if let Some(key) = attachment.driver_options.keys().next() {
            return invalid(format!("TaskTemplate.Networks: DriverOpts.{key} of network {name} is not supported"));
        }
        if !seen.insert(attachment.target) {
            return invalid(format!("TaskTemplate.Networks: network {name} is given twice"));
        }
        match network.spec.driver {
            NetworkDriver::Overlay => {}
            NetworkDriver::Host | NetworkDriver::None => {
                return Err(Refusal::Unsupported(
                    "TaskTemplate.Networks: the networks host and none are not implemented yet",
                ));
            }
        }
    }
    Ok(())
}

/// Whether two published ports of different services would meet on some node.
fn clash(one: &PortConfig, other: &PortConfig) -> bool {
    let same = one.published_port == other.published_port && one.protocol == other.protocol;
    // Two host-mode services may share a port on different nodes: the scheduler keeps them apart.
    let both_host = one.mode == PublishMode::Host && other.mode == PublishMode::Host;
    let apart = matches!((one.host_ip, other.host_ip), (Some(a), Some(b)) if a != b);
    same && !both_host && !apart
}

fn port_conflicts(view: &View, spec: &ServiceSpec, id: ServiceId) -> Result<(), Refusal> {
    let wanted: Vec<_> = spec.endpoint.ports.iter().filter(|port| port.published_port != 0).collect();
    let others: BTreeMap<ServiceId, &Arc<Service>> = wanted
        .iter()
        .flat_map(|port| view.publishers(port.protocol, port.published_port))
        .filter(|other| other.id != id && !other.removing)
        .map(|other| (other.id, other))
        .collect();
    for other in others.into_values() {
        let taken = other.spec.endpoint.ports.iter().chain(&other.endpoint.ports);
        for theirs in taken {
            if let Some(ours) = wanted.iter().find(|ours| clash(ours, theirs)) {
                return invalid(format!(
                    "port '{}' is already in use by service '{}' ({})",
                    ours.published_port, other.spec.name, other.id
                ));
            }
        }
    }
    Ok(())
}
