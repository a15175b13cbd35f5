//! `swarm dev` itself: an `up` that is killed at any moment leaves nothing that `down` does not remove.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::{SOON, SWARM, assert_success, pids, wait_until};

/// A moment of `up`, recognised by what is there by then.
struct Moment {
    what: &'static str,
    reached: fn(&str) -> bool,
}

fn run_dir(name: &str) -> PathBuf {
    Path::new("/run/swarm-dev").join(name)
}

const MOMENTS: [Moment; 6] = [
    Moment { what: "it is recorded", reached: |n| run_dir(n).join("state.json").exists() },
    Moment { what: "the switch is made", reached: |n| Path::new(&format!("/run/netns/swarm-{n}-sw")).exists() },
    Moment { what: "the second host is made", reached: |n| Path::new(&format!("/run/netns/swarm-{n}-2")).exists() },
    Moment { what: "the first daemon is started", reached: |n| run_dir(n).join("1/daemon.log").exists() },
    Moment { what: "the first daemon listens", reached: |n| run_dir(n).join("1/swarm.sock").exists() },
    Moment { what: "the last daemon listens", reached: |n| run_dir(n).join("3/swarm.sock").exists() },
];

/// What of the cluster is on the machine: folders, namespaces, mounts, processes.
fn traces(name: &str) -> Vec<String> {
    let mut found = Vec::new();
    let here = format!("/swarm-dev/{name}");
    for dir in [run_dir(name), Path::new("/var/lib/swarm-dev").join(name)] {
        found.extend(dir.exists().then(|| dir.display().to_string()));
    }
    let entries = std::fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let names = entries.map(|e| e.file_name().to_string_lossy().into_owned());
    found.extend(names.filter(|n| n.starts_with(&format!("swarm-{name}-"))));
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("proc is mounted");
    found.extend(mounts.lines().filter(|l| l.contains(&here)).map(str::to_owned));
    let live = |pid: &u32| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let lines = pids().into_iter().map(|pid| String::from_utf8_lossy(&live(&pid)).replace('\0', " "));
    found.extend(lines.filter(|l| l.contains(&here)));
    found
}

#[test]
fn down_removes_what_a_killed_up_left_at_any_moment() {
    for (n, moment) in MOMENTS.iter().enumerate() {
        let name = format!("crash{n}-{}", std::process::id());
        let mut up = Command::new(SWARM)
            .args(["dev", "up", "--name", &name])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary runs");
        let down = || Command::new(SWARM).args(["dev", "down", "--name", &name]).output().expect("the binary runs");
        let reached = std::panic::catch_unwind(|| wait_until(moment.what, SOON, || (moment.reached)(&name)));
        up.kill().expect("up runs or has ended");
        up.wait().expect("up is our child");
        let output = down();
        reached.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        assert_success(&format!("down, killed when {}", moment.what), &output);
        assert_eq!(traces(&name), Vec::<String>::new(), "killed when {}", moment.what);
        let again = down();
        assert!(!again.status.success(), "there is nothing left to take down, and that is said");
    }
}

#[test]
fn what_the_caller_of_up_left_open_is_closed_when_up_ends() {
    let name = format!("fds-{}", std::process::id());
    let dev = |verb| Command::new(SWARM).args(["dev", verb, "--name", &name]).output().expect("the binary runs");
    // Ends of this pipe are inherited by every program started meanwhile: a shell's lock is like that.
    let (mut read, write) = nix::unistd::pipe().map(|(r, w)| (std::fs::File::from(r), w)).expect("a pipe");
    nix::fcntl::fcntl(
        std::os::fd::AsRawFd::as_raw_fd(&read),
        nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK),
    )
    .expect("a pipe does not have to block");
    let up = dev("up");
    drop(write);
    // With every writing end closed there is the end of the file; with one left, nothing to read yet.
    let end = read.read(&mut [0]);
    let down = dev("down");
    assert_success("dev up", &up);
    assert_success("dev down", &down);
    assert_eq!(end.expect("no daemon holds the pipe"), 0);
}
