//! Where in a container its own mounts may be.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use swarm_core::model::clean_path;

use super::oci::SpecError;
use crate::spec::Mount;

/// Own mounts with their places, each place once, so that which of two is seen is never left to their order. A mount
/// inside another one comes after it.
pub(super) fn placed(mounts: &[Mount]) -> Result<Vec<(PathBuf, &Mount)>, SpecError> {
    let mut places = BTreeSet::new();
    let mut out = Vec::new();
    for mount in mounts {
        let place = place(&mount.target)?;
        if !places.insert(place.clone()) {
            return Err(SpecError::Twice(place));
        }
        out.push((place, mount));
    }
    out.sort_by_key(|(place, _)| place.components().count());
    Ok(out)
}

fn place(target: &Path) -> Result<PathBuf, SpecError> {
    let wrong = || SpecError::Target(target.to_owned());
    let text = target.to_str().filter(|text| text.starts_with('/')).ok_or_else(wrong)?;
    match clean_path(text) {
        root if root == "/" => Err(wrong()),
        place => Ok(place.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::MountKind;

    fn mounts(targets: &[&str]) -> Vec<Mount> {
        let kind = MountKind::Tmpfs { size: None, mode: None, options: Vec::new() };
        let mount = |target: &&str| Mount { target: target.into(), kind: kind.clone(), read_only: false };
        targets.iter().map(mount).collect()
    }

    #[test]
    fn a_mount_inside_another_one_comes_after_it() {
        let mounts = mounts(&["/a/b/c", "/x/../a/", "/a//b"]);
        let placed: Vec<PathBuf> = placed(&mounts).expect("valid").into_iter().map(|(place, _)| place).collect();
        assert_eq!(placed, ["/a", "/a/b", "/a/b/c"].map(PathBuf::from));
    }

    #[test]
    fn two_mounts_at_one_place_are_refused_however_it_is_written() {
        for second in ["/data", "/data/", "/data/.", "//data", "/other/../data"] {
            let error = placed(&mounts(&["/data", second])).map(drop).expect_err(second);
            assert_eq!(error.to_string(), "two mounts have the same target \"/data\": give each its own");
        }
    }

    #[test]
    fn a_target_that_is_no_place_below_the_root_is_refused() {
        for target in ["", "data", "/", "/data/..", "//"] {
            assert!(matches!(placed(&mounts(&[target])), Err(SpecError::Target(_))), "{target}");
        }
    }
}
