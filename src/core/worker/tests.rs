use super::*;
use crate::model::*;
use crate::{NodeId, ServiceId};

fn task(id: u128, desired: TaskState) -> Arc<Task> {
    Arc::new(Task {
        node: Some(NodeId(1)),
        service_name: "web".to_owned(),
        status: TaskStatus { state: TaskState::Assigned, ..TaskStatus::default() },
        desired,
        attachments: vec![TaskAttachment {
            network: crate::NetworkId(1),
            addr: "10.0.0.2".parse().expect("address"),
            aliases: vec![],
        }],
        ..Task::new(TaskId(id), ServiceId(1), 1, Arc::new(TaskSpec::default()))
    })
}

struct Bench {
    worker: Worker,
    now: Mono,
}

impl Bench {
    fn new() -> Self {
        Self { worker: Worker::new(), now: Mono(1000) }
    }

    fn give(&mut self, input: Input) -> Effects {
        let mut out = Effects::default();
        self.worker.input(self.now, WallTime(5), input, &mut out);
        out
    }

    fn assign(&mut self, task: &Arc<Task>) -> Effects {
        self.give(Input::Assigned { complete: false, tasks: vec![task.clone()], removed: vec![] })
    }

    fn see(&mut self, id: u128, what: Observation) -> Effects {
        self.give(Input::Observed { task: TaskId(id), what })
    }

    fn run(&mut self, id: u128) {
        self.assign(&task(id, TaskState::Running));
        self.see(id, prepared());
        self.see(id, Observation::Started { pid: 7, host_ports: vec![] });
    }
}

fn prepared() -> Observation {
    Observation::Prepared { container_id: "c".to_owned(), health_checked: false }
}

fn exited(code: i32) -> Observation {
    Observation::Exited { code, oom_killed: false, error: String::new() }
}

fn states(out: &Effects) -> Vec<TaskState> {
    out.statuses.iter().map(|(_, status)| status.state).collect()
}

#[test]
fn an_assigned_task_is_prepared_started_and_reported_running() {
    let mut bench = Bench::new();
    let out = bench.assign(&task(1, TaskState::Running));
    assert_eq!(states(&out), [TaskState::Accepted, TaskState::Preparing]);
    assert!(matches!(out.commands[..], [Command::Prepare(_)]));
    let out = bench.see(1, prepared());
    assert_eq!(states(&out), [TaskState::Ready, TaskState::Starting]);
    assert!(matches!(out.commands[..], [Command::Start(TaskId(1))]));
    let out = bench.see(1, Observation::Started { pid: 7, host_ports: vec![] });
    assert_eq!(states(&out), [TaskState::Running]);
}

#[test]
fn a_task_whose_desired_state_is_ready_waits_prepared() {
    let mut bench = Bench::new();
    bench.assign(&task(1, TaskState::Ready));
    let out = bench.see(1, prepared());
    assert_eq!(states(&out), [TaskState::Ready]);
    assert!(out.commands.is_empty());
    let out = bench.assign(&task(1, TaskState::Running));
    assert!(matches!(out.commands[..], [Command::Start(_)]));
}

#[test]
fn a_task_told_to_stop_is_drained_before_it_is_signalled() {
    let mut bench = Bench::new();
    bench.run(1);
    let out = bench.assign(&task(1, TaskState::Shutdown));
    assert!(out.commands.is_empty());
    assert_eq!(out.wake_at, Some(bench.now + DRAIN));
    bench.now = bench.now + DRAIN;
    let out = bench.give(Input::Tick);
    assert!(matches!(out.commands[..], [Command::Stop { .. }]));
    let out = bench.see(1, exited(137));
    assert_eq!(states(&out), [TaskState::Shutdown]);
}

#[test]
fn an_exit_by_itself_is_complete_or_failed_with_its_reason() {
    for (code, state) in [(0, TaskState::Complete), (3, TaskState::Failed)] {
        let mut bench = Bench::new();
        bench.run(1);
        let out = bench.see(1, exited(code));
        assert_eq!(states(&out), [state]);
        let status = &out.statuses[0].1;
        assert_eq!(status.container.as_ref().and_then(|c| c.exit_code), Some(code));
        assert_eq!(status.err.is_empty(), code == 0);
    }
}

