//! Against Debian's docker-registry.

use super::servers::{PASSWORD, RealOptions, RealRegistry, USER};
use super::*;
use crate::image::RegistryAuth;
use std::fs;

#[tokio::test]
async fn an_image_is_pulled_by_tag_and_by_digest_and_again_without_a_download() {
    let registry = RealRegistry::start(RealOptions::default()).await;
    let digest = registry.push("team/x", "1", &image()).await;
    let (_dir, store) = quick_store(StoreOptions::default());
    let name = format!("{}/team/x:1", registry.host);
    let steps = Steps::default();
    let pulled = store.pull(&reference(&name), None, None, steps.sink()).await.expect("pulls");
    assert_eq!(pulled.id, image().id());
    assert_eq!(pulled.repo_tags, std::slice::from_ref(&name));
    assert_eq!(pulled.repo_digests, [format!("{}/team/x@{digest}", registry.host)]);
    assert_eq!(pulled.config.cmd, ["/run"]);
    let states = steps.states();
    assert!(matches!(&states[0], PullState::Pulling { name, tag } if name == "team/x" && tag == "1"));
    assert_eq!(states.last(), Some(&PullState::Downloaded { name: name.clone() }));
    assert_eq!(states.iter().filter(|s| **s == PullState::PullComplete).count(), 2);
    let blobs = fs::read_dir(store.inner.blobs.path(&digest).parent().expect("parent")).expect("list").count();
    assert_eq!(blobs, 2, "manifest and configuration stay, compressed layers do not");

    let steps = Steps::default();
    let by_digest = format!("{}/team/x@{digest}", registry.host);
    let again = store.pull(&reference(&by_digest), None, None, steps.sink()).await.expect("pulls");
    assert_eq!(again.id, pulled.id);
    assert_eq!(steps.states().last(), Some(&PullState::UpToDate { name: by_digest.clone() }));
    assert!(!steps.states().iter().any(|s| matches!(s, PullState::Downloading { .. })));
    assert_eq!(store.inspect(&by_digest).expect("found by digest").id, pulled.id);

    let root = store.prepare("c", &pulled).expect("mounts");
    assert_eq!(fs::read_to_string(root.path.join("etc/name")).expect("read"), "top");
    store.release("c").expect("releases");
}

#[tokio::test]
async fn a_password_is_needed_and_checked() {
    let registry = RealRegistry::start(RealOptions { password: true, ..RealOptions::default() }).await;
    registry.push("x", "1", &image()).await;
    let (_dir, store) = quick_store(StoreOptions::default());
    let name = reference(&format!("{}/x:1", registry.host));
    let with = |auth: Option<RegistryAuth>| {
        let (store, name) = (store.clone(), name.clone());
        async move { store.pull(&name, None, auth.as_ref(), |_| {}).await }
    };
    let error = with(None).await.expect_err("anonymous");
    assert!(matches!(&error, ImageError::Unauthorized { hint, .. } if hint.contains("log in")), "{error}");
    let error = with(Some(RegistryAuth::basic(USER, "wrong"))).await.expect_err("wrong password");
    assert!(matches!(&error, ImageError::Unauthorized { hint, .. } if hint.contains("wrong credentials")), "{error}");
    assert!(!error.one_line().contains("wrong password"));
    assert_nothing_left(&store);
    let pulled = with(Some(RegistryAuth::basic(USER, PASSWORD))).await.expect("pulls");
    assert_eq!(pulled.id, image().id());
    with(None).await.expect_err("credentials are not kept for others");
}

#[tokio::test]
async fn what_the_registry_does_not_have_is_said_to_be_missing() {
    let registry = RealRegistry::start(RealOptions::default()).await;
    let digest = registry.push("x", "1", &image()).await;
    let (_dir, store) = quick_store(StoreOptions::default());
    let other = crate::image::Digest::sha256(b"other");
    for name in ["x:2".to_owned(), "y:1".to_owned(), format!("x@{other}"), format!("y@{digest}")] {
        let name = format!("{}/{name}", registry.host);
        let error = pull(&store, &name).await.expect_err("missing");
        assert_eq!(error.to_string(), format!("no such image in registry {}: {name}", registry.host));
    }
    assert_nothing_left(&store);
}

