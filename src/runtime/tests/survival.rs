//! Containers outlive the daemon; what happened meanwhile is found out.

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::StreamExt;
use runtime::container::{Found, LogOptions, Status};
use support::{Host, LONG, SHIM, cgroup_dirs};

/// A daemon process that has started the containers.
fn daemon(host: &Host, containers: &[(&str, &str)]) -> Child {
    let mut child = Command::new(SHIM)
        .arg("daemon")
        .args([host.dir.path(), host.cgroup_parent.as_ref(), &host.rootfs])
        .args(containers.iter().flat_map(|(id, script)| [id, script]))
        .stdout(Stdio::piped())
        .spawn()
        .expect("run the daemon");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("stdout")).read_line(&mut line).expect("read");
    assert_eq!(line, "started\n");
    child
}

fn kill(mut daemon: Child) {
    daemon.kill().expect("kill -9");
    daemon.wait().expect("wait");
}

/// A process that ended and waits for its parent runs no more.
fn runs(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.contains("State:") && !status.contains("State:\tZ")
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = tokio::time::timeout(LONG, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waiting.await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

#[tokio::test]
async fn killing_the_daemon_disturbs_no_container_and_its_successor_finds_all() {
    let host = Host::new().await;
    let busy = "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.01; done";
    let ends = "echo up; while [ ! -e /tmp/go ]; do sleep 0.01; done; echo over; exit 5";
    let daemon = daemon(&host, &[("busy", busy), ("ends", ends), ("stays", "sleep 1000")]);
    host.until_logged("ends", "up").await;
    kill(daemon);
    std::fs::write(host.rootfs.join("tmp/go"), "").expect("write");
    until("an exit nobody looks at is recorded", || host.containers.exit("ends").expect("exit").is_some()).await;
    let found = host.containers.recover().await.expect("recover");
    let ids: Vec<&str> = found.iter().map(|found| found.id.as_str()).collect();
    assert_eq!(ids, ["busy", "ends", "stays"]);
    assert!(matches!(&found[0].found, Found::Alive(Status::Running { .. })));
    assert!(matches!(&found[1].found, Found::Ended(exit) if exit.code == 5));
    assert!(matches!(&found[2].found, Found::Alive(Status::Running { .. })));
    assert_eq!(host.log("ends").await, "up\nover\n");
    // The log of the busy one has no gap, and goes on.
    let seen = host.log("busy").await.lines().count();
    host.until_logged("busy", &format!("line {}\n", seen + 20)).await;
    for (number, line) in host.log("busy").await.lines().enumerate() {
        assert_eq!(line, format!("line {}", number + 1));
    }
    let exit = host.containers.stop("stays", libc::SIGKILL, Duration::ZERO).await.expect("stop");
    assert_eq!(exit.code, 137);
    host.containers.stop("busy", libc::SIGTERM, Duration::from_millis(50)).await.expect("stop");
}

#[tokio::test]
async fn a_container_whose_shim_was_killed_is_cleaned_up_and_reported_lost() {
    let host = Host::new().await;
    host.run("a", &host.shell("echo up; sleep 1000")).await;
    host.until_logged("a", "up").await;
    let Ok(Status::Running { pid, .. }) = host.containers.status("a").await else { panic!("not running") };
    let text = std::fs::read_to_string(host.dir.path().join("run/a/shim.pid")).expect("shim.pid");
    let shim: i32 = text.split_whitespace().next().and_then(|text| text.parse().ok()).expect("a number");
    let waiting = tokio::spawn({
        let containers = host.containers.clone();
        async move { containers.wait("a").await }
    });
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(shim), nix::sys::signal::SIGKILL).expect("kill");
    assert!(waiting.await.expect("task").is_err(), "a waiter is told that nothing is known");
    assert!(runs(pid), "the program runs on until somebody looks");
    let found = host.containers.recover().await.expect("recover");
    assert!(matches!(&found[0].found, Found::Lost(exit) if exit.error.is_some()), "{found:?}");
    assert!(!runs(pid), "nothing of it runs");
    assert!(cgroup_dirs(&format!("{}/a", host.cgroup_parent)).is_empty());
    assert!(!host.containers.exit("a").expect("exit").expect("recorded").oom_killed);
    host.containers.delete("a").await.expect("delete");
}

#[tokio::test]
async fn a_container_that_is_put_down_runs_no_more_whatever_its_shim_does() {
    let host = Host::new().await;
    for (id, signal) in [("killed", libc::SIGKILL), ("silent", libc::SIGSTOP), ("well", libc::SIGCONT)] {
        host.run(id, &host.shell("echo up; trap '' TERM; while :; do sleep 1; done")).await;
        host.until_logged(id, "up").await;
        let Ok(Status::Running { pid, .. }) = host.containers.status(id).await else { panic!("not running") };
        let text = std::fs::read_to_string(host.dir.path().join(format!("run/{id}/shim.pid"))).expect("shim.pid");
        let shim: i32 = text.split_whitespace().next().and_then(|text| text.parse().ok()).expect("a number");
        // SAFETY: plain numbers; the shim is this test's own.
        unsafe { libc::kill(shim, signal) };
        let exit = tokio::time::timeout(LONG, host.containers.put_down(id)).await.expect("in time").expect(id);
        assert_eq!((exit.code, exit.error.is_some()), (137, id != "well"), "{id}: {exit:?}");
        assert!(!runs(pid), "{id}: the program is gone");
        assert_eq!(host.containers.exit(id).expect("exit"), Some(exit.clone()), "{id}");
        assert_eq!(host.containers.put_down(id).await.expect("once more"), exit, "{id}");
        host.containers.delete(id).await.expect("delete");
    }
    host.containers.put_down("unknown").await.expect("there is nothing of it");
    assert!(host.containers.list().expect("list").is_empty());
}

#[tokio::test]
async fn a_record_that_was_not_written_to_its_end_is_none() {
    let host = Host::new().await;
    host.run("a", &host.shell("exit 3")).await;
    assert_eq!(host.wait("a").await.code, 3);
    std::fs::write(host.dir.path().join("state/a/exit.json"), "").expect("write");
    assert_eq!(host.containers.exit("a").expect("exit"), None);
    let exit = host.containers.put_down("a").await.expect("put down");
    assert_eq!(host.containers.exit("a").expect("exit"), Some(exit));
}

#[tokio::test]
async fn a_shim_ignores_what_is_meant_for_the_daemon() {
    let host = Host::new().await;
    host.run("a", &host.shell("echo up; sleep 0.3; exit 6")).await;
    let text = std::fs::read_to_string(host.dir.path().join("run/a/shim.pid")).expect("shim.pid");
    let shim: i32 = text.split_whitespace().next().and_then(|text| text.parse().ok()).expect("a number");
    for signal in [nix::sys::signal::SIGTERM, nix::sys::signal::SIGINT, nix::sys::signal::SIGHUP] {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(shim), signal).expect("signal");
    }
    assert_eq!(host.wait("a").await.code, 6);
}

