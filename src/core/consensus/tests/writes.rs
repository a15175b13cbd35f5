//! Replication, replies, reads.

use super::harness::{Cluster, node};
use crate::consensus::limits::{PROPOSAL_BYTES_MAX, SNAPSHOT_EVERY_ENTRIES};
use crate::consensus::*;
use bytes::Bytes;

#[test]
fn a_group_of_one_commits_what_it_is_given() {
    let mut cluster = Cluster::new(1);
    let index = cluster.write("first");
    assert_eq!(cluster.members[&1].state[&index], "first");
    assert!(cluster.members[&1].disk.log.contains_key(&index), "acknowledged means on disk");
}

#[test]
fn every_member_applies_the_same_entries_at_the_same_indexes() {
    let mut cluster = Cluster::of(3, 2);
    for text in ["a", "b", "c"] {
        cluster.write(text);
    }
    cluster.run_until("all have applied", 1_000, Cluster::settled);
    let texts: Vec<_> = cluster.members[&3].state.values().cloned().collect();
    assert_eq!(texts, ["a", "b", "c"]);
}

#[test]
fn a_write_is_not_acknowledged_while_a_majority_of_disks_has_not_got_it() {
    let mut cluster = Cluster::of(3, 3);
    for raft_id in [2, 3] {
        cluster.members.get_mut(&raft_id).unwrap().disk_works = false;
    }
    let id = cluster.propose(1, "held");
    cluster.run(2_000);
    assert!(!cluster.committed.contains_key(&id));
    cluster.members.get_mut(&2).unwrap().disk_works = true;
    cluster.run_until("two of three disks suffice", 3_000, |c| c.committed.contains_key(&id));
}

#[test]
fn a_follower_names_the_leader_instead_of_taking_a_write() {
    let mut cluster = Cluster::of(3, 4);
    let id = cluster.propose(2, "misdirected");
    let expected = Outcome::Dropped(Dropped::NotLeader { leader: Some(node(1)) });
    assert_eq!(cluster.outcomes[&id], expected);
}

#[test]
fn a_write_meant_for_an_earlier_term_is_dropped() {
    let mut cluster = Cluster::of(1, 5);
    let id = cluster.request();
    let current = cluster.status(1).role.term;
    let proposal = Proposal { id, data: Bytes::from_static(b"late"), term: Some(current - 1) };
    cluster.input(1, Input::Propose(vec![proposal]));
    assert_eq!(cluster.outcomes[&id], Outcome::Dropped(Dropped::StaleTerm { current }));
}

#[test]
fn a_write_over_the_limit_is_dropped_and_the_others_of_its_batch_are_not() {
    let mut cluster = Cluster::new(6);
    let (large, small) = (cluster.request(), cluster.request());
    let proposals = vec![
        Proposal { id: large, data: vec![0; PROPOSAL_BYTES_MAX + 1].into(), term: None },
        Proposal { id: small, data: Bytes::from_static(b"small"), term: None },
    ];
    cluster.input(1, Input::Propose(proposals));
    assert!(matches!(cluster.outcomes[&large], Outcome::Dropped(Dropped::TooLarge { .. })));
    cluster.run_until("the small one is committed", 1_000, |c| c.committed.contains_key(&small));
}

#[test]
fn a_write_of_a_deposed_leader_is_answered_as_overwritten() {
    let mut cluster = Cluster::of(3, 7);
    cluster.cut.insert(1);
    let id = cluster.propose(1, "alone");
    cluster.run_until("the others elect", 5_000, |c| c.leader().is_some_and(|l| l != 1));
    cluster.write("instead");
    cluster.cut.clear();
    cluster.run_until("the old leader learns the outcome", 5_000, |c| c.outcomes.contains_key(&id));
    assert_eq!(cluster.outcomes[&id], Outcome::Dropped(Dropped::Overwritten));
    assert!(cluster.members.values().all(|m| !m.state.values().any(|text| text == "alone")));
}

#[test]
fn a_read_at_a_follower_sees_a_write_acknowledged_before() {
    let mut cluster = Cluster::of(3, 8);
    let index = cluster.write("seen");
    let read = cluster.read(3);
    cluster.run_until("the read is ready", 2_000, |c| c.reads.contains_key(&read));
    assert!(matches!(cluster.reads[&read], ReadOutcome::Ready { index: at } if at >= index));
    assert_eq!(cluster.members[&3].state[&index], "seen");
}

#[test]
fn a_leader_cut_off_serves_no_read() {
    let mut cluster = Cluster::of(3, 9);
    cluster.cut.insert(1);
    let read = cluster.read(1);
    cluster.run_until("the read ends", 6_000, |c| c.reads.contains_key(&read));
    assert_eq!(cluster.reads[&read], ReadOutcome::TimedOut);
}

#[test]
fn reads_survive_the_loss_of_messages() {
    let mut cluster = Cluster::of(3, 10);
    cluster.loss = 30;
    for _ in 0..10 {
        let read = cluster.read(2);
        cluster.run_until("the read ends", 6_000, |c| c.reads.contains_key(&read));
        assert!(matches!(cluster.reads[&read], ReadOutcome::Ready { .. }), "{:?}", cluster.reads[&read]);
    }
}

#[test]
fn the_log_is_cut_behind_a_snapshot_and_a_lagging_follower_gets_it() {
    let mut cluster = Cluster::of(3, 11);
    cluster.cut.insert(3);
    for batch in 0..=SNAPSHOT_EVERY_ENTRIES / 500 {
        let ids: Vec<RequestId> = (0..500).map(|_| cluster.request()).collect();
        let last = ids[499];
        let proposals = ids.iter().map(|id| Proposal { id: *id, data: format!("{batch}").into(), term: None });
        let leader = cluster.leader().expect("a leader");
        cluster.input(leader, Input::Propose(proposals.collect()));
        cluster.run_until("the batch is committed", 3_000, |c| c.committed.contains_key(&last));
    }
    assert!(cluster.snapshots_taken >= 2, "leader and follower take their own");
    let first = cluster.status(1).first_index;
    assert!(first > 9_000, "the log begins at {first}");
    assert!(cluster.members[&1].disk.log.len() < 2_000);
    assert!(cluster.members[&3].state.is_empty());
    cluster.cut.clear();
    cluster.run_until("the follower has caught up", 10_000, Cluster::settled);
    let index = cluster.write("after");
    cluster.run_until("it follows again", 1_000, |c| c.members[&3].state.contains_key(&index));
    cluster.kill(3);
    cluster.restart(3);
    cluster.run_until("it starts from the snapshot it was sent", 3_000, Cluster::settled);
}
