//! From a task and its image to the runtime's specification, with Docker's rules and defaults.

use super::{EngineError, NAME_LABEL, TASK_LABEL, contents, line};
use runtime::Containers;
use runtime::image::Image;
use runtime::spec::{ContainerSpec, LogLimits, Mount, MountKind, ProcessSpec, Propagation, Resources, Ulimit};
use runtime::volumes::Volumes;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use swarm_core::model::{ContainerSpec as TaskContainer, Mount as TaskMount, MountSource, Task, clean_path};

/// The container's host name: as asked for, else the first 12 digits of its id.
pub fn hostname(task: &Task) -> String {
    match task.spec.container.hostname.as_str() {
        "" => super::container_id(task.id)[..12].to_owned(),
        given => given.to_owned(),
    }
}

/// Everything but network and mounts.
pub fn container(task: &Task, image: &Image, rootfs: &Path) -> Result<ContainerSpec, EngineError> {
    let spec = &task.spec.container;
    let resources = &task.spec.resources;
    let amount = |value: i64| u64::try_from(value).unwrap_or(0);
    Ok(ContainerSpec {
        rootfs: rootfs.to_owned(),
        process: process(task, image)?,
        hostname: hostname(task),
        resources: Resources {
            nano_cpus: amount(resources.limit_nano_cpus),
            memory: amount(resources.limit_memory_bytes),
            memory_reservation: amount(resources.reservations.memory_bytes),
            pids_limit: resources.limit_pids,
            ..Resources::default()
        },
        cap_add: spec.cap_add.clone(),
        cap_drop: spec.cap_drop.clone(),
        privileged: spec.privileged,
        read_only_rootfs: spec.read_only,
        init: spec.init.unwrap_or(false),
        open_stdin: spec.open_stdin,
        sysctls: spec.sysctls.clone(),
        ulimits: spec
            .ulimits
            .iter()
            .map(|limit| Ulimit { name: limit.name.clone(), soft: limit.soft, hard: limit.hard })
            .collect(),
        oom_score_adj: spec.oom_score_adj,
        shm_size: spec.shm_size_bytes,
        labels: labels(task, image),
        log: log_limits(task)?,
        ..ContainerSpec::default()
    })
}

/// `command` replaces the image's.
pub(super) fn entrypoint<'a>(task: &'a Task, image: &'a Image) -> &'a [String] {
    match task.spec.container.command.as_slice() {
        [] => &image.config.entrypoint,
        own => own,
    }
}

/// `command` replaces the image's entrypoint and drops its command; `args` replace the command alone.
fn process(task: &Task, image: &Image) -> Result<ProcessSpec, EngineError> {
    let spec = &task.spec.container;
    let own_command = !spec.command.is_empty() || !spec.args.is_empty();
    let command = if own_command { &spec.args } else { &image.config.cmd };
    let args: Vec<String> = entrypoint(task, image).iter().chain(command).cloned().collect();
    if args.is_empty() {
        return Err(EngineError(format!("image {} has no command, and none was given", spec.image)));
    }
    let or = |own: &String, image: &String| if own.is_empty() { image.clone() } else { own.clone() };
    Ok(ProcessSpec {
        args,
        env: environment(&image.config.env, &[spec.env.clone(), resources(task)].concat(), &hostname(task)),
        cwd: or(&spec.dir, &image.config.working_dir),
        user: or(&spec.user, &image.config.user),
        additional_groups: spec.groups.clone(),
        tty: spec.tty,
        ..ProcessSpec::default()
    })
}

/// What tells the program which generic resources it was given, in Docker's form: `DOCKER_RESOURCE_GPU=GPU-1,GPU-2` or
/// the amount.
fn resources(task: &Task) -> Vec<String> {
    let reserved = task.spec.resources.reservations.generic.iter();
    let line = |(kind, amount): (&String, &i64)| {
        let given = task.assigned_resources.get(kind);
        let value = given.map_or_else(|| amount.to_string(), |units| units.names.join(","));
        format!("DOCKER_RESOURCE_{}={value}", kind.to_uppercase())
    };
    reserved.map(line).collect()
}

