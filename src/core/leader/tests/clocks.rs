//! Leaders whose hosts' clocks differ, and are set.

use super::world::*;
use crate::leader::Clock;
use crate::model::*;
use crate::store::{Store, View};
use crate::{Mono, ServiceId, WallTime};
use proptest::prelude::*;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// A manager that has run for a minute when it is 1970 plus 1000 s, and applied what a leader stamped then.
fn follower(heard: Option<WallTime>) -> Clock {
    let mut clock = Clock::new(Mono(0));
    if let Some(stamp) = heard {
        clock.hear(Mono(60_000), stamp);
    }
    clock
}

fn empty() -> View {
    Store::new().view()
}

#[test]
fn time_goes_on_where_the_last_leader_was_whatever_the_next_ones_clock_says() {
    for own in [WallTime(10_000), WallTime(1_000_000), WallTime(1_090_000)] {
        let mut clock = follower(Some(WallTime(1_000_000)));
        clock.begin(Mono(63_000), own, &empty());
        let now = clock.now(Mono(63_000), own + 3 * SECOND);
        assert!(now >= WallTime(1_002_700) && now <= WallTime(1_003_300), "{now:?} by a clock that says {own:?}");
    }
}

#[test]
fn time_gets_back_to_the_hosts_clock_by_a_tenth_of_what_passes() {
    let mut clock = follower(Some(WallTime(1_000_000)));
    clock.begin(Mono(60_000), WallTime(1_090_000), &empty());
    let mut last = clock.now(Mono(60_000), WallTime(1_090_000));
    // Also when it is asked every millisecond.
    for passed in 1..=20_000 {
        let now = clock.now(Mono(60_000 + passed), WallTime(1_090_000 + i64::try_from(passed).unwrap()));
        assert!(now >= last);
        last = now;
    }
    assert_eq!(last, WallTime(1_022_000));
    let after = clock.now(Mono(960_000), WallTime(1_990_000));
    assert_eq!(after, WallTime(1_990_000), "a minute and a half ahead is made up for in a quarter of an hour");
}

#[test]
fn time_does_not_run_backward_when_the_hosts_clock_is_set_back() {
    let mut clock = follower(None);
    clock.begin(Mono(60_000), WallTime(1_000_000), &empty());
    assert_eq!(clock.now(Mono(60_000), WallTime(1_000_000)), WallTime(1_000_000));
    assert_eq!(clock.now(Mono(70_000), WallTime(910_000)), WallTime(1_009_000), "it goes slowly");
    assert_eq!(clock.now(Mono(70_000), WallTime(1_000)), WallTime(1_009_000));
}

#[test]
fn a_clock_that_is_off_by_hours_was_set_and_is_followed_at_once() {
    let day = 86_400_000;
    for own in [day, 3 * day] {
        let mut clock = follower(Some(WallTime(2 * day)));
        clock.begin(Mono(60_000), WallTime(own), &empty());
        assert_eq!(clock.now(Mono(60_000), WallTime(own)), WallTime(own));
        clock.hear(Mono(61_000), WallTime(2 * day));
        clock.hear(Mono(61_000), WallTime(own));
        assert_eq!(clock.now(Mono(61_000), WallTime(own)), WallTime(own), "so is a leader of which this is heard");
    }
}

#[test]
fn what_was_written_while_a_manager_was_not_there_is_not_taken_for_new() {
    let mut clock = Clock::new(Mono(5_000));
    clock.hear(Mono(6_000), WallTime(1_000_000));
    clock.begin(Mono(40_000), WallTime(5_000_000), &empty());
    assert_eq!(clock.now(Mono(40_000), WallTime(5_000_000)), WallTime(5_000_000), "an hour has passed meanwhile");
}

#[test]
fn a_leader_that_was_just_started_is_never_behind_what_is_stored() {
    let mut world = World::new(1);
    world.pass(MINUTE);
    world.create(replicated("web", "web:1", 1));
    world.settle();
    let mut clock = Clock::new(Mono(0));
    let own = WallTime(world.now.0 - 30_000);
    clock.begin(Mono(1), own, &world.view());
    assert_eq!(clock.now(Mono(1), own), world.now);
}

/// A task that failed and waits for its delay of five seconds; the leader is at `world.now`.
fn waiting() -> (World, ServiceId) {
    let mut world = World::new(1);
    world.fate("job", Fate::FailsAfter(SECOND));
    let id = world.create(replicated("job", "job", 1));
    world.pass(SECOND);
    world.settle();
    world.fate("job", Fate::Runs);
    assert!(world.running(id).is_empty());
    (world, id)
}

#[test]
fn a_restart_waits_for_its_delay_also_under_a_leader_whose_clock_is_ahead_or_behind() {
    for skew in [-90_000, 90_000] {
        let (mut world, id) = waiting();
        let begun = world.now;
        let mut clock = follower(Some(begun));
        let mut after = |passed: u64| {
            let own = WallTime(begun.0 + skew + i64::try_from(passed).unwrap());
            clock.begin(Mono(60_000 + passed), own, &empty());
            clock.now(Mono(60_000 + passed), own)
        };
        world.now = after(4_400);
        world.settle();
        assert!(world.running(id).is_empty(), "by {skew} ms");
        world.now = after(5_600);
        world.settle();
        assert_eq!(world.running(id).len(), 1, "by {skew} ms");
    }
}

