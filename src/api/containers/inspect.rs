//! `GET /containers/{id}/json`: all of one container.

use super::{find, protocol_word, state_word, write_mount, write_networks};
use crate::Server;
use crate::call::{Call, Outcome, ok};
use crate::json::{Fields, rfc3339_ns, strings, write_health, write_ulimit};
use crate::ports::{ContainerMount, ContainerRecord, ContainerState, HealthRun, HostSettings};
use crate::version::ApiVersion;
use serde_json::{Map, Value, json};
use swarm_core::model::Health;

/// First version without the fields of the default bridge among those of all networks.
const NO_DEFAULT_BRIDGE_SINCE: ApiVersion = ApiVersion { major: 1, minor: 52 };

fn write_health_run(run: &HealthRun) -> Value {
    json!({
        "Start": rfc3339_ns(run.started_ns),
        "End": rfc3339_ns(run.ended_ns),
        "ExitCode": run.exit_code,
        "Output": run.output,
    })
}

fn write_state(container: &ContainerRecord) -> Value {
    let health = (container.health != Health::None).then(|| {
        let log: Vec<Value> = container.health_log.iter().map(write_health_run).collect();
        json!({ "Status": container.health.as_str(), "FailingStreak": container.health_failures, "Log": log })
    });
    // A container that is paused runs, in Docker's words.
    let running = matches!(container.state, ContainerState::Running | ContainerState::Paused);
    Fields::new()
        .set("Status", state_word(container.state))
        .set("Running", running)
        .set("Paused", container.state == ContainerState::Paused)
        .set("Restarting", false)
        .set("OOMKilled", container.oom_killed)
        .set("Dead", false)
        .set("Pid", container.pid)
        .set("ExitCode", container.exit_code)
        .set("Error", container.error.as_str())
        .set("StartedAt", rfc3339_ns(container.started_ns))
        .set("FinishedAt", rfc3339_ns(container.finished_ns))
        .opt("Health", health)
        .into()
}

/// `{"80/tcp": {}}`.
fn set_of<'a>(names: impl Iterator<Item = &'a String>) -> Value {
    Value::Object(names.map(|name| (name.clone(), json!({}))).collect())
}

fn write_config(container: &ContainerRecord) -> Value {
    let (entrypoint, command) = container.command.split_at(container.entrypoint_words.min(container.command.len()));
    let or_null = |words: &[String]| if words.is_empty() { Value::Null } else { Value::from(words.to_vec()) };
    let volumes = container.declared_volumes.iter();
    Fields::new()
        .set("Hostname", container.hostname.as_str())
        .set("Domainname", container.domainname.as_str())
        .set("User", container.user.as_str())
        .set("AttachStdin", false)
        .set("AttachStdout", false)
        .set("AttachStderr", false)
        .filled("ExposedPorts", set_of(container.exposed.iter()))
        .set("Tty", container.tty)
        .set("OpenStdin", container.open_stdin)
        .set("StdinOnce", false)
        .set("Env", container.env.clone())
        .set("Cmd", or_null(command))
        .opt("Healthcheck", container.health_check.as_ref().map(write_health))
        .set("Image", container.image.as_str())
        .set("Volumes", if container.declared_volumes.is_empty() { Value::Null } else { set_of(volumes) })
        .set("WorkingDir", container.working_dir.as_str())
        .set("Entrypoint", or_null(entrypoint))
        .set("Labels", strings(&container.labels))
        .filled("StopSignal", container.stop_signal.as_str())
        .opt("StopTimeout", container.stop_grace_s)
        .into()
}

