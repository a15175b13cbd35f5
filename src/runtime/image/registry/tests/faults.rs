//! What registries and networks do when they do not work.

use super::servers::{Asked, FakeRegistry, Reply, ranged};
use super::*;
use crate::image::digest::Digest;
use crate::image::{Platform, RegistryAuth};

#[tokio::test]
async fn a_cut_connection_is_continued_where_it_stopped() {
    let ranges: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
    let seen = ranges.clone();
    let (_, blobs) = image().for_registry();
    let large = blobs.into_values().max_by_key(Vec::len).expect("layers");
    let path = format!("x/blobs/{}", Digest::sha256(&large));
    let server = FakeRegistry::with_image(&image(), move |_, asked| {
        if asked.path != path {
            return None;
        }
        seen.lock().expect("lock").push(asked.headers.get("range").cloned());
        let cut = (asked.before < 6).then_some(large.len() / 10);
        Some(Reply { cut, ..ranged(&large, asked) })
    })
    .await;
    let (_dir, store) = quick_store(StoreOptions::default());
    let steps = Steps::default();
    let name = format!("{}/x:1", server.host);
    // Six faults, though only three attempts without progress are allowed.
    store.pull(&reference(&name), None, None, steps.sink()).await.expect("pulls");
    let ranges = ranges.lock().expect("lock").clone();
    assert_eq!(ranges.len(), 7);
    assert_eq!(ranges[0], None);
    assert!(ranges[1..].iter().all(|r| r.as_ref().is_some_and(|r| r != "bytes=0-")), "{ranges:?}");
    assert_eq!(steps.states().iter().filter(|s| matches!(s, PullState::Retrying { .. })).count(), 6);
}

#[tokio::test]
async fn a_download_that_an_earlier_pull_began_is_continued_and_verified_from_its_first_byte() {
    let (_, blobs) = image().for_registry();
    let large = blobs.into_values().max_by_key(Vec::len).expect("layers");
    let digest = Digest::sha256(&large);
    for (left, requests) in
        [(large[..1000].to_vec(), 1), (large.clone(), 0), (vec![0; 1000], 2), (vec![0; large.len() + 1], 1)]
    {
        let server = FakeRegistry::with_image(&image(), |_, _| None).await;
        let (_dir, store) = quick_store(StoreOptions::default());
        std::fs::write(store.inner.blobs.partial_path(&digest), &left).expect("write");
        pull(&store, &format!("{}/x:1", server.host)).await.expect("pulls");
        assert_eq!(server.count(digest.hex()), requests, "{} bytes were there", left.len());
    }
}

#[tokio::test]
async fn a_server_that_cannot_continue_is_asked_for_the_whole() {
    let (_, blobs) = image().for_registry();
    let large = blobs.into_values().max_by_key(Vec::len).expect("layers");
    let path = format!("x/blobs/{}", Digest::sha256(&large));
    for refusal in [200, 416] {
        let (large, path) = (large.clone(), path.clone());
        let server = FakeRegistry::with_image(&image(), move |_, asked| {
            if asked.path != path {
                return None;
            }
            let continued = asked.headers.contains_key("range");
            let cut = (asked.before == 0).then_some(large.len() / 2);
            Some(if continued && refusal == 416 {
                Reply::status(416)
            } else {
                Reply { cut, ..Reply::ok(large.clone()) }
            })
        })
        .await;
        let (_dir, store) = quick_store(StoreOptions::default());
        pull(&store, &format!("{}/x:1", server.host)).await.expect("pulls");
    }
}

#[tokio::test]
async fn passing_faults_are_tried_again_and_lasting_ones_are_not() {
    for (status, asked_times) in [(503, 3), (500, 3), (429, 3), (400, 1), (403, 1), (404, 1)] {
        let server = FakeRegistry::start(move |_, _| Reply::status(status)).await;
        let (_dir, store) = quick_store(StoreOptions::default());
        let error = pull(&store, &format!("{}/x:1", server.host)).await.expect_err("fails");
        assert_eq!(server.count("manifests/1"), asked_times, "{status}: {error}");
        let right = match status {
            404 => matches!(error, ImageError::NotInRegistry { .. }),
            403 => matches!(error, ImageError::Unauthorized { .. }),
            429 => matches!(error, ImageError::RateLimited { .. }),
            _ => matches!(error, ImageError::Protocol { .. }),
        };
        assert!(right, "{status}: {error}");
    }
    let once = FakeRegistry::with_image(&image(), |_, asked| (asked.before == 0).then(|| Reply::status(503))).await;
    let (_dir, store) = quick_store(StoreOptions::default());
    pull(&store, &format!("{}/x:1", once.host)).await.expect("every second attempt works");
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_said_to_be_unreachable() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("address");
    let (_dir, store) = quick_store(StoreOptions::default());
    let error = pull(&store, &format!("{free}/x:1")).await.expect_err("nobody listens");
    assert_eq!(error.to_string(), format!("registry {free} cannot be reached: Connection refused (os error 111)"));
}

