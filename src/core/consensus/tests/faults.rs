//! Random crashes, partitions and losses: what was acknowledged stays, and all members agree in the end.

use super::harness::{Cluster, Disk, State, node};
use crate::consensus::Change;

/// The states never contradict each other, whatever happens.
fn agree(cluster: &Cluster) {
    let mut merged = State::new();
    for member in cluster.members.values() {
        for (index, text) in &member.state {
            let first = merged.entry(*index).or_insert_with(|| text.clone());
            assert_eq!(first, text, "two texts at index {index}");
        }
    }
}

fn fault(cluster: &mut Cluster, count: u64) {
    let victim = 1 + cluster.draw(count);
    match cluster.draw(6) {
        0 if cluster.members[&victim].consensus.is_some() => cluster.kill(victim),
        0 | 1 => {
            let member = &cluster.members[&victim];
            if member.consensus.is_none() && member.stopped.is_none() {
                cluster.restart(victim);
            }
        }
        2 => drop(cluster.cut.insert(victim)),
        3 => cluster.cut.clear(),
        4 => {
            let member = cluster.members.get_mut(&victim).unwrap();
            member.disk_works = !member.disk_works;
        }
        _ => cluster.loss = cluster.draw(30),
    }
}

fn heal(cluster: &mut Cluster, count: u64) {
    cluster.cut.clear();
    cluster.loss = 0;
    for raft_id in 1..=count {
        cluster.members.get_mut(&raft_id).unwrap().disk_works = true;
        let member = &cluster.members[&raft_id];
        if member.consensus.is_none() && member.stopped.is_none() {
            cluster.restart(raft_id);
        }
    }
}

fn all_follow_one_leader(cluster: &Cluster) -> bool {
    let leader = cluster.leader().map(|id| cluster.status(id).role);
    let mut running = cluster.members.values().filter(|m| m.stopped.is_none());
    leader.is_some_and(|l| running.all(|m| (m.role.term, m.role.leader) == (l.term, l.leader)))
}

#[test]
fn no_acknowledged_write_is_lost_under_random_faults() {
    for seed in 0..12 {
        let count = 3 + 2 * (seed % 2);
        let mut cluster = Cluster::of(count, 1_000 + seed);
        for round in 0..120 {
            if round % 8 == 0 {
                heal(&mut cluster, count);
                cluster.run(1_500);
            }
            fault(&mut cluster, count);
            for raft_id in 1..=count {
                cluster.propose(raft_id, &format!("{round} at {raft_id}"));
            }
            let pause = 100 + cluster.draw(900);
            cluster.run(pause);
            agree(&cluster);
        }
        let acknowledged = cluster.committed.len();
        assert!(acknowledged > 20, "seed {seed}: only {acknowledged} writes went through");
        heal(&mut cluster, count);
        cluster.run_until("all follow one leader", 10_000, all_follow_one_leader);
        cluster.write("the end");
        cluster.run_until("all agree", 10_000, Cluster::settled);
        agree(&cluster);
    }
}

/// Asks the leader for a change that is likely to make sense.
fn change_members(cluster: &mut Cluster, last: &mut u64) {
    let Some(leader) = cluster.leader() else { return };
    let members = cluster.status(leader).members;
    let some = &members[usize::try_from(cluster.draw(members.len() as u64)).unwrap()];
    let change = match cluster.draw(3) {
        0 if members.len() < 6 => {
            *last += 1;
            cluster.start(*last, Disk::default());
            Change::AddLearner { raft_id: *last, node: node(*last) }
        }
        1 if members.len() > 2 => Change::Remove { raft_id: some.raft_id },
        _ => Change::Promote { raft_id: some.raft_id },
    };
    cluster.ask_change(change);
}

#[test]
fn members_come_and_go_under_random_faults() {
    for seed in 0..8 {
        let mut cluster = Cluster::of(3, 5_000 + seed);
        let mut last = 3;
        for round in 0..120 {
            if round % 4 == 0 {
                heal(&mut cluster, last);
                cluster.run(2_000);
            }
            if round % 2 == 0 {
                change_members(&mut cluster, &mut last);
            }
            fault(&mut cluster, last);
            for raft_id in 1..=last {
                cluster.propose(raft_id, &format!("{round} at {raft_id}"));
            }
            let pause = 100 + cluster.draw(900);
            cluster.run(pause);
            agree(&cluster);
        }
        heal(&mut cluster, last);
        let known =
            |c: &Cluster, id: u64| c.leader().is_some_and(|l| c.status(l).members.iter().any(|m| m.raft_id == id));
        cluster.run_until("a leader", 10_000, |c| c.leader().is_some());
        // Members that were never added hear from nobody, and no leader counts on them.
        cluster.run(6_000);
        let leader = cluster.leader().expect("a leader");
        let strangers: Vec<u64> = (1..=last).filter(|id| !known(&cluster, *id)).collect();
        for id in strangers {
            let stopped = cluster.members[&id].stopped.is_some();
            let never_joined = cluster.members[&id].consensus.as_ref().is_some_and(|c| c.members().is_empty());
            assert!(stopped || never_joined, "seed {seed}: {id} was removed and was not told");
            cluster.members.remove(&id);
        }
        let index = cluster.write("the end");
        cluster.run_until("all have it", 10_000, |c| c.members.values().all(|m| m.state.contains_key(&index)));
        let state = &cluster.members[&leader].state;
        assert!(cluster.committed.values().all(|index| state.contains_key(index)), "seed {seed}: a write is lost");
        assert!(cluster.committed.len() > 20 && last > 4, "seed {seed}");
    }
}
