//! Files in and out of containers, and what they have changed.

mod support;

use std::collections::BTreeMap;
use std::io::Read;

use futures_util::StreamExt;
use runtime::container::{Archive, FilesError, WriteOptions};
use runtime::spec::{Mount, MountKind, Propagation};
use support::Host;

/// Path to content, kind and owner of each entry.
async fn entries(archive: Archive) -> BTreeMap<String, (String, tar::EntryType, u64)> {
    let pieces: Vec<_> = archive.map(|piece| piece.expect("a piece")).collect().await;
    let bytes = pieces.concat();
    let mut tar = tar::Archive::new(&bytes[..]);
    let mut found = BTreeMap::new();
    for entry in tar.entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let (kind, uid) = (entry.header().entry_type(), entry.header().uid().expect("uid"));
        let content = match entry.link_name().expect("a link") {
            Some(target) => target.display().to_string(),
            None => {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).expect("content");
                String::from_utf8_lossy(&bytes).into_owned()
            }
        };
        found.insert(path, (content, kind, uid));
    }
    found
}

fn tar_of(files: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
    let mut out = tar::Builder::new(Vec::new());
    for (path, kind, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o640);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_000);
        // Also names that `tar` would refuse to write.
        header.as_gnu_mut().expect("gnu").name[..path.len()].copy_from_slice(path.as_bytes());
        let is_link = matches!(kind, tar::EntryType::Symlink | tar::EntryType::Link);
        if is_link {
            header.as_gnu_mut().expect("gnu").linkname[..content.len()].copy_from_slice(content.as_bytes());
        }
        let bytes = if is_link { &b""[..] } else { content.as_bytes() };
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        out.append(&header, bytes).expect("append");
    }
    out.into_inner().expect("finish")
}

const FILE: tar::EntryType = tar::EntryType::Regular;
const DIR: tar::EntryType = tar::EntryType::Directory;
const LINK: tar::EntryType = tar::EntryType::Symlink;

async fn write(host: &Host, path: &str, files: &[(&str, tar::EntryType, &str)]) -> Result<(), FilesError> {
    host.containers.write_files("a", path, std::io::Cursor::new(tar_of(files)), WriteOptions::default()).await
}

/// A container that runs, with a volume in `/data` that has a read-only one in it.
async fn with_volume() -> Host {
    let host = Host::new().await;
    let (volume, fixed) = (host.dir.path().join("volume"), host.dir.path().join("fixed"));
    for dir in [&volume, &fixed, &host.rootfs.join("data"), &volume.join("fixed")] {
        std::fs::create_dir_all(dir).expect("mkdir");
    }
    std::fs::write(volume.join("kept"), "volume").expect("write");
    std::fs::write(fixed.join("text"), "fixed").expect("write");
    let mut spec = host.shell("echo mine > /srv/mine; ln -s /srv/mine /tmp/link; echo up; sleep 1000");
    let bind = |target: &str, source, read_only| {
        let kind = MountKind::Bind { source, propagation: Propagation::Rprivate };
        Mount { target: target.into(), kind, read_only }
    };
    let memory = MountKind::Tmpfs { size: None, mode: None, options: Vec::new() };
    let memory = Mount { target: "/srv/memory".into(), kind: memory, read_only: false };
    spec.mounts = vec![bind("/data", volume, false), bind("/data/fixed", fixed, true), memory];
    host.run("a", &spec).await;
    host.until_logged("a", "up").await;
    host
}

#[tokio::test]
async fn files_of_a_container_come_out_with_its_volumes_whether_it_runs_or_not() {
    let host = with_volume().await;
    for runs in [true, false] {
        let (stat, archive) = host.containers.read_files("a", "/data").await.expect("read");
        assert_eq!((stat.name.as_str(), stat.mode & libc::S_IFMT), ("data", libc::S_IFDIR));
        let found = entries(archive).await;
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(names, ["data/", "data/fixed/", "data/fixed/text", "data/kept"], "runs: {runs}");
        assert_eq!(found["data/kept"].0, "volume");
        let (stat, archive) = host.containers.read_files("a", "/tmp/link").await.expect("read");
        assert_eq!(stat.link_target, "/srv/mine");
        assert_eq!(entries(archive).await["link"], ("/srv/mine".to_owned(), LINK, 0));
        if runs {
            host.containers.kill("a").await.expect("kill");
        }
    }
    assert!(matches!(host.containers.stat_path("a", "/no/such").await, Err(FilesError::NotFound(_))));
    assert!(matches!(host.containers.stat_path("b", "/").await, Err(FilesError::Container(_))));
}

