use super::client::World;
use axum::http::StatusCode;
use serde_json::{Value, json};

async fn update(world: &World, image: &str, extension: Value) {
    let path = format!("/services/web/update?version={}", world.version("/services/web").await);
    let mut spec = json!({ "Name": "web", "Mode": { "Replicated": { "Replicas": 3 } },
        "UpdateConfig": { "Parallelism": 0 }, "TaskTemplate": { "ContainerSpec": { "Image": image } } });
    if !extension.is_null() {
        spec["Swarm"] = extension;
    }
    let answer = world.post(&path, spec).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    world.cluster.settle();
}

async fn web(world: &World) {
    let spec = json!({ "Name": "web", "Mode": { "Replicated": { "Replicas": 3 } },
        "TaskTemplate": { "ContainerSpec": { "Image": "web:1" } } });
    world.create("/services/create", spec).await;
    world.cluster.settle();
}

async fn images(world: &World) -> Vec<String> {
    let tasks = world.get("/tasks?filters=%7B%22desired-state%22%3A%5B%22running%22%5D%7D").await.json();
    let tasks = tasks.as_array().unwrap();
    let image = |task: &Value| task["Spec"]["ContainerSpec"]["Image"].as_str().unwrap().to_owned();
    let mut images: Vec<_> = tasks.iter().map(image).collect();
    images.sort();
    images
}

#[tokio::test]
async fn a_service_goes_back_to_any_version_of_its_history() {
    let world = World::manager();
    web(&world).await;
    update(&world, "web:2", Value::Null).await;
    update(&world, "web:3", Value::Null).await;
    let history = world.get("/services/web/history").await.json();
    let told = |entry: &Value| (entry["Revision"].as_u64(), entry["Current"].as_bool());
    let told: Vec<_> = history.as_array().unwrap().iter().map(told).collect();
    assert_eq!(told, [(Some(3), Some(true)), (Some(2), None), (Some(1), None)]);
    assert_eq!(history[2]["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"], "web:1");
    let path = format!("/services/web/update?version={}", world.version("/services/web").await);
    let wrong = world.post(&format!("{path}&rollback=previous&to=9"), Value::Null).await;
    assert_eq!(
        (wrong.status, wrong.message()),
        (StatusCode::BAD_REQUEST, "service web has no version 9 to go back to; it has: 2, 1".to_owned(),)
    );
    assert_eq!(
        world.post(&format!("{path}&rollback=previous&to=x"), Value::Null).await.status,
        StatusCode::BAD_REQUEST
    );
    let alone = world.post(&format!("{path}&to=1"), Value::Null).await;
    assert_eq!(
        (alone.status, alone.message()),
        (StatusCode::BAD_REQUEST, "to: only with rollback=previous".to_owned())
    );
    let back = world.post(&format!("{path}&rollback=previous&to=1"), Value::Null).await;
    assert_eq!(back.status, StatusCode::OK, "{}", back.text());
    world.cluster.settle();
    let service = world.get("/services/web").await.json();
    assert_eq!(service["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"], "web:1");
    assert_eq!(service["UpdateStatus"]["Message"], "manually requested rollback to version 1");
}

#[tokio::test]
async fn an_update_waits_with_its_canaries_and_a_client_that_knows_none_updates_all() {
    let world = World::manager();
    web(&world).await;
    update(&world, "web:2", json!({ "Canary": { "Tasks": 1 } })).await;
    assert_eq!(images(&world).await, ["web:1", "web:1", "web:2"]);
    let status = world.get("/services/web").await.json()["UpdateStatus"].clone();
    assert_eq!(status["State"], "updating");
    assert!(status["Message"].as_str().unwrap().starts_with("canary: 1 of 3 updated; waits for "), "{status}");
    assert!(status["Message"].as_str().unwrap().contains(" (up for "), "{status}");
    assert_eq!(status["Canary"]["Tasks"], 1);
    assert!(status["Canary"]["Since"].is_string());
    assert_eq!(world.post("/services/web/promote", Value::Null).await.status, StatusCode::OK);
    world.cluster.settle();
    assert_eq!(images(&world).await, ["web:2", "web:2", "web:2"]);
    let again = world.post("/services/web/promote", Value::Null).await;
    assert_eq!(again.message(), "service web has no canary that waits to be promoted");
    update(&world, "web:3", Value::Null).await;
    assert_eq!(images(&world).await, ["web:3", "web:3", "web:3"]);
}

