//! One registry seen with one set of credentials.
//!
//! The login dance (challenge, token service) is oci-client's; requests are ours, as a manifest must be
//! bounded while it is read, and a blob must be continued where it stopped.

use super::Endpoint;
use super::retry::Fault;
use crate::image::auth::RegistryAuth;
use crate::image::error::{ImageError, Result};
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::{Reference as OciReference, RegistryOperation};
use reqwest::{Response, StatusCode, header};
use std::collections::HashMap;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use swarm_core::Sensitive;
use tokio::sync::Mutex;

/// Time to connect, with the TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time without a byte.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Redirects followed; registries use one, to where the blobs are.
const REDIRECTS_MAX: usize = 5;
/// Bytes read of an error's body.
const ERROR_BODY_BYTES_MAX: usize = 8 << 10;
/// Repositories whose tokens a client keeps.
const TOKENS_MAX: usize = 1000;
const USER_AGENT: &str = concat!("swarm/", env!("CARGO_PKG_VERSION"));

/// What goes into the Authorization header.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Login {
    Bearer(Sensitive<String>),
    Basic { username: String, password: Sensitive<String> },
}

pub(super) struct RegistryClient {
    pub endpoint: Endpoint,
    auth: Option<RegistryAuth>,
    authorities: Vec<Vec<u8>>,
    /// Starts as the endpoint says, and ends when a server turns out to speak TLS.
    plain_http: AtomicBool,
    http: reqwest::Client,
    /// By repository; learned when the registry first refuses.
    logins: Mutex<HashMap<String, Login>>,
}

impl RegistryClient {
    pub(super) fn new(endpoint: Endpoint, auth: Option<RegistryAuth>, authorities: Vec<Vec<u8>>) -> Result<Self> {
        install_provider();
        let authorities = roots(&endpoint, authorities)?;
        let http = http_client(&endpoint, &authorities)?;
        let plain_http = AtomicBool::new(endpoint.plain_http);
        Ok(Self { endpoint, auth, authorities, plain_http, http, logins: Mutex::default() })
    }

    /// GET below `/v2/<repository>/`, logging in when asked to. The answer is 200, or 206 if `from` was given.
    pub(super) async fn get(
        &self,
        repository: &str,
        what: &str,
        accept: &str,
        from: Option<u64>,
    ) -> std::result::Result<Response, Fault> {
        let mut login = self.logins.lock().await.get(repository).cloned();
        let mut retried = false;
        loop {
            let response = self.send(repository, what, accept, from, login.as_ref()).await?;
            if response.status() == StatusCode::BAD_REQUEST && self.plain_http.load(Ordering::Relaxed) {
                let body = error_body(response).await;
                if !body.contains("HTTPS") {
                    return Err(self.protocol(format!("{} for {what}: {body}", StatusCode::BAD_REQUEST)).into());
                }
                // What servers say who expect TLS. From here on it is, with all its checks.
                self.plain_http.store(false, Ordering::Relaxed);
                continue;
            }
            if response.status() != StatusCode::UNAUTHORIZED || retried {
                return self.check(repository, what, response).await;
            }
            retried = true;
            login = Some(self.log_in(repository, login.as_ref()).await?);
        }
    }

