//! The container part of a service: process, environment, files, health, limits.
//!
//! Called by `service` with trees in canonical form.

use super::interpolate::join;
use super::parse::brief;
use super::service::{count, duration, flag, pairs, text, texts};
use super::stack::Context;
use super::value::Node;
use super::{units, words};
use crate::model::{ContainerSpec, DnsConfig, HealthConfig, Mount, MountSource, Probe, ProbeAction, Ulimit};
use std::collections::BTreeSet;
use std::net::IpAddr;

pub(crate) fn container(context: &mut Context<'_>, node: &Node, path: &str) -> ContainerSpec {
    let mut mounts = mounts(context, node, path);
    mounts.extend(tmpfs(context, node, path));
    ContainerSpec {
        image: image(&text(node, "image")),
        labels: context.labels(node.get("labels")),
        command: texts(node, "entrypoint"),
        args: texts(node, "command"),
        hostname: text(node, "hostname"),
        env: environment(node),
        dir: text(node, "working_dir"),
        user: text(node, "user"),
        groups: texts(node, "group_add"),
        tty: flag(node, "tty"),
        open_stdin: flag(node, "stdin_open"),
        read_only: flag(node, "read_only"),
        mounts,
        stop_signal: text(node, "stop_signal"),
        stop_grace_period: duration(Some(node), "stop_grace_period"),
        health_check: node
            .get("healthcheck")
            .and_then(|health| self::health(context, health, &join(path, "healthcheck"))),
        hosts: hosts(context, node, path),
        dns: DnsConfig {
            nameservers: nameservers(context, node, path),
            search: texts(node, "dns_search"),
            options: texts(node, "dns_opt"),
        },
        secrets: Vec::new(),
        configs: Vec::new(),
        init: node.get("init").and_then(Node::as_bool),
        sysctls: pairs(node.get("sysctls")),
        cap_add: capabilities(texts(node, "cap_add")),
        cap_drop: capabilities(texts(node, "cap_drop")),
        ulimits: ulimits(context, node, path),
        oom_score_adj: oom_score(context, node, path),
        privileged: flag(node, "privileged"),
        shm_size_bytes: shm_size(context, node, path),
        readiness: probe(context, node, path, "x-readiness"),
        liveness: probe(context, node, path, "x-liveness"),
        pull_auth: None,
    }
}

/// The reference as docker keeps it in a service: without the default registry, with the default tag.
fn image(written: &str) -> String {
    let short = ["docker.io/", "index.docker.io/"].iter().find_map(|registry| written.strip_prefix(registry));
    let mut image = short.unwrap_or(written);
    if let Some(official) = image.strip_prefix("library/").filter(|rest| !rest.contains('/')) {
        image = official;
    }
    let tagged = image.rsplit('/').next().is_some_and(|last| last.contains(':'));
    if image.is_empty() || tagged || image.contains('@') { image.to_owned() } else { format!("{image}:latest") }
}

/// `net_admin` and `CAP_NET_ADMIN` are one: docker keeps the long form, each once.
fn capabilities(written: Vec<String>) -> Vec<String> {
    let long = written.iter().map(|name| match name.to_ascii_uppercase() {
        name if name == "ALL" || name.starts_with("CAP_") => name,
        name => format!("CAP_{name}"),
    });
    long.collect::<BTreeSet<_>>().into_iter().collect()
}

fn environment(node: &Node) -> Vec<String> {
    let entries = node.get("environment").map_or(&[][..], Node::entries).iter();
    let mut env: Vec<String> = entries
        .map(|entry| match entry.node.as_text() {
            Some(value) => format!("{}={value}", entry.key),
            None => entry.key.clone(),
        })
        .collect();
    env.sort();
    env
}

fn health(context: &mut Context<'_>, node: &Node, at: &str) -> Option<HealthConfig> {
    let mut test = texts(node, "test");
    if flag(node, "disable") {
        if !test.is_empty() {
            context.report.error(node.pos, at, "both test and disable are given; remove one");
        }
        test = vec!["NONE".to_owned()];
    }
    if let Some(first) = test.first()
        && !["NONE", "CMD", "CMD-SHELL"].contains(&first.as_str())
    {
        let pos = node.get("test").map_or(node.pos, |test| test.pos);
        context.report.error(pos, &join(at, "test"), "a list must begin with CMD, CMD-SHELL or NONE");
    }
    let retries = node.get("retries").and_then(Node::as_int);
    Some(HealthConfig {
        test,
        interval: duration(Some(node), "interval"),
        timeout: duration(Some(node), "timeout"),
        retries: retries.and_then(|retries| u32::try_from(retries).ok()),
        start_period: duration(Some(node), "start_period"),
        start_interval: duration(Some(node), "start_interval"),
    })
}

