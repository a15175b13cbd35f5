//! Every version that is served, in front of a swarm with something of everything. That each answer is as its version
//! has it is checked wherever a test asks for one (`schema`); here all of them are asked for.

use super::client::World;
use super::schema;
use crate::ports::{ContainerNetwork, ContainerRecord, ContainerState};
use crate::version::ApiVersion;
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

const READS: [&str; 26] = [
    "/_ping",
    "/version",
    "/info",
    "/swarm",
    "/swarm/unlockkey",
    "/nodes",
    "/nodes/self",
    "/services",
    "/services?status=true",
    "/services/web?insertDefaults=true",
    "/services/job",
    "/tasks",
    "/tasks/{task}",
    "/networks",
    "/networks/back",
    "/networks/back?verbose=true&scope=swarm",
    "/networks/ingress?verbose=true",
    "/secrets",
    "/secrets/key",
    "/configs",
    "/configs/key",
    "/volumes",
    "/volumes/data",
    "/images/json",
    "/images/redis:7/json",
    "/plugins",
];

fn whole(name: &str) -> Value {
    json!({
        "Name": name, "Labels": { "a": "b" },
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": "web:1", "Command": ["a"], "Args": ["b"], "Hostname": "h", "Env": ["A=b"], "Dir": "/", "User": "1",
                "Groups": ["2"], "TTY": true, "OpenStdin": true, "ReadOnly": true, "Labels": { "c": "" },
                "Mounts": [
                    { "Type": "bind", "Source": "/a", "Target": "/b", "BindOptions": { "Propagation": "rshared", "CreateMountpoint": true } },
                    { "Type": "volume", "Source": "a", "Target": "/c", "VolumeOptions": { "NoCopy": true, "Labels": { "a": "b" }, "Subpath": "s" } },
                    { "Type": "tmpfs", "Target": "/d", "TmpfsOptions": { "SizeBytes": 4096, "Mode": 448 } }
                ],
                "StopSignal": "SIGINT", "StopGracePeriod": 10_000_000_000i64,
                "HealthCheck": { "Test": ["CMD", "a"], "Interval": 1_000_000_000i64, "Retries": 3, "StartInterval": 1_000_000_000i64 },
                "Hosts": ["10.0.0.1 a"], "DNSConfig": { "Nameservers": ["10.0.0.1"], "Search": ["a"], "Options": ["ndots:1"] },
                "Secrets": [{ "SecretName": "key", "File": { "Name": "k", "UID": "0", "GID": "0", "Mode": 256 } }],
                "Configs": [{ "ConfigName": "key", "File": { "Name": "/c", "UID": "0", "GID": "0", "Mode": 256 } }],
                "Init": true, "Sysctls": { "net.ipv4.ip_forward": "1" }, "CapabilityAdd": ["CAP_NET_ADMIN"],
                "CapabilityDrop": ["CAP_CHOWN"], "Ulimits": [{ "Name": "nofile", "Soft": 1, "Hard": 2 }], "OomScoreAdj": 5
            },
            "Resources": {
                "Limits": { "NanoCPUs": 500_000_000, "MemoryBytes": 67_108_864, "Pids": 3 },
                "Reservations": { "NanoCPUs": 1_000_000, "MemoryBytes": 4_194_304 }
            },
            "RestartPolicy": { "Condition": "any", "Delay": 1, "MaxAttempts": 2, "Window": 3 },
            "Placement": {
                "Constraints": ["node.role==manager"], "Preferences": [{ "Spread": { "SpreadDescriptor": "node.labels.a" } }],
                "MaxReplicas": 5, "Platforms": [{ "OS": "linux", "Architecture": "x86_64" }]
            },
            "Networks": [{ "Target": "back", "Aliases": ["a"] }], "LogDriver": { "Name": "json-file", "Options": { "max-size": "1m" } },
            "ForceUpdate": 1
        },
        "Mode": { "Replicated": { "Replicas": 2 } },
        "UpdateConfig": { "Parallelism": 1, "Delay": 2, "FailureAction": "pause", "Monitor": 3_000_000, "MaxFailureRatio": 0.5 },
        "RollbackConfig": { "Parallelism": 1, "Order": "start-first" },
        "EndpointSpec": { "Mode": "vip", "Ports": [{ "TargetPort": 80, "PublishedPort": 8080 }] },
    })
}

