//! The host forwards packets for containers, and for nobody it did not forward for before.
//!
//! Forwarding is one switch for all links. Where it was off, the links the host had then are kept apart
//! by the host's table (`apart`), so that a host in two networks does not become a way between them.
//! What is made later, by another container system or a VPN, is the business of whoever made it; so are
//! bridges, whose own packets may pass the same hook. Remembered until the host boots.

use crate::error::{FabricError, Result};
use crate::keys::replace;
use crate::names::Names;
use crate::netlink::Netlink;
use crate::netns::Netns;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A path below `/proc/sys/net/`, and the value of on.
const SWITCH: (&str, &str) = ("ipv4/ip_forward", "1");
/// Changes with each boot, which turns the switch back to what the host's own settings say.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

fn boot_id() -> String {
    fs::read_to_string(BOOT_ID).unwrap_or_default().trim().to_owned()
}

/// Whether `name` can be written between quotes in a rule.
fn plain(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-@".contains(&b))
}

/// Turns forwarding on in `place`; if it was off, remembers the links that were there.
pub(crate) async fn turn_on(place: &Netns, netlink: &Netlink, names: &Names) -> Result<()> {
    let (name, on) = SWITCH;
    let is_on = || fs::read_to_string(Path::new("/proc/sys/net").join(name)).is_ok_and(|now| now.trim() == on);
    if place.enter(is_on)? {
        return Ok(());
    }
    let links = netlink.links().await?;
    let theirs = links.iter().filter(|l| !l.bridge && l.name != "lo" && !l.name.starts_with(&names.link_prefix()));
    let lines: Vec<String> = std::iter::once(boot_id()).chain(theirs.map(|l| l.name.clone())).collect();
    let path = names.forwarding();
    replace(&path, lines.join("\n").as_bytes(), false).map_err(|source| FabricError::File {
        path: path.display().to_string(),
        what: "write it",
        source,
    })?;
    place.sysctl(&[(name.into(), on)])
}

/// The links there were when this instance turned forwarding on; `None`: it did not, since boot.
fn remembered(names: &Names) -> Option<BTreeSet<String>> {
    let text = fs::read_to_string(names.forwarding()).ok()?;
    let mut lines = text.lines();
    (lines.next() == Some(boot_id().as_str())).then(|| lines.map(str::to_owned).collect())
}

/// The links that are kept apart.
pub(crate) fn apart(names: &Names) -> BTreeSet<String> {
    remembered(names).into_iter().flatten().filter(|name| plain(name)).collect()
}

/// Turns forwarding off again if this instance turned it on and no link has come since that may rely
/// on it; forgets all of it. To be called when our own links are gone.
pub(crate) async fn turn_off(place: &Netns, netlink: &Netlink, names: &Names) -> Result<()> {
    if let Some(known) = remembered(names)
        && netlink.links().await?.iter().all(|l| l.name == "lo" || known.contains(&l.name))
    {
        place.sysctl(&[(SWITCH.0.into(), "0")])?;
    }
    let path = names.forwarding();
    match fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(FabricError::File { path: path.display().to_string(), what: "remove it", source: e })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
