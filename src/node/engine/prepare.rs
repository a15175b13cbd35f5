//! Making a task ready, and removing what it had.

use super::pulling::{Pulling, telling_silence};
use super::{LocalEngine, Notes, blocking, container_id, container_line, contents, host_ports, line, spec};
use crate::agent::engine::{Contents, EngineError, Prepared, Progress};
use crate::agent::probing;
use overlay::{AttachSpec, Attached};
use runtime::image::{Image, PullProgress, PullState, Reference, RegistryAuth};
use runtime::spec::{Mount, MountKind, Network, Propagation};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use swarm_core::TaskId;
use swarm_core::model::{Task, clean_path};

impl LocalEngine {
    pub(super) async fn prepare_task(&self, task: &Task, given: &Contents) -> Result<Prepared, EngineError> {
        let id = container_id(task.id);
        // A crash may have left a part of it.
        self.clean_task(task.id).await;
        let task = &contents::fill(task, given)?;
        let name = &task.spec.container.image;
        let image = self.images.inspect(name).map_err(|error| EngineError(error.one_line()))?;
        let image_health = image.config.healthcheck.clone();
        let attach = attachment(task, given);
        let notes = Notes::new(task, &image, &attach);
        let attached = self.net.fabric()?.attach(task.id, attach).await.map_err(|error| line(&error))?;
        let mut spec = self.specify(&id, &image, task, given, attached).await?;
        notes.put(&mut spec)?;
        self.containers.create(&id, &spec).await.map_err(container_line)?;
        self.tell("create", &id, &[]);
        let health = probing::merge(task.spec.container.health_check.as_ref(), image_health);
        if let Some(kind) = health.as_ref().and_then(probing::unknown_kind) {
            tracing::warn!(task = %task.id, kind, "the image's health check is of an unknown kind, and is not run");
        }
        Ok(Prepared { container_id: id, health })
    }

    /// Has the image here: as it is, or else pulled.
    pub(super) async fn fetch_image(&self, task: &Task, progress: &Progress) -> Result<(), EngineError> {
        let name = task.spec.container.image.clone();
        if self.image_by_id(&name).is_some() {
            return Ok(());
        }
        let reference = Reference::parse(&name).map_err(|error| EngineError(error.one_line()))?;
        let auth = match &task.spec.container.pull_auth {
            Some(auth) => RegistryAuth::from_auth_config(auth.expose()).map_err(|e| EngineError(e.one_line()))?,
            None => None,
        };
        let (telling, pulling) = (progress.words.clone(), Arc::new(Mutex::new(Pulling::new(&name))));
        let steps = pulling.clone();
        let events = self.events.clone();
        let tell = move |step: PullProgress| {
            if matches!(step.state, PullState::Downloaded { .. }) {
                events.tell("image", "pull", &name, [("name".to_owned(), name.clone())].into());
            }
            // Held for this moment only; words that do not fit are dropped, the next ones say more.
            let words = pulling.lock().unwrap_or_else(PoisonError::into_inner).step(&step, Instant::now());
            if let Some(words) = words {
                let _ = telling.try_send(words);
            }
        };
        let ensured = self.images.ensure(&reference, None, auth.as_ref(), tell);
        let ensured = telling_silence(ensured, steps, reference.registry(), &progress.words);
        // Dropping a pull ends it; a registry that does not answer would hold it for minutes.
        match progress.given_up.run_until_cancelled(ensured).await {
            Some(image) => image.map(drop).map_err(|error| EngineError(error.one_line())),
            None => Err(EngineError(format!("the pull of {} was given up", task.spec.container.image))),
        }
    }

    /// No registry knows an id: the image is here or nowhere.
    fn image_by_id(&self, name: &str) -> Option<Image> {
        if is_image_id(name) { self.images.inspect(name).ok() } else { None }
    }

