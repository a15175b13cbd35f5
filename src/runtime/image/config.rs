//! The configuration of an image (OCI image-spec, config.md; Docker's additions such as `Healthcheck`).

use super::digest::Digest;
use super::error::{ImageError, Result};
use super::platform::Platform;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use swarm_core::model::HealthConfig;

/// Bytes of a configuration we read; real ones have a few KiB.
pub(crate) const CONFIG_BYTES_MAX: u64 = 8 << 20;

/// What a container gets from its image unless the service says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    pub os: String,
    pub architecture: String,
    pub variant: String,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Empty is `/`.
    pub working_dir: String,
    /// `user`, `uid`, `user:group` or `uid:gid`; empty is root.
    pub user: String,
    /// `80/tcp`.
    pub exposed_ports: Vec<String>,
    /// Paths that get an anonymous volume.
    pub volumes: Vec<String>,
    /// `SIGQUIT` or a number; `None` is SIGTERM.
    pub stop_signal: Option<String>,
    pub healthcheck: Option<HealthConfig>,
    pub labels: BTreeMap<String, String>,
    /// What shell-form commands of the image ran in.
    pub shell: Vec<String>,
    pub author: String,
    pub comment: String,
}

impl ImageConfig {
    /// What the image says it runs on.
    pub fn platform(&self) -> Platform {
        Platform { os: self.os.clone(), architecture: self.architecture.clone(), variant: self.variant.clone() }
            .normalised()
    }
}

/// The file as it is stored. Only what is needed is read; its bytes are kept as they came, they are the image's id.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ConfigFile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    #[serde(default)]
    pub architecture: String,
    #[serde(default)]
    pub os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    #[serde(default)]
    pub config: Option<ConfigSection>,
    pub rootfs: RootFs,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<Vec<History>>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct RootFs {
    #[serde(rename = "type", default)]
    pub kind: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub diff_ids: Vec<Digest>,
}

/// One step of the build (config.md, `history`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// The step changed no file, so it has no layer.
    #[serde(skip_serializing_if = "is_false")]
    pub empty_layer: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ConfigSection {
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, serde_json::Value>,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    #[serde(deserialize_with = "words", skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    #[serde(deserialize_with = "words", skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, serde_json::Value>,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthSection>,
    #[serde(deserialize_with = "words", skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
}

/// Durations are nanoseconds; 0 means not set.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct HealthSection {
    #[serde(deserialize_with = "words", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: u64,
    #[serde(skip_serializing_if = "is_zero32")]
    pub retries: u32,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

fn is_zero32(n: &u32) -> bool {
    *n == 0
}

fn is_false(b: &bool) -> bool {
    !*b
}

/// Go writes `null` for an empty map or list.
fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(d: D) -> std::result::Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

/// A list, or in old images one string.
fn words<'de, D: Deserializer<'de>>(d: D) -> std::result::Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        Many(Vec<String>),
        One(String),
    }
    Ok(match Option::<Words>::deserialize(d)? {
        None => Vec::new(),
        Some(Words::Many(words)) => words,
        Some(Words::One(word)) => vec![word],
    })
}

impl ConfigFile {
    /// Parses and checks the bytes of a configuration; `what` names it in errors.
    pub(crate) fn parse(bytes: &[u8], what: &str) -> Result<Self> {
        let file: ConfigFile = serde_json::from_slice(bytes).map_err(|e| ImageError::BadManifest {
            what: format!("the configuration of {what}"),
            reason: format!("{e}; is it an image, not another kind of artifact?"),
        })?;
        if file.rootfs.diff_ids.len() > super::layer::LAYERS_MAX {
            return Err(ImageError::TooBig {
                what: format!("the number of layers of {what}"),
                limit: super::layer::LAYERS_MAX.to_string(),
            });
        }
        Ok(file)
    }

    pub(crate) fn to_public(&self) -> ImageConfig {
        let section = self.config.clone().unwrap_or_default();
        ImageConfig {
            os: if self.os.is_empty() { "linux".into() } else { self.os.clone() },
            architecture: self.architecture.clone(),
            variant: self.variant.clone().unwrap_or_default(),
            entrypoint: section.entrypoint,
            cmd: section.cmd,
            env: section.env,
            working_dir: section.working_dir,
            user: section.user,
            exposed_ports: section.exposed_ports.into_keys().collect(),
            volumes: section.volumes.into_keys().collect(),
            stop_signal: Some(section.stop_signal).filter(|s| !s.is_empty()),
            healthcheck: section.healthcheck.map(health),
            labels: section.labels,
            shell: section.shell,
            author: self.author.clone().unwrap_or_default(),
            comment: self.comment.clone().unwrap_or_default(),
        }
    }
}

fn health(section: HealthSection) -> HealthConfig {
    let set = |ns: u64| (ns != 0).then(|| Duration::from_nanos(ns));
    HealthConfig {
        test: section.test,
        interval: set(section.interval),
        timeout: set(section.timeout),
        retries: (section.retries != 0).then_some(section.retries),
        start_period: set(section.start_period),
        start_interval: set(section.start_interval),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_as_docker_writes_it_is_read() {
        let json = br#"{"architecture":"amd64","os":"linux","created":"2024-01-02T03:04:05Z","config":{
            "User":"www:www","ExposedPorts":{"80/tcp":{},"53/udp":{}},"Env":["A=1","B="],"Entrypoint":["/e"],"Cmd":null,
            "Volumes":{"/data":{}},"WorkingDir":"/w","Labels":null,"StopSignal":"SIGQUIT",
            "Healthcheck":{"Test":["CMD","/ok"],"Interval":5000000000,"Retries":3},"OnBuild":null,"ArgsEscaped":true},
            "rootfs":{"type":"layers","diff_ids":null},"history":[{"created_by":"x","empty_layer":true}]}"#;
        let config = ConfigFile::parse(json, "x").expect("parses").to_public();
        assert_eq!(config.user, "www:www");
        assert_eq!(config.exposed_ports, ["53/udp", "80/tcp"]);
        assert_eq!(config.env, ["A=1", "B="]);
        assert_eq!((config.entrypoint, config.cmd), (vec!["/e".to_owned()], vec![]));
        assert_eq!(config.volumes, ["/data"]);
        assert_eq!(config.stop_signal.as_deref(), Some("SIGQUIT"));
        let health = config.healthcheck.expect("has one");
        assert_eq!(health.interval, Some(Duration::from_secs(5)));
        assert_eq!((health.retries, health.timeout), (Some(3), None));
    }

    #[test]
    fn an_artifact_that_is_not_an_image_is_refused() {
        assert!(ConfigFile::parse(b"{}", "x").is_err());
        assert!(ConfigFile::parse(b"not json", "x").is_err());
    }
}
