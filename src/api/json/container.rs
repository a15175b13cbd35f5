//! `TaskSpec.ContainerSpec`, both ways.

use super::fields::{Fields, strings};
use super::object::Object;
use crate::error::ApiError;
use std::time::Duration;
use swarm_core::model::*;
use swarm_core::store::View;
use swarm_core::{ConfigId, SecretId};

type Read<T> = Result<T, ApiError>;

/// Nanoseconds, as the API counts durations.
pub(super) fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// Reads a container spec. `Privileged` and `ShmSize` are ours, beyond the API.
pub(super) fn read_container(mut object: Object, view: &View, warnings: &mut Vec<String>) -> Read<ContainerSpec> {
    privileges(&mut object)?;
    object.word("Isolation", &[("", ()), ("default", ())])?;
    let spec = ContainerSpec {
        image: object.string("Image")?,
        labels: object.map("Labels")?,
        command: object.strings("Command")?,
        args: object.strings("Args")?,
        hostname: object.string("Hostname")?,
        env: object.strings("Env")?,
        dir: object.string("Dir")?,
        user: object.string("User")?,
        groups: object.strings("Groups")?,
        tty: object.bool("TTY")?,
        open_stdin: object.bool("OpenStdin")?,
        read_only: object.bool("ReadOnly")?,
        mounts: object.objects("Mounts")?.into_iter().map(|m| read_mount(m, warnings)).collect::<Read<_>>()?,
        stop_signal: object.string("StopSignal")?,
        stop_grace_period: object.duration("StopGracePeriod")?,
        health_check: read_health(&mut object)?,
        hosts: object.strings("Hosts")?,
        dns: read_dns(&mut object)?,
        secrets: object.objects("Secrets")?.into_iter().map(|s| read_secret(s, view)).collect::<Read<_>>()?,
        configs: object.objects("Configs")?.into_iter().map(|c| read_config(c, view)).collect::<Read<_>>()?,
        init: object.opt_bool("Init")?,
        sysctls: object.map("Sysctls")?,
        cap_add: object.strings("CapabilityAdd")?,
        cap_drop: object.strings("CapabilityDrop")?,
        ulimits: object.objects("Ulimits")?.into_iter().map(read_ulimit).collect::<Read<_>>()?,
        oom_score_adj: object.number("OomScoreAdj", "-1000 to 1000")?,
        privileged: object.bool("Privileged")?,
        shm_size_bytes: object.u64("ShmSize")?,
        readiness: None,
        liveness: None,
        pull_auth: None,
    };
    object.finish()?;
    Ok(spec)
}

/// Only the defaults are served; the rest is refused by `finish`.
fn privileges(object: &mut Object) -> Read<()> {
    let Some(mut privileges) = object.object("Privileges")? else {
        return Ok(());
    };
    for filter in ["Seccomp", "AppArmor"] {
        if let Some(mut inner) = privileges.object(filter)? {
            inner.word("Mode", &[("", ()), ("default", ())])?;
            inner.finish()?;
        }
    }
    privileges.finish()
}

fn read_mount(mut object: Object, warnings: &mut Vec<String>) -> Read<Mount> {
    let source = object.string("Source")?;
    let target = object.string("Target")?;
    let read_only = object.bool("ReadOnly")?;
    let consistency = object.string("Consistency")?;
    match consistency.as_str() {
        "" | "default" | "consistent" => {}
        "cached" | "delegated" => {
            warnings.push(format!("{} has no effect on Linux", object.path("Consistency")));
        }
        _ => return Err(ApiError::bad(format!("{}: invalid consistency {consistency}", object.path("Consistency")))),
    }
    let kind = object.string("Type")?;
    let source = match kind.as_str() {
        "bind" => read_bind(&mut object, source)?,
        "volume" => read_volume(&mut object, source)?,
        "tmpfs" => {
            if !source.is_empty() {
                return Err(ApiError::bad(format!("{}: must be empty for a tmpfs", object.path("Source"))));
            }
            read_tmpfs(&mut object)?
        }
        _ => return Err(ApiError::bad(format!("{}: mount type \"{kind}\" is not supported", object.path("Type")))),
    };
    object.finish()?;
    Ok(Mount { target, source, read_only })
}

fn read_bind(object: &mut Object, path: String) -> Read<MountSource> {
    let Some(mut options) = object.object("BindOptions")? else {
        return Ok(MountSource::Bind { path, propagation: String::new(), create: false });
    };
    let propagation = options.string("Propagation")?;
    let create = options.bool("CreateMountpoint")?;
    options.finish()?;
    Ok(MountSource::Bind { path, propagation, create })
}

