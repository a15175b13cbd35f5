//! Containers as the API shows them.

use api::ports::{
    ContainerFiles, ContainerMount, ContainerNetwork, ContainerRecord, ContainerState, HealthRun, HostDevice,
    HostSettings,
};
use node::engine::{Check, LocalEngine, NAME_LABEL, Notes, TASK_LABEL};
use runtime::container::Status;
use runtime::spec::{ContainerSpec, Device, Mount, MountKind, Network, Seccomp, Ulimit};
use std::path::Path;
use swarm_core::model;

/// The container `id`; `None` when it went meanwhile.
pub async fn record(engine: &LocalEngine, id: String) -> Option<ContainerRecord> {
    let spec = engine.containers.spec(&id).ok()?;
    let created_ns = ns(engine.containers.created_at_ms(&id).unwrap_or(0));
    let status = engine.containers.status(&id).await.ok();
    let files = files(engine, &id, &spec);
    let mut record = described(id, spec);
    record.files = files;
    record.created_ns = created_ns;
    if let (Some(task), Some(Status::Running { .. } | Status::Paused { .. })) = (record.task, &status) {
        let checks = engine.events.checks(task);
        (record.health, record.health_failures) = (checks.verdict, checks.failures);
        record.health_log = checks.log.into_iter().map(health_run).collect();
    }
    add_status(&mut record, status);
    Some(record)
}

fn health_run(check: Check) -> HealthRun {
    let Check { started_ns, ended_ns, exit_code, output } = check;
    HealthRun { started_ns, ended_ns, exit_code: i64::from(exit_code), output }
}

fn ns(ms: u64) -> i64 {
    i64::try_from(ms.saturating_mul(1_000_000)).unwrap_or(i64::MAX)
}

fn described(id: String, spec: ContainerSpec) -> ContainerRecord {
    let notes = Notes::of(&spec);
    let mounts = spec.mounts.iter().filter(|mount| !is_plumbing(mount)).map(|mount| shown(mount, &notes)).collect();
    let networks = notes.networks.iter().map(|network| ContainerNetwork {
        name: network.name.clone(),
        id: network.id.to_string(),
        addr: network.addr,
        prefix_len: network.prefix_len,
        gateway: Some(network.gateway),
        aliases: network.aliases.clone(),
    });
    let host = host(&spec, &notes);
    ContainerRecord {
        id,
        name: spec.labels.get(NAME_LABEL).cloned().unwrap_or_default(),
        networks: networks.collect(),
        image: notes.image,
        image_id: notes.image_id,
        task: spec.labels.get(TASK_LABEL).and_then(|id| id.parse().ok()),
        command: spec.process.args,
        env: spec.process.env,
        working_dir: spec.process.cwd,
        user: spec.process.user,
        hostname: spec.hostname,
        tty: spec.process.tty,
        mounts,
        ports: notes.ports,
        entrypoint_words: notes.entrypoint_words,
        domainname: spec.domainname,
        open_stdin: spec.open_stdin,
        exposed: notes.exposed,
        health_check: notes.checked,
        stop_signal: spec.stop_signal,
        stop_grace_s: notes.stop_grace_s,
        declared_volumes: notes.declared_volumes,
        host,
        labels: spec.labels,
        ..ContainerRecord::default()
    }
}

/// Bytes of `/dev/shm` unless a container asks for others (as Docker).
const SHM_BYTES: u64 = 64 << 20;

fn host(spec: &ContainerSpec, notes: &Notes) -> HostSettings {
    let network_mode = match &spec.network {
        Network::Host => "host",
        Network::New => "none",
        Network::Path(_) => "default",
    };
    let security =
        [(spec.no_new_privileges, "no-new-privileges"), (spec.seccomp == Seccomp::Unconfined, "seccomp=unconfined")];
    let device = |device: &Device| HostDevice {
        host_path: device.host_path.display().to_string(),
        container_path: device.container_path.display().to_string(),
        permissions: device.permissions.clone(),
    };
    let limit = |limit: &Ulimit| model::Ulimit { name: limit.name.clone(), soft: limit.soft, hard: limit.hard };
    HostSettings {
        network_mode: network_mode.to_owned(),
        log_bytes_max: spec.log.max_size,
        log_files_max: spec.log.max_files,
        cap_add: spec.cap_add.clone(),
        cap_drop: spec.cap_drop.clone(),
        dns: notes.dns.clone(),
        extra_hosts: notes.extra_hosts.clone(),
        groups: spec.process.additional_groups.clone(),
        oom_score_adj: spec.oom_score_adj,
        privileged: spec.privileged,
        read_only: spec.read_only_rootfs,
        security_options: security.iter().filter(|(is, _)| *is).map(|(_, word)| (*word).to_owned()).collect(),
        sysctls: spec.sysctls.clone(),
        ulimits: spec.ulimits.iter().map(limit).collect(),
        shm_bytes: if spec.shm_size == 0 { SHM_BYTES } else { spec.shm_size },
        init: spec.init,
        nano_cpus: spec.resources.nano_cpus,
        cpu_shares: spec.resources.cpu_shares,
        memory_bytes: spec.resources.memory,
        memory_swap_bytes: spec.resources.memory_swap,
        memory_reservation_bytes: spec.resources.memory_reservation,
        pids_limit: spec.resources.pids_limit,
        devices: spec.devices.iter().map(device).collect(),
        tmpfs: spec.mounts.iter().filter_map(tmpfs).collect(),
        masked_paths: spec.masked_paths.clone(),
        readonly_paths: spec.readonly_paths.clone(),
    }
}

