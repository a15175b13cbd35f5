//! A real registry as a child process, and a server that answers as a test says. Both on loopback.

use crate::image::digest::Digest;
use crate::image::testing::TestImage;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// User and password of a registry that wants some; the hash is bcrypt of the password.
pub(super) const USER: &str = "ann";
pub(super) const PASSWORD: &str = "s3cret-word";
const HTPASSWD: &str = "ann:$2b$04$S3h99kGfrMTSRPWtgECm3uHlxcOV6CF6Ve2nM7viLhHUKpw3e9J1W\n";
/// Time for the registry to listen.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// A port found free may be taken before the registry has it.
const START_ATTEMPTS_MAX: usize = 5;

/// Debian's docker-registry with an empty directory.
pub(super) struct RealRegistry {
    child: Child,
    pub dir: TempDir,
    /// `127.0.0.1:port`
    pub host: String,
    http: reqwest::Client,
    scheme: &'static str,
    password: bool,
}

#[derive(Default)]
pub(super) struct RealOptions {
    pub password: bool,
    /// PEM of certificate chain and key.
    pub tls: Option<(String, String)>,
}

impl RealRegistry {
    pub(super) async fn start(options: RealOptions) -> Self {
        rustls::crypto::ring::default_provider().install_default().ok();
        for _ in 0..START_ATTEMPTS_MAX {
            if let Some(registry) = Self::try_start(&options).await {
                return registry;
            }
        }
        panic!("docker-registry does not start");
    }

    async fn try_start(options: &RealOptions) -> Option<Self> {
        let dir = tempfile::tempdir().expect("tempdir");
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address").port();
        let host = format!("127.0.0.1:{port}");
        let file = |name: &str, content: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, content).expect("write");
            path
        };
        let mut config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp:\n  addr: {host}\n",
            dir.path().join("data").display()
        );
        if let Some((certificate, key)) = &options.tls {
            let (certificate, key) = (file("cert.pem", certificate), file("key.pem", key));
            config += &format!("  tls: {{certificate: {}, key: {}}}\n", certificate.display(), key.display());
        }
        if options.password {
            let passwords = file("htpasswd", HTPASSWD);
            config += &format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", passwords.display());
        }
        let config = file("config.yml", &config);
        let log = std::fs::File::create(dir.path().join("log")).expect("create");
        let child = Command::new(program())
            .arg("serve")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("clone"))
            .stderr(log)
            .spawn()
            .expect("docker-registry is there: scripts/setup.sh test");
        let scheme = if options.tls.is_some() { "https" } else { "http" };
        let http = reqwest::Client::builder().no_proxy().tls_danger_accept_invalid_certs(true).build().expect("client");
        let mut registry = Self { child, dir, host, http, scheme, password: options.password };
        let deadline = Instant::now() + START_TIMEOUT;
        while Instant::now() < deadline {
            if registry.child.try_wait().expect("wait").is_some() {
                return None;
            }
            if registry.http.get(format!("{scheme}://{}/v2/", registry.host)).send().await.is_ok() {
                return Some(registry);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        None
    }

    fn login(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        if self.password { request.basic_auth(USER, Some(PASSWORD)) } else { request }
    }

    /// Pushes an image and gives the digest of its manifest.
    pub(super) async fn push(&self, repository: &str, tag: &str, image: &TestImage) -> Digest {
        let base = format!("{}://{}/v2/{repository}", self.scheme, self.host);
        let (manifest, blobs) = image.for_registry();
        for (digest, content) in blobs {
            let start = self.login(self.http.post(format!("{base}/blobs/uploads/"))).send().await.expect("upload");
            let location = start.headers()["location"].to_str().expect("location").to_owned();
            let joint = if location.contains('?') { '&' } else { '?' };
            let put = self.login(self.http.put(format!("{location}{joint}digest={digest}"))).body(content);
            let done = put.send().await.expect("upload");
            assert!(done.status().is_success(), "{}", done.status());
        }
        let digest = Digest::sha256(&manifest);
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let put =
            self.login(self.http.put(format!("{base}/manifests/{tag}"))).header("content-type", kind).body(manifest);
        let done = put.send().await.expect("manifest");
        assert!(done.status().is_success(), "{}", done.status());
        digest
    }

    /// Where the registry keeps a blob.
    pub(super) fn blob_path(&self, digest: &str) -> std::path::PathBuf {
        let hex = digest.strip_prefix("sha256:").expect("sha256");
        let blobs = self.dir.path().join("data/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join(Path::new("data"))
    }
}

/// The one fetched by scripts/setup.sh, or else the installed one.
fn program() -> std::path::PathBuf {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/docker-registry");
    if ours.exists() { ours } else { "docker-registry".into() }
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A request as the fake sees it; header names in lower case.
pub(super) struct Asked {
    /// Path with query, without `/v2/`.
    pub path: String,
    pub headers: BTreeMap<String, String>,
    /// How often this path was asked before.
    pub before: usize,
}

/// What to answer.
pub(super) struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// Only so many bytes of the body are sent before the connection is cut.
    pub cut: Option<usize>,
}

impl Reply {
    pub(super) fn ok(body: Vec<u8>) -> Self {
        Self { status: 200, headers: Vec::new(), body, cut: None }
    }

    pub(super) fn status(status: u16) -> Self {
        Self { status, ..Self::ok(Vec::new()) }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

type Handler = Arc<dyn Fn(&Asked) -> Reply + Send + Sync>;

/// Answers as told.
pub(super) struct FakeRegistry {
    pub host: String,
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for FakeRegistry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeRegistry {
    /// `handler` gets the address of the server itself and the request.
    pub(super) async fn start(handler: impl Fn(&str, &Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address: SocketAddr = listener.local_addr().expect("address");
        let host = address.to_string();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let own = host.clone();
        let handler: Handler = Arc::new(move |asked| handler(&own, asked));
        let log = asked.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, handler.clone(), log.clone()));
            }
        });
        Self { host, asked, task }
    }

    /// Serves one image as `x:1`, after `handler` had the chance to answer otherwise.
    pub(super) async fn with_image(
        image: &TestImage,
        handler: impl Fn(&str, &Asked) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        let (manifest, blobs) = image.for_registry();
        let by_digest = format!("x/manifests/{}", Digest::sha256(&manifest));
        Self::start(move |host, asked| {
            if let Some(reply) = handler(host, asked) {
                return reply;
            }
            if asked.path == "x/manifests/1" || asked.path == by_digest {
                return Reply::ok(manifest.clone());
            }
            match asked.path.strip_prefix("x/blobs/").and_then(|digest| blobs.get(digest)) {
                Some(blob) => ranged(blob, asked),
                None => Reply::status(404),
            }
        })
        .await
    }

    /// How often paths that contain `part` were asked.
    pub(super) fn count(&self, part: &str) -> usize {
        self.asked.lock().expect("lock").iter().filter(|path| path.contains(part)).count()
    }
}

