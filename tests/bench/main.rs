//! `make bench`: what a cluster of three hosts on this machine does, in figures, beside Docker Swarm.
//!
//! Every figure is the median of several runs, each on fresh clusters: the release binary's and, in the same
//! run, the peer's where its programs are at hand. Nothing is estimated: what could not be measured ends the
//! program.
//! usage: cargo bench -p swarm --bench figures -- [--runs N] [--no-peer] [--write FILE]

#[path = "../cluster/harness/mod.rs"]
#[allow(dead_code, reason = "the tests use all of it")]
mod harness;
mod measure;
mod ours;
mod peer;
mod subject;

use std::fmt::Write as _;

use measure::Figures;

/// Odd, so that the median is a run.
const RUNS: usize = 3;
/// Text of BENCHMARKS.md between which the table is replaced.
const BEGIN: &str = "<!-- figures: written by make bench -->";
const END: &str = "<!-- end of figures -->";

/// What is measured, in the order of the table.
const ROWS: [(&str, &str); 15] = [
    ("up", "three daemons started and joined"),
    ("start3", "create with 3 replicas, running"),
    ("start30", "3 to 30 tasks, running"),
    ("start100", "30 to 100 tasks, running"),
    ("rate", "start rate from 30 to 100 tasks"),
    ("update", "rolling update of 6, one by one, no delay"),
    ("leader", "leader killed, next write acknowledged"),
    ("noticed", "host cut off, seen as down"),
    ("elsewhere", "host cut off, its tasks run elsewhere"),
    ("healed", "cut mended, the wanted number of containers runs"),
    ("idle_pss", "idle manager, PSS"),
    ("idle_rss", "idle manager, resident"),
    ("busy_pss", "manager with a third of 100 containers, PSS"),
    ("shim_pss", "per container (its shim), PSS"),
    ("total_pss", "three nodes and 100 containers without their programs, PSS"),
];

struct Wishes {
    runs: usize,
    peer: bool,
    write: Option<String>,
}

fn wishes() -> Wishes {
    let mut wishes = Wishes { runs: RUNS, peer: true, write: None };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            // cargo bench says so to every bench.
            "--bench" => {}
            "--runs" => {
                let runs = args.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0);
                wishes.runs = runs.expect("--runs takes a number");
            }
            "--no-peer" => wishes.peer = false,
            "--write" => wishes.write = Some(args.next().expect("--write takes a file")),
            other => panic!("unknown argument {other}; known: --runs N, --no-peer, --write FILE"),
        }
    }
    wishes
}

fn main() {
    let wishes = wishes();
    let version = wishes.peer.then(peer::version).flatten();
    if wishes.peer && version.is_none() {
        eprintln!("no dockerd is at hand: Docker Swarm is not measured beside (scripts/setup.sh bench fetches it)");
    }
    let (mut ours, mut peers) = (Vec::new(), Vec::new());
    for run in 1..=wishes.runs {
        eprintln!("run {run} of {}", wishes.runs);
        ours.push(measure::all::<ours::Ours>());
        if version.is_some() {
            eprintln!("run {run} of {}: Docker Swarm", wishes.runs);
            peers.push(measure::all::<peer::Peer>());
        }
    }
    let table = table(&ours, version.as_deref().map(|version| (version, peers.as_slice())));
    println!("{table}");
    if let Some(file) = wishes.write {
        let old = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{file}: {e}"));
        let (head, rest) = old.split_once(BEGIN).unwrap_or_else(|| panic!("{file}: no line {BEGIN}"));
        let (_, tail) = rest.split_once(END).unwrap_or_else(|| panic!("{file}: no line {END}"));
        let text = format!("{head}{BEGIN}\n{}\n{table}\n{END}{tail}", machine());
        std::fs::write(&file, text).unwrap_or_else(|e| panic!("{file}: {e}"));
    }
}

/// The median of a figure and all its runs, as words.
fn cell(key: &str, all: &[Figures]) -> (f64, String) {
    let mut values: Vec<f64> = all.iter().map(|f| f[key]).collect();
    let runs: Vec<String> = values.iter().map(|v| format!("{v:.2}")).collect();
    values.sort_by(f64::total_cmp);
    let median = values[values.len() / 2];
    let unit = match key {
        "rate" => "tasks/s",
        k if k.ends_with("pss") || k.ends_with("rss") => "MB",
        _ => "s",
    };
    (median, format!("{median:.2} {unit} ({})", runs.join(", ")))
}

fn table(ours: &[Figures], peer: Option<(&str, &[Figures])>) -> String {
    let mut out = match peer {
        Some((version, _)) => format!("| what | swarm | Docker Swarm {version} | ratio |\n|---|---|---|---|\n"),
        None => "| what | swarm |\n|---|---|\n".to_owned(),
    };
    for (key, what) in ROWS {
        let (median, words) = cell(key, ours);
        write!(out, "| {what} | {words} |").expect("a string takes text");
        if let Some((_, peers)) = peer {
            let (theirs, words) = cell(key, peers);
            // Larger is better for a rate alone.
            let ratio = if key == "rate" { median / theirs } else { theirs / median };
            write!(out, " {words} | {ratio:.1} |").expect("a string takes text");
        }
        out.push('\n');
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