#[tokio::test]
async fn a_manifest_that_is_too_large_or_not_what_was_asked_for_is_refused() {
    let large = FakeRegistry::start(|_, _| Reply::ok(vec![b' '; 5 << 20])).await;
    let (_dir, store) = quick_store(StoreOptions::default());
    let error = pull(&store, &format!("{}/x:1", large.host)).await.expect_err("too large");
    assert!(error.to_string().contains("larger than"), "{error}");

    let (manifest, _) = image().for_registry();
    let served = manifest.clone();
    let other = FakeRegistry::start(move |_, _| Reply::ok(served.clone())).await;
    let wanted = Digest::sha256(b"another manifest");
    let error = pull(&store, &format!("{}/x@{wanted}", other.host)).await.expect_err("another one");
    assert!(matches!(error, ImageError::DigestMismatch { .. }), "{error}");
    let lying = FakeRegistry::start(move |_, _| {
        Reply::ok(manifest.clone()).header("docker-content-digest", Digest::sha256(b"x").to_string())
    })
    .await;
    let error = pull(&store, &format!("{}/x:1", lying.host)).await.expect_err("lies");
    assert!(matches!(error, ImageError::DigestMismatch { .. }), "{error}");
    assert_nothing_left(&store);
}

#[tokio::test]
async fn a_blob_longer_than_promised_is_cut_off() {
    let server = FakeRegistry::with_image(&image(), |_, asked| {
        (asked.path.contains("/blobs/") && !asked.path.contains(image().id().hex()))
            .then(|| Reply::ok(vec![0; 1 << 20]))
    })
    .await;
    let (_dir, store) = quick_store(StoreOptions::default());
    let error = pull(&store, &format!("{}/x:1", server.host)).await.expect_err("too long");
    assert!(error.to_string().contains("longer than its manifest says"), "{error}");
    assert_nothing_left(&store);
}

#[tokio::test]
async fn the_platform_is_chosen_from_an_index_and_a_missing_one_lists_what_there_is() {
    let (manifest, _) = image().for_registry();
    let host = Platform::host();
    let entry = |digest: &Digest, os: &str, architecture: &str| {
        serde_json::json!({ "mediaType": "m", "digest": digest, "size": 1,
            "platform": { "os": os, "architecture": architecture } })
    };
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [
        entry(&Digest::sha256(b"no"), "linux", "s390x"),
        entry(&Digest::sha256(b"attestation"), "unknown", "unknown"),
        entry(&Digest::sha256(&manifest), "linux", &host.architecture),
    ]});
    let index = index.to_string().into_bytes();
    let served = index.clone();
    let server = FakeRegistry::with_image(&image(), move |_, asked| {
        (asked.path == "x/manifests/multi").then(|| Reply::ok(served.clone()))
    })
    .await;
    let (_dir, store) = quick_store(StoreOptions::default());
    let name = reference(&format!("{}/x:multi", server.host));
    let pulled = store.pull(&name, None, None, |_| {}).await.expect("pulls");
    assert_eq!(
        pulled.repo_digests,
        [format!("{}/x@{}", server.host, Digest::sha256(&index))],
        "the name stands for the index"
    );
    let mips = Platform::parse("linux/mips").expect("parses");
    let error = store.pull(&name, Some(&mips), None, |_| {}).await.expect_err("not there");
    let expected = format!("{} has no image for linux/mips; it has: linux/s390x, {host}", name.familiar());
    assert_eq!(error.to_string(), expected);
}

