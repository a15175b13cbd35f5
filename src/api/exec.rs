//! `/containers/{id}/exec` and `/exec`: further processes in containers of this host.
//!
//! An exec is made, then started once, its streams over the upgraded connection; its exit code can be
//! asked for afterwards. One task owns the records; requests hand it a closure to run on them.

use crate::Server;
use crate::call::{Call, Outcome, created, empty, ok};
use crate::carry;
use crate::containers;
use crate::error::ApiError;
use crate::json::{Fields, Object};
use crate::ports::{ExecRequest, Failure};
use crate::routes::unknown_below;
use crate::stream::{self, DetachKeys, Ended, Output, Pump};
use axum::http::StatusCode;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Records kept; the oldest that ended makes room. Clients ask for an exit code within moments.
const EXECS_MAX: usize = 1024;
/// Requests that may wait for the records.
const JOBS_QUEUE: usize = 64;

/// How far an exec has come.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Progress {
    Made,
    /// Between the request to start and the process.
    Starting,
    Running {
        pid: i64,
    },
    Ended {
        /// `None`: it could not be started or watched.
        exit_code: Option<i64>,
    },
}

struct Record {
    /// Rises with each exec: tells the oldest.
    order: u64,
    container: String,
    request: ExecRequest,
    detach_keys: DetachKeys,
    progress: Progress,
    resize: Option<mpsc::Sender<(u16, u16)>>,
}

#[derive(Default)]
struct Records {
    made: u64,
    by_id: BTreeMap<String, Record>,
}

type Job = Box<dyn FnOnce(&mut Records) + Send>;

/// Client of the task that owns the records.
#[derive(Clone)]
pub struct Execs {
    jobs: mpsc::Sender<Job>,
}

impl Execs {
    /// Starts the task; it ends with `shutdown`.
    pub fn start(shutdown: CancellationToken) -> Self {
        let (jobs, mut queue) = mpsc::channel::<Job>(JOBS_QUEUE);
        tokio::spawn(async move {
            let mut records = Records::default();
            loop {
                let job = tokio::select! {
                    () = shutdown.cancelled() => return,
                    job = queue.recv() => job,
                };
                let Some(job) = job else { return };
                job(&mut records);
            }
        });
        Self { jobs }
    }

    async fn with<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Records) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let gone = || ApiError::unavailable("the daemon is shutting down");
        let (answer, result) = oneshot::channel();
        // Whoever asked may be gone: then nobody minds.
        let job: Job = Box::new(move |records| drop(answer.send(job(records))));
        self.jobs.send(job).await.map_err(|_| gone())?;
        result.await.map_err(|_| gone())
    }

    /// Those of a container that run, oldest first.
    pub async fn of(&self, container: &str) -> Result<Vec<String>, ApiError> {
        let container = container.to_owned();
        let running = move |records: &mut Records| {
            let of = |record: &&Record| {
                record.container == container
                    && matches!(record.progress, Progress::Starting | Progress::Running { .. })
            };
            let found = records.by_id.iter().filter(|(_, record)| of(record));
            let mut found: Vec<(u64, String)> = found.map(|(id, record)| (record.order, id.clone())).collect();
            found.sort_unstable();
            found.into_iter().map(|(_, id)| id).collect()
        };
        self.with(running).await
    }

    async fn set(&self, id: &str, progress: Progress) {
        let id = id.to_owned();
        let set = move |records: &mut Records| {
            if let Some(record) = records.by_id.get_mut(&id) {
                if matches!(progress, Progress::Ended { .. }) {
                    record.resize = None;
                }
                record.progress = progress;
            }
        };
        // At shutdown there is nothing left to note.
        let _ = self.with(set).await;
    }
}

impl Records {
    fn add(&mut self, id: String, container: String, request: ExecRequest, keys: DetachKeys) -> Result<(), ApiError> {
        if self.by_id.len() >= EXECS_MAX {
            let ended = self.by_id.iter().filter(|(_, record)| matches!(record.progress, Progress::Ended { .. }));
            let oldest = ended.min_by_key(|(_, record)| record.order).map(|(id, _)| id.clone());
            let oldest = oldest.ok_or_else(|| {
                ApiError::new(StatusCode::CONFLICT, format!("{EXECS_MAX} execs are open on this host, end some first"))
            })?;
            self.by_id.remove(&oldest);
        }
        self.made += 1;
        let (order, progress) = (self.made, Progress::Made);
        let record = Record { order, container, request, detach_keys: keys, progress, resize: None };
        self.by_id.insert(id, record);
        Ok(())
    }