fn read_volume(object: &mut Object, name: String) -> Read<MountSource> {
    let mut driver = (String::new(), Default::default());
    let (mut labels, mut no_copy, mut subpath) = (Labels::new(), false, String::new());
    if let Some(mut options) = object.object("VolumeOptions")? {
        labels = options.map("Labels")?;
        no_copy = options.bool("NoCopy")?;
        subpath = options.string("Subpath")?;
        if let Some(mut config) = options.object("DriverConfig")? {
            driver = (config.string("Name")?, config.map("Options")?);
            config.finish()?;
        }
        options.finish()?;
    }
    let (driver, driver_options) = driver;
    Ok(MountSource::Volume { name, driver, driver_options, labels, no_copy, subpath })
}

fn read_tmpfs(object: &mut Object) -> Read<MountSource> {
    let Some(mut options) = object.object("TmpfsOptions")? else {
        return Ok(MountSource::Tmpfs { size_bytes: 0, mode: 0 });
    };
    let size_bytes = options.u64("SizeBytes")?;
    let mode = options.number("Mode", "a file mode")?;
    options.finish()?;
    Ok(MountSource::Tmpfs { size_bytes, mode })
}

fn read_health(object: &mut Object) -> Read<Option<HealthConfig>> {
    let Some(mut health) = object.object("Healthcheck")? else {
        return Ok(None);
    };
    // 0 means "as in the image", like absent.
    let set = |duration: Option<Duration>| duration.filter(|duration| !duration.is_zero());
    let config = HealthConfig {
        test: health.strings("Test")?,
        interval: set(health.duration("Interval")?),
        timeout: set(health.duration("Timeout")?),
        retries: Some(health.number("Retries", "0 or more")?).filter(|retries| *retries != 0),
        start_period: set(health.duration("StartPeriod")?),
        start_interval: set(health.duration("StartInterval")?),
    };
    health.finish()?;
    Ok(Some(config))
}

fn read_dns(object: &mut Object) -> Read<DnsConfig> {
    let Some(mut dns) = object.object("DNSConfig")? else {
        return Ok(DnsConfig::default());
    };
    let place = dns.path("Nameservers");
    let nameservers = dns
        .strings("Nameservers")?
        .into_iter()
        .map(|text| text.parse().map_err(|_| ApiError::bad(format!("{place}: \"{text}\" is not an IP address"))));
    let nameservers = nameservers.collect::<Read<_>>()?;
    let config = DnsConfig { nameservers, search: dns.strings("Search")?, options: dns.strings("Options")? };
    dns.finish()?;
    Ok(config)
}

fn read_file(object: &mut Object, name: &str) -> Read<FileTarget> {
    let Some(mut file) = object.object("File")? else {
        return Ok(FileTarget { name: name.to_owned(), uid: "0".to_owned(), gid: "0".to_owned(), mode: 0o444 });
    };
    let or_root = |text: String| if text.is_empty() { "0".to_owned() } else { text };
    let target = FileTarget {
        name: file.string("Name")?,
        uid: or_root(file.string("UID")?),
        gid: or_root(file.string("GID")?),
        mode: file.number("Mode", "a file mode")?,
    };
    file.finish()?;
    Ok(target)
}

fn read_secret(mut object: Object, view: &View) -> Read<SecretReference> {
    let (id, name) = (object.string("SecretID")?, object.string("SecretName")?);
    let file = read_file(&mut object, &name)?;
    object.finish()?;
    let found = match id.is_empty() {
        true => view.secret_by_name(&name),
        false => id.parse::<SecretId>().ok().and_then(|id| view.secret(id)),
    };
    let secret = found.ok_or_else(|| ApiError::bad(format!("secret not found: {}", either(&name, &id))))?;
    Ok(SecretReference { id: secret.id, name: secret.spec.name.clone(), file, version: 0 })
}

fn read_config(mut object: Object, view: &View) -> Read<ConfigReference> {
    let (id, name) = (object.string("ConfigID")?, object.string("ConfigName")?);
    let file = read_file(&mut object, &name)?;
    object.finish()?;
    let found = match id.is_empty() {
        true => view.config_by_name(&name),
        false => id.parse::<ConfigId>().ok().and_then(|id| view.config(id)),
    };
    let config = found.ok_or_else(|| ApiError::bad(format!("config not found: {}", either(&name, &id))))?;
    Ok(ConfigReference { id: config.id, name: config.spec.name.clone(), file, version: 0 })
}

fn either<'a>(name: &'a str, id: &'a str) -> &'a str {
    if name.is_empty() { id } else { name }
}

fn read_ulimit(mut object: Object) -> Read<Ulimit> {
    let ulimit = Ulimit { name: object.string("Name")?, soft: object.i64("Soft")?, hard: object.i64("Hard")? };
    object.finish()?;
    Ok(ulimit)
}

