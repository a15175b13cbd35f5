//! Many runs on all cores, and what is said of them.

use crate::command::LogKind;
use crate::log::Sink;
use crate::mutate::Mutation;
use crate::replay;
use crate::run::{Outcome, run};
use crate::scenarios;
use crate::settings::Settings;
use std::io::Write;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

/// Runs within which each mutation has to be noticed.
pub const MUTATION_SEEDS: u64 = 60;
/// Runs after which progress is told.
const TELL_EVERY: u64 = 50;
/// Lines of the state in a report.
const STATE_LINES_MAX: usize = 150;

/// One run with its log.
pub fn one(settings: Settings, log: LogKind) -> bool {
    let sink = (log == LogKind::Full).then(|| {
        println!("{}", replay::header(&settings));
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        // Whoever closed the pipe wants no more.
        Box::new(move |line: &str| drop(writeln!(out, "{line}"))) as Sink
    });
    let outcome = run(settings, sink);
    eprintln!("{}", summary(&outcome));
    if !outcome.is_good() {
        report(&outcome);
    }
    outcome.is_good()
}

/// Runs `seeds`; ends with the first that is not good. With a mutation, whether one of them noticed it.
pub fn many(seeds: Range<u64>, mutation: Option<Mutation>, keep_going: bool) -> bool {
    let (mut done, mut events, mut longest) = (0u64, 0u64, 0u64);
    let bad = each(
        seeds.clone(),
        mutation,
        |_| !keep_going,
        |outcome| {
            done += 1;
            events += outcome.counts[0];
            longest = longest.max(outcome.converged_in_s);
            if done.is_multiple_of(TELL_EVERY) {
                eprintln!("{done} runs are good, {events} events, converged within {longest} s at most");
            }
        },
    );
    for outcome in &bad {
        eprintln!("{}", summary(outcome));
        report(outcome);
    }
    if bad.is_empty() {
        println!("{done} runs from seed {} are good: {events} events, converged within {longest} s", seeds.start);
    }
    bad.is_empty()
}

/// What was found once, again.
pub fn scenarios() -> bool {
    let mut good = true;
    for scenario in scenarios::ALL {
        let outcome = run(Settings::scripted(scenario), None);
        println!("{}: {}\n  {}", scenario.name, if outcome.is_good() { "good" } else { "NOT good" }, scenario.story);
        if !outcome.is_good() {
            report(&outcome);
        }
        good &= outcome.is_good();
    }
    good
}

/// Every mutation has to be noticed, and by the invariant that it breaks.
pub fn mutations() -> bool {
    let mut missed = Vec::new();
    for mutation in Mutation::ALL {
        let mut runs = 0;
        let bad = each(0..MUTATION_SEEDS, Some(mutation), |outcome| breaks(mutation, outcome).is_some(), |_| runs += 1);
        // It has to be the mutation that is noticed: without it the same run is good.
        let alone = |bad: &Outcome| run(Settings { mutation: None, ..bad.settings.clone() }, None).is_good();
        let noticed = bad.iter().find_map(|bad| Some((bad, breaks(mutation, bad).filter(|_| alone(bad))?)));
        match noticed {
            Some((outcome, by)) => {
                println!("{mutation}: noticed by seed {} (after {runs} good runs): {by}", outcome.settings.seed);
            }
            None => {
                println!("{mutation}: NOT noticed by {runs} good runs and {} others", bad.len());
                missed.push(mutation);
            }
        }
    }
    missed.is_empty()
}

/// The invariant that the mutation is to break, when it did.
fn breaks(mutation: Mutation, outcome: &Outcome) -> Option<&'static str> {
    let broken = outcome.violations.iter().map(|violation| violation.invariant);
    broken.into_iter().find(|broken| mutation.breaks().contains(broken))
}

/// Runs seeds until one is not good and `stops` says that it is enough; `tell` hears of the good ones. Of several bad ones that ran at once, all.
fn each(
    seeds: Range<u64>,
    mutation: Option<Mutation>,
    stops: impl Fn(&Outcome) -> bool + Sync,
    mut tell: impl FnMut(&Outcome),
) -> Vec<Outcome> {
    let (next, stop) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let cores = thread::available_parallelism().map_or(2, usize::from);
    let (outcomes, done) = mpsc::channel();
    let mut bad = Vec::new();
    thread::scope(|scope| {
        for _ in 0..cores {
            let outcomes = outcomes.clone();
            let (next, stop, stops) = (&next, &stop, &stops);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = run(Settings::broken(seed, mutation), None);
                    if !outcome.is_good() && stops(&outcome) {
                        stop.store(true, Ordering::Relaxed);
                    }
                    if outcomes.send(outcome).is_err() {
                        return;
                    }
                }
            });
        }
        drop(outcomes);
        for outcome in done {
            match outcome.is_good() {
                true => tell(&outcome),
                false => bad.push(outcome),
            }
        }
    });
    bad.sort_by_key(|outcome| outcome.settings.seed);
    bad
}

fn summary(outcome: &Outcome) -> String {
    let Settings { seed, managers, workers, .. } = outcome.settings;
    let [events, entries, terms, containers] = outcome.counts;
    let [granted, refused, failed] = outcome.wishes;
    format!(
        "seed {seed}: {} ({managers} managers, {workers} workers, {} s of virtual time, converged {} s after the last \
         fault; {events} events, {entries} entries, {terms} terms, {containers} containers; wishes {granted} granted, \
         {refused} refused, {failed} failed; log {} lines, hash {:016x})",
        if outcome.is_good() { "good" } else { "NOT good" },
        outcome.virtual_s,
        outcome.converged_in_s,
        outcome.lines,
        outcome.hash,
    )
}

/// What a person needs to find out why.
fn report(outcome: &Outcome) {
    eprintln!("the end of the event log:");
    for line in &outcome.tail {
        eprintln!("  {}", line.chars().take(400).collect::<String>());
    }
    eprintln!("the newest state:");
    for line in outcome.state.iter().take(STATE_LINES_MAX) {
        eprintln!("  {}", line.chars().take(400).collect::<String>());
    }
    for violation in &outcome.violations {
        eprintln!("violated: {violation}");
    }
    if outcome.violations.is_empty() {
        eprintln!("violated: nothing, and the run did not come to its end");
    }
    eprintln!("settings: {:?}", outcome.settings);
    let words = replay::words(&outcome.settings);
    eprintln!("again: cargo run -p sim --profile sim -- {words} --log full > sim.log");
}