/// The image's variables with the task's over them; a name without `=` removes it.
fn environment(image: &[String], own: &[String], hostname: &str) -> Vec<String> {
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let mut all: Vec<String> = image.to_vec();
    for entry in own {
        all.retain(|known| name(known) != name(entry));
        if entry.contains('=') {
            all.push(entry.clone());
        }
    }
    if !all.iter().any(|entry| name(entry) == "HOSTNAME") {
        all.push(format!("HOSTNAME={hostname}"));
    }
    all
}

fn labels(task: &Task, image: &Image) -> BTreeMap<String, String> {
    let mut labels = image.config.labels.clone();
    labels.extend(task.spec.container.labels.clone());
    let node = task.node.map(|node| node.to_string()).unwrap_or_default();
    labels.extend([
        (TASK_LABEL.to_owned(), task.id.to_string()),
        ("com.docker.swarm.task".to_owned(), String::new()),
        (NAME_LABEL.to_owned(), task.name()),
        ("com.docker.swarm.service.id".to_owned(), task.service.to_string()),
        ("com.docker.swarm.service.name".to_owned(), task.service_name.clone()),
        ("com.docker.swarm.node.id".to_owned(), node),
    ]);
    labels
}

/// `max-size` and `max-file` of the json-file driver.
fn log_limits(task: &Task) -> Result<LogLimits, EngineError> {
    let mut limits = LogLimits::default();
    let Some(driver) = &task.spec.log_driver else { return Ok(limits) };
    if !matches!(driver.name.as_str(), "" | "json-file" | "local") {
        return Err(EngineError(format!("log driver {} is not supported: use json-file", driver.name)));
    }
    let bad = |key: &str, value: &str| EngineError(format!("log option {key}={value} is not understood"));
    for (key, value) in &driver.options {
        match key.as_str() {
            "max-size" => limits.max_size = size(value).ok_or_else(|| bad(key, value))?,
            "max-file" => limits.max_files = value.parse().map_err(|_| bad(key, value))?,
            _ => return Err(EngineError(format!("log option {key} is not supported"))),
        }
    }
    Ok(limits)
}

fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1 << 10,
        "m" | "mb" => 1 << 20,
        "g" | "gb" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

/// What mounts are made for and with.
pub struct Place<'a> {
    pub task: &'a Task,
    pub volumes: &'a Volumes,
    pub containers: &'a Containers,
    /// The container's root directory.
    pub rootfs: &'a Path,
}

/// The task's mounts, and a fresh volume for each path the image declares one for.
pub async fn mounts(place: &Place<'_>, image: &Image) -> Result<Vec<Mount>, EngineError> {
    let task = place.task;
    let mut mounts = Vec::new();
    for mount in &task.spec.container.mounts {
        mounts.push(one(place, mount).await?);
    }
    for path in image_volumes(&task.spec.container, &image.config.volumes) {
        let volume = Volume { name: "", labels: BTreeMap::new(), subpath: "", copy: true, read_only: false };
        mounts.push(volume.mount(place, &path).await?);
    }
    Ok(mounts)
}

/// Places of the volumes that an image declares, but for those where the task has something of its own.
pub(super) fn image_volumes(container: &TaskContainer, declared: &[String]) -> BTreeSet<String> {
    let mut places: BTreeSet<String> = declared.iter().map(|path| clean_path(path)).collect();
    let own = container.mounts.iter().map(|mount| clean_path(&mount.target));
    let files = ["/etc/hosts", "/etc/resolv.conf", "/etc/hostname"].map(str::to_owned);
    for taken in own.chain(contents::places(container)).chain(files) {
        places.remove(&taken);
    }
    places
}

