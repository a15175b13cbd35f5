//! One service of a compose file as a core specification.
//!
//! Called by `stack` with trees in canonical form: shapes are checked already, meanings are checked here.

use super::interpolate::join;
use super::parse::brief;
use super::stack::{Attachment, Context, FileUse, StackService};
use super::value::{Entry, Node};
use super::{LABEL_IMAGE, container, depends, units};
use crate::constraint::Constraint;
use crate::lease::LEASE_DEFAULT;
use crate::model::{
    AUTOSCALE_DELAY_DEFAULT, AUTOSCALE_WINDOW_DEFAULT, Autoscale, EndpointMode, EndpointSpec, FailureAction,
    FileTarget, Labels, LogDriver, Placement, Platform, PortConfig, Protocol, PublishMode, ResourceRequirements,
    Resources, RestartCondition, RestartPolicy, ServiceMode, ServiceSpec, TaskSpec, UpdateConfig, UpdateOrder,
};
use std::str::FromStr;
use std::time::Duration;

/// Mode of a secret's or config's file when nothing is said (docker: 0444).
const FILE_MODE_DEFAULT: u32 = 0o444;

/// Log drivers the cluster takes; the empty name is the default.
const LOG_DRIVERS: [&str; 3] = ["", "json-file", "local"];

/// A mapping to strings; null counts as empty.
pub(crate) fn pairs(node: Option<&Node>) -> Labels {
    let entries = node.map_or(&[][..], |node| node.entries()).iter();
    entries.map(|entry| (entry.key.clone(), entry.node.as_text().unwrap_or_default().to_owned())).collect()
}

pub(crate) fn text(node: &Node, key: &str) -> String {
    node.get(key).and_then(Node::as_text).unwrap_or_default().to_owned()
}

pub(crate) fn texts(node: &Node, key: &str) -> Vec<String> {
    let items = node.get(key).map_or(&[][..], Node::items).iter();
    items.filter_map(|item| item.as_text().map(str::to_owned)).collect()
}

pub(crate) fn flag(node: &Node, key: &str) -> bool {
    node.get(key).and_then(Node::as_bool) == Some(true)
}

/// A count; `normal` refused negative ones.
pub(crate) fn count(node: Option<&Node>, key: &str) -> Option<u64> {
    node?.get(key)?.as_int().map(|value| u64::try_from(value).unwrap_or(0))
}

pub(crate) fn duration(node: Option<&Node>, key: &str) -> Option<Duration> {
    units::duration(node?.get(key)?.as_text()?)
}

/// The value of a text that must be `wanted`; absent or empty is `None` without an error.
pub(crate) fn parsed<T: FromStr>(
    context: &mut Context<'_>,
    node: Option<&Node>,
    path: &str,
    wanted: &str,
) -> Option<T> {
    let node = node.filter(|node| !node.is_zero())?;
    let text = node.as_text().unwrap_or_default();
    let value = text.parse().ok();
    if value.is_none() {
        context.report.error(node.pos, path, format!("must be {wanted}, this is \"{}\"", brief(text)));
    }
    value
}

/// The meaning of a word; absent or empty is the default without an error.
fn word<T: Copy + Default>(context: &mut Context<'_>, node: Option<&Node>, path: &str, words: &[(&str, T)]) -> T {
    let Some(node) = node.filter(|node| !node.is_zero()) else { return T::default() };
    let text = node.as_text().unwrap_or_default();
    if let Some((_, value)) = words.iter().find(|(name, _)| *name == text) {
        return *value;
    }
    let names: Vec<_> = words.iter().map(|(name, _)| *name).collect();
    let message = format!("must be one of {}, this is \"{}\"", names.join(", "), brief(text));
    context.report.error(node.pos, path, message);
    T::default()
}

