//! Clusters in which something goes on: an update, a change of scale, nodes that are kept even.

use super::{apply, cluster, tasks_fail};
use divan::Bencher;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::sync::Arc;
use swarm_core::control;
use swarm_core::model::*;
use swarm_core::plan::{self, Memo, Phase};
use swarm_core::store::{Change, Object, Store, Txn};
use swarm_core::{ClusterId, ServiceId, WallTime};

/// One task of a cluster of 100,000 fails that keeps its nodes even and whose services could all be moved. Services and
/// nodes.
#[divan::bench(args = [(1_000, 1_000), (1_000, 100_000)], sample_count = 200, sample_size = 1)]
fn one_task_of_100_000_fails_where_nodes_are_evened_out(bencher: Bencher, (services, nodes): (u128, u128)) {
    let mut store = cluster::running(100_000, services, nodes);
    let services: Vec<_> = store.view().services().cloned().collect();
    let start_first = UpdateConfig { order: UpdateOrder::StartFirst, ..UpdateConfig::default() };
    let moved = services.iter().map(|service| {
        let spec = ServiceSpec { update: Some(start_first.clone()), ..(*service.spec).clone() };
        Change::Replace(Object::Service(Arc::new(Service { spec: Arc::new(spec), ..(**service).clone() })))
    });
    let settings = ClusterSpec { rebalance_moves_per_minute: 60, ..ClusterSpec::default() };
    let changes = moved
        .chain([Change::Create(Object::Cluster(Arc::new(Cluster::new(ClusterId(1), settings, ClusterCa::default()))))])
        .collect();
    apply(&mut store, &Txn { changes, ..Txn::default() });
    tasks_fail(bencher, store);
}

/// A service of that many replicas whose spec its user has just edited.
fn edited(replicas: u128, edit: impl FnOnce(&mut ServiceSpec)) -> (Store, Arc<Service>) {
    let mut store = cluster::running(replicas, 1, 1_000);
    let view = store.view();
    let old = view.services().next().expect("a service");
    let mut spec = (*old.spec).clone();
    edit(&mut spec);
    let txn = control::update_service(&view, old.id, old.meta.version, spec, WallTime(0)).expect("a valid wish");
    apply(&mut store, &txn);
    let new = Arc::clone(store.view().service(old.id).expect("the service"));
    (store, new)
}

/// All phases of one service, each on what the last one led to, as the leader does; says how many changes they want.
fn phases(store: &Store, service: ServiceId, rng: &mut StdRng) -> usize {
    let (mut store, mut memo, mut changes) = (Store::from_view(store.view()), Memo::default(), 0);
    for phase in Phase::ALL {
        let plan = plan::reconcile(&store.view(), service, phase, WallTime(0), rng, &mut memo);
        for group in plan.groups {
            changes += group.len();
            apply(&mut store, &Txn { changes: group, ..Txn::default() });
        }
    }
    changes
}

/// Half of the slots are updated, and the next ten are begun.
#[divan::bench(args = [100, 10_000], sample_count = 20)]
fn reconcile_in_the_middle_of_an_update(bencher: Bencher, replicas: u128) {
    let (mut store, service) = edited(replicas, |spec| {
        spec.task.container.image = "example/shop/web:1.2.4".into();
        spec.update = Some(UpdateConfig { parallelism: 10, ..UpdateConfig::default() });
    });
    let spec = Arc::new(service.spec.task.clone());
    let of_half = |task: &&Arc<Task>| u128::from(task.slot) <= replicas / 2;
    let updated = store.view().tasks().filter(of_half).cloned().collect::<Vec<_>>().into_iter().map(|task| {
        let (spec, spec_version) = (Arc::clone(&spec), service.spec_version);
        let task = Task { spec, spec_version, origin: TaskOrigin::Update, ..(*task).clone() };
        Change::Replace(Object::Task(Arc::new(task)))
    });
    apply(&mut store, &Txn { changes: updated.collect(), ..Txn::default() });
    let mut rng = StdRng::seed_from_u64(7);
    bencher
        .bench_local(|| assert_eq!(phases(&store, service.id, &mut rng), 21, "the status, ten stopped and ten made"));
}

#[divan::bench(args = [100, 10_000], sample_count = 20)]
fn reconcile_scaled_by_one(bencher: Bencher, replicas: u128) {
    let (store, service) = edited(replicas, |spec| {
        spec.mode = ServiceMode::Replicated { replicas: u64::try_from(replicas).expect("replicas") + 1 };
    });
    let mut rng = StdRng::seed_from_u64(7);
    bencher.bench_local(|| assert_eq!(phases(&store, service.id, &mut rng), 1, "one is made"));
}
