//! The objects of the model.

use crate::convert::{ListItem, Wire, WireError, enumeration, message, required};
use crate::pb::objects as pb;
use swarm_core::Stamp;
use swarm_core::model::*;

message!(Stamp => pb::Stamp { index, wall });
message!(Meta => pb::Meta { version; created, updated });

message!(ClusterSpec => pb::ClusterSpec {
    name, labels, task_history_limit, snapshot_interval, log_entries_for_slow_followers, heartbeat_period,
    node_cert_expiry, autolock, address_pools, subnet_size, data_path_port, binpack, preemption,
    rebalance_moves_per_minute, spec_history_limit
});
message!(ClusterCa => pb::ClusterCa { certificate_der, sealed_key });
message!(JoinSecret => pb::JoinSecret { secret, expires });
message!(GossipKey => pb::GossipKey { id, key });
message!(Cluster => pb::Cluster { id, gossip_keys; meta, spec, ca, worker_secret, manager_secret });

enumeration!(NodeRole => pb::NodeRole { Worker, Manager });
enumeration!(Availability => pb::Availability { Active, Pause, Drain });
enumeration!(NodeState => pb::NodeState { Unknown, Down, Ready, Disconnected });
message!(NodeSpec => pb::NodeSpec { name, labels, role, availability });
message!(ResourceNames => pb::ResourceNames { names });
message!(Resources => pb::Resources { nano_cpus, memory_bytes, generic, named });
message!(Platform => pb::Platform { os, architecture });
message!(NodeDescription => pb::NodeDescription {
    hostname, engine_version, engine_labels, wireguard_key, wireguard_port; platform, resources
});
message!(NodeStatus => pb::NodeStatus { state, message, addr, since });
message!(RaftMember => pb::RaftMember { raft_id, voter });
message!(Node => pb::Node { id, description, raft, certificate_role; meta, spec, status });

message!(SecretSpec => pb::SecretSpec { name, labels, data, templated });
message!(SecretContent => pb::SecretContent { version, data, templated });
message!(Secret => pb::Secret { id, content_version, older; meta, spec });
message!(ConfigSpec => pb::ConfigSpec { name, labels, data, templated });
message!(ConfigContent => pb::ConfigContent { version, data, templated });
message!(Config => pb::Config { id, content_version, older; meta, spec });

enumeration!(NetworkDriver => pb::NetworkDriver { Overlay, Host, None });
message!(IpamSubnet => pb::IpamSubnet { subnet, gateway, range });
message!(NetworkSpec => pb::NetworkSpec {
    name, labels, driver, driver_options, internal, attachable, ingress, ipv6, ipam
});
message!(NetworkAllocation => pb::NetworkAllocation { subnet, gateway, overlay_id });
message!(Network => pb::Network { id, allocation, pending_reason, removing; meta, spec });

impl Wire for Mount {
    type Pb = pb::Mount;
    fn to_wire(&self) -> pb::Mount {
        let source = match self.source.clone() {
            MountSource::Bind { path, propagation, create } => {
                pb::mount::Source::Bind(pb::BindSource { path, propagation, create })
            }
            MountSource::Volume { name, driver, driver_options, labels, no_copy, subpath } => {
                pb::mount::Source::Volume(pb::VolumeSource { name, driver, driver_options, labels, no_copy, subpath })
            }
            MountSource::Tmpfs { size_bytes, mode } => pb::mount::Source::Tmpfs(pb::TmpfsSource { size_bytes, mode }),
        };
        pb::Mount { target: self.target.clone(), read_only: self.read_only, source: Some(source) }
    }
    fn from_wire(pb: pb::Mount) -> Result<Self, WireError> {
        let source = match pb.source.ok_or(WireError::Missing("Mount.source"))? {
            pb::mount::Source::Bind(b) => {
                MountSource::Bind { path: b.path, propagation: b.propagation, create: b.create }
            }
            pb::mount::Source::Volume(v) => MountSource::Volume {
                name: v.name,
                driver: v.driver,
                driver_options: v.driver_options,
                labels: v.labels,
                no_copy: v.no_copy,
                subpath: v.subpath,
            },
            pb::mount::Source::Tmpfs(t) => MountSource::Tmpfs { size_bytes: t.size_bytes, mode: t.mode },
        };
        Ok(Mount { target: pb.target, source, read_only: pb.read_only })
    }
}
impl ListItem for Mount {}

