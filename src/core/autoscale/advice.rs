//! From the figures of a moment to a number of replicas: arithmetic and words.

use crate::model::{Autoscale, ServiceSpec};
use std::time::Duration;

/// Part of the target that a load may be off by, in percent, before anything is done: below it a service would follow
/// every breath of its load.
const TOLERANCE_PERCENT: u128 = 10;
/// Tasks that a step up may add to a small service, which doubling would make wait.
const STEP_MIN: u64 = 4;
/// CPU that a percentage is taken of when the tasks say nothing: one core.
const ONE_CPU: i64 = 1_000_000_000;

/// What is known of the load of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    /// Tasks that were up and told of for the whole window.
    pub measured: u64,
    /// Tasks on their way up, unhealthy, or up for less than the window. Upwards they count as without load, because
    /// what they will take over is still seen on the others; downwards as fully loaded.
    pub fresh: u64,
    /// Tasks that are up and not told of.
    pub silent: u64,
    /// Used by all measured tasks together.
    pub nano_cpus: u128,
    pub memory_bytes: u128,
    /// New connections in 1000 s to all tasks together, by the nodes that told.
    pub connections: u128,
    /// Nodes that did not tell of their connections.
    pub deaf_nodes: u64,
}

/// One target of a service and what it takes.
struct Target {
    /// The figure in words.
    figure: String,
    /// Load of all tasks, and what one task is to have, in the same unit.
    load: u128,
    share: u128,
    /// The load may be larger than it seems.
    partial: bool,
}

/// What the figures say: for the target that needs most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Advice {
    /// Without regard to limits.
    pub wanted: u64,
    pub figure: String,
    /// Why fewer cannot be advised.
    pub blind: Option<String>,
}

/// What `figures` say about a service that has `current` replicas.
pub(super) fn advise(spec: &ServiceSpec, autoscale: &Autoscale, current: u64, figures: &Figures) -> Advice {
    let targets = targets(spec, autoscale, figures);
    let blind = targets.iter().any(|target| target.partial).then(|| blindness(figures));
    let wants = |target: &Target| wanted(target, current, figures.fresh);
    // The first of equals.
    let most = targets.iter().rev().max_by_key(|target| wants(target));
    let Some(most) = most else {
        return Advice { wanted: current, figure: "no target".to_owned(), blind: None };
    };
    let wanted = if blind.is_some() { wants(most).max(current) } else { wants(most) };
    Advice { wanted, figure: most.figure.clone(), blind }
}

fn blindness(figures: &Figures) -> String {
    match (figures.measured, figures.silent, figures.deaf_nodes) {
        (_, 0, 0) => "no task has been up for the whole window".to_owned(),
        (_, 0, 1) => "1 node tells no figures".to_owned(),
        (_, 0, nodes) => format!("{nodes} nodes tell no figures"),
        (_, 1, _) => "1 task gives no figures".to_owned(),
        (_, tasks, _) => format!("{tasks} tasks give no figures"),
    }
}

fn targets(spec: &ServiceSpec, autoscale: &Autoscale, figures: &Figures) -> Vec<Target> {
    let unseen = figures.silent > 0 || figures.measured == 0;
    let percent = |name: &str, load: u128, percent: u32, base: i64, words: String| {
        let base = u128::from(base.unsigned_abs()).max(1);
        let now = load * 100 / base / u128::from(figures.measured.max(1));
        Target {
            figure: format!("{name} {now}% of {words} (target {percent}%)"),
            load: load * 100,
            share: base * u128::from(percent),
            partial: unseen,
        }
    };
    let mut targets = Vec::new();
    let resources = &spec.task.resources;
    if autoscale.cpu_percent > 0 {
        let base = first(&[resources.reservations.nano_cpus, resources.limit_nano_cpus, ONE_CPU]);
        let words = format!("{} CPU", base as f64 / 1e9);
        targets.push(percent("cpu", figures.nano_cpus, autoscale.cpu_percent, base, words));
    }
    if autoscale.memory_percent > 0 {
        // Validation asks for one of the two.
        let base = first(&[resources.limit_memory_bytes, resources.reservations.memory_bytes, i64::MAX]);
        let words = format!("{} MiB", base >> 20);
        targets.push(percent("memory", figures.memory_bytes, autoscale.memory_percent, base, words));
    }
    if autoscale.requests_per_second > 0 {
        let target = autoscale.requests_per_second;
        let tasks = u128::from((figures.measured + figures.fresh + figures.silent).max(1));
        let now = figures.connections as f64 / 1000.0 / tasks as f64;
        targets.push(Target {
            figure: format!("requests {now:.1}/s per task (target {target})"),
            load: figures.connections,
            share: u128::from(target) * 1000,
            partial: figures.deaf_nodes > 0,
        });
    }
    targets
}

