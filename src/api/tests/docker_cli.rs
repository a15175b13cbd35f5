//! The docker CLI, unmodified, against this server.

use super::client::World;
use serde_json::json;
use std::path::Path;
use tokio::process::Command;

/// Where the CLI is looked for.
const DOCKER: [&str; 2] = ["/usr/local/bin/docker", "/usr/bin/docker"];

async fn docker(world: &World, args: &[&str]) -> String {
    let binary = DOCKER.into_iter().find(|path| Path::new(path).exists()).expect("the docker CLI is installed");
    let host = format!("unix://{}", world.socket.display());
    let output = Command::new(binary).arg("-H").arg(host).args(args).output().await.unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "docker {args:?}\nstdout: {out}\nstderr: {err}");
    out.into_owned()
}

#[tokio::test]
#[ignore = "needs the docker CLI"]
async fn it_shows_the_swarm() {
    let world = World::manager();
    assert!(docker(&world, &["version"]).await.contains("1.55"));
    let info = docker(&world, &["info"]).await;
    assert!(info.contains("Swarm: active") && info.contains("Is Manager: true"), "{info}");
    let nodes = docker(&world, &["node", "ls"]).await;
    assert!(nodes.contains("host1") && nodes.contains("Leader"), "{nodes}");
    assert!(docker(&world, &["node", "inspect", "--pretty", "self"]).await.contains("Hostname"));
    docker(&world, &["node", "update", "--label-add", "zone=a", "self"]).await;
    assert!(docker(&world, &["swarm", "join-token", "worker"]).await.contains("SWMTKN-1-"));
    docker(&world, &["swarm", "update", "--task-history-limit", "3"]).await;
}

#[tokio::test]
#[ignore = "needs the docker CLI"]
async fn it_makes_changes_and_removes_services() {
    let world = World::manager();
    let create = ["service", "create", "-d", "--name", "web", "--replicas", "2", "-p", "8080:80", "--env", "A=1"];
    let more = [
        "--mount",
        "type=volume,source=data,target=/data",
        "--limit-memory",
        "64m",
        "--constraint",
        "node.role==manager",
    ];
    let args: Vec<_> =
        create.into_iter().chain(more).chain(["--no-resolve-image", "redis:7", "redis-server"]).collect();
    let id = docker(&world, &args).await.trim().to_owned();
    world.cluster.run_task(id.parse().unwrap(), 1);
    let list = docker(&world, &["service", "ls"]).await;
    assert!(list.contains("web") && list.contains("1/2"), "{list}");
    assert!(docker(&world, &["service", "ps", "web"]).await.contains("web.1"));
    assert!(docker(&world, &["service", "inspect", "--pretty", "web"]).await.contains("redis:7"));
    docker(&world, &["service", "update", "-d", "--no-resolve-image", "--image", "redis:8", "--replicas", "3", "web"])
        .await;
    docker(&world, &["service", "update", "-d", "--rollback", "web"]).await;
    docker(&world, &["service", "scale", "-d", "web=4"]).await;
    assert!(docker(&world, &["service", "ls"]).await.contains("1/4"));
    docker(&world, &["service", "rm", "web"]).await;
    assert!(!docker(&world, &["service", "ls"]).await.contains("web"));
}

