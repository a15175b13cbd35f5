//! A container's specification -> the OCI runtime configuration that libcontainer reads.
//!
//! Carries only what libcontainer does right: namespaces, mounts, devices, rlimits, masked paths, sysctls. Never
//! put here, because the library drops or mishandles them: capabilities, the system call filter, no_new_privs,
//! limits, the OOM score, environment and working directory (see `executor` and `cgroup`).
//! Source: OCI runtime specification 1.0.2, Docker's defaults.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cgroup::{Cgroup, DeviceKind, DeviceRule, default_rules, everything};
use crate::shim::targets::placed;
use crate::shim::user::User;
use crate::spec::{ContainerSpec, Device, Mount, MountKind, Network, ProcessSpec, Propagation, Ulimit};

/// Docker's size of `/dev/shm`, in bytes.
const SHM_BYTES: u64 = 64 << 20;
/// Entries looked at below `/dev` for a privileged container; a host has a few hundred.
const HOST_DEVICES_MAX: usize = 4_096;

const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Why a specification cannot become a container.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpecError {
    #[error("no command: give the container a command or an image with one")]
    NoCommand,
    #[error("root file system {0:?} is not a directory")]
    Rootfs(PathBuf),
    #[error("mount target {0:?} must be an absolute path other than /")]
    Target(PathBuf),
    #[error("two mounts have the same target {0:?}: give each its own")]
    Twice(PathBuf),
    #[error("mount target {0:?} is at or below /proc, which only the kernel may fill (and lxcfs, with some files)")]
    Proc(PathBuf),
    #[error("mount target {0:?} leads through too many symbolic links")]
    Links(PathBuf),
    #[error("bind source path does not exist: {0}")]
    Source(PathBuf),
    #[error("mount source {path} within {directory} {why}")]
    Within { directory: PathBuf, path: PathBuf, why: String },
    #[error("bind propagation rshared of {0} is not supported: use rslave or rprivate")]
    Shared(PathBuf),
    #[error("{0} is not a device of this host")]
    Device(PathBuf),
    #[error("unknown ulimit \"{0}\": use a name of getrlimit(2) such as nofile")]
    Ulimit(String),
    #[error("sysctl {0} needs a network namespace of the container's own")]
    Sysctl(String),
    #[error("network namespace {0:?} does not exist")]
    Namespace(PathBuf),
}

/// A device to make inside, with the rule that lets it be opened.
pub(crate) struct DeviceNode {
    path: PathBuf,
    rule: DeviceRule,
    mode: u32,
    uid: u32,
    gid: u32,
}

/// The devices of the specification, read from the host.
pub(crate) fn devices(spec: &ContainerSpec) -> Result<Vec<DeviceNode>, SpecError> {
    let mut out = Vec::new();
    if spec.privileged {
        host_devices(Path::new("/dev"), &mut out);
    }
    for device in &spec.devices {
        out.push(device_node(device)?);
    }
    Ok(out)
}

/// What the container may open.
pub(crate) fn device_rules(spec: &ContainerSpec, devices: &[DeviceNode]) -> Vec<DeviceRule> {
    if spec.privileged {
        return everything();
    }
    let mut rules = default_rules();
    rules.extend(devices.iter().map(|device| device.rule));
    rules
}

fn device_node(device: &Device) -> Result<DeviceNode, SpecError> {
    node(&device.host_path, &device.container_path, &device.permissions)
        .ok_or_else(|| SpecError::Device(device.host_path.clone()))
}

fn node(host: &Path, inside: &Path, access: &str) -> Option<DeviceNode> {
    let data = std::fs::metadata(host).ok()?;
    let kind = if data.file_type().is_block_device() {
        DeviceKind::Block
    } else if data.file_type().is_char_device() {
        DeviceKind::Char
    } else {
        return None;
    };
    let access = if access.is_empty() { "rwm" } else { access };
    let (major, minor) = (libc::major(data.rdev()), libc::minor(data.rdev()));
    Some(DeviceNode {
        path: inside.to_owned(),
        rule: DeviceRule::new(kind, Some(major), Some(minor), access),
        mode: data.mode() & 0o7777,
        uid: data.uid(),
        gid: data.gid(),
    })
}

