//! Short forms of ports and volumes, made long.
//!
//! Called by `normal`. The forms are those of the Compose specification ("ports", "volumes: short syntax").

use super::normal::Normal;
use super::parse::brief;
use super::schema;
use super::value::{Map, Node, Pos, Value};
use std::net::IpAddr;

/// Most ports one service may publish: what ranges expand to.
const PORTS_MAX: usize = 10_000;

const PROPAGATIONS: [&str; 6] = ["private", "rprivate", "shared", "rshared", "slave", "rslave"];

/// `ports:` of a service.
pub(crate) fn ports(normal: &mut Normal<'_>, node: Node, path: &str) -> Option<Node> {
    let Value::List(items) = node.value else {
        return normal.wrong(&node, path, "a list");
    };
    let mut out = Vec::new();
    for (index, item) in items.into_iter().enumerate() {
        let here = format!("{path}[{index}]");
        if item.as_map().is_some() {
            out.extend(long_ports(normal, item, &here)?);
        } else if let Some(text) = item.scalar_text() {
            match short_ports(&text) {
                Ok(ports) => out.extend(ports.iter().map(|port| port.node(item.pos))),
                Err(why) => {
                    normal.report.error(item.pos, &here, format!("\"{}\": {why}", brief(&text)));
                    return None;
                }
            }
        } else {
            return normal.wrong(&item, &here, "a port, a string such as \"8080:80\", or a mapping");
        }
        if out.len() > PORTS_MAX {
            normal.report.error(node.pos, path, format!("more than {PORTS_MAX} ports"));
            return None;
        }
    }
    Some(Node::new(node.pos, Value::List(out)))
}

/// The Compose specification writes the published port as a string, which may be a range: each port of it is one, as in
/// the short form.
fn long_ports(normal: &mut Normal<'_>, mut item: Node, here: &str) -> Option<Vec<Node>> {
    let written = item.get("published").and_then(Node::as_text).map(str::to_owned);
    let Some(written) = written else { return Some(vec![long_port(normal, item, here)?]) };
    let entry = item.as_map_mut()?.0.iter_mut().find(|entry| entry.key == "published")?;
    let (first, last) = match written.as_str() {
        "" => (0, 0),
        text => match range(text) {
            Ok(range) => range,
            Err(why) => {
                normal.report.error(entry.node.pos, &format!("{here}.published"), why);
                return None;
            }
        },
    };
    entry.node.value = Value::Int(i64::from(first));
    let port = long_port(normal, item, here)?;
    let published = |number: u16| {
        let mut port = port.clone();
        if let Some(node) = port.as_map_mut().and_then(|map| map.get_mut("published")) {
            node.value = Value::Int(i64::from(number));
        }
        port
    };
    Some((first..=last).map(published).collect())
}

fn long_port(normal: &mut Normal<'_>, item: Node, here: &str) -> Option<Node> {
    let item = normal.object(schema::PORT, item, here)?;
    for key in ["target", "published"] {
        if let Some(port) = item.get(key)
            && !(0..=i64::from(u16::MAX)).contains(&port.as_int().unwrap_or(-1))
        {
            normal.report.error(port.pos, &format!("{here}.{key}"), "a port is at most 65535");
            return None;
        }
    }
    if item.get("target").is_none_or(Node::is_zero) {
        normal.report.error(item.pos, here, "target, the port in the container, is missing");
        return None;
    }
    if let Some(ip) = item.get("host_ip").filter(|ip| !ip.is_zero())
        && ip.as_text().is_none_or(|text| text.parse::<IpAddr>().is_err())
    {
        normal.report.error(ip.pos, &format!("{here}.host_ip"), "must be an IP address");
        return None;
    }
    Some(item)
}

#[derive(Debug, PartialEq)]
struct Port {
    host_ip: Option<IpAddr>,
    published: Option<u16>,
    target: u16,
    protocol: String,
}

impl Port {
    fn node(&self, pos: Pos) -> Node {
        let mut map = Map::default();
        map.put("mode", pos, Node::text(pos, "ingress"));
        if let Some(ip) = self.host_ip {
            map.put("host_ip", pos, Node::text(pos, ip.to_string()));
        }
        map.put("target", pos, Node::new(pos, Value::Int(i64::from(self.target))));
        if let Some(published) = self.published {
            map.put("published", pos, Node::new(pos, Value::Int(i64::from(published))));
        }
        map.put("protocol", pos, Node::text(pos, self.protocol.clone()));
        Node::new(pos, Value::Map(map))
    }
}

fn range(text: &str) -> Result<(u16, u16), String> {
    let port = |text: &str| match text.parse::<u16>() {
        Ok(port) if text.bytes().all(|b| b.is_ascii_digit()) => Ok(port),
        Ok(_) | Err(_) => Err(format!("\"{}\" is no port; a port is a number up to 65535", brief(text))),
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return Err("the range ends before it begins".to_owned());
    }
    Ok((first, last))
}

