//! `ServiceSpec` from JSON.
//!
//! Names and types are the Engine API's (v1.55, `ServiceSpec` and `TaskSpec`). Where it names no default, the one its
//! engine has is taken: swarmkit's `api/defaults/service.go`, or moby's conversion of the spec to swarmkit's.

use super::extension::read_extension;
use super::{CONDITIONS, FAILURE_ACTIONS, ORDERS, PROTOCOLS, PUBLISH_MODES};
use crate::error::ApiError;
use crate::json::container::read_container;
use crate::json::object::Object;
use std::collections::BTreeMap;
use swarm_core::model::*;
use swarm_core::store::View;

type Read<T> = Result<T, ApiError>;

/// A spec, and what to tell the user about it.
#[derive(Clone, Debug)]
pub struct ServiceReading {
    pub spec: ServiceSpec,
    pub warnings: Vec<String>,
    /// It says what it wants beyond the API.
    pub extended: bool,
}

/// Reads a service spec. Networks, secrets and configs may be given by id or name; they are looked up in `view`.
pub fn read_service_spec(mut object: Object, view: &View) -> Read<ServiceReading> {
    let mut warnings = Vec::new();
    let mode = read_mode(&mut object)?;
    let is_job = matches!(mode, ServiceMode::ReplicatedJob { .. } | ServiceMode::GlobalJob);
    let mut task = match object.object("TaskTemplate")? {
        Some(task) => read_task(task, view, is_job, &mut warnings)?,
        None => TaskSpec::default(),
    };
    // Before API 1.25 networks belonged to the service.
    let networks = read_networks(object.objects("Networks")?, view)?;
    if task.networks.is_empty() {
        task.networks = networks;
    } else if !networks.is_empty() {
        return Err(ApiError::bad("Networks: given in TaskTemplate.Networks, too; use that one alone"));
    }
    let mut spec = ServiceSpec {
        name: object.string("Name")?,
        labels: object.map("Labels")?,
        task,
        mode,
        update: object.object("UpdateConfig")?.map(read_update).transpose()?,
        rollback: object.object("RollbackConfig")?.map(read_update).transpose()?,
        endpoint: object.object("EndpointSpec")?.map(read_endpoint).transpose()?.unwrap_or_default(),
        depends_on: Vec::new(),
        autoscale: None,
    };
    let extension = object.object("Swarm")?;
    let extended = extension.is_some();
    if let Some(extension) = extension {
        read_extension(extension, &mut spec)?;
    }
    object.finish()?;
    Ok(ServiceReading { spec, warnings, extended })
}

fn read_mode(object: &mut Object) -> Read<ServiceMode> {
    // Without a mode, or a number of replicas: 1 (moby's conversion; the API's text says nothing).
    let Some(mut mode) = object.object("Mode")? else {
        return Ok(ServiceMode::Replicated { replicas: 1 });
    };
    let mut found = Vec::new();
    if let Some(mut replicated) = mode.object("Replicated")? {
        let replicas = replicated.opt_u64("Replicas")?.unwrap_or(1);
        replicated.finish()?;
        found.push(ServiceMode::Replicated { replicas });
    }
    if let Some(global) = mode.object("Global")? {
        global.finish()?;
        found.push(ServiceMode::Global);
    }
    if let Some(mut job) = mode.object("ReplicatedJob")? {
        // API `MaxConcurrent`: default 1; `TotalCompletions`: "if unset, will default to the value of MaxConcurrent".
        let max_concurrent = job.opt_u64("MaxConcurrent")?.unwrap_or(1);
        let total_completions = job.opt_u64("TotalCompletions")?.unwrap_or(max_concurrent);
        job.finish()?;
        found.push(ServiceMode::ReplicatedJob { max_concurrent, total_completions });
    }
    if let Some(job) = mode.object("GlobalJob")? {
        job.finish()?;
        found.push(ServiceMode::GlobalJob);
    }
    mode.finish()?;
    match (found.pop(), found.is_empty()) {
        (None, _) => Ok(ServiceMode::Replicated { replicas: 1 }),
        (Some(mode), true) => Ok(mode),
        (Some(_), false) => Err(ApiError::bad("Mode: must specify only one service mode")),
    }
}

