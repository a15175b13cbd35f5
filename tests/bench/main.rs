//! `make bench`: what a cluster of three hosts on this machine does, in figures.
//!
//! Every figure is the median of several runs, each on a fresh cluster of the release binary. Nothing is
//! estimated: what could not be measured ends the program.
//! usage: cargo bench -p swarm --bench figures -- [--runs N] [--write FILE]

#[path = "../cluster/harness/mod.rs"]
#[allow(dead_code, reason = "the tests use all of it")]
mod harness;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use harness::{Cluster, Probe as _, SOON, pids, wait_for, wait_until};
use serde_json::json;

/// Odd, so that the median is a run.
const RUNS: usize = 3;
/// A hundred containers on a machine of two cores take some seconds; minutes are a fault.
const LIMIT: Duration = Duration::from_secs(180);
/// Text of BENCHMARKS.md between which the table is replaced.
const BEGIN: &str = "<!-- figures: written by make bench -->";
const END: &str = "<!-- end of figures -->";

/// What is measured, in the order of the table, with the figure of Docker Swarm 20.10.24 on the reference machine.
const ROWS: [(&str, &str, &str); 15] = [
    ("up", "`dev up`: three daemons started and joined", ""),
    ("start3", "create with 3 replicas, running", "0.85 s"),
    ("start30", "3 to 30 tasks, running", "3.6 s"),
    ("start100", "30 to 100 tasks, running", "9.2 s"),
    ("rate", "start rate from 30 to 100 tasks", "7.6 tasks/s"),
    ("update", "rolling update of 6, one by one, no delay", "15.2 s"),
    ("leader", "leader killed, next write acknowledged", ""),
    ("noticed", "host cut off, seen as down", "12.6 s"),
    ("elsewhere", "host cut off, its tasks run elsewhere", "18.0 s"),
    ("healed", "cut mended, the wanted number of containers runs", ""),
    ("idle_pss", "idle manager, PSS", ""),
    ("idle_rss", "idle manager, resident", "about 115 MB"),
    ("busy_pss", "manager with a third of 100 containers, PSS", ""),
    ("shim_pss", "per container (its shim), PSS", "about 4.5 MB"),
    ("total_pss", "three nodes and 100 containers without their programs, PSS", "513 MB"),
];

type Figures = BTreeMap<&'static str, f64>;

fn main() {
    let mut runs = RUNS;
    let mut write = None;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            // cargo bench says so to every bench.
            "--bench" => {}
            "--runs" => {
                runs = args.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0).expect("--runs takes a number")
            }
            "--write" => write = Some(args.next().expect("--write takes a file")),
            other => panic!("unknown argument {other}; known: --runs N, --write FILE"),
        }
    }
    let mut all: Vec<Figures> = Vec::new();
    for run in 1..=runs {
        eprintln!("run {run} of {runs}");
        let mut figures = Figures::new();
        start_and_memory(&mut figures);
        update(&mut figures);
        failures(&mut figures);
        all.push(figures);
    }
    let table = table(&all);
    println!("{table}");
    if let Some(file) = write {
        let old = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{file}: {e}"));
        let (head, rest) = old.split_once(BEGIN).unwrap_or_else(|| panic!("{file}: no line {BEGIN}"));
        let (_, tail) = rest.split_once(END).unwrap_or_else(|| panic!("{file}: no line {END}"));
        let text = format!("{head}{BEGIN}\n{}\n{table}\n{END}{tail}", machine());
        std::fs::write(&file, text).unwrap_or_else(|e| panic!("{file}: {e}"));
    }
}

fn seconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64()
}

/// Creates a service of `app:1` that does nothing, through the API of host 1.
fn create(cluster: &Cluster, name: &str, replicas: u64) {
    let spec = json!({
        "Name": name,
        "Mode": {"Replicated": {"Replicas": replicas}},
        "TaskTemplate": {"ContainerSpec": {"Image": "app:1", "Command": ["sleep"], "Args": ["1000000"], "Init": true}},
        "UpdateConfig": {"Parallelism": 1, "Delay": 0, "Monitor": 1, "Order": "stop-first"},
    });
    let response = cluster.try_api(1, "POST", "/services/create", Some(&spec)).expect("host 1 answers");
    assert_eq!(response.status, 201, "create {name}: {}", response.text());
}