    async fn send(
        &self,
        repository: &str,
        what: &str,
        accept: &str,
        from: Option<u64>,
        login: Option<&Login>,
    ) -> std::result::Result<Response, Fault> {
        let scheme = if self.plain_http.load(Ordering::Relaxed) { "http" } else { "https" };
        let url = format!("{scheme}://{}/v2/{repository}/{what}", self.endpoint.host);
        let mut request = self.http.get(url).header(header::ACCEPT, accept);
        if let Some(from) = from {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        request = match login {
            Some(Login::Bearer(token)) => request.bearer_auth(token.expose()),
            Some(Login::Basic { username, password }) => request.basic_auth(username, Some(password.expose())),
            None => request,
        };
        request.send().await.map_err(|e| self.fault(&e))
    }

    /// Exchanges the credentials for what this registry takes. `refused` is what it just did not take.
    async fn log_in(&self, repository: &str, refused: Option<&Login>) -> std::result::Result<Login, Fault> {
        let mut logins = self.logins.lock().await;
        if let Some(known) = logins.get(repository).filter(|known| Some(*known) != refused) {
            return Ok(known.clone()); // another request was faster
        }
        let image = OciReference::with_tag(self.endpoint.host.clone(), repository.to_owned(), "latest".to_owned());
        let oci = self.oci_client()?;
        let answer = oci.auth(&image, &RegistryAuth::to_oci(self.auth.as_ref()), RegistryOperation::Pull).await;
        let login = match (answer, &self.auth) {
            (Ok(Some(token)), _) => Login::Bearer(Sensitive::new(token)),
            (Ok(None), Some(RegistryAuth::Basic { username, password })) => {
                Login::Basic { username: username.clone(), password: password.clone() }
            }
            (Ok(None), Some(RegistryAuth::Bearer(_)) | None) => return Err(self.unauthorized(repository).into()),
            (Err(oci_client::errors::OciDistributionError::RequestError(e)), _) => return Err(self.fault(&e)),
            (Err(oci_client::errors::OciDistributionError::AuthenticationFailure(_)), _) => {
                return Err(self.unauthorized(repository).into());
            }
            (Err(e), _) => return Err(self.protocol(format!("logging in failed: {e}")).into()),
        };
        if logins.len() >= TOKENS_MAX {
            logins.clear();
        }
        logins.insert(repository.to_owned(), login.clone());
        Ok(login)
    }

    /// Used for one login: it keeps nothing we need.
    fn oci_client(&self) -> Result<oci_client::Client> {
        // It makes a client without our authorities first, and panics on a host that has none of its own.
        if rustls_native_certs::load_native_certs().certs.is_empty() {
            return Err(no_authorities(&self.endpoint));
        }
        let certificate = |pem: &Vec<u8>| Certificate { encoding: CertificateEncoding::Pem, data: pem.clone() };
        let plain = self.plain_http.load(Ordering::Relaxed);
        let mut config = ClientConfig {
            protocol: if plain { ClientProtocol::Http } else { ClientProtocol::Https },
            extra_root_certificates: self.authorities.iter().map(certificate).collect(),
            read_timeout: Some(READ_TIMEOUT),
            connect_timeout: Some(CONNECT_TIMEOUT),
            user_agent: USER_AGENT,
            ..ClientConfig::default()
        };
        if super::is_loopback(&self.endpoint.host) {
            // Naming a proxy and exempting the hosts is this builder's way of saying none.
            config.http_proxy = Some("http://127.0.0.1:9".to_owned());
            config.no_proxy = Some("localhost,127.0.0.0/8,::1".to_owned());
        }
        oci_client::Client::try_from(config).map_err(|e| ImageError::Unreachable {
            registry: self.endpoint.host.clone(),
            reason: match e {
                oci_client::errors::OciDistributionError::RequestError(e) => deepest(&e),
                other => other.to_string(),
            },
        })
    }

    /// Sorts the answers.
    async fn check(&self, repository: &str, what: &str, response: Response) -> std::result::Result<Response, Fault> {
        let status = response.status();
        let registry = self.endpoint.host.clone();
        match status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                self.logins.lock().await.remove(repository);
                Err(self.unauthorized(repository).into())
            }
            StatusCode::NOT_FOUND => {
                Err(Fault::Final(ImageError::NotInRegistry { registry, reference: format!("{repository} {what}") }))
            }
            StatusCode::TOO_MANY_REQUESTS => {
                let after = response.headers().get(header::RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
                Err(Fault::Passing {
                    error: ImageError::RateLimited { registry },
                    wait: after.map(Duration::from_secs),
                })
            }
            StatusCode::REQUEST_TIMEOUT => Err(passing(self.protocol(status.to_string()))),
            status if status.is_server_error() => Err(passing(self.protocol(status.to_string()))),
            status => {
                let body = error_body(response).await;
                Err(self.protocol(format!("{status} for {what}: {body}")).into())
            }
        }
    }

