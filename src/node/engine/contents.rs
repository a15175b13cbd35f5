//! Secrets and configs as files for one task: owned and with the mode that was asked for, gone with the task.

use super::EngineError;
use crate::agent::engine::Contents;
use runtime::spec::{Mount, MountKind, Propagation};
use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use swarm_core::model::{ContainerSpec, FileTarget, clean_path};

/// Where relative names of secrets go (as in Docker).
const SECRETS: &str = "/run/secrets";

/// Writes the secrets below `memory`, which is on no disk, and returns the mounts that bring them into the container.
pub fn secrets(memory: &Path, spec: &ContainerSpec, contents: &Contents) -> Result<Vec<Mount>, EngineError> {
    let mut mounts = Vec::new();
    for (number, reference) in spec.secrets.iter().enumerate() {
        let secret = contents.secrets.get(&(reference.id, reference.version));
        let secret = secret.ok_or_else(|| EngineError(format!("secret {} has not arrived here", reference.name)))?;
        let path = memory.join(format!("secret-{number}"));
        write(&path, secret.spec.data.expose(), &reference.file)?;
        mounts.push(mount(path, secret_place(&reference.file)));
    }
    Ok(mounts)
}

/// Makes a folder for the files of one task, closed to all but root: the modes that users ask for are meant for the
/// container's users, who pass no folder above a mounted file.
pub fn folder(dir: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().mode(0o700).recursive(true).create(dir)
}

/// Writes the configs below `dir` and returns their mounts.
pub fn configs(dir: &Path, spec: &ContainerSpec, contents: &Contents) -> Result<Vec<Mount>, EngineError> {
    let mut mounts = Vec::new();
    for (number, reference) in spec.configs.iter().enumerate() {
        let config = contents.configs.get(&(reference.id, reference.version));
        let config = config.ok_or_else(|| EngineError(format!("config {} has not arrived here", reference.name)))?;
        let path = dir.join(format!("config-{number}"));
        write(&path, &config.spec.data, &reference.file)?;
        mounts.push(mount(path, config_place(&reference.file)));
    }
    Ok(mounts)
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
