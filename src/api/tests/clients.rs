//! What clients rely on beside the shapes: words, statuses, and what they may ask of any node.

use super::client::World;
use crate::ports::{ContainerNetwork, ContainerRecord};
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

fn filters(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn there_are_no_plugins_and_asking_for_one_is_no_hindrance() {
    let world = World::manager();
    assert_eq!(world.get("/plugins").await.json(), json!([]));
    let absent = world.get("/plugins/vieux/sshfs:latest/json").await;
    assert_eq!(
        (absent.status, absent.message().as_str()),
        (StatusCode::NOT_FOUND, "plugin \"vieux/sshfs:latest\" not found")
    );
    for path in ["/plugins/x/enable", "/plugins/x/disable?force=1", "/plugins/x/upgrade", "/plugins/x/set"] {
        assert_eq!(world.post(path, Value::Null).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(world.delete("/plugins/x").await.status, StatusCode::NOT_FOUND);
    let pull = world.post("/plugins/pull?remote=x", Value::Null).await;
    assert_eq!(pull.message(), "plugins are not supported: network, volume and log drivers are built in");
}

#[tokio::test]
async fn what_will_not_be_is_refused_by_name_with_a_remedy() {
    let world = World::manager();
    let refused = [
        (Method::POST, "/build", "docker buildx"),
        (Method::POST, "/session", "docker buildx"),
        (Method::GET, "/images/search?term=x", "registry's own search"),
        (Method::GET, "/images/library/redis/attestations", "ask the registry"),
        (Method::GET, "/containers/web/attach/ws", "POST /containers/{id}/attach"),
        (Method::PUT, "/volumes/data?version=1", "cluster volumes (CSI)"),
    ];
    for (method, path, remedy) in refused {
        let answer = world.send(method, path, Vec::new()).await;
        assert_eq!(answer.status, StatusCode::NOT_IMPLEMENTED, "{path}");
        assert!(answer.message().contains("not supported") && answer.message().contains(remedy), "{}", answer.text());
    }
    let pruned = world.post("/build/prune", Value::Null).await;
    assert_eq!(pruned.json(), json!({ "CachesDeleted": [], "SpaceReclaimed": 0 }));
}

#[tokio::test]
async fn a_known_parameter_that_is_not_honoured_is_refused_and_an_unknown_one_ignored() {
    let world = World::manager();
    assert_eq!(world.get("/images/json?only_ids=0&all=1&digests=1").await.status, StatusCode::OK);
    assert_eq!(world.get("/images/json?manifests=0&shared-size=").await.status, StatusCode::OK);
    let refused = world.get("/images/json?manifests=1").await;
    assert_eq!(
        (refused.status, refused.message().as_str()),
        (StatusCode::NOT_IMPLEMENTED, "query parameter manifests is not supported")
    );
    let refused = world.post("/images/create?fromSrc=-&repo=a&platform=linux/arm64", Value::Null).await;
    assert_eq!(refused.message(), "query parameter platform is not supported");
}

#[tokio::test]
async fn booleans_that_are_none_are_refused_where_docker_refuses_them() {
    let world = World::manager();
    assert_eq!(world.get("/services?status=maybe").await.message(), "invalid value for status: maybe");
    assert_eq!(world.get("/networks/ingress?verbose=7").await.message(), "invalid value for verbose: 7");
    let path = format!("/swarm/update?version={}&rotateWorkerToken=maybe", world.version("/swarm").await);
    assert_eq!(world.post(&path, Value::Null).await.message(), "invalid value for rotateWorkerToken: maybe");
}

#[tokio::test]
async fn without_autolock_there_is_an_empty_unlock_key_and_nothing_to_rotate() {
    let world = World::manager();
    assert_eq!(world.get("/swarm/unlockkey").await.json(), json!({ "UnlockKey": "" }));
    let path = format!("/swarm/update?version={}&rotateManagerUnlockKey=true", world.version("/swarm").await);
    let spec = json!({ "Raft": { "KeepOldSnapshots": 0, "ElectionTick": 10 } });
    assert_eq!(world.post(&path, spec).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_rollback_of_none_is_an_update() {
    let world = World::manager();
    let spec = json!({ "Name": "web", "TaskTemplate": { "ContainerSpec": { "Image": "redis:7" } } });
    world.create("/services/create", spec.clone()).await;
    let path = format!("/services/web/update?rollback=none&version={}", world.version("/services/web").await);
    assert_eq!(world.post(&path, spec).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_worker_tells_of_the_networks_it_has_and_knows_no_others() {
    let world = World::manager();
    world.create("/networks/create", json!({ "Name": "back", "Driver": "overlay" })).await;
    let id = world.get("/networks/back").await.json()["Id"].as_str().unwrap().to_owned();
    world.cluster.set_status(|status| status.manager = false);
    let names = async || {
        let list = world.get("/networks").await.json();
        list.as_array().unwrap().iter().map(|network| network["Name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names().await, ["host", "none"]);
    let gateway = Some([10, 0, 1, 1].into());
    let network = ContainerNetwork {
        name: "back".into(),
        id: id.clone(),
        addr: [10, 0, 1, 3].into(),
        prefix_len: 24,
        gateway,
        aliases: Vec::new(),
    };
    let container = ContainerRecord {
        id: "ab".repeat(32),
        name: "web.1.x".into(),
        networks: vec![network],
        ..ContainerRecord::default()
    };
    world.local.containers.lock().unwrap().push(container);
    assert_eq!(names().await, ["back", "host", "none"]);
    let shown = world.get(&format!("/networks/{id}")).await.json();
    assert_eq!(shown["IPAM"]["Config"], json!([{ "Subnet": "10.0.1.0/24", "Gateway": "10.0.1.1" }]));
    assert_eq!(shown["Containers"]["ab".repeat(32)]["IPv4Address"], "10.0.1.3/24");
    let absent = world.get("/networks/front").await;
    assert_eq!((absent.status, absent.message().as_str()), (StatusCode::NOT_FOUND, "network front not found"));
    let none = world.get(&format!("/networks?filters={}", filters(r#"{"driver":["null"]}"#))).await.json();
    assert_eq!((none.as_array().map(Vec::len), &none[0]["Name"]), (Some(1), &json!("none")));
}

#[tokio::test]
async fn a_network_shows_who_is_on_it() {
    let world = World::manager();
    world.create("/networks/create", json!({ "Name": "back", "Driver": "overlay" })).await;
    let spec = json!({ "Name": "web", "Mode": { "Replicated": { "Replicas": 2 } },
        "EndpointSpec": { "Ports": [{ "TargetPort": 80, "PublishedPort": 8080 }] },
        "TaskTemplate": { "Networks": [{ "Target": "back" }], "ContainerSpec": { "Image": "redis:7" } } });
    world.create("/services/create", spec).await;
    world.cluster.settle();
    let shown = world.get("/networks/back?verbose=true").await.json();
    let node = world.get("/nodes/self").await.json()["ID"].clone();
    assert_eq!(shown["Peers"], json!([{ "Name": node, "IP": "192.0.2.1" }]));
    let subnet = shown["IPAM"]["Config"][0]["Subnet"].as_str().unwrap();
    // Its own address, the last one, the gateway, the service's, and two of tasks.
    assert_eq!(shown["Status"]["IPAM"]["Subnets"][subnet], json!({ "IPsInUse": 6, "DynamicIPsAvailable": 250 }));
    let service = &shown["Services"]["web"];
    assert_eq!((service["Tasks"].as_array().map(Vec::len), &service["Ports"]), (Some(2), &json!([])));
    let ingress = world.get("/networks/ingress?verbose=true").await.json();
    assert_eq!(ingress["Services"]["web"]["Ports"], json!(["Target: 80, Publish: 8080"]));
    assert!(world.get("/networks/back").await.json().get("Services").is_none());
}

#[tokio::test]
async fn a_volume_that_is_not_there_is_removed_by_force_alone() {
    let world = World::outside();
    assert_eq!(world.delete("/volumes/absent").await.status, StatusCode::NOT_FOUND);
    assert_eq!(world.delete("/volumes/absent?force=1").await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn events_that_would_end_before_they_begin_are_refused() {
    let world = World::manager();
    let refused = world.get("/events?since=20&until=10").await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert_eq!(refused.message(), "`since` time (20) cannot be after `until` time (10)");
}

#[tokio::test]
async fn disk_usage_is_told_in_the_form_of_the_version_and_of_the_kinds_asked_for() {
    let world = World::outside();
    world.post("/volumes/create", json!({ "Name": "data" })).await;
    let old = world.get("/v1.41/system/df?type=image").await.json();
    assert_eq!(old["Volumes"][0]["UsageData"], json!({ "Size": 7, "RefCount": 0 }));
    assert!(old.get("VolumeUsage").is_none());
    let between = world.get("/v1.44/system/df?type=volume").await.json();
    assert!(between.get("Volumes").is_some() && between.get("Images").is_none());
    let new = world.get("/v1.53/system/df").await.json();
    assert_eq!(new["VolumeUsage"], json!({ "ActiveCount": 0, "TotalCount": 1, "Reclaimable": 7, "TotalSize": 7 }));
    assert!(new.get("Volumes").is_none());
    let verbose = world.get("/v1.53/system/df?verbose=1").await.json();
    assert_eq!(verbose["VolumeUsage"]["Items"][0]["Name"], "data");
    assert_eq!(world.get("/system/df?type=cheese").await.message(), "unknown object type: cheese");
}
