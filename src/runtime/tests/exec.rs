//! Processes that join a running container, terminals, and attaching.

mod support;

use runtime::container::{AttachOptions, Error, ExecHandle, ExecStreams, Exit, FdStream, Status};
use runtime::spec::ProcessSpec;
use support::{Host, LONG};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const ALL: AttachOptions = AttachOptions { stdin: true, stdout: true, stderr: true, keep_input_open: false };

fn process(args: &[&str]) -> ProcessSpec {
    ProcessSpec { args: args.iter().map(|arg| (*arg).to_owned()).collect(), ..Default::default() }
}

async fn sleeping() -> Host {
    let host = Host::new().await;
    host.run("a", &host.spec(&["sleep", "1000"])).await;
    host
}

async fn finish(mut handle: ExecHandle) -> (Exit, String, String) {
    let ExecStreams::Pipes { stdin, stdout, stderr } = &mut handle.streams else { panic!("no pipes") };
    drop(stdin.take());
    let (mut out, mut err) = (String::new(), String::new());
    let (stdout, stderr) = (stdout.as_mut().expect("stdout"), stderr.as_mut().expect("stderr"));
    let (one, two) = tokio::join!(stdout.read_to_string(&mut out), stderr.read_to_string(&mut err));
    one.and(two).expect("read");
    (tokio::time::timeout(LONG, handle.wait()).await.expect("in time").expect("wait"), out, err)
}

#[tokio::test]
async fn an_exec_has_its_streams_its_user_and_its_code() {
    let host = sleeping().await;
    let mut spec =
        process(&["sh", "-c", "read line; echo got $line as $(id -u):$(id -g) in $(pwd) $X; echo no >&2; exit 4"]);
    spec.user = "web:logs".to_owned();
    spec.cwd = "/srv".to_owned();
    spec.env = vec!["X=y".to_owned()];
    let mut handle = host.containers.exec("a", &spec).await.expect("exec");
    let ExecStreams::Pipes { stdin: Some(stdin), .. } = &mut handle.streams else { panic!("no stdin") };
    stdin.write_all(b"hello\n").await.expect("write");
    let (exit, out, err) = finish(handle).await;
    assert_eq!((exit.code, out.as_str(), err.as_str()), (4, "got hello as 1000:4 in /srv y\n", "no\n"));
}

#[tokio::test]
async fn an_exec_that_cannot_run_says_why_and_harms_nothing() {
    let host = sleeping().await;
    match host.containers.exec("a", &process(&["no-such-program"])).await {
        Err(Error::Exec { code, message, .. }) => {
            assert_eq!(code, 127);
            assert!(message.contains("executable file not found in $PATH"), "{message}");
        }
        Ok(_) => panic!("it ran"),
        Err(other) => panic!("{other:?}"),
    }
    let mut lost = process(&["true"]);
    lost.cwd = "/no/such/dir".to_owned();
    assert!(matches!(host.containers.exec("a", &lost).await, Err(Error::Exec { code: 127, .. })));
    let mut nobody = process(&["true"]);
    nobody.user = "nobody".to_owned();
    assert!(matches!(host.containers.exec("a", &nobody).await, Err(Error::Exec { .. })));
    let (exit, ..) = finish(host.containers.exec("a", &process(&["true"])).await.expect("exec")).await;
    assert_eq!(exit.code, 0);
}

#[tokio::test]
async fn many_execs_at_once_each_get_their_own_answer() {
    let host = sleeping().await;
    let tasks: Vec<_> = (0..12)
        .map(|number| {
            let containers = host.containers.clone();
            tokio::spawn(async move {
                let spec = process(&["sh", "-c", &format!("echo {number}; exit {number}")]);
                finish(containers.exec("a", &spec).await.expect("exec")).await
            })
        })
        .collect();
    for (number, task) in tasks.into_iter().enumerate() {
        let (exit, out, _) = task.await.expect("task");
        assert_eq!((exit.code, out), (number as i32, format!("{number}\n")));
    }
}

