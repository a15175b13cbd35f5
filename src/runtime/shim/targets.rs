//! Where in a container its own mounts may be.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use swarm_core::model::clean_path;

use super::oci::SpecError;
use crate::spec::Mount;

/// Files that lxcfs may give a container instead of the kernel's (as runc allows).
const LXCFS: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/uptime",
];
/// Links followed in one path, as the kernel's own limit (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// Own mounts with their places, each place once, so that which of two is seen is never left to their order. A mount
/// inside another one comes after it.
///
/// None is in `/proc`, where the runtime and the container's programs learn from the kernel what they may do.
pub(super) fn placed<'a>(rootfs: &Path, mounts: &'a [Mount]) -> Result<Vec<(PathBuf, &'a Mount)>, SpecError> {
    let mut places = BTreeSet::new();
    let mut out = Vec::new();
    for mount in mounts {
        let place = place(&mount.target)?;
        if !places.insert(place.clone()) {
            return Err(SpecError::Twice(place));
        }
        let found = resolved(rootfs, &place).ok_or_else(|| SpecError::Links(place.clone()))?;
        if found.starts_with("/proc") && !LXCFS.iter().any(|file| found == Path::new(file)) {
            return Err(SpecError::Proc(place));
        }
        out.push((place, mount));
    }
    out.sort_by_key(|(place, _)| place.components().count());
    Ok(out)
}

/// Where the links of the image lead to from there; what is missing is made, and leads nowhere. `None`: in circles.
fn resolved(rootfs: &Path, place: &Path) -> Option<PathBuf> {
    let parts = |path: &Path| -> Vec<OsString> { path.iter().rev().map(OsStr::to_owned).collect() };
    let mut todo = parts(place);
    let mut found = PathBuf::from("/");
    let mut links = 0;
    while let Some(part) = todo.pop() {
        if part == ".." {
            found.pop();
            continue;
        }
        let next = found.join(&part);
        // Without a link in it so far, the path does not leave the root.
        match std::fs::read_link(rootfs.join(next.strip_prefix("/").unwrap_or(&next))) {
            Ok(target) => {
                links += 1;
                if links > LINKS_MAX {
                    return None;
                }
                todo.extend(parts(&target));
            }
            Err(_) => found = next,
        }
    }
    Some(found)
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

    const NO_ROOTFS: &str = "/nonexistent";

    fn mounts(targets: &[&str]) -> Vec<Mount> {
        let kind = MountKind::Tmpfs { size: None, mode: None, options: Vec::new() };
        let mount = |target: &&str| Mount { target: target.into(), kind: kind.clone(), read_only: false };
        targets.iter().map(mount).collect()
    }

    #[test]
    fn a_mount_inside_another_one_comes_after_it() {
        let mounts = mounts(&["/a/b/c", "/x/../a/", "/a//b"]);
        let placed: Vec<PathBuf> =
            placed(Path::new(NO_ROOTFS), &mounts).expect("valid").into_iter().map(|(place, _)| place).collect();
        assert_eq!(placed, ["/a", "/a/b", "/a/b/c"].map(PathBuf::from));
    }

    #[test]
    fn two_mounts_at_one_place_are_refused_however_it_is_written() {
        for second in ["/data", "/data/", "/data/.", "//data", "/other/../data"] {
            let error = placed(Path::new(NO_ROOTFS), &mounts(&["/data", second])).map(drop).expect_err(second);
            assert_eq!(error.to_string(), "two mounts have the same target \"/data\": give each its own");
        }
    }

    #[test]
    fn a_target_that_is_no_place_below_the_root_is_refused() {
        for target in ["", "data", "/", "/data/..", "//"] {
            assert!(matches!(placed(Path::new(NO_ROOTFS), &mounts(&[target])), Err(SpecError::Target(_))), "{target}");
        }
    }

    #[test]
    fn links_are_followed_within_the_root() {
        let rootfs = tempfile::tempdir().expect("temp dir");
        let link = |target: &str, name: &str| {
            std::os::unix::fs::symlink(target, rootfs.path().join(name)).expect("link");
        };
        std::fs::create_dir(rootfs.path().join("srv")).expect("mkdir");
        link("/proc/missing", "absolute");
        link("../../../proc", "srv/relative");
        link("srv", "chain");
        link("circle", "circle");
        let found = |place: &str| resolved(rootfs.path(), Path::new(place));
        assert_eq!(found("/absolute/sys"), Some("/proc/missing/sys".into()));
        assert_eq!(found("/chain/relative/sys"), Some("/proc/sys".into()));
        assert_eq!(found("/chain/new/data"), Some("/srv/new/data".into()));
        assert_eq!(found("/circle/data"), None);
    }
}