#[tokio::test]
async fn a_shim_is_small_single_threaded_and_out_of_the_daemon_s_cgroup() {
    let host = Host::new().await;
    for id in ["a", "b", "c", "d", "e"] {
        host.run(id, &host.shell("echo up; sleep 1000")).await;
        host.until_logged(id, "up").await;
    }
    let text = std::fs::read_to_string(host.dir.path().join("run/a/shim.pid")).expect("shim.pid");
    let shim = text.split_whitespace().next().expect("a number").to_owned();
    let smaps = std::fs::read_to_string(format!("/proc/{shim}/smaps_rollup")).expect("smaps");
    let field = |name: &str| -> u64 {
        let line = smaps.lines().find(|line| line.starts_with(name)).expect("a field");
        line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("kB")
    };
    // Pages of the program's file are shared by all shims and the daemon; what counts is its share of the others.
    eprintln!("shim: PSS {} kB, of it anonymous {} kB", field("Pss:"), field("Pss_Anon:"));
    assert!(field("Pss_Anon:") < 900, "{smaps}");
    let status = std::fs::read_to_string(format!("/proc/{shim}/status")).expect("status");
    assert!(status.contains("Threads:\t1\n"), "{status}");
    let cgroup = std::fs::read_to_string(format!("/proc/{shim}/cgroup")).expect("cgroup");
    assert!(cgroup.contains(&format!("{}/shims", host.cgroup_parent)), "{cgroup}");
    for fd in 0..3 {
        let target = std::fs::read_link(format!("/proc/{shim}/fd/{fd}")).expect("a stream");
        assert_eq!(target, std::path::Path::new("/dev/null"));
    }
}