async fn one(place: &Place<'_>, mount: &TaskMount) -> Result<Mount, EngineError> {
    let path = clean_path(&mount.target);
    let target = PathBuf::from(&path);
    match &mount.source {
        MountSource::Bind { path: source, propagation, create } => {
            let source = PathBuf::from(source);
            if *create && !source.exists() {
                std::fs::create_dir_all(&source).map_err(|error| line(&error))?;
            }
            if !source.exists() {
                return Err(EngineError(format!(
                    "invalid mount: bind source path does not exist: {}",
                    source.display()
                )));
            }
            let propagation = match propagation.as_str() {
                "" | "rprivate" | "private" => Propagation::Rprivate,
                "rslave" | "slave" => Propagation::Rslave,
                "rshared" | "shared" => Propagation::Rshared,
                other => return Err(EngineError(format!("invalid mount: unknown propagation {other}"))),
            };
            Ok(Mount { target, kind: MountKind::Bind { source, propagation }, read_only: mount.read_only })
        }
        MountSource::Tmpfs { size_bytes, mode } => {
            let size = (*size_bytes > 0).then_some(*size_bytes);
            let mode = (*mode > 0).then_some(*mode);
            Ok(Mount { target, kind: MountKind::Tmpfs { size, mode, options: Vec::new() }, read_only: mount.read_only })
        }
        MountSource::Volume { name, driver, driver_options, labels, no_copy, subpath } => {
            if !matches!(driver.as_str(), "" | "local") || !driver_options.is_empty() {
                return Err(EngineError(format!(
                    "volume {name}: only the local driver without options is supported (asked for {driver:?} {driver_options:?})"
                )));
            }
            let (labels, copy) = (labels.clone(), !*no_copy);
            let volume = Volume { name, labels, subpath, copy, read_only: mount.read_only };
            volume.mount(place, &path).await
        }
    }
}

/// The name as given; a volume without one is of this task alone and goes with it.
pub(super) fn volume_name(task: &Task, name: &str, path: &str) -> String {
    match name {
        "" => runtime::volumes::owned_name(&task.id.to_string(), path),
        given => given.to_owned(),
    }
}

/// A volume to mount; made when it is missing.
struct Volume<'a> {
    /// Empty: the task's own.
    name: &'a str,
    labels: BTreeMap<String, String>,
    subpath: &'a str,
    /// An empty one gets what the image has there.
    copy: bool,
    read_only: bool,
}

impl Volume<'_> {
    async fn mount(self, place: &Place<'_>, target: &str) -> Result<Mount, EngineError> {
        let volumes = place.volumes;
        let made = match self.name {
            "" => volumes.create_owned(&place.task.id.to_string(), target, self.labels).await,
            name => volumes.create(name, self.labels).await,
        };
        let made = made.map_err(|error| line(&error))?;
        if self.copy {
            let containers = place.containers.clone();
            // A record that cannot be read holds nothing up: the copy takes the directory from nobody.
            let in_use = move |data: &Path| containers.binding(data).is_ok_and(|users| !users.is_empty());
            let filled = volumes.populate(&made.name, place.rootfs, Path::new(target), in_use).await;
            filled.map_err(|error| line(&error))?;
        }
        let directory = made.mountpoint;
        let kind = match self.subpath {
            "" => MountKind::Bind { source: directory, propagation: Propagation::Rprivate },
            below => MountKind::Within { directory, path: below.into() },
        };
        Ok(Mount { target: PathBuf::from(target), kind, read_only: self.read_only })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_core::ConfigId;
    use swarm_core::model::{ConfigReference, FileTarget};

    #[test]
    fn an_image_s_volume_never_displaces_what_the_task_has_there() {
        let source = MountSource::Tmpfs { size_bytes: 0, mode: 0 };
        let file = FileTarget { name: "app/config".into(), uid: String::new(), gid: String::new(), mode: 0o444 };
        let container = TaskContainer {
            mounts: vec![TaskMount { target: "/data".into(), source, read_only: false }],
            configs: vec![ConfigReference { id: ConfigId(1), name: "config".into(), file, version: 0 }],
            ..TaskContainer::default()
        };
        let declared = ["/data/", "/x/../data", "/app/config", "/cache/", "/cache", "/etc/hosts"].map(str::to_owned);
        assert_eq!(image_volumes(&container, &declared), ["/cache".to_owned()].into());
    }
}
