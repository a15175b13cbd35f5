//! What each key of a compose file takes and what becomes of it: tables, no code.
//!
//! Read by `normal` (checks and canonical form), `merge` (how two files combine) and `emit` (what is left out).
//! Follows the Compose specification and, where that differs, what docker accepts in `docker stack`.

mod objects;

/// One key of a mapping.
pub(crate) struct Key {
    pub name: &'static str,
    pub kind: Kind,
    pub standing: Standing,
    pub merge: Merge,
    /// Zero, false and empty mean something of their own: the canonical form keeps them.
    pub keep: bool,
    /// Values of a key that is ignored or refused which ask for what is done anyway: taken without a word.
    pub fine: &'static [&'static str],
}

impl Key {
    const fn but_fine(mut self, values: &'static [&'static str]) -> Self {
        self.fine = values;
        self
    }
}

/// What becomes of a key. Some that are honoured are not in every value: see `unserved`.
pub(crate) enum Standing {
    Honoured,
    /// Accepted with a warning: the text says what to do instead.
    Ignored(&'static str),
    /// An error: the text says what to do instead.
    Refused(&'static str),
}

/// How the value of a later file combines with that of an earlier one.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Merge {
    /// Scalars are replaced, lists appended, mappings merged key by key.
    Deep,
    Replace,
    /// By published port, protocol and address.
    Ports,
    /// Items of a list are mappings, told apart by this member; the later replaces the earlier.
    By(&'static str),
    /// Options merge when the driver stays.
    Logging,
}

/// The shape of a value.
pub(crate) enum Kind {
    /// A string.
    Text,
    /// A string or null.
    TextOrNull,
    /// A string or a number; becomes a string.
    Scalar,
    Bool,
    /// An integer.
    Int,
    /// An integer of at least 0.
    Count,
    Number,
    /// `1m30s`.
    Duration,
    /// `64m` or a number of bytes; becomes the number as a string.
    Bytes,
    /// `64m` or a number of bytes; becomes an integer.
    Size,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A command line: one string is split into words.
    Words,
    /// `healthcheck.test`.
    Test,
    Texts,
    TextOrTexts,
    /// Strings or numbers; become strings.
    Scalars,
    /// `KEY=value` items or a mapping; becomes a mapping. `nulls`: a key without a value stays null.
    Pairs {
        nulls: bool,
    },
    /// A mapping to strings, numbers and null; becomes a mapping to strings.
    Options,
    /// `host:address` items or a mapping; becomes items.
    Hosts,
    Object(&'static [Key]),
    /// A string, or a mapping that says the same in parts.
    TextOr(&'static [Key]),
    ObjectOrNull(&'static [Key]),
    List(&'static Kind),
    /// A mapping of names to this.
    Members(&'static Kind),
    DependsOn,
    EnvFile,
    Ports,
    Volumes,
    ServiceNetworks,
    FileReferences,
    Ulimits,
    /// true, or the deprecated `{name: …}`.
    External,
    /// A string (the context) or a mapping with more keys than we name.
    Build,
    /// An octal number.
    FileMode,
    Anything,
}

use Kind::*;
use objects::{CONFIG, NETWORK, SECRET, VOLUME};

const fn merged(name: &'static str, kind: Kind, merge: Merge) -> Key {
    Key { name, kind, standing: Standing::Honoured, merge, keep: false, fine: &[] }
}

const fn key(name: &'static str, kind: Kind) -> Key {
    merged(name, kind, Merge::Deep)
}

pub(crate) const fn kept(name: &'static str, kind: Kind) -> Key {
    let mut key = key(name, kind);
    key.keep = true;
    key
}

const fn ignored(name: &'static str, kind: Kind, instead: &'static str) -> Key {
    let mut key = key(name, kind);
    key.standing = Standing::Ignored(instead);
    key
}

const fn refused(name: &'static str, instead: &'static str) -> Key {
    let mut key = merged(name, Anything, Merge::Replace);
    key.standing = Standing::Refused(instead);
    key
}

/// The file.
pub(crate) static TOP: &[Key] = &[
    key("version", Text),
    key("name", Text),
    kept("services", Members(&Object(SERVICE))),
    key("networks", Members(&ObjectOrNull(NETWORK))),
    key("volumes", Members(&ObjectOrNull(VOLUME))),
    key("secrets", Members(&Object(SECRET))),
    key("configs", Members(&Object(CONFIG))),
    key("include", Anything),
    refused("models", "not supported"),
];

pub(crate) static SERVICE: &[Key] = &[
    ignored("build", Build, "images are not built here; build and push the image, and name it with image:"),
    key("cap_add", Texts),
    key("cap_drop", Texts),
    ignored("cgroupns_mode", Text, "ignored; each container has a cgroup namespace of its own").but_fine(&["private"]),
    ignored("cgroup_parent", Text, "ignored; limit with deploy.resources.limits"),
    merged("command", Words, Merge::Replace),
    merged("configs", FileReferences, Merge::By("source")),
    ignored(
        "container_name",
        Text,
        "ignored; containers are named after service and slot, other services reach it by the service name",
    ),
    ignored("credential_spec", Anything, "ignored; it is for Windows containers"),
    key("depends_on", DependsOn),
    key("deploy", ObjectOrNull(DEPLOY)),
    key("cpus", Scalar),
    ignored("devices", List(&TextOr(DEVICE)), "ignored; devices of hosts are not handed to services yet"),
    key("dns", TextOrTexts),
    key("dns_opt", TextOrTexts),
    key("dns_search", TextOrTexts),
    ignored("domainname", Text, "ignored; put the whole name into hostname"),
    merged("entrypoint", Words, Merge::Replace),
    key("env_file", EnvFile),
    key("environment", Pairs { nulls: true }),
    ignored("expose", Scalars, "ignored; services on one network reach all ports of each other"),
    ignored("external_links", Texts, "ignored; put both services on one network and use the service name"),
    key("extends", Anything),
    key("extra_hosts", Hosts),
    key("group_add", Scalars),
    key("healthcheck", Object(HEALTHCHECK)),
    key("hostname", Text),
    key("image", Text),
    kept("init", Bool),
    ignored("ipc", Text, "ignored; each container has an IPC namespace of its own").but_fine(&[
        "private",
        "shareable",
        "none",
    ]),
    ignored("isolation", Text, "ignored; it is for Windows containers").but_fine(&["default"]),
    key("label_file", TextOrTexts),
    key("labels", Pairs { nulls: false }),
    ignored(
        "links",
        Texts,
        "ignored; services on one network reach each other by the service name or networks.*.aliases",
    ),
    merged("logging", Object(LOGGING), Merge::Logging),
    ignored("mac_address", Text, "ignored; addresses are given by the network"),
    key("mem_limit", Bytes),
    key("mem_reservation", Bytes),
    key("network_mode", Text),
    key("networks", ServiceNetworks),
    key("oom_score_adj", Int),
    ignored("pid", TextOrNull, "ignored; each container has a process namespace of its own"),
    key("pids_limit", Int),
    key("platform", Text),
    merged("ports", Ports, Merge::Ports),
    key("privileged", Bool),
    key("profiles", Texts),
    key("read_only", Bool),
    key("restart", Text),
    kept("scale", Count),
    merged("secrets", FileReferences, Merge::By("source")),
    ignored("security_opt", Texts, "ignored; the default confinement is used"),
    key("shm_size", Scalar),
    key("stdin_open", Bool),
    kept("stop_grace_period", Duration),
    key("stop_signal", Text),
    key("sysctls", Pairs { nulls: false }),
    key("tmpfs", TextOrTexts),
    key("tty", Bool),
    key("ulimits", Ulimits),
    key("user", Text),
    ignored("userns_mode", Text, "ignored; containers have no user namespace").but_fine(&["host"]),
    merged("volumes", Volumes, Merge::By("target")),
    key("working_dir", Text),
    refused("annotations", "not honoured; use labels"),
    refused("attach", "not honoured; remove it"),
    refused("blkio_config", "not honoured; remove it"),
    refused("cgroup", "not honoured; each container has a cgroup namespace of its own").but_fine(&["private"]),
    refused("cpu_count", "use deploy.resources.limits.cpus"),
    refused("cpu_percent", "use deploy.resources.limits.cpus"),
    refused("cpu_period", "use deploy.resources.limits.cpus"),
    refused("cpu_quota", "use deploy.resources.limits.cpus"),
    refused("cpu_rt_period", "not honoured; remove it"),
    refused("cpu_rt_runtime", "not honoured; remove it"),
    refused("cpu_shares", "use deploy.resources.reservations.cpus"),
    refused("cpuset", "not honoured; use deploy.resources.limits.cpus"),
    refused("develop", "not honoured; remove it"),
    refused("device_cgroup_rules", "not honoured; remove it"),
    refused("gpus", "not honoured; use deploy.resources.reservations.generic_resources"),
    refused("log_driver", "use logging.driver"),
    refused("log_opt", "use logging.options"),
    refused("mem_swappiness", "not honoured; remove it"),
    refused("memswap_limit", "not honoured; containers have no swap beyond deploy.resources.limits.memory"),
    refused("models", "not honoured; remove it"),
    refused("net", "use networks"),
    refused("oom_kill_disable", "not honoured; remove it"),
    refused("post_start", "not honoured; remove it"),
    refused("pre_stop", "not honoured; remove it"),
    refused("provider", "not honoured; remove it"),
    refused("pull_policy", "not honoured; remove it"),
    refused("pull_refresh_after", "not honoured; remove it"),
    refused("runtime", "not honoured; remove it"),
    refused("storage_opt", "not honoured; remove it"),
    refused("use_api_socket", "not honoured; remove it"),
    refused("uts", "not honoured; remove it"),
    refused("volume_driver", "use driver of the volume below volumes:"),
    refused("volumes_from", "use a named volume that both services mount"),
];

/// `extends`, long form.
pub(crate) static EXTENDS: &[Key] = &[key("service", Text), key("file", Text)];

/// One item of `include`, long form.
pub(crate) static INCLUDE: &[Key] =
    &[key("path", TextOrTexts), key("project_directory", Text), key("env_file", TextOrTexts)];

static HEALTHCHECK: &[Key] = &[
    merged("test", Test, Merge::Replace),
    kept("timeout", Duration),
    kept("interval", Duration),
    kept("retries", Count),
    kept("start_period", Duration),
    kept("start_interval", Duration),
    key("disable", Bool),
];

/// One service of `depends_on`, long form.
pub(crate) static DEPENDENCY: &[Key] = &[
    key("condition", Choice(&["service_started", "service_healthy", "service_completed_successfully"])),
    key("required", Bool),
    key("restart", Bool),
];

static LOGGING: &[Key] = &[key("driver", Text), key("options", Options)];

static DEPLOY: &[Key] = &[
    key("mode", Text),
    kept("replicas", Count),
    key("labels", Pairs { nulls: false }),
    kept("update_config", Object(UPDATE)),
    kept("rollback_config", Object(ROLLBACK)),
    key("resources", Object(RESOURCES)),
    kept("restart_policy", Object(RESTART)),
    key("placement", Object(PLACEMENT)),
    key("endpoint_mode", Text),
    key("x-at-most-one", Anything),
    key("x-readiness", Object(PROBE)),
    key("x-liveness", Object(PROBE)),
    key("x-autoscale", Object(AUTOSCALE)),
    key("x-priority", Int),
];

/// Ours: a check that needs no tool in the image.
static PROBE: &[Key] = &[
    merged("test", TextOrTexts, Merge::Replace),
    kept("interval", Duration),
    kept("timeout", Duration),
    kept("retries", Count),
    kept("successes", Count),
    kept("start_period", Duration),
];

static AUTOSCALE: &[Key] = &[
    kept("min", Count),
    kept("max", Count),
    kept("cpu_percent", Count),
    kept("memory_percent", Count),
    kept("requests_per_second", Count),
    kept("window", Duration),
    kept("scale_down_delay", Duration),
];

static UPDATE: &[Key] = &[
    kept("parallelism", Count),
    key("delay", Duration),
    key("failure_action", Text),
    key("monitor", Duration),
    key("max_failure_ratio", Number),
    key("order", Choice(&["start-first", "stop-first"])),
    key("x-canary", Count),
    key("x-canary-promote-after", Duration),
];

static ROLLBACK: &[Key] = &[
    kept("parallelism", Count),
    key("delay", Duration),
    key("failure_action", Text),
    key("monitor", Duration),
    key("max_failure_ratio", Number),
    key("order", Choice(&["start-first", "stop-first"])),
    refused("x-canary", "a rollback has no canaries; give it in update_config"),
    refused("x-canary-promote-after", "a rollback has no canaries; give it in update_config"),
];

static RESOURCES: &[Key] = &[kept("limits", Object(LIMITS)), kept("reservations", Object(RESERVATIONS))];

static LIMITS: &[Key] = &[key("cpus", Scalar), key("memory", Bytes), key("pids", Count)];

static RESERVATIONS: &[Key] = &[
    key("cpus", Scalar),
    key("memory", Bytes),
    key("generic_resources", List(&Object(GENERIC))),
    refused("devices", "not honoured; use generic_resources"),
];

static GENERIC: &[Key] = &[kept("discrete_resource_spec", Object(DISCRETE))];

static DISCRETE: &[Key] = &[kept("kind", Text), kept("value", Count)];

static RESTART: &[Key] = &[
    key("condition", Text),
    kept("delay", Duration),
    kept("max_attempts", Count),
    kept("window", Duration),
    key("x-backoff-max", Duration),
];

static PLACEMENT: &[Key] =
    &[key("constraints", Texts), key("preferences", List(&Object(PREFERENCE))), key("max_replicas_per_node", Count)];

static PREFERENCE: &[Key] = &[key("spread", Text)];

/// One network of a service.
pub(crate) static ATTACHMENT: &[Key] = &[
    merged("aliases", Texts, Merge::Replace),
    key("driver_opts", Options),
    key("ipv4_address", Text),
    key("ipv6_address", Text),
    refused("gw_priority", "not honoured; remove it"),
    refused("interface_name", "not honoured; remove it"),
    refused("link_local_ips", "not honoured; remove it"),
    refused("mac_address", "not honoured; remove it"),
    refused("priority", "not honoured; remove it"),
];

/// One secret or config of a service, long form.
pub(crate) static FILE_REFERENCE: &[Key] =
    &[key("source", Text), key("target", Text), key("uid", Scalar), key("gid", Scalar), kept("mode", FileMode)];

/// One port of a service, long form.
pub(crate) static PORT: &[Key] = &[
    key("name", Text),
    key("mode", Choice(&["ingress", "host"])),
    key("host_ip", Text),
    key("target", Count),
    key("published", Count),
    key("protocol", Choice(&["tcp", "udp", "sctp"])),
    ignored("app_protocol", Text, "ignored; a port is forwarded whatever is spoken on it"),
];

/// One mount of a service, long form.
pub(crate) static MOUNT: &[Key] = &[
    key("type", Text),
    key("source", Text),
    key("target", Text),
    key("read_only", Bool),
    ignored("consistency", Text, "ignored; mounts are always consistent"),
    kept("bind", Object(MOUNT_BIND)),
    kept("volume", Object(MOUNT_VOLUME)),
    kept("tmpfs", Object(MOUNT_TMPFS)),
    refused("image", "not honoured; remove it"),
];

static MOUNT_BIND: &[Key] = &[
    key("propagation", Choice(&["private", "rprivate", "shared", "rshared", "slave", "rslave"])),
    kept("create_host_path", Bool),
    ignored("selinux", Text, "ignored; labels of files are left as they are"),
    refused("recursive", "not honoured; remove it"),
];

static MOUNT_VOLUME: &[Key] = &[
    key("nocopy", Bool),
    key("subpath", Text),
    refused("labels", "not honoured; set labels of the volume below volumes:"),
];

static MOUNT_TMPFS: &[Key] = &[key("size", Size), key("mode", FileMode)];

static DEVICE: &[Key] = &[key("source", Text), key("target", Text), key("permissions", Text)];

/// One environment file, long form.
pub(crate) static ENV_FILE: &[Key] = &[kept("path", Text), kept("required", Bool), key("format", Choice(&["raw"]))];

/// The deprecated form of external.
pub(crate) static EXTERNAL: &[Key] = &[kept("name", Text)];

/// A limit with two values.
pub(crate) static ULIMIT: &[Key] = &[kept("soft", Int), kept("hard", Int)];

/// The keys of `build` that are printed; all are ignored.
pub(crate) static BUILD: &[Key] = &[
    key("context", Text),
    key("dockerfile", Text),
    key("args", Pairs { nulls: true }),
    key("labels", Pairs { nulls: false }),
    key("cache_from", Texts),
    key("extra_hosts", Hosts),
    key("network", Text),
    key("target", Text),
];
