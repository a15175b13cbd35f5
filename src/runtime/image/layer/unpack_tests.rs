//! What layers do, and what hostile ones cannot.

use super::*;
use crate::image::layer::overlay::Overlay;
use crate::image::layer::{LayerStore, Limits};
use crate::image::testing::{TarBuilder, gzip};
use nix::mount::{MntFlags, umount2};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;
use tar::EntryType;
use tempfile::TempDir;

struct Fixture {
    dir: TempDir,
    store: LayerStore,
    diff_ids: Vec<Digest>,
}

impl Fixture {
    fn new() -> Self {
        Self::limited(Limits::default())
    }

    fn limited(limits: Limits) -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        let tmp = dir.path().join("tmp");
        fs::create_dir(&tmp).expect("mkdir");
        let store = LayerStore::new(dir.path().join("layers"), tmp, limits).expect("store");
        Self { dir, store, diff_ids: Vec::new() }
    }

    fn apply(&mut self, tar: &[u8]) -> Result<PathBuf> {
        let meta = self.store.apply(tar, Some(tar.len() as u64), &self.diff_ids, None, "layer 1 of x")?;
        self.diff_ids.push(meta.diff_id);
        Ok(self.store.diff_dir(&meta.chain_id))
    }

    /// Nothing but the layers that were applied, and no mount.
    fn assert_clean(&self) {
        assert_eq!(fs::read_dir(self.dir.path().join("tmp")).expect("list").count(), 0);
        assert_eq!(self.store.list().expect("list").len(), self.diff_ids.len());
        assert_eq!(crate::image::layer::overlay::mounts_below(self.dir.path()).expect("mounts"), Vec::<PathBuf>::new());
        assert_eq!(fs::read_dir(self.dir.path()).expect("list").count(), 2, "something was written beside the store");
    }

    fn refused(tar: TarBuilder) -> String {
        let mut fixture = Self::new();
        let error = fixture.apply(&tar.finish()).expect_err("must be refused");
        fixture.assert_clean();
        error.to_string()
    }

    /// All layers as a container sees them.
    fn merged(&self) -> Merged {
        let chain = crate::image::digest::chain_ids(&self.diff_ids);
        let lower: Vec<PathBuf> = chain.iter().rev().map(|id| self.store.diff_dir(id)).collect();
        let dir = tempfile::tempdir().expect("tempdir");
        let sub = |name: &str| {
            let path = dir.path().join(name);
            fs::create_dir(&path).expect("mkdir");
            path
        };
        let (upper, work, root) = (sub("upper"), sub("work"), sub("root"));
        Overlay { lower: &lower, upper: &upper, work: &work }.mount(&root).expect("mounts");
        Merged { root, _dir: dir }
    }
}

struct Merged {
    root: PathBuf,
    _dir: TempDir,
}

impl Merged {
    fn names(&self, path: &str) -> Vec<String> {
        let list = fs::read_dir(self.root.join(path)).expect("list");
        let mut names: Vec<String> =
            list.map(|e| e.expect("entry").file_name().into_string().expect("utf-8")).collect();
        names.sort();
        names
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).expect(path)
    }
}

impl Drop for Merged {
    fn drop(&mut self) {
        umount2(&self.root, MntFlags::MNT_DETACH).expect("unmount");
    }
}