#[tokio::test]
async fn the_name_a_client_asks_by_is_the_name_in_the_archive() {
    let host = with_volume().await;
    let long = "l".repeat(150);
    let deep = host.dir.path().join("volume").join(&long);
    std::fs::create_dir(&deep).expect("mkdir");
    std::fs::write(deep.join("a"), "one").expect("write");
    std::fs::hard_link(deep.join("a"), deep.join("b")).expect("link");
    std::os::unix::fs::symlink("t".repeat(120), deep.join("c")).expect("link");
    for (path, name) in [("/data/", "data"), ("/data/.", "."), ("data/fixed/..", "data")] {
        let found = entries(host.containers.read_files("a", path).await.expect("read").1).await;
        let expected = [
            format!("{name}/"),
            format!("{name}/fixed/"),
            format!("{name}/fixed/text"),
            format!("{name}/kept"),
            format!("{name}/{long}/"),
            format!("{name}/{long}/a"),
            format!("{name}/{long}/b"),
            format!("{name}/{long}/c"),
        ];
        assert_eq!(found.keys().cloned().collect::<Vec<_>>(), expected, "{path}");
        assert_eq!(found[&expected[6]], (expected[5].clone(), tar::EntryType::Link, 0));
        assert_eq!(found[&expected[7]].0, "t".repeat(120));
    }
    // Clients put another name in place of the first slash.
    let found = entries(host.containers.read_files("a", "/").await.expect("read").1).await;
    assert!(found.contains_key("/") && found.contains_key("/data/kept"), "{:?}", found.keys());
}

#[tokio::test]
async fn files_go_in_and_the_container_sees_them() {
    let host = with_volume().await;
    write(&host, "/srv", &[("new/", DIR, ""), ("new/text", FILE, "hello"), ("new/ln", LINK, "text")])
        .await
        .expect("in");
    write(&host, "/data/", &[("in-volume", FILE, "x")]).await.expect("into the volume");
    let process = runtime::spec::ProcessSpec {
        args: ["sh", "-c", "cat /srv/new/ln /data/in-volume; stat -c %u:%g:%a:%Y /srv/new/text"]
            .map(str::to_owned)
            .into(),
        ..Default::default()
    };
    let mut exec = host.containers.exec("a", &process).await.expect("exec");
    let runtime::container::ExecStreams::Pipes { stdout, .. } = &mut exec.streams else { panic!("no pipes") };
    let mut seen = String::new();
    tokio::io::AsyncReadExt::read_to_string(stdout.as_mut().expect("stdout"), &mut seen).await.expect("read");
    assert_eq!(seen, "hellox7:8:640:1000\n");
    assert_eq!(std::fs::read_to_string(host.dir.path().join("volume/in-volume")).expect("read"), "x");
}

#[tokio::test]
async fn an_archive_cannot_write_outside_of_the_container() {
    let host = with_volume().await;
    let secret = host.dir.path().join("secret");
    std::fs::write(&secret, "the host's").expect("write");
    let up = write(&host, "/srv", &[("../../secret", FILE, "x")]).await;
    assert!(matches!(&up, Err(FilesError::Invalid(why)) if why.contains("outside of it")), "{up:?}");
    // Links that lead out of the root end at it, as for a process that has it as its root.
    let link = [("out", LINK, "../../../.."), ("out/secret", FILE, "caught")];
    write(&host, "/srv", &link).await.expect("inside");
    assert_eq!(std::fs::read_to_string(host.rootfs.join("secret")).expect("inside the root"), "caught");
    std::os::unix::fs::symlink(host.dir.path(), host.rootfs.join("srv/host")).expect("link");
    let through = write(&host, "/srv/host", &[("secret", FILE, "x")]).await;
    assert!(matches!(through, Err(FilesError::NotFound(_))), "{through:?}");
    let linked = write(&host, "/srv", &[("stolen", tar::EntryType::Link, "../secret")]).await;
    assert!(matches!(linked, Err(FilesError::Invalid(_))), "{linked:?}");
    assert_eq!(std::fs::read_to_string(&secret).expect("read"), "the host's");
}

#[tokio::test]
async fn what_must_not_be_overwritten_is_not() {
    let host = with_volume().await;
    let fixed = write(&host, "/data/fixed", &[("text", FILE, "x")]).await;
    assert!(matches!(fixed, Err(FilesError::ReadOnly(_))), "{fixed:?}");
    let options = || WriteOptions { no_overwrite_dir_non_dir: true, ..WriteOptions::default() };
    std::fs::create_dir(host.rootfs.join("srv/dir")).expect("mkdir");
    for (name, kind) in [("dir", FILE), ("mine", DIR)] {
        let archive = std::io::Cursor::new(tar_of(&[(name, kind, "")]));
        let kept = host.containers.write_files("a", "/srv", archive, options()).await;
        assert!(matches!(&kept, Err(FilesError::Invalid(why)) if why.contains("cannot overwrite")), "{kept:?}");
    }
    write(&host, "/srv", &[("dir", FILE, "now a file")]).await.expect("without the option it may");
    for unseen in ["/srv/memory", "/proc", "/dev"] {
        let hidden = write(&host, unseen, &[("x", FILE, "")]).await;
        assert!(matches!(&hidden, Err(FilesError::Invalid(why)) if why.contains("memory")), "{unseen}: {hidden:?}");
    }
    let into_file = write(&host, "/srv/mine", &[("x", FILE, "")]).await;
    assert!(matches!(into_file, Err(FilesError::NotADirectory(_))), "{into_file:?}");
    let broken = host.containers.write_files("a", "/srv", &b"no tar at all, but long enough"[..], options()).await;
    assert!(matches!(broken, Err(FilesError::Invalid(_))), "{broken:?}");
}

