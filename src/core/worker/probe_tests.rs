use super::*;
use crate::model::ProbeAction;
use proptest::prelude::*;

const START: Mono = Mono(50_000);

fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn health(config: HealthConfig) -> Prober {
    Prober::new(START, Schedule::of_health(&config), Duration::ZERO, Verdict::Open)
}

fn every(interval: u64, retries: u32) -> HealthConfig {
    HealthConfig { interval: Some(secs(interval)), retries: Some(retries), ..HealthConfig::default() }
}

/// Waits for the next run and ends it at once. When it began, after the start, and what it has changed.
fn run(prober: &mut Prober, now: &mut Mono, good: bool) -> (Duration, Judged) {
    let mut out = ProbeEffects::default();
    prober.input(*now, ProbeInput::Tick, &mut out);
    while !out.run {
        *now = out.wake_at.expect("it is never idle");
        out = ProbeEffects::default();
        prober.input(*now, ProbeInput::Tick, &mut out);
    }
    assert_eq!(out.wake_at, None, "nothing is due before the run has ended");
    let began = *now;
    let words = if good { "fine" } else { "no" };
    let mut out = ProbeEffects::default();
    prober.input(*now, ProbeInput::Ended { good, words: words.to_owned() }, &mut out);
    (began - START, out.judged.expect("a run is judged"))
}

fn verdicts(prober: &mut Prober, outcomes: &[bool]) -> Vec<Verdict> {
    let mut now = START;
    outcomes.iter().map(|good| run(prober, &mut now, *good).1.verdict).collect()
}

/// When each of so many runs begins, in seconds after the start.
fn times(prober: &mut Prober, outcomes: &[bool]) -> Vec<u64> {
    let mut now = START;
    outcomes.iter().map(|good| run(prober, &mut now, *good).0.as_secs()).collect()
}

use Verdict::{Bad, Good, Open};

#[test]
fn a_health_check_has_dockers_defaults() {
    let schedule = Schedule::of_health(&HealthConfig::default());
    assert_eq!((schedule.interval, schedule.timeout, schedule.failures), (secs(30), secs(30), 3));
    assert_eq!((schedule.start_period, schedule.start_interval), (Duration::ZERO, secs(5)));
    let zeroes = HealthConfig {
        interval: Some(Duration::ZERO),
        timeout: Some(Duration::ZERO),
        retries: Some(0),
        start_interval: Some(Duration::ZERO),
        ..HealthConfig::default()
    };
    assert_eq!(Schedule::of_health(&zeroes), schedule, "a zero was not given");
    assert_eq!(Schedule::of_health(&every(2, 3)).start_interval, secs(2), "not longer than the interval");
}

#[test]
fn the_first_run_of_a_health_check_is_after_the_interval() {
    assert_eq!(times(&mut health(every(10, 3)), &[true, true, false]), [10, 20, 30]);
}

#[test]
fn the_start_interval_holds_within_the_start_period_and_until_the_first_success() {
    let config = HealthConfig { start_period: Some(secs(20)), start_interval: Some(secs(3)), ..every(10, 3) };
    assert_eq!(times(&mut health(config.clone()), &[false, true, true]), [3, 6, 16], "a success ends it");
    assert_eq!(times(&mut health(config), &[false; 9]), [3, 6, 9, 12, 15, 18, 21, 31, 41], "the period ends it");
    let none = HealthConfig { start_interval: Some(secs(3)), ..every(10, 3) };
    assert_eq!(times(&mut health(none), &[false; 2]), [10, 20], "without a start period there is none");
    let longer = HealthConfig { start_period: Some(secs(60)), start_interval: Some(secs(20)), ..every(10, 3) };
    assert_eq!(times(&mut health(longer), &[false; 2]), [20, 40], "one longer than the interval is kept");
}

#[test]
fn failures_in_a_row_make_it_bad_and_a_success_between_starts_the_count_anew() {
    let seen = verdicts(&mut health(every(1, 3)), &[true, false, false, true, false, false, false, true]);
    assert_eq!(seen, [Good, Good, Good, Good, Good, Good, Bad, Good]);
    assert_eq!(verdicts(&mut health(every(1, 2)), &[false, false]), [Open, Bad]);
    assert_eq!(verdicts(&mut health(every(1, 1)), &[false]), [Bad]);
}