#[test]
fn owner_mode_time_and_kind_of_every_entry_are_kept() {
    let mut fixture = Fixture::new();
    let tar = TarBuilder::new()
        .owned("./", 0o1777, (5, 6))
        .owned("d/", 0o2750, (7, 8))
        .entry(EntryType::Regular, "d/suid", "", 0o4755, (1000, 1001), b"content")
        .symlink("d/l", "/anywhere/at/all")
        .hard_link("d/h", "/d/suid")
        .entry(EntryType::Fifo, "d/fifo", "", 0o600, (0, 0), b"");
    let diff = fixture.apply(&tar.finish()).expect("unpacks");
    let meta = |path: &str| fs::symlink_metadata(diff.join(path)).expect(path);
    assert_eq!((meta("").mode() & 0o7777, meta("").uid(), meta("").gid()), (0o1777, 5, 6));
    assert_eq!((meta("d").mode() & 0o7777, meta("d").uid(), meta("d").gid()), (0o2750, 7, 8));
    assert_eq!((meta("d/suid").mode() & 0o7777, meta("d/suid").uid(), meta("d/suid").gid()), (0o4755, 1000, 1001));
    assert_eq!(meta("d/h").ino(), meta("d/suid").ino());
    assert_eq!(fs::read_link(diff.join("d/l")).expect("link"), PathBuf::from("/anywhere/at/all"));
    assert!(meta("d/fifo").file_type().is_fifo());
    for path in ["", "d", "d/suid", "d/l", "d/fifo"] {
        assert_eq!(meta(path).mtime(), 1_000_000_000, "{path}");
    }
    fixture.assert_clean();
}

#[test]
fn capabilities_and_attributes_of_users_are_kept_and_those_of_the_overlay_are_not() {
    let mut fixture = Fixture::new();
    // cap_dac_override,cap_fowner: the mask contains a newline.
    let capability = b"\x01\x00\x00\x02\x0a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    let tar = TarBuilder::new()
        .xattr("security.capability", capability)
        .owned("capable", 0o755, (1, 1))
        .xattr("trusted.overlay.opaque", b"y")
        .owned("d/", 0o755, (0, 0))
        .xattr("user.overlay.opaque", b"y")
        .owned("e/", 0o755, (0, 0));
    let diff = fixture.apply(&tar.finish()).expect("unpacks");
    assert_eq!(get_xattr(&diff.join("capable"), "security.capability").as_deref(), Some(&capability[..]));
    assert_eq!(get_xattr(&diff.join("d"), "trusted.overlay.opaque"), None);
    assert_eq!(get_xattr(&diff.join("e"), "user.overlay.opaque"), None);
}

