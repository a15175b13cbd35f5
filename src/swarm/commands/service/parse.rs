//! Values of flags that are more than a word: ports, mounts, networks, secrets, files of variables.

use crate::error::{CliError, Result};
use crate::json::{object_mut, set, set_some};
use crate::units::parse_bytes;
use serde_json::{Value, json};
use std::path::Path;

/// Widest range of ports in one flag; each becomes an entry of the service.
const RANGE_MAX: u16 = 1000;

/// `KEY=VALUE,KEY,...` with quotes around values that hold commas, as docker's long forms.
fn fields(text: &str) -> Vec<(String, Option<String>)> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => parts.push(String::new()),
            c => {
                if let Some(part) = parts.last_mut() {
                    part.push(c);
                }
            }
        }
    }
    let part = |part: String| match part.split_once('=') {
        Some((key, value)) => (key.trim().to_lowercase(), Some(value.to_owned())),
        None => (part.trim().to_lowercase(), None),
    };
    parts.into_iter().map(part).collect()
}

/// `[[IP:]PUBLISHED:]TARGET[/PROTOCOL]` or `published=..,target=..,protocol=..,mode=..`: ports of a service.
pub fn publish(text: &str) -> Result<Vec<Value>> {
    if text.contains('=') { long_publish(text) } else { short_publish(text) }
}

fn bad_port(text: &str, why: &str) -> CliError {
    CliError::hinted(
        format!("invalid publish value \"{text}\": {why}"),
        "use PUBLISHED:TARGET[/udp], or published=8080,target=80,mode=host",
    )
}

fn long_publish(text: &str) -> Result<Vec<Value>> {
    let mut port = json!({ "Protocol": "tcp", "PublishMode": "ingress" });
    for (key, value) in fields(text) {
        let value = value.ok_or_else(|| bad_port(text, &format!("{key} has no value")))?;
        let number = || value.parse::<u16>().map_err(|_| bad_port(text, &format!("{key} is no port")));
        match key.as_str() {
            "target" => set(&mut port, "/TargetPort", number()?),
            "published" => set(&mut port, "/PublishedPort", number()?),
            "protocol" => set(&mut port, "/Protocol", protocol(text, &value)?),
            "mode" if value == "ingress" || value == "host" => set(&mut port, "/PublishMode", value),
            "mode" => return Err(bad_port(text, "mode is ingress or host")),
            "host_ip" => set(&mut port, "/HostIP", value),
            other => return Err(bad_port(text, &format!("unknown field {other}"))),
        }
    }
    if port.get("TargetPort").is_none() {
        return Err(bad_port(text, "target is missing"));
    }
    Ok(vec![port])
}

fn protocol(text: &str, protocol: &str) -> Result<String> {
    match protocol.to_lowercase().as_str() {
        known @ ("tcp" | "udp" | "sctp") => Ok(known.to_owned()),
        other => Err(bad_port(text, &format!("protocol {other} is not tcp, udp or sctp"))),
    }
}

fn range(text: &str, part: &str) -> Result<(u16, u16)> {
    let number = |part: &str| match part.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        Ok(_) | Err(_) => Err(bad_port(text, &format!("\"{part}\" is no port"))),
    };
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    let (first, last) = (number(first)?, number(last)?);
    if last < first || last - first >= RANGE_MAX {
        return Err(bad_port(text, &format!("\"{part}\" is no range of at most {RANGE_MAX} ports")));
    }
    Ok((first, last))
}

