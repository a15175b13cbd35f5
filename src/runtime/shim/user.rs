//! Who a process is: user and groups, looked up in the container's own files.
//!
//! Follows `docker run --user`. The files are opened below the root directory whatever symbolic links they are
//! made of (openat2(2), RESOLVE_IN_ROOT), because the image decides what they are.

use std::io::{self, Read};
use std::path::Path;

use super::open;

/// Bytes read of `/etc/passwd` and `/etc/group`: real ones have kilobytes; an image must not fill the shim.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A resolved user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups, the primary one included.
    pub groups: Vec<u32>,
    pub home: String,
}

/// Why a user could not be resolved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UserError {
    #[error("unable to find user {0}: no matching entries in the image's /etc/passwd")]
    NoUser(String),
    #[error("unable to find group {0}: no matching entries in the image's /etc/group")]
    NoGroup(String),
    #[error("cannot read {0} of the container")]
    Read(&'static str, #[source] io::Error),
}

/// Resolves `name[:group]` or `uid[:gid]`, and the additional groups.
pub(crate) fn resolve(root: &Path, user: &str, additional: &[String]) -> Result<User, UserError> {
    let passwd = read(root, "/etc/passwd")?;
    let group = read(root, "/etc/group")?;
    resolve_in(&passwd, &group, user, additional)
}

fn resolve_in(passwd: &str, group: &str, user: &str, additional: &[String]) -> Result<User, UserError> {
    let (name, wanted_group) = match user.split_once(':') {
        Some((name, wanted)) => (name, (!wanted.is_empty()).then_some(wanted)),
        None => (user, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let entry = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .filter(|fields| fields.len() >= 6)
        .find(|fields| fields[0] == name || fields[2] == name);
    let (uid, primary, login, home) = match &entry {
        Some(fields) => (id(fields[2]), id(fields[3]).unwrap_or(0), fields[0], fields[5].to_owned()),
        None => (id(name), 0, "", String::new()),
    };
    let uid = uid.ok_or_else(|| UserError::NoUser(name.to_owned()))?;
    let gid = match wanted_group {
        Some(wanted) => find_group(group, wanted)?,
        None => primary,
    };
    let mut groups = vec![gid];
    if wanted_group.is_none() && !login.is_empty() {
        groups.extend(
            group_entries(group)
                .filter(|entry| entry.3.split(',').any(|member| member == login))
                .filter_map(|entry| id(entry.2)),
        );
    }
    for wanted in additional {
        groups.push(find_group(group, wanted)?);
    }
    let mut seen = Vec::new();
    groups.retain(|group| {
        !seen.contains(group) && {
            seen.push(*group);
            true
        }
    });
    let home = if home.is_empty() { "/".to_owned() } else { home };
    Ok(User { uid, gid, groups, home })
}

fn group_entries(text: &str) -> impl Iterator<Item = (&str, &str, &str, &str)> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        Some((fields.next()?, fields.next()?, fields.next()?, fields.next().unwrap_or("")))
    })
}

fn find_group(text: &str, wanted: &str) -> Result<u32, UserError> {
    group_entries(text)
        .find(|entry| entry.0 == wanted)
        .and_then(|entry| id(entry.2))
        .or_else(|| id(wanted))
        .ok_or_else(|| UserError::NoGroup(wanted.to_owned()))
}

fn id(text: &str) -> Option<u32> {
    text.parse::<u32>().ok().filter(|id| *id <= i32::MAX as u32)
}

/// A missing file is an empty one, as for images without an operating system.
fn read(root: &Path, path: &'static str) -> Result<String, UserError> {
    let failed = |error| UserError::Read(path, error);
    match open::file_in_root(root, path) {
        Ok(file) => {
            let mut bytes = Vec::new();
            file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(String::new()),
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001::/srv/web:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nweb:x:1001:\nlogs:x:4:web,other\nwheel:x:10:root\n";

    fn user(text: &str) -> Result<User, UserError> {
        resolve_in(PASSWD, GROUP, text, &[])
    }

    #[test]
    fn a_name_brings_its_groups_and_home() {
        let web = user("web").expect("known");
        assert_eq!(web, User { uid: 1000, gid: 1001, groups: vec![1001, 4], home: "/srv/web".into() });
        assert_eq!(user("1000").expect("by number"), web);
    }

    #[test]
    fn a_given_group_replaces_the_others() {
        let found = user("web:logs").expect("known");
        assert_eq!((found.gid, found.groups), (4, vec![4]));
        assert_eq!(user("1000:77").expect("numbers").gid, 77);
    }

    #[test]
    fn a_number_without_an_entry_is_itself() {
        let found = user("4242").expect("a number");
        assert_eq!((found.uid, found.gid, found.home.as_str()), (4242, 0, "/"));
    }

    #[test]
    fn nobody_asked_is_root() {
        assert_eq!(user("").expect("root").groups, [0, 10]);
    }

    #[test]
    fn an_unknown_name_is_named() {
        assert!(user("nobody").expect_err("unknown").to_string().contains("nobody"));
        assert!(user("web:nogroup").expect_err("unknown").to_string().contains("nogroup"));
        assert!(resolve_in(PASSWD, GROUP, "web", &["audio".into()]).is_err());
    }

    #[test]
    fn a_link_out_of_the_root_stays_inside() {
        let root = tempfile::tempdir().expect("temp dir");
        std::fs::create_dir(root.path().join("etc")).expect("mkdir");
        std::os::unix::fs::symlink("/../../../../etc/shadow", root.path().join("etc/passwd")).expect("link");
        assert_eq!(read(root.path(), "/etc/passwd").expect("nothing there"), "");
    }

    #[test]
    fn a_device_or_pipe_in_place_of_a_file_is_not_opened() {
        use nix::sys::stat::{Mode, SFlag, makedev, mknod};
        let root = tempfile::tempdir().expect("temp dir");
        let etc = root.path().join("etc");
        std::fs::create_dir(&etc).expect("mkdir");
        let mode = Mode::from_bits_truncate(0o666);
        mknod(&etc.join("passwd"), SFlag::S_IFCHR, mode, makedev(1, 5)).expect("run the tests as root");
        mknod(&etc.join("group"), SFlag::S_IFIFO, mode, 0).expect("mknod");
        for path in ["/etc/passwd", "/etc/group"] {
            let error = read(root.path(), path).expect_err("no file");
            assert!(matches!(error, UserError::Read(named, _) if named == path));
        }
        std::fs::remove_file(etc.join("passwd")).expect("remove");
        std::fs::write(etc.join("passwd"), PASSWD).expect("write");
        assert_eq!(read(root.path(), "/etc/passwd").expect("a file"), PASSWD);
    }
}