#[tokio::test]
async fn a_container_full_of_execs_that_hang_is_still_stopped() {
    let host = sleeping().await;
    let mut hung = Vec::new();
    for _ in 0..130 {
        match tokio::time::timeout(LONG, host.containers.exec("a", &process(&["sleep", "1000"])))
            .await
            .expect("in time")
        {
            Ok(handle) => hung.push(handle),
            Err(Error::Refused { message, .. }) => assert!(message.contains("by exec"), "{message}"),
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!(hung.len(), 96);
    assert!(matches!(host.containers.status("a").await, Ok(Status::Running { .. })));
    let exit = host.containers.stop("a", libc::SIGTERM, std::time::Duration::from_millis(50)).await.expect("stop");
    assert_eq!(exit.code, 137);
}

#[tokio::test]
async fn connections_beyond_the_limit_are_refused_with_words_and_the_container_is_still_killed() {
    let host = sleeping().await;
    // The way of the daemon: an address has at most 108 bytes.
    let run = std::fs::File::open(host.dir.path().join("run/a")).expect("run directory");
    let address = format!("/proc/self/fd/{}/shim.sock", std::os::fd::AsRawFd::as_raw_fd(&run));
    let silent: Vec<_> =
        (0..128).map(|_| std::os::unix::net::UnixStream::connect(&address).expect("connect")).collect();
    match host.containers.status("a").await {
        Err(Error::Refused { message, .. }) => assert!(message.contains("128 connections"), "{message}"),
        other => panic!("{other:?}"),
    }
    let exit = tokio::time::timeout(LONG, host.containers.kill("a")).await.expect("in time").expect("kill");
    assert_eq!(exit.code, 137);
    drop(silent);
}

#[tokio::test]
async fn a_container_is_killed_although_its_shim_stands_still() {
    let host = sleeping().await;
    let text = std::fs::read_to_string(host.dir.path().join("run/a/shim.pid")).expect("shim.pid");
    let shim: i32 = text.split_whitespace().next().and_then(|text| text.parse().ok()).expect("a number");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(shim), nix::sys::signal::SIGSTOP).expect("stop");
    let exit = tokio::time::timeout(LONG, host.containers.kill("a")).await.expect("in time").expect("kill");
    assert!(exit.error.is_some(), "{exit:?}");
    assert!(host.containers.top("a").await.expect("processes").is_empty());
}

#[tokio::test]
async fn a_signal_reaches_an_exec_and_only_it() {
    let host = sleeping().await;
    let handle = host.containers.exec("a", &process(&["sleep", "1000"])).await.expect("exec");
    host.containers.signal_exec("a", handle.pid, libc::SIGTERM).await.expect("signal");
    let (exit, ..) = finish(handle).await;
    assert_eq!((exit.code, exit.signal), (143, Some(libc::SIGTERM)));
    assert!(host.containers.signal_exec("a", 1, libc::SIGTERM).await.is_err());
    assert!(host.containers.exit("a").expect("exit").is_none());
}

#[tokio::test]
async fn a_check_ends_with_its_caller_and_another_process_does_not() {
    let host = sleeping().await;
    for (bound, mark) in [(true, "bound"), (false, "free")] {
        let mut spec = process(&["sh", "-c", &format!("sleep 1000 & echo up; wait # {mark}")]);
        spec.ends_with_caller = bound;
        let mut handle = host.containers.exec("a", &spec).await.expect("exec");
        let ExecStreams::Pipes { stdout: Some(stdout), .. } = &mut handle.streams else { panic!("no stdout") };
        read_until(stdout, "up").await;
    }
    // The first process, and the shell and its child that are free.
    let left = tokio::time::timeout(LONG, async {
        while host.containers.top("a").await.expect("processes").len() != 3 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    });
    left.await.expect("the bound ones end");
}

async fn read_until(tty: &mut FdStream, text: &str) -> String {
    let mut seen = Vec::new();
    let found = tokio::time::timeout(LONG, async {
        let mut piece = [0u8; 256];
        while !String::from_utf8_lossy(&seen).contains(text) {
            let count = tty.read(&mut piece).await.expect("read");
            assert!(count > 0, "ended without {text:?}: {:?}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&piece[..count]);
        }
    });
    found.await.expect("in time");
    String::from_utf8_lossy(&seen).into_owned()
}

#[tokio::test]
async fn an_exec_with_a_terminal_has_one_of_the_asked_size() {
    let host = sleeping().await;
    let mut spec = process(&["sh", "-c", "tty; stty size; read x; stty size; id -un; exit 9"]);
    (spec.tty, spec.tty_rows, spec.tty_columns, spec.user) = (true, 33, 99, "web".to_owned());
    let mut handle = host.containers.exec("a", &spec).await.expect("exec");
    let ExecStreams::Tty(tty) = &mut handle.streams else { panic!("no terminal") };
    let text = read_until(tty, "33 99").await;
    assert!(text.contains("/dev/pts/"), "{text}");
    handle.resize(40, 120);
    let ExecStreams::Tty(tty) = &mut handle.streams else { panic!("no terminal") };
    tty.write_all(b"x\n").await.expect("write");
    read_until(tty, "40 120").await;
    let exit = tokio::time::timeout(LONG, handle.wait()).await.expect("in time").expect("wait");
    assert_eq!(exit.code, 9);
}

#[tokio::test]
async fn a_container_with_a_terminal_logs_and_takes_input() {
    let host = Host::new().await;
    let mut spec = host.shell("tty; stty size; read line; echo got $line");
    (spec.process.tty, spec.process.tty_rows, spec.process.tty_columns, spec.open_stdin) = (true, 20, 70, true);
    host.containers.create("a", &spec).await.expect("create");
    let mut attached = host.containers.attach("a", ALL).await.expect("attach");
    host.containers.start("a").await.expect("start");
    host.until_logged("a", "20 70").await;
    attached.write(b"hello\n").await.expect("write");
    let mut seen = String::new();
    while let Some((_, bytes)) = tokio::time::timeout(LONG, attached.next()).await.expect("in time").expect("read") {
        seen.push_str(&String::from_utf8_lossy(&bytes));
    }
    assert!(seen.contains("got hello") && seen.contains("/dev/pts/"), "{seen}");
    assert_eq!(host.wait("a").await.code, 0);
    assert!(host.log("a").await.contains("got hello"));
}

#[tokio::test]
async fn attached_input_ends_when_it_is_closed_and_the_container_outlives_the_client() {
    let host = Host::new().await;
    let mut spec = host.spec(&["sh", "-c", "cat; echo end; echo err >&2; sleep 0.2; echo late"]);
    spec.open_stdin = true;
    host.containers.create("a", &spec).await.expect("create");
    let mut attached = host.containers.attach("a", ALL).await.expect("attach");
    host.containers.start("a").await.expect("start");
    attached.write(b"one\ntwo\n").await.expect("write");
    attached.close_input().await.expect("close");
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("end\n") {
        let next = tokio::time::timeout(LONG, attached.next()).await.expect("in time").expect("read");
        seen.extend_from_slice(&next.expect("more").1);
    }
    assert!(seen.starts_with(b"one\ntwo\n"));
    drop(attached);
    assert_eq!(host.wait("a").await.code, 0);
    assert!(host.log("a").await.contains("late\n"));
}

#[tokio::test]
async fn input_that_is_kept_open_is_there_for_the_next_client() {
    let host = Host::new().await;
    let mut spec = host.spec(&["sh", "-c", "read a; read b; echo $a $b"]);
    spec.open_stdin = true;
    host.run("a", &spec).await;
    for line in ["one\n", "two\n"] {
        let options = AttachOptions { keep_input_open: true, ..ALL };
        let (_output, mut input) = host.containers.attach("a", options).await.expect("attach").split();
        input.write(line.as_bytes()).await.expect("write");
    }
    assert_eq!(host.wait("a").await.code, 0);
    assert_eq!(host.log("a").await, "one two\n");
}

#[tokio::test]
async fn a_paused_container_refuses_exec_and_goes_on_later() {
    let host = Host::new().await;
    host.run("a", &host.shell("while :; do echo tick; sleep 0.05; done")).await;
    host.until_logged("a", "tick").await;
    host.containers.pause("a").await.expect("pause");
    assert!(matches!(host.containers.status("a").await, Ok(runtime::container::Status::Paused { .. })));
    let refused = host.containers.exec("a", &process(&["true"])).await.err().expect("refused");
    assert!(refused.to_string().contains("paused"), "{refused}");
    host.containers.resume("a").await.expect("resume");
    let (exit, ..) = finish(host.containers.exec("a", &process(&["true"])).await.expect("exec")).await;
    assert_eq!(exit.code, 0);
    host.containers.pause("a").await.expect("pause");
    let stopped = host.containers.stop("a", libc::SIGTERM, std::time::Duration::from_millis(100)).await;
    assert!(stopped.is_ok_and(|exit| exit.code >= 128));
}

/// A container that keeps containers or systemd. Its own group may then hold no process (cgroup v2).
#[tokio::test]
async fn an_exec_joins_a_container_with_groups_of_its_own_where_its_first_process_is() {
    if !std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        eprintln!("this host is not one of cgroup v2: nothing to see here");
        return;
    }
    let host = Host::new().await;
    let mut spec = host.shell(
        "cd /sys/fs/cgroup; mkdir init; echo $$ > init/cgroup.procs; echo +memory > cgroup.subtree_control; \
         cat cgroup.subtree_control; sleep 1000",
    );
    spec.privileged = true;
    spec.resources.memory = 64 << 20;
    host.run("a", &spec).await;
    host.until_logged("a", "memory").await;
    let (exit, out, err) =
        finish(host.containers.exec("a", &process(&["cat", "/proc/self/cgroup"])).await.expect("exec")).await;
    assert_eq!((exit.code, out.as_str(), err.as_str()), (0, "0::/init\n", ""));
    assert_eq!(host.containers.figures("a").await.expect("figures").container.memory_limit, Some(64 << 20));
    host.containers.kill("a").await.expect("kill");
    host.wait("a").await;
    host.containers.delete("a").await.expect("the groups below go with it");
    assert!(support::cgroup_dirs(&format!("{}/a", host.cgroup_parent)).is_empty());
}
