//! Service specs nobody would write: each is read, or refused with words, and never a panic.

use super::roundtrip::view;
use crate::json::{Object, read_service_spec, write_service_spec};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use swarm_core::model::ServiceSpec;

fn read(json: Value) -> Result<ServiceSpec, String> {
    let root = Object::root(json).map_err(|error| error.message)?;
    read_service_spec(root, &view()).map(|reading| reading.spec).map_err(|error| error.message)
}

#[test]
fn amounts_of_a_resource_that_add_up_to_too_much_are_refused_by_their_place() {
    let generic = |value: i64| json!({ "DiscreteResourceSpec": { "Kind": "gpu", "Value": value } });
    let spec = |values: [i64; 2]| {
        let generic = values.map(generic);
        json!({ "TaskTemplate": { "Resources": { "Reservations": { "GenericResources": generic } } } })
    };
    let place = "TaskTemplate.Resources.Reservations.GenericResources[1]";
    let said = read(spec([i64::MAX, 1])).unwrap_err();
    assert_eq!(said, format!("{place}: the amounts of its kind add up to more than 9223372036854775807"));
    let said = read(spec([2, -1])).unwrap_err();
    assert_eq!(said, format!("{place}.DiscreteResourceSpec.Value: cannot be negative"));
    assert_eq!(read(spec([2, 3])).unwrap().task.resources.reservations.generic["gpu"], 5);
}

/// Every field of a service spec, with a value that is read.
fn whole() -> Value {
    json!({
        "Name": "web", "Labels": { "a": "b" },
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": "web:1", "Labels": {}, "Command": ["a"], "Args": ["b"], "Hostname": "h", "Env": ["A=b"],
                "Dir": "/", "User": "1", "Groups": ["2"], "TTY": true, "OpenStdin": false, "ReadOnly": true,
                "Mounts": [
                    { "Type": "bind", "Source": "/a", "Target": "/b", "BindOptions": { "Propagation": "rshared" } },
                    { "Type": "volume", "Source": "a", "Target": "/c", "VolumeOptions": { "NoCopy": true } },
                    { "Type": "tmpfs", "Target": "/d", "TmpfsOptions": { "SizeBytes": 1, "Mode": 448 } }
                ],
                "StopSignal": "SIGINT", "StopGracePeriod": 10,
                "HealthCheck": { "Test": ["CMD", "a"], "Interval": 1_000_000, "Retries": 3 },
                "Hosts": ["10.0.0.1 a"], "DNSConfig": { "Nameservers": ["10.0.0.1"], "Search": ["a"] },
                "Secrets": [{ "SecretName": "key", "File": { "Name": "k", "UID": "0", "GID": "0", "Mode": 256 } }],
                "Configs": [{ "ConfigName": "conf", "File": { "Name": "c", "UID": "0", "GID": "0", "Mode": 256 } }],
                "Init": true, "Sysctls": { "a": "1" }, "CapabilityAdd": ["NET_ADMIN"], "CapabilityDrop": [],
                "Ulimits": [{ "Name": "nofile", "Soft": 1, "Hard": 2 }], "OomScoreAdj": 5, "ShmSize": 1
            },
            "Resources": {
                "Limits": { "NanoCPUs": 1, "MemoryBytes": 2, "Pids": 3 },
                "Reservations": {
                    "NanoCPUs": 1, "MemoryBytes": 2,
                    "GenericResources": [
                        { "DiscreteResourceSpec": { "Kind": "gpu", "Value": 1 } },
                        { "DiscreteResourceSpec": { "Kind": "gpu", "Value": 2 } }
                    ]
                }
            },
            "RestartPolicy": { "Condition": "any", "Delay": 1, "MaxAttempts": 2, "Window": 3 },
            "Placement": {
                "Constraints": ["node.role==worker"], "Preferences": [{ "Spread": { "SpreadDescriptor": "node.labels.a" } }],
                "MaxReplicas": 1, "Platforms": [{ "OS": "linux", "Architecture": "x86_64" }]
            },
            "Networks": [{ "Target": "front", "Aliases": ["a"] }], "LogDriver": { "Name": "local", "Options": {} },
            "ForceUpdate": 1
        },
        "Mode": { "ReplicatedJob": { "MaxConcurrent": 1, "TotalCompletions": 2 } },
        "UpdateConfig": { "Parallelism": 1, "Delay": 2, "FailureAction": "pause", "Monitor": 3, "MaxFailureRatio": 0.5 },
        "RollbackConfig": { "Parallelism": 1, "Order": "start-first" },
        "EndpointSpec": { "Mode": "vip", "Ports": [{ "TargetPort": 80, "PublishedPort": 80, "HostIP": "10.0.0.1" }] },
        "Swarm": {
            "Priority": 1, "AtMostOne": 1, "RestartBackoffMax": 2, "Canary": { "Tasks": 1, "PromoteAfter": 2 },
            "Readiness": { "HTTP": { "Port": 80, "Path": "/" }, "Interval": 1 }, "Liveness": { "TCP": { "Port": 80 } },
            "DependsOn": [{ "Service": "db", "Condition": "service_healthy" }],
            "Autoscale": { "Min": 1, "Max": 2, "CPUPercent": 50, "Window": 1 }
        }
    })
}

/// What may stand anywhere in the place of what belongs there.
fn strange() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        proptest::sample::select(vec!["", "-1", "\u{0}", "{{", "node.labels.", "any", "front", "key"])
            .prop_map(str::to_owned),
        "\\PC{0,8}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        proptest::sample::select(vec![0, 1, -1, i64::MAX, i64::MIN, 65_535, 65_536, 1 << 32]).prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let name = proptest::sample::select(vec!["a", "Name", "name", "Value", "DiscreteResourceSpec", "Kind", ""]);
        let fields = proptest::collection::vec((name, inner.clone()), 0..4);
        prop_oneof![
            proptest::collection::vec(inner, 0..4).prop_map(Value::Array),
            fields.prop_map(|fields| {
                Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
            }),
        ]
    })
}

/// How many places there are in `value`, itself included.
fn places(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(places).sum(),
        Value::Object(map) => map.values().map(places).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// Puts `new` in the place with this number.
fn put(value: &mut Value, at: &mut usize, new: &Value) {
    if *at == 0 {
        value.clone_from(new);
    }
    *at = at.wrapping_sub(1);
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| put(item, at, new)),
        Value::Object(map) => map.values_mut().for_each(|item| put(item, at, new)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_spec_that_is_made_strange_is_read_as_it_is() {
    read(whole()).expect("every field is known");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_strange_service_spec_is_read_or_refused_with_words(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), strange()), 1..4),
    ) {
        let mut json = whole();
        for (at, new) in edits {
            let mut at = at.index(places(&json));
            put(&mut json, &mut at, &new);
        }
        match read(json) {
            Ok(spec) => prop_assert_eq!(read(write_service_spec(&spec)), Ok(spec)),
            Err(words) => prop_assert!(!words.trim().is_empty()),
        }
    }
}