/// Every device below `/dev`, without the directories a container has of its own.
fn host_devices(dir: &Path, out: &mut Vec<DeviceNode>) {
    const OWN: [&str; 7] = ["pts", "shm", "fd", "mqueue", "console", "ptmx", "tty"];
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten().take(HOST_DEVICES_MAX) {
        let path = entry.path();
        let Ok(kind) = entry.file_type() else { continue };
        let own = path.file_name().is_some_and(|name| OWN.iter().any(|own| name == *own));
        if own || kind.is_symlink() || out.len() >= HOST_DEVICES_MAX {
            continue;
        }
        if kind.is_dir() {
            host_devices(&path, out);
        } else if let Some(node) = node(&path, &path, "rwm") {
            out.push(node);
        }
    }
}

/// The configuration of the container. `user` is resolved; the cgroup exists.
pub(crate) fn container(
    spec: &ContainerSpec,
    user: &User,
    cgroup: &Cgroup,
    cgroup_path: &str,
    devices: &[DeviceNode],
) -> Result<Value, SpecError> {
    if !spec.rootfs.is_dir() {
        return Err(SpecError::Rootfs(spec.rootfs.clone()));
    }
    let mut config = json!({
        "ociVersion": "1.0.2",
        "process": process(&spec.process, user, &spec.ulimits)?,
        "root": { "path": spec.rootfs, "readonly": spec.read_only_rootfs },
        "hostname": spec.hostname,
        "mounts": mounts(spec, cgroup)?,
        "linux": {
            "namespaces": namespaces(spec, cgroup)?,
            "cgroupsPath": cgroup_path,
            "sysctl": sysctls(spec)?,
            "devices": devices.iter().map(device_json).collect::<Vec<_>>(),
            "maskedPaths": masked(spec),
            "readonlyPaths": read_only(spec, cgroup),
            "rootfsPropagation": if has_slave(spec) { "slave" } else { "private" },
        }
    });
    if !spec.domainname.is_empty() {
        config["domainname"] = json!(spec.domainname);
    }
    Ok(config)
}

/// The `process` object, also the file of an exec.
pub(crate) fn process(process: &ProcessSpec, user: &User, ulimits: &[Ulimit]) -> Result<Value, SpecError> {
    if process.args.is_empty() {
        return Err(SpecError::NoCommand);
    }
    let rlimits = ulimits.iter().map(rlimit).collect::<Result<Vec<_>, _>>()?;
    Ok(json!({
        "terminal": process.tty,
        "user": { "uid": user.uid, "gid": user.gid, "additionalGids": user.groups },
        "args": process.args,
        "cwd": "/",
        "rlimits": rlimits,
    }))
}

/// Whether any mount wants the host's later mounts, for which the others must be cut off one by one.
pub(crate) fn has_slave(spec: &ContainerSpec) -> bool {
    spec.mounts.iter().any(|mount| matches!(&mount.kind, MountKind::Bind { propagation: Propagation::Rslave, .. }))
}

