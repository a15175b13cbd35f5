//! Mounts of a container: of a specification, and of a task whose templates are filled in.

use super::{Refusal, invalid, name_pattern_holds};
use crate::model::*;
use std::collections::BTreeSet;

/// What must hold of mounts. Texts that are `open` are left out: they are filled in on the node, and looked at there.
pub fn mounts(mounts: &[Mount], open: impl Fn(&str) -> bool) -> Result<(), Refusal> {
    let mut targets = BTreeSet::new();
    for (index, mount) in mounts.iter().enumerate() {
        let place = format!("TaskTemplate.ContainerSpec.Mounts[{index}]");
        let is_open = open(&mount.target);
        if !is_open && !mount.target.starts_with('/') {
            return invalid(format!("{place}: invalid mount target, must be an absolute path: {}", mount.target));
        }
        let target = clean_path(&mount.target);
        if !is_open && target == "/" {
            return invalid(format!("{place}: invalid specification: destination can't be '/'"));
        }
        if !is_open && !targets.insert(target) {
            return invalid(format!("{place}.Target: duplicate mount point: {}", mount.target));
        }
        match &mount.source {
            MountSource::Bind { path, propagation, .. } => {
                if !open(path) && !path.starts_with('/') {
                    return invalid(format!("{place}: invalid mount source, must be an absolute path: {path}"));
                }
                let known = ["", "private", "rprivate", "shared", "rshared", "slave", "rslave"];
                if !known.contains(&propagation.as_str()) {
                    return invalid(format!(
                        "{place}.BindOptions.Propagation: invalid propagation mode: {propagation}"
                    ));
                }
            }
            MountSource::Volume { name, driver, driver_options, .. } => {
                if !matches!(driver.as_str(), "" | "local") || !driver_options.is_empty() {
                    return invalid(format!(
                        "{place}.VolumeOptions.DriverConfig: only driver local without options is supported"
                    ));
                }
                if !name.is_empty() && !open(name) && !name_pattern_holds(name, b"-_.", 255) {
                    return invalid(format!(
                        "{place}: \"{name}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed"
                    ));
                }
            }
            MountSource::Tmpfs { mode, .. } => {
                if *mode > 0o7777 {
                    return invalid(format!("{place}.TmpfsOptions.Mode: {mode:o} is not a file mode"));
                }
            }
        }
    }
    Ok(())
}