/// The service that `entry` describes; what is wrong goes to the report.
pub(crate) fn service(context: &mut Context<'_>, entry: &Entry) -> StackService {
    let path = join("services", &entry.key);
    let node = &entry.node;
    let deploy = node.get("deploy");
    let at = join(&path, "deploy");
    let image = text(node, "image");
    if image.is_empty() {
        context.report.error(entry.pos, &path, "image is missing; images are not built here");
    }
    let mut labels = context.labels(deploy.and_then(|deploy| deploy.get("labels")));
    labels.insert(LABEL_IMAGE.to_owned(), image);
    let mode = mode(context, deploy, &at);
    let is_job = mode.is_job();
    let spec = ServiceSpec {
        name: format!("{}_{}", context.stack, entry.key),
        labels,
        task: TaskSpec {
            container: container::container(context, node, &path),
            resources: resources(context, deploy.and_then(|deploy| deploy.get("resources")), &join(&at, "resources")),
            restart: restart(context, node, deploy, &path, is_job),
            placement: Placement {
                priority: priority(
                    context,
                    deploy.and_then(|deploy| deploy.get("x-priority")),
                    &join(&at, "x-priority"),
                ),
                platforms: platform(context, node.get("platform"), &join(&path, "platform")).into_iter().collect(),
                ..placement(context, deploy.and_then(|deploy| deploy.get("placement")), &join(&at, "placement"))
            },
            networks: Vec::new(),
            log_driver: log_driver(context, node.get("logging"), &join(&path, "logging")),
            force_update: 0,
            at_most_one: lease(context, deploy, &join(&at, "x-at-most-one")),
        },
        mode,
        update: update(context, deploy.and_then(|deploy| deploy.get("update_config")), &join(&at, "update_config")),
        rollback: update(
            context,
            deploy.and_then(|deploy| deploy.get("rollback_config")),
            &join(&at, "rollback_config"),
        ),
        endpoint: EndpointSpec {
            mode: word(
                context,
                deploy.and_then(|deploy| deploy.get("endpoint_mode")),
                &join(&at, "endpoint_mode"),
                &[("vip", EndpointMode::Vip), ("dnsrr", EndpointMode::Dnsrr)],
            ),
            ports: ports(node),
        },
        depends_on: depends::dependencies(context, node, &path),
        autoscale: deploy.and_then(|deploy| deploy.get("x-autoscale")).map(autoscale),
    };
    for key in ["update_config", "rollback_config"] {
        if let Some(node) = deploy.and_then(|deploy| deploy.get(key)).filter(|_| is_job) {
            let message = format!("a job is run anew as a whole, not updated task by task; remove {key}");
            context.report.error(node.pos, &join(&at, key), message);
        }
    }
    let networks = attachments(context, entry, &path);
    let secrets = file_uses(context, node, "secrets", &path);
    let configs = file_uses(context, node, "configs", &path);
    StackService { spec, networks, secrets, configs }
}

/// `true`, or for how long a task may go on without word of the managers.
fn lease(context: &mut Context<'_>, deploy: Option<&Node>, path: &str) -> Option<Duration> {
    let node = deploy?.get("x-at-most-one").filter(|node| !node.is_zero())?;
    if let Some(on) = node.as_bool() {
        return on.then_some(LEASE_DEFAULT);
    }
    let text = node.scalar_text().unwrap_or_default();
    let lease = units::duration(&text).filter(|lease| !lease.is_zero());
    if lease.is_none() {
        let message = format!("must be true, false or a duration such as 30s, this is \"{}\"", brief(&text));
        context.report.error(node.pos, path, message);
    }
    lease
}

fn mode(context: &mut Context<'_>, deploy: Option<&Node>, at: &str) -> ServiceMode {
    let replicas = count(deploy, "replicas");
    let node = deploy.and_then(|deploy| deploy.get("mode"));
    let words = [("replicated", 0u8), ("global", 1), ("replicated-job", 2), ("global-job", 3)];
    let mode = word(context, node, &join(at, "mode"), &words);
    if matches!(mode, 1 | 3)
        && let Some(node) = deploy.and_then(|deploy| deploy.get("replicas"))
    {
        let message = "a global service runs one task on each node; remove replicas, or use mode: replicated";
        context.report.error(node.pos, &join(at, "replicas"), message);
    }
    let wanted = replicas.unwrap_or(1);
    match mode {
        1 => ServiceMode::Global,
        2 => ServiceMode::ReplicatedJob { max_concurrent: wanted, total_completions: wanted },
        3 => ServiceMode::GlobalJob,
        _ => ServiceMode::Replicated { replicas: wanted },
    }
}

