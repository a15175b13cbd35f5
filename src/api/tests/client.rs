//! A server with in-memory ports, and requests to it.

use super::fake::{FakeCluster, FakeLocal};
use super::schema;
use crate::ports::Io;
use crate::{Ports, serve};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A running server; stops and takes its socket away when dropped.
pub struct World {
    pub cluster: Arc<FakeCluster>,
    pub local: Arc<FakeLocal>,
    pub socket: PathBuf,
    /// Where managers bring connections to.
    pub carried: mpsc::Sender<Io>,
    stop: CancellationToken,
    served: Option<tokio::task::JoinHandle<std::io::Result<()>>>,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {:?}", self.body))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }
}

impl World {
    /// A node outside any swarm.
    pub fn outside() -> Self {
        let cluster = Arc::new(FakeCluster::default());
        let local = Arc::new(FakeLocal::default());
        let unique = super::fake::draw();
        let socket = std::env::temp_dir().join(format!("swarm-api-{}-{unique:032x}.sock", std::process::id()));
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let ports = Ports { cluster: cluster.clone(), local: local.clone() };
        let stop = CancellationToken::new();
        let (carried, connections) = mpsc::channel(8);
        let connections = futures_util::stream::unfold(connections, |mut connections| async move {
            connections.recv().await.map(|connection| (connection, connections))
        });
        let served = Some(tokio::spawn(serve(listener, connections.boxed(), ports, stop.clone())));
        Self { cluster, local, socket, carried, stop, served }
    }

    /// The only manager of a swarm.
    pub fn manager() -> Self {
        let world = Self::outside();
        world.cluster.found();
        world
    }

    /// The answer, which is as its version of the API has it.
    pub async fn send(&self, method: Method, path: &str, body: Vec<u8>) -> Answer {
        let answer = self.ask(method.clone(), path, body).await;
        schema::check(&method, path, &answer);
        answer
    }

    /// As [`World::send`], unchecked.
    pub async fn ask(&self, method: Method, path: &str, body: Vec<u8>) -> Answer {
        let (parts, body) = self.open(method, path, body).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub async fn open(&self, method: Method, path: &str, body: Vec<u8>) -> axum::http::Response<hyper::body::Incoming> {
        let stream = tokio::net::UnixStream::connect(&self.socket).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("Host", "swarm")
            .header("Content-Type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        sender.send_request(request).await.unwrap()
    }

    /// Stops the server; returns when it has ended.
    pub async fn stop(&mut self) {
        self.stop.cancel();
        self.served.take().unwrap().await.unwrap().unwrap();
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, Vec::new()).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        self.send(Method::POST, path, body).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, Vec::new()).await
    }

    /// Creates what must be accepted; its id.
    pub async fn create(&self, path: &str, body: Value) -> String {
        let answer = self.post(path, body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
        let json = answer.json();
        json["ID"].as_str().or(json["Id"].as_str()).unwrap().to_owned()
    }

    /// `Version.Index` of an object.
    pub async fn version(&self, path: &str) -> u64 {
        self.get(path).await.json()["Version"]["Index"].as_u64().unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
        let _ = std::fs::remove_file(&self.socket);
    }
}