#[tokio::test]
#[ignore = "needs the docker CLI"]
async fn it_deploys_and_removes_a_stack() {
    let world = World::manager();
    let folder = std::env::temp_dir().join(format!("swarm-api-stack-{:032x}", super::fake::draw()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("key.txt"), "secret").unwrap();
    let stack = r#"
services:
  web:
    image: redis:7
    command: ["redis-server"]
    environment: { A: "1" }
    ports: ["8080:80"]
    networks: { front: { aliases: [w] } }
    secrets: [key]
    configs: [{ source: conf, target: /conf }]
    volumes: ["data:/data"]
    healthcheck: { test: ["CMD", "true"], interval: 5s }
    logging: { driver: json-file, options: { max-size: 1m } }
    deploy:
      replicas: 2
      update_config: { parallelism: 1, order: start-first }
      restart_policy: { condition: on-failure, delay: 1s }
      resources: { limits: { cpus: "0.5", memory: 64M } }
networks: { front: {} }
volumes: { data: {} }
secrets: { key: { file: ./key.txt } }
configs: { conf: { file: ./key.txt } }
"#;
    let file = folder.join("stack.yml");
    std::fs::write(&file, stack).unwrap();
    let file = file.to_str().unwrap();
    let deploy = ["stack", "deploy", "--detach=true", "--resolve-image=never", "-c", file, "shop"];
    docker(&world, &deploy).await;
    docker(&world, &deploy).await;
    assert!(docker(&world, &["stack", "ls"]).await.contains("shop"));
    assert!(docker(&world, &["stack", "services", "shop"]).await.contains("shop_web"));
    assert!(docker(&world, &["network", "ls"]).await.contains("shop_front"));
    assert!(docker(&world, &["secret", "ls"]).await.contains("shop_key"));
    assert!(docker(&world, &["config", "inspect", "--pretty", "shop_conf"]).await.contains("secret"));
    let service = world.cluster.view().service_by_name("shop_web").unwrap().id;
    world.cluster.run_task(service, 1);
    assert!(docker(&world, &["stack", "ps", "shop"]).await.contains("shop_web.1"));
    docker(&world, &["stack", "rm", "shop"]).await;
    assert!(!docker(&world, &["secret", "ls"]).await.contains("shop_key"));
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
#[ignore = "needs the docker CLI"]
async fn it_pulls_lists_and_tags_images() {
    let world = World::outside();
    // The CLI asks for docker.io/library/redis; the fake registry knows the short name.
    docker(&world, &["image", "ls"]).await;
    let tar = std::env::temp_dir().join(format!("swarm-api-{:032x}.tar", super::fake::draw()));
    std::fs::write(&tar, b"tar").unwrap();
    assert!(docker(&world, &["load", "-i", tar.to_str().unwrap()]).await.contains("Loaded image"));
    assert!(docker(&world, &["image", "ls"]).await.contains("loaded"));
    docker(&world, &["tag", "loaded:1", "own/app:2"]).await;
    docker(&world, &["import", tar.to_str().unwrap(), "base:1"]).await;
    docker(&world, &["volume", "create", "data"]).await;
    assert!(docker(&world, &["volume", "ls"]).await.contains("data"));
    docker(&world, &["ps", "-a"]).await;
    docker(&world, &["network", "ls"]).await;
    std::fs::remove_file(tar).unwrap();
}

#[tokio::test]
#[ignore = "needs the docker CLI"]
async fn it_finds_an_object_of_any_kind_by_its_name() {
    let world = World::manager();
    let content = |name: &str| json!({ "Name": name, "Data": "a2V5" });
    world.create("/secrets/create", content("key")).await;
    world.create("/configs/create", content("conf")).await;
    world.create("/networks/create", json!({ "Name": "back", "Driver": "overlay" })).await;
    let spec = json!({ "Name": "web", "TaskTemplate": { "ContainerSpec": { "Image": "redis:7" } } });
    let service = world.create("/services/create", spec).await;
    let task = world.cluster.run_task(service.parse().unwrap(), 1).to_string();
    for name in ["key", "conf", "back", "web", "host1", &task] {
        let shown = docker(&world, &["inspect", name]).await;
        assert!(shown.contains(name), "{name}: {shown}");
    }
    docker(&world, &["network", "inspect", "--verbose", "ingress"]).await;
    docker(&world, &["plugin", "ls"]).await;
    docker(&world, &["system", "df"]).await;
    docker(&world, &["system", "df", "--verbose"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the docker CLI"]
async fn it_waits_until_a_service_has_come_up_and_been_updated() {
    let world = World::manager();
    let cluster = world.cluster.clone();
    // A cluster that works in the background, as a real one does.
    let working = tokio::task::spawn_blocking({
        let cluster = cluster.clone();
        move || {
            while !cluster.stopped() {
                cluster.settle();
                std::thread::yield_now();
            }
        }
    });
    // docker looks every 200 ms, and returns without a word where an update is completed before it saw the tasks up: it
    // has to see them up while they are monitored.
    let create = ["service", "create", "--name", "web", "--replicas", "2", "-p", "8080:80", "--update-monitor", "1s"];
    let created = docker(&world, &[&create[..], &["--no-resolve-image", "redis:7"]].concat()).await;
    assert!(created.contains("converged"), "{created}");
    let list = docker(&world, &["service", "ls"]).await;
    assert!(list.contains("2/2") && list.contains("*:8080->80/tcp"), "{list}");
    let updated = docker(&world, &["service", "update", "--no-resolve-image", "--image", "redis:8", "web"]).await;
    assert!(updated.contains("converged"), "{updated}");
    let back = docker(&world, &["service", "rollback", "web"]).await;
    assert!(back.contains("converged"), "{back}");
    assert!(docker(&world, &["service", "scale", "web=3"]).await.contains("converged"));
    cluster.stop();
    working.await.unwrap();
}