#[test]
fn a_task_that_is_no_longer_assigned_is_stopped_and_cleaned_without_a_report() {
    let mut bench = Bench::new();
    bench.run(1);
    bench.give(Input::Assigned { complete: true, tasks: vec![], removed: vec![] });
    bench.now = bench.now + DRAIN;
    assert!(matches!(bench.give(Input::Tick).commands[..], [Command::Stop { .. }]));
    let out = bench.see(1, exited(0));
    assert!(out.statuses.is_empty());
    assert!(matches!(out.commands[..], [Command::Clean(_)]));
    bench.see(1, Observation::Cleaned);
    assert!(bench.worker.statuses().is_empty());
}

#[test]
fn a_task_dropped_while_it_is_prepared_is_cleaned_when_that_ends() {
    for what in [prepared(), Observation::NotPrepared("no such image".to_owned())] {
        let mut bench = Bench::new();
        bench.assign(&task(1, TaskState::Running));
        let out = bench.give(Input::Assigned { complete: true, tasks: vec![], removed: vec![] });
        assert!(matches!(out.commands[..], [Command::GiveUp(TaskId(1))]), "{out:?}");
        let out = bench.see(1, what);
        assert!(matches!(out.commands[..], [Command::Clean(_)]), "{out:?}");
        assert!(out.statuses.is_empty());
    }
}

#[test]
fn a_task_stopped_while_it_is_prepared_is_given_up_and_shut_down() {
    let mut bench = Bench::new();
    bench.assign(&task(1, TaskState::Running));
    let out = bench.assign(&task(1, TaskState::Shutdown));
    assert!(matches!(out.commands[..], [Command::GiveUp(TaskId(1))]), "{out:?}");
    let out = bench.see(1, Observation::NotPrepared("given up".to_owned()));
    assert_eq!(states(&out), [TaskState::Shutdown]);
    assert_eq!(out.statuses[0].1.err, "", "nothing failed");
}

#[test]
fn a_task_stopped_while_it_is_started_is_stopped_when_it_runs() {
    let mut bench = Bench::new();
    bench.assign(&task(1, TaskState::Running));
    bench.see(1, prepared());
    bench.assign(&task(1, TaskState::Shutdown));
    bench.see(1, Observation::Started { pid: 7, host_ports: vec![] });
    bench.now = bench.now + DRAIN;
    assert!(matches!(bench.give(Input::Tick).commands[..], [Command::Stop { .. }]));
}

#[test]
fn a_task_that_cannot_be_prepared_is_rejected_with_the_reason() {
    let mut bench = Bench::new();
    bench.assign(&task(1, TaskState::Running));
    let out = bench.see(1, Observation::NotPrepared("no such image: x".to_owned()));
    assert_eq!(states(&out), [TaskState::Rejected]);
    assert_eq!(out.statuses[0].1.err, "no such image: x");
}

#[test]
fn a_task_that_cannot_be_started_has_failed_with_the_code_of_a_shell() {
    let mut bench = Bench::new();
    bench.assign(&task(1, TaskState::Running));
    bench.see(1, prepared());
    let reason = "exec: \"serve\": executable file not found in $PATH".to_owned();
    let out = bench.see(1, Observation::NotStarted { reason: reason.clone(), exit_code: Some(127) });
    assert_eq!(states(&out), [TaskState::Failed]);
    let status = &out.statuses[0].1;
    assert_eq!((&status.err, status.message.as_str()), (&reason, "starting failed"));
    let container = status.container.as_ref().expect("it was made");
    assert_eq!((container.exit_code, container.container_id.as_str()), (Some(127), "c"));
}