    fn unauthorized(&self, repository: &str) -> ImageError {
        let hint = match &self.auth {
            None => "log in first, or check the name",
            Some(_) => "wrong credentials, or no access to this repository",
        };
        ImageError::Unauthorized { registry: self.endpoint.host.clone(), reference: repository.to_owned(), hint }
    }

    pub(super) fn protocol(&self, reason: String) -> ImageError {
        ImageError::Protocol { registry: self.endpoint.host.clone(), reason }
    }

    /// An error below HTTP: passing, unless it is about certificates or addresses that will not change.
    pub(super) fn fault(&self, error: &reqwest::Error) -> Fault {
        let registry = self.endpoint.host.clone();
        if let Some(tls) = tls_error(error) {
            let hint = match tls {
                rustls::Error::InvalidCertificate(_) => "add its certificate authority, or list it as insecure",
                rustls::Error::InvalidMessage(_) => "if it speaks plain http, list it as insecure",
                _ => "the TLS handshake failed",
            };
            return Fault::Final(ImageError::Unreachable { registry, reason: format!("{tls} ({hint})") });
        }
        let error_text = deepest(error);
        if error.is_redirect() || error.is_builder() {
            return Fault::Final(self.protocol(error_text));
        }
        let reason = if error.is_timeout() { "no answer in time".to_owned() } else { error_text };
        passing(ImageError::Unreachable { registry, reason })
    }
}

fn passing(error: ImageError) -> Fault {
    Fault::Passing { error, wait: None }
}

/// The first lines of an error, without control characters.
async fn error_body(mut response: Response) -> String {
    let mut body = Vec::new();
    while body.len() < ERROR_BODY_BYTES_MAX {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) | Err(_) => break,
        }
    }
    String::from_utf8_lossy(&body).chars().filter(|c| !c.is_control()).take(300).collect()
}

fn deepest(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// Follows what an I/O error wraps, which `source` skips.
fn tls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(this) = cause {
        if let Some(found) = this.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        cause = match this.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => this.source(),
        };
    }
    None
}

/// TLS for everybody in this process is ring's, unless somebody chose before.
fn install_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
}

/// Extra authorities, checked. A client for plain http on a host without any authority gets one that
/// nobody holds the key of: it can be built, and trusts no server if it is redirected to https.
fn roots(endpoint: &Endpoint, mut authorities: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>> {
    let problem = |reason: String| ImageError::Unreachable { registry: endpoint.host.clone(), reason };
    if !authorities.is_empty() || !rustls_native_certs::load_native_certs().certs.is_empty() {
        return Ok(authorities);
    }
    if !endpoint.plain_http {
        return Err(no_authorities(endpoint));
    }
    let nobody =
        rcgen::generate_simple_self_signed(vec!["nobody.invalid".to_owned()]).map_err(|e| problem(e.to_string()))?;
    authorities.push(nobody.cert.pem().into_bytes());
    Ok(authorities)
}

fn no_authorities(endpoint: &Endpoint) -> ImageError {
    let reason = "this host has no certificate authorities, install ca-certificates".to_owned();
    ImageError::Unreachable { registry: endpoint.host.clone(), reason }
}

fn http_client(endpoint: &Endpoint, authorities: &[Vec<u8>]) -> Result<reqwest::Client> {
    let problem = |e: reqwest::Error| ImageError::Unreachable { registry: endpoint.host.clone(), reason: deepest(&e) };
    let mut certificates = Vec::new();
    for pem in authorities {
        certificates.extend(reqwest::Certificate::from_pem_bundle(pem).map_err(problem)?);
    }
    let redirects = reqwest::redirect::Policy::custom(|attempt| {
        let downgrade =
            attempt.url().scheme() == "http" && attempt.previous().iter().any(|url| url.scheme() == "https");
        if downgrade {
            attempt.error("the registry redirects from https to http")
        } else if attempt.previous().len() > REDIRECTS_MAX {
            attempt.error("the registry redirects too often")
        } else {
            attempt.follow()
        }
    });
    let mut builder = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .redirect(redirects)
        .tls_certs_merge(certificates);
    if super::is_loopback(&endpoint.host) {
        builder = builder.no_proxy();
    }
    builder.build().map_err(problem)
}