#[tokio::test]
async fn the_number_of_versions_kept_is_a_setting_of_the_swarm() {
    let world = World::manager();
    let set = async |limit: Value| {
        let version = world.version("/swarm").await;
        world.post(&format!("/swarm/update?version={version}"), json!({ "Swarm": { "SpecHistoryLimit": limit } })).await
    };
    assert_eq!(set(json!(1)).await.status, StatusCode::OK);
    assert_eq!(world.get("/swarm").await.json()["Spec"]["Swarm"]["SpecHistoryLimit"], 1);
    let wrong = set(json!(1u64 << 40)).await;
    assert_eq!(wrong.message(), "Swarm.SpecHistoryLimit: too large");
    web(&world).await;
    for image in ["web:2", "web:3", "web:4"] {
        update(&world, image, Value::Null).await;
    }
    let history = world.get("/services/web/history").await.json();
    assert_eq!(history.as_array().map(Vec::len), Some(2), "the present one and the one before");
}

#[tokio::test]
async fn a_dry_run_tells_what_would_be_and_does_nothing() {
    let world = World::manager();
    web(&world).await;
    let before = world.get("/services/web").await.json();
    let mut spec = before["Spec"].clone();
    spec["TaskTemplate"]["ContainerSpec"]["Image"] = json!("web:2");
    let path = format!("/services/web/update?version={}&dryRun=1", world.version("/services/web").await);
    let told = world.post(&path, spec).await.json();
    assert_eq!(told["Whole"], true);
    assert_eq!(told["Objects"][0]["Action"], "update");
    assert_eq!(told["Objects"][0]["After"]["TaskTemplate"]["ContainerSpec"]["Image"], "web:2");
    let actions: Vec<_> = told["Tasks"].as_array().unwrap().iter().map(|action| action["Action"].clone()).collect();
    assert_eq!(actions, ["replace", "replace", "replace"]);
    assert_eq!(told["Tasks"][0]["ToHostname"], "host1");
    assert_eq!(told["Services"][0]["Message"], "update completed");
    assert_eq!(world.get("/services/web").await.json(), before);
    let gone = world.delete("/services/web?dryRun=1").await.json();
    assert_eq!(gone["Objects"][0]["Action"], "remove");
    assert_eq!(world.get("/services/web").await.json(), before);
}

#[tokio::test]
async fn a_rehearsal_of_several_names_what_it_would_make() {
    let world = World::manager();
    web(&world).await;
    let body = json!({
        "RemoveServices": ["web"],
        "Networks": [{ "Name": "back", "Driver": "overlay" }],
        "Secrets": [{ "Name": "key", "Data": "a2V5" }],
        "Services": [{ "Name": "db", "TaskTemplate": { "Networks": [{ "Target": "back" }], "ContainerSpec": {
            "Image": "db:1", "Secrets": [{ "SecretName": "key", "File": { "Name": "key", "UID": "0", "GID": "0", "Mode": 292 } }] } } }],
    });
    let told = world.post("/rehearsal", body).await;
    assert_eq!(told.status, StatusCode::OK, "{}", told.text());
    let told = told.json();
    let objects: Vec<_> =
        told["Objects"].as_array().unwrap().iter().map(|o| (o["Action"].clone(), o["Name"].clone())).collect();
    let expected = [("remove", "web"), ("create", "back"), ("create", "key"), ("create", "db")];
    assert_eq!(objects, expected.map(|(action, name)| (json!(action), json!(name))));
    assert!(!told.to_string().contains("a2V5"), "contents are not told");
    let started = told["Tasks"].as_array().unwrap().iter().filter(|action| action["Action"] == "start").count();
    assert_eq!(started, 1);
    let wrong = json!({ "Services": [{ "Name": "db", "TaskTemplate": { "ContainerSpec": { "Image": "No Image" } } }] });
    assert_eq!(world.post("/rehearsal", wrong).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(world.get("/services").await.json().as_array().map(Vec::len), Some(1));
}
