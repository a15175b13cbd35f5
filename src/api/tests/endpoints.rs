use super::client::World;
use crate::ports::SwarmState;
use axum::http::{Method, StatusCode};
use bollard_stubs::models as stubs;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use swarm_core::WallTime;
use swarm_core::model::{NodeRole, NodeState, ResourceNames, Scaled};
use swarm_core::store::{Change, Object};

/// What Docker says to an update that is based on an older version, with the status of an error of its own.
const OUT_OF_SEQUENCE: &str = "rpc error: code = Unknown desc = update out of sequence";

/// The answer, as the published type has it.
fn typed<T: DeserializeOwned>(value: Value) -> T {
    let text = value.to_string();
    serde_json::from_value(value).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn service(name: &str) -> Value {
    json!({ "Name": name, "TaskTemplate": { "ContainerSpec": { "Image": "redis:7" } } })
}

#[tokio::test]
async fn a_ping_tells_versions_and_the_place_in_the_swarm() {
    let world = World::manager();
    for method in [Method::GET, Method::HEAD] {
        let pong = world.send(method.clone(), "/_ping", Vec::new()).await;
        assert_eq!(pong.status, StatusCode::OK);
        let header = |name: &str| pong.headers[name].to_str().unwrap().to_owned();
        assert_eq!(header("api-version"), "1.55");
        assert_eq!(header("ostype"), "linux");
        assert_eq!(header("docker-experimental"), "false");
        assert_eq!(header("swarm"), "active/manager");
        assert_eq!(pong.text(), if method == Method::GET { "OK" } else { "" });
    }
}

#[tokio::test]
async fn unknown_paths_are_not_found_and_unserved_ones_say_so() {
    let world = World::manager();
    let unknown = world.get("/v1.44/nothing").await;
    assert_eq!((unknown.status, unknown.message()), (StatusCode::NOT_FOUND, "page not found".to_owned()));
    let unserved = world.post("/v1.44/containers/create", Value::Null).await;
    assert_eq!(unserved.status, StatusCode::NOT_IMPLEMENTED);
    assert_eq!(unserved.message(), "POST /containers/create is not implemented yet");
    assert_eq!(world.get("/v1.99/info").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn info_and_version_are_of_the_published_types() {
    let world = World::manager();
    let info: stubs::SystemInfo = typed(world.get("/info").await.json());
    let swarm = info.swarm.unwrap();
    assert_eq!(swarm.nodes, Some(1));
    assert_eq!(swarm.control_available, Some(true));
    assert!(swarm.cluster.is_some());
    let version: stubs::SystemVersion = typed(world.get("/v1.24/version").await.json());
    assert_eq!(version.api_version.as_deref(), Some("1.55"));
    let _: stubs::SystemInfo = typed(World::outside().get("/info").await.json());
}

#[tokio::test]
async fn info_is_told_also_when_the_managers_have_no_majority() {
    let world = World::manager();
    world.cluster.cut_off();
    let info: stubs::SystemInfo = typed(world.get("/info").await.json());
    assert!(info.swarm.unwrap().error.unwrap().starts_with("The swarm does not have a leader."));
}

#[tokio::test]
async fn a_service_without_a_name_is_given_one() {
    let world = World::manager();
    let spec = json!({ "TaskTemplate": { "ContainerSpec": { "Image": "busybox" } } });
    let ids = [world.create("/services/create", spec.clone()).await, world.create("/services/create", spec).await];
    for id in ids {
        let name = world.get(&format!("/services/{id}")).await.json()["Spec"]["Name"].clone();
        assert!(name.as_str().unwrap().contains('_'), "{name}");
    }
}

#[tokio::test]
async fn outside_a_swarm_the_cluster_is_unavailable_in_dockers_words() {
    let world = World::outside();
    for path in ["/nodes", "/services", "/tasks", "/secrets", "/configs", "/swarm"] {
        let answer = world.get(path).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert!(answer.message().starts_with("This node is not a swarm manager. Use \"docker swarm init\""));
    }
    world.cluster.found();
    world.cluster.set_status(|status| status.manager = false);
    assert!(world.get("/nodes").await.message().contains("Worker nodes can't be used to view or modify"));
    // A manager that can not run at the moment is no worker.
    world.cluster.set_status(|status| status.error = "the disk is full".to_owned());
    assert_eq!(world.get("/nodes").await.message(), "the disk is full");
    world.cluster.set_status(|status| status.state = SwarmState::Locked);
    assert!(world.get("/nodes").await.message().contains("needs to be unlocked"));
}

#[tokio::test]
async fn a_swarm_is_made_once_and_left() {
    let world = World::outside();
    let request = json!({ "ListenAddr": "0.0.0.0:2377", "AdvertiseAddr": "", "ForceNewCluster": false });
    let made = world.post("/swarm/init", request.clone()).await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.text());
    assert_eq!(made.json().as_str().map(str::len), Some(25));
    let again = world.post("/swarm/init", request).await;
    assert_eq!(again.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(again.message().starts_with("This node is already part of a swarm."));
    assert_eq!(world.post("/swarm/leave", Value::Null).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(world.post("/swarm/leave?force=1", Value::Null).await.status, StatusCode::OK);
    assert_eq!(world.get("/swarm").await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_join_without_token_or_manager_names_the_field() {
    let world = World::outside();
    let answer = world.post("/swarm/join", json!({ "RemoteAddrs": [], "JoinToken": "x" })).await;
    assert!(answer.message().starts_with("RemoteAddrs: "));
    let answer = world.post("/swarm/join", json!({ "RemoteAddrs": ["192.0.2.9:2377"] })).await;
    assert!(answer.message().starts_with("JoinToken: "));
    let answer = world.post("/swarm/join", json!({ "RemoteAddrs": ["192.0.2.9:2377"], "JoinToken": "x" })).await;
    assert_eq!(answer.message(), "can't reach 192.0.2.9:2377");
}

#[tokio::test]
async fn tokens_are_shown_to_managers_and_rotated_on_request() {
    let world = World::manager();
    let before: stubs::Swarm = typed(world.get("/swarm").await.json());
    let version = before.version.unwrap().index.unwrap();
    let path = format!("/swarm/update?version={version}&rotateWorkerToken=true");
    assert_eq!(world.post(&path, json!({ "Name": "default" })).await.status, StatusCode::OK);
    let after: stubs::Swarm = typed(world.get("/swarm").await.json());
    let (before, after) = (before.join_tokens.unwrap(), after.join_tokens.unwrap());
    assert_ne!(before.worker, after.worker);
    assert_eq!(before.manager, after.manager);
    let stale = world.post(&path, Value::Null).await;
    assert_eq!((stale.status, stale.message().as_str()), (StatusCode::INTERNAL_SERVER_ERROR, OUT_OF_SEQUENCE));
    assert!(!world.get("/info").await.text().contains("SWMTKN"));
}

#[tokio::test]
async fn a_task_history_without_end_is_refused_with_the_longest_there_is() {
    let world = World::manager();
    for limit in [-1, i64::MIN, 101, i64::MAX] {
        let version = world.version("/swarm").await;
        let spec = json!({ "Orchestration": { "TaskHistoryRetentionLimit": limit } });
        let refused = world.post(&format!("/swarm/update?version={version}"), spec).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        let said = refused.text();
        assert!(said.contains(&format!("Orchestration.TaskHistoryRetentionLimit: {limit} is refused")), "{said}");
        assert!(said.contains("use 0 to 100"), "{said}");
    }
    let version = world.version("/swarm").await;
    let spec = json!({ "Orchestration": { "TaskHistoryRetentionLimit": 100 } });
    assert_eq!(world.post(&format!("/swarm/update?version={version}"), spec).await.status, StatusCode::OK);
}

#[tokio::test]
async fn settings_left_out_of_an_update_stay() {
    let world = World::manager();
    let version = world.version("/swarm").await;
    let spec = json!({ "Orchestration": { "TaskHistoryRetentionLimit": 0 }, "Raft": { "ElectionTick": 10 } });
    assert_eq!(world.post(&format!("/swarm/update?version={version}"), spec).await.status, StatusCode::OK);
    let spec = world.get("/swarm").await.json()["Spec"].clone();
    assert_eq!(spec["Orchestration"]["TaskHistoryRetentionLimit"], 0);
    assert_eq!(spec["Raft"]["SnapshotInterval"], 10_000);
    let version = world.version("/swarm").await;
    let refused = world
        .post(
            &format!("/swarm/update?version={version}"),
            json!({ "CAConfig": { "ExternalCAs": [{}, { "URL": "x" }] } }),
        )
        .await;
    assert_eq!(refused.message(), "CAConfig.ExternalCAs is not supported");
    let other = json!({ "Raft": { "SnapshotInterval": 10_000, "LogEntriesForSlowFollowers": 100 } });
    let refused = world.post(&format!("/swarm/update?version={version}"), other).await;
    assert_eq!(refused.message(), "Raft.LogEntriesForSlowFollowers: 100 is not supported, it is 500");
}

#[tokio::test]
async fn a_port_for_containers_that_would_not_be_used_is_refused() {
    let world = World::outside();
    let refused = world.post("/swarm/init", json!({ "DataPathPort": 5000 })).await;
    assert_eq!(refused.status, StatusCode::NOT_IMPLEMENTED);
    assert_eq!(refused.message(), "DataPathPort: another port than 4789 is not implemented yet");
}

#[tokio::test]
async fn autolock_is_refused_where_there_are_no_unlock_keys() {
    let world = World::outside();
    let refused = world.post("/swarm/init", json!({ "AutoLockManagers": true })).await;
    assert_eq!(refused.status, StatusCode::NOT_IMPLEMENTED);
    assert_eq!(refused.message(), "EncryptionConfig.AutoLockManagers: locking managers is not implemented yet");
    world.cluster.found();
    let path = format!("/swarm/update?version={}", world.version("/swarm").await);
    let spec = json!({ "EncryptionConfig": { "AutoLockManagers": true } });
    assert_eq!(world.post(&path, spec).await.status, StatusCode::NOT_IMPLEMENTED);
}

#[tokio::test]
async fn a_service_on_the_network_of_its_host_is_refused_until_that_is_served() {
    let world = World::manager();
    let mut spec = service("web");
    let host = world.get("/networks/host?scope=swarm").await.json()["Id"].clone();
    spec["TaskTemplate"]["Networks"] = json!([{ "Target": host }]);
    let refused = world.post("/services/create", spec).await;
    assert_eq!(refused.status, StatusCode::NOT_IMPLEMENTED);
    assert_eq!(refused.message(), "TaskTemplate.Networks: the networks host and none are not implemented yet");
}

#[tokio::test]
async fn a_node_is_listed_found_and_updated() {
    let world = World::manager();
    let nodes: Vec<stubs::Node> = typed(world.get("/nodes").await.json());
    let [node] = nodes.as_slice() else { panic!("{nodes:?}") };
    let id = node.id.clone().unwrap();
    assert_eq!(node.manager_status.as_ref().and_then(|m| m.leader), Some(true));
    for name in [id.as_str(), "host1", "self", &id[..12]] {
        assert_eq!(world.get(&format!("/nodes/{name}")).await.json()["ID"], id.as_str(), "{name}");
    }
    let version = world.version("/nodes/self").await;
    let path = format!("/nodes/{id}/update?version={version}");
    let demoted = json!({ "Role": "worker", "Availability": "active" });
    let refused = world.post(&path, demoted).await;
    assert_eq!(
        (refused.status, refused.message().as_str()),
        (StatusCode::BAD_REQUEST, "attempting to demote the last manager of the swarm")
    );
    let drained = json!({ "Role": "manager", "Availability": "drain", "Labels": { "zone": "a" } });
    assert_eq!(world.post(&path, drained).await.status, StatusCode::OK);
    let filters =
        r#"{"node.label":["zone=a"],"role":["manager"]}"#.replace('"', "%22").replace('{', "%7B").replace('}', "%7D");
    assert_eq!(world.get(&format!("/nodes?filters={filters}")).await.json().as_array().map(Vec::len), Some(1));
    assert_eq!(world.delete(&format!("/nodes/{id}?force=1")).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(world.get("/nodes/absent").await.message(), "node absent not found");
}

#[tokio::test]
async fn a_drained_node_tells_how_many_tasks_it_still_has() {
    let world = World::manager();
    let id = world.create("/services/create", service("web")).await;
    world.cluster.run_task(id.parse().unwrap(), 1);
    assert_eq!(world.get("/nodes/self").await.json().get("Swarm"), None);
    let path = format!("/nodes/self/update?version={}", world.version("/nodes/self").await);
    let drained = json!({ "Role": "manager", "Availability": "drain" });
    assert_eq!(world.post(&path, drained).await.status, StatusCode::OK);
    assert_eq!(world.get("/nodes/self").await.json()["Swarm"], json!({ "TasksLeft": 1 }));
}

#[tokio::test]
async fn generic_resources_are_shown_of_nodes_and_of_tasks() {
    let world = World::manager();
    let mut spec = service("train");
    let gpus = json!({ "DiscreteResourceSpec": { "Kind": "gpu", "Value": 2 } });
    let ssds = json!({ "DiscreteResourceSpec": { "Kind": "ssd", "Value": 1 } });
    spec["TaskTemplate"]["Resources"] = json!({ "Reservations": { "GenericResources": [gpus, ssds] } });
    let id = world.create("/services/create", spec).await;
    let view = world.cluster.view();
    let mut node = (**view.nodes().next().unwrap()).clone();
    let description = node.description.get_or_insert_default();
    for text in ["gpu=GPU-1,gpu=GPU-2", "ssd=3"] {
        description.resources.add_generic(text).unwrap();
    }
    world.cluster.apply(vec![Change::Replace(node.into())]);
    let unit = |name: &str| json!({ "NamedResourceSpec": { "Kind": "gpu", "Value": name } });
    let shown = world.get("/nodes/self").await.json()["Description"]["Resources"]["GenericResources"].clone();
    let counted = json!({ "DiscreteResourceSpec": { "Kind": "ssd", "Value": 3 } });
    assert_eq!(shown, json!([unit("GPU-1"), unit("GPU-2"), counted]));
    let task = world.cluster.run_task(id.parse().unwrap(), 1);
    let mut given = (**world.cluster.view().task(task).unwrap()).clone();
    let names = vec!["GPU-1".to_owned(), "GPU-2".to_owned()];
    given.assigned_resources.insert("gpu".into(), ResourceNames { names });
    world.cluster.apply(vec![Change::Replace(Object::Task(std::sync::Arc::new(given)))]);
    let shown = world.get(&format!("/tasks/{task}")).await.json()["AssignedGenericResources"].clone();
    assert_eq!(shown, json!([unit("GPU-1"), unit("GPU-2"), ssds]));
    let mut by_name = service("by-name");
    by_name["TaskTemplate"]["Resources"] = json!({ "Reservations": { "GenericResources": [unit("GPU-1")] } });
    let refused = world.post("/services/create", by_name).await;
    assert!(
        refused.message().ends_with("units of gpu cannot be asked for by name, use DiscreteResourceSpec with a number")
    );
}

#[tokio::test]
async fn how_tasks_are_placed_is_a_setting_of_the_cluster_that_other_clients_leave_alone() {
    let world = World::manager();
    let update = async |spec: Value| {
        let version = world.version("/swarm").await;
        world.post(&format!("/swarm/update?version={version}"), spec).await
    };
    let all = json!({ "Placement": "binpack", "Preemption": true, "RebalanceMovesPerMinute": 6 });
    assert_eq!(update(json!({ "Swarm": all })).await.status, StatusCode::OK);
    assert_eq!(update(json!({ "Orchestration": { "TaskHistoryRetentionLimit": 3 } })).await.status, StatusCode::OK);
    assert_eq!(update(json!({ "Swarm": { "RebalanceMovesPerMinute": 0 } })).await.status, StatusCode::OK);
    let spec = world.get("/swarm").await.json()["Spec"]["Swarm"].clone();
    assert_eq!((&spec["Placement"], &spec["Preemption"]), (&json!("binpack"), &json!(true)));
    assert_eq!(spec["RebalanceMovesPerMinute"], 0);
    let refused = update(json!({ "Swarm": { "Placement": "random" } })).await;
    assert_eq!(refused.message(), "Swarm.Placement: \"random\" is neither spread nor binpack");
}

#[tokio::test]
async fn what_would_be_evened_out_is_shown_and_done() {
    let world = World::manager();
    let mut spec = service("web");
    spec["Mode"] = json!({ "Replicated": { "Replicas": 2 } });
    spec["UpdateConfig"] = json!({ "Order": "start-first" });
    let id: swarm_core::ServiceId = world.create("/services/create", spec).await.parse().unwrap();
    world.cluster.run_task(id, 1);
    world.cluster.run_task(id, 2);
    assert_eq!(world.get("/swarm/rebalance").await.json(), json!([]));
    let mut other = (**world.cluster.view().nodes().next().unwrap()).clone();
    other.id = swarm_core::NodeId(99);
    other.raft = None;
    other.spec.role = NodeRole::Worker;
    other.spec.name = Some("host2".into());
    other.status.state = NodeState::Ready;
    world.cluster.apply(vec![Change::Create(other.into())]);
    let shown = world.get("/swarm/rebalance").await.json();
    assert_eq!((&shown[0]["From"], &shown[0]["To"]), (&json!("host1"), &json!("host2")));
    assert_eq!(shown[0]["Why"], "host1 has 2 tasks (2 of it), host2 has 0 tasks (0 of it)");
    assert_eq!(world.post("/swarm/rebalance", Value::Null).await.json(), shown);
    let moving =
        world.cluster.view().tasks_of_service(id).filter(|task| task.node == Some(swarm_core::NodeId(99))).count();
    assert_eq!(moving, 1);
}

#[tokio::test]
async fn a_service_lives_from_create_to_remove() {
    let world = World::manager();
    let id = world.create("/services/create", service("web")).await;
    world.cluster.run_task(id.parse().unwrap(), 1);
    let list: Vec<stubs::Service> = typed(world.get("/services?status=true").await.json());
    let counts = list[0].service_status.clone().unwrap();
    assert_eq!((counts.running_tasks, counts.desired_tasks), (Some(1), Some(1)));

    let taken = world.post("/services/create", service("web")).await;
    assert_eq!(taken.status, StatusCode::CONFLICT);
    assert!(taken.message().contains("name conflicts with an existing object"));

    let found: stubs::Service = typed(world.get("/services/web?insertDefaults=true").await.json());
    let version = found.version.unwrap().index.unwrap();
    let mut spec = world.get("/services/web").await.json()["Spec"].clone();
    spec["Mode"]["Replicated"]["Replicas"] = json!(3);
    spec["TaskTemplate"]["ContainerSpec"]["Image"] = json!("redis:8");
    let updated = world.post(&format!("/services/web/update?version={version}"), spec.clone()).await;
    assert_eq!(updated.status, StatusCode::OK, "{}", updated.text());
    let stale = world.post(&format!("/services/web/update?version={version}"), spec).await;
    assert_eq!((stale.status, stale.message().as_str()), (StatusCode::INTERNAL_SERVER_ERROR, OUT_OF_SEQUENCE));

    let version = world.version("/services/web").await;
    let back = world.post(&format!("/services/web/update?version={version}&rollback=previous"), Value::Null).await;
    assert_eq!(back.status, StatusCode::OK);
    let now: stubs::Service = typed(world.get("/services/web").await.json());
    assert_eq!(now.update_status.unwrap().message.as_deref(), Some("manually requested rollback"));
    assert_eq!(now.spec.unwrap().mode.unwrap().replicated.unwrap().replicas, Some(1));

    assert_eq!(world.delete("/services/web").await.status, StatusCode::OK);
    assert_eq!(world.get("/services").await.json(), json!([]));
    assert_eq!(world.delete("/services/absent").await.message(), "service absent not found");
}

#[tokio::test]
async fn an_autoscaled_service_shows_how_many_tasks_it_wants_and_why() {
    let world = World::manager();
    let mut spec = service("web");
    spec["Swarm"] = json!({ "Autoscale": { "Max": 5, "CPUPercent": 70 } });
    let id = world.create("/services/create", spec).await;
    let shown = world.get("/services/web").await.json();
    assert_eq!(
        shown["Scaled"],
        json!({ "Replicas": 1, "Reason": "no decision yet: the load of a whole window is needed" })
    );
    let autoscale = &shown["Spec"]["Swarm"]["Autoscale"];
    assert_eq!((&autoscale["Min"], &autoscale["Window"]), (&json!(1), &json!(60_000_000_000i64)));

    let stored = world.cluster.view().service(id.parse().unwrap()).unwrap().clone();
    let scaled = Scaled { replicas: 4, at: WallTime(1000), reason: "cpu 90%: 1 -> 4".to_owned() };
    let spec_written = stored.spec_written.index;
    world.cluster.apply(vec![Change::ServiceScaled { service: stored.id, spec_written, scaled }]);
    let listed = world.get("/services?status=true").await.json();
    assert_eq!(listed[0]["ServiceStatus"]["DesiredTasks"], 4);
    assert_eq!(listed[0]["Scaled"]["Reason"], "cpu 90%: 1 -> 4");
    assert_eq!(listed[0]["Spec"]["Mode"]["Replicated"]["Replicas"], 1, "what the user asked for stays");
    // A client that knows nothing of it changes the image.
    let mut spec = listed[0]["Spec"].clone();
    spec.as_object_mut().unwrap().remove("Swarm");
    spec["TaskTemplate"]["ContainerSpec"]["Image"] = json!("redis:8");
    let version = world.version("/services/web").await;
    let updated = world.post(&format!("/services/web/update?version={version}"), spec).await;
    assert_eq!(updated.status, StatusCode::OK, "{}", updated.text());
    assert_eq!(world.get("/services/web").await.json()["Scaled"]["Replicas"], 4);
    let wrong = json!({ "Name": "x", "TaskTemplate": { "ContainerSpec": { "Image": "redis:7" } },
        "Swarm": { "Autoscale": { "Max": 0, "CPUPercent": 70 } } });
    let refused = world.post("/services/create", wrong).await;
    assert_eq!(refused.message(), "Swarm.Autoscale.Max: must be Min (1) to 10000");
}

#[tokio::test]
async fn what_is_not_honoured_is_refused_by_its_path() {
    let world = World::manager();
    let refused = |spec: Value| async { world.post("/services/create", spec).await.message() };
    let mut spec = service("web");
    spec["TaskTemplate"]["ContainerSpec"]["Isolation"] = json!("hyperv");
    assert!(refused(spec).await.starts_with("TaskTemplate.ContainerSpec.Isolation: must be one of"));
    let mut spec = service("web");
    spec["TaskTemplate"]["ContainerSpec"]["Privileges"] =
        json!({ "SELinuxContext": { "Type": "x" }, "CredentialSpec": null });
    assert_eq!(refused(spec).await, "TaskTemplate.ContainerSpec.Privileges.SELinuxContext.Type is not supported");
    let mut spec = service("web");
    spec["TaskTemplate"]["Networks"] = json!([{ "Target": "absent" }]);
    assert_eq!(refused(spec).await, "TaskTemplate.Networks[0].Target: network absent not found");
    let mut spec = service("web");
    spec["EndpointSpec"] = json!({ "Ports": [{ "TargetPort": 80, "PublishedPort": 70_000 }] });
    assert_eq!(refused(spec).await, "EndpointSpec.Ports[0].PublishedPort: must be a port, 0 to 65535");
    let mut spec = service("web");
    spec["Mode"] = json!({ "Global": {}, "Replicated": {} });
    assert_eq!(refused(spec).await, "Mode: must specify only one service mode");
    assert_eq!(world.send(Method::POST, "/services/create", b"{".to_vec()).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn an_ambiguous_start_of_an_id_is_refused() {
    let world = World::manager();
    // 128 bits in base 36 start with one of 16 characters: among 40 ids two share the first.
    let mut ids = Vec::new();
    for number in 0..40 {
        ids.push(world.create("/services/create", service(&format!("s{number}"))).await);
    }
    let first = ids.iter().find(|id| ids.iter().filter(|other| other[..1] == id[..1]).count() > 1).unwrap();
    let answer = world.get(&format!("/services/{}", &first[..1])).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.message().contains("is ambiguous"));
}

#[tokio::test]
async fn credentials_are_kept_over_an_update_and_never_shown() {
    let world = World::manager();
    let id = world.create("/services/create", service("web")).await;
    let secret = Some(swarm_core::Sensitive::new("czNjcjN0".to_owned()));
    let old = world.cluster.view().service(id.parse().unwrap()).unwrap().clone();
    let mut new = (*old).clone();
    let mut spec = (*new.spec).clone();
    spec.task.container.pull_auth = secret.clone();
    new.spec = std::sync::Arc::new(spec);
    world
        .cluster
        .apply(vec![swarm_core::store::Change::Replace(swarm_core::store::Object::Service(std::sync::Arc::new(new)))]);
    let shown = world.get("/services/web").await;
    assert!(!shown.text().contains("czNjcjN0"));
    let version = world.version("/services/web").await;
    let spec = shown.json()["Spec"].clone();
    assert_eq!(world.post(&format!("/services/web/update?version={version}"), spec).await.status, StatusCode::OK);
    let kept = world.cluster.view().service(id.parse().unwrap()).unwrap().spec.task.container.pull_auth.clone();
    assert_eq!(kept, secret);
}

#[tokio::test]
async fn tasks_are_listed_by_service_node_and_state() {
    let world = World::manager();
    let id = world.create("/services/create", service("web")).await;
    let other = world.create("/services/create", service("db")).await;
    let task = world.cluster.run_task(id.parse().unwrap(), 1);
    world.cluster.run_task(other.parse().unwrap(), 1);
    let list = async |filters: &str| {
        let filters: String = filters.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = world.get(&format!("/tasks?filters={filters}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        typed::<Vec<stubs::Task>>(answer.json())
    };
    let found = list(r#"{"service":["web"],"node":["self"],"desired-state":["running"],"_up-to-date":["true"]}"#).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].id.as_deref(), Some(task.to_string().as_str()));
    assert_eq!(found[0].slot, Some(1));
    assert_eq!(list(r#"{"_up-to-date":["false"]}"#).await.len(), 0);
    assert_eq!(list(r#"{"name":{"web.1":true}}"#).await.len(), 1);
    assert_eq!(world.get("/tasks/absent").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn networks_are_made_shown_and_removed() {
    let world = World::manager();
    let spec = json!({
        "Name": "back", "Driver": "overlay", "CheckDuplicate": true, "Attachable": true, "Scope": "swarm",
        "IPAM": { "Driver": "default", "Options": null, "Config": [{ "Subnet": "10.9.0.0/24", "Gateway": "10.9.0.1" }] },
        "Options": { "encrypted": "" }, "Labels": { "a": "b" },
    });
    world.create("/networks/create", spec.clone()).await;
    assert_eq!(world.post("/networks/create", spec).await.status, StatusCode::CONFLICT);
    let shown = world.get("/networks/back?scope=swarm").await.json();
    let network: stubs::NetworkInspect = typed(shown);
    assert_eq!(network.attachable, Some(true));
    assert_eq!(network.ipam.unwrap().config.unwrap()[0].subnet.as_deref(), Some("10.9.0.0/24"));
    let bridge = world.post("/networks/create", json!({ "Name": "x", "Driver": "bridge" })).await;
    assert!(bridge.message().starts_with("Driver: "));
    let mut user = service("web");
    user["TaskTemplate"]["Networks"] = json!([{ "Target": "back", "Aliases": ["w"] }]);
    world.create("/services/create", user).await;
    let used = world.delete("/networks/back").await;
    assert_eq!(
        (used.status, used.message().as_str()),
        (StatusCode::BAD_REQUEST, "network back is in use by service web")
    );
    world.delete("/services/web").await;
    assert_eq!(world.delete("/networks/back").await.status, StatusCode::NO_CONTENT);
    assert_eq!(world.delete("/networks/host").await.status, StatusCode::FORBIDDEN);
    let outside = World::outside().get("/networks").await.json();
    let names: Vec<_> = outside.as_array().unwrap().iter().map(|network| network["Name"].clone()).collect();
    assert_eq!(names, ["host", "none"]);
}

#[tokio::test]
async fn a_secret_never_shows_its_content_and_a_config_does() {
    let world = World::manager();
    let content = json!({ "Name": "key", "Labels": { "a": "b" }, "Data": "c2VjcmV0" });
    world.create("/secrets/create", content.clone()).await;
    world.create("/configs/create", content.clone()).await;
    let secret = world.get("/secrets/key").await;
    assert!(!secret.text().contains("c2VjcmV0"));
    let _: stubs::Secret = typed(secret.json());
    assert_eq!(world.get("/configs/key").await.json()["Spec"]["Data"], "c2VjcmV0");
    assert_eq!(world.post("/secrets/create", content).await.status, StatusCode::CONFLICT);
    let version = world.version("/secrets/key").await;
    let path = format!("/secrets/key/update?version={version}");
    let renamed = world.post(&path, json!({ "Name": "other" })).await;
    assert_eq!(renamed.message(), "Name: a secret keeps its name; make another secret for \"other\"");
    let mut user = service("web");
    user["TaskTemplate"]["ContainerSpec"]["Secrets"] = json!([{ "SecretName": "key" }]);
    world.create("/services/create", user).await;
    assert_eq!(world.post(&path, json!({ "Name": "key", "Labels": {} })).await.status, StatusCode::OK);
    assert_eq!(world.get("/secrets/key").await.json()["ContentVersion"], 1);
    let path = format!("/secrets/key/update?version={}", world.version("/secrets/key").await);
    let wrong = json!({ "Data": "b3RoZXI=", "Templating": { "Name": "jinja" } });
    assert!(world.post(&path, wrong).await.message().starts_with("Templating.Name: template driver \"jinja\""));
    let changed = json!({ "Data": "b3RoZXI=", "Templating": { "Name": "golang" } });
    assert_eq!(world.post(&path, changed).await.status, StatusCode::OK);
    let secret = world.get("/secrets/key").await.json();
    assert_eq!((&secret["ContentVersion"], &secret["Spec"]["Templating"]["Name"]), (&json!(2), &json!("golang")));
    assert!(secret["Spec"].get("Data").is_none());
    let contents = world.get("/services/web").await.json()["Contents"].clone();
    assert_eq!(contents, json!([{ "Secret": "key", "Version": 1, "Newest": 2 }]));
    assert_eq!(world.delete("/secrets/key").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(world.delete("/configs/key").await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn volumes_are_made_listed_and_removed() {
    let world = World::outside();
    world.post("/volumes/create", json!({ "Name": "data", "Labels": { "a": "b" } })).await;
    let list: stubs::VolumeListResponse = typed(world.get("/volumes").await.json());
    assert_eq!(list.volumes.unwrap()[0].name, "data");
    let anonymous = world.post("/volumes/create", json!({})).await.json();
    assert_eq!(anonymous["Name"].as_str().map(str::len), Some(64));
    assert_eq!(world.get("/volumes/absent").await.status, StatusCode::NOT_FOUND);
    assert_eq!(world.delete("/volumes/data").await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn images_are_found_by_names_with_slashes_tagged_and_removed() {
    let world = World::outside();
    world.post("/images/create?fromImage=redis&tag=7", Value::Null).await;
    assert_eq!(
        world.post("/images/redis:7/tag?repo=my/own/redis&tag=1", Value::Null).await.status,
        StatusCode::CREATED
    );
    let image: stubs::ImageInspect = typed(world.get("/images/my/own/redis:1/json").await.json());
    assert_eq!(image.config.unwrap().cmd, Some(vec!["run".to_owned()]));
    let list: Vec<stubs::ImageSummary> = typed(world.get("/images/json").await.json());
    assert_eq!(list[0].labels["team"], "a");
    let history: Vec<stubs::ImageHistoryResponseItem> = typed(world.get("/images/my/own/redis:1/history").await.json());
    assert_eq!(history.len(), 1);
    assert_eq!(world.delete("/images/my/own/redis:1").await.status, StatusCode::OK);
    assert_eq!(world.get("/images/redis:7/json").await.message(), "No such image: redis:7");
    let registry = world.get("/distribution/docker.io/library/redis:7/json").await;
    assert_eq!(registry.status, StatusCode::NOT_IMPLEMENTED);
}
