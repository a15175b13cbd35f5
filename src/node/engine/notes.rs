//! What the engine remembers of a container beside its specification: kept with it, for the time after a restart of
//! the daemon and for the API. Not labels, which are the user's.

use super::{EngineError, line};
use crate::agent::probing;
use overlay::AttachSpec;
use runtime::image::Image;
use runtime::spec::ContainerSpec;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use swarm_core::NetworkId;
use swarm_core::model::{DnsConfig, HealthConfig, MountSource, PortConfig, Task, clean_path};

/// Name of the annotation.
const ANNOTATION: &str = "swarm.engine";

/// The notes of one container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Notes {
    /// As the task names it.
    pub image: String,
    /// `sha256:...` of the image's configuration.
    pub image_id: String,
    /// The image's health check.
    pub health: Option<HealthConfig>,
    /// What the image's commands in one line run in; empty is `/bin/sh -c`.
    pub shell: Vec<String>,
    pub networks: Vec<NetworkNote>,
    /// Names of the volumes mounted, by path in the container.
    pub volumes: BTreeMap<PathBuf, String>,
    /// Ports of this node that lead to the container.
    pub ports: Vec<PortConfig>,
    /// How many of the program's words are the entrypoint; the rest is the command.
    pub entrypoint_words: usize,
    /// `80/tcp`, of the image.
    pub exposed: Vec<String>,
    /// Paths that the image declares a volume for.
    pub declared_volumes: Vec<String>,
    /// The health check that is made, of task and image together.
    pub checked: Option<HealthConfig>,
    /// Seconds to stop in; `None` is the default.
    pub stop_grace_s: Option<i64>,
    pub dns: DnsConfig,
    /// `name:address`, beside those of the network.
    pub extra_hosts: Vec<String>,
}

/// A container's place on a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkNote {
    pub id: NetworkId,
    pub name: String,
    pub addr: IpAddr,
    pub prefix_len: u8,
    pub gateway: IpAddr,
    /// Its further names there.
    #[serde(default)]
    pub aliases: Vec<String>,
}

impl Notes {
    /// Of a container that is being made.
    pub(super) fn new(task: &Task, image: &Image, attached: &AttachSpec) -> Self {
        let networks = attached.attachments.iter().filter_map(|attachment| {
            let network = attached.networks.get(&attachment.network)?;
            Some(NetworkNote {
                id: attachment.network,
                name: network.name.clone(),
                addr: attachment.addr,
                prefix_len: network.subnet.prefix_len(),
                gateway: network.gateway,
                aliases: attachment.aliases.clone(),
            })
        });
        let named = task.spec.container.mounts.iter().filter_map(|mount| match &mount.source {
            MountSource::Volume { name, .. } => {
                let path = clean_path(&mount.target);
                Some((PathBuf::from(&path), super::spec::volume_name(task, name, &path)))
            }
            MountSource::Bind { .. } | MountSource::Tmpfs { .. } => None,
        });
        let own = super::spec::image_volumes(&task.spec.container, &image.config.volumes).into_iter();
        let own = own.map(|path| (PathBuf::from(&path), super::spec::volume_name(task, "", &path)));
        Self {
            image: task.spec.container.image.clone(),
            image_id: image.id.as_str().to_owned(),
            health: image.config.healthcheck.clone(),
            shell: image.config.shell.clone(),
            networks: networks.collect(),
            volumes: own.chain(named).collect(),
            ports: attached.host_ports.clone(),
            entrypoint_words: super::spec::entrypoint(task, image).len(),
            exposed: image.config.exposed_ports.clone(),
            declared_volumes: image.config.volumes.clone(),
            checked: probing::merge(task.spec.container.health_check.as_ref(), image.config.healthcheck.clone()),
            stop_grace_s: task
                .spec
                .container
                .stop_grace_period
                .map(|time| i64::try_from(time.as_secs()).unwrap_or(i64::MAX)),
            dns: task.spec.container.dns.clone(),
            extra_hosts: task.spec.container.hosts.clone(),
        }
    }

    /// Those kept with a container; none for one that is not ours.
    pub fn of(spec: &ContainerSpec) -> Self {
        let text = spec.annotations.get(ANNOTATION);
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    pub(super) fn put(&self, spec: &mut ContainerSpec) -> Result<(), EngineError> {
        let text = serde_json::to_string(self).map_err(|error| line(&error))?;
        spec.annotations.insert(ANNOTATION.to_owned(), text);
        Ok(())
    }
}
