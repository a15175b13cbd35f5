//! Secrets and configs as files for one task: filled in, owned and with the mode that was asked for, gone with the task.

use super::EngineError;
use crate::agent::engine::Contents;
use runtime::spec::{Mount, MountKind, Propagation};
use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use swarm_core::Sensitive;
use swarm_core::model::{ContainerSpec, ContentId, FileTarget, Task, clean_path};
use swarm_core::spec;
use swarm_core::template::Fault;
use swarm_core::template::task::{Filled, fill_container, fill_content, has_templates};

/// Where relative names of secrets go (as in Docker).
const SECRETS: &str = "/run/secrets";

/// A secret or config as it is to be in a container.
pub struct ContentFile {
    name: String,
    data: Sensitive<Vec<u8>>,
    file: FileTarget,
    place: String,
    /// To be on no disk.
    pub is_secret: bool,
}

/// The task with the templates of its container filled in: what is made here is made from it.
pub fn fill(task: &Task, given: &Contents) -> Result<Task, EngineError> {
    let mut task = task.clone();
    if has_templates(&task.spec.container) {
        let container = fill_container(&task, &given.node).map_err(EngineError)?;
        // What was left out while it was a template.
        spec::mounts(&container.mounts, |_| false).map_err(|refusal| EngineError(refusal.to_string()))?;
        Arc::make_mut(&mut task.spec).container = container;
    }
    Ok(task)
}

/// Every secret and config of the task, filled in where it is a template. `task` is filled in itself.
pub fn files(task: &Task, given: &Contents) -> Result<Vec<ContentFile>, EngineError> {
    let spec = &task.spec.container;
    let mut files = Vec::new();
    for (number, reference) in spec.secrets.iter().enumerate() {
        let secret = given.secrets.get(&(reference.id, reference.version));
        let secret = secret.ok_or_else(|| EngineError(format!("secret {} has not arrived here", reference.name)))?;
        let mut data = secret.spec.data.clone();
        if secret.spec.templated {
            let filled = fill_one(ContentId::Secret(reference.id), data.expose(), task, given);
            // Words on it might quote it.
            let wrong =
                |fault: Fault| EngineError(format!("template of secret {}, {}", reference.name, fault.discreet()));
            data = Sensitive::new(filled.map_err(wrong)?.text.into_inner().into_bytes());
        }
        let (name, place) = (format!("secret-{number}"), secret_place(&reference.file));
        files.push(ContentFile { name, data, file: reference.file.clone(), place, is_secret: true });
    }
    for (number, reference) in spec.configs.iter().enumerate() {
        let config = given.configs.get(&(reference.id, reference.version));
        let config = config.ok_or_else(|| EngineError(format!("config {} has not arrived here", reference.name)))?;
        let (mut data, mut is_secret) = (Sensitive::new(config.spec.data.clone()), false);
        if config.spec.templated {
            let filled = fill_one(ContentId::Config(reference.id), data.expose(), task, given);
            let wrong =
                |fault: Fault| EngineError(format!("template of config {}, {}", reference.name, fault.placed()));
            let filled = filled.map_err(wrong)?;
            is_secret = filled.is_secret;
            data = Sensitive::new(filled.text.into_inner().into_bytes());
        }
        let (name, place) = (format!("config-{number}"), config_place(&reference.file));
        files.push(ContentFile { name, data, file: reference.file.clone(), place, is_secret });
    }
    Ok(files)
}

fn fill_one(kind: ContentId, data: &[u8], task: &Task, given: &Contents) -> Result<Filled, Fault> {
    let contents = |content: ContentId, version: u64| match content {
        ContentId::Secret(id) => given.secrets.get(&(id, version)).map(|secret| secret.spec.data.expose().as_slice()),
        ContentId::Config(id) => given.configs.get(&(id, version)).map(|config| config.spec.data.as_slice()),
    };
    fill_content(kind, data, task, &task.spec.container, &given.node, &contents)
}

/// Writes the files, the secret ones below `memory`, which is on no disk, and returns the mounts that bring them into
/// the container.
pub fn put(files: &[ContentFile], dir: &Path, memory: Option<&Path>) -> Result<Vec<Mount>, EngineError> {
    let mut mounts = Vec::new();
    for content in files {
        let folder = match (content.is_secret, memory) {
            (false, _) => dir,
            (true, Some(memory)) => memory,
            (true, None) => return Err(EngineError("there is no memory for secrets".to_owned())),
        };
        let path = folder.join(&content.name);
        write(&path, content.data.expose(), &content.file)?;
        mounts.push(mount(path, content.place.clone()));
    }
    Ok(mounts)
}

/// Makes a folder for the files of one task, closed to all but root: the modes that users ask for are meant for the
/// container's users, who pass no folder above a mounted file.
pub fn folder(dir: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().mode(0o700).recursive(true).create(dir)
}

/// Where the secrets and configs of a task are in its container.
pub fn places(spec: &ContainerSpec) -> impl Iterator<Item = String> {
    let secrets = spec.secrets.iter().map(|reference| secret_place(&reference.file));
    secrets.chain(spec.configs.iter().map(|reference| config_place(&reference.file)))
}

fn secret_place(file: &FileTarget) -> String {
    if file.name.starts_with('/') { clean_path(&file.name) } else { clean_path(&format!("{SECRETS}/{}", file.name)) }
}