/// API `HostConfig`: what is told by it that was not asked for is what Docker tells of a container it was not asked for.
fn write_host_config(container: &ContainerRecord) -> Value {
    let host = &container.host;
    let log = json!({ "max-size": host.log_bytes_max.to_string(), "max-file": host.log_files_max.to_string() });
    let fields = Fields::new()
        .set("Binds", Value::Null)
        .set("ContainerIDFile", "")
        .set("LogConfig", json!({ "Type": "json-file", "Config": log }))
        .set("NetworkMode", if host.network_mode.is_empty() { "default" } else { host.network_mode.as_str() })
        .set("PortBindings", write_bindings(container))
        .set("RestartPolicy", json!({ "Name": "no", "MaximumRetryCount": 0 }))
        .set("AutoRemove", false)
        .set("VolumeDriver", "")
        .set("VolumesFrom", Value::Null)
        .set("ConsoleSize", json!([0, 0]))
        .set("CapAdd", host.cap_add.clone())
        .set("CapDrop", host.cap_drop.clone())
        .set("CgroupnsMode", "private")
        .set("Dns", host.dns.nameservers.iter().map(ToString::to_string).collect::<Vec<_>>())
        .set("DnsOptions", host.dns.options.clone())
        .set("DnsSearch", host.dns.search.clone())
        .set("ExtraHosts", host.extra_hosts.clone())
        .set("GroupAdd", host.groups.clone())
        .set("IpcMode", "private")
        .set("Cgroup", "")
        .set("Links", Value::Null)
        .set("OomScoreAdj", host.oom_score_adj)
        .set("PidMode", "")
        .set("Privileged", host.privileged)
        .set("PublishAllPorts", false)
        .set("ReadonlyRootfs", host.read_only)
        .set("SecurityOpt", host.security_options.clone())
        .filled("Sysctls", strings(&host.sysctls))
        .filled("Tmpfs", strings(&host.tmpfs))
        .set("UTSMode", "")
        .set("UsernsMode", "")
        .set("ShmSize", host.shm_bytes)
        .set("Runtime", "swarm")
        .set("Isolation", "")
        .filled("Mounts", container.mounts.iter().map(write_asked_mount).collect::<Vec<_>>())
        .set("Init", host.init)
        .opt("MaskedPaths", host.masked_paths.clone())
        .opt("ReadonlyPaths", host.readonly_paths.clone());
    write_resources(fields, host).into()
}

/// API `Resources`, a part of `HostConfig`.
fn write_resources(fields: Fields, host: &HostSettings) -> Fields {
    let devices = host.devices.iter().map(|device| {
        json!({
            "PathOnHost": device.host_path,
            "PathInContainer": device.container_path,
            "CgroupPermissions": device.permissions,
        })
    });
    fields
        .set("CpuShares", host.cpu_shares)
        .set("Memory", host.memory_bytes)
        .set("NanoCpus", host.nano_cpus)
        .set("CgroupParent", "")
        .set("BlkioWeight", 0)
        .set("BlkioWeightDevice", Value::Null)
        .set("BlkioDeviceReadBps", Value::Null)
        .set("BlkioDeviceWriteBps", Value::Null)
        .set("BlkioDeviceReadIOps", Value::Null)
        .set("BlkioDeviceWriteIOps", Value::Null)
        .set("CpuPeriod", 0)
        .set("CpuQuota", 0)
        .set("CpuRealtimePeriod", 0)
        .set("CpuRealtimeRuntime", 0)
        .set("CpusetCpus", "")
        .set("CpusetMems", "")
        .set("Devices", devices.collect::<Vec<_>>())
        .set("DeviceCgroupRules", Value::Null)
        .set("DeviceRequests", Value::Null)
        .set("MemoryReservation", host.memory_reservation_bytes)
        .set("MemorySwap", host.memory_swap_bytes)
        .set("MemorySwappiness", Value::Null)
        .set("OomKillDisable", false)
        .set("PidsLimit", if host.pids_limit > 0 { Value::from(host.pids_limit) } else { Value::Null })
        .set("Ulimits", host.ulimits.iter().map(write_ulimit).collect::<Vec<_>>())
        .set("CpuCount", 0)
        .set("CpuPercent", 0)
        .set("IOMaximumIOps", 0)
        .set("IOMaximumBandwidth", 0)
}

/// API `Mount`, as it was asked for.
fn write_asked_mount(mount: &ContainerMount) -> Value {
    let source = if mount.kind == "volume" { mount.name.as_str() } else { mount.source.as_str() };
    Fields::new()
        .set("Type", mount.kind)
        .filled("Source", source)
        .set("Target", mount.destination.as_str())
        .filled("ReadOnly", mount.read_only)
        .into()
}