#[test]
fn a_task_told_to_stop_while_its_start_fails_is_shut_down() {
    let mut bench = Bench::new();
    bench.assign(&task(1, TaskState::Running));
    bench.see(1, prepared());
    bench.assign(&task(1, TaskState::Shutdown));
    let out = bench.see(1, Observation::NotStarted { reason: "no".to_owned(), exit_code: None });
    assert_eq!(states(&out), [TaskState::Shutdown]);
    assert_eq!(out.statuses[0].1.err, "");
}

#[test]
fn a_health_checked_task_runs_when_it_is_healthy_and_fails_when_it_is_not() {
    let mut bench = Bench::new();
    bench.assign(&task(1, TaskState::Running));
    bench.see(1, Observation::Prepared { container_id: "c".to_owned(), health_checked: true });
    let out = bench.see(1, Observation::Started { pid: 7, host_ports: vec![] });
    assert_eq!(states(&out), [TaskState::Starting]);
    let out = bench.see(1, Observation::Health(Health::Healthy, String::new()));
    assert_eq!(states(&out), [TaskState::Running]);
    let out = bench.see(1, Observation::Health(Health::Unhealthy, "connection refused".to_owned()));
    let status = &out.statuses[0].1;
    assert_eq!((status.state, status.err.as_str()), (TaskState::Running, "unhealthy container: connection refused"));
    assert!(!up(status), "traffic leaves it");
    assert!(out.commands.is_empty(), "before it is stopped: {:?}", out.commands);
    bench.now = bench.now + DRAIN;
    assert!(matches!(bench.give(Input::Tick).commands[..], [Command::Stop { .. }]));
    let out = bench.see(1, exited(0));
    assert_eq!(states(&out), [TaskState::Failed]);
    assert!(out.statuses[0].1.err.contains("connection refused"));
}

/// Whether a task of this status has traffic.
fn up(status: &TaskStatus) -> bool {
    Task { status: status.clone(), ..(*task(1, TaskState::Running)).clone() }.is_up()
}

#[test]
fn a_task_that_is_not_healthy_in_time_is_stopped_at_once() {
    let mut bench = Bench::new();
    bench.assign(&task(1, TaskState::Running));
    bench.see(1, Observation::Prepared { container_id: "c".to_owned(), health_checked: true });
    bench.see(1, Observation::Started { pid: 7, host_ports: vec![] });
    let out = bench.see(1, Observation::Health(Health::Unhealthy, "no".to_owned()));
    assert!(matches!(out.commands[..], [Command::Stop { .. }]), "it never had traffic: {:?}", out.commands);
    assert_eq!(states(&out), [TaskState::Starting]);
    let out = bench.see(1, exited(0));
    assert_eq!(
        (out.statuses[0].1.state, out.statuses[0].1.err.as_str()),
        (TaskState::Failed, "unhealthy container: no")
    );
}

fn probed(id: u128) -> Arc<Task> {
    let mut task = (*task(id, TaskState::Running)).clone();
    let readiness = crate::model::Probe::of(crate::model::ProbeAction::Tcp { port: 80 });
    let container = ContainerSpec { readiness: Some(readiness), ..ContainerSpec::default() };
    task.spec = Arc::new(TaskSpec { container, ..TaskSpec::default() });
    Arc::new(task)
}

fn readiness(ready: bool, words: &str) -> Observation {
    Observation::Readiness { ready, words: words.to_owned() }
}

#[test]
fn a_task_with_a_readiness_probe_runs_without_traffic_until_it_is_ready_and_whenever_it_is_not() {
    let mut bench = Bench::new();
    bench.assign(&probed(1));
    bench.see(1, prepared());
    let out = bench.see(1, Observation::Started { pid: 7, host_ports: vec![] });
    let status = &out.statuses[0].1;
    assert!(status.state == TaskState::Running && !up(status), "{status:?}");
    assert_eq!(status.err, "not ready: the first probe is under way");
    let out = bench.see(1, readiness(false, "connect :80: connection refused"));
    assert_eq!(out.statuses[0].1.err, "not ready: connect :80: connection refused");
    let out = bench.see(1, readiness(true, "connected"));
    let status = &out.statuses[0].1;
    assert!(up(status) && status.err.is_empty(), "{status:?}");
    let out = bench.see(1, readiness(false, "connect :80: no answer within 1s (3 in a row)"));
    let status = &out.statuses[0].1;
    assert!(status.state == TaskState::Running && !up(status), "{status:?}");
    assert_eq!(status.err, "not ready: connect :80: no answer within 1s (3 in a row)");
    assert!(out.commands.is_empty(), "it is not stopped for it: {:?}", out.commands);
    let out = bench.see(1, exited(0));
    assert_eq!((out.statuses[0].1.state, out.statuses[0].1.err.as_str()), (TaskState::Complete, ""));
}

