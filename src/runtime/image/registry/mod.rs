//! Talking to registries (OCI distribution-spec): finding an image, downloading what is missing of it.
//!
//! Here are the options, the clients that are kept, and the limits on what runs at once.

mod client;
mod download;
mod progress;
mod pull;
mod resolve;
mod retry;

pub use progress::{PullProgress, PullState};
pub use resolve::Resolved;
pub use retry::RetryPolicy;

use super::auth::RegistryAuth;
use super::error::{ImageError, Result};
use super::reference::{DEFAULT_REGISTRY, Reference};
use super::store::StoreOptions;
use client::RegistryClient;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

/// Layers downloaded at once by this node; more gain little and take bandwidth from containers.
const DOWNLOADS_MAX: usize = 4;
/// Layers unpacked at once by this node; each keeps one processor busy.
const UNPACKS_MAX: usize = 2;
/// Clients kept with their connections and tokens.
const CLIENTS_MAX: usize = 32;
/// Where docker.io's API is.
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";

/// A registry's API.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Endpoint {
    /// With port if not the default.
    pub host: String,
    pub plain_http: bool,
}

type ClientKey = (String, [u8; 32]);

/// All registries this node talks to.
pub(crate) struct Registries {
    options: StoreOptions,
    /// Credentials are given to one client each: a client sends them to its registry only.
    clients: Mutex<HashMap<ClientKey, Arc<RegistryClient>>>,
    downloads: Semaphore,
    unpacks: Semaphore,
    pulls: pull::Pulls,
    locks: download::KeyLocks,
}

impl std::fmt::Debug for Registries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registries").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Registries {
    pub(crate) fn new(options: StoreOptions) -> Self {
        Self {
            options,
            clients: Mutex::default(),
            downloads: Semaphore::new(DOWNLOADS_MAX),
            unpacks: Semaphore::new(UNPACKS_MAX),
            pulls: pull::Pulls::default(),
            locks: download::KeyLocks::default(),
        }
    }

    fn policy(&self) -> &RetryPolicy {
        &self.options.retry
    }

    /// Where to ask for an image, in order.
    fn endpoints(&self, reference: &Reference) -> Vec<Endpoint> {
        let endpoint = |host: &str| Endpoint { host: host.to_owned(), plain_http: self.is_plain_http(host) };
        if reference.registry() != DEFAULT_REGISTRY {
            return vec![endpoint(reference.registry())];
        }
        let mirrors = self.options.mirrors.iter().map(|m| endpoint(m));
        mirrors.chain([endpoint(DOCKER_HUB_HOST)]).collect()
    }

    fn is_plain_http(&self, host: &str) -> bool {
        is_loopback(host) || self.options.insecure_registries.iter().any(|listed| listed == host)
    }

    /// The kept client for these credentials, or a new one.
    fn client(&self, endpoint: &Endpoint, auth: Option<&RegistryAuth>) -> Result<Arc<RegistryClient>> {
        let key = (endpoint.host.clone(), RegistryAuth::fingerprint(auth));
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let mut authorities = Vec::new();
        for path in &self.options.ca_files {
            authorities.push(
                std::fs::read(path).map_err(|e| ImageError::io("cannot read the certificate authority", path, e))?,
            );
        }
        let client = Arc::new(RegistryClient::new(endpoint.clone(), auth.cloned(), authorities)?);
        if clients.len() >= CLIENTS_MAX {
            clients.clear();
        }
        clients.insert(key, client.clone());
        Ok(client)
    }
}

/// `localhost` or an address of 127.0.0.0/8, as Docker has it; ::1 too.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod endpoint_tests {
    use super::*;

    #[test]
    fn only_loopback_and_listed_registries_are_spoken_to_in_plain_http() {
        let options = StoreOptions { insecure_registries: vec!["reg.lan:5000".into()], ..StoreOptions::default() };
        let registries = Registries::new(options);
        for host in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000", "reg.lan:5000"] {
            assert!(registries.is_plain_http(host), "{host}");
        }
        for host in ["reg.lan", "128.0.0.1", "localhost.example", "docker.io", "[2001:db8::1]:5000"] {
            assert!(!registries.is_plain_http(host), "{host}");
        }
    }

    #[test]
    fn mirrors_come_before_docker_io_and_only_for_its_images() {
        let options = StoreOptions { mirrors: vec!["mirror.lan".into()], ..StoreOptions::default() };
        let registries = Registries::new(options);
        let hosts = |text: &str| -> Vec<String> {
            let reference = Reference::parse(text).expect(text);
            registries.endpoints(&reference).into_iter().map(|e| e.host).collect()
        };
        assert_eq!(hosts("web"), ["mirror.lan", DOCKER_HUB_HOST]);
        assert_eq!(hosts("other.lan/web"), ["other.lan"]);
    }
}
