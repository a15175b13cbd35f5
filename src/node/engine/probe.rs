//! One run of a health check or probe.

use super::events::{Check, now_ns};
use super::{Notes, line, reach};
use crate::agent::engine::{EngineError, Probed};
use runtime::Containers;
use runtime::container::ExecStreams;
use runtime::spec::{Network, ProcessSpec};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use swarm_core::model::ProbeAction;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

/// Output that is kept (as Docker).
const OUTPUT_BYTES: usize = 4096;
/// Bytes read at a time.
const PIECE_BYTES: usize = 4096;

/// Code of a check that did not run to its end (as Docker).
const NOT_RUN: i32 = -1;

/// What a check of the kind `CMD-SHELL` runs in when the image names no shell (as Docker).
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// Runs the check and never fails: what goes wrong is its result.
pub(super) async fn check(containers: &Containers, id: &str, test: &[String], limit: Duration) -> Check {
    let started_ns = now_ns();
    let shell = || containers.spec(id).map(|spec| Notes::of(&spec).shell).unwrap_or_default();
    let (exit_code, output) = match words(test, shell) {
        Ok(args) => run(containers, id, args, limit).await,
        Err(error) => (NOT_RUN, error.0),
    };
    Check { started_ns, ended_ns: now_ns(), exit_code, output }
}

/// Probes the container and never fails, either.
pub(super) async fn probe(containers: &Containers, id: &str, action: &ProbeAction, limit: Duration) -> Probed {
    let port = match action {
        ProbeAction::Exec { command } => {
            let (code, output) = run(containers, id, command.clone(), limit).await;
            // The program alone: its arguments may hold secrets.
            let name = command.first().map_or("", String::as_str);
            let words = match (code, output.trim()) {
                (NOT_RUN, output) => format!("{name}: {output}"),
                (code, "") => format!("{name} exited with {code}"),
                (code, output) => format!("{name} exited with {code}: {output}"),
            };
            return Probed { good: code == 0, words };
        }
        ProbeAction::Http { port, .. } | ProbeAction::Tcp { port } => *port,
    };
    let place = match place(containers, id) {
        Ok(place) => place,
        Err(error) => return Probed { good: false, words: error.0 },
    };
    match action {
        ProbeAction::Http { path, host, .. } => reach::http(&place, port, path, host, limit).await,
        ProbeAction::Tcp { .. } | ProbeAction::Exec { .. } => reach::tcp(&place, port, limit).await,
    }
}

/// Where its programs listen.
fn place(containers: &Containers, id: &str) -> Result<reach::Place, EngineError> {
    let spec = containers.spec(id).map_err(|error| line(&error))?;
    let addrs = Notes::of(&spec).networks.iter().map(|network| network.addr).collect();
    match spec.network {
        Network::Path(netns) => Ok(reach::Place { netns, addrs }),
        Network::New | Network::Host => Err(EngineError("the container has no network of its own".to_owned())),
    }
}

/// What a check runs. `CMD` takes its words as they are, `CMD-SHELL` hands them to the shell.
fn words(test: &[String], shell: impl Fn() -> Vec<String>) -> Result<Vec<String>, EngineError> {
    match test.split_first() {
        Some((kind, words)) if kind == "CMD" => Ok(words.to_vec()),
        Some((kind, words)) if kind == "CMD-SHELL" => {
            let shell = Some(shell()).filter(|shell| !shell.is_empty());
            let shell = shell.unwrap_or_else(|| SHELL.map(str::to_owned).to_vec());
            Ok(shell.into_iter().chain(words.iter().cloned()).collect())
        }
        Some((kind, _)) => Err(EngineError(format!("health check of unknown kind {kind}"))),
        None => Err(EngineError("empty health check".to_owned())),
    }
}