fn read_task(mut object: Object, view: &View, is_job: bool, warnings: &mut Vec<String>) -> Read<TaskSpec> {
    object.word("Runtime", &[("", ()), ("container", ())])?;
    let container = match object.object("ContainerSpec")? {
        Some(container) => read_container(container, view, warnings)?,
        None => ContainerSpec::default(),
    };
    let task = TaskSpec {
        container,
        resources: object.object("Resources")?.map(read_resources).transpose()?.unwrap_or_default(),
        restart: read_restart(object.object("RestartPolicy")?, is_job)?,
        placement: object.object("Placement")?.map(read_placement).transpose()?.unwrap_or_default(),
        networks: read_networks(object.objects("Networks")?, view)?,
        log_driver: object.object("LogDriver")?.map(read_log_driver).transpose()?,
        force_update: object.u64("ForceUpdate")?,
        at_most_one: None,
    };
    object.finish()?;
    Ok(task)
}

fn read_resources(mut object: Object) -> Read<ResourceRequirements> {
    let mut resources = ResourceRequirements::default();
    if let Some(mut limits) = object.object("Limits")? {
        resources.limit_nano_cpus = limits.i64("NanoCPUs")?;
        resources.limit_memory_bytes = limits.i64("MemoryBytes")?;
        resources.limit_pids = limits.i64("Pids")?;
        limits.finish()?;
    }
    if let Some(mut reserved) = object.object("Reservations")? {
        resources.reservations.nano_cpus = reserved.i64("NanoCPUs")?;
        resources.reservations.memory_bytes = reserved.i64("MemoryBytes")?;
        for (index, generic) in reserved.objects("GenericResources")?.into_iter().enumerate() {
            let (kind, amount) = read_generic(generic)?;
            let place = reserved.path(&format!("GenericResources[{index}]"));
            let all = resources.reservations.generic.entry(kind).or_default();
            // The same kind may be given in parts.
            *all = all.checked_add(amount).ok_or_else(|| {
                ApiError::bad(format!("{place}: the amounts of its kind add up to more than {}", i64::MAX))
            })?;
        }
        reserved.finish()?;
    }
    object.finish()?;
    Ok(resources)
}

fn read_generic(mut object: Object) -> Read<(String, i64)> {
    if let Some(mut named) = object.object("NamedResourceSpec")? {
        let kind = named.string("Kind")?;
        return Err(ApiError::bad(format!(
            "{}: units of {kind} cannot be asked for by name, use DiscreteResourceSpec with a number",
            object.path("NamedResourceSpec")
        )));
    }
    let Some(mut discrete) = object.object("DiscreteResourceSpec")? else {
        return Err(ApiError::bad(format!("{}: must be given", object.path("DiscreteResourceSpec"))));
    };
    let kind = discrete.string("Kind")?;
    // A part below nothing would hide in the sum.
    let amount = i64::try_from(discrete.u64("Value")?).unwrap_or(i64::MAX);
    discrete.finish()?;
    object.finish()?;
    Ok((kind, amount))
}

fn read_restart(object: Option<Object>, is_job: bool) -> Read<RestartPolicy> {
    let mut policy = RestartPolicy::default();
    // A job that has completed is done: "any" makes no sense for it and is not its default.
    if is_job {
        policy.condition = RestartCondition::OnFailure;
    }
    let Some(mut object) = object else {
        return Ok(policy);
    };
    if let Some(condition) = object.opt_string("Condition")?.filter(|text| !text.is_empty()) {
        let known = CONDITIONS.iter().find(|(word, _)| *word == condition);
        let Some((_, condition)) = known else {
            let place = object.path("Condition");
            return Err(ApiError::bad(format!("{place}: invalid RestartCondition: \"{condition}\"")));
        };
        policy.condition = *condition;
    }
    // Absent: 5 s (swarmkit's defaults); 0 is at once.
    policy.delay = object.duration("Delay")?.unwrap_or(policy.delay);
    // API `MaxAttempts`: 0 "is ignored"; `Window`: 0 "is unbounded".
    policy.max_attempts = object.u64("MaxAttempts")?;
    policy.window = object.duration("Window")?.unwrap_or_default();
    object.finish()?;
    Ok(policy)
}

