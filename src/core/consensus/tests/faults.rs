//! Random crashes, partitions and losses: what was acknowledged stays, and all members agree in the end.

use super::harness::{Cluster, State};

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
            if cluster.members[&victim].consensus.is_none() {
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
        if cluster.members[&raft_id].consensus.is_none() {
            cluster.restart(raft_id);
        }
    }
}

#[test]
fn no_acknowledged_write_is_lost_under_random_faults() {
    for seed in 0..60 {
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
        cluster.run_until("all follow one leader", 10_000, |c| {
            let leader = c.leader().map(|id| c.status(id).role);
            leader.is_some_and(|l| c.members.values().all(|m| (m.role.term, m.role.leader) == (l.term, l.leader)))
        });
        cluster.write("the end");
        cluster.run_until("all agree", 10_000, Cluster::settled);
        agree(&cluster);
    }
}