#[test]
fn a_task_that_is_healthy_and_not_ready_has_no_traffic_either() {
    let mut bench = Bench::new();
    bench.assign(&probed(1));
    bench.see(1, Observation::Prepared { container_id: "c".to_owned(), health_checked: true });
    bench.see(1, Observation::Started { pid: 7, host_ports: vec![] });
    let out = bench.see(1, readiness(true, "connected"));
    assert!(out.statuses.is_empty(), "it says first that it is not healthy");
    bench.see(1, readiness(false, "gone"));
    let out = bench.see(1, Observation::Health(Health::Healthy, String::new()));
    let status = &out.statuses[0].1;
    assert!(status.state == TaskState::Running && !up(status), "{status:?}");
    assert_eq!(status.err, "not ready: gone");
    assert!(up(&bench.see(1, readiness(true, "connected")).statuses[0].1));
}

#[test]
fn a_task_that_is_not_alive_is_drained_stopped_and_has_failed_with_the_reason() {
    let mut bench = Bench::new();
    bench.run(1);
    let out = bench.see(1, Observation::NotAlive("GET :80/live answered 500 (3 in a row)".to_owned()));
    assert!(!up(&out.statuses[0].1) && out.commands.is_empty());
    assert_eq!(out.wake_at, Some(bench.now + DRAIN));
    bench.now = bench.now + DRAIN;
    assert!(matches!(bench.give(Input::Tick).commands[..], [Command::Stop { .. }]));
    let out = bench.see(1, exited(137));
    let status = &out.statuses[0].1;
    assert_eq!(status.state, TaskState::Failed);
    assert_eq!(status.err, "not alive: GET :80/live answered 500 (3 in a row)");
}

/// The worker of a daemon that starts anew, with what the one before had recorded.
fn restarted(before: &Arc<Task>, status: &TaskStatus, found: Observation) -> (Bench, Effects) {
    let (mut bench, mut out) = (Bench::new(), Effects::default());
    let task = Arc::new(Task { status: status.clone(), ..(**before).clone() });
    bench.worker.adopt(bench.now, WallTime(9), task, Some(found), &mut out);
    (bench, out)
}

fn found_running() -> Observation {
    Observation::FoundRunning { container_id: "c".to_owned(), pid: 7, health_checked: false }
}

#[test]
fn readiness_outlives_the_daemon() {
    let mut bench = Bench::new();
    bench.assign(&probed(1));
    bench.see(1, prepared());
    bench.see(1, Observation::Started { pid: 7, host_ports: vec![] });
    let ready = bench.see(1, readiness(true, "connected")).statuses.remove(0).1;
    let (_, out) = restarted(&probed(1), &ready, found_running());
    assert!(up(&out.statuses[0].1), "a ready task does not turn because the daemon was restarted");
    let unready = bench.see(1, readiness(false, "no (3 in a row)")).statuses.remove(0).1;
    let (_, out) = restarted(&probed(1), &unready, found_running());
    assert!(!up(&out.statuses[0].1));
    assert_eq!(out.statuses[0].1.err, "not ready: no (3 in a row)");
}