/// A registry with a token service; each token works for `uses` requests.
async fn with_tokens(uses: usize) -> FakeRegistry {
    let left: Mutex<Vec<usize>> = Mutex::default();
    FakeRegistry::with_image(&image(), move |host, asked: &Asked| {
        let login = asked.headers.get("authorization").map(String::as_str).unwrap_or_default();
        let mut left = left.lock().expect("lock");
        if let Some(query) = asked.path.strip_prefix("/token?") {
            let right = "Basic YW5uOnMzY3JldC13b3Jk"; // ann:s3cret-word
            let scope = query.contains("scope=repository%3Ax%3Apull") && query.contains("service=test");
            if login != right || !scope {
                return Some(Reply::status(401));
            }
            left.push(uses);
            return Some(Reply::ok(format!(r#"{{"token":"{}"}}"#, left.len() - 1).into_bytes()));
        }
        let number = login.strip_prefix("Bearer ").and_then(|token| token.parse::<usize>().ok());
        match number.and_then(|n| left.get_mut(n)) {
            Some(uses) if *uses > 0 => {
                *uses -= 1;
                None
            }
            Some(_) | None => {
                let challenge = format!(r#"Bearer realm="http://{host}/token",service="test""#);
                Some(Reply::status(401).header("www-authenticate", challenge))
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_token_is_fetched_with_the_credentials_and_again_when_it_expires() {
    let auth = RegistryAuth::basic("ann", "s3cret-word");
    for (uses, tokens) in [(100, 1), (2, 2)] {
        let server = with_tokens(uses).await;
        let (_dir, store) = quick_store(StoreOptions::default());
        let name = reference(&format!("{}/x:1", server.host));
        store.pull(&name, None, Some(&auth), |_| {}).await.expect("pulls");
        assert_eq!(server.count("/token"), tokens);
        let wrong = RegistryAuth::basic("ann", "guess");
        let error = store.pull(&name, None, Some(&wrong), |_| {}).await.expect_err("wrong password");
        assert!(matches!(error, ImageError::Unauthorized { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_mirror_is_asked_first_and_does_not_get_the_credentials() {
    let logins: Arc<Mutex<Vec<bool>>> = Arc::default();
    let seen = logins.clone();
    let (manifest, blobs) = image().for_registry();
    let mirror = FakeRegistry::start(move |_, asked| {
        seen.lock().expect("lock").push(asked.headers.contains_key("authorization"));
        match asked.path.strip_prefix("library/x/blobs/").and_then(|digest| blobs.get(digest)) {
            Some(blob) => ranged(blob, asked),
            None if asked.path == "library/x/manifests/1" => Reply::ok(manifest.clone()),
            None => Reply::status(404),
        }
    })
    .await;
    let (_dir, store) = quick_store(StoreOptions { mirrors: vec![mirror.host.clone()], ..StoreOptions::default() });
    let auth = RegistryAuth::basic("ann", "s3cret-word");
    let pulled = store.pull(&reference("x:1"), None, Some(&auth), |_| {}).await.expect("pulls");
    assert_eq!(pulled.repo_tags, ["x:1"]);
    assert!(logins.lock().expect("lock").iter().all(|with| !with));
}

#[tokio::test]
async fn waiters_of_one_pull_share_it_and_it_ends_with_the_last_of_them() {
    let gate: Arc<Mutex<bool>> = Arc::default();
    let open = gate.clone();
    // The layers break off until the gate opens, so that the pull stays under way.
    let server = FakeRegistry::with_image(&image(), move |_, asked| {
        let layer = asked.path.contains("/blobs/") && !asked.path.contains(image().id().hex());
        (layer && !*open.lock().expect("lock")).then(|| Reply::status(503))
    })
    .await;
    let retry =
        RetryPolicy { attempts_max: 1000, first_wait: Duration::from_millis(1), wait_max: Duration::from_millis(20) };
    let dir = tempfile::tempdir().expect("tempdir");
    let store = ImageStore::open(dir.path(), StoreOptions { retry, ..StoreOptions::default() }).expect("opens");
    let name = reference(&format!("{}/x:1", server.host));
    let start = || {
        let (started, steps) = tokio::sync::mpsc::unbounded_channel();
        let (store, name) = (store.clone(), name.clone());
        let task =
            tokio::spawn(async move { store.pull(&name, None, None, move |step| drop(started.send(step))).await });
        (task, steps)
    };
    let (first, mut steps) = start();
    while !matches!(steps.recv().await.expect("goes on").state, PullState::Retrying { .. }) {}
    let (second, mut late) = start();
    late.recv().await.expect("late waiters are told what happened");
    first.abort();
    assert!(first.await.expect_err("dropped").is_cancelled());
    *gate.lock().expect("lock") = true;
    let pulled = second.await.expect("joins").expect("the other waiter still gets it");
    assert_eq!((pulled.id, server.count("manifests")), (image().id(), 1));

    *gate.lock().expect("lock") = false;
    store.prune(true).expect("prunes");
    let (third, mut steps) = start();
    while !matches!(steps.recv().await.expect("goes on").state, PullState::Retrying { .. }) {}
    third.abort();
    assert!(third.await.expect_err("dropped").is_cancelled());
    // The task holds the sink: when the channel ends, nothing of the pull is left.
    while steps.recv().await.is_some() {}
    assert_nothing_left(&store);
}
