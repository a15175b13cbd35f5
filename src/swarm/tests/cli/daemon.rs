//! A daemon by script: answers what is asked of the Engine API from the files in `api/`, on a socket of its own.
//!
//! The times in them are relative to when it starts: `"@-8400s"` in RFC 3339, `"@unix-8400s"` as a number. They lie in the
//! middle of what the words say (2 hours and 20 minutes are "2 hours"), so that no test stands on an edge.

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

/// A request that changes something: `POST /services/create?`, without its version, and its body.
pub type Asked = (String, Value);

/// What the API answers with, by the name of the file.
type Answers = BTreeMap<String, Value>;

/// Of every image, for its registry.
const DIGEST: &str = "sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc";

pub struct Daemon {
    dir: tempfile::TempDir,
    requests: Arc<Mutex<Vec<Asked>>>,
    /// Ends the thread when it is dropped.
    _running: tokio::runtime::Runtime,
}

impl Daemon {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder for the socket");
        let running = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let running = running.expect("a runtime");
        let answers = Arc::new(answers(&source().join("api")));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let asked = requests.clone();
        let listener = {
            let _inside = running.enter();
            tokio::net::UnixListener::bind(dir.path().join("api.sock")).expect("the socket is new")
        };
        running.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answers, asked) = (answers.clone(), asked.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (answers, asked) = (answers.clone(), asked.clone());
                    async move {
                        if request.method() == Method::GET || request.method() == Method::HEAD {
                            return Ok::<_, Infallible>(answer(&answers, &request));
                        }
                        let (parts, body) = request.into_parts();
                        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
                        let path = plain(parts.uri.path());
                        let line = format!("{} /{path}?{}", parts.method, parts.uri.query().unwrap_or(""));
                        asked.lock().expect("nobody panics with it").push((line, body));
                        Ok(take(path))
                    }
                });
                // A client that goes away is its own affair.
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Self { dir, requests, _running: running }
    }

    /// What was asked to be changed since the last time.
    pub fn take_requests(&self) -> Vec<Asked> {
        std::mem::take(&mut self.requests.lock().expect("nobody panics with it"))
    }

    pub fn host(&self) -> String {
        format!("unix://{}", self.dir.path().join("api.sock").display())
    }

    /// A folder without a configuration of docker's.
    pub fn home(&self) -> &Path {
        self.dir.path()
    }
}

/// The folder of these tests.
pub fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli")
}

fn answers(folder: &Path) -> Answers {
    // A part of a second that ends with no zero: how many digits are printed is to be the same each time.
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    let now = SystemTime::UNIX_EPOCH + Duration::new(seconds, 123_456_789);
    let mut out = Answers::new();
    for entry in std::fs::read_dir(folder).expect("the folder of answers") {
        let path = entry.expect("a file").path();
        let text = std::fs::read_to_string(&path).expect("an answer");
        let mut value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        set_times(&mut value, now);
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        out.insert(name, value);
    }
    out
}

