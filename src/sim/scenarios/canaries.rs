//! Found with canaries.

use super::Scenario;
use super::updates::on_workers;
use crate::script::*;
use swarm_core::model::*;

fn one_canary() -> Option<UpdateConfig> {
    Some(UpdateConfig { canary: 1, ..UpdateConfig::default() })
}

pub const LOST_NODE: Scenario = Scenario {
    name: "a-canary-on-a-lost-node",
    story: "A global service was updated with canaries. The node of one went down, and the update took another node in \
            its place: more had the new version than were asked for, and nobody had promoted it. A canary whose node \
            is away is now counted, and not taken for good while its node is lost.",
    managers: 3,
    workers: 3,
    script: || {
        vec![
            create(on_workers(web(ServiceMode::Global, "runs:1"))),
            all_run(&[("runs:1", 3)]),
            update("a new image, one canary", |spec| {
                spec.task.container.image = "runs:2".to_owned();
                spec.update = one_canary();
            }),
            all_run(&[("runs:1", 2), ("runs:2", 1)]),
            lose("the node of the canary", |view| {
                tasks(view).find(|task| task.spec.container.image == "runs:2").and_then(|task| task.node)
            }),
            until("it is missed", |view| view.nodes().any(|node| node.status.state == NodeState::Down)),
            pass(5),
            give_back(),
            all_run(&[("runs:1", 2), ("runs:2", 1)]),
        ]
    },
};

pub const EXCLUDED_NODE: Scenario = Scenario {
    name: "canaries-widen-the-placement",
    story: "A global service was updated with a canary to a version that may be on nodes its earlier one may not be \
            on. Beside the canary it is what it was before, so the earlier version was made on those nodes, had to \
            leave them at once, and was made again, without end. They are now left alone until the canary is promoted.",
    managers: 3,
    workers: 0,
    script: || {
        let mut first = web(ServiceMode::Global, "runs:1");
        first.task.placement.constraints = vec!["node.hostname!=host2".to_owned()];
        vec![
            create(first),
            all_run(&[("runs:1", 2)]),
            update("a new image on all nodes, one canary", |spec| {
                spec.task.container.image = "runs:2".to_owned();
                spec.task.placement.constraints.clear();
                spec.update = one_canary();
            }),
            all_run(&[("runs:1", 1), ("runs:2", 1)]),
            pass(5),
        ]
    },
};
