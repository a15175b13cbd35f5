//! Histories a person can read: what happened to a service, second by second. Written anew with
//! REGENERATE=1 in the environment.

use super::world::*;
use crate::ServiceId;
use crate::model::*;
use crate::store::View;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// One line for each change of a task or of the update, with tasks called by slot and order of birth.
#[derive(Default)]
struct Story {
    lines: Vec<String>,
    tasks: BTreeMap<crate::TaskId, (String, String)>,
    born: BTreeMap<u64, u32>,
    update: String,
}

impl Story {
    fn look(&mut self, view: &View, service: ServiceId, start: i64) {
        let Some(found) = view.service(service) else { return };
        let update = found.update_status.as_ref().map_or(String::new(), |status| format!("{:?}", status.state));
        let newest = view.tasks().map(|task| task.meta.updated.wall).chain([found.meta.updated.wall]).max();
        let at = newest.map_or(0.0, |at| (at.0 - start) as f64 / 1000.0);
        if update != self.update {
            self.lines.push(format!("{at:5.1} s  update {update}"));
            self.update = update;
        }
        let mut tasks: Vec<_> = view.tasks_of_service(service).collect();
        tasks.sort_by_key(|task| (task.slot, task.meta.created.index, task.is_wanted(), task.id));
        for task in tasks {
            let (name, last) = self.tasks.entry(task.id).or_insert_with(|| {
                let nth = self.born.entry(task.slot).or_default();
                *nth += 1;
                (format!("{}.{nth} {}", task.slot, task.spec.container.image), String::new())
            });
            let node = task.node.map_or(String::new(), |node| format!(" on node {}", node.0));
            let err = if task.status.err.is_empty() { String::new() } else { format!(": {}", task.status.err) };
            let now = format!("{} (wanted {}){node}{err}", task.status.state.as_str(), task.desired.as_str());
            if now != *last {
                self.lines.push(format!("{at:5.1} s  {name} {now}"));
                *last = now;
            }
        }
    }
}

/// Lets the world go on for `time` and compares what happened with the file.
fn tell(mut world: World, service: ServiceId, time: Duration, expected: &str, file: &str) {
    let story = Rc::new(RefCell::new(Story::default()));
    let start = world.now.0;
    story.borrow_mut().look(&world.view(), service, start);
    story.borrow_mut().lines.push("-----".into());
    let teller = Rc::clone(&story);
    world.watch = Some(Box::new(move |view| teller.borrow_mut().look(view, service, start)));
    world.pass(time);
    let told = story.borrow().lines.join("\n") + "\n";
    write_if_asked(file, &told);
    assert_eq!(told, expected, "\nrun with REGENERATE=1 when this is meant");
}

#[allow(clippy::disallowed_methods, reason = "a golden file is written anew on demand")]
fn write_if_asked(file: &str, text: &str) {
    if std::env::var_os("REGENERATE").is_some() {
        let path = format!("{}/leader/tests/testdata/{file}", env!("CARGO_MANIFEST_DIR"));
        std::fs::write(path, text).expect("the golden file is written");
    }
}

fn running(world: &mut World, update: UpdateConfig) -> ServiceId {
    world.stop_time = SECOND;
    let mut spec = replicated("web", "web:1", 2);
    spec.update = Some(update);
    let web = world.create(spec);
    world.settle();
    world.now = world.now + SECOND;
    web
}

#[test]
fn the_history_of_an_update_that_is_rolled_back() {
    let mut world = World::new(2);
    world.fate("web:2", Fate::FailsAfter(2 * SECOND));
    let config = UpdateConfig {
        failure_action: FailureAction::Rollback,
        order: UpdateOrder::StartFirst,
        delay: 5 * SECOND,
        ..UpdateConfig::default()
    };
    let web = running(&mut world, config);
    world.update(web, |spec| spec.task.container.image = "web:2".into());
    tell(world, web, 30 * SECOND, include_str!("testdata/rolled_back.txt"), "rolled_back.txt");
}

#[test]
fn the_history_of_a_node_that_goes_away_and_comes_back() {
    let mut world = World::new(2);
    let web = running(&mut world, UpdateConfig::default());
    world.node_state(2, NodeState::Down);
    let script = Duration::from_secs(10);
    world.pass(script);
    world.node_state(2, NodeState::Ready);
    tell(world, web, 10 * SECOND, include_str!("testdata/node_back.txt"), "node_back.txt");
}

#[test]
fn the_history_of_a_service_whose_image_is_missing() {
    let mut world = World::new(2);
    world.fate("gone:1", Fate::Rejected);
    let web = world.create(replicated("web", "gone:1", 1));
    tell(world, web, 6 * SECOND, include_str!("testdata/image_missing.txt"), "image_missing.txt");
}
