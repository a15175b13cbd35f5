//! Credentials for registries, from docker's configuration file.

use crate::config_file;
use crate::error::{CliError, Result};
use crate::json::text;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Value, json};

/// The key of the default registry in docker's file.
const DEFAULT_KEY: &str = "https://index.docker.io/v1/";
const DEFAULT_REGISTRY: &str = "docker.io";

/// The header `X-Registry-Auth` for an image; none when no credentials are kept for its registry.
///
/// # Errors
/// When the file cannot be read as docker's, or keeps them with a helper program.
pub fn auth_header(image: &str) -> Result<Vec<(&'static str, String)>> {
    let Some((path, config)) = config_file::read()? else { return Ok(Vec::new()) };
    let registry = registry(image);
    let Some(auth) = auth(&config, registry)
        .map_err(|why| CliError::usage(format!("{}: credentials for {registry}: {why}", path.display())))?
    else {
        return Ok(Vec::new());
    };
    Ok(vec![("x-registry-auth", URL_SAFE.encode(auth.to_string()))])
}

/// The registry of an image: what is before the first slash when it looks like a host.
fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        Some(_) | None => DEFAULT_REGISTRY,
    }
}

fn auth(config: &Value, registry: &str) -> std::result::Result<Option<Value>, String> {
    let default = registry == DEFAULT_REGISTRY;
    let keys = [registry.to_owned(), format!("https://{registry}"), format!("https://{registry}/v1/")];
    let keys = keys.iter().map(String::as_str).chain(default.then_some(DEFAULT_KEY));
    let kept = keys.clone().find_map(|key| config["auths"].get(key));
    let helper = keys.clone().find_map(|key| config["credHelpers"].get(key)).or(config.get("credsStore"));
    let entry = match (kept, helper) {
        (Some(entry), _) if !text(entry, "/auth").is_empty() || !text(entry, "/identitytoken").is_empty() => entry,
        (_, Some(helper)) => return Err(format!("kept by the helper {helper}, which is not run; log in without it")),
        (Some(_) | None, None) => return Ok(None),
    };
    let server = if default { DEFAULT_KEY } else { registry };
    if !text(entry, "/identitytoken").is_empty() {
        return Ok(Some(json!({ "identitytoken": text(entry, "/identitytoken"), "serveraddress": server })));
    }
    let decoded = STANDARD.decode(text(entry, "/auth")).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let decoded = decoded.ok_or("not in base64")?;
    let (username, password) = decoded.split_once(':').ok_or("not USER:PASSWORD")?;
    let password = password.trim_end_matches('\0');
    Ok(Some(json!({ "username": username, "password": password, "serveraddress": server })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_is_the_host_in_front() {
        assert_eq!(registry("redis:7"), "docker.io");
        assert_eq!(registry("library/redis"), "docker.io");
        assert_eq!(registry("localhost/x"), "localhost");
        assert_eq!(registry("host:5000/x/y:1"), "host:5000");
    }

    #[test]
    fn credentials_are_found_by_registry() {
        let config = json!({"auths": {"host:5000": {"auth": STANDARD.encode("me:secret")}}});
        let found = auth(&config, "host:5000").ok().flatten().unwrap_or_default();
        assert_eq!(found, json!({"username": "me", "password": "secret", "serveraddress": "host:5000"}));
        assert_eq!(auth(&config, "docker.io"), Ok(None));
        let helped = json!({"auths": {"host:5000": {}}, "credsStore": "pass"});
        assert!(auth(&helped, "host:5000").is_err());
    }
}
