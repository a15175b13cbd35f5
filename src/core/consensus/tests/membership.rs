//! Who takes part, and who no longer does.

use super::harness::{Cluster, Disk, node};
use crate::consensus::*;

fn refused(cluster: &mut Cluster, change: Change) -> Refusal {
    let id = cluster.ask_change(change);
    cluster.run_until("an answer", 6_000, |c| c.outcomes.contains_key(&id));
    match &cluster.outcomes[&id] {
        Outcome::Dropped(Dropped::Refused(refusal)) => *refusal,
        other => panic!("{change:?} ended as {other:?}"),
    }
}

#[test]
fn a_learner_gets_the_state_and_has_no_vote() {
    let mut cluster = Cluster::new(31);
    let index = cluster.write("before");
    cluster.start(2, Disk::default());
    cluster.change(Change::AddLearner { raft_id: 2, node: node(2) });
    cluster.run_until("the learner has the state", 5_000, |c| c.members[&2].state.contains_key(&index));
    let status = cluster.status(1);
    let learner = status.members.iter().find(|m| m.raft_id == 2).unwrap();
    assert!(!learner.voter && learner.reachable && learner.match_index >= Some(index));
    cluster.kill(2);
    cluster.write("a learner is not needed for a quorum");
}

#[test]
fn a_learner_that_is_not_there_is_not_promoted() {
    let mut cluster = Cluster::new(32);
    cluster.change(Change::AddLearner { raft_id: 2, node: node(2) });
    let id = cluster.ask_change(Change::Promote { raft_id: 2 });
    cluster.run_until("the deadline", 6_000, |c| c.outcomes.contains_key(&id));
    assert_eq!(cluster.outcomes[&id], Outcome::Dropped(Dropped::TimedOut(Waiting::Unreached)));
    cluster.write("and the group of one goes on");
}

#[test]
fn changes_asked_at_once_pass_one_after_the_other() {
    let mut cluster = Cluster::new(33);
    for raft_id in 2..=5 {
        cluster.start(raft_id, Disk::default());
    }
    let mut ids = Vec::new();
    for raft_id in 2..=5 {
        ids.push(cluster.ask_change(Change::AddLearner { raft_id, node: node(raft_id) }));
    }
    cluster.run_until("all are answered", 5_000, |c| ids.iter().all(|id| c.outcomes.contains_key(id)));
    assert!(ids.iter().all(|id| matches!(cluster.outcomes[id], Outcome::Committed { .. })));
    assert_eq!(cluster.status(1).members.len(), 5);
}

#[test]
fn a_removed_member_stops() {
    let mut cluster = Cluster::of(3, 34);
    cluster.change(Change::Remove { raft_id: 3 });
    cluster.run_until("it knows", 5_000, |c| c.members[&3].stopped.is_some());
    assert_eq!(cluster.members[&3].stopped, Some(Stop::Removed));
    cluster.write("the others go on");
}

#[test]
fn a_member_removed_while_it_was_away_is_told_and_disturbs_nobody() {
    let mut cluster = Cluster::of(3, 35);
    cluster.kill(3);
    cluster.change(Change::Remove { raft_id: 3 });
    let term = cluster.status(1).role.term;
    cluster.restart(3);
    cluster.run_until("it knows", 10_000, |c| c.members[&3].stopped.is_some());
    assert_eq!(cluster.members[&3].stopped, Some(Stop::Removed));
    assert_eq!((cluster.leader(), cluster.status(1).role.term), (Some(1), term));
}

#[test]
fn a_learner_removed_while_it_was_away_is_told() {
    let mut cluster = Cluster::of(2, 41);
    cluster.start(3, Disk::default());
    cluster.change(Change::AddLearner { raft_id: 3, node: node(3) });
    cluster.run_until("it follows", 2_000, |c| c.status(3).members.len() == 3);
    cluster.cut.insert(3);
    cluster.change(Change::Remove { raft_id: 3 });
    cluster.run(10_000);
    cluster.cut.clear();
    cluster.run_until("it knows", 10_000, |c| c.members[&3].stopped == Some(Stop::Removed));
}

