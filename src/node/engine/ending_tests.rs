//! Containers that no shim, or a strange one, answers for: a process in a control group, and files.

use super::*;
use runtime::cgroup::{Cgroup, Hierarchy};
use runtime::container::ContainersOptions;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use swarm_core::model::{ContainerStatus, TaskSpec, TaskState, TaskStatus};
use swarm_core::{ServiceId, TaskId};
use tokio::time::timeout;

const LONG: Duration = Duration::from_secs(60);

struct Host {
    dir: tempfile::TempDir,
    containers: Containers,
    parent: String,
}

impl Host {
    async fn new(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let parent = format!("/swarm-test-{name}-{}", std::process::id());
        let options = ContainersOptions {
            state_dir: dir.path().join("state"),
            run_dir: dir.path().join("run"),
            shim_command: vec!["/bin/false".into()],
            cgroup_parent: parent.clone(),
        };
        let containers = Containers::open(options).await.unwrap();
        Self { dir, containers, parent }
    }

    fn cgroup(&self, path: &str) -> Cgroup {
        Cgroup::new(Hierarchy::detect().unwrap(), path).unwrap()
    }

    /// What a container leaves whose shim was killed.
    fn orphan(&self, id: &str) -> Child {
        let child = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
        self.cgroup(&format!("{}/{id}", self.parent)).join(child.id() as i32).unwrap();
        for part in ["state", "run"] {
            std::fs::create_dir_all(self.dir.path().join(part).join(id)).unwrap();
        }
        child
    }

    /// A shim that answers every request with these words.
    fn shim(&self, id: &str, answer: &'static str) {
        let listener = UnixListener::bind(self.dir.path().join("run").join(id).join("shim.sock")).unwrap();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut length = [0; 4];
                stream.read_exact(&mut length).unwrap();
                stream.read_exact(&mut vec![0; u32::from_le_bytes(length) as usize]).unwrap();
                let frame = [&(answer.len() as u32).to_le_bytes()[..], answer.as_bytes()].concat();
                stream.write_all(&frame).unwrap();
            }
        });
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.cgroup(&self.parent).remove();
    }
}

fn task(state: TaskState, pid: u32) -> Task {
    let container = Some(ContainerStatus { pid, ..ContainerStatus::default() });
    Task {
        service_name: "web".to_owned(),
        status: TaskStatus { state, container, ..TaskStatus::default() },
        ..Task::new(TaskId(7), ServiceId(1), 1, Arc::new(TaskSpec::default()))
    }
}

#[tokio::test]
async fn the_end_of_a_container_without_its_shim_is_told_when_its_processes_are_gone() {
    let host = Host::new("end").await;
    let mut program = host.orphan("a");
    let exit = timeout(LONG, end_of(&host.containers, "a")).await.expect("in time");
    assert!(!program.wait().unwrap().success(), "it was killed");
    assert_eq!((exit.code, exit.error.is_some()), (137, true), "{exit:?}");
    assert_eq!(host.containers.exit("a").unwrap(), Some(exit));
}

#[tokio::test]
async fn a_container_that_did_not_start_for_want_of_an_answer_runs_no_more() {
    let host = Host::new("start").await;
    let mut program = host.orphan("a");
    let error = timeout(LONG, start(&host.containers, "a")).await.expect("in time").expect_err("no shim");
    assert!(matches!(error, Error::NotFound(_)), "{error:?}");
    assert!(!program.wait().unwrap().success(), "it was killed");
}

#[tokio::test]
async fn after_a_restart_nothing_is_found_of_a_container_only_when_nothing_of_it_runs() {
    let host = Host::new("find").await;
    let id = container_id(TaskId(7));
    let mut program = host.orphan(&id);
    let found = timeout(LONG, find(&host.containers, &task(TaskState::Running, 9))).await.expect("in time");
    assert!(matches!(found, Found::Nothing), "{found:?}");
    assert!(!program.wait().unwrap().success(), "it was killed");
}

#[tokio::test]
async fn a_container_whose_shim_cannot_be_understood_is_taken_for_running_if_it_was() {
    let host = Host::new("strange").await;
    let id = container_id(TaskId(7));
    let mut program = host.orphan(&id);
    host.shim(&id, r#"{"re":"done"}"#);
    let found = find(&host.containers, &task(TaskState::Running, 9)).await;
    assert!(matches!(&found, Found::Running { pid: 9, .. }), "{found:?}");
    assert!(program.try_wait().unwrap().is_none(), "it runs on");
    let found = timeout(LONG, find(&host.containers, &task(TaskState::Starting, 0))).await.expect("in time");
    assert!(matches!(found, Found::Nothing), "{found:?}");
    assert!(!program.wait().unwrap().success(), "what was never started is killed");
}
