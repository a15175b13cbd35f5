//! A few small runs, unoptimised; the many are `make check`, `make test` and `make soak`.

use crate::mutate::Mutation;
use crate::run::{Outcome, run};
use crate::settings::Settings;

fn small(seed: u64) -> Outcome {
    run(Settings::small(seed), None)
}

fn assert_good(outcome: &Outcome) {
    let said = outcome.violations.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert!(outcome.is_good(), "seed {}: {said:?}\n{}", outcome.settings.seed, outcome.tail.join("\n"));
}

#[test]
fn the_same_seed_gives_the_same_log_and_another_one_another() {
    let (one, again, other) = (small(1), small(1), small(2));
    assert_eq!((one.hash, one.lines, one.counts), (again.hash, again.lines, again.counts));
    assert_ne!(one.hash, other.hash);
}

#[test]
fn small_clusters_keep_the_invariants_and_converge() {
    let mut total = [0; 4];
    for seed in 10..14 {
        let outcome = small(seed);
        assert_good(&outcome);
        total = std::array::from_fn(|n| total[n] + outcome.counts[n]);
    }
    let [_, entries, terms, containers] = total;
    assert!(entries > 100 && terms > 4 && containers > 10, "they test nothing: {total:?}");
}

#[test]
fn a_run_up_to_a_line_ends_there() {
    let whole = small(3);
    let part = crate::run::run_until(Settings::small(3), None, 500);
    assert!(part.lines >= 500 && part.lines < whole.lines);
    assert!(!part.converged);
}

#[test]
fn an_address_given_twice_is_noticed() {
    // Of three one has tasks enough on a network.
    let noticed = (10..30).map(|seed| Settings { mutation: Some(Mutation::ReuseAddress), ..Settings::small(seed) });
    let first = noticed.map(|settings| run(settings, None)).find(|outcome| !outcome.violations.is_empty());
    let by = first.map(|outcome| outcome.violations[0].invariant);
    assert_eq!(by, Some("an address has one holder"));
}
