//! The measurements, the same for every subject. Each phase has a cluster of its own.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{SOON, wait_for, wait_until};
use crate::subject::{Subject, containers, memory_mb};

/// A hundred containers on a machine of two cores take some seconds; minutes are a fault. A peer may be
/// without a leader for a minute.
const LIMIT: Duration = Duration::from_secs(180);
const HOSTS: f64 = 3.0;

pub type Figures = BTreeMap<&'static str, f64>;

/// Measures everything once.
pub fn all<S: Subject>() -> Figures {
    let mut figures = Figures::new();
    start_and_memory::<S>(&mut figures);
    update::<S>(&mut figures);
    failures::<S>(&mut figures);
    figures
}

fn seconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64()
}

/// Creates a service that does nothing, through the API of host 1.
fn create(subject: &impl Subject, name: &str, replicas: u64) {
    let container = json!({"Image": subject.image(1), "Command": ["sleep"], "Args": ["1000000"], "Init": true});
    let spec = json!({
        "Name": name,
        "Mode": {"Replicated": {"Replicas": replicas}},
        "TaskTemplate": {"ContainerSpec": container},
        "UpdateConfig": {"Parallelism": 1, "Delay": 0, "Monitor": 1, "Order": "stop-first"},
    });
    let response = subject.try_api(1, "POST", "/services/create", Some(&spec)).expect("host 1 answers");
    assert_eq!(response.status, 201, "create {name}: {}", response.text());
}

/// Alters the specification of a service, through the API of a host.
fn alter(subject: &impl Subject, host: u8, name: &str, change: impl Fn(&mut serde_json::Value)) {
    let service = subject.api(host, &format!("/services/{name}"));
    let version = service["Version"]["Index"].as_u64().expect("a service has a version");
    let mut spec = service["Spec"].clone();
    change(&mut spec);
    let path = format!("/services/{name}/update?version={version}");
    let response = subject.try_api(host, "POST", &path, Some(&spec)).expect("the host answers");
    assert_eq!(response.status, 200, "update {name}: {}", response.text());
}

fn start_and_memory<S: Subject>(figures: &mut Figures) {
    let start = Instant::now();
    let mut subject = S::up("bench");
    figures.insert("up", seconds(start));
    subject.wait_all_ready(1);
    subject.load_image(1);
    let daemons = subject.daemons();
    figures.insert("idle_pss", memory_mb(&daemons, "Pss") / HOSTS);
    figures.insert("idle_rss", memory_mb(&daemons, "Rss") / HOSTS);
    let start = Instant::now();
    create(&subject, "m", 3);
    subject.wait_running(1, "m", 3, LIMIT);
    figures.insert("start3", seconds(start));
    for (key, count) in [("start30", 30), ("start100", 100)] {
        let start = Instant::now();
        alter(&subject, 1, "m", |spec| spec["Mode"]["Replicated"]["Replicas"] = json!(count));
        subject.wait_running(1, "m", count, LIMIT);
        figures.insert(key, seconds(start));
    }
    figures.insert("rate", 70.0 / figures["start100"]);
    let helpers = subject.helpers();
    assert!(helpers.len() >= 100, "only {} processes for 100 containers", helpers.len());
    let (helper_mb, daemon_mb) = (memory_mb(&helpers, "Pss"), memory_mb(&subject.daemons(), "Pss"));
    figures.insert("shim_pss", helper_mb / 100.0);
    figures.insert("busy_pss", daemon_mb / HOSTS);
    figures.insert("total_pss", helper_mb + daemon_mb);
}

fn update<S: Subject>(figures: &mut Figures) {
    let mut subject = S::up("benchup");
    subject.load_image(1);
    subject.load_image(2);
    create(&subject, "u", 6);
    subject.wait_running(1, "u", 6, LIMIT);
    let image = subject.image(2);
    let start = Instant::now();
    alter(&subject, 1, "u", |spec| spec["TaskTemplate"]["ContainerSpec"]["Image"] = json!(image));
    wait_for("the update is completed", LIMIT, || {
        let service = subject.api(1, "/services/u");
        (service.pointer("/UpdateStatus/State")?.as_str()? == "completed").then_some(())
    });
    figures.insert("update", seconds(start));
}

fn failures<S: Subject>(figures: &mut Figures) {
    let mut subject = S::up("benchfail");
    subject.load_image(1);
    create(&subject, "f", 6);
    subject.wait_running(1, "f", 6, LIMIT);
    node_loss(&subject, figures);
    leader_loss(&mut subject, figures);
}

fn node_loss(subject: &impl Subject, figures: &mut Figures) {
    let leader = wait_for("a leader", SOON, || subject.leader(1));
    // A host with tasks, and not the one that leads: its loss is measured, not an election.
    let (victim, node) = (1..=subject.host_count() as u8)
        .map(|host| (host, subject.node_id(host)))
        .find(|(host, id)| *host != leader && subject.running(leader, "f").iter().any(|t| t.node == *id))
        .expect("tasks are spread");
    let start = Instant::now();
    subject.cut(victim);
    wait_until("the host is seen as down", LIMIT, || {
        subject.nodes(leader).is_some_and(|n| n.iter().any(|n| n.id == node && n.state == "down"))
    });
    figures.insert("noticed", seconds(start));
    wait_until("the tasks run elsewhere", LIMIT, || {
        subject.running(leader, "f").iter().filter(|t| t.node != node).count() == 6
    });
    figures.insert("elsewhere", seconds(start));
    let start = Instant::now();
    subject.mend(victim);
    wait_until("six containers run", LIMIT, || containers(subject) == 6);
    figures.insert("healed", seconds(start));
}

fn leader_loss(subject: &mut impl Subject, figures: &mut Figures) {
    let leader = wait_for("a leader again", LIMIT, || subject.leader(1));
    wait_until("every host is ready again", LIMIT, || {
        subject.nodes(leader).is_some_and(|n| n.iter().all(|n| n.state == "ready"))
    });
    let other = (1..=subject.host_count() as u8).find(|host| *host != leader).expect("three hosts");
    let container = json!({"Image": subject.image(1)});
    // A name for each attempt: one that was given up may have been written after all.
    let mut attempt = 0;
    let start = Instant::now();
    subject.kill(leader);
    wait_until("a write is acknowledged", LIMIT, || {
        attempt += 1;
        let spec = json!({
            "Name": format!("after{attempt}"),
            "Mode": {"Replicated": {"Replicas": 0}},
            "TaskTemplate": {"ContainerSpec": container},
        });
        subject.try_api(other, "POST", "/services/create", Some(&spec)).is_ok_and(|r| r.status == 201)
    });
    figures.insert("leader", seconds(start));
}
