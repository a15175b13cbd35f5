//! A container's life: create, start, output, exit codes, signals, limits.

mod support;

use std::time::Duration;

use runtime::container::{Error, Status};
use support::Host;

#[tokio::test]
async fn a_program_runs_and_its_output_and_exit_code_come_back() {
    let host = Host::new().await;
    let (exit, log) = host.output("a", &host.shell("echo out; echo err >&2; exit 3")).await;
    assert_eq!((exit.code, exit.signal, exit.error), (3, None, None));
    assert!(log.contains("out\n") && log.contains("err\n"), "{log}");
    assert!(exit.finished_at_ms >= exit.started_at_ms && exit.started_at_ms > 0);
    host.containers.delete("a").await.expect("delete");
    assert!(host.containers.list().expect("list").is_empty());
}

#[tokio::test]
async fn a_created_container_waits_to_be_started() {
    let host = Host::new().await;
    host.containers.create("a", &host.shell("echo ran")).await.expect("create");
    assert!(matches!(host.containers.status("a").await, Ok(Status::Created { .. })));
    assert_eq!(host.log("a").await, "");
    assert!(matches!(host.containers.create("a", &host.shell("true")).await, Err(Error::Exists(_))));
    host.containers.delete("a").await.expect("delete without a start");
    assert!(matches!(host.containers.status("a").await, Err(Error::NotFound(_))));
}

#[tokio::test]
async fn a_program_that_cannot_run_says_why_as_docker_does() {
    let host = Host::new().await;
    std::fs::write(host.rootfs.join("tmp/text"), "no program").expect("write");
    let table = [
        ("no-such-program", 127, "executable file not found in $PATH"),
        ("/no/such/program", 127, "no such file or directory"),
        ("/tmp/text", 126, "permission denied"),
        ("/bin", 126, "permission denied"),
    ];
    for (number, (program, code, reason)) in table.into_iter().enumerate() {
        let id = format!("a{number}");
        host.containers.create(&id, &host.spec(&[program])).await.expect("create");
        match host.containers.start(&id).await {
            Err(Error::Start { code: found, message, .. }) => {
                assert_eq!(found, code, "{program}");
                assert!(message.contains(reason), "{program}: {message}");
            }
            other => panic!("{program}: {other:?}"),
        }
        let exit = host.wait(&id).await;
        assert_eq!(exit.code, code, "{program}");
        assert!(exit.error.is_some_and(|error| error.contains(reason)), "{program}");
    }
}

#[tokio::test]
async fn a_working_directory_that_cannot_be_entered_fails_the_start() {
    let host = Host::new().await;
    let mut spec = host.shell("true");
    spec.process.cwd = "/etc/passwd/below".to_owned();
    host.containers.create("a", &spec).await.expect("create");
    match host.containers.start("a").await {
        Err(Error::Start { code: 127, message, .. }) => assert!(message.contains("/etc/passwd/below"), "{message}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(host.wait("a").await.code, 127);
}

#[tokio::test]
async fn the_cgroup_of_all_containers_goes_with_the_last_and_comes_back_with_the_next() {
    let host = Host::new().await;
    for _ in 0..2 {
        host.run("a", &host.shell("echo up; while :; do sleep 0.05; done")).await;
        host.until_logged("a", "up").await;
        assert!(!host.containers.remove_parent_cgroup().await.expect("look"), "one runs");
        assert!(matches!(host.containers.status("a").await, Ok(Status::Running { .. })));
        host.containers.kill("a").await.expect("kill");
        host.containers.delete("a").await.expect("delete");
        assert!(host.containers.remove_parent_cgroup().await.expect("remove"));
        assert!(support::cgroup_dirs(&host.cgroup_parent).is_empty());
    }
    assert!(host.containers.remove_parent_cgroup().await.expect("gone already"));
}

#[tokio::test]
async fn stopping_asks_first_and_then_kills() {
    let host = Host::new().await;
    host.run("polite", &host.shell("trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.05; done")).await;
    host.until_logged("polite", "up").await;
    let exit = host.containers.stop("polite", libc::SIGTERM, Duration::from_secs(30)).await.expect("stop");
    assert_eq!(exit.code, 7);
    host.run("deaf", &host.shell("trap '' TERM; echo up; while :; do sleep 0.05; done")).await;
    host.until_logged("deaf", "up").await;
    let exit = host.containers.stop("deaf", libc::SIGTERM, Duration::from_millis(300)).await.expect("stop");
    assert_eq!((exit.code, exit.signal, exit.oom_killed), (137, Some(libc::SIGKILL), false));
}

#[tokio::test]
async fn a_container_over_its_memory_is_recognised_as_oom_killed() {
    let host = Host::new().await;
    let mut spec = host.shell("x=x; while :; do x=$x$x; done");
    spec.resources.memory = 16 << 20;
    spec.resources.memory_swap = 16 << 20;
    let (exit, _) = host.output("a", &spec).await;
    assert_eq!((exit.code, exit.oom_killed), (137, true));
}

#[tokio::test]
async fn thirty_containers_start_at_once() {
    let host = Host::new().await;
    let begin = std::time::Instant::now();
    let tasks: Vec<_> = (0..30)
        .map(|number| {
            let (containers, spec) =
                (host.containers.clone(), host.shell(&format!("echo I am {number}; exit {number}")));
            tokio::spawn(async move {
                let id = format!("c{number}");
                containers.create(&id, &spec).await.expect("create");
                containers.start(&id).await.expect("start");
                containers.wait(&id).await.expect("wait").code
            })
        })
        .collect();
    for (number, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await.expect("task"), number as i32);
        assert_eq!(host.log(&format!("c{number}")).await, format!("I am {number}\n"));
    }
    eprintln!("30 containers from create to exit: {:?}", begin.elapsed());
}