fn config_place(file: &FileTarget) -> String {
    clean_path(&file.name)
}

fn mount(source: PathBuf, target: String) -> Mount {
    let kind = MountKind::Bind { source, propagation: Propagation::Rprivate };
    Mount { target: target.into(), kind, read_only: true }
}

fn write(path: &Path, data: &[u8], file: &FileTarget) -> Result<(), EngineError> {
    let failed = |error: std::io::Error| EngineError(format!("cannot write the file for {}: {error}", file.name));
    let id = |text: &str, what| match text {
        "" => Ok(0),
        number => number
            .parse::<u32>()
            .map_err(|_| EngineError(format!("{what} \"{number}\" of {} is not a number", file.name))),
    };
    let (uid, gid) = (id(&file.uid, "uid")?, id(&file.gid, "gid")?);
    crate::trust::write_private_file_soon(path, data).map_err(failed)?;
    chown(path, Some(uid), Some(gid)).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(file.mode & 0o7777)).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_core::model::*;
    use swarm_core::template::task::NodeFacts;
    use swarm_core::{ConfigId, SecretId, ServiceId, TaskId};

    fn given() -> (Task, Contents) {
        let file = |name: &str| FileTarget { name: name.into(), uid: String::new(), gid: String::new(), mode: 0o440 };
        let container = ContainerSpec {
            env: vec!["HOST={{.Node.Hostname}}".into()],
            secrets: vec![SecretReference { id: SecretId(1), name: "key".into(), file: file("key"), version: 1 }],
            configs: vec![
                ConfigReference { id: ConfigId(1), name: "plain".into(), file: file("/plain"), version: 2 },
                ConfigReference { id: ConfigId(2), name: "url".into(), file: file("/url"), version: 1 },
            ],
            ..ContainerSpec::default()
        };
        let config = |id: u128, content_version: u64, data: &str| {
            let spec = ConfigSpec { name: "c".into(), labels: Labels::new(), data: data.into(), templated: true };
            let (id, meta) = (ConfigId(id), Meta::default());
            ((id, content_version), Arc::new(Config { id, meta, spec, content_version, older: Vec::new() }))
        };
        let data = Sensitive::new(b"pw".to_vec());
        let spec = SecretSpec { name: "key".into(), labels: Labels::new(), data, templated: false };
        let (id, meta) = (SecretId(1), Meta::default());
        let secret = Secret { id, meta, spec, content_version: 1, older: Vec::new() };
        let contents = Contents {
            secrets: [((SecretId(1), 1), Arc::new(secret))].into(),
            configs: [
                config(1, 1, "old"),
                config(1, 2, "new on {{.Node.Hostname}} {{env \"HOST\"}}"),
                config(2, 1, "me:{{secret \"key\"}}@"),
            ]
            .into(),
            node: NodeFacts { hostname: "host1".into(), ..NodeFacts::default() },
            ..Contents::default()
        };
        let task = Task {
            service_name: "web".into(),
            ..Task::new(TaskId(1), ServiceId(1), 1, Arc::new(TaskSpec { container, ..TaskSpec::default() }))
        };
        (task, contents)
    }

    #[test]
    fn contents_are_filled_in_and_what_a_secret_went_into_is_on_no_disk() {
        let (task, contents) = given();
        let task = fill(&task, &contents).expect("fills in");
        let (disk, memory) = (tempfile::tempdir().expect("temp dir"), tempfile::tempdir().expect("temp dir"));
        let files = files(&task, &contents).expect("all has arrived");
        let mounts = put(&files, disk.path(), Some(memory.path())).expect("written");
        let read = |mount: &runtime::spec::Mount| match &mount.kind {
            MountKind::Bind { source, .. } => (source.clone(), fs::read_to_string(source).expect("a file")),
            other => panic!("{other:?}"),
        };
        let written: Vec<_> = mounts.iter().map(read).collect();
        assert_eq!(written[0], (memory.path().join("secret-0"), "pw".to_owned()));
        assert_eq!(written[1], (disk.path().join("config-0"), "new on host1 host1".to_owned()));
        assert_eq!(written[2], (memory.path().join("config-1"), "me:pw@".to_owned()));
        assert!(mounts.iter().all(|mount| mount.read_only));
        let mode = fs::metadata(memory.path().join("config-1")).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o440);
        assert!(put(&files, disk.path(), None).is_err(), "never on the disk instead");
    }

    #[test]
    fn a_mount_that_comes_out_wrong_is_refused() {
        let (mut task, contents) = given();
        let source = MountSource::Tmpfs { size_bytes: 0, mode: 0 };
        let target = "{{.Service.Name}}".to_owned();
        Arc::make_mut(&mut task.spec).container.mounts =
            vec![swarm_core::model::Mount { target, source, read_only: false }];
        let refused = fill(&task, &contents).expect_err("a relative path").to_string();
        assert!(refused.ends_with("invalid mount target, must be an absolute path: web"), "{refused}");
    }

    #[test]
    fn only_root_passes_into_a_task_s_folder() {
        let dir = tempfile::tempdir().expect("temp dir");
        let files = dir.path().join("tasks/one");
        folder(&files).expect("folder");
        for made in [files.as_path(), &dir.path().join("tasks")] {
            assert_eq!(fs::metadata(made).expect("metadata").permissions().mode() & 0o777, 0o700);
        }
    }
}
