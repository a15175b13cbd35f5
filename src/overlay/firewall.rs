//! Other people's firewalls on this host.
//!
//! Packets between our uplinks and the world cross the host's forward hook, where every base chain is
//! asked: an accept in a chain of ours overrides no drop in another. Docker sets the policy of
//! `FORWARD` to drop, firewalld and ufw end with a reject. So our links are accepted at the start of
//! each foreign chain that filters forwarded packets, as other container systems do: with nft for what
//! lives in nf_tables (iptables-nft included), with iptables-legacy for what does not. Looked at again
//! from time to time, because firewalls are reloaded.

use crate::error::{FabricError, Result};
use crate::netns::Netns;
use crate::nft;
use serde_json::Value;
use std::process::Command;

/// A base chain that filters forwarded IPv4 packets.
#[derive(Debug, PartialEq, Eq)]
struct Chain {
    family: String,
    table: String,
    name: String,
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("")
}

fn objects<'a>(listing: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    listing.get("nftables").and_then(Value::as_array).into_iter().flatten().filter_map(move |o| o.get(kind))
}

fn forward_chains(listing: &Value) -> Vec<Chain> {
    objects(listing, "chain")
        .filter(|c| text(c, "hook") == "forward" && text(c, "type") == "filter")
        .filter(|c| ["ip", "inet"].contains(&text(c, "family")))
        .map(|c| Chain {
            family: text(c, "family").into(),
            table: text(c, "table").into(),
            name: text(c, "name").into(),
        })
        .collect()
}

/// Makes every foreign firewall of `host` pass packets of links that start with `prefix`.
pub(crate) fn open(host: &Netns, prefix: &str) -> Result<()> {
    for chain in forward_chains(&nft::list(host, &["list", "chains"])?) {
        let Chain { family, table, name } = &chain;
        let listing = nft::list(host, &["list", "chain", family, table, name])?;
        let missing: Vec<&str> = ["iifname", "oifname"]
            .into_iter()
            .filter(|side| handles(&listing, prefix, Some(*side)).is_empty())
            .collect();
        let script: String = missing
            .iter()
            .map(|side| format!("insert rule {family} {table} {name} {side} \"{prefix}*\" counter accept\n"))
            .collect();
        nft::apply(host, &format!("the chain {table} {name}"), &script)?;
    }
    legacy(host, prefix, true)
}

/// Takes back what `open` did.
pub(crate) fn close(host: &Netns, prefix: &str) -> Result<()> {
    for chain in forward_chains(&nft::list(host, &["list", "chains"])?) {
        let Chain { family, table, name } = &chain;
        let listing = nft::list(host, &["list", "chain", family, table, name])?;
        let script: String = handles(&listing, prefix, None)
            .iter()
            .map(|handle| format!("delete rule {family} {table} {name} handle {handle}\n"))
            .collect();
        nft::apply(host, &format!("the chain {table} {name}"), &script)?;
    }
    legacy(host, prefix, false)
}

/// Handles of our rules in a listed chain: those that name our links, as nft or iptables-nft write them.
fn handles(listing: &Value, prefix: &str, side: Option<&str>) -> Vec<u64> {
    objects(listing, "rule")
        .filter(|rule| {
            rule.get("expr").and_then(Value::as_array).into_iter().flatten().any(|e| {
                let Some(m) = e.get("match") else { return false };
                let key = m.pointer("/left/meta/key").and_then(Value::as_str).unwrap_or("");
                let links = text(m, "right");
                side.is_none_or(|s| s == key) && links.strip_suffix('*') == Some(prefix)
            })
        })
        .filter_map(|rule| rule.get("handle").and_then(Value::as_u64))
        .collect()
}

/// The same for the filter table of the older kind of iptables, where it is in use.
fn legacy(host: &Netns, prefix: &str, wanted: bool) -> Result<()> {
    let failed = |message: String| FabricError::Nft { what: "the FORWARD chain of iptables-legacy".into(), message };
    host.enter(|| {
        // Of this thread, not of the process: /proc/net is the first thread's.
        let tables = std::fs::read_to_string("/proc/thread-self/net/ip_tables_names").unwrap_or_default();
        if !tables.lines().any(|t| t == "filter") {
            return Ok(());
        }
        for side in ["-i", "-o"] {
            let links = format!("{prefix}+");
            let run = |action: &str| {
                Command::new("iptables-legacy")
                    .args(["-w", "5", action, "FORWARD", side, &links, "-j", "ACCEPT"])
                    .output()
                    .map_err(|e| failed(format!("it is in use, but iptables-legacy cannot be run ({e})")))
            };
            let there = run("-C")?.status.success();
            if there != wanted {
                let done = run(if wanted { "-I" } else { "-D" })?;
                if !done.status.success() {
                    return Err(failed(String::from_utf8_lossy(&done.stderr).trim().to_owned()));
                }
            }
        }
        Ok(())
    })?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_chains_get_our_rules_once_and_lose_them_again() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("ns");
        let place = Netns::create(&path).expect("a namespace: these tests need root");
        let foreign = "table inet fw { chain passing { type filter hook forward priority 0; policy drop; counter reject; }; }\n\
                       table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }";
        nft::apply(&place, "a test", foreign).expect("rules");
        let count = || {
            let all = nft::list(&place, &["list", "ruleset"]).expect("listing");
            (handles(&all, "swtest-", None).len(), objects(&all, "rule").count())
        };
        assert_eq!(count(), (0, 1));
        open(&place, "swtest-").expect("opened");
        open(&place, "swtest-").expect("opened again");
        assert_eq!(count(), (4, 5));
        close(&place, "swtest-").expect("closed");
        assert_eq!(count(), (0, 1));
        Netns::remove(&path).expect("removed");
    }
}