fn rlimit(limit: &Ulimit) -> Result<Value, SpecError> {
    const NAMES: [&str; 16] = [
        "as",
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    let name = limit.name.to_ascii_lowercase();
    if !NAMES.contains(&name.as_str()) {
        return Err(SpecError::Ulimit(limit.name.clone()));
    }
    let value = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
    let kind = format!("RLIMIT_{}", name.to_ascii_uppercase());
    Ok(json!({ "type": kind, "soft": value(limit.soft), "hard": value(limit.hard) }))
}

fn device_json(device: &DeviceNode) -> Value {
    json!({
        "path": device.path,
        "type": if device.rule.kind == DeviceKind::Block { "b" } else { "c" },
        "major": device.rule.major,
        "minor": device.rule.minor,
        "fileMode": device.mode,
        "uid": device.uid,
        "gid": device.gid,
    })
}

fn namespaces(spec: &ContainerSpec, cgroup: &Cgroup) -> Result<Vec<Value>, SpecError> {
    let mut out: Vec<Value> = ["pid", "ipc", "uts", "mount"].iter().map(|kind| json!({ "type": kind })).collect();
    match &spec.network {
        Network::New => out.push(json!({ "type": "network" })),
        Network::Host => {}
        Network::Path(path) if path.exists() => out.push(json!({ "type": "network", "path": path })),
        Network::Path(path) => return Err(SpecError::Namespace(path.clone())),
    }
    if cgroup.hierarchy().is_v2() {
        out.push(json!({ "type": "cgroup" })); // Docker's default on v2; on v1 it is the host's.
    }
    Ok(out)
}

/// Docker's two network defaults (any user may open low ports and ping) unless the host's network is used.
fn sysctls(spec: &ContainerSpec) -> Result<BTreeMap<String, String>, SpecError> {
    let mut out = BTreeMap::new();
    if spec.network != Network::Host {
        out.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
        out.insert("net.ipv4.ping_group_range".to_owned(), "0 2147483647".to_owned());
    }
    for (key, value) in &spec.sysctls {
        if spec.network == Network::Host && key.starts_with("net.") {
            return Err(SpecError::Sysctl(key.clone()));
        }
        out.insert(key.clone(), value.clone());
    }
    Ok(out)
}

fn masked(spec: &ContainerSpec) -> Vec<String> {
    match &spec.masked_paths {
        _ if spec.privileged => Vec::new(),
        Some(paths) => paths.clone(),
        None => MASKED.iter().map(|path| (*path).to_owned()).collect(),
    }
}

fn read_only(spec: &ContainerSpec, cgroup: &Cgroup) -> Vec<String> {
    if spec.privileged {
        return Vec::new();
    }
    let mut out = match &spec.readonly_paths {
        Some(paths) => paths.clone(),
        None => READ_ONLY.iter().map(|path| (*path).to_owned()).collect(),
    };
    if !cgroup.hierarchy().is_v2() {
        out.push("/sys/fs/cgroup".to_owned()); // The directory that holds the views; each view is read-only itself.
    }
    out
}

fn mount(target: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({ "destination": target, "type": kind, "source": source, "options": options })
}

fn mounts(spec: &ContainerSpec, cgroup: &Cgroup) -> Result<Vec<Value>, SpecError> {
    let mut out = default_mounts(spec, cgroup);
    for (place, mount) in placed(&spec.rootfs, &spec.mounts)? {
        out.retain(|default| default["destination"].as_str().map(Path::new) != Some(place.as_path()));
        out.push(own_mount(&place, mount)?);
    }
    Ok(out)
}

fn default_mounts(spec: &ContainerSpec, cgroup: &Cgroup) -> Vec<Value> {
    let safe = ["nosuid", "noexec", "nodev"];
    let sealed: Vec<&str> = if spec.privileged { safe.to_vec() } else { [&safe[..], &["ro"]].concat() };
    let shm = if spec.shm_size == 0 { SHM_BYTES } else { spec.shm_size };
    let mut out = vec![
        mount("/proc", "proc", "proc", &safe),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/sys", "sysfs", "sysfs", &sealed),
    ];
    if cgroup.hierarchy().is_v2() {
        out.push(mount("/sys/fs/cgroup", "cgroup", "cgroup", &[&sealed[..], &["relatime"]].concat()));
    } else {
        out.push(mount("/sys/fs/cgroup", "tmpfs", "tmpfs", &[&safe[..], &["mode=755"]].concat()));
        for (name, source) in cgroup.v1_views() {
            let options = [&["bind"], &sealed[..]].concat();
            out.push(json!({
                "destination": format!("/sys/fs/cgroup/{name}"), "type": "bind", "source": source, "options": options,
            }));
        }
    }
    out.push(mount("/dev/mqueue", "mqueue", "mqueue", &safe));
    out.push(mount("/dev/shm", "tmpfs", "shm", &[&safe[..], &["mode=1777", &format!("size={shm}")]].concat()));
    out
}

fn own_mount(place: &Path, mount: &Mount) -> Result<Value, SpecError> {
    match &mount.kind {
        MountKind::Bind { source, propagation } => {
            if *propagation == Propagation::Rshared {
                return Err(SpecError::Shared(source.clone()));
            }
            if !source.exists() {
                return Err(SpecError::Source(source.clone()));
            }
            // "rro" makes what is mounted below read-only too, as Docker does since 25.
            let options: &[&str] = if mount.read_only { &["rbind", "ro", "rro"] } else { &["rbind"] };
            Ok(json!({ "destination": place, "type": "bind", "source": source, "options": options }))
        }
        // Made a bind by now; by its path alone it would be looked for again.
        MountKind::Within { directory, .. } => Err(SpecError::Source(directory.clone())),
        MountKind::Tmpfs { size, mode, options } => {
            let mut all: Vec<String> = ["nosuid", "noexec", "nodev"].iter().map(|name| (*name).to_owned()).collect();
            all.push(format!("mode={:o}", mode.unwrap_or(0o1777)));
            all.extend(size.map(|size| format!("size={size}")));
            all.extend(options.iter().cloned());
            if mount.read_only {
                all.push("ro".to_owned());
            }
            Ok(json!({ "destination": place, "type": "tmpfs", "source": "tmpfs", "options": all }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Hierarchy;

    fn cgroup() -> Cgroup {
        Cgroup::new(Hierarchy::V2 { root: "/sys/fs/cgroup".into() }, "/swarm/a").expect("path")
    }

    fn spec() -> ContainerSpec {
        let process = ProcessSpec { args: vec!["true".into()], env: vec!["TOKEN=x".into()], ..Default::default() };
        ContainerSpec { rootfs: "/".into(), process, ..Default::default() }
    }

    fn config(spec: &ContainerSpec) -> Result<Value, SpecError> {
        let user = User { uid: 0, gid: 0, groups: vec![0], home: "/root".into() };
        container(spec, &user, &cgroup(), "/swarm/a", &[])
    }

    #[test]
    fn secrets_of_the_environment_stay_out_of_the_file() {
        assert!(!config(&spec()).expect("valid").to_string().contains("TOKEN"));
    }

    #[test]
    fn the_cgroup_mount_is_read_only_on_v2() {
        let config = config(&spec()).expect("valid");
        let mounts = config["mounts"].as_array().expect("array");
        let cgroup = mounts.iter().find(|mount| mount["type"] == "cgroup").expect("a cgroup mount");
        assert!(cgroup["options"].as_array().expect("array").contains(&json!("ro")));
    }

    #[test]
    fn an_own_mount_replaces_a_default_one() {
        let mut spec = spec();
        spec.mounts.push(Mount {
            target: "/dev/shm".into(),
            kind: MountKind::Tmpfs { size: Some(1), mode: None, options: vec![] },
            read_only: false,
        });
        let config = config(&spec).expect("valid");
        let mounts = config["mounts"].as_array().expect("array");
        assert_eq!(mounts.iter().filter(|mount| mount["destination"] == "/dev/shm").count(), 1);
    }

    #[test]
    fn what_cannot_be_done_is_named() {
        let mut wrong = spec();
        wrong.process.args.clear();
        assert!(matches!(config(&wrong), Err(SpecError::NoCommand)));
        let mut wrong = spec();
        wrong.ulimits.push(Ulimit { name: "nofiles".into(), soft: 1, hard: 1 });
        assert!(matches!(config(&wrong), Err(SpecError::Ulimit(_))));
        let mut wrong = spec();
        let kind = MountKind::Bind { source: "/no/such/path".into(), propagation: Propagation::Rprivate };
        wrong.mounts.push(Mount { target: "/x".into(), kind, read_only: false });
        assert!(config(&wrong).expect_err("missing").to_string().contains("/no/such/path"));
    }
}