#[tokio::test]
async fn a_flipped_byte_in_the_registry_is_a_corrupt_layer_and_a_repaired_one_is_pulled() {
    let registry = RealRegistry::start(RealOptions::default()).await;
    registry.push("x", "1", &image()).await;
    let (_dir, store) = quick_store(StoreOptions::default());
    let name = format!("{}/x:1", registry.host);
    let (_, blobs) = image().for_registry();
    let (digest, good) = blobs.iter().max_by_key(|(_, blob)| blob.len()).expect("two layers");
    let path = registry.blob_path(digest);
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    fs::write(&path, &bad).expect("flip");
    let error = pull(&store, &name).await.expect_err("corrupt");
    assert!(matches!(error, ImageError::DigestMismatch { .. }), "{error}");
    assert!(error.to_string().starts_with(&format!("layer 2 of {name} ")), "{error}");
    assert_nothing_left(&store);
    fs::write(&path, good).expect("repair");
    assert_eq!(pull(&store, &name).await.expect("pulls").id, image().id());
}

#[tokio::test]
async fn tls_is_used_where_it_is_spoken_and_its_certificate_is_checked() {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("certificate");
    let tls = Some((made.cert.pem(), made.signing_key.serialize_pem()));
    let registry = RealRegistry::start(RealOptions { tls, password: true }).await;
    registry.push("x", "1", &image()).await;
    let name = reference(&format!("{}/x:1", registry.host));
    let auth = RegistryAuth::basic(USER, PASSWORD);

    let (_dir, store) = quick_store(StoreOptions::default());
    let error = store.pull(&name, None, Some(&auth), |_| {}).await.expect_err("unknown authority");
    assert!(
        matches!(&error, ImageError::Unreachable { reason, .. } if reason.contains("certificate authority")),
        "{error}"
    );
    assert_nothing_left(&store);

    let options = StoreOptions { ca_files: vec![registry.dir.path().join("cert.pem")], ..StoreOptions::default() };
    let (_dir, store) = quick_store(options);
    assert_eq!(store.pull(&name, None, Some(&auth), |_| {}).await.expect("pulls").id, image().id());
}

#[tokio::test]
async fn many_waiters_for_one_image_share_one_download() {
    let registry = RealRegistry::start(RealOptions::default()).await;
    registry.push("x", "1", &image()).await;
    let (_dir, store) = quick_store(StoreOptions::default());
    let name = format!("{}/x:1", registry.host);
    let pulls = (0..8).map(|_| {
        let (store, name) = (store.clone(), name.clone());
        tokio::spawn(async move { pull(&store, &name).await })
    });
    for answer in futures_util::future::join_all(pulls).await {
        assert_eq!(answer.expect("joins").expect("pulls").id, image().id());
    }
}

#[tokio::test]
async fn a_name_is_resolved_to_its_digest_without_a_pull_and_found_here_after_one() {
    let registry = RealRegistry::start(RealOptions::default()).await;
    let digest = registry.push("x", "1", &image()).await;
    let (_dir, store) = quick_store(StoreOptions::default());
    let name = reference(&format!("{}/x:1", registry.host));
    let resolved = store.resolve(&name, None).await.expect("resolves");
    assert_eq!((&resolved.digest, resolved.platforms), (&digest, vec![crate::image::Platform::host()]));
    assert_eq!(resolved.media_type, "application/vnd.oci.image.manifest.v1+json");
    assert_nothing_left(&store);
    let pinned = reference(&format!("{}/x:1@{digest}", registry.host));
    store.ensure(&pinned, None, None, |_| {}).await.expect("pulls");
    drop(registry);
    assert_eq!(store.ensure(&pinned, None, None, |_| {}).await.expect("is here").id, image().id());
    store.ensure(&name, None, None, |_| {}).await.expect_err("the tag was never pulled, and nobody answers");
}