#[test]
fn a_node_comes_back_only_under_a_new_raft_id() {
    let mut cluster = Cluster::of(3, 36);
    cluster.change(Change::Remove { raft_id: 3 });
    assert_eq!(refused(&mut cluster, Change::AddLearner { raft_id: 3, node: node(3) }), Refusal::IdUsed { raft_id: 3 });
    cluster.join(4);
    cluster.run_until("all agree", 3_000, Cluster::settled);
}

#[test]
fn changes_that_make_no_sense_are_refused() {
    let mut cluster = Cluster::of(2, 37);
    let again = Change::AddLearner { raft_id: 9, node: node(2) };
    assert_eq!(refused(&mut cluster, again), Refusal::AlreadyMember { raft_id: 2 });
    assert_eq!(refused(&mut cluster, Change::Promote { raft_id: 9 }), Refusal::NoMember { raft_id: 9 });
    assert_eq!(refused(&mut cluster, Change::Promote { raft_id: 2 }), Refusal::AlreadyMember { raft_id: 2 });
    assert_eq!(refused(&mut cluster, Change::Remove { raft_id: 9 }), Refusal::NoMember { raft_id: 9 });
    cluster.change(Change::Remove { raft_id: 2 });
    assert_eq!(refused(&mut cluster, Change::Remove { raft_id: 1 }), Refusal::LastVoter);
}

#[test]
fn a_removal_that_would_cost_the_quorum_is_refused_and_that_of_the_dead_member_is_not() {
    let mut cluster = Cluster::of(3, 38);
    cluster.kill(3);
    cluster.run(3_000);
    let refusal = refused(&mut cluster, Change::Remove { raft_id: 2 });
    assert_eq!(refusal, Refusal::QuorumLost { reachable: 1, voters: 2, needed: 2 });
    cluster.change(Change::Remove { raft_id: 3 });
}

#[test]
fn a_leader_asked_to_remove_itself_hands_over_first() {
    let mut cluster = Cluster::of(3, 39);
    let id = cluster.ask_change(Change::Remove { raft_id: 1 });
    let next = match &cluster.outcomes[&id] {
        Outcome::Dropped(Dropped::NotLeader { leader: Some(next) }) => *next,
        other => panic!("{other:?}"),
    };
    cluster.run_until("the next one leads", 1_000, |c| c.leader().is_some_and(|l| node(l) == next));
    cluster.change(Change::Remove { raft_id: 1 });
    cluster.run_until("the old one stops", 5_000, |c| c.members[&1].stopped == Some(Stop::Removed));
    cluster.write("the others go on");
}

#[test]
fn a_group_shrinks_to_one_and_goes_on() {
    let mut cluster = Cluster::of(3, 40);
    cluster.change(Change::Remove { raft_id: 2 });
    cluster.change(Change::Remove { raft_id: 3 });
    cluster.write("alone");
    cluster.kill(1);
    cluster.restart(1);
    cluster.run_until("it leads again by itself", 3_000, |c| c.leader() == Some(1));
    cluster.write("still alone");
}

#[test]
fn the_last_two_members_part_without_losing_the_one_that_stays() {
    for seed in 60..80 {
        let mut cluster = Cluster::of(2, seed);
        let leader = cluster.leader().expect("a leader");
        let gone = 3 - leader;
        let id = cluster.ask_change(Change::Remove { raft_id: gone });
        // The one that stays dies as soon as it has answered, and what it had not synced is lost.
        cluster.run_until("the change is answered", 3_000, |c| c.outcomes.contains_key(&id));
        cluster.kill(leader);
        cluster.run(3_000);
        cluster.restart(leader);
        cluster.run_until("it leads alone", 10_000, |c| c.leader() == Some(leader));
        cluster.run_until("the other has gone", 10_000, |c| c.members[&gone].stopped == Some(Stop::Removed));
        cluster.write("alone");
    }
}