    fn get(&mut self, id: &str) -> Result<&mut Record, ApiError> {
        self.by_id.get_mut(id).ok_or_else(|| ApiError::not_found(format!("No such exec instance: {id}")))
    }
}

pub async fn route(call: Call, server: &Server, method: &str, rest: &[&str]) -> Outcome {
    if let [id, _, ..] = rest
        && let Some(there) = carry::locate_exec(&call, id)
    {
        return carry::pass(call, method, there).await;
    }
    match (method, rest) {
        ("POST", [id, "start"]) => start(call, server, id).await,
        ("GET", [id, "json"]) => inspect(server, id).await,
        ("POST", [id, "resize"]) => resize(call, server, id).await,
        _ => Err(unknown_below(method, "exec", rest)),
    }
}

/// `POST /containers/{id}/exec`.
pub async fn create(mut call: Call, server: &Server, container: &str) -> Outcome {
    let container = containers::find_running(&call, container).await?;
    let mut object = call.object().await?;
    let request = ExecRequest {
        command: object.strings("Cmd")?,
        env: object.strings("Env")?,
        working_dir: object.string("WorkingDir")?,
        user: object.string("User")?,
        tty: object.bool("Tty")?,
        privileged: object.bool("Privileged")?,
        attach_stdin: object.bool("AttachStdin")?,
        attach_stdout: object.bool("AttachStdout")?,
        attach_stderr: object.bool("AttachStderr")?,
    };
    // Repeated at the start, or of the client's own concern.
    for name in ["Container", "Detach", "ConsoleSize"] {
        object.take(name)?;
    }
    let keys = DetachKeys::parse(&object.string("DetachKeys")?)?;
    object.finish()?;
    if request.command.is_empty() {
        return Err(ApiError::bad("Cmd: No exec command specified"));
    }
    let id = carry::exec_id(&call);
    let key = id.clone();
    let action = format!("exec_create: {}", request.command.join(" "));
    call.ports.local.tell(&container.id, &action, &[("execID", id.clone())]);
    server.execs.with(move |records| records.add(key, container.id, request, keys)).await??;
    created(Fields::new().set("Id", id))
}

async fn inspect(server: &Server, id: &str) -> Outcome {
    let key = id.to_owned();
    let written = server.execs.with(move |records| records.get(&key).map(|record| write(&key, record))).await??;
    ok(written)
}

fn write(id: &str, record: &Record) -> Value {
    let request = &record.request;
    let (entrypoint, arguments) = request.command.split_first().map_or(("", &[][..]), |(a, b)| (a.as_str(), b));
    let (running, pid, exit_code) = match record.progress {
        Progress::Made => (false, 0, None),
        Progress::Starting => (true, 0, None),
        Progress::Running { pid } => (true, pid, None),
        Progress::Ended { exit_code } => (false, 0, exit_code),
    };
    json!({
        "ID": id, "Running": running, "ExitCode": exit_code, "Pid": pid, "ContainerID": record.container,
        "OpenStdin": request.attach_stdin, "OpenStdout": request.attach_stdout, "OpenStderr": request.attach_stderr,
        "CanRemove": !running, "DetachKeys": "",
        "ProcessConfig": {
            "tty": request.tty, "entrypoint": entrypoint, "arguments": arguments, "privileged": request.privileged,
            "user": request.user,
        },
    })
}

pub fn size(height: &str, width: &str) -> Result<(u16, u16), ApiError> {
    let number = |name: &str, text: &str| {
        text.parse().map_err(|_| ApiError::bad(format!("{name}: \"{text}\" is not a number of cells")))
    };
    Ok((number("h", height)?, number("w", width)?))
}

async fn resize(call: Call, server: &Server, id: &str) -> Outcome {
    let size = size(call.query.text("h"), call.query.text("w"))?;
    let key = id.to_owned();
    let terminal = server.execs.with(move |records| records.get(&key).map(|record| record.resize.clone())).await??;
    let no_terminal = || ApiError::new(StatusCode::CONFLICT, format!("exec {id} has no terminal that runs"));
    let terminal = terminal.ok_or_else(no_terminal)?;
    terminal.send(size).await.map_err(|_| no_terminal())?;
    empty(StatusCode::OK)
}

