//! Loading, importing, naming, removing, mounting, and opening again.

use super::*;
use crate::image::archive::ImportOptions;
use crate::image::testing::{TarBuilder, TestImage, gzip, store};
use serde_json::json;
use std::fs;

fn reference(text: &str) -> Reference {
    Reference::parse(text).expect(text)
}

fn two_layers() -> TestImage {
    let base = TarBuilder::new().file("etc/name", 0o644, "base").file("etc/gone", 0o644, "").finish();
    let top = TarBuilder::new().file("etc/name", 0o644, "top").whiteout("etc/.wh.gone").finish();
    TestImage::new(vec![base, top], r#""Cmd":["/run"],"Env":["A=1"]"#)
}

fn one_layer(content: &str) -> TestImage {
    TestImage::new(vec![TarBuilder::new().file("f", 0o644, content).finish()], "")
}

fn layers_on_disk(store: &ImageStore) -> usize {
    store.inner.layers.list().expect("list").len()
}

fn reopen(store: ImageStore) -> ImageStore {
    let dir = store.inner.dir.clone();
    drop(store);
    ImageStore::open(&dir, StoreOptions::default()).expect("opens again")
}

#[test]
fn a_docker_save_archive_is_loaded_with_its_names_and_survives_opening_again() {
    let (_dir, store) = store();
    let image = two_layers();
    let archive = image.docker_save(&["web:2", "localhost:5000/web:latest"]);
    let loaded = store.load(&gzip(&archive)[..]).expect("loads");
    assert_eq!(loaded.len(), 1);
    assert_eq!(loaded[0].names, ["web:2", "localhost:5000/web:latest"]);
    let store = reopen(store);
    let found = store.inspect("web:2").expect("there");
    assert_eq!(found.id, image.id());
    assert_eq!((found.config.cmd, found.config.env), (vec!["/run".to_owned()], vec!["A=1".to_owned()]));
    assert_eq!(found.size, 7);
    assert_eq!(found.created.as_deref(), Some("2024-01-02T03:04:05Z"));
    assert_eq!(layers_on_disk(&store), 2);
}

#[test]
fn an_oci_archive_is_named_by_either_annotation_and_a_bare_tag_is_no_name() {
    let image = two_layers();
    let table = [
        (json!({ "org.opencontainers.image.ref.name": "web:2" }), vec!["web:2"]),
        (
            json!({ "org.opencontainers.image.ref.name": "2", "io.containerd.image.name": "docker.io/library/web:2" }),
            vec!["web:2"],
        ),
        (json!({ "org.opencontainers.image.ref.name": "latest" }), vec![]),
        (json!({}), vec![]),
    ];
    for (annotations, names) in table {
        let (_dir, store) = store();
        let loaded = store.load(&image.oci(annotations)[..]).expect("loads");
        assert_eq!(loaded[0].names, names);
        assert_eq!(loaded[0].image.id, image.id());
        assert_eq!(store.list().expect("list").len(), 1);
    }
}

#[test]
fn a_damaged_archive_is_refused_and_leaves_nothing() {
    let image = two_layers();
    let good = image.docker_save(&["web:2"]);
    let layer = image.layers[1].clone();
    let at = good.windows(layer.len()).position(|w| w == layer).expect("layer is in it");
    let mut flipped = good.clone();
    flipped[at + 512] ^= 1; // the content of the file in the second layer
    let wrong_size =
        TestImage { config: image.config.clone(), layers: image.layers[..1].to_vec() }.docker_save(&["web:2"]);
    let nothing = TarBuilder::new().file("etc/passwd", 0o644, "").finish();
    let hostile = TarBuilder::new().file("../manifest.json", 0o644, "[]").finish();
    for bad in [&flipped[..], &wrong_size, &good[..good.len() / 2], &nothing, &hostile, b""] {
        let (_dir, store) = store();
        store.load(bad).expect_err("must be refused");
        assert_eq!(store.list().expect("list").len(), 0);
        assert_eq!(layers_on_disk(&store), 0);
        assert_eq!(fs::read_dir(&store.inner.tmp).expect("list").count(), 0);
    }
    let (_dir, store) = store();
    let error = store.load(&flipped[..]).expect_err("flipped").to_string();
    assert!(error.starts_with("layer 2 of web:2 is corrupt"), "{error}");
}

#[test]
fn an_imported_root_file_system_has_the_configuration_of_its_changes() {
    let (_dir, store) = store();
    let tar = TarBuilder::new().file("bin/sh", 0o755, "#!").finish();
    let changes = vec!["CMD [\"/bin/sh\"]".to_owned(), "ENV A=1".to_owned()];
    let options = ImportOptions { changes, message: "made by hand".into(), platform: None };
    let compressed = zstd::stream::encode_all(&tar[..], 1).expect("compress");
    let image = store.import(&compressed[..], Some(&reference("tools:1")), &options).expect("imports");
    assert_eq!(image.config.cmd, ["/bin/sh"]);
    assert_eq!(image.repo_tags, ["tools:1"]);
    assert_eq!(image.diff_ids, [Digest::sha256(&tar)]);
    assert_eq!(image.history[0].comment.as_deref(), Some("made by hand"));
    assert_eq!(image.config.platform(), crate::image::Platform::host());
    let bad = ImportOptions { changes: vec!["RUN x".into()], ..ImportOptions::default() };
    assert!(matches!(store.import(&tar[..], None, &bad), Err(ImageError::BadChange { .. })));
}

#[test]
fn images_share_layers_and_a_layer_goes_with_its_last_image() {
    let (_dir, store) = store();
    let base = TarBuilder::new().file("base", 0o644, "b").finish();
    let with = |name: &str| TestImage::new(vec![base.clone(), TarBuilder::new().file(name, 0o644, "").finish()], "");
    store.load(&with("a").docker_save(&["a:1"])[..]).expect("loads");
    store.load(&with("b").docker_save(&["b:1"])[..]).expect("loads");
    assert_eq!(layers_on_disk(&store), 3);
    let removed = store.remove("a:1", false).expect("removed");
    assert_eq!(removed, [Removed::Untagged("a:1".into()), Removed::Deleted(with("a").id())]);
    assert_eq!(layers_on_disk(&store), 2);
    store.remove(with("b").id().short(), false).expect("removed by id");
    assert_eq!((layers_on_disk(&store), store.list().expect("list").len()), (0, 0));
    assert!(matches!(store.remove("b:1", false), Err(ImageError::NotFound { .. })));
    assert!(!store.inner.blobs.has(&with("b").id()));
}

#[test]
fn a_name_moves_to_the_new_image_and_the_old_one_stays_until_pruned() {
    let (_dir, store) = store();
    let (old, new) = (one_layer("old"), one_layer("new"));
    store.load(&old.docker_save(&["web:1"])[..]).expect("loads");
    store.load(&new.docker_save(&["web:1"])[..]).expect("loads");
    assert_eq!(store.inspect("web:1").expect("there").id, new.id());
    assert_eq!(store.inspect(old.id().as_str()).expect("there").repo_tags, Vec::<String>::new());
    store.tag("web:1", &reference("web:2")).expect("tags");
    assert!(matches!(store.remove(new.id().as_str(), false), Err(ImageError::SeveralNames { .. })));
    let pruned = store.prune(false).expect("prunes");
    assert_eq!((pruned.removed, pruned.reclaimed), (vec![Removed::Deleted(old.id())], 3));
    assert_eq!(store.remove("web:1", false).expect("untags"), [Removed::Untagged("web:1".into())]);
    assert_eq!(store.inspect("web:2").expect("stays").id, new.id());
}

#[test]
fn a_containers_root_shows_the_image_keeps_its_writes_and_survives_the_daemon() {
    let (_dir, store) = store();
    let image = store.load(&two_layers().docker_save(&["web:2"])[..]).expect("loads").remove(0).image;
    let root = store.prepare("c1", &image).expect("mounts");
    assert_eq!(fs::read_to_string(root.path.join("etc/name")).expect("read"), "top");
    assert!(!root.path.join("etc/gone").exists());
    fs::write(root.path.join("etc/name"), "mine").expect("write");
    let other = store.prepare("c2", &image).expect("mounts");
    assert_eq!(fs::read_to_string(other.path.join("etc/name")).expect("read"), "top");

    let store = reopen(store);
    let prepared = store.list_prepared().expect("list");
    assert_eq!(
        prepared.iter().map(|p| (p.container_id.as_str(), p.mounted)).collect::<Vec<_>>(),
        [("c1", true), ("c2", true)]
    );
    let again = store.prepare("c1", &image).expect("is there");
    assert_eq!(fs::read_to_string(again.path.join("etc/name")).expect("read"), "mine");

    // The host restarted: the mount is gone, the directory not.
    overlay::unmount(&again.path).expect("unmount");
    let fresh = store.prepare("c1", &image).expect("mounts anew");
    assert_eq!(fs::read_to_string(fresh.path.join("etc/name")).expect("read"), "top");

    for id in ["c1", "c2", "never-was"] {
        store.release(id).expect("releases");
    }
    assert_eq!(store.list_prepared().expect("list"), []);
    assert_eq!(overlay::mounts_below(&store.inner.dir).expect("mounts"), Vec::<PathBuf>::new());
    assert_eq!(fs::read_dir(store.inner.snapshots_dir()).expect("list").count(), 0);
}

#[test]
fn an_image_in_use_is_not_removed_and_its_layers_outlive_even_force() {
    let (_dir, store) = store();
    let image = store.load(&two_layers().docker_save(&["web:2"])[..]).expect("loads").remove(0).image;
    let root = store.prepare("c1", &image).expect("mounts");
    for name in ["web:2", image.id.as_str()] {
        let error = store.remove(name, false).expect_err("in use");
        assert_eq!(error.to_string(), format!("image {name} is in use by container c1"));
    }
    assert_eq!(store.remove("web:2", true).expect("untags"), [Removed::Untagged("web:2".into())]);
    assert_eq!(store.prune(true).expect("prunes").removed, []);
    assert_eq!(fs::read_to_string(root.path.join("etc/name")).expect("read"), "top");
    store.release("c1").expect("releases");
    assert_eq!(store.prune(false).expect("prunes").removed, [Removed::Deleted(image.id.clone())]);
    assert_eq!(layers_on_disk(&store), 0);
    assert!(matches!(store.prepare("c1", &image), Err(ImageError::NotFound { .. })));
}

#[test]
fn an_image_of_very_many_layers_or_of_none_can_be_mounted() {
    let (_dir, store) = store();
    let layer = |i: usize| TarBuilder::new().file(&format!("f{i}"), 0o644, "").finish();
    let many = TestImage::new((0..crate::image::layer::LAYERS_MAX).map(layer).collect(), "");
    let image = store.load(&many.docker_save(&["many:1"])[..]).expect("loads").remove(0).image;
    let root = store.prepare("many", &image).expect("mounts");
    assert_eq!(fs::read_dir(&root.path).expect("list").count(), crate::image::layer::LAYERS_MAX);
    store.release("many").expect("releases");
    let none = store.load(&TestImage::new(vec![], "").docker_save(&["none:1"])[..]).expect("loads").remove(0).image;
    let root = store.prepare("none", &none).expect("mounts");
    fs::write(root.path.join("x"), "").expect("writable");
    store.release("none").expect("releases");
    let more = TestImage::new((0..=crate::image::layer::LAYERS_MAX).map(layer).collect(), "");
    assert!(matches!(store.load(&more.docker_save(&["more:1"])[..]), Err(ImageError::TooBig { .. })));
}

#[test]
fn a_directory_with_characters_that_mean_something_to_mount_works() {
    let dir = tempfile::tempdir().expect("tempdir");
    let store = ImageStore::open(&dir.path().join("a:b,c \\d"), StoreOptions::default()).expect("opens");
    let image = store.load(&two_layers().docker_save(&["web:2"])[..]).expect("loads").remove(0).image;
    let root = store.prepare("c1", &image).expect("mounts");
    assert_eq!(fs::read_to_string(root.path.join("etc/name")).expect("read"), "top");
    assert!(store.list_prepared().expect("list")[0].mounted);
    store.release("c1").expect("releases");
    assert_eq!(overlay::mounts_below(&store.inner.dir).expect("mounts"), Vec::<PathBuf>::new());
}

#[test]
fn container_ids_that_are_no_names_are_refused() {
    let (_dir, store) = store();
    let image = store.load(&one_layer("x").docker_save(&["web:2"])[..]).expect("loads").remove(0).image;
    for id in ["", ".", "..", "../x", "a/b", "a\0", ".tmp", &"x".repeat(200)] {
        assert!(matches!(store.prepare(id, &image), Err(ImageError::BadContainerId { .. })), "{id:?}");
        assert!(matches!(store.release(id), Err(ImageError::BadContainerId { .. })), "{id:?}");
    }
}

#[test]
fn a_second_process_is_kept_out() {
    let (_dir, store) = store();
    let again = ImageStore::open(&store.inner.dir, StoreOptions::default());
    assert!(matches!(again, Err(ImageError::Locked { .. })));
}

#[test]
fn what_a_killed_process_left_is_cleared_away_when_the_store_opens() {
    let (_dir, store) = store();
    store.load(&two_layers().docker_save(&["web:2"])[..]).expect("loads");
    let dir = store.inner.dir.clone();
    let orphan = store.inner.layers.apply(&one_layer("x").layers[0][..], None, &[], None, "x").expect("unpacks");
    fs::create_dir_all(dir.join("tmp/layer-1-1/diff/deep")).expect("mkdir");
    let blob = Digest::sha256(b"half");
    fs::write(store.inner.blobs.path(&blob), "half").expect("write");
    fs::create_dir(dir.join("snapshots/empty-one")).expect("mkdir");
    let store = reopen(store);
    assert_eq!(store.inspect("web:2").expect("there").id, two_layers().id());
    assert!(store.inner.layers.get(&orphan.chain_id).is_none());
    assert_eq!(fs::read_dir(dir.join("tmp")).expect("list").count(), 0);
    assert!(
        !store.inner.blobs.has(&blob) && store.inner.blobs.partial_path(&blob).exists(),
        "it is verified before it is used"
    );
    assert_eq!(store.list_prepared().expect("list"), []);
}

#[test]
fn an_image_whose_files_were_damaged_behind_our_back_says_so_and_can_be_loaded_again() {
    let (_dir, store) = store();
    let archive = two_layers().docker_save(&["web:2"]);
    let image = store.load(&archive[..]).expect("loads").remove(0).image;
    let chain = crate::image::digest::chain_ids(&image.diff_ids);
    fs::remove_dir_all(store.inner.layers.diff_dir(&chain[1]).parent().expect("parent")).expect("damage");
    assert!(matches!(store.prepare("c1", &image), Err(ImageError::Damaged { .. })));
    assert_eq!(store.list_prepared().expect("list"), []);
    store.load(&archive[..]).expect("loads again");
    store.prepare("c1", &image).expect("mounts");
    store.release("c1").expect("releases");
    fs::write(store.inner.blobs.path(&image.id), "{}").expect("damage");
    let store = reopen(store);
    assert!(matches!(store.inspect("web:2"), Err(ImageError::NotFound { .. })));
    store.load(&archive[..]).expect("loads again");
    assert_eq!(store.inspect("web:2").expect("there").id, image.id);
}