fn read_placement(mut object: Object) -> Read<Placement> {
    let mut spread = Vec::new();
    for mut preference in object.objects("Preferences")? {
        if let Some(mut inner) = preference.object("Spread")? {
            spread.push(inner.string("SpreadDescriptor")?);
            inner.finish()?;
        }
        preference.finish()?;
    }
    let mut platforms = Vec::new();
    for mut platform in object.objects("Platforms")? {
        let architecture = platform.string("Architecture")?;
        platforms.push(Platform { os: platform.string("OS")?, architecture });
        platform.finish()?;
    }
    let placement = Placement {
        constraints: object.strings("Constraints")?,
        spread,
        // API: 0 "is unlimited".
        max_replicas_per_node: object.u64("MaxReplicas")?,
        platforms,
        priority: 0,
    };
    object.finish()?;
    Ok(placement)
}

fn read_networks(objects: Vec<Object>, view: &View) -> Read<Vec<NetworkTarget>> {
    let mut networks = Vec::with_capacity(objects.len());
    for mut object in objects {
        let target = object.string("Target")?;
        let place = object.path("Target");
        let network = crate::lookup::network(view, &target)
            .map_err(|error| ApiError { message: format!("{place}: {}", error.message), ..error })?;
        networks.push(NetworkTarget {
            target: network.id,
            aliases: object.strings("Aliases")?,
            driver_options: read_driver_options(&mut object)?,
        });
        object.finish()?;
    }
    Ok(networks)
}

fn read_driver_options(object: &mut Object) -> Read<BTreeMap<String, String>> {
    object.map("DriverOpts")
}

fn read_log_driver(mut object: Object) -> Read<LogDriver> {
    let driver = LogDriver { name: object.string("Name")?, options: object.map("Options")? };
    object.finish()?;
    Ok(driver)
}

/// API `UpdateConfig` and `RollbackConfig`. One that is there without `Parallelism` means 0, all at once; only where all
/// of it is absent is it 1 (swarmkit fills in its default for the whole, and of a part only `Monitor`: 5 s).
fn read_update(mut object: Object) -> Read<UpdateConfig> {
    let defaults = UpdateConfig::default();
    let config = UpdateConfig {
        parallelism: object.u64("Parallelism")?,
        delay: object.duration("Delay")?.unwrap_or_default(),
        failure_action: object.word("FailureAction", &FAILURE_ACTIONS)?,
        monitor: object.duration("Monitor")?.filter(|time| !time.is_zero()).unwrap_or(defaults.monitor),
        max_failure_ratio: object.f32("MaxFailureRatio")?,
        order: object.word("Order", &ORDERS)?,
        canary: 0,
        canary_promote_after: None,
    };
    object.finish()?;
    Ok(config)
}

fn read_endpoint(mut object: Object) -> Read<EndpointSpec> {
    let mode = object.word("Mode", &[("vip", EndpointMode::Vip), ("dnsrr", EndpointMode::Dnsrr)])?;
    let ports = object.objects("Ports")?.into_iter().map(read_port).collect::<Read<_>>()?;
    object.finish()?;
    Ok(EndpointSpec { mode, ports })
}

fn read_port(mut object: Object) -> Read<PortConfig> {
    // Beyond the API: the address of the node that answers.
    let host_ip = match object.opt_string("HostIP")?.filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => {
            let place = object.path("HostIP");
            Some(text.parse().map_err(|_| ApiError::bad(format!("{place}: \"{text}\" is not an IP address")))?)
        }
    };
    let port = PortConfig {
        name: object.string("Name")?,
        protocol: object.word("Protocol", &PROTOCOLS)?,
        target_port: object.number("TargetPort", "a port, 1 to 65535")?,
        published_port: object.number("PublishedPort", "a port, 0 to 65535")?,
        mode: object.word("PublishMode", &PUBLISH_MODES)?,
        host_ip,
    };
    object.finish()?;
    Ok(port)
}