#[tokio::test]
async fn a_read_only_root_takes_no_files_but_its_volumes_do() {
    let host = Host::new().await;
    std::fs::create_dir_all(host.rootfs.join("data")).expect("mkdir");
    let volume = host.dir.path().join("volume");
    std::fs::create_dir(&volume).expect("mkdir");
    let mut spec = host.spec(&["sleep", "1000"]);
    spec.read_only_rootfs = true;
    let kind = MountKind::Bind { source: volume.clone(), propagation: Propagation::Rprivate };
    spec.mounts = vec![Mount { target: "/data".into(), kind, read_only: false }];
    host.run("a", &spec).await;
    assert!(matches!(write(&host, "/srv", &[("x", FILE, "")]).await, Err(FilesError::ReadOnly(_))));
    write(&host, "/data", &[("x", FILE, "")]).await.expect("into the volume");
    assert!(volume.join("x").exists());
}

#[tokio::test]
async fn an_archive_for_the_container_s_user_belongs_to_it() {
    let host = Host::new().await;
    let mut spec = host.spec(&["sleep", "1000"]);
    spec.process.user = "web".to_owned();
    host.run("a", &spec).await;
    let options = WriteOptions { as_container_user: true, ..WriteOptions::default() };
    let archive = std::io::Cursor::new(tar_of(&[("x", FILE, "")]));
    host.containers.write_files("a", "/srv", archive, options).await.expect("write");
    let meta = std::fs::metadata(host.rootfs.join("srv/x")).expect("there");
    use std::os::unix::fs::MetadataExt;
    assert_eq!((meta.uid(), meta.gid()), (1000, 1001));
}

#[tokio::test]
async fn an_export_is_the_root_without_volumes_and_without_the_kernel_s_views() {
    let host = with_volume().await;
    let found = entries(host.containers.export("a").await.expect("export")).await;
    assert_eq!(found["srv/mine"].0, "mine\n");
    assert!(found.contains_key("bin/busybox") && found.contains_key("data/"), "{:?}", found.keys());
    assert!(!found.contains_key("data/kept") && !found.keys().any(|path| path.starts_with("proc/1")));
}

#[tokio::test]
async fn what_a_container_changed_is_told_and_nothing_that_every_one_gets() {
    let host = Host::new().await;
    let dir = |name: &str| {
        let path = host.dir.path().join(name);
        std::fs::create_dir_all(&path).expect("mkdir");
        path
    };
    let (base, upper, work, merged) = (dir("base"), dir("upper"), dir("work"), dir("merged"));
    std::fs::create_dir_all(base.join("lib/sub")).expect("mkdir");
    std::fs::write(base.join("lib/sub/old"), "old").expect("write");
    let lower = vec![host.rootfs.clone(), base.clone()];
    let options = format!(
        "lowerdir={}:{},upperdir={},workdir={}",
        host.rootfs.display(),
        base.display(),
        upper.display(),
        work.display()
    );
    let none = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("overlay"), &merged, Some("overlay"), none, Some(options.as_str())).expect("mount");
    let script = "rm /bin/wc; echo x > /srv/new; echo y >> /etc/group; rm -r /lib/sub; mkdir /lib/sub; touch /lib/sub/new; \
                  touch /root/gone; rm /root/gone";
    let mut spec = host.shell(script);
    spec.rootfs = merged.clone();
    let (exit, log) = host.output("a", &spec).await;
    let changes = host.containers.changes("a", lower, upper).await;
    nix::mount::umount2(&merged, nix::mount::MntFlags::MNT_DETACH).expect("umount");
    assert_eq!((exit.code, log.as_str()), (0, ""));
    let changes: Vec<String> =
        changes.expect("changes").iter().map(|change| format!("{:?} {}", change.kind, change.path)).collect();
    let expected = [
        "Modified /bin",
        "Deleted /bin/wc",
        "Modified /etc",
        "Modified /etc/group",
        "Modified /lib",
        "Modified /lib/sub",
        "Added /lib/sub/new",
        "Deleted /lib/sub/old",
        "Modified /srv",
        "Added /srv/new",
    ];
    assert_eq!(changes, expected);
}
