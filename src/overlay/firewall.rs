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

/// Makes every foreign firewall of `host` pass packets of links that start with `prefix`. What refuses
/// is returned: a chain that its owner keeps to itself says nothing about the others.
pub(crate) fn open(host: &Netns, prefix: &str) -> Vec<FabricError> {
    each(host, prefix, true, |Chain { family, table, name }, listing| {
        ["iifname", "oifname"]
            .into_iter()
            .filter(|side| handles(listing, prefix, Some(*side)).is_empty())
            .map(|side| format!("insert rule {family} {table} {name} {side} \"{prefix}*\" counter accept\n"))
            .collect()
    })
}

/// Takes back what `open` did.
pub(crate) fn close(host: &Netns, prefix: &str) -> Vec<FabricError> {
    each(host, prefix, false, |Chain { family, table, name }, listing| {
        handles(listing, prefix, None)
            .iter()
            .map(|handle| format!("delete rule {family} {table} {name} handle {handle}\n"))
            .collect()
    })
}

/// Applies to each foreign chain what `script` makes of its listing; then the same for iptables-legacy.
fn each(host: &Netns, prefix: &str, wanted: bool, script: impl Fn(&Chain, &Value) -> String) -> Vec<FabricError> {
    let chains = match nft::list(host, &["list", "chains"]) {
        Ok(listing) => forward_chains(&listing),
        Err(error) => return vec![error],
    };
    let change = |chain: &Chain| {
        let Chain { family, table, name } = chain;
        let listing = nft::list(host, &["list", "chain", family, table, name])?;
        nft::apply(host, &format!("the chain {table} {name}"), &script(chain, &listing))
    };
    let closed = |chain: &Chain, source| FabricError::Firewall {
        chain: format!("{} {}", chain.table, chain.name),
        links: format!("{prefix}*"),
        source: Box::new(source),
    };
    let mut errors: Vec<FabricError> =
        chains.iter().filter_map(|chain| change(chain).err().map(|e| closed(chain, e))).collect();
    errors.extend(legacy(host, prefix, wanted).err());
    errors
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

    /// As firewalld keeps its table: nobody else may change it while its owner lives.
    struct Owner(std::process::Child);

    impl Owner {
        fn new(place: &Netns, script: &[u8]) -> Self {
            let mut nft = Command::new("nft");
            nft.arg("-i").stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::null());
            let mut owner = Self(place.enter(|| nft.spawn()).expect("entered").expect("nft"));
            std::io::Write::write_all(owner.0.stdin.as_mut().expect("piped"), script).expect("written");
            let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
            while forward_chains(&nft::list(place, &["list", "chains"]).expect("listing")).is_empty() {
                assert!(std::time::Instant::now() < end, "the table does not come");
            }
            owner
        }
    }

    impl Drop for Owner {
        fn drop(&mut self) {
            let _ = self.0.kill().and_then(|()| self.0.wait());
        }
    }

    #[test]
    fn a_chain_nobody_may_change_is_told_of_and_the_others_are_opened() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("ns");
        let place = Netns::create(&path).expect("a namespace: these tests need root");
        let chain = "chain passing { type filter hook forward priority 0; policy drop; };";
        let owner = Owner::new(&place, format!("table inet a_first {{ flags owner; {chain} }}\n").as_bytes());
        let other = "table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }";
        nft::apply(&place, "a test", other).expect("rules");
        let errors = open(&place, "swtest-");
        let listing = nft::list(&place, &["list", "ruleset"]).expect("listing");
        let opened = handles(&listing, "swtest-", None).len();
        let closed = close(&place, "swtest-");
        drop(owner);
        Netns::remove(&path).expect("removed");
        assert_eq!(opened, 2, "the chain that can be changed was not");
        let [error] = errors.as_slice() else { panic!("{errors:?}") };
        let text = crate::error::chain(error);
        assert!(text.contains("a_first passing") && text.contains("swtest-*") && text.contains("firewalld"), "{text}");
        assert!(closed.is_empty(), "{closed:?}");
    }

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
        for _ in 0..2 {
            let errors = open(&place, "swtest-");
            assert!(errors.is_empty(), "{errors:?}");
        }
        assert_eq!(count(), (4, 5));
        assert!(close(&place, "swtest-").is_empty());
        assert_eq!(count(), (0, 1));
        Netns::remove(&path).expect("removed");
    }
}
