//! How long the lists of a large swarm take, from the request to the last byte of the answer.
//!
//! `cargo test --release -p api -- --ignored --nocapture lists`

use super::client::World;
use axum::http::Method;
use http_body_util::BodyExt as _;
use serde_json::json;
use std::time::{Duration, Instant};

const SERVICES: usize = 1_000;
const TASKS: usize = 10_000;
const REQUESTS: usize = 200;
/// What the slowest of a hundred may take.
const SLOWEST: Duration = Duration::from_millis(50);

async fn large() -> World {
    let world = World::manager();
    world
        .create(
            "/networks/create",
            json!({ "Name": "back", "Driver": "overlay",
        "IPAM": { "Config": [{ "Subnet": "10.128.0.0/16" }] } }),
        )
        .await;
    for number in 0..SERVICES {
        let spec = json!({
            "Name": format!("service-{number}"), "Labels": { "com.docker.stack.namespace": "shop", "tier": "web" },
            "Mode": { "Replicated": { "Replicas": TASKS / SERVICES } },
            "TaskTemplate": {
                "ContainerSpec": {
                    "Image": "registry.example.com/shop/web:1.2.3", "Env": ["A=1", "LEVEL=info", "URL=http://db:5432/shop"],
                    "Labels": { "com.docker.stack.namespace": "shop" },
                    "Mounts": [{ "Type": "volume", "Source": "data", "Target": "/data" }],
                    "Healthcheck": { "Test": ["CMD", "true"], "Interval": 1_000_000_000i64 },
                },
                "Networks": [{ "Target": "back", "Aliases": ["web"] }],
                "Resources": { "Limits": { "MemoryBytes": 67_108_864 } },
            },
            "UpdateConfig": { "Parallelism": 1, "Order": "start-first" },
        });
        world.create("/services/create", spec).await;
    }
    world.cluster.settle();
    world
}

/// Median, the slowest of a hundred, and the length of the answer.
async fn measure(world: &World, path: &str) -> (Duration, Duration, usize) {
    let mut times = Vec::with_capacity(REQUESTS);
    let mut length = 0;
    for _ in 0..REQUESTS {
        let start = Instant::now();
        let answer = world.open(Method::GET, path, Vec::new()).await;
        length = answer.into_body().collect().await.unwrap().to_bytes().len();
        times.push(start.elapsed());
    }
    times.sort();
    (times[REQUESTS / 2], times[REQUESTS * 99 / 100], length)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, of an optimised build"]
async fn lists_of_a_large_swarm_are_answered_at_once() {
    let world = large().await;
    assert_eq!(world.cluster.view().tasks().count(), TASKS);
    for path in ["/services", "/services?status=true", "/tasks", "/v1.40/services", "/v1.40/tasks"] {
        let (median, slowest, length) = measure(&world, path).await;
        println!("{path:24} p50 {median:>10.2?}  p99 {slowest:>10.2?}  {length} bytes");
        let is_newest = !path.starts_with("/v1.40");
        assert!(cfg!(debug_assertions) || !is_newest || slowest < SLOWEST, "{path} took {slowest:?}");
    }
}
