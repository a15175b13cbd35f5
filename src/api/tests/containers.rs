use super::client::World;
use crate::ports::{ContainerRecord, ContainerState, HealthRun};
use axum::http::StatusCode;
use serde_json::{Value, json};
use swarm_core::model::Health;

fn running() -> ContainerRecord {
    let state = ContainerState::Running;
    ContainerRecord { id: "ab".repeat(32), name: "web.1.x".into(), state, ..ContainerRecord::default() }
}

#[tokio::test]
async fn a_container_is_stopped_with_the_signal_and_the_time_that_were_asked_for() {
    let world = World::outside();
    world.local.containers.lock().unwrap().push(running());
    for query in ["", "?t=3", "?t=-1", "?signal=SIGINT&t=0"] {
        let answer = world.post(&format!("/containers/web.1.x/stop{query}"), Value::Null).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{query}: {}", answer.text());
    }
    let stopped = world.local.stopped_with.lock().unwrap().clone();
    let expected = [("", None), ("", Some(3)), ("", Some(-1)), ("SIGINT", Some(0))];
    assert_eq!(stopped, expected.map(|(signal, time)| (signal.to_owned(), time)));
    let wrong = world.post("/containers/web.1.x/stop?t=soon", Value::Null).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn an_inspected_container_shows_the_last_runs_of_its_health_check() {
    let world = World::outside();
    let run = HealthRun { started_ns: 1_000_000_000, ended_ns: 2_000_000_000, exit_code: 1, output: "no\n".into() };
    let (health, health_log) = (Health::Starting, vec![run]);
    world.local.containers.lock().unwrap().push(ContainerRecord {
        health,
        health_failures: 2,
        health_log,
        ..running()
    });
    let shown = world.get("/containers/web.1.x/json").await.json()["State"]["Health"].clone();
    let log =
        json!([{ "Start": "1970-01-01T00:00:01Z", "End": "1970-01-01T00:00:02Z", "ExitCode": 1, "Output": "no\n" }]);
    assert_eq!(shown, json!({ "Status": "starting", "FailingStreak": 2, "Log": log }));
    let _: bollard_stubs::models::Health = serde_json::from_value(shown).unwrap();
}