async fn start(mut call: Call, server: &Server, id: &str) -> Outcome {
    let mut object = call.object().await?;
    let (detach, console) = (object.bool("Detach")?, console_size(&mut object)?);
    object.bool("Tty")?;
    object.finish()?;
    let (container, mut request, detach_keys) = begin(server, id).await?;
    if detach {
        request.attach_stdin = false;
    }
    let tty = request.tty;
    let action = format!("exec_start: {}", request.command.join(" "));
    let session = match call.ports.local.exec(&container, request).await {
        Ok(session) => session,
        Err(failure) => {
            server.execs.set(id, Progress::Ended { exit_code: None }).await;
            return Err(failure.into());
        }
    };
    note_running(server, id, session.pid, session.resize.clone()).await;
    call.ports.local.tell(&container, &action, &[("execID", id.to_owned())]);
    if let (Some(size), Some(resize)) = (console, session.resize) {
        // It may have ended already; then its size is no matter.
        let _ = resize.send(size).await;
    }
    let end = End { server: server.clone(), id: id.to_owned(), container, exit: session.exit };
    let output = stream::frames(session.output, tty);
    if detach {
        tokio::spawn(drain(output, end));
        return empty(StatusCode::OK);
    }
    let media_type = stream::media_type(call.version, tty);
    match stream::upgrade(&mut call) {
        Some(upgrade) => {
            let shutdown = server.shutdown.clone();
            let detach = tty.then_some(detach_keys);
            tokio::spawn(serve(upgrade, Pump { output, input: session.input, detach, shutdown }, end));
            Ok(stream::switching(media_type))
        }
        None => {
            let noted = futures_util::stream::once(end.note()).filter_map(|()| std::future::ready(None));
            Ok(stream::plain(output.chain(noted).boxed(), media_type))
        }
    }
}

/// Rows and columns; API `ConsoleSize`.
fn console_size(object: &mut Object) -> Result<Option<(u16, u16)>, ApiError> {
    let wrong = || ApiError::bad("ConsoleSize: must be [height, width]");
    match object.take("ConsoleSize")? {
        Value::Null => Ok(None),
        Value::Array(items) => match items.as_slice() {
            [height, width] => {
                let cells = |value: &Value| value.as_u64().and_then(|n| u16::try_from(n).ok()).ok_or_else(wrong);
                Ok(Some((cells(height)?, cells(width)?)).filter(|size| *size != (0, 0)))
            }
            _ => Err(wrong()),
        },
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => Err(wrong()),
    }
}

/// Takes an exec for starting, which can be done once.
async fn begin(server: &Server, id: &str) -> Result<(String, ExecRequest, DetachKeys), ApiError> {
    let key = id.to_owned();
    let begin = move |records: &mut Records| {
        let record = records.get(&key)?;
        if record.progress != Progress::Made {
            return Err(ApiError::new(StatusCode::CONFLICT, format!("Error: Exec command {key} has already run")));
        }
        record.progress = Progress::Starting;
        Ok((record.container.clone(), record.request.clone(), record.detach_keys.clone()))
    };
    server.execs.with(begin).await?
}

async fn note_running(server: &Server, id: &str, pid: i64, resize: Option<mpsc::Sender<(u16, u16)>>) {
    let key = id.to_owned();
    let note = move |records: &mut Records| {
        if let Ok(record) = records.get(&key) {
            record.progress = Progress::Running { pid };
            record.resize = resize;
        }
    };
    // At shutdown there is nothing left to note.
    let _ = server.execs.with(note).await;
}

/// What must happen when the process is over, before the client sees the end of its streams.
struct End {
    server: Server,
    id: String,
    container: String,
    exit: BoxFuture<'static, Result<i64, Failure>>,
}

impl End {
    async fn note(self) {
        let exit_code = match self.exit.await {
            Ok(code) => Some(code),
            Err(failure) => {
                tracing::warn!(exec = %self.id, %failure, "the end of an exec is unknown");
                None
            }
        };
        self.server.execs.set(&self.id, Progress::Ended { exit_code }).await;
        let exit_code = exit_code.map_or_else(String::new, |code| code.to_string());
        self.server.ports.local.tell(&self.container, "exec_die", &[("execID", self.id), ("exitCode", exit_code)]);
    }
}

async fn drain(mut output: Output, end: End) {
    while output.next().await.is_some() {}
    end.note().await;
}

async fn serve(upgrade: hyper::upgrade::OnUpgrade, pump: Pump, end: End) {
    let (ended, output, connection) = pump.run(upgrade).await;
    match ended {
        Ended::Output => {
            end.note().await;
            if let Some(connection) = connection {
                connection.close().await;
            }
        }
        // The client is gone; the process goes on, and what it says is lost.
        Ended::Client | Ended::Detached => {
            if let Some(connection) = connection {
                connection.close().await;
            }
            drain(output, end).await;
        }
    }
}