fn start_and_memory(figures: &mut Figures) {
    let start = Instant::now();
    let cluster = Cluster::up("bench", 3);
    figures.insert("up", seconds(start));
    cluster.wait_all_ready(1);
    cluster.load_app(1);
    let daemons = daemons(&cluster);
    figures.insert("idle_pss", daemons.iter().map(|p| memory_mb(*p, "Pss")).sum::<f64>() / 3.0);
    figures.insert("idle_rss", daemons.iter().map(|p| memory_mb(*p, "Rss")).sum::<f64>() / 3.0);
    let start = Instant::now();
    create(&cluster, "m", 3);
    cluster.wait_running(1, "m", 3, LIMIT);
    figures.insert("start3", seconds(start));
    for (key, count) in [("start30", 30), ("start100", 100)] {
        let start = Instant::now();
        cluster.swarm(1, &["service", "scale", "--detach", &format!("m={count}")]);
        cluster.wait_running(1, "m", count, LIMIT);
        figures.insert(key, seconds(start));
    }
    figures.insert("rate", 70.0 / figures["start100"]);
    let shims: Vec<u32> = shims(&cluster, &daemons);
    assert!(shims.len() >= 100, "only {} shims for 100 containers", shims.len());
    let shim_mb: f64 = shims.iter().map(|p| memory_mb(*p, "Pss")).sum();
    let daemon_mb: f64 = daemons.iter().map(|p| memory_mb(*p, "Pss")).sum();
    figures.insert("shim_pss", shim_mb / 100.0);
    figures.insert("busy_pss", daemon_mb / 3.0);
    figures.insert("total_pss", shim_mb + daemon_mb);
}

fn update(figures: &mut Figures) {
    let cluster = Cluster::up("benchup", 3);
    cluster.load_app(1);
    cluster.load_app(2);
    create(&cluster, "u", 6);
    cluster.wait_running(1, "u", 6, LIMIT);
    let start = Instant::now();
    cluster.swarm(1, &["service", "update", "--detach", "--image", "app:2", "u"]);
    wait_for("the update is completed", LIMIT, || {
        let services = cluster.api(1, "/services");
        (services.pointer("/0/UpdateStatus/State")?.as_str()? == "completed").then_some(())
    });
    figures.insert("update", seconds(start));
}

fn failures(figures: &mut Figures) {
    let cluster = Cluster::up("benchfail", 3);
    cluster.load_app(1);
    create(&cluster, "f", 6);
    cluster.wait_running(1, "f", 6, LIMIT);
    let leader = wait_for("a leader", SOON, || cluster.leader(1));
    let other = cluster.hosts.iter().map(|h| h.index).find(|i| *i != leader).expect("three hosts");
    let start = Instant::now();
    cluster.dev(&["kill", &leader.to_string()]);
    let spec = json!({"Name": "after", "Mode": {"Replicated": {"Replicas": 0}}, "TaskTemplate": {"ContainerSpec": {"Image": "app:1"}}});
    wait_until("a write is acknowledged", LIMIT, || {
        cluster.try_api(other, "POST", "/services/create", Some(&spec)).is_ok_and(|r| r.status == 201)
    });
    figures.insert("leader", seconds(start));
    cluster.dev(&["start", &leader.to_string()]);
    cluster.wait_all_ready(other);
    cluster.wait_running(other, "f", 6, LIMIT);
    node_loss(&cluster, figures);
}