fn resources(context: &mut Context<'_>, node: Option<&Node>, at: &str) -> ResourceRequirements {
    let limits = node.and_then(|node| node.get("limits"));
    let reservations = node.and_then(|node| node.get("reservations"));
    let generic = reservations.and_then(|node| node.get("generic_resources")).map_or(&[][..], Node::items).iter();
    let generic = generic.filter_map(|item| item.get("discrete_resource_spec"));
    let generic = generic.map(|item| (text(item, "kind"), item.get("value").and_then(Node::as_int).unwrap_or(0)));
    ResourceRequirements {
        limit_nano_cpus: cpus(context, limits, &join(at, "limits")),
        limit_memory_bytes: memory(limits),
        limit_pids: limits.and_then(|node| node.get("pids")).and_then(Node::as_int).unwrap_or(0),
        reservations: Resources {
            nano_cpus: cpus(context, reservations, &join(at, "reservations")),
            memory_bytes: memory(reservations),
            generic: generic.collect(),
            ..Resources::default()
        },
    }
}

fn cpus(context: &mut Context<'_>, node: Option<&Node>, at: &str) -> i64 {
    let Some(node) = node.and_then(|node| node.get("cpus")).filter(|node| !node.is_zero()) else { return 0 };
    let text = node.as_text().unwrap_or_default();
    units::nano_cpus(text).unwrap_or_else(|| {
        let message = format!("must be a number of processors such as 0.5, this is \"{}\"", brief(text));
        context.report.error(node.pos, &join(at, "cpus"), message);
        0
    })
}

fn memory(node: Option<&Node>) -> i64 {
    node.and_then(|node| node.get("memory")).and_then(Node::as_text).and_then(units::bytes).unwrap_or(0)
}

/// `deploy.restart_policy`, else what `restart` says, as docker takes it.
fn restart(context: &mut Context<'_>, node: &Node, deploy: Option<&Node>, path: &str, is_job: bool) -> RestartPolicy {
    let short = node.get("restart").filter(|restart| !restart.is_zero());
    let unless_said = if is_job { RestartCondition::OnFailure } else { RestartCondition::Any };
    let default = RestartPolicy { condition: unless_said, ..RestartPolicy::default() };
    if let Some(policy) = deploy.and_then(|deploy| deploy.get("restart_policy")) {
        let at = join(path, "deploy.restart_policy");
        if let Some(short) = short {
            context.report.warn(short.pos, &join(path, "restart"), "ignored; deploy.restart_policy is there and wins");
        }
        let words = [
            ("any", RestartCondition::Any),
            ("on-failure", RestartCondition::OnFailure),
            ("none", RestartCondition::None),
        ];
        return RestartPolicy {
            condition: match policy.get("condition").filter(|condition| !condition.is_zero()) {
                Some(condition) => word(context, Some(condition), &join(&at, "condition"), &words),
                None => unless_said,
            },
            delay: duration(Some(policy), "delay").unwrap_or(default.delay),
            max_attempts: count(Some(policy), "max_attempts").unwrap_or(default.max_attempts),
            window: duration(Some(policy), "window").unwrap_or(default.window),
            backoff_max: duration(Some(policy), "x-backoff-max").unwrap_or(default.backoff_max),
        };
    }
    let Some(short) = short else { return default };
    let text = short.as_text().unwrap_or_default();
    let (name, attempts) = text.split_once(':').unwrap_or((text, ""));
    let attempts = if attempts.is_empty() { Some(0) } else { attempts.parse().ok() };
    match (name, attempts) {
        ("no", Some(0)) => RestartPolicy { condition: RestartCondition::None, ..default },
        ("always" | "unless-stopped", Some(0)) => RestartPolicy { condition: RestartCondition::Any, ..default },
        ("on-failure", Some(max_attempts)) => {
            RestartPolicy { condition: RestartCondition::OnFailure, max_attempts, ..default }
        }
        _ => {
            let message =
                "must be no, always, unless-stopped, on-failure or on-failure:N; better use deploy.restart_policy";
            context.report.error(short.pos, &join(path, "restart"), message);
            default
        }
    }
}

fn placement(context: &mut Context<'_>, node: Option<&Node>, at: &str) -> Placement {
    let Some(node) = node else { return Placement::default() };
    for (index, item) in node.get("constraints").map_or(&[][..], Node::items).iter().enumerate() {
        if let Err(bad) = Constraint::parse(item.as_text().unwrap_or_default()) {
            context.report.error(item.pos, &format!("{at}.constraints[{index}]"), bad.to_string());
        }
    }
    let preferences = node.get("preferences").map_or(&[][..], Node::items).iter();
    if let Some(spread) =
        preferences.clone().filter_map(|item| item.get("spread")).find(|n| n.as_text() == Some("node.id"))
    {
        let message = "node.id has no effect: tasks are spread over the nodes anyway";
        context.report.warn(spread.pos, &join(at, "preferences"), message);
    }
    Placement {
        constraints: texts(node, "constraints"),
        spread: preferences.map(|item| text(item, "spread")).filter(|spread| !spread.is_empty()).collect(),
        max_replicas_per_node: count(Some(node), "max_replicas_per_node").unwrap_or(0),
        platforms: Vec::new(),
        priority: 0,
    }
}