/// `deploy.x-readiness` or `deploy.x-liveness`: like `healthcheck`, with a probe for its test.
fn probe(context: &mut Context<'_>, node: &Node, path: &str, key: &str) -> Option<Probe> {
    let probe = node.get("deploy")?.get(key)?;
    let at = join(path, &format!("deploy.{key}"));
    let action = match &texts(probe, "test")[..] {
        [text] => ProbeAction::parse(text, |line| words::split(line).ok()),
        [kind, command @ ..] if kind == "CMD" => Ok(ProbeAction::Exec { command: command.to_vec() }),
        [] => Err("name what to probe: http://:PORT/PATH, tcp://:PORT or exec:COMMAND".to_owned()),
        [_, ..] => Err("a list must begin with CMD; for a port write http://:PORT/PATH or tcp://:PORT".to_owned()),
    };
    let action = match action {
        Ok(action) => action,
        Err(message) => {
            let pos = probe.get("test").map_or(probe.pos, |test| test.pos);
            context.report.error(pos, &join(&at, "test"), message);
            return None;
        }
    };
    let default = Probe::of(action);
    let count = |key: &str| count(Some(probe), key).map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    Some(Probe {
        interval: duration(Some(probe), "interval").unwrap_or(default.interval),
        timeout: duration(Some(probe), "timeout").unwrap_or(default.timeout),
        failures: count("retries").unwrap_or(default.failures),
        successes: count("successes").unwrap_or(default.successes),
        start_period: duration(Some(probe), "start_period").unwrap_or_default(),
        action: default.action,
    })
}

/// `name:address` as a line of /etc/hosts.
fn hosts(context: &mut Context<'_>, node: &Node, path: &str) -> Vec<String> {
    let mut out = Vec::new();
    for (index, item) in node.get("extra_hosts").map_or(&[][..], Node::items).iter().enumerate() {
        let text = item.as_text().unwrap_or_default();
        let (name, address) = text.split_once(':').unwrap_or((text, ""));
        if name.is_empty() || address.parse::<IpAddr>().is_err() {
            let message = format!("must be NAME:ADDRESS with an IP address, this is \"{}\"", brief(text));
            context.report.error(item.pos, &format!("{path}.extra_hosts[{index}]"), message);
            continue;
        }
        out.push(format!("{address} {name}"));
    }
    out
}

fn nameservers(context: &mut Context<'_>, node: &Node, path: &str) -> Vec<IpAddr> {
    let items = node.get("dns").map_or(&[][..], Node::items).iter().enumerate();
    let mut out = Vec::new();
    for (index, item) in items {
        let at = format!("{path}.dns[{index}]");
        out.extend(super::service::parsed::<IpAddr>(context, Some(item), &at, "an IP address"));
    }
    out
}

/// Sorted by name, so that the order in the file makes no new tasks.
fn ulimits(context: &mut Context<'_>, node: &Node, path: &str) -> Vec<Ulimit> {
    let mut out = Vec::new();
    for entry in node.get("ulimits").map_or(&[][..], Node::entries) {
        if !entry.key.bytes().all(|b| b.is_ascii_lowercase()) {
            let message = "unknown limit; it is a name of getrlimit(2) in small letters, such as nofile";
            context.report.error(entry.pos, &format!("{path}.ulimits.{}", brief(&entry.key)), message);
        }
        let limit = |key| entry.node.get(key).unwrap_or(&entry.node).as_int().unwrap_or(0);
        out.push(Ulimit { name: entry.key.clone(), soft: limit("soft"), hard: limit("hard") });
    }
    out.sort_by(|a, b| a.name.cmp(&b.name));
    out
}

fn oom_score(context: &mut Context<'_>, node: &Node, path: &str) -> i32 {
    let Some(node) = node.get("oom_score_adj") else { return 0 };
    match node.as_int().and_then(|value| i32::try_from(value).ok()).filter(|value| (-1000..=1000).contains(value)) {
        Some(value) => value,
        None => {
            context.report.error(node.pos, &join(path, "oom_score_adj"), "must be between -1000 and 1000");
            0
        }
    }
}

fn shm_size(context: &mut Context<'_>, node: &Node, path: &str) -> u64 {
    let Some(node) = node.get("shm_size").filter(|node| !node.is_zero()) else { return 0 };
    match node.as_text().and_then(units::bytes) {
        Some(size) => u64::try_from(size).unwrap_or(0),
        None => {
            context.report.error(node.pos, &join(path, "shm_size"), "must be a size such as 64m");
            0
        }
    }
}