fn short_publish(text: &str) -> Result<Vec<Value>> {
    let (ports, kind) = text.rsplit_once('/').unwrap_or((text, "tcp"));
    let kind = protocol(text, kind)?;
    let (left, target) = match ports.rsplit_once(':') {
        Some((left, target)) => (Some(left), target),
        None => (None, ports),
    };
    let target = range(text, target)?;
    let (host, published) = match left.map(|left| left.rsplit_once(':').unwrap_or(("", left))) {
        None => (None, None),
        Some(("", published)) => (None, Some(published)),
        Some((host, published)) => (Some(host.trim_start_matches('[').trim_end_matches(']')), Some(published)),
    };
    if let Some(host) = host {
        host.parse::<std::net::IpAddr>().map_err(|_| bad_port(text, &format!("{host} is no address")))?;
    }
    let published = published.filter(|part| !part.is_empty()).map(|part| range(text, part)).transpose()?;
    if published.is_some_and(|(first, last)| last - first != target.1 - target.0) {
        return Err(bad_port(text, "the two ranges differ in length"));
    }
    let port = |offset: u16| {
        let mut port = json!({ "Protocol": kind, "TargetPort": target.0 + offset, "PublishMode": "ingress" });
        set_some(&mut port, "/PublishedPort", published.map(|(first, _)| first + offset));
        set_some(&mut port, "/HostIP", host);
        port
    };
    Ok((0..=target.1 - target.0).map(port).collect())
}

fn is_true(value: Option<&str>) -> bool {
    matches!(value, None | Some("true" | "1" | "t" | "T" | "TRUE" | "True"))
}

/// `type=volume,source=..,target=..,...`: a mount.
pub fn mount(text: &str) -> Result<Value> {
    let bad = |why: &str| CliError::usage(format!("invalid mount \"{text}\": {why}"));
    let mut mount = json!({ "Type": "volume" });
    for (key, value) in fields(text) {
        let value = value.as_deref();
        let word = || value.filter(|value| !value.is_empty()).ok_or_else(|| bad(&format!("{key} has no value")));
        match key.as_str() {
            "type" => set(&mut mount, "/Type", word()?.to_lowercase()),
            "source" | "src" => set(&mut mount, "/Source", word()?),
            "target" | "dst" | "destination" => set(&mut mount, "/Target", word()?),
            "readonly" | "ro" => set(&mut mount, "/ReadOnly", is_true(value)),
            "consistency" => set(&mut mount, "/Consistency", word()?),
            "bind-propagation" => set(&mut mount, "/BindOptions/Propagation", word()?),
            "bind-nonrecursive" => set(&mut mount, "/BindOptions/NonRecursive", is_true(value)),
            "bind-recursive" => match word()? {
                "enabled" | "true" | "1" => {}
                "disabled" | "false" | "0" => set(&mut mount, "/BindOptions/NonRecursive", true),
                "writable" => set(&mut mount, "/BindOptions/ReadOnlyNonRecursive", true),
                "readonly" => set(&mut mount, "/BindOptions/ReadOnlyForceRecursive", true),
                _ => return Err(bad("bind-recursive is enabled, disabled, writable or readonly")),
            },
            "bind-create-src" => set(&mut mount, "/BindOptions/CreateMountpoint", is_true(value)),
            "volume-nocopy" => set(&mut mount, "/VolumeOptions/NoCopy", is_true(value)),
            "volume-subpath" => set(&mut mount, "/VolumeOptions/Subpath", word()?),
            "volume-driver" => set(&mut mount, "/VolumeOptions/DriverConfig/Name", word()?),
            "volume-opt" => option(&mut mount, "/VolumeOptions/DriverConfig/Options", word()?),
            "volume-label" => option(&mut mount, "/VolumeOptions/Labels", word()?),
            "tmpfs-size" => set(&mut mount, "/TmpfsOptions/SizeBytes", parse_bytes(word()?).map_err(|e| bad(&e))?),
            "tmpfs-mode" => {
                let mode = u32::from_str_radix(word()?, 8).map_err(|_| bad("tmpfs-mode is an octal number"))?;
                set(&mut mount, "/TmpfsOptions/Mode", mode);
            }
            other => return Err(bad(&format!("unexpected key '{other}'"))),
        }
    }
    if mount.get("Target").is_none() {
        return Err(bad("target is required"));
    }
    let kind = mount["Type"].as_str().unwrap_or("").to_owned();
    match kind.as_str() {
        "bind" if mount.get("Source").is_none() => Err(bad("source is required for a bind mount")),
        "tmpfs" if mount.get("Source").is_some() => Err(bad("a tmpfs has no source")),
        "bind" | "volume" | "tmpfs" => Ok(mount),
        other => Err(bad(&format!("type {other} is not bind, volume or tmpfs"))),
    }
}