    /// Root file system, volumes, contents and files of the network, and the specification over them.
    async fn specify(
        &self,
        id: &str,
        image: &Image,
        task: &Task,
        given: &Contents,
        attached: Attached,
    ) -> Result<runtime::spec::ContainerSpec, EngineError> {
        let (engine, id, prepared) = (self.clone(), id.to_owned(), image.clone());
        let (container, hostname) = (task.spec.container.clone(), spec::hostname(task));
        let given = contents::files(task, given)?;
        let (hosts, resolv_conf) = (attached.hosts, attached.resolv_conf);
        let (rootfs, mut mounts) = blocking(move || {
            let rootfs = engine.images.prepare(&id, &prepared).map_err(|error| EngineError(error.one_line()))?;
            let files = engine.files(&id);
            contents::folder(&files).map_err(|error| line(&error))?;
            let failed = |error| EngineError(format!("there is no memory for secrets: {error}"));
            let memory = given.iter().any(|file| file.is_secret).then(|| engine.secrets.folder(&id));
            let memory = memory.transpose().map_err(failed)?;
            let mut mounts = contents::put(&given, &files, memory.as_deref())?;
            let own =
                container.mounts.iter().map(|mount| clean_path(&mount.target)).chain(contents::places(&container));
            let own: BTreeSet<String> = own.collect();
            for (name, text) in [("hosts", hosts), ("resolv.conf", resolv_conf), ("hostname", hostname + "\n")] {
                if !own.contains(&format!("/etc/{name}")) {
                    mounts.push(file(&files, name, &text)?);
                }
            }
            Ok((rootfs, mounts))
        })
        .await?;
        let (volumes, containers) = (&self.volumes, &self.containers);
        let place = spec::Place { task, volumes, containers, rootfs: &rootfs.path };
        mounts.extend(spec::mounts(&place, image).await?);
        let mut spec = spec::container(task, image, &rootfs.path)?;
        spec.network = Network::Path(attached.netns);
        spec.mounts = mounts;
        let stop_signal = match task.spec.container.stop_signal.as_str() {
            "" => image.config.stop_signal.clone().unwrap_or_default(),
            given if runtime::signals::signal_number(given).is_none() => {
                let use_one = "use a name such as SIGTERM, or a number from 1 to 64";
                return Err(EngineError(format!("unknown stop signal \"{given}\": {use_one}")));
            }
            given => given.to_owned(),
        };
        spec.stop_signal = stop_signal;
        Ok(spec)
    }

    pub(super) async fn release_network(&self, task: TaskId) {
        let detached = match self.net.fabric() {
            Ok(fabric) => fabric.detach(task).await.map_err(|error| line(&error)),
            Err(_) => Ok(()),
        };
        if let Err(error) = detached {
            tracing::warn!(%task, %error, "the network of a task was not removed");
        }
    }

    pub(super) async fn clean_task(&self, task: TaskId) {
        let id = container_id(task);
        let known = self.attributes(&id);
        if known.is_some() {
            if let Err(error) = self.containers.kill(&id).await {
                tracing::debug!(%task, error = %crate::error::chain(&error), "nothing to kill");
            }
            if let Err(error) = self.containers.delete(&id).await {
                tracing::warn!(%task, error = %crate::error::chain(&error), "a container was not removed");
            }
        }
        self.events.forget(task);
        self.release_network(task).await;
        // After the container, which would count as their user.
        let in_use = |path: &Path| self.containers.binding(path).map_or(true, |users| !users.is_empty());
        if let Err(error) = self.volumes.remove_owned(&task.to_string(), in_use).await {
            tracing::warn!(%task, error = %crate::error::chain(&error), "a volume of a task was not removed");
        }
        let (images, files, secrets, name) = (self.images.clone(), self.files(&id), self.secrets.clone(), id.clone());
        let removed = blocking(move || {
            let of_files = match std::fs::remove_dir_all(&files) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(line(&error)),
                Ok(()) | Err(_) => Ok(()),
            };
            let of_image = images.release(&name).map_err(|error| EngineError(error.one_line()));
            let of_secrets = secrets.remove(&name).map_err(|error| EngineError(format!("its secrets: {error}")));
            of_files.and(of_image).and(of_secrets)
        });
        if let Err(error) = removed.await {
            tracing::warn!(%task, %error, "files of a task were not removed");
        }
        if let Some(attributes) = known {
            self.events.tell("container", "destroy", &id, attributes);
        }
    }
}

impl LocalEngine {
    /// What all tasks had together.
    pub(super) async fn give_back(&self) {
        match self.containers.remove_parent_cgroup().await {
            Ok(true) => {}
            Ok(false) => tracing::warn!("something of this node still runs, and its control group stays"),
            Err(error) => {
                tracing::warn!(error = %crate::error::chain(&error), "the control group of this node was not removed");
            }
        }
        let secrets = self.secrets.clone();
        if let Err(error) = blocking(move || secrets.close().map_err(|error| line(&error))).await {
            tracing::warn!(%error, "the memory for secrets was not given back");
        }
    }
}

/// The id of an image in full, which no name can be.
fn is_image_id(name: &str) -> bool {
    let digits = name.strip_prefix("sha256:").unwrap_or(name);
    digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What the task needs of the network.
fn attachment(task: &Task, given: &Contents) -> AttachSpec {
    AttachSpec {
        attachments: task.attachments.clone(),
        networks: given.networks.clone(),
        hostname: spec::hostname(task),
        host_ports: host_ports(task),
        dns: task.spec.container.dns.clone(),
        extra_hosts: task.spec.container.hosts.clone(),
    }
}

fn file(dir: &Path, name: &str, text: &str) -> Result<Mount, EngineError> {
    let source = dir.join(name);
    std::fs::write(&source, text).map_err(|error| EngineError(format!("cannot write {name}: {error}")))?;
    let kind = MountKind::Bind { source, propagation: Propagation::Rprivate };
    Ok(Mount { target: Path::new("/etc").join(name), kind, read_only: false })
}
