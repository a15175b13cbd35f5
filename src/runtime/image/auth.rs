//! Credentials for a registry.

use super::error::{ImageError, Result};
use base64::Engine as _;
use serde::Deserialize;
use sha2::Digest as _;
use swarm_core::Sensitive;

/// How to log in. `Debug` hides the secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryAuth {
    /// User name and password; sent as basic authentication, or exchanged for a token when the registry says so.
    Basic { username: String, password: Sensitive<String> },
    /// A token the registry itself accepts (`registrytoken`).
    Bearer(Sensitive<String>),
}

/// The API's `AuthConfig` (Docker Engine API, "Authentication").
#[derive(Default, Deserialize)]
#[serde(default)]
struct AuthConfig {
    username: String,
    password: String,
    auth: String,
    identitytoken: String,
    registrytoken: String,
}

impl RegistryAuth {
    /// Basic credentials.
    pub fn basic(username: impl Into<String>, password: impl Into<String>) -> Self {
        RegistryAuth::Basic { username: username.into(), password: Sensitive::new(password.into()) }
    }

    /// Reads the value of an `X-Registry-Auth` header or a service's stored pull credentials: base64
    /// (either alphabet, padded or not) of the JSON `AuthConfig`. `None` when it holds no credentials.
    pub fn from_auth_config(encoded: &str) -> Result<Option<Self>> {
        let bad =
            |reason: &str| ImageError::BadManifest { what: "the registry credentials".into(), reason: reason.into() };
        let plain = encoded.trim().trim_end_matches('=').replace('-', "+").replace('_', "/");
        let json =
            base64::engine::general_purpose::STANDARD_NO_PAD.decode(plain).map_err(|_| bad("they are not base64"))?;
        if json.is_empty() {
            return Ok(None);
        }
        let not_object = |_| bad("they are not an AuthConfig object");
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&json).map_err(not_object)?;
        let config: AuthConfig = serde_json::from_value(object.into()).map_err(not_object)?;
        if !config.registrytoken.is_empty() {
            return Ok(Some(RegistryAuth::Bearer(Sensitive::new(config.registrytoken))));
        }
        if !config.identitytoken.is_empty() {
            return Err(ImageError::Unsupported { what: "logging in with an identity token".into() });
        }
        if !config.username.is_empty() {
            return Ok(Some(RegistryAuth::basic(config.username, config.password)));
        }
        if !config.auth.is_empty() {
            let pair = base64::engine::general_purpose::STANDARD.decode(config.auth).ok();
            let pair = pair.and_then(|bytes| String::from_utf8(bytes).ok());
            let pair = pair.as_deref().and_then(|text| text.split_once(':'));
            let (username, password) = pair.ok_or_else(|| bad("auth is not base64 of user:password"))?;
            return Ok(Some(RegistryAuth::basic(username, password)));
        }
        Ok(None)
    }

    /// Tells credentials apart without keeping them.
    pub(crate) fn fingerprint(auth: Option<&Self>) -> [u8; 32] {
        let mut hasher = sha2::Sha256::new();
        let mut add = |text: &str| {
            hasher.update((text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        match auth {
            None => add("anonymous"),
            Some(RegistryAuth::Basic { username, password }) => {
                add("basic");
                add(username);
                add(password.expose());
            }
            Some(RegistryAuth::Bearer(token)) => {
                add("bearer");
                add(token.expose());
            }
        }
        hasher.finalize().into()
    }

    pub(crate) fn to_oci(auth: Option<&Self>) -> oci_client::secrets::RegistryAuth {
        match auth {
            None => oci_client::secrets::RegistryAuth::Anonymous,
            Some(RegistryAuth::Basic { username, password }) => {
                oci_client::secrets::RegistryAuth::Basic(username.clone(), password.expose().clone())
            }
            Some(RegistryAuth::Bearer(token)) => oci_client::secrets::RegistryAuth::Bearer(token.expose().clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(json: &str) -> String {
        base64::engine::general_purpose::URL_SAFE.encode(json)
    }

    #[test]
    fn credentials_come_from_the_header_of_the_api_and_are_never_printed() {
        let auth = RegistryAuth::from_auth_config(&encode(r#"{"username":"u","password":"p?~>ÿ"}"#)).expect("parses");
        assert_eq!(auth, Some(RegistryAuth::basic("u", "p?~>ÿ")));
        assert!(!format!("{auth:?}").contains("p?~>"));
        assert_eq!(RegistryAuth::from_auth_config(&encode("{}")).expect("parses"), None);
        assert_eq!(RegistryAuth::from_auth_config("").expect("parses"), None);
        let token = RegistryAuth::from_auth_config(&encode(r#"{"registrytoken":"t"}"#)).expect("parses");
        assert_eq!(token, Some(RegistryAuth::Bearer(Sensitive::new("t".into()))));
        let pair = format!(r#"{{"auth":"{}"}}"#, base64::engine::general_purpose::STANDARD.encode("u:p:q"));
        assert_eq!(
            RegistryAuth::from_auth_config(&encode(&pair)).expect("parses"),
            Some(RegistryAuth::basic("u", "p:q"))
        );
    }

    #[test]
    fn credentials_we_cannot_use_are_an_error_not_an_anonymous_pull() {
        assert!(RegistryAuth::from_auth_config(&encode(r#"{"identitytoken":"t"}"#)).is_err());
        assert!(RegistryAuth::from_auth_config("!!!").is_err());
        assert!(RegistryAuth::from_auth_config(&encode("[]")).is_err());
    }
}