/// Everything but the pull credentials.
pub(super) fn write_container(spec: &ContainerSpec) -> Fields {
    Fields::new()
        .set("Image", spec.image.as_str())
        .filled("Labels", strings(&spec.labels))
        .filled("Command", &spec.command)
        .filled("Args", &spec.args)
        .filled("Hostname", spec.hostname.as_str())
        .filled("Env", &spec.env)
        .filled("Dir", spec.dir.as_str())
        .filled("User", spec.user.as_str())
        .filled("Groups", &spec.groups)
        .filled("TTY", spec.tty)
        .filled("OpenStdin", spec.open_stdin)
        .filled("ReadOnly", spec.read_only)
        .filled("Mounts", spec.mounts.iter().map(write_mount).collect::<Vec<_>>())
        .filled("StopSignal", spec.stop_signal.as_str())
        .opt("StopGracePeriod", spec.stop_grace_period.map(nanos))
        // Docker answers with the first, the published definition has the second: clients know one of them.
        .opt("Healthcheck", spec.health_check.as_ref().map(write_health))
        .opt("HealthCheck", spec.health_check.as_ref().map(write_health))
        .filled("Hosts", &spec.hosts)
        .filled("DNSConfig", write_dns(&spec.dns))
        .filled("Secrets", spec.secrets.iter().map(write_secret).collect::<Vec<_>>())
        .filled("Configs", spec.configs.iter().map(write_config).collect::<Vec<_>>())
        .opt("Init", spec.init)
        .filled("Sysctls", strings(&spec.sysctls))
        .filled("CapabilityAdd", &spec.cap_add)
        .filled("CapabilityDrop", &spec.cap_drop)
        .filled("Ulimits", spec.ulimits.iter().map(write_ulimit).collect::<Vec<_>>())
        .filled("OomScoreAdj", spec.oom_score_adj)
        .filled("Privileged", spec.privileged)
        .filled("ShmSize", spec.shm_size_bytes)
        .set("Isolation", "default")
}

fn write_mount(mount: &Mount) -> Fields {
    let fields = Fields::new().set("Target", mount.target.as_str()).filled("ReadOnly", mount.read_only);
    match &mount.source {
        MountSource::Bind { path, propagation, create } => {
            let options = Fields::new().filled("Propagation", propagation.as_str()).filled("CreateMountpoint", *create);
            fields.set("Type", "bind").set("Source", path.as_str()).filled("BindOptions", options)
        }
        MountSource::Volume { name, driver, driver_options, labels, no_copy, subpath } => {
            let config = Fields::new().filled("Name", driver.as_str()).filled("Options", strings(driver_options));
            let options = Fields::new()
                .filled("NoCopy", *no_copy)
                .filled("Labels", strings(labels))
                .filled("DriverConfig", config)
                .filled("Subpath", subpath.as_str());
            fields.set("Type", "volume").filled("Source", name.as_str()).filled("VolumeOptions", options)
        }
        MountSource::Tmpfs { size_bytes, mode } => {
            let options = Fields::new().filled("SizeBytes", *size_bytes).filled("Mode", *mode);
            fields.set("Type", "tmpfs").filled("TmpfsOptions", options)
        }
    }
}

pub fn write_health(health: &HealthConfig) -> Fields {
    Fields::new()
        .filled("Test", &health.test)
        .opt("Interval", health.interval.map(nanos))
        .opt("Timeout", health.timeout.map(nanos))
        .opt("Retries", health.retries)
        .opt("StartPeriod", health.start_period.map(nanos))
        .opt("StartInterval", health.start_interval.map(nanos))
}

fn write_dns(dns: &DnsConfig) -> Fields {
    let nameservers: Vec<_> = dns.nameservers.iter().map(ToString::to_string).collect();
    Fields::new().filled("Nameservers", nameservers).filled("Search", &dns.search).filled("Options", &dns.options)
}

fn write_file(file: &FileTarget) -> Fields {
    let owned = Fields::new().set("Name", &file.name).set("UID", &file.uid).set("GID", &file.gid);
    owned.set("Mode", file.mode)
}

fn write_secret(secret: &SecretReference) -> Fields {
    let file = Fields::new().set("File", write_file(&secret.file));
    file.set("SecretID", secret.id.to_string()).set("SecretName", &secret.name)
}

fn write_config(config: &ConfigReference) -> Fields {
    let file = Fields::new().set("File", write_file(&config.file));
    file.set("ConfigID", config.id.to_string()).set("ConfigName", &config.name)
}

pub fn write_ulimit(ulimit: &Ulimit) -> Fields {
    Fields::new().set("Name", &ulimit.name).set("Soft", ulimit.soft).set("Hard", ulimit.hard)
}