#[test]
fn failures_of_runs_begun_in_the_start_period_do_not_count_until_the_first_success() {
    let config = || HealthConfig { start_period: Some(secs(10)), start_interval: Some(secs(2)), ..every(5, 2) };
    // At 2, 4, 6, 8 and 10: the last is no longer in it.
    let seen = verdicts(&mut health(config()), &[false; 6]);
    assert_eq!(seen, [Open, Open, Open, Open, Open, Bad]);
    let seen = verdicts(&mut health(config()), &[true, false, false]);
    assert_eq!(seen, [Good, Good, Bad], "the first success ends it: both are within it");
}

#[test]
fn a_run_counts_by_when_it_began_and_the_next_follows_its_end() {
    let mut prober = health(HealthConfig { start_period: Some(secs(10)), ..every(5, 1) });
    let mut out = ProbeEffects::default();
    let began = START + secs(5);
    prober.input(began, ProbeInput::Tick, &mut out);
    assert!(out.run);
    let ended = began + secs(30);
    let mut out = ProbeEffects::default();
    prober.input(ended, ProbeInput::Ended { good: false, words: String::new() }, &mut out);
    assert_eq!(out.judged.map(|judged| (judged.verdict, judged.failures)), Some((Open, 0)));
    assert_eq!(out.wake_at, Some(ended + secs(5)));
}

#[test]
fn a_new_daemon_goes_on_with_what_the_one_before_had_found() {
    let config = HealthConfig { start_period: Some(secs(100)), start_interval: Some(secs(1)), ..every(10, 2) };
    let resumed = |age, verdict| Prober::new(START, Schedule::of_health(&config), secs(age), verdict);
    assert_eq!(verdicts(&mut resumed(5, Good), &[false, false]), [Good, Bad], "its start period is over");
    assert_eq!(times(&mut resumed(5, Good), &[true]), [10]);
    assert_eq!(verdicts(&mut resumed(5, Open), &[false, false]), [Open, Open], "it is still within it");
    assert_eq!(verdicts(&mut resumed(100, Open), &[false, false]), [Open, Bad], "it was over when it came back");
}

fn probe() -> Probe {
    Probe::of(ProbeAction::Tcp { port: 80 })
}

#[test]
fn readiness_is_asked_for_at_once_and_every_second_until_it_is_there() {
    let mut prober = Prober::new(START, Schedule::of_readiness(&probe()), Duration::ZERO, Open);
    assert_eq!(times(&mut prober, &[false, false, true, true, false]), [0, 1, 2, 12, 22]);
    let mut never = Prober::new(START, Schedule::of_readiness(&probe()), Duration::ZERO, Open);
    let at = times(&mut never, &[false; 63]);
    assert_eq!(at[58..], [58, 59, 60, 70, 80], "not for ever");
}

#[test]
fn readiness_comes_back_after_as_many_successes_as_asked_for() {
    let three = Probe { successes: 3, failures: 2, ..probe() };
    let mut prober = Prober::new(START, Schedule::of_readiness(&three), Duration::ZERO, Good);
    let seen = verdicts(&mut prober, &[false, false, true, true, false, true, true, true]);
    assert_eq!(seen, [Good, Bad, Bad, Bad, Bad, Bad, Bad, Good]);
}

#[test]
fn liveness_is_first_looked_at_after_the_interval() {
    let mut prober = Prober::new(START, Schedule::of_liveness(&probe()), Duration::ZERO, Open);
    assert_eq!(times(&mut prober, &[false, true]), [10, 20]);
}

#[test]
fn what_lasts_is_told_at_first_and_then_whenever_it_has_lasted_twice_as_long() {
    let mut prober = Prober::new(START, Schedule::of_readiness(&probe()), Duration::ZERO, Good);
    let mut now = START;
    let news: Vec<String> = (0..20).filter_map(|_| run(&mut prober, &mut now, false).1.news).collect();
    assert_eq!(news, ["no (3 in a row)", "no (4 in a row)", "no (8 in a row)", "no (16 in a row)"]);
    assert_eq!(run(&mut prober, &mut now, true).1.news.as_deref(), Some("fine"));
    assert_eq!(run(&mut prober, &mut now, true).1.news, None);
}