/// `[[IP:][PUBLISHED[-LAST]]:]TARGET[-LAST][/PROTOCOL]`. In docker's order: by target as text, then by published port.
fn short_ports(text: &str) -> Result<Vec<Port>, String> {
    let (rest, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err("the protocol must be tcp, udp or sctp".to_owned());
    }
    let (rest, target) = rest.rsplit_once(':').unwrap_or(("", rest));
    let target = range(target)?;
    if target.0 == 0 {
        return Err("port 0 is no port of a container".to_owned());
    }
    let (address, published) = if rest.starts_with('[') || rest.contains(':') {
        rest.rsplit_once(':').ok_or("expected ADDRESS:PUBLISHED:TARGET")?
    } else {
        ("", rest)
    };
    let host_ip = match address.trim_start_matches('[').trim_end_matches(']') {
        "" => None,
        address => Some(address.parse().map_err(|_| format!("\"{}\" is no IP address", brief(address)))?),
    };
    let published = if published.is_empty() { None } else { Some(range(published)?) };
    let targets = target.0..=target.1;
    let port = |published, target| Port { host_ip, published, target, protocol: protocol.clone() };
    let mut ports: Vec<Port> = match published {
        None => targets.map(|target| port(None, target)).collect(),
        Some((first, last)) if target.0 == target.1 => {
            (first..=last).map(|published| port(Some(published), target.0)).collect()
        }
        Some((first, last)) if last - first == target.1 - target.0 => {
            (first..=last).zip(targets).map(|(published, target)| port(Some(published), target)).collect()
        }
        Some(_) => return Err("both ranges must have the same length".to_owned()),
    };
    ports.sort_by_key(|port| port.target.to_string());
    Ok(ports)
}

/// `volumes:` of a service.
pub(crate) fn volumes(normal: &mut Normal<'_>, node: Node, path: &str) -> Option<Node> {
    let Value::List(items) = node.value else {
        return normal.wrong(&node, path, "a list");
    };
    let mut out = Vec::new();
    for (index, item) in items.into_iter().enumerate() {
        let here = format!("{path}[{index}]");
        let mount = match item.as_text().map(str::to_owned) {
            Some(text) => short_volume(normal, &text, item.pos, &here)?,
            None => normal.object(schema::MOUNT, item, &here)?,
        };
        out.push(check_mount(normal, mount, &here)?);
    }
    Some(Node::new(node.pos, Value::List(out)))
}

fn check_mount(normal: &mut Normal<'_>, mount: Node, here: &str) -> Option<Node> {
    let text = |key| mount.get(key).and_then(Node::as_text).unwrap_or_default();
    let wrong = match text("type") {
        "" => Some("type is missing; it is one of volume, bind, tmpfs"),
        "bind" if text("source").is_empty() => Some("source, the path on the host, is missing"),
        "bind" | "volume" | "tmpfs" | "cluster" | "npipe" => None,
        "image" => Some("mounts of images are not supported; use volume, bind or tmpfs"),
        _ => Some("type must be one of volume, bind, tmpfs"),
    };
    match wrong {
        Some(message) => {
            normal.report.error(mount.pos, here, message);
            None
        }
        None => Some(mount),
    }
}

/// Splits at colons, but not after the drive letter of a Windows path (`C:\data:C:\data`).
fn sections(text: &str) -> Vec<&str> {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut start = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let drive = at == start + 1 && bytes[start].is_ascii_alphabetic() && bytes.get(at + 1) == Some(&b'\\');
        if *byte == b':' && !drive {
            out.push(&text[start..at]);
            start = at + 1;
        }
    }
    out.push(&text[start..]);
    out
}

fn is_path(source: &str) -> bool {
    let bytes = source.as_bytes();
    let windows = bytes.len() > 1 && bytes[0].is_ascii_alphabetic() && bytes[1] == b':';
    windows || source.starts_with(['.', '/', '~'])
}

/// `[SOURCE:]TARGET[:OPTIONS]`.
fn short_volume(normal: &mut Normal<'_>, text: &str, pos: Pos, here: &str) -> Option<Node> {
    let sections = sections(text);
    if sections.len() > 3 || sections.iter().any(|section| section.is_empty()) {
        let message = format!("\"{}\" is no volume; write SOURCE:TARGET or SOURCE:TARGET:ro", brief(text));
        normal.report.error(pos, here, message);
        return None;
    }
    let (source, target) = match sections.as_slice() {
        [target] => ("", *target),
        [source, target, ..] => (*source, *target),
        [] => return None,
    };
    let kind = if !source.is_empty() && is_path(source) { "bind" } else { "volume" };
    let mut map = Map::default();
    map.put("type", pos, Node::text(pos, kind));
    if !source.is_empty() {
        map.put("source", pos, Node::text(pos, source));
    }
    map.put("target", pos, Node::text(pos, target));
    let flag = || Node::new(pos, Value::Bool(true));
    for option in sections.get(2).map(|options| options.split(',')).into_iter().flatten() {
        match option {
            "ro" => map.put("read_only", pos, flag()),
            "rw" => {}
            "nocopy" => map.put("volume", pos, super::normal::single("nocopy", flag())),
            option if PROPAGATIONS.contains(&option) => {
                map.put("bind", pos, super::normal::single("propagation", Node::text(pos, option)));
            }
            option => normal.report.warn(pos, here, format!("the option {} is ignored", brief(option))),
        }
    }
    Some(Node::new(pos, Value::Map(map)))
}