fn node_loss(cluster: &Cluster, figures: &mut Figures) {
    let leader = wait_for("a leader", SOON, || cluster.leader(1));
    // A host with tasks, and not the one that leads: its loss is measured, not an election.
    let (victim, node) = cluster
        .hosts
        .iter()
        .map(|h| (h.index, cluster.node_id(h.index)))
        .find(|(i, id)| *i != leader && cluster.running(leader, "f").iter().any(|t| t.node == *id))
        .expect("tasks are spread");
    let start = Instant::now();
    cluster.dev(&["partition", &victim.to_string()]);
    wait_until("the host is seen as down", LIMIT, || {
        cluster.nodes(leader).is_some_and(|n| n.iter().any(|n| n.id == node && n.state == "down"))
    });
    figures.insert("noticed", seconds(start));
    wait_until("the tasks run elsewhere", LIMIT, || {
        cluster.running(leader, "f").iter().filter(|t| t.node != node).count() == 6
    });
    figures.insert("elsewhere", seconds(start));
    let start = Instant::now();
    cluster.dev(&["heal"]);
    wait_until("six containers run", LIMIT, || containers(cluster) == 6);
    figures.insert("healed", seconds(start));
}

/// Programs of the service that run on this machine, counted by what they are.
fn containers(cluster: &Cluster) -> usize {
    let here = cluster.hosts.iter().map(|h| h.data.display().to_string()).collect::<Vec<_>>();
    let sleeping = harness::processes_running(&["sleep", "1000000"]);
    let ours = |pid: &&u32| {
        let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
        mounts.lines().any(|l| l.split(' ').nth(4) == Some("/") && here.iter().any(|d| l.contains(d.as_str())))
    };
    sleeping.iter().filter(ours).count()
}

/// The daemons: processes whose command line says so and names the host's data.
fn daemons(cluster: &Cluster) -> Vec<u32> {
    let all: Vec<u32> = cluster
        .hosts
        .iter()
        .filter_map(|h| {
            let data = h.data.display().to_string();
            pids().into_iter().find(|pid| {
                let args = args(*pid);
                args.get(1).is_some_and(|a| a == "daemon") && args.contains(&data)
            })
        })
        .collect();
    assert_eq!(all.len(), 3, "daemons found");
    all
}

/// The shims and the processes they are forked from: what of our binary is in the hosts' networks beside the daemons.
fn shims(cluster: &Cluster, daemons: &[u32]) -> Vec<u32> {
    let hosts: Vec<u64> = cluster.hosts.iter().map(|h| h.network).collect();
    let ours = |p: &u32| args(*p).get(1).is_some_and(|a| a == "shim");
    let here = |p: &u32| harness::inode(&format!("/proc/{p}/ns/net")).is_some_and(|n| hosts.contains(&n));
    pids().into_iter().filter(|p| !daemons.contains(p)).filter(here).filter(ours).collect()
}

fn args(pid: u32) -> Vec<String> {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    bytes.split(|b| *b == 0).map(|a| String::from_utf8_lossy(a).into_owned()).collect()
}

/// A field of smaps_rollup (proc_pid_smaps(5)), in MB of a million bytes.
fn memory_mb(pid: u32, field: &str) -> f64 {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let value = text.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':'));
    let kib = value.and_then(|v| v.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or_else(|| panic!("{path}: no {field}")) * 1024.0 / 1e6
}

fn table(all: &[Figures]) -> String {
    let mut out = String::from("| what | median | runs | Docker Swarm 20.10.24 |\n|---|---|---|---|\n");
    for (key, what, peer) in ROWS {
        let mut values: Vec<f64> = all.iter().map(|f| f[key]).collect();
        let show = |v: f64| match key {
            "rate" => format!("{v:.1} tasks/s"),
            k if k.ends_with("pss") || k.ends_with("rss") => format!("{v:.2} MB"),
            _ => format!("{v:.2} s"),
        };
        let runs: Vec<String> = values.iter().map(|v| format!("{v:.2}")).collect();
        values.sort_by(f64::total_cmp);
        let median = values[values.len() / 2];
        writeln!(out, "| {what} | {} | {} | {peer} |", show(median), runs.join(", ")).expect("a string takes text");
    }
    out.trim_end().to_owned()
}

/// What the figures were taken on.
fn machine() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": ")).map_or("", |(_, m)| m);
    format!("Taken on {cores} cores ({model}), kernel {}.\n", kernel.trim())
}