#[test]
fn words_are_one_line_of_bounded_length() {
    let mut prober = health(every(1, 1));
    let mut out = ProbeEffects::default();
    prober.input(START + secs(1), ProbeInput::Tick, &mut out);
    let words = format!("first\n  second\t{}", "ä".repeat(1000));
    prober.input(START + secs(1), ProbeInput::Ended { good: false, words }, &mut out);
    let news = out.judged.and_then(|judged| judged.news).expect("it turned bad");
    assert!(news.starts_with("first second ä") && news.len() <= WORDS_BYTES_MAX, "{news}");
}

#[test]
fn what_is_not_expected_changes_nothing() {
    let mut prober = health(every(10, 1));
    let mut out = ProbeEffects::default();
    prober.input(START, ProbeInput::Ended { good: false, words: String::new() }, &mut out);
    assert!(!out.run && out.judged.is_none());
    assert_eq!(out.wake_at, Some(START + secs(10)));
}

fn schedules() -> impl Strategy<Value = Schedule> {
    (1u64..20_000, 1u64..20_000, 0u64..60_000, 0u64..60_000, 1u32..5, 1u32..4, any::<bool>()).prop_map(
        |(interval, start_interval, start_period, eager, failures, successes, at_once)| Schedule {
            interval: Duration::from_millis(interval),
            timeout: secs(1),
            failures,
            successes,
            start_period: Duration::from_millis(start_period),
            start_interval: Duration::from_millis(start_interval),
            start_interval_for: Duration::from_millis(eager),
            at_once,
        },
    )
}

/// What the outcomes since the start say by themselves, read from the end.
fn expected(schedule: &Schedule, history: &[(Duration, bool)], before: Verdict) -> Verdict {
    let first_good = history.iter().position(|(_, good)| *good).unwrap_or(usize::MAX);
    let counts =
        |(index, (began, _)): &(usize, &(Duration, bool))| *index > first_good || *began >= schedule.start_period;
    let good = history.iter().rev().take_while(|(_, good)| *good).count();
    let failed = history.iter().enumerate().rev().take_while(|(_, (_, good))| !*good).filter(counts).count();
    if good >= schedule.successes as usize {
        Good
    } else if failed >= schedule.failures as usize {
        Bad
    } else {
        before
    }
}

proptest! {
    #[test]
    fn a_verdict_turns_only_for_outcomes_in_a_row_and_news_stay_few(
        schedule in schedules(),
        outcomes in proptest::collection::vec((any::<bool>(), 0u64..5_000), 1..80),
    ) {
        let mut prober = Prober::new(START, schedule.clone(), Duration::ZERO, Open);
        let (mut now, mut before, mut history, mut told, mut been_good) = (START, Open, Vec::new(), 0, false);
        let mut due = if schedule.at_once { START } else { START + prober.gap(START) };
        for (good, took) in outcomes {
            // Not a moment before it is due, and a run under way is alone.
            let mut out = ProbeEffects::default();
            if let Some(early) = due.0.checked_sub(1).filter(|early| *early >= now.0) {
                prober.input(Mono(early), ProbeInput::Tick, &mut out);
                prop_assert!(!out.run);
            }
            prober.input(due, ProbeInput::Tick, &mut out);
            prop_assert!(out.run);
            now = due + Duration::from_millis(took);
            let mut out = ProbeEffects::default();
            prober.input(now, ProbeInput::Tick, &mut out);
            prop_assert!(!out.run && out.wake_at.is_none());
            history.push((due - START, good));
            prober.input(now, ProbeInput::Ended { good, words: "seen".to_owned() }, &mut out);
            let judged = out.judged.expect("each run is judged");
            prop_assert_eq!(judged.verdict, expected(&schedule, &history, before));
            prop_assert!(judged.verdict != Bad || before == Bad || !good, "only a failure makes it bad");
            if judged.verdict != before {
                prop_assert!(judged.news.is_some(), "each turn is told");
                told = 0;
            }
            told += u32::from(judged.news.is_some());
            prop_assert!(told <= 9, "80 runs: the turn and powers of two");
            before = judged.verdict;
            been_good |= before == Good;
            let gap = out.wake_at.expect("the next is due") - now;
            prop_assert!(gap == schedule.interval || gap == schedule.start_interval && !been_good);
            due = now + gap;
        }
    }
}