/// The blob, or the rest of it that was asked for.
pub(super) fn ranged(blob: &[u8], asked: &Asked) -> Reply {
    let from =
        asked.headers.get("range").and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    match from {
        None => Reply::ok(blob.to_vec()),
        Some(from) => {
            let range = format!("bytes {from}-{}/{}", blob.len() - 1, blob.len());
            Reply { status: 206, ..Reply::ok(blob[from..].to_vec()) }.header("content-range", range)
        }
    }
}

async fn serve(mut stream: TcpStream, handler: Handler, log: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let text = String::from_utf8(head).expect("a request is text");
    let mut lines = text.lines();
    let target = lines.next().and_then(|l| l.split(' ').nth(1)).unwrap_or_default();
    let path = target.strip_prefix("/v2/").unwrap_or(target).to_owned();
    let headers =
        lines.filter_map(|l| l.split_once(": ")).map(|(k, v)| (k.to_ascii_lowercase(), v.to_owned())).collect();
    let before = {
        let mut log = log.lock().expect("lock");
        log.push(path.clone());
        log.iter().filter(|p| **p == path).count() - 1
    };
    let reply = handler(&Asked { path, headers, before });
    let mut answer =
        format!("HTTP/1.1 {} X\r\nconnection: close\r\ncontent-length: {}\r\n", reply.status, reply.body.len());
    for (name, value) in &reply.headers {
        answer += &format!("{name}: {value}\r\n");
    }
    answer += "\r\n";
    let body = &reply.body[..reply.cut.unwrap_or(reply.body.len())];
    // The client may have gone.
    let _ = stream.write_all(&[answer.as_bytes(), body].concat()).await;
    let _ = stream.shutdown().await;
}
