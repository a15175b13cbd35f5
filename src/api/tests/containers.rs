use super::client::World;
use crate::ports::{ContainerRecord, ContainerState};
use axum::http::StatusCode;
use serde_json::Value;

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