#[test]
fn a_rollback_runs_again_what_ended_before_it_whatever_its_users_clock_says() {
    for [back, on] in [[MINUTE, Duration::ZERO], [Duration::ZERO, MINUTE]] {
        let mut world = World::new(1);
        let update = UpdateConfig { failure_action: FailureAction::Continue, ..UpdateConfig::default() };
        let mut spec = ServiceSpec { update: Some(update), ..replicated("web", "web:1", 1) };
        spec.task.restart.condition = RestartCondition::None;
        let web = world.create(spec);
        world.settle();
        world.fate("web:2", Fate::FailsAfter(SECOND));
        world.update(web, |spec| spec.task.container.image = "web:2".into());
        world.pass(2 * SECOND);
        assert!(world.running(web).is_empty(), "it ended for good");
        let now = world.now;
        world.now = WallTime((now + on).0 - i64::try_from(back.as_millis()).unwrap());
        world.rollback(web);
        world.now = now + SECOND;
        world.settle();
        assert_eq!(world.running(web).len(), 1, "{back:?} behind, {on:?} ahead");
        assert_eq!(world.running(web)[0].spec.container.image, "web:1");
    }
}

#[test]
fn a_task_that_ends_while_a_rollback_goes_on_is_not_run_again_because_its_users_clock_is_ahead() {
    let mut world = World::new(2);
    let mut spec = replicated("web", "web:1", 2);
    spec.task.restart.condition = RestartCondition::None;
    spec.update = Some(UpdateConfig { delay: MINUTE, ..UpdateConfig::default() });
    spec.rollback = spec.update.clone();
    world.fate("web:1", Fate::CompletesAfter(30 * SECOND));
    let web = world.create(spec);
    world.settle();
    world.update(web, |spec| spec.task.container.image = "web:2".into());
    world.settle();
    let now = world.now;
    world.now = now + 10 * MINUTE;
    world.rollback(web);
    world.now = now + SECOND;
    world.pass(31 * SECOND);
    let old = world.tasks(web).into_iter().filter(|task| task.spec.container.image == "web:1");
    let complete = old.filter(|task| task.status.state == TaskState::Complete).count();
    let made = world.tasks(web).len();
    world.pass(20 * SECOND);
    assert!(complete >= 1);
    assert_eq!(world.tasks(web).len(), made, "what completed stays as it is");
}

#[test]
fn an_update_stored_before_its_place_in_the_log_was_kept_goes_by_the_clock() {
    let mut world = World::new(1);
    let web = world.create(replicated("web", "web:1", 1));
    world.settle();
    world.update(web, |spec| spec.task.container.image = "web:2".into());
    world.settle();
    let started = world.service(web).update_status.as_ref().map(|status| status.started_index);
    assert!(started > Some(0), "a new one has its place");
    let objects = world.store.objects().into_iter().map(|object| match object {
        crate::store::Object::Service(service) => {
            let mut service = (*service).clone();
            service.update_status.iter_mut().for_each(|status| status.started_index = 0);
            crate::store::Object::Service(std::sync::Arc::new(service))
        }
        other => other,
    });
    world.store = Store::restore(world.view().index(), objects);
    world.pass(MINUTE);
    let status = world.service(web).update_status.clone().expect("a status");
    assert_eq!((status.state, status.started_index), (UpdateState::Completed, 0), "and gets no other later");
}

#[derive(Clone, Debug)]
enum Op {
    Pass(u64),
    Write,
    Lead(usize),
    /// A clock is set to be off by so much.
    Set(usize, i64),
}

fn op() -> impl Strategy<Value = Op> {
    let skew = -90_000i64..90_000;
    prop_oneof![
        4 => (0u64..60_000).prop_map(Op::Pass),
        4 => Just(Op::Write),
        2 => (0usize..3).prop_map(Op::Lead),
        1 => (0usize..3, skew).prop_map(|(manager, skew)| Op::Set(manager, skew)),
    ]
}

proptest! {
    #[test]
    fn between_two_writes_the_leaders_measure_what_has_passed_but_for_a_tenth(
        mut skews in proptest::collection::vec(-90_000i64..90_000, 3),
        ops in proptest::collection::vec(op(), 1..60),
    ) {
        let mut passed = 60_000u64;
        let mut managers = [Clock::new(Mono(0)); 3];
        let mut leader = 0;
        let mut written: Option<(u64, WallTime)> = None;
        for op in [Op::Lead(0), Op::Write].into_iter().chain(ops).chain([Op::Write]) {
            let own = |manager: usize| WallTime(1_000_000 + i64::try_from(passed).unwrap() + skews[manager]);
            match op {
                Op::Pass(millis) => passed += millis,
                Op::Set(manager, skew) => skews[manager] = skew,
                Op::Lead(next) => {
                    leader = next;
                    managers[next].begin(Mono(passed), own(next), &empty());
                }
                Op::Write => {
                    let stamp = managers[leader].now(Mono(passed), own(leader));
                    managers.iter_mut().for_each(|manager| manager.hear(Mono(passed), stamp));
                    if let Some((at, before)) = written {
                        let (really, measured) = (passed - at, stamp.since(before).as_millis() as u64);
                        prop_assert!(stamp >= before, "backward from {before:?} to {stamp:?}");
                        prop_assert!(measured.abs_diff(really) <= really / 10 + 1, "{measured} ms of {really}");
                    }
                    written = Some((passed, stamp));
                }
            }
        }
    }
}