#[tokio::test]
async fn no_container_can_write_to_the_program_of_its_shim() {
    let host = Host::new().await;
    host.run("a", &host.shell("echo up; sleep 1000")).await;
    let text = std::fs::read_to_string(host.dir.path().join("run/a/shim.pid")).expect("shim.pid");
    let shim = text.split_whitespace().next().expect("a number").to_owned();
    let exe = format!("/proc/{shim}/exe");
    // Busy now; read-only for ever.
    assert!(std::fs::OpenOptions::new().write(true).open(&exe).is_err());
    let flags = nix::sys::statvfs::statvfs(exe.as_str()).expect("statvfs").flags();
    assert!(flags.contains(nix::sys::statvfs::FsFlags::ST_RDONLY), "{flags:?}");
}

#[tokio::test]
async fn logs_are_followed_through_rotations_and_cut_as_asked() {
    let host = Host::new().await;
    let mut spec =
        host.shell("for i in $(seq 1 2000); do echo line $i; [ $i = 1000 ] && sleep 0.2; done; echo oops >&2");
    spec.log = runtime::spec::LogLimits { max_size: 64 << 10, max_files: 5 };
    host.containers.create("a", &spec).await.expect("create");
    let options = LogOptions { follow: true, ..Default::default() };
    let followed = host.containers.logs("a", options).await.expect("logs");
    host.containers.start("a").await.expect("start");
    let lines: Vec<String> = tokio::time::timeout(LONG, followed.collect::<Vec<_>>())
        .await
        .expect("the stream ends with the container")
        .into_iter()
        .map(|line| String::from_utf8_lossy(&line.expect("a line").bytes).into_owned())
        .collect();
    assert_eq!(lines.len(), 2001);
    assert!(lines[..2000].iter().enumerate().all(|(at, line)| *line == format!("line {}\n", at + 1)));
    let read = async |options: LogOptions| -> Vec<String> {
        let lines: Vec<_> = host.containers.logs("a", options).await.expect("logs").collect().await;
        lines.into_iter().map(|line| String::from_utf8_lossy(&line.expect("a line").bytes).into_owned()).collect()
    };
    let tail = read(LogOptions { tail: Some(3), ..Default::default() }).await;
    assert_eq!(tail, ["line 1999\n", "line 2000\n", "oops\n"]);
    let errors = read(LogOptions { tail: Some(3), stdout: false, ..Default::default() }).await;
    assert_eq!(errors, ["oops\n"]);
    assert_eq!(read(LogOptions { tail: Some(0), ..Default::default() }).await.len(), 0);
    let long = read(LogOptions { tail: Some(1500), ..Default::default() }).await;
    assert_eq!(long, lines[501..]);
    let later = host.containers.logs("a", LogOptions::default()).await.expect("logs").collect::<Vec<_>>().await;
    let middle = later[later.len() / 2].as_ref().expect("a line").time_ns;
    let since = read(LogOptions { since_ns: Some(middle), ..Default::default() }).await;
    let until = read(LogOptions { until_ns: Some(middle - 1), ..Default::default() }).await;
    assert_eq!(since.len() + until.len(), later.len());
}