/// API `PortMap` of the ports of this host that lead to the container.
fn write_bindings(container: &ContainerRecord) -> Value {
    let mut map = Map::new();
    for port in &container.ports {
        let name = format!("{}/{}", port.target_port, protocol_word(port));
        let host_ip = port.host_ip.map_or_else(|| "0.0.0.0".to_owned(), |ip| ip.to_string());
        let binding = json!({ "HostIp": host_ip, "HostPort": port.published_port.to_string() });
        if let Value::Array(bindings) = map.entry(name).or_insert_with(|| json!([])) {
            bindings.push(binding);
        }
    }
    Value::Object(map)
}

/// As `write_bindings`, with the ports that nothing leads to.
fn write_ports(container: &ContainerRecord) -> Value {
    let mut ports = write_bindings(container);
    if let Value::Object(map) = &mut ports {
        for exposed in &container.exposed {
            map.entry(exposed.clone()).or_insert(Value::Null);
        }
    }
    ports
}

fn write_network_settings(container: &ContainerRecord, version: ApiVersion) -> Value {
    let fields = Fields::new()
        .set("SandboxID", container.id.as_str())
        .set("SandboxKey", container.files.network_namespace.as_str())
        .set("Ports", write_ports(container))
        .set("Networks", write_networks(container));
    if version >= NO_DEFAULT_BRIDGE_SINCE {
        return fields.into();
    }
    fields
        .set("Bridge", "")
        .set("HairpinMode", false)
        .set("LinkLocalIPv6Address", "")
        .set("LinkLocalIPv6PrefixLen", 0)
        .set("SecondaryIPAddresses", Value::Null)
        .set("SecondaryIPv6Addresses", Value::Null)
        .set("EndpointID", "")
        .set("Gateway", "")
        .set("GlobalIPv6Address", "")
        .set("GlobalIPv6PrefixLen", 0)
        .set("IPAddress", "")
        .set("IPPrefixLen", 0)
        .set("IPv6Gateway", "")
        .set("MacAddress", "")
        .into()
}

fn write_graph_driver(container: &ContainerRecord) -> Value {
    let files = &container.files;
    let data = Fields::new()
        .filled("LowerDir", files.lower.join(":"))
        .filled("MergedDir", files.merged.as_str())
        .filled("UpperDir", files.upper.as_str())
        .filled("WorkDir", files.work.as_str());
    json!({ "Name": "overlayfs", "Data": Value::from(data) })
}

pub async fn inspect(call: Call, server: &Server, id: &str) -> Outcome {
    let container = find(&call, id).await?;
    let execs = server.execs.of(&container.id).await?;
    let sizes = match call.query.flag("size") {
        true => Some(call.ports.local.sizes(&container.id).await?),
        false => None,
    };
    let (path, args) = container.command.split_first().map_or(("", &[][..]), |(path, args)| (path.as_str(), args));
    let answer = Fields::new()
        .set("Id", container.id.as_str())
        .set("Created", rfc3339_ns(container.created_ns))
        .set("Path", path)
        .set("Args", args.to_vec())
        .set("State", write_state(&container))
        .set("Image", container.image_id.as_str())
        .set("ResolvConfPath", container.files.resolv_conf.as_str())
        .set("HostnamePath", container.files.hostname.as_str())
        .set("HostsPath", container.files.hosts.as_str())
        .set("LogPath", container.files.log.as_str())
        .set("Name", format!("/{}", container.name))
        .set("RestartCount", 0)
        .set("Driver", "overlayfs")
        .set("Platform", "linux")
        .set("MountLabel", "")
        .set("ProcessLabel", "")
        .set("AppArmorProfile", "")
        .set("ExecIDs", if execs.is_empty() { Value::Null } else { Value::from(execs) })
        .set("HostConfig", write_host_config(&container))
        .set("GraphDriver", write_graph_driver(&container))
        .opt("SizeRw", sizes.map(|sizes| sizes.written_bytes))
        .opt("SizeRootFs", sizes.map(|sizes| sizes.root_bytes))
        .set("Mounts", container.mounts.iter().map(write_mount).collect::<Vec<_>>())
        .set("Config", write_config(&container))
        .set("NetworkSettings", write_network_settings(&container, call.version));
    ok(answer)
}