fn tmpfs(mount: &Mount) -> Option<(String, String)> {
    let MountKind::Tmpfs { size, mode, options } = &mount.kind else { return None };
    let mut words = options.clone();
    words.extend(size.map(|size| format!("size={size}")));
    words.extend(mode.map(|mode| format!("mode={mode:o}")));
    Some((mount.target.display().to_string(), words.join(",")))
}

fn files(engine: &LocalEngine, id: &str, spec: &ContainerSpec) -> ContainerFiles {
    let source = |target: &str| {
        let mount = spec.mounts.iter().find(|mount| mount.target.as_os_str() == target);
        mount.and_then(|mount| mount.kind.source()).map(|path| path.display().to_string()).unwrap_or_default()
    };
    let parts = engine.images.parts(id);
    let shown = |path: &Path| path.display().to_string();
    ContainerFiles {
        log: shown(&engine.containers.log_path(id)),
        hosts: source("/etc/hosts"),
        hostname: source("/etc/hostname"),
        resolv_conf: source("/etc/resolv.conf"),
        network_namespace: match &spec.network {
            Network::Path(path) => shown(path),
            Network::New | Network::Host => String::new(),
        },
        lower: parts.iter().flat_map(|parts| parts.lower.iter().map(|dir| shown(dir))).collect(),
        upper: parts.as_ref().map(|parts| shown(&parts.upper)).unwrap_or_default(),
        work: parts.as_ref().map(|parts| shown(&parts.work)).unwrap_or_default(),
        merged: parts.map(|_| shown(&spec.rootfs)).unwrap_or_default(),
    }
}

/// Files every container gets, which nobody asked for.
fn is_plumbing(mount: &Mount) -> bool {
    let files = ["/etc/hosts", "/etc/resolv.conf", "/etc/hostname"];
    files.iter().any(|file| mount.target.as_os_str() == *file)
}

fn shown(mount: &Mount, notes: &Notes) -> ContainerMount {
    let (kind, source) = match mount.kind.source() {
        None => ("tmpfs", String::new()),
        Some(source) => ("bind", source.display().to_string()),
    };
    let volume = notes.volumes.get(&mount.target).filter(|_| kind == "bind");
    ContainerMount {
        kind: if volume.is_some() { "volume" } else { kind },
        name: volume.cloned().unwrap_or_default(),
        source,
        destination: mount.target.display().to_string(),
        read_only: mount.read_only,
    }
}

fn add_status(record: &mut ContainerRecord, status: Option<Status>) {
    match status {
        Some(Status::Running { pid, started_at_ms }) => {
            (record.state, record.pid) = (ContainerState::Running, i64::from(pid));
            record.started_ns = ns(started_at_ms);
        }
        Some(Status::Paused { pid, started_at_ms }) => {
            (record.state, record.pid) = (ContainerState::Paused, i64::from(pid));
            record.started_ns = ns(started_at_ms);
        }
        Some(Status::Created { pid }) => record.pid = i64::from(pid),
        Some(Status::Exited(exit)) => {
            record.state = ContainerState::Exited;
            record.exit_code = i64::from(exit.code);
            record.oom_killed = exit.oom_killed;
            record.started_ns = ns(exit.started_at_ms);
            record.finished_ns = ns(exit.finished_at_ms);
            record.error = exit.error.unwrap_or_default();
        }
        // Its shim is gone; how it ended is not known yet.
        None => record.state = ContainerState::Exited,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::container::Exit;
    use runtime::spec::Propagation;
    use std::path::PathBuf;

    fn bind(target: &str, source: &str) -> Mount {
        let kind = MountKind::Bind { source: PathBuf::from(source), propagation: Propagation::Rprivate };
        Mount { target: PathBuf::from(target), kind, read_only: false }
    }

    #[test]
    fn mounts_are_named_after_what_was_asked_for() {
        let notes = Notes { volumes: [(PathBuf::from("/data"), "db".to_owned())].into(), ..Notes::default() };
        let volume = shown(&bind("/data", "/var/lib/swarm/volumes/db/_data"), &notes);
        assert_eq!((volume.kind, volume.name.as_str()), ("volume", "db"));
        let other = shown(&bind("/host", "/srv"), &notes);
        assert_eq!((other.kind, other.name.as_str(), other.source.as_str()), ("bind", "", "/srv"));
        assert!(is_plumbing(&bind("/etc/hosts", "/x")) && !is_plumbing(&bind("/etc/hosts.d", "/x")));
    }

    #[test]
    fn a_record_says_when_a_container_was_started_and_how_it_ended() {
        let mut record = ContainerRecord::default();
        add_status(&mut record, Some(Status::Running { pid: 7, started_at_ms: 5 }));
        assert_eq!((record.state, record.pid, record.started_ns), (ContainerState::Running, 7, 5_000_000));
        let exit = Exit { code: 3, started_at_ms: 5, finished_at_ms: 6, ..Exit::default() };
        add_status(&mut record, Some(Status::Exited(exit)));
        assert_eq!((record.state, record.exit_code, record.finished_ns), (ContainerState::Exited, 3, 6_000_000));
    }
}
