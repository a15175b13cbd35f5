//! Found in updates.

use super::Scenario;
use crate::script::*;
use swarm_core::NodeId;
use swarm_core::model::*;
use swarm_core::store::View;

pub const EXCLUDED_NODE: Scenario = Scenario {
    name: "a-global-service-leaves-a-node",
    story: "A global service that starts first was updated to a version that may not be on one of its nodes. The new \
            task was made there all the same and had to leave at once, and another one was made: the leader filled \
            the log for as long as the old task ran. Where a version may not be, the old one is now stopped, and \
            nothing follows.",
    managers: 3,
    workers: 0,
    script: || {
        let order = UpdateOrder::StartFirst;
        let first = ServiceSpec {
            update: Some(UpdateConfig { order, ..UpdateConfig::default() }),
            ..web(ServiceMode::Global, "runs:1")
        };
        vec![
            create(first),
            all_run(&[("runs:1", 3)]),
            update("a new image, not on host2", |spec| {
                spec.task.container.image = "runs:2".to_owned();
                spec.task.placement.constraints = vec!["node.hostname!=host2".to_owned()];
            }),
            all_run(&[("runs:2", 2)]),
            completed(),
        ]
    },
};

pub const OVERTAKEN: Scenario = Scenario {
    name: "an-overtaken-update-loses-a-node",
    story: "A node was lost while it brought up a task for an update that was overtaken by one that needed no other \
            container. The task made in its place counted as brought in by the later update: more were under way than \
            its parallelism, and a failure would have paused it or rolled it back.",
    managers: 3,
    workers: 3,
    script: || {
        let first = ServiceSpec {
            update: Some(UpdateConfig { parallelism: 1, ..UpdateConfig::default() }),
            ..on_workers(web(ServiceMode::Replicated { replicas: 2 }, "runs:1"))
        };
        // The worker that has none of the two is the only one that takes a task of the update.
        let pause_other = || set_node("a worker with a task", used, |node| node.availability = Availability::Pause);
        vec![
            create(first),
            all_run(&[("runs:1", 2)]),
            pause_other(),
            pause_other(),
            update("an image that takes long to fetch", |spec| spec.task.container.image = "slow:2".to_owned()),
            until("one is being fetched", |view| fetching(view) == 1),
            update("what needs no other container", |spec| spec.task.restart.delay = std::time::Duration::from_secs(2)),
            until("two are being fetched", |view| fetching(view) == 2),
            lose("the node of both", |view| {
                tasks(view).find(|task| task.spec.container.image == "slow:2").and_then(|task| task.node)
            }),
            until("it is missed", |view| view.nodes().any(|node| node.status.state == NodeState::Down)),
            pass(5),
            give_back(),
            all_run(&[("slow:2", 2)]),
        ]
    },
};

/// A worker that has a task and takes others.
fn used(view: &View) -> Option<NodeId> {
    let takes = |id: &NodeId| view.node(*id).is_some_and(|node| node.spec.availability == Availability::Active);
    tasks(view).filter_map(|task| task.node).find(takes)
}

fn fetching(view: &View) -> usize {
    let fetches = |task: &&Task| (TaskState::Assigned..TaskState::Running).contains(&task.status.state);
    tasks(view).filter(|task| task.spec.container.image == "slow:2").filter(fetches).count()
}

/// Managers would take the tasks of those that are lost or paused.
pub fn on_workers(mut spec: ServiceSpec) -> ServiceSpec {
    spec.task.placement.constraints.push("node.role==worker".to_owned());
    spec
}