fn get_xattr(path: &Path, key: &str) -> Option<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).expect("path");
    let key = std::ffi::CString::new(key).expect("key");
    let mut value = vec![0u8; 256];
    // SAFETY: both strings end in a zero byte and the buffer is valid for the length given.
    let n = unsafe { libc::lgetxattr(path.as_ptr(), key.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    usize::try_from(n).ok().map(|n| value[..n].to_vec())
}

#[test]
fn a_parent_that_a_layer_does_not_list_keeps_what_the_layer_below_says() {
    let mut fixture = Fixture::new();
    fixture
        .apply(&TarBuilder::new().owned("./", 0o711, (3, 3)).owned("home/", 0o700, (42, 43)).finish())
        .expect("base");
    fixture.apply(&TarBuilder::new().file("home/new/deep/file", 0o644, "x").finish()).expect("upper");
    let merged = fixture.merged();
    let home = fs::metadata(merged.root.join("home")).expect("stat");
    assert_eq!((home.mode() & 0o7777, home.uid(), home.gid()), (0o700, 42, 43));
    assert_eq!(fs::metadata(merged.root.join("home/new")).expect("stat").mode() & 0o7777, 0o755);
    let top = fixture.store.diff_dir(&crate::image::digest::chain_ids(&fixture.diff_ids)[1]);
    let root = fs::metadata(top).expect("stat");
    assert_eq!((root.mode() & 0o7777, root.uid()), (0o711, 3));
}

#[test]
fn a_hard_link_to_a_file_of_a_lower_layer_has_its_content() {
    let mut fixture = Fixture::new();
    fixture.apply(&TarBuilder::new().file("bin/busybox", 0o755, "applets").finish()).expect("base");
    fixture.apply(&TarBuilder::new().hard_link("bin/sh", "bin/busybox").finish()).expect("upper");
    let merged = fixture.merged();
    assert_eq!(merged.text("bin/sh"), "applets");
    assert_eq!(fs::metadata(merged.root.join("bin/sh")).expect("stat").mode() & 0o777, 0o755);
}

#[test]
fn files_behind_a_link_to_a_directory_land_in_that_directory() {
    let mut fixture = Fixture::new();
    let base = TarBuilder::new().dir("usr/lib/", 0o755).symlink("lib", "usr/lib").symlink("abs", "/usr/../usr/lib");
    fixture.apply(&base.finish()).expect("base");
    let upper = TarBuilder::new().file("lib/a/one", 0o644, "1").file("abs/two", 0o644, "2");
    fixture.apply(&upper.finish()).expect("upper");
    let merged = fixture.merged();
    assert_eq!((merged.text("usr/lib/a/one"), merged.text("usr/lib/two")), ("1".into(), "2".into()));
    assert!(fs::symlink_metadata(merged.root.join("lib")).expect("stat").is_symlink());
}

#[test]
fn whiteouts_hide_what_is_below_and_only_that() {
    let mut fixture = Fixture::new();
    let base = TarBuilder::new()
        .file("gone", 0o644, "")
        .file("gone-dir/a/b", 0o644, "")
        .file("opaque/old", 0o644, "old")
        .file("opaque/sub/old", 0o644, "old")
        .file("kept/old", 0o644, "old");
    fixture.apply(&base.finish()).expect("base");
    let upper = TarBuilder::new()
        .whiteout(".wh.gone")
        .whiteout(".wh.gone-dir")
        .whiteout(".wh.never-was")
        .file("opaque/sub/new", 0o644, "new")
        .whiteout("opaque/.wh..wh..opq")
        .file("opaque/after", 0o644, "new")
        .whiteout("kept/.wh..wh.plnk")
        .file("kept/new", 0o644, "new");
    fixture.apply(&upper.finish()).expect("upper");
    let merged = fixture.merged();
    assert_eq!(merged.names(""), ["kept", "opaque"]);
    assert_eq!(merged.names("opaque"), ["after", "sub"]);
    assert_eq!(merged.names("opaque/sub"), ["new"]);
    assert_eq!(merged.names("kept"), ["new", "old"]);
}

#[test]
fn a_later_entry_replaces_an_earlier_one_of_another_kind() {
    let mut fixture = Fixture::new();
    fixture
        .apply(&TarBuilder::new().file("d/x", 0o644, "").file("f", 0o644, "").symlink("l", "d").finish())
        .expect("base");
    let upper =
        TarBuilder::new().file("d", 0o644, "file now").dir("f/", 0o755).file("f/x", 0o644, "x").dir("l/", 0o750);
    fixture.apply(&upper.finish()).expect("upper");
    let merged = fixture.merged();
    assert_eq!(merged.text("d"), "file now");
    assert_eq!(merged.text("f/x"), "x");
    assert!(fs::symlink_metadata(merged.root.join("l")).expect("stat").is_dir(), "a directory replaces a link to one");
}

#[test]
fn names_that_lead_out_of_the_image_write_nothing_outside() {
    assert!(Fixture::refused(TarBuilder::new().file("../evil", 0o644, "")).contains("leads out"));
    assert!(Fixture::refused(TarBuilder::new().file("a/../../evil", 0o644, "")).contains("leads out"));
    assert!(Fixture::refused(TarBuilder::new().hard_link("x", "../../etc/passwd")).contains("leads out"));
    assert!(Fixture::refused(TarBuilder::new().hard_link("x", "/etc/passwd")).contains("not in the image"));
    assert!(
        Fixture::refused(TarBuilder::new().symlink("e", "/etc").hard_link("x", "e/passwd"))
            .contains("not in the image")
    );
    let mut fixture = Fixture::new();
    let diff = fixture
        .apply(&TarBuilder::new().file("/abs/x", 0o644, "1").finish())
        .expect("absolute names are below the root");
    assert!(diff.join("abs/x").is_file() && !Path::new("/abs/x").exists());
}

#[test]
fn a_hostile_name_is_shown_short_and_on_one_line() {
    assert_eq!(shown(&[b'a'; 4000]), "a".repeat(SHOWN_CHARS_MAX) + "…");
    let escape = Fixture::refused(TarBuilder::new().file("../\u{1b}[2J\nok", 0o644, ""));
    assert!(escape.contains("../?[2J?ok: a path leads out"), "{escape}");
}

#[test]
fn links_to_the_host_are_followed_inside_the_image_only() {
    let outside = tempfile::tempdir().expect("tempdir");
    let target = outside.path().to_str().expect("utf-8");
    let mut fixture = Fixture::new();
    let tar = TarBuilder::new().dir(&target[1..], 0o755).symlink("out", target).file("out/x", 0o644, "inside");
    let diff = fixture.apply(&tar.finish()).expect("unpacks");
    assert_eq!(fs::read_dir(outside.path()).expect("list").count(), 0);
    assert!(diff.join(&target[1..]).join("x").is_file());
    let dangling = TarBuilder::new().symlink("up", "../../../..").symlink("out", target).file("out/x", 0o644, "");
    Fixture::refused(dangling);
    assert_eq!(fs::read_dir(outside.path()).expect("list").count(), 0);
    // The last part is never followed, neither for files nor for attributes nor for whiteouts.
    let victim = outside.path().join("victim");
    fs::write(&victim, "safe").expect("write");
    let link = victim.to_str().expect("utf-8");
    let mut fixture = Fixture::new();
    let tar = TarBuilder::new().symlink("v", link).file("v", 0o777, "replaced").symlink("w", link).whiteout(".wh.w");
    fixture.apply(&tar.finish()).expect("unpacks");
    assert_eq!(fs::read_to_string(&victim).expect("read"), "safe");
    assert_ne!(fs::metadata(&victim).expect("stat").mode() & 0o777, 0o777);
}

#[test]
fn whiteouts_without_a_proper_name_are_refused() {
    for name in [".wh.", ".wh..", ".wh...", "d/.wh..."] {
        assert!(Fixture::refused(TarBuilder::new().file(name, 0o644, "")).contains("whiteout"), "{name}");
    }
}

#[test]
fn entries_that_would_forge_the_overlays_own_marks_are_refused() {
    let tar = TarBuilder::new().entry(EntryType::Char, "x", "", 0o644, (0, 0), b"");
    assert!(Fixture::refused(tar).contains("0:0"));
    assert!(Fixture::refused(TarBuilder::new().file(".", 0o644, "")).contains("root"));
    assert!(Fixture::refused(TarBuilder::new().hard_link("x", "x")).contains("itself"));
    assert!(Fixture::refused(TarBuilder::new().dir("d/", 0o755).hard_link("x", "d")).contains("directory"));
}

#[test]
fn a_damaged_or_cut_layer_leaves_nothing() {
    let tar = TarBuilder::new().file("a", 0o644, &"x".repeat(100_000)).finish();
    let packed = gzip(&tar);
    let mut flipped = packed.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0xff;
    for bad in [
        &packed[..packed.len() - 9],
        &flipped,
        &tar[..50_000],
        b"this is not an archive, but it is long".repeat(40).as_slice(),
    ] {
        let mut fixture = Fixture::new();
        let error = fixture.apply(bad).expect_err("damaged");
        assert!(matches!(error, ImageError::BadLayer { .. }), "{error}");
        fixture.assert_clean();
    }
}

#[test]
fn a_layer_with_another_content_than_the_configuration_says_is_refused() {
    let fixture = Fixture::new();
    let tar = TarBuilder::new().file("a", 0o644, "").finish();
    let other = Digest::sha256(b"other");
    let error = fixture.store.apply(&tar[..], None, &[], Some(&other), "layer 1 of x").expect_err("differs");
    assert!(matches!(error, ImageError::DigestMismatch { .. }), "{error}");
    fixture.assert_clean();
}

#[test]
fn many_directories_are_stopped_before_they_fill_the_memory() {
    let limits = Limits { kept_bytes_max: 10 << 10, ..Limits::default() };
    let same = (0..1_000).fold(TarBuilder::new(), |tar, _| tar.dir("dir/", 0o755)).finish();
    Fixture::limited(limits).apply(&same).expect("one directory, however often it is listed");
    let different = (0..1_000).fold(TarBuilder::new(), |tar, n| tar.dir(&format!("dir-{n}/"), 0o755)).finish();
    let mut fixture = Fixture::limited(limits);
    let error = fixture.apply(&different).expect_err("too many").to_string();
    assert!(error.contains("too many different paths"), "{error}");
    fixture.assert_clean();
}

#[test]
fn what_exceeds_a_limit_is_stopped() {
    let (plain_bytes_max, ratio_free_bytes, kept_bytes_max) = (1 << 20, 64 << 10, 1 << 10);
    let limits = Limits { plain_bytes_max, entries_max: 3, ratio_max: 10, ratio_free_bytes, kept_bytes_max };
    let three = TarBuilder::new().file("a", 0o644, "").file("b", 0o644, "").file("c", 0o644, "");
    let four = TarBuilder::new().file("a", 0o644, "").file("b", 0o644, "").file("c", 0o644, "").file("d", 0o644, "");
    Fixture::limited(limits).apply(&three.finish()).expect("within");
    let zeros = TarBuilder::new().file("zeros", 0o644, &"\0".repeat(512 << 10)).finish();
    Fixture::limited(limits).apply(&zeros).expect("plain is within");
    for bad in [four.finish(), gzip(&zeros), TarBuilder::new().file("z", 0o644, &"\0".repeat(2 << 20)).finish()] {
        let mut fixture = Fixture::limited(limits);
        let error = fixture.apply(&bad).expect_err("too much");
        assert!(matches!(error, ImageError::BadLayer { .. }), "{error}");
        fixture.assert_clean();
    }
}

#[test]
fn a_full_disk_is_said_to_be_full_and_leaves_nothing() {
    let dir = tempfile::tempdir().expect("tempdir");
    let options = Some("size=256k");
    nix::mount::mount(Some("tmpfs"), dir.path(), Some("tmpfs"), nix::mount::MsFlags::empty(), options).expect("mounts");
    let tmp = dir.path().join("tmp");
    fs::create_dir(&tmp).expect("mkdir");
    let store = LayerStore::new(dir.path().join("layers"), tmp.clone(), Limits::default()).expect("store");
    let base = TarBuilder::new().file("small", 0o644, "x").finish();
    let below = store.apply(&base[..], None, &[], None, "layer 1").expect("fits").diff_id;
    let big = TarBuilder::new().file("big", 0o644, &"x".repeat(1 << 20)).finish();
    let error = store.apply(&big[..], None, &[below], None, "layer 2").expect_err("full");
    let left = fs::read_dir(&tmp).expect("list").count();
    umount2(dir.path(), MntFlags::MNT_DETACH).expect("unmount");
    assert!(matches!(error, ImageError::DiskFull { .. }), "{error}");
    assert_eq!(left, 0);
}

#[test]
fn an_image_cannot_nest_directories_without_end_by_way_of_links() {
    let deep = ["x"; 40].join("/");
    let tar = TarBuilder::new().dir(&deep, 0o755).symlink("a", &deep);
    // Each name is short, and each link leads forty deeper than the one before.
    let tar = (0..8).fold(tar, |tar, n| {
        let (from, to) = (char::from(b'a' + n), char::from(b'b' + n));
        tar.dir(&format!("{from}/{deep}"), 0o755).symlink(&to.to_string(), &format!("{from}/{deep}"))
    });
    let error = Fixture::refused(tar);
    assert!(error.contains("within each other"), "{error}");
}