fn set_times(value: &mut Value, now: SystemTime) {
    match value {
        Value::String(text) => {
            let before = |text: &str| Some(now - Duration::from_secs(text.strip_suffix('s')?.parse().ok()?));
            if let Some(at) = text.strip_prefix("@unix-").and_then(before) {
                let since = at.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
                *value = Value::from(since.as_secs());
            } else if let Some(at) = text.strip_prefix("@-").and_then(before) {
                *value = Value::from(humantime::format_rfc3339_nanos(at).to_string());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| set_times(item, now)),
        Value::Object(fields) => fields.values_mut().for_each(|item| set_times(item, now)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The path without its version.
fn plain(path: &str) -> &str {
    let path = path.trim_start_matches('/');
    match path.split_once('/') {
        Some((version, rest)) if version.starts_with("v1.") => rest,
        Some(_) | None => path,
    }
}

/// Does as if it were done.
fn take(path: &str) -> Response<Full<Bytes>> {
    match path {
        "swarm/init" => respond(StatusCode::OK, json!("ehkv3bcimagdese79dn78otj5").to_string()),
        path if path.ends_with("/create") => {
            let id = "z".repeat(25);
            respond(StatusCode::CREATED, json!({ "ID": id, "Id": id, "Name": "z", "Warning": "" }).to_string())
        }
        _ => respond(StatusCode::OK, json!({}).to_string()),
    }
}

fn answer(answers: &Answers, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let path = plain(request.uri().path());
    let words: Vec<&str> = path.split('/').collect();
    let found = match (request.method(), words.as_slice()) {
        (_, ["_ping"]) => return respond(StatusCode::OK, "OK".to_owned()),
        (&Method::GET, ["events"]) => {
            let lines = answers["events"].as_array().expect("a list").iter().map(|event| format!("{event}\n"));
            return respond(StatusCode::OK, lines.collect());
        }
        (&Method::GET, [name @ ("info" | "version" | "swarm")]) => Some(answers[*name].clone()),
        (&Method::GET, ["system", "df"]) => Some(usage(answers)),
        (&Method::GET, ["images", _, "history"]) => Some(answers["image-history"].clone()),
        (&Method::GET, ["swarm", "unlockkey"]) => Some(json!({ "UnlockKey": "SWMKEY-1-key" })),
        (&Method::GET, ["distribution", .., "json"]) => Some(json!({
            "Descriptor": { "mediaType": "application/vnd.oci.image.index.v1+json", "digest": DIGEST, "size": 1 },
            "Platforms": [{ "architecture": "amd64", "os": "linux" }],
        })),
        (&Method::GET, [kind @ ("images" | "containers"), "json"]) => Some(answers[*kind].clone()),
        (&Method::GET, ["images", "web:1" | "web%3A1", "json"]) => Some(answers["image"].clone()),
        (&Method::GET, ["containers", "shop_web.1.abc", "json"]) => Some(answers["container"].clone()),
        (&Method::GET, ["volumes"]) => Some(json!({ "Volumes": answers["volumes"], "Warnings": null })),
        (&Method::GET, [kind]) => answers.get(*kind).map(|all| filtered(all, request.uri().query())),
        (&Method::GET, ["services", _, "history"]) => Some(answers["history"].clone()),
        (&Method::GET, [kind, name]) => answers.get(*kind).and_then(|all| named(all, name)),
        (_, _) => None,
    };
    match found {
        Some(value) => respond(StatusCode::OK, value.to_string()),
        None => {
            let what = words.first().map_or("", |kind| kind.trim_end_matches('s'));
            let message = format!("{what} {} not found", words.get(1).unwrap_or(&""));
            respond(StatusCode::NOT_FOUND, json!({ "message": message }).to_string())
        }
    }
}

fn respond(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let response = Response::builder().status(status).header("api-version", "1.50");
    let response = response.header("content-type", "application/json");
    response.body(Full::new(Bytes::from(body))).expect("the headers are right")
}

/// What the host's images, containers and volumes use.
fn usage(answers: &Answers) -> Value {
    let mut volumes = answers["volumes"].clone();
    for (at, volume) in volumes.as_array_mut().into_iter().flatten().enumerate() {
        volume["UsageData"] = json!({ "Size": 1000 * (at + 1), "RefCount": at });
    }
    json!({
        "LayersSize": 90_000_000, "Images": answers["images"], "Containers": answers["containers"],
        "Volumes": volumes, "BuildCache": [],
    })
}

/// The object of that name, id, or beginning of one.
fn named(all: &Value, name: &str) -> Option<Value> {
    let names = ["/ID", "/Id", "/Name", "/Spec/Name", "/Description/Hostname"];
    let has = |object: &&Value| names.iter().any(|path| object.pointer(path).and_then(Value::as_str) == Some(name));
    all.as_array()?.iter().find(has).cloned()
}

/// By the few filters that commands put in themselves: of tasks their service and node, of others a label.
fn filtered(all: &Value, query: Option<&str>) -> Value {
    let filters = query.into_iter().flat_map(|query| query.split('&')).find_map(|pair| pair.strip_prefix("filters="));
    let text = filters.map(|text| percent_decode_str(text).decode_utf8_lossy().into_owned()).unwrap_or_default();
    let Ok(Value::Object(filters)) = serde_json::from_str(&text) else { return all.clone() };
    let holds = |object: &Value, key: &str, values: &Value| {
        let wanted = |value: &str| values.get(value).is_some();
        let labels = || object.pointer("/Spec/Labels").and_then(Value::as_object).into_iter().flatten();
        match key {
            "service" => object["ServiceID"].as_str().is_some_and(wanted),
            "node" => object["NodeID"].as_str().is_some_and(wanted),
            "label" => {
                labels().any(|(key, value)| wanted(key) || wanted(&format!("{key}={}", value.as_str().unwrap_or(""))))
            }
            _ => true,
        }
    };
    let kept = all.as_array().into_iter().flatten();
    kept.filter(|object| filters.iter().all(|(key, values)| holds(object, key, values))).cloned().collect()
}