fn mounts(context: &mut Context<'_>, node: &Node, path: &str) -> Vec<Mount> {
    let mut out = Vec::new();
    for (index, item) in node.get("volumes").map_or(&[][..], Node::items).iter().enumerate() {
        out.extend(mount(context, item, &format!("{path}.volumes[{index}]")));
    }
    out
}

fn mount(context: &mut Context<'_>, item: &Node, at: &str) -> Option<Mount> {
    let kind = text(item, "type");
    let target = text(item, "target");
    if !target.starts_with('/') {
        context.report.error(item.pos, at, "the target must be an absolute path in the container");
        return None;
    }
    for option in ["bind", "volume", "tmpfs"] {
        if option != kind && item.get(option).is_some_and(|options| !options.is_zero()) {
            context.report.error(item.pos, at, format!("{option} options do not go with type: {kind}"));
            return None;
        }
    }
    let source = text(item, "source");
    let options = item.get(&kind);
    let source = match kind.as_str() {
        "volume" => volume(context, &source, item, options, at)?,
        "bind" => MountSource::Bind {
            path: source,
            propagation: options.map(|options| text(options, "propagation")).unwrap_or_default(),
            create: options.is_some_and(|options| flag(options, "create_host_path")),
        },
        "tmpfs" if !source.is_empty() => {
            context.report.error(item.pos, at, "a tmpfs has no source; remove it");
            return None;
        }
        "tmpfs" => MountSource::Tmpfs {
            size_bytes: super::service::count(options, "size").unwrap_or(0),
            mode: super::service::count(options, "mode").and_then(|mode| u32::try_from(mode).ok()).unwrap_or(0),
        },
        kind => {
            context.report.error(
                item.pos,
                at,
                format!("mounts of type {kind} are not supported; use volume, bind or tmpfs"),
            );
            return None;
        }
    };
    Some(Mount { target, source, read_only: flag(item, "read_only") })
}

fn volume(
    context: &mut Context<'_>,
    source: &str,
    item: &Node,
    options: Option<&Node>,
    at: &str,
) -> Option<MountSource> {
    let no_copy = options.is_some_and(|options| flag(options, "nocopy"));
    let subpath = options.map(|options| text(options, "subpath")).unwrap_or_default();
    if source.is_empty() {
        return Some(MountSource::Volume {
            name: String::new(),
            driver: String::new(),
            driver_options: Default::default(),
            labels: Default::default(),
            no_copy,
            subpath,
        });
    }
    let declared = context.declared("volumes", source, item, at)?.clone();
    let external = flag(&declared, "external");
    Some(MountSource::Volume {
        name: context.full_name("volumes", source),
        driver: if external { String::new() } else { text(&declared, "driver") },
        driver_options: if external { Default::default() } else { pairs(declared.get("driver_opts")) },
        labels: if external { Default::default() } else { context.labels(declared.get("labels")) },
        no_copy,
        subpath,
    })
}

/// `tmpfs:` of a service: `/path` or `/path:size=64m,mode=1777,ro`.
fn tmpfs(context: &mut Context<'_>, node: &Node, path: &str) -> Vec<Mount> {
    let mut out = Vec::new();
    for (index, item) in node.get("tmpfs").map_or(&[][..], Node::items).iter().enumerate() {
        let at = format!("{path}.tmpfs[{index}]");
        let text = item.as_text().unwrap_or_default();
        let (target, options) = text.split_once(':').unwrap_or((text, ""));
        let (mut size_bytes, mut mode, mut read_only) = (0, 0, false);
        for option in options.split(',').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let good = match name {
                "size" => units::bytes(value).map(|size| size_bytes = size.max(0) as u64).is_some(),
                "mode" => u32::from_str_radix(value, 8).map(|octal| mode = octal).is_ok(),
                "ro" => {
                    read_only = true;
                    true
                }
                "rw" | "noexec" | "nosuid" | "nodev" => true,
                name => {
                    context.report.warn(item.pos, &at, format!("the option {} is ignored", brief(name)));
                    true
                }
            };
            if !good {
                context.report.error(item.pos, &at, format!("\"{}\" is no {name}", brief(value)));
            }
        }
        if !target.starts_with('/') {
            context.report.error(item.pos, &at, "must be an absolute path in the container");
            continue;
        }
        out.push(Mount { target: target.to_owned(), source: MountSource::Tmpfs { size_bytes, mode }, read_only });
    }
    out
}