fn first(amounts: &[i64]) -> i64 {
    amounts.iter().copied().find(|amount| *amount > 0).unwrap_or(ONE_CPU)
}

/// As many as bring the load to its target: the present number times load by target, rounded up.
fn wanted(target: &Target, current: u64, fresh: u64) -> u64 {
    let now = u128::from(current) * target.share;
    let needed = |load: u128| u64::try_from(load.div_ceil(target.share.max(1))).unwrap_or(u64::MAX);
    if target.load * 100 > now * (100 + TOLERANCE_PERCENT) {
        return needed(target.load).max(current);
    }
    let most = target.load + u128::from(fresh) * target.share;
    if most * 100 < now * (100 - TOLERANCE_PERCENT) { needed(most).clamp(1, current.max(1)) } else { current }
}

/// How things stand with a service, as far as it is worth telling when it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Enough,
    /// Fewer would do, but not for long enough yet.
    Fewer,
    AtMin,
    AtMax,
    /// Not enough is known.
    Blind,
    /// A step was just taken.
    Stepping,
}

/// What becomes of an advice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub replicas: u64,
    pub standing: Standing,
    pub reason: String,
}

/// The most that one step up may lead to.
fn step_max(current: u64) -> u64 {
    current.saturating_mul(2).max(current.saturating_add(STEP_MIN))
}

/// What to do about `advice`. `lowest` is what was advised at most during the last `quiet` time; `None` when this
/// leader has not looked for that long. `may_step` is whether the last step up is long enough ago.
pub(super) fn settle(
    autoscale: &Autoscale,
    current: u64,
    advice: &Advice,
    lowest: Option<u64>,
    quiet: Duration,
    may_step: bool,
) -> Verdict {
    let Advice { wanted, figure, blind } = advice;
    let stays = |standing, words: String| Verdict { replicas: current, standing, reason: format!("{figure}: {words}") };
    if *wanted > current {
        let (step, max) = (step_max(current), autoscale.max);
        let replicas = (*wanted).min(step).min(max);
        let limit = match (*wanted > max, *wanted > step) {
            (true, _) if replicas == max => format!(", limited to max {max} ({wanted} wanted)"),
            (true, _) | (_, true) => format!(", a first step to {wanted}"),
            (false, false) => String::new(),
        };
        return match (replicas > current, may_step) {
            (false, _) => stays(Standing::AtMax, format!("stays at max {max} ({wanted} wanted)")),
            (true, false) => {
                stays(Standing::Stepping, format!("stays at {current} until the last step has shown effect"))
            }
            (true, true) => Verdict {
                replicas,
                standing: Standing::Stepping,
                reason: format!("{figure}: {current} -> {replicas}{limit}"),
            },
        };
    }
    if let Some(why) = blind {
        return stays(Standing::Blind, format!("stays at {current}, {why}"));
    }
    if *wanted == current {
        return stays(
            Standing::Enough,
            if current == 1 { "1 is enough".to_owned() } else { format!("{current} are enough") },
        );
    }
    let min = autoscale.min;
    if current <= min {
        return stays(Standing::AtMin, format!("stays at min {min}"));
    }
    let replicas = lowest.unwrap_or(current).clamp(*wanted, current).max(min);
    if replicas == current {
        let seconds = quiet.as_secs();
        return stays(
            Standing::Fewer,
            format!("{wanted} would do, stays at {current} until that held for {seconds} s"),
        );
    }
    let limit = if *wanted < min && replicas == min { format!(", limited to min {min}") } else { String::new() };
    Verdict { replicas, standing: Standing::Stepping, reason: format!("{figure}: {current} -> {replicas}{limit}") }
}
