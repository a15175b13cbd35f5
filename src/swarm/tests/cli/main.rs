//! The program against a daemon by script: every list and every `inspect` prints what the transcripts beside this file
//! say, and what docker's own command line prints.
//!
//! A transcript is commands and what they print. `REGENERATE=1` writes them anew: read the difference before it is
//! committed. Where docker is to print something else, a line `# docker differs: why` stands before the command.

mod daemon;
mod requests;
mod transcript;

use daemon::{Daemon, source};
use std::path::PathBuf;
use std::process::Command;
use transcript::{Step, Transcript};

/// What a program printed.
#[derive(Debug, PartialEq, Eq)]
struct Printed {
    out: String,
    err: String,
    code: i32,
}

fn run(daemon: &Daemon, program: &PathBuf, words: &[String]) -> Printed {
    run_at(&daemon.host(), daemon, program, words)
}

fn run_at(host: &str, daemon: &Daemon, program: &PathBuf, words: &[String]) -> Printed {
    let mut command = Command::new(program);
    command.arg("-H").arg(host).args(words);
    command
        .env_clear()
        .env("HOME", daemon.home())
        .env("TZ", "UTC")
        .env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let done = command.output().unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it prints text");
    Printed { out: text(done.stdout), err: text(done.stderr), code: done.status.code().unwrap_or(-1) }
}

fn swarm() -> PathBuf {
    env!("CARGO_BIN_EXE_swarm").into()
}

/// The docker command line of version 28: the one scripts/setup.sh fetched, or the machine's own. Without it nothing is
/// compared: that is told, and where everything is to be tested it fails.
fn docker() -> Option<PathBuf> {
    let fetched = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/docker");
    let found = [fetched, "docker".into()].into_iter().find(|program| {
        let said = Command::new(program).arg("--version").output();
        said.is_ok_and(|said| String::from_utf8_lossy(&said.stdout).starts_with("Docker version 28."))
    });
    if found.is_none() {
        let words = "NOT COMPARED WITH DOCKER: neither target/tools/docker nor a docker 28 in the path was found";
        assert!(std::env::var_os("CI").is_none(), "{words}");
        eprintln!("{words}");
    }
    found
}

fn transcripts() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(source()).expect("the folder of transcripts");
    let mut out: Vec<PathBuf> = entries.map(|entry| entry.expect("a file").path()).collect();
    out.retain(|path| path.extension().is_some_and(|ending| ending == "txt"));
    out.sort();
    assert!(!out.is_empty(), "there are transcripts");
    out
}

#[test]
fn every_list_and_inspection_prints_what_its_transcript_says() {
    let daemon = Daemon::start();
    let mut wrong = Vec::new();
    for path in transcripts() {
        let kept = std::fs::read_to_string(&path).expect("a transcript");
        let mut found = Transcript::parse(&kept);
        for step in found.steps.iter_mut() {
            let printed = run(&daemon, &swarm(), &step.words);
            step.printed = transcript::page(&printed.out, &printed.err, printed.code);
        }
        let found = found.to_string();
        if std::env::var_os("REGENERATE").is_some() {
            std::fs::write(&path, &found).expect("the transcript can be written");
        } else if found != kept {
            wrong.push(format!("{}:\n{}", path.display(), transcript::difference(&kept, &found)));
        }
    }
    assert!(wrong.is_empty(), "{}\nREGENERATE=1 writes them anew", wrong.join("\n"));
}

#[test]
fn docker_prints_the_same() {
    let Some(docker) = docker() else { return };
    let daemon = Daemon::start();
    let mut wrong = Vec::new();
    for path in transcripts() {
        let kept = std::fs::read_to_string(&path).expect("a transcript");
        for step in Transcript::parse(&kept).steps {
            let (ours, theirs) = (run(&daemon, &swarm(), &step.words), run(&daemon, &docker, &step.words));
            let same = same(&step, &ours, &theirs);
            match (&step.differs, same) {
                (None, false) => {
                    wrong.push(format!("{}:\n{}", step.line, transcript::difference(&shown(&theirs), &shown(&ours))))
                }
                (Some(why), true) => wrong.push(format!("{}: is the same, though \"{why}\"", step.line)),
                (None, true) | (Some(_), false) => {}
            }
        }
    }
    assert!(wrong.is_empty(), "- docker, + swarm\n{}", wrong.join("\n"));
}

/// What goes to standard output, and the exit code; JSON as data. Words about faults are each program's own.
fn same(step: &Step, ours: &Printed, theirs: &Printed) -> bool {
    if ours.code != theirs.code {
        return false;
    }
    if ours.out == theirs.out {
        return true;
    }
    let data = |text: &str| -> Option<Vec<serde_json::Value>> {
        serde_json::Deserializer::from_str(text).into_iter().collect::<Result<_, _>>().ok()
    };
    step.is_json() && data(&ours.out).is_some_and(|ours| data(&theirs.out) == Some(ours))
}

fn shown(printed: &Printed) -> String {
    transcript::page(&printed.out, &printed.err, printed.code)
}

#[test]
fn a_list_has_the_format_that_docker_s_configuration_gives_it() {
    let daemon = Daemon::start();
    let folder = daemon.home().join(".docker");
    std::fs::create_dir(&folder).expect("the home is new");
    let config = r#"{"nodesFormat": "{{.Hostname}}", "tasksFormat": "table {{.Name}}", "psFormat": "{{.Names}}"}"#;
    std::fs::write(folder.join("config.json"), config).expect("the home is writable");
    let run = |program: &PathBuf, line: &str| run(&daemon, program, &transcript::split(line)).out;
    assert_eq!(run(&swarm(), "node ls"), "host2\nhost3\nhost10\n");
    assert!(run(&swarm(), "node ls --format table").starts_with("ID "), "one's own counts more");
    let Some(docker) = docker() else { return };
    for line in ["node ls", "node ls -q", "node ls --format '{{.ID}}'", "ps", "ps -q", "service ps shop_web10"] {
        assert_eq!(run(&swarm(), line), run(&docker, line), "{line}");
    }
}

#[test]
fn the_client_tells_of_itself_where_no_daemon_runs() {
    let daemon = Daemon::start();
    let nowhere = format!("unix://{}", daemon.home().join("nobody.sock").display());
    for line in ["version", "info"] {
        let printed = run_at(&nowhere, &daemon, &swarm(), &transcript::split(line));
        assert!(printed.out.starts_with("Client:\n Version:  "), "{line}: {}", printed.out);
        assert!(printed.err.contains("Is the swarm daemon running?"), "{line}: {}", printed.err);
        assert_eq!(printed.code, 1, "{line}");
    }
}

#[test]
fn what_is_not_served_says_so_by_its_name_whatever_its_flags_are() {
    let daemon = Daemon::start();
    for line in [
        "exec -it web sh",
        "run --rm -it alpine",
        "container commit web",
        "build -t x .",
        "service exec web sh",
        "network connect net10 web",
        "volume prune -f",
        "system prune --help",
        "context use x",
        "compose up",
    ] {
        let printed = run(&daemon, &swarm(), &transcript::split(line));
        let name = line.split(" -").next().unwrap_or(line);
        let said = printed.err.split(':').next().unwrap_or("");
        assert!(format!("swarm {name}").starts_with(said) && said.len() > "swarm ".len(), "{line}: {}", printed.err);
        assert!(printed.err.contains(": not implemented\n"), "{line}: {}", printed.err);
        assert_eq!((printed.out.as_str(), printed.code), ("", 1), "{line}");
    }
}
