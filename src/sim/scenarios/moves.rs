//! Found in moves between nodes.

use super::Scenario;
use super::updates::on_workers;
use crate::script::*;
use swarm_core::model::*;

fn start_first() -> Option<UpdateConfig> {
    Some(UpdateConfig { order: UpdateOrder::StartFirst, ..UpdateConfig::default() })
}

/// Addresses of a /28 that are left beside the network's and the gateway's own, the broadcast one, and the service's.
const TASKS_OF_A_28: u64 = 12;

pub const FULL_NETWORK: Scenario = Scenario {
    name: "a-move-into-a-full-network",
    story: "With a budget of moves per minute set, a service that starts first was to move to an emptier node, and its \
            network had no free address for the second task. The move was given up and forgotten, with it the budget \
            it had used, and made again: the leader filled the log with tasks as fast as the disk writes. What was \
            made to move, in vain or not, is now kept for the minute it counts.",
    managers: 3,
    workers: 2,
    script: || {
        let subnet = "10.99.0.0/28".parse();
        let network = NetworkSpec {
            name: "small".to_owned(),
            ipam: subnet.into_iter().map(|subnet| IpamSubnet { subnet, gateway: None, range: None }).collect(),
            ..NetworkSpec::default()
        };
        let availability =
            |availability| set_node("the second worker", host(4), move |node| node.availability = availability);
        vec![
            create_network(network),
            set_cluster(|spec| (spec.task_history_limit, spec.rebalance_moves_per_minute) = (0, 60)),
            availability(Availability::Pause),
            wish("create service web in it", |asked| {
                let mut spec = on_workers(web(ServiceMode::Replicated { replicas: TASKS_OF_A_28 }, "runs:1"));
                spec.update = start_first();
                let small = asked.view.networks().find(|network| network.spec.name == "small");
                let target = small.map(|network| NetworkTarget {
                    target: network.id,
                    aliases: Vec::new(),
                    driver_options: Default::default(),
                });
                spec.task.networks = target.into_iter().collect();
                swarm_core::control::create_service(
                    asked.view,
                    spec,
                    swarm_core::ServiceId::random(asked.rng),
                    asked.now,
                )
            }),
            all_run(&[("runs:1", TASKS_OF_A_28 as usize)]),
            availability(Availability::Active),
            until("one has been moved, in vain", |view| {
                view.tasks().any(|task| task.origin == TaskOrigin::Move && !task.is_wanted())
            }),
            pass(10),
        ]
    },
};

pub const NO_LONGER_FITS: Scenario = Scenario {
    name: "a-node-no-longer-fits-after-an-update",
    story: "An update narrowed the placement of a service that starts first; one task was on a node that still fitted \
            and stayed as it was. Later that node lost its label. The task made to take over counted as outdated \
            beside it, so another was made to take over, and another, without a limit of parallelism as fast as the \
            leader decides. One that is on its way is now enough, and the update is told to go on.",
    managers: 3,
    workers: 3,
    script: || {
        let label = |number, keys: &'static [&'static str]| {
            set_node("the labels of a worker", host(number), move |node| {
                node.labels = keys.iter().map(|key| ((*key).to_owned(), "1".to_owned())).collect();
            })
        };
        let mut first = web(ServiceMode::Replicated { replicas: 2 }, "runs:1");
        first.update = start_first().map(|update| UpdateConfig { parallelism: 0, ..update });
        first.task.placement.constraints = vec!["node.labels.x==1".to_owned()];
        vec![
            label(3, &["x", "y"]),
            label(4, &["x"]),
            label(5, &["y"]),
            create(first),
            all_run(&[("runs:1", 2)]),
            update("on nodes that have the label y as well", |spec| {
                spec.task.placement.constraints.push("node.labels.y==1".to_owned());
            }),
            completed(),
            label(4, &["x", "y"]),
            label(3, &[]),
            until("the tasks are where they may be", |view| {
                let four = host(4)(view);
                tasks(view).count() == 2
                    && tasks(view).all(|task| task.node == four && task.status.state == TaskState::Running)
            }),
        ]
    },
};