#[test]
fn what_an_earlier_daemon_was_stopping_is_stopped_by_the_next_one() {
    let mut bench = Bench::new();
    bench.run(1);
    let condemned = bench.see(1, Observation::NotAlive("no".to_owned())).statuses.remove(0).1;
    let (mut next, out) = restarted(&task(1, TaskState::Running), &condemned, found_running());
    assert!(!up(&out.statuses[0].1));
    next.now = next.now + DRAIN;
    assert!(matches!(next.give(Input::Tick).commands[..], [Command::Stop { .. }]));
    let (_, out) = restarted(&task(1, TaskState::Running), &condemned, exited(0));
    let status = &out.statuses[0].1;
    assert_eq!((status.state, status.err.as_str()), (TaskState::Failed, "not alive: no"), "it ended meanwhile");
}

#[test]
fn a_container_that_outlived_the_daemon_goes_on_as_it_was() {
    let mut bench = Bench::new();
    let mut before = (*task(1, TaskState::Running)).clone();
    before.status.state = TaskState::Running;
    before.status.timestamp = WallTime(2);
    let mut out = Effects::default();
    let found = Observation::FoundRunning { container_id: "c".to_owned(), pid: 9, health_checked: false };
    bench.worker.adopt(bench.now, WallTime(5), Arc::new(before.clone()), Some(found), &mut out);
    assert_eq!(out.statuses[0].1.timestamp, WallTime(2), "running since then, not since the restart");
    let out = bench.assign(&Arc::new(before));
    assert!(out.commands.is_empty() && out.statuses.is_empty());
    assert_eq!(states(&bench.see(1, exited(1))), [TaskState::Failed]);
}

#[test]
fn an_exit_while_the_daemon_was_away_is_reported() {
    let mut bench = Bench::new();
    let mut before = (*task(1, TaskState::Running)).clone();
    before.status.state = TaskState::Running;
    let mut out = Effects::default();
    bench.worker.adopt(bench.now, WallTime(5), Arc::new(before), Some(exited(2)), &mut out);
    assert_eq!(states(&out), [TaskState::Failed]);
}

#[test]
fn a_task_shut_down_before_it_started_goes_when_it_is_no_longer_assigned() {
    let mut bench = Bench::new();
    bench.assign(&task(1, TaskState::Ready));
    bench.see(1, prepared());
    let out = bench.assign(&task(1, TaskState::Shutdown));
    assert!(matches!(out.commands[..], [Command::Clean(_)]));
    bench.see(1, Observation::Cleaned);
    bench.give(Input::Assigned { complete: true, tasks: vec![], removed: vec![] });
    bench.see(1, Observation::Cleaned);
    assert_eq!(bench.worker.known().count(), 0);
}

#[test]
fn a_task_that_ran_here_and_is_not_known_any_more_has_failed() {
    let mut bench = Bench::new();
    let mut lost = (*task(1, TaskState::Running)).clone();
    lost.status.state = TaskState::Running;
    let out = bench.assign(&Arc::new(lost));
    assert_eq!(states(&out), [TaskState::Failed]);
    assert!(matches!(out.commands[..], [Command::Clean(TaskId(1))]), "{:?}", out.commands);
}

#[test]
fn a_task_taken_away_before_its_start_and_wanted_again_ends() {
    let mut bench = Bench::new();
    bench.assign(&task(1, TaskState::Ready));
    bench.see(1, prepared());
    bench.give(Input::Assigned { complete: true, tasks: vec![], removed: vec![] });
    bench.assign(&task(1, TaskState::Running));
    let out = bench.see(1, Observation::Cleaned);
    assert_eq!(states(&out), [TaskState::Failed]);
}

#[test]
fn a_task_found_running_that_is_to_stop_is_stopped_without_being_told_again() {
    let mut bench = Bench::new();
    let mut out = Effects::default();
    let found = Observation::FoundRunning { container_id: "c".to_owned(), pid: 7, health_checked: false };
    bench.worker.adopt(bench.now, WallTime(5), task(1, TaskState::Shutdown), Some(found), &mut out);
    assert_eq!(out.wake_at, Some(bench.now + DRAIN));
}