/// `linux/arm64`, `linux/arm/v7`, `linux` or `arm64`: the nodes a service may run on. An image of the node's own kind is
/// taken there, so a variant decides nothing.
fn platform(context: &mut Context<'_>, node: Option<&Node>, at: &str) -> Option<Platform> {
    let node = node.filter(|node| !node.is_zero())?;
    let text = node.as_text().unwrap_or_default().to_ascii_lowercase();
    let parts: Vec<&str> = text.split('/').collect();
    let word = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    let (os, architecture, variant) = match parts[..] {
        [os @ ("linux" | "windows")] => (os, "", None),
        [architecture] => ("", architecture, None),
        [os, architecture] => (os, architecture, None),
        [os, architecture, variant] => (os, architecture, Some(variant)),
        _ => ("", "", None),
    };
    if parts.len() > 3 || !parts.iter().all(word) {
        context.report.error(
            node.pos,
            at,
            format!("must be a platform such as linux/arm64, this is \"{}\"", brief(&text)),
        );
        return None;
    }
    if let Some(variant) = variant.filter(|variant| (architecture, *variant) != ("arm64", "v8")) {
        context.report.warn(
            node.pos,
            at,
            format!("the variant {} is not looked at when a node is chosen", brief(variant)),
        );
    }
    Some(Platform { os: os.to_owned(), architecture: architecture.to_owned() })
}

/// Ours: who goes first when there is not room for all.
fn priority(context: &mut Context<'_>, node: Option<&Node>, at: &str) -> i32 {
    let Some((node, number)) = node.and_then(|node| Some((node, node.as_int()?))) else { return 0 };
    i32::try_from(number).unwrap_or_else(|_| {
        context.report.error(node.pos, at, format!("must be {} to {}, this is {number}", i32::MIN, i32::MAX));
        0
    })
}

fn log_driver(context: &mut Context<'_>, node: Option<&Node>, at: &str) -> Option<LogDriver> {
    let node = node.filter(|node| !node.is_zero())?;
    let name = text(node, "driver");
    if !LOG_DRIVERS.contains(&name.as_str()) {
        let pos = node.get("driver").map_or(node.pos, |driver| driver.pos);
        let message = format!("the log driver {} is not supported; use json-file or local", brief(&name));
        context.report.error(pos, &join(at, "driver"), message);
    }
    Some(LogDriver { name, options: pairs(node.get("options")) })
}

fn update(context: &mut Context<'_>, node: Option<&Node>, at: &str) -> Option<UpdateConfig> {
    let node = node?;
    let default = UpdateConfig::default();
    let actions =
        [("pause", FailureAction::Pause), ("continue", FailureAction::Continue), ("rollback", FailureAction::Rollback)];
    let ratio = node.get("max_failure_ratio");
    let max_failure_ratio = ratio.and_then(Node::as_float).unwrap_or(0.0);
    if let Some(ratio) = ratio.filter(|_| !(0.0..=1.0).contains(&max_failure_ratio)) {
        context.report.error(ratio.pos, &join(at, "max_failure_ratio"), "must be between 0 and 1");
    }
    let canary = count(Some(node), "x-canary").unwrap_or(default.canary);
    let canary_promote_after = duration(Some(node), "x-canary-promote-after").filter(|after| !after.is_zero());
    if let Some(after) = node.get("x-canary-promote-after").filter(|_| canary == 0 && canary_promote_after.is_some()) {
        context.report.error(after.pos, &join(at, "x-canary-promote-after"), "needs x-canary, of at least 1");
    }
    Some(UpdateConfig {
        parallelism: count(Some(node), "parallelism").unwrap_or(default.parallelism),
        delay: duration(Some(node), "delay").unwrap_or(default.delay),
        failure_action: word(context, node.get("failure_action"), &join(at, "failure_action"), &actions),
        monitor: duration(Some(node), "monitor").filter(|monitor| !monitor.is_zero()).unwrap_or(default.monitor),
        max_failure_ratio: max_failure_ratio as f32,
        order: match text(node, "order").as_str() {
            "start-first" => UpdateOrder::StartFirst,
            _ => UpdateOrder::StopFirst,
        },
        canary,
        canary_promote_after,
    })
}