message!(HealthConfig => pb::HealthConfig { test, interval, timeout, retries, start_period, start_interval });
message!(FileTarget => pb::FileTarget { name, uid, gid, mode });
message!(SecretReference => pb::SecretReference { id, name, version; file });
message!(ConfigReference => pb::ConfigReference { id, name, version; file });
message!(Ulimit => pb::Ulimit { name, soft, hard });
message!(DnsConfig => pb::DnsConfig { nameservers, search, options });
message!(ContainerSpec => pb::ContainerSpec {
    image, labels, command, args, hostname, env, dir, user, groups, tty, open_stdin, read_only, mounts,
    stop_signal, stop_grace_period, health_check, hosts, secrets, configs, init, sysctls, cap_add, cap_drop,
    ulimits, oom_score_adj, privileged, shm_size_bytes, readiness, liveness, pull_auth; dns
});

impl Wire for Probe {
    type Pb = pb::Probe;
    fn to_wire(&self) -> pb::Probe {
        use pb::probe::Action;
        let action = match self.action.clone() {
            ProbeAction::Exec { command } => Action::Exec(pb::ExecProbe { command }),
            ProbeAction::Http { port, path, host } => Action::Http(pb::HttpProbe { port: port.to_wire(), path, host }),
            ProbeAction::Tcp { port } => Action::Tcp(pb::TcpProbe { port: port.to_wire() }),
        };
        pb::Probe {
            action: Some(action),
            interval: self.interval.to_wire(),
            timeout: self.timeout.to_wire(),
            failures: self.failures,
            successes: self.successes,
            start_period: self.start_period.to_wire(),
        }
    }
    fn from_wire(pb: pb::Probe) -> Result<Self, WireError> {
        use pb::probe::Action;
        let action = match pb.action.ok_or(WireError::Missing("Probe.action"))? {
            Action::Exec(exec) => ProbeAction::Exec { command: exec.command },
            Action::Http(http) => {
                ProbeAction::Http { port: Wire::from_wire(http.port)?, path: http.path, host: http.host }
            }
            Action::Tcp(tcp) => ProbeAction::Tcp { port: Wire::from_wire(tcp.port)? },
        };
        Ok(Probe {
            action,
            interval: Wire::from_wire(pb.interval)?,
            timeout: Wire::from_wire(pb.timeout)?,
            failures: pb.failures,
            successes: pb.successes,
            start_period: Wire::from_wire(pb.start_period)?,
        })
    }
}

impl Wire for ServiceMode {
    type Pb = pb::ServiceMode;
    fn to_wire(&self) -> pb::ServiceMode {
        use pb::service_mode::Mode;
        let mode = match *self {
            ServiceMode::Replicated { replicas } => Mode::Replicated(pb::Replicated { replicas }),
            ServiceMode::Global => Mode::Global(pb::Global {}),
            ServiceMode::ReplicatedJob { max_concurrent, total_completions } => {
                Mode::ReplicatedJob(pb::ReplicatedJob { max_concurrent, total_completions })
            }
            ServiceMode::GlobalJob => Mode::GlobalJob(pb::GlobalJob {}),
        };
        pb::ServiceMode { mode: Some(mode) }
    }
    fn from_wire(pb: pb::ServiceMode) -> Result<Self, WireError> {
        use pb::service_mode::Mode;
        Ok(match pb.mode.ok_or(WireError::Missing("ServiceMode.mode"))? {
            Mode::Replicated(m) => ServiceMode::Replicated { replicas: m.replicas },
            Mode::Global(_) => ServiceMode::Global,
            Mode::ReplicatedJob(m) => {
                ServiceMode::ReplicatedJob { max_concurrent: m.max_concurrent, total_completions: m.total_completions }
            }
            Mode::GlobalJob(_) => ServiceMode::GlobalJob,
        })
    }
}

