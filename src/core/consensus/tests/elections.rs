//! Leaders come and go.

use super::harness::Cluster;
use crate::consensus::*;

#[test]
fn a_killed_leader_is_replaced_within_three_seconds_and_no_acknowledged_write_is_lost() {
    for seed in 0..20 {
        let mut cluster = Cluster::of(3, seed);
        cluster.write("before");
        let old = cluster.leader().expect("a leader");
        cluster.kill(old);
        let took = cluster.run_until("a new leader", 3_000, |c| c.leader().is_some());
        assert!(took >= 500, "{took} ms is no election but a mistake of the test");
        cluster.write("after");
        cluster.restart(old);
        cluster.run_until("all agree", 5_000, Cluster::settled);
    }
}

#[test]
fn a_member_that_was_cut_off_does_not_disturb_the_leader_when_it_returns() {
    let mut cluster = Cluster::of(3, 21);
    let term = cluster.status(1).role.term;
    cluster.cut.insert(3);
    cluster.run(20_000);
    assert_eq!(cluster.status(3).role.term, term, "pre-vote: its term does not grow");
    cluster.cut.clear();
    cluster.run(5_000);
    assert_eq!((cluster.leader(), cluster.status(1).role.term), (Some(1), term));
    assert_eq!(cluster.status(3).role.leader_raft_id, 1);
}

#[test]
fn a_leader_without_a_quorum_steps_down() {
    let mut cluster = Cluster::of(3, 22);
    cluster.cut.extend([2, 3]);
    cluster.run_until("it notices", 5_000, |c| c.leader().is_none());
    let id = cluster.propose(1, "refused");
    assert_eq!(cluster.outcomes[&id], Outcome::Dropped(Dropped::NotLeader { leader: None }));
}

#[test]
fn leadership_is_handed_over_when_asked() {
    let mut cluster = Cluster::of(3, 23);
    cluster.input(1, Input::TransferLeader { to: Some(3) });
    let took = cluster.run_until("member 3 leads", 1_000, |c| c.leader() == Some(3));
    assert!(took < 500, "without waiting for an election timeout: {took} ms");
}

#[test]
fn a_leader_whose_disk_hangs_hands_over() {
    let mut cluster = Cluster::of(3, 24);
    cluster.members.get_mut(&1).unwrap().disk_works = false;
    cluster.propose(1, "stuck here");
    cluster.run_until("another one leads", 6_000, |c| c.leader().is_some_and(|l| l != 1));
    let index = cluster.write("flows");
    cluster.members.get_mut(&1).unwrap().disk_works = true;
    cluster.run_until("the slow one has it too", 5_000, |c| c.members[&1].state.contains_key(&index));
}

#[test]
fn a_leader_says_so_only_when_it_has_applied_what_came_before() {
    let mut cluster = Cluster::of(3, 25);
    let index = cluster.write("before");
    cluster.kill(1);
    let mut seen = false;
    cluster.run_until("a new leader", 3_000, |c| {
        let Some(leader) = c.leader() else { return false };
        seen = c.members[&leader].state.contains_key(&index);
        true
    });
    assert!(seen);
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let history = |seed| {
        let mut cluster = Cluster::of(5, seed);
        cluster.loss = 20;
        let mut roles = Vec::new();
        for round in 0..400 {
            if round % 100 == 50 {
                let leader = cluster.leader().unwrap_or(1);
                cluster.kill(leader);
                cluster.run(500);
                cluster.restart(leader);
            }
            cluster.step();
            roles.push(cluster.members.values().map(|m| m.role).collect::<Vec<_>>());
        }
        roles
    };
    assert_eq!(history(77), history(77));
}