#[test]
fn long_words_are_cut() {
    let mut bench = Bench::new();
    bench.assign(&task(1, TaskState::Running));
    let out = bench.see(1, Observation::NotPrepared("ä".repeat(10_000)));
    assert_eq!(out.statuses[0].1.err.len(), TaskStatus::TEXT_BYTES_MAX);
}

fn single(id: u128, desired: TaskState) -> Arc<Task> {
    let mut task = (*task(id, desired)).clone();
    Arc::make_mut(&mut task.spec).at_most_one = Some(Duration::from_secs(30));
    Arc::new(task)
}

fn is_stop(command: &Command) -> bool {
    matches!(command, Command::Stop { .. })
}

#[test]
fn a_task_that_needs_a_lease_starts_with_it_and_is_stopped_without_drain_when_it_has_passed() {
    let mut bench = Bench::new();
    bench.assign(&single(1, TaskState::Running));
    let out = bench.see(1, prepared());
    assert_eq!((states(&out), out.commands.len()), (vec![TaskState::Ready], 0), "no leader was heard of yet");
    let out = bench.give(Input::Leased { sent: Mono(900) });
    assert!(matches!(out.commands[..], [Command::Start(TaskId(1))]));
    assert_eq!((bench.worker.lease_of(TaskId(1)), out.wake_at), (Some(Mono(30_900)), Some(Mono(30_900))));
    bench.see(1, Observation::Started { pid: 7, host_ports: vec![] });
    bench.now = Mono(20_000);
    let out = bench.give(Input::Leased { sent: Mono(19_000) });
    assert!(matches!(out.commands[..], [Command::Renew { task: TaskId(1), until: Mono(49_000) }]));
    assert!(bench.give(Input::Leased { sent: Mono(18_000) }).commands.is_empty(), "an answer that came late");
    bench.now = Mono(48_999);
    assert!(bench.give(Input::Tick).commands.is_empty());
    bench.now = Mono(49_000);
    assert!(is_stop(&bench.give(Input::Tick).commands[0]));
    assert!(bench.give(Input::Leased { sent: Mono(48_999) }).commands.is_empty(), "it is over for good");
    let out = bench.see(1, exited(143));
    let (_, status) = &out.statuses[0];
    assert_eq!(status.state, TaskState::Failed);
    assert_eq!(status.err, "no manager was heard of for 30s: it may run elsewhere (at-most-one)");
}

#[test]
fn a_task_whose_lease_passed_before_it_started_never_starts() {
    let mut bench = Bench::new();
    for id in [1, 2] {
        bench.assign(&single(id, TaskState::Ready));
    }
    bench.see(1, prepared());
    bench.give(Input::Leased { sent: Mono(1000) });
    bench.now = Mono(31_000);
    let out = bench.give(Input::Tick);
    assert!(matches!(out.commands[..], [Command::Clean(TaskId(1)), Command::GiveUp(TaskId(2))]), "{out:?}");
    assert_eq!(states(&out), [TaskState::Failed]);
    bench.give(Input::Leased { sent: Mono(30_999) });
    let out = bench.assign(&single(2, TaskState::Running));
    assert!(out.commands.is_empty());
    let out = bench.see(2, prepared());
    assert!(matches!(out.commands[..], [Command::Clean(TaskId(2))]), "{out:?}");
}

#[test]
fn a_task_found_running_after_a_restart_goes_on_under_its_old_lease_until_it_is_renewed() {
    let mut bench = Bench::new();
    let mut out = Effects::default();
    let found = Observation::FoundRunning { container_id: "c".into(), pid: 7, health_checked: false };
    let (now, adopted) = (bench.now, single(1, TaskState::Running));
    bench.worker.adopt(now, WallTime(5), adopted, Some(found), &mut out);
    assert_eq!(bench.worker.lease_of(TaskId(1)), None, "its shim knows it");
    assert!(bench.give(Input::Tick).commands.is_empty());
    let out = bench.give(Input::Leased { sent: Mono(900) });
    assert!(matches!(out.commands[..], [Command::Renew { task: TaskId(1), until: Mono(30_900) }]));
}
