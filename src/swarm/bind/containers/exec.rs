//! A further process in a container, with its streams as the API wants them.

use crate::bind::internal;
use api::ports::{AttachRequest, AttachSession, ExecRequest, ExecSession, Failure, LogStream};
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use runtime::Containers;
use runtime::container::{AttachOptions, AttachedInput, AttachedOutput, Error, ExecStreams, FdStream};
use runtime::shim::Output;
use runtime::spec::ProcessSpec;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio_util::io::ReaderStream;

/// Pieces of input ahead of a process that reads slowly; then the client waits.
const INPUT_AHEAD: usize = 16;
/// Changes of a terminal's size that wait: the newest matters, and they take no time.
const SIZES_AHEAD: usize = 4;

/// Starts it. A program that cannot be run is a session that says so and ends with 126 or 127, as in Docker.
pub async fn start(containers: &Containers, id: &str, request: ExecRequest) -> Result<ExecSession, Failure> {
    let own = containers.spec(id).map_err(|error| Failure::NotFound(error.to_string()))?.process;
    let or = |given: String, own: String| if given.is_empty() { own } else { given };
    // Groups belong to the user they were given with.
    let additional_groups = if request.user.is_empty() { own.additional_groups } else { Vec::new() };
    let process = ProcessSpec {
        args: request.command,
        env: overlaid(own.env, request.env),
        cwd: or(request.working_dir, own.cwd),
        user: or(request.user, own.user),
        additional_groups,
        tty: request.tty,
        privileged: request.privileged,
        ..ProcessSpec::default()
    };
    let mut handle = match containers.exec(id, &process).await {
        Ok(handle) => handle,
        Err(Error::Exec { code, message, .. }) => return Ok(not_run(code, &message)),
        Err(error @ (Error::NotFound(_) | Error::Refused { .. })) => return Err(Failure::Conflict(error.to_string())),
        Err(error) => return Err(internal(&error)),
    };
    let pid = i64::from(handle.pid);
    let (output, stdin, resize) = match &mut handle.streams {
        ExecStreams::Tty(terminal) => {
            (pieces(terminal.clone(), LogStream::Stdout), Some(terminal.clone()), Some(sizes(terminal.clone())))
        }
        ExecStreams::Pipes { stdin, stdout, stderr } => {
            let out = stdout.take().map(|stream| pieces(stream, LogStream::Stdout));
            let err = stderr.take().map(|stream| pieces(stream, LogStream::Stderr));
            (stream::select_all(out.into_iter().chain(err)).boxed(), stdin.take(), None)
        }
    };
    // Not attached: its input ends at once. Output is read in any case, or the process would block.
    let input = stdin.filter(|_| request.attach_stdin).map(feed);
    let (want_out, want_err) = (request.attach_stdout, request.attach_stderr);
    let wanted = move |piece: &std::io::Result<(LogStream, Bytes)>| {
        let pass = match piece {
            Ok((LogStream::Stdout, _)) => want_out || !want_err,
            Ok((LogStream::Stderr, _)) => want_err || !want_out,
            Err(_) => true,
        };
        std::future::ready(pass)
    };
    let exit = async move { handle.wait().await.map(|exit| i64::from(exit.code)).map_err(|error| internal(&error)) };
    Ok(ExecSession { pid, output: output.filter(wanted).boxed(), input, exit: Box::pin(exit), resize })
}

/// Streams of the container's own program. Its input outlives the client, as that of a service's task does in Docker.
pub async fn attach(containers: &Containers, id: &str, request: AttachRequest) -> Result<AttachSession, Failure> {
    let AttachRequest { stdin, stdout, stderr } = request;
    let options = AttachOptions { stdin, stdout, stderr, keep_input_open: true };
    let (output, writer) = containers.attach(id, options).await.map_err(super::failure)?.split();
    let next = |output: Option<AttachedOutput>| async move {
        let mut output = output?;
        match output.next().await {
            Ok(Some((Output::Stderr, bytes))) => Some((Ok((LogStream::Stderr, bytes)), Some(output))),
            Ok(Some((Output::Stdout, bytes))) => Some((Ok((LogStream::Stdout, bytes)), Some(output))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    };
    let input = stdin.then(|| feed_attached(writer));
    Ok(AttachSession { output: stream::unfold(Some(output), next).boxed(), input })
}

fn feed_attached(mut writer: AttachedInput) -> mpsc::Sender<Bytes> {
    let (input, mut pieces) = mpsc::channel::<Bytes>(INPUT_AHEAD);
    tokio::spawn(async move {
        while let Some(piece) = pieces.recv().await {
            // The container has ended.
            if writer.write(&piece).await.is_err() {
                return;
            }
        }
    });
    input
}

/// The container's variables with the request's over them.
fn overlaid(mut own: Vec<String>, given: Vec<String>) -> Vec<String> {
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    own.retain(|known| !given.iter().any(|entry| name(entry) == name(known)));
    own.extend(given);
    own
}

fn not_run(code: i32, message: &str) -> ExecSession {
    let words = Bytes::from(format!("{message}\r\n"));
    ExecSession {
        pid: 0,
        output: stream::iter([Ok((LogStream::Stderr, words))]).boxed(),
        input: None,
        exit: Box::pin(async move { Ok(i64::from(code)) }),
        resize: None,
    }
}

fn pieces(stream: FdStream, kind: LogStream) -> BoxStream<'static, std::io::Result<(LogStream, Bytes)>> {
    ReaderStream::new(stream).map(move |piece| piece.map(|bytes| (kind, bytes))).boxed()
}

/// Writes what comes to the process, and closes its input when no more comes.
fn feed(mut stdin: FdStream) -> mpsc::Sender<Bytes> {
    let (input, mut pieces) = mpsc::channel::<Bytes>(INPUT_AHEAD);
    tokio::spawn(async move {
        while let Some(piece) = pieces.recv().await {
            // A process that closed its input wants no more.
            if stdin.write_all(&piece).await.is_err() {
                return;
            }
        }
    });
    input
}

fn sizes(terminal: FdStream) -> mpsc::Sender<(u16, u16)> {
    let (sizes, mut asked) = mpsc::channel::<(u16, u16)>(SIZES_AHEAD);
    tokio::spawn(async move {
        while let Some((rows, columns)) = asked.recv().await {
            terminal.resize(rows, columns);
        }
    });
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_of_the_request_replaces_the_container_s() {
        let strings = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(overlaid(strings(&["A=1", "B=2"]), strings(&["A=3", "C=4"])), strings(&["B=2", "A=3", "C=4"]));
    }

    #[tokio::test]
    async fn a_program_that_cannot_be_run_says_why_and_ends_with_its_code() {
        let mut session = not_run(127, "nosuch: not found");
        let (stream, words) = session.output.next().await.expect("words").expect("readable");
        assert_eq!((stream, &words[..]), (LogStream::Stderr, &b"nosuch: not found\r\n"[..]));
        assert!(session.output.next().await.is_none());
        assert_eq!(session.exit.await, Ok(127));
    }
}