message!(ResourceRequirements => pb::ResourceRequirements {
    limit_nano_cpus, limit_memory_bytes, limit_pids; reservations
});
enumeration!(RestartCondition => pb::RestartCondition { None, OnFailure, Any });
message!(RestartPolicy => pb::RestartPolicy { condition, delay, max_attempts, window, backoff_max });
message!(Placement => pb::Placement { constraints, spread, max_replicas_per_node, platforms, priority });
message!(NetworkTarget => pb::NetworkTarget { target, aliases, driver_options });
message!(LogDriver => pb::LogDriver { name, options });
message!(TaskSpec => pb::TaskSpec {
    networks, log_driver, force_update, at_most_one; container, resources, restart, placement
});
enumeration!(FailureAction => pb::FailureAction { Pause, Continue, Rollback });
enumeration!(UpdateOrder => pb::UpdateOrder { StopFirst, StartFirst });
message!(UpdateConfig => pb::UpdateConfig {
    parallelism, delay, failure_action, monitor, max_failure_ratio, order, canary, canary_promote_after
});
enumeration!(EndpointMode => pb::EndpointMode { Vip, Dnsrr });
enumeration!(Protocol => pb::Protocol { Tcp, Udp, Sctp });
enumeration!(PublishMode => pb::PublishMode { Ingress, Host });
message!(PortConfig => pb::PortConfig { name, protocol, target_port, published_port, mode, host_ip });
message!(EndpointSpec => pb::EndpointSpec { mode, ports });
enumeration!(DependencyCondition => pb::DependencyCondition { Started, Healthy, Completed });
message!(Dependency => pb::Dependency { service, condition, optional });
message!(Autoscale => pb::Autoscale {
    min, max, cpu_percent, memory_percent, requests_per_second, window, scale_down_delay
});
message!(ServiceSpec => pb::ServiceSpec {
    name, labels, update, rollback, depends_on, autoscale; task, mode, endpoint
});
message!(VirtualIp => pb::VirtualIp { network, addr });
message!(Endpoint => pb::Endpoint { ports, vips, pending_reason; spec });
enumeration!(UpdateState => pb::UpdateState {
    Updating, Paused, Completed, RollbackStarted, RollbackPaused, RollbackCompleted
});
message!(UpdateStatus => pb::UpdateStatus {
    state, started, completed, message, spec_version, slots, failures, canary_since, promoted,
    started_index
});
message!(JobStatus => pb::JobStatus { iteration, last_execution });
message!(SpecRecord => pb::SpecRecord { spec_version, revision; spec, written });
message!(Scaled => pb::Scaled { replicas, at, reason });
impl Wire for ContentVersion {
    type Pb = pb::ContentVersion;
    fn to_wire(&self) -> pb::ContentVersion {
        let (secret, config) = match self.content {
            ContentId::Secret(id) => (Some(id.to_wire()), None),
            ContentId::Config(id) => (None, Some(id.to_wire())),
        };
        pb::ContentVersion { secret, config, version: self.version }
    }
    fn from_wire(pb: pb::ContentVersion) -> Result<Self, WireError> {
        let content = match (pb.secret, pb.config) {
            (Some(id), None) => ContentId::Secret(Wire::from_wire(id)?),
            (None, Some(id)) => ContentId::Config(Wire::from_wire(id)?),
            (Some(_), Some(_)) | (None, None) => return Err(WireError::Missing("ContentVersion.secret or .config")),
        };
        Ok(Self { content, version: pb.version })
    }
}
impl ListItem for ContentVersion {}
message!(Service => pb::Service {
    id, previous_spec, spec_version, previous_spec_version, update_status, job, history, scaled, removing,
    revision, held;
    meta, spec, spec_written, endpoint
});

enumeration!(TaskState => pb::TaskState {
    New, Pending, Assigned, Accepted, Preparing, Ready, Starting, Running, Complete, Shutdown, Failed, Rejected,
    Remove, Orphaned
});
enumeration!(Health => pb::Health { None, Starting, Healthy, Unhealthy });
message!(ContainerStatus => pb::ContainerStatus { container_id, pid, exit_code, oom_killed, health, ready });
message!(TaskStatus => pb::TaskStatus { state, timestamp, message, err, container, host_ports });
message!(TaskAttachment => pb::TaskAttachment { network, addr, aliases });
enumeration!(TaskOrigin => pb::TaskOrigin { Scale, Restart, Update, Move });
message!(RestartHistory => pb::RestartHistory { attempts, total, in_a_row });
message!(Task => pb::Task {
    id, service, slot, node, spec_version, service_name, service_labels, desired, attachments, host_ports,
    start_after, job_iteration, origin, up_since, ended, ended_index, assigned_resources, preempted_by; meta, spec,
    status, restarts
});

/// A mode must be there; as `required`, for callers that hold the generated message.
pub(crate) fn task_status(pb: Option<pb::TaskStatus>, name: &'static str) -> Result<TaskStatus, WireError> {
    required(pb, name)
}
