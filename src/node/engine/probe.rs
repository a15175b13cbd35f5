//! One run of a health check.

use super::events::{Check, now_ns};
use super::line;
use crate::agent::engine::EngineError;
use runtime::Containers;
use runtime::container::ExecStreams;
use runtime::spec::ProcessSpec;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

/// Output that is kept (as Docker).
const OUTPUT_BYTES: usize = 4096;
/// Bytes read at a time.
const PIECE_BYTES: usize = 4096;

/// Code of a check that did not run to its end (as Docker).
const NOT_RUN: i32 = -1;

/// Runs the check and never fails: what goes wrong is its result.
pub(super) async fn check(containers: &Containers, id: &str, test: &[String], limit: Duration) -> Check {
    let started_ns = now_ns();
    let (exit_code, output) = match timeout(limit, run(containers, id, test)).await {
        Ok(Ok(ended)) => ended,
        Ok(Err(error)) => (NOT_RUN, error.0),
        Err(_) => (NOT_RUN, format!("health check exceeded its timeout of {} s", limit.as_secs_f32())),
    };
    Check { started_ns, ended_ns: now_ns(), exit_code, output }
}

/// Its exit code and its output. `CMD` runs the words, `CMD-SHELL` a line of shell.
async fn run(containers: &Containers, id: &str, test: &[String]) -> Result<(i32, String), EngineError> {
    let args: Vec<String> = match test.split_first() {
        Some((kind, words)) if kind == "CMD" => words.to_vec(),
        Some((kind, words)) if kind == "CMD-SHELL" => {
            vec!["/bin/sh".to_owned(), "-c".to_owned(), words.join(" ")]
        }
        Some((kind, _)) => return Err(EngineError(format!("health check of unknown kind {kind}"))),
        None => return Err(EngineError("empty health check".to_owned())),
    };
    let spec = containers.spec(id).map_err(|error| line(&error))?;
    let process = ProcessSpec { args, tty: false, ends_with_caller: true, ..spec.process };
    let mut handle = containers.exec(id, &process).await.map_err(|error| line(&error))?;
    let mut output = Vec::new();
    if let ExecStreams::Pipes { stdin, stdout, stderr } = &mut handle.streams {
        drop(stdin.take());
        output = beginning(stdout.take(), stderr.take()).await;
    }
    let exit = handle.wait().await.map_err(|error| line(&error))?;
    Ok((exit.code, String::from_utf8_lossy(&output).into_owned()))
}

/// The first bytes of both streams, as they come. Both are read to their ends: a program whose output nobody reads
/// stands still, and one whose reader goes away is killed.
async fn beginning<R: AsyncRead + Unpin>(stdout: Option<R>, stderr: Option<R>) -> Vec<u8> {
    let kept = Mutex::new(Vec::new());
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
    kept.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncWriteExt, duplex};

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
        let kept = tokio::time::timeout(Duration::from_secs(20), beginning(Some(out), Some(err))).await;
        let kept = kept.expect("both streams are read at once");
        assert_eq!(kept.len(), OUTPUT_BYTES);
        assert_eq!(&kept[..100], [b'e'; 100]);
        program.await.expect("task").expect("the program could write all it had");
    }
}