fn option(value: &mut Value, path: &str, word: &str) {
    let (key, text) = word.split_once('=').unwrap_or((word, ""));
    object_mut(value, path).insert(key.to_owned(), Value::from(text));
}

/// A network as a flag names it: `NAME` or `name=NAME,alias=A,driver-opt=K=V`.
pub fn network(text: &str) -> Result<Value> {
    if !text.contains('=') {
        return Ok(json!({ "Target": text }));
    }
    let mut network = json!({});
    for (key, value) in fields(text) {
        let value = value.ok_or_else(|| CliError::usage(format!("invalid network \"{text}\": {key} has no value")))?;
        match key.as_str() {
            "name" => set(&mut network, "/Target", value),
            "alias" => crate::json::list_mut(&mut network, "/Aliases").push(Value::from(value)),
            "driver-opt" => option(&mut network, "/DriverOpts", &value),
            other => return Err(CliError::usage(format!("invalid network \"{text}\": unexpected key {other}"))),
        }
    }
    if network.get("Target").is_none() {
        return Err(CliError::usage(format!("invalid network \"{text}\": name is missing")));
    }
    Ok(network)
}

/// A secret or config as a flag names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileReference {
    pub source: String,
    /// Name of the file in the container; a path may be given for configs.
    pub target: String,
    pub uid: String,
    pub gid: String,
    pub mode: u32,
}

/// `NAME` or `source=..,target=..,uid=..,gid=..,mode=0440`. The file is called as its source; the daemon knows where.
pub fn file_reference(text: &str) -> Result<FileReference> {
    let bad = |why: &str| CliError::usage(format!("invalid value \"{text}\": {why}"));
    let mut reference =
        FileReference { source: String::new(), target: String::new(), uid: "0".into(), gid: "0".into(), mode: 0o444 };
    if text.contains('=') {
        for (key, value) in fields(text) {
            let value = value.ok_or_else(|| bad(&format!("{key} has no value")))?;
            match key.as_str() {
                "source" | "src" => reference.source = value,
                "target" => reference.target = value,
                "uid" => reference.uid = value,
                "gid" => reference.gid = value,
                "mode" => {
                    reference.mode = u32::from_str_radix(&value, 8).map_err(|_| bad("mode is an octal number"))?;
                }
                other => return Err(bad(&format!("unexpected key {other}"))),
            }
        }
    } else {
        reference.source = text.to_owned();
    }
    if reference.source.is_empty() {
        return Err(bad("source is missing"));
    }
    if reference.target.is_empty() {
        reference.target = reference.source.clone();
    }
    Ok(reference)
}

impl FileReference {
    /// The API's reference; `kind` is `Secret` or `Config`.
    pub fn to_api(&self, kind: &str, id: &str) -> Value {
        let mut out = json!({
            "File": { "Name": self.target, "UID": self.uid, "GID": self.gid, "Mode": self.mode },
        });
        set(&mut out, &format!("/{kind}ID"), id);
        set(&mut out, &format!("/{kind}Name"), self.source.clone());
        out
    }
}

/// `spread=node.labels.zone`.
pub fn preference(text: &str) -> Result<Value> {
    match text.split_once('=') {
        Some(("spread", descriptor)) if !descriptor.is_empty() => {
            Ok(json!({ "Spread": { "SpreadDescriptor": descriptor } }))
        }
        Some(_) | None => {
            Err(CliError::hinted(format!("invalid placement preference \"{text}\""), "use spread=node.labels.LABEL"))
        }
    }
}

/// `NAME=SOFT[:HARD]`.
pub fn ulimit(text: &str) -> Result<Value> {
    let bad = || CliError::usage(format!("invalid ulimit \"{text}\" (use NAME=SOFT[:HARD])"));
    let (name, limits) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(bad)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let number = |text: &str| text.parse::<i64>().map_err(|_| bad());
    Ok(json!({ "Name": name, "Soft": number(soft)?, "Hard": number(hard)? }))
}