/// Its exit code and its output. A program that takes too long is killed; what it said till then is kept.
async fn run(containers: &Containers, id: &str, args: Vec<String>, limit: Duration) -> (i32, String) {
    let kept = Mutex::new(Vec::new());
    let code = timeout(limit, run_to_end(containers, id, args, &kept)).await;
    let output = String::from_utf8_lossy(&kept.into_inner().unwrap_or_else(PoisonError::into_inner)).into_owned();
    match code {
        Ok(Ok(code)) => (code, output),
        Ok(Err(error)) => (NOT_RUN, error.0),
        Err(_) => {
            let words = format!("exceeded its timeout of {limit:?}");
            (NOT_RUN, if output.is_empty() { words } else { format!("{words}: {output}") })
        }
    }
}

async fn run_to_end(
    containers: &Containers,
    id: &str,
    args: Vec<String>,
    kept: &Mutex<Vec<u8>>,
) -> Result<i32, EngineError> {
    let spec = containers.spec(id).map_err(|error| line(&error))?;
    let process = ProcessSpec { args, tty: false, ends_with_caller: true, ..spec.process };
    let mut handle = containers.exec(id, &process).await.map_err(|error| line(&error))?;
    if let ExecStreams::Pipes { stdin, stdout, stderr } = &mut handle.streams {
        drop(stdin.take());
        beginning(stdout.take(), stderr.take(), kept).await;
    }
    let exit = handle.wait().await.map_err(|error| line(&error))?;
    Ok(exit.code)
}

/// The first bytes of both streams, as they come. Both are read to their ends: a program whose output nobody reads
/// stands still, and one whose reader goes away is killed.
async fn beginning<R: AsyncRead + Unpin>(stdout: Option<R>, stderr: Option<R>, kept: &Mutex<Vec<u8>>) {
    let read = async |stream: Option<R>| {
        let Some(mut stream) = stream else { return };
        let mut piece = vec![0; PIECE_BYTES];
        // A broken pipe ends the output, not the check.
        while let Ok(count @ 1..) = stream.read(&mut piece).await {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            let wanted = count.min(OUTPUT_BYTES - kept.len());
            kept.extend_from_slice(&piece[..wanted]);
        }
    };
    tokio::join!(read(stdout), read(stderr));
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncWriteExt, duplex};

    fn texts(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn a_check_runs_its_words_or_the_shell_of_the_image() {
        let args = |test: &[&str], shell: &[&str]| words(&texts(test), || texts(shell)).map_err(|error| error.0);
        assert_eq!(args(&["CMD", "a", "b c"], &["/bin/bash", "-c"]), Ok(texts(&["a", "b c"])));
        assert_eq!(args(&["CMD-SHELL", "a | b"], &[]), Ok(texts(&["/bin/sh", "-c", "a | b"])));
        assert_eq!(args(&["CMD-SHELL", "a"], &["/bin/bash", "-lc"]), Ok(texts(&["/bin/bash", "-lc", "a"])));
        assert_eq!(args(&["CMD-SHELL", "a", "b"], &[]), Ok(texts(&["/bin/sh", "-c", "a", "b"])), "as arguments");
        assert!(args(&["ODD"], &[]).is_err() && args(&[], &[]).is_err());
    }

    #[tokio::test]
    async fn a_check_that_prints_much_on_both_streams_is_read_to_its_end() {
        let ((out, mut stdout), (err, mut stderr)) = (duplex(1024), duplex(1024));
        let program = tokio::spawn(async move {
            stderr.write_all(&[b'e'; 100]).await?;
            // By turns: a reader of one stream after the other would wait for ever.
            for _ in 0..4 {
                stderr.write_all(&[b'e'; 16 << 10]).await?;
                stdout.write_all(&[b'o'; 16 << 10]).await?;
            }
            Ok::<_, std::io::Error>(())
        });
        let kept = Mutex::new(Vec::new());
        let read = tokio::time::timeout(Duration::from_secs(20), beginning(Some(out), Some(err), &kept)).await;
        read.expect("both streams are read at once");
        let kept = kept.into_inner().expect("kept");
        assert_eq!(kept.len(), OUTPUT_BYTES);
        assert_eq!(&kept[..100], [b'e'; 100]);
        program.await.expect("task").expect("the program could write all it had");
    }
}