fn ports(node: &Node) -> Vec<PortConfig> {
    let port = |node: &Node, key| node.get(key).and_then(Node::as_int).and_then(|port| u16::try_from(port).ok());
    let items = node.get("ports").map_or(&[][..], Node::items).iter();
    items
        .map(|item| PortConfig {
            name: text(item, "name"),
            protocol: match text(item, "protocol").as_str() {
                "udp" => Protocol::Udp,
                "sctp" => Protocol::Sctp,
                _ => Protocol::Tcp,
            },
            target_port: port(item, "target").unwrap_or(0),
            published_port: port(item, "published").unwrap_or(0),
            mode: if text(item, "mode") == "host" { PublishMode::Host } else { PublishMode::Ingress },
            host_ip: text(item, "host_ip").parse().ok(),
        })
        .collect()
}

/// The API's defaults. What is missing or too much is told by the checks every service goes through.
fn autoscale(node: &Node) -> Autoscale {
    let number = |key| count(Some(node), key);
    let small = |key| number(key).map_or(0, |number| u32::try_from(number).unwrap_or(u32::MAX));
    Autoscale {
        min: number("min").unwrap_or(1),
        max: number("max").unwrap_or(0),
        cpu_percent: small("cpu_percent"),
        memory_percent: small("memory_percent"),
        requests_per_second: small("requests_per_second"),
        window: duration(Some(node), "window").unwrap_or(AUTOSCALE_WINDOW_DEFAULT),
        scale_down_delay: duration(Some(node), "scale_down_delay").unwrap_or(AUTOSCALE_DELAY_DEFAULT),
    }
}

/// The networks a service is in; without any, the stack's default one.
fn attachments(context: &mut Context<'_>, entry: &Entry, path: &str) -> Vec<Attachment> {
    let written = entry.node.get("networks").map_or(&[][..], Node::entries);
    let mut out = Vec::new();
    if written.is_empty() {
        out.push(attachment(context, "default", None, &entry.key));
    }
    for network in written {
        let at = format!("{path}.networks.{}", network.key);
        if network.key != "default" && context.declared("networks", &network.key, &network.node, &at).is_none() {
            continue;
        }
        out.push(attachment(context, &network.key, Some(&network.node), &entry.key));
    }
    out.sort_by(|a, b| a.network.cmp(&b.network));
    out
}

fn attachment(context: &mut Context<'_>, key: &str, node: Option<&Node>, service: &str) -> Attachment {
    context.used_networks.insert(key.to_owned());
    let network = context.full_name("networks", key);
    let mut aliases = node.map(|node| texts(node, "aliases")).unwrap_or_default();
    // The names of the host's own networks take no aliases.
    if !["host", "none", "bridge"].contains(&network.as_str()) {
        aliases.push(service.to_owned());
    }
    Attachment { network, aliases, driver_options: pairs(node.and_then(|node| node.get("driver_opts"))) }
}

fn file_uses(context: &mut Context<'_>, node: &Node, section: &'static str, path: &str) -> Vec<FileUse> {
    let mut out = Vec::new();
    for (index, item) in node.get(section).map_or(&[][..], Node::items).iter().enumerate() {
        let source = text(item, "source");
        let at = format!("{path}.{section}[{index}]");
        if context.declared(section, &source, item, &at).is_none() {
            continue;
        }
        let used = if section == "secrets" { &mut context.used_secrets } else { &mut context.used_configs };
        used.insert(source.clone());
        let or =
            |key: &str, default: &str| Some(text(item, key)).filter(|t| !t.is_empty()).unwrap_or(default.to_owned());
        let mode = count(Some(item), "mode").and_then(|mode| u32::try_from(mode).ok());
        let file = FileTarget {
            name: or("target", &source),
            uid: or("uid", "0"),
            gid: or("gid", "0"),
            mode: mode.unwrap_or(FILE_MODE_DEFAULT),
        };
        out.push(FileUse { name: context.full_name(section, &source), file });
    }
    out.sort_by(|a, b| a.name.cmp(&b.name));
    out
}