/// `HOST:IP` as a line of a hosts file.
pub fn host(text: &str) -> Result<String> {
    match text.split_once([':', '=']) {
        Some((name, address)) if !name.is_empty() && address.parse::<std::net::IpAddr>().is_ok() => {
            Ok(format!("{address} {name}"))
        }
        Some(_) | None => Err(CliError::usage(format!("invalid host \"{text}\" (use NAME:ADDRESS)"))),
    }
}

/// Variables of a file: `KEY=VALUE` lines; a line `KEY` takes the value of this process, if there is one.
pub fn env_file(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).map_err(|error| CliError::file("read", path, &error))?;
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim_start);
    let mut out = Vec::new();
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let key = line.split('=').next().unwrap_or("");
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(CliError::usage(format!("{}: \"{line}\" is not KEY=VALUE", path.display())));
        }
        out.extend(variable(line));
    }
    Ok(out)
}

/// `KEY=VALUE` as it is; `KEY` with the value of this process, or nothing when it has none.
pub fn variable(word: &str) -> Option<String> {
    // An empty word is for the daemon to refuse.
    if word.is_empty() || word.contains('=') {
        return Some(word.to_owned());
    }
    std::env::var(word).ok().map(|value| format!("{word}={value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_in_short_form() {
        let one = publish("8080:80").unwrap_or_default();
        assert_eq!(
            one,
            [json!({"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8080, "PublishMode": "ingress"})]
        );
        assert_eq!(publish("80").unwrap_or_default()[0].get("PublishedPort"), None);
        let range = publish("127.0.0.1:9000-9002:90-92/udp").unwrap_or_default();
        assert_eq!(range.len(), 3);
        assert_eq!(
            range[2],
            json!({"Protocol": "udp", "TargetPort": 92, "PublishedPort": 9002, "PublishMode": "ingress", "HostIP": "127.0.0.1"})
        );
        for bad in ["", "x:80", "80-81:80", "1:0", "99999:1", "80:80/icmp", "nohost:1:2"] {
            assert!(publish(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ports_in_long_form() {
        assert_eq!(
            publish("published=8080,target=80,mode=host,protocol=udp").unwrap_or_default(),
            [json!({"Protocol": "udp", "TargetPort": 80, "PublishedPort": 8080, "PublishMode": "host"})]
        );
        assert!(publish("published=8080").is_err() && publish("target=80,mode=x").is_err());
    }

    #[test]
    fn mounts() {
        assert_eq!(
            mount("type=bind,src=/a,dst=/b,ro").unwrap_or_default(),
            json!({"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": true})
        );
        assert_eq!(
            mount("type=tmpfs,target=/t,tmpfs-size=64m,tmpfs-mode=1770").unwrap_or_default(),
            json!({"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 67_108_864, "Mode": 0o1770}})
        );
        assert_eq!(
            mount("source=data,target=/d,\"volume-opt=o=addr=1.2.3.4,rw\"").unwrap_or_default(),
            json!({"Type": "volume", "Source": "data", "Target": "/d",
                "VolumeOptions": {"DriverConfig": {"Options": {"o": "addr=1.2.3.4,rw"}}}})
        );
        assert_eq!(
            mount("type=bind,src=/a,dst=/b,bind-recursive=disabled").unwrap_or_default()["BindOptions"],
            json!({"NonRecursive": true})
        );
        for bad in [
            "type=bind,src=/a,dst=/b,bind-recursive=some",
            "type=bind,target=/x",
            "source=a",
            "type=tmpfs,source=a,target=/b",
            "target=/a,what=1",
        ] {
            assert!(mount(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn networks_and_files() {
        assert_eq!(network("back").unwrap_or_default(), json!({"Target": "back"}));
        assert_eq!(
            network("name=back,alias=db,alias=sql").unwrap_or_default(),
            json!({"Target": "back", "Aliases": ["db", "sql"]})
        );
        let secret = file_reference("source=key,target=k.pem,mode=0400");
        assert_eq!(
            secret.map(|s| s.to_api("Secret", "id1")).unwrap_or_default(),
            json!({"File": {"Name": "k.pem", "UID": "0", "GID": "0", "Mode": 0o400}, "SecretID": "id1", "SecretName": "key"})
        );
    }
}
