//! What a stack finds in the cluster already and cannot change: networks and volumes stay as they were made. What differs
//! from the files is told.

use super::deploy::request;
use crate::difference::differences;
use crate::json::{list, object, object_mut, set};
use serde_json::{Value, json};
use swarm_core::model::{MountSource, NetworkSpec};

/// Options the cluster gives a network itself begin so.
const GIVEN_OPTIONS: &str = "com.docker.network.";

/// What of the network `found`, as the API has it, is another than the file's; empty: nothing.
pub fn of_network(found: &Value, wanted: &NetworkSpec) -> Vec<String> {
    let after = request(wanted);
    let mut before = json!({ "Name": wanted.name });
    for key in ["Driver", "Labels", "Internal", "Attachable", "EnableIPv6"] {
        set(&mut before, &format!("/{key}"), found.get(key).cloned().unwrap_or_default());
    }
    let options = object(found, "/Options").into_iter().flatten();
    let options =
        options.filter(|(key, _)| !key.starts_with(GIVEN_OPTIONS) || wanted.driver_options.contains_key(*key));
    set(&mut before, "/Options", options.map(|(key, value)| (key.clone(), value.clone())).collect::<Value>());
    // A network of which the file says no address has one of the cluster's.
    if let Some(config) = list(&after, "/IPAM/Config").first() {
        let first = list(found, "/IPAM/Config").first();
        let keys = config.as_object().into_iter().flatten().map(|(key, _)| key);
        let same: Value = keys
            .map(|key| (key.clone(), first.and_then(|first| first.get(key)).cloned().unwrap_or_default()))
            .collect();
        set(&mut before, "/IPAM", json!({ "Driver": "default", "Config": same }));
    }
    let mut after = after;
    if let Some(config) = list(&after, "/IPAM/Config").first().cloned() {
        set(&mut after, "/IPAM/Config", config);
    }
    differences(&before, &after)
}

/// As above, of a named volume; other mounts are not made before their task.
pub fn of_volume(found: &Value, wanted: &MountSource) -> Vec<String> {
    let MountSource::Volume { driver, driver_options, labels, .. } = wanted else { return Vec::new() };
    let mut before =
        json!({ "Driver": found.get("Driver"), "Labels": found.get("Labels"), "Options": found.get("Options") });
    for key in ["Labels", "Options"] {
        // Docker has null for none.
        object_mut(&mut before, &format!("/{key}"));
    }
    let driver = if driver.is_empty() { "local" } else { driver };
    differences(&before, &json!({ "Driver": driver, "Labels": labels, "Options": driver_options }))
}

/// The warning, when there is something to tell.
pub fn tell(kind: &str, name: &str, differing: &[String]) {
    if !differing.is_empty() {
        let differing = differing.join(", ");
        eprintln!(
            "warning: {kind} {name} exists and stays as it is, the files say other: {differing}; to have it made anew, remove it first"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn labels(label: &str) -> BTreeMap<String, String> {
        BTreeMap::from([("kind".to_owned(), label.to_owned())])
    }

    fn found() -> Value {
        json!({
            "Name": "shop_back", "Id": "x", "Driver": "overlay", "Internal": true, "Attachable": false, "EnableIPv6": false,
            "Labels": {"kind": "a"}, "Options": {"com.docker.network.driver.overlay.vxlanid_list": "4097"},
            "IPAM": {"Driver": "default", "Options": null, "Config": [{"Subnet": "10.77.0.0/24", "Gateway": "10.77.0.1"}]},
        })
    }

    fn wanted() -> NetworkSpec {
        NetworkSpec { name: "shop_back".to_owned(), labels: labels("a"), internal: true, ..NetworkSpec::default() }
    }

    #[test]
    fn a_network_that_is_as_the_file_says_is_not_told_of() {
        assert_eq!(of_network(&found(), &wanted()), [""; 0]);
        let ipam = vec![swarm_core::model::IpamSubnet {
            subnet: "10.77.0.0/24".parse().expect("a subnet"),
            gateway: None,
            range: None,
        }];
        assert_eq!(of_network(&found(), &NetworkSpec { ipam, ..wanted() }), [""; 0]);
    }

    #[test]
    fn what_differs_of_a_network_is_named() {
        let ipam = vec![swarm_core::model::IpamSubnet {
            subnet: "10.78.0.0/24".parse().expect("a subnet"),
            gateway: None,
            range: None,
        }];
        let driver_options = BTreeMap::from([("encrypted".to_owned(), String::new())]);
        let other =
            NetworkSpec { labels: labels("b"), internal: false, attachable: true, ipam, driver_options, ..wanted() };
        assert_eq!(
            of_network(&found(), &other),
            [
                "Attachable false -> true",
                "IPAM.Config.Subnet 10.77.0.0/24 -> 10.78.0.0/24",
                "Internal true -> false",
                "Labels.kind a -> b",
                "Options.encrypted ",
            ]
        );
    }

    #[test]
    fn what_differs_of_a_volume_is_named() {
        let wanted = |label: &str| MountSource::Volume {
            name: "shop_data".to_owned(),
            driver: String::new(),
            driver_options: BTreeMap::new(),
            labels: labels(label),
            no_copy: false,
            subpath: String::new(),
        };
        let found = json!({"Name": "shop_data", "Driver": "local", "Labels": {"kind": "a"}, "Options": null});
        assert_eq!(of_volume(&found, &wanted("a")), [""; 0]);
        assert_eq!(of_volume(&found, &wanted("b")), ["Labels.kind a -> b"]);
        let bare = json!({"Name": "shop_data", "Driver": "nfs", "Labels": null, "Options": {"o": "x"}});
        assert_eq!(of_volume(&bare, &wanted("a")), ["Driver nfs -> local", "Labels.kind a", "Options.o removed"]);
    }
}
