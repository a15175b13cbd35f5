//! Containers as the API shows them.

use api::ports::{ContainerMount, ContainerNetwork, ContainerRecord, ContainerState, HealthRun};
use node::engine::{Check, LocalEngine, NAME_LABEL, Notes, TASK_LABEL};
use runtime::container::Status;
use runtime::spec::{ContainerSpec, Mount};

/// The container `id`; `None` when it went meanwhile.
pub async fn record(engine: &LocalEngine, id: String) -> Option<ContainerRecord> {
    let spec = engine.containers.spec(&id).ok()?;
    let created_ns = ns(engine.containers.created_at_ms(&id).unwrap_or(0));
    let status = engine.containers.status(&id).await.ok();
    let mut record = described(id, spec);
    record.created_ns = created_ns;
    if let (Some(task), Some(Status::Running { .. })) = (record.task, &status) {
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
    });
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
        labels: spec.labels,
        ..ContainerRecord::default()
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
    use runtime::spec::{MountKind, Propagation};
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