/// The id of a task that runs.
async fn furnish(world: &World) -> String {
    let content = json!({ "Name": "key", "Labels": { "a": "b" }, "Data": "a2V5", "Templating": { "Name": "golang" } });
    world.create("/secrets/create", content.clone()).await;
    world.create("/configs/create", content).await;
    world.create("/networks/create", json!({ "Name": "back", "Driver": "overlay", "Attachable": true })).await;
    world.create("/services/create", whole("web")).await;
    let job = json!({ "Name": "job", "TaskTemplate": { "ContainerSpec": { "Image": "job:1" } },
        "Mode": { "ReplicatedJob": { "MaxConcurrent": 1, "TotalCompletions": 2 } } });
    world.create("/services/create", job).await;
    world.cluster.settle();
    let mut changed = whole("web");
    changed["TaskTemplate"]["ContainerSpec"]["Image"] = json!("web:2");
    let path = format!("/services/web/update?version={}", world.version("/services/web").await);
    assert_eq!(world.post(&path, changed).await.status, StatusCode::OK);
    world.cluster.settle();
    world.post("/images/create?fromImage=redis&tag=7", Value::Null).await;
    world.post("/volumes/create", json!({ "Name": "data" })).await;
    let id = world.get("/networks/back").await.json()["Id"].as_str().unwrap().to_owned();
    let network = ContainerNetwork {
        name: "back".into(),
        id,
        addr: [10, 0, 1, 3].into(),
        prefix_len: 24,
        gateway: Some([10, 0, 1, 1].into()),
        aliases: Vec::new(),
    };
    let (state, networks) = (ContainerState::Running, vec![network]);
    let container =
        ContainerRecord { id: "ab".repeat(32), name: "web.1.x".into(), state, networks, ..ContainerRecord::default() };
    world.local.containers.lock().unwrap().push(container);
    let tasks = world.get("/tasks").await.json();
    tasks.as_array().unwrap().iter().find(|task| task["NodeID"].is_string()).unwrap()["ID"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_version_reads_everything() {
    let world = World::manager();
    let task = furnish(&world).await;
    let mut wrong = Vec::new();
    for minor in ApiVersion::MIN.minor..=ApiVersion::MAX.minor {
        // Configs came with 1.30.
        for path in READS.into_iter().filter(|path| minor >= 30 || !path.starts_with("/configs")) {
            let path = format!("/v1.{minor}{}", path.replace("{task}", &task));
            let answer = world.ask(Method::GET, &path, Vec::new()).await;
            assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
            wrong
                .extend(schema::faults(&Method::GET, &path, &answer).into_iter().map(|fault| format!("{path}{fault}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn an_old_client_changes_a_service_it_has_read_and_loses_nothing_it_knows() {
    let world = World::manager();
    furnish(&world).await;
    let service = world.get("/v1.30/services/web").await.json();
    let container = &service["Spec"]["TaskTemplate"]["ContainerSpec"];
    assert!(container.get("Sysctls").is_none() && container.get("Ulimits").is_none());
    assert_eq!(container["Secrets"][0]["SecretName"], "key");
    let mut spec = service["Spec"].clone();
    spec["TaskTemplate"]["ContainerSpec"]["Image"] = json!("web:3");
    let path = format!("/v1.30/services/web/update?version={}", service["Version"]["Index"]);
    let updated = world.post(&path, spec).await;
    assert_eq!(updated.status, StatusCode::OK, "{}", updated.text());
    let now = world.get("/services/web").await.json()["Spec"]["TaskTemplate"]["ContainerSpec"].clone();
    assert_eq!((&now["Image"], &now["Secrets"][0]["SecretName"]), (&json!("web:3"), &json!("key")));
    assert_eq!(now["Mounts"].as_array().map(Vec::len), Some(3));
}

#[tokio::test]
async fn fields_that_a_version_lacks_are_not_read() {
    let world = World::manager();
    furnish(&world).await;
    let spec = whole("old");
    let body = json!({ "EndpointSpec": {} });
    let spec =
        Value::Object(spec.as_object().unwrap().clone().into_iter().chain(body.as_object().unwrap().clone()).collect());
    world.create("/v1.39/services/create", spec).await;
    let container = world.get("/services/old").await.json()["Spec"]["TaskTemplate"].clone();
    assert!(container["ContainerSpec"].get("Sysctls").is_none() && container["Placement"].get("MaxReplicas").is_none());
    let job =
        json!({ "Name": "j", "TaskTemplate": { "ContainerSpec": { "Image": "a" } }, "Mode": { "GlobalJob": {} } });
    let refused = world.post("/v1.40/services/create", job).await;
    assert_eq!(refused.message(), "Mode.GlobalJob: not in API version 1.40, use 1.41 or newer");
    assert!(world.get("/v1.40/services?status=true").await.json()[0].get("ServiceStatus").is_none());
}
