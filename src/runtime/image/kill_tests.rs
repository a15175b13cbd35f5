//! A process killed at any moment leaves a store that opens, with all it had acknowledged.

use super::layer::overlay;
use super::testing::{TarBuilder, TestImage};
use super::{ImageStore, Reference, StoreOptions};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Kills in one run; each at another moment of the work.
const KILLS: u32 = 14;
/// Between one moment and the next. All of the work below takes some 30 ms on an idle machine.
const STEP: Duration = Duration::from_millis(4);

fn image(name: &str) -> TestImage {
    let layer = |i: usize| {
        let files =
            (0..20).fold(TarBuilder::new(), |tar, n| tar.file(&format!("{name}{i}/{n}"), 0o644, &"x".repeat(5000)));
        files.whiteout(&format!("{name}{}/.wh.1", i.wrapping_sub(1))).finish()
    };
    TestImage::new((0..3).map(layer).collect(), "")
}

/// What the child does until it is killed. A byte to the parent follows each step that it may rely on.
fn work(dir: &Path, mut parent: UnixStream) -> super::Result<()> {
    let store = ImageStore::open(dir, StoreOptions::default())?;
    let mut done = |step: u8| drop(parent.write_all(&[step]));
    let first = store.load(&image("a").docker_save(&["a:1"])[..])?.remove(0).image;
    done(1);
    store.prepare("c", &first)?;
    done(2);
    store.tag("a:1", &Reference::parse("b:1")?)?;
    done(3);
    store.load(&image("b").docker_save(&["b:1"])[..])?;
    done(4);
    store.release("c")?;
    done(5);
    store.remove("a:1", false)?;
    done(6);
    Ok(())
}

fn check(dir: &Path, step: u8) {
    let store = ImageStore::open(dir, StoreOptions::default()).expect("opens");
    let id = |name: &str| store.inspect(name).ok().map(|found| found.id);
    let (a, b) = (image("a").id(), image("b").id());
    assert!(!(1..5).contains(&step) || id("a:1") == Some(a.clone()), "step {step}");
    assert!(step < 3 || id("b:1").is_some(), "step {step}");
    assert!(step < 4 || id("b:1") == Some(b.clone()), "step {step}");
    assert!(step < 6 || id("a:1").is_none(), "step {step}");
    let prepared = store.list_prepared().expect("list");
    assert!(!(2..4).contains(&step) || prepared.len() == 1 && prepared[0].mounted, "step {step}");
    assert!(step < 5 || prepared.is_empty(), "step {step}");
    // Layers are those of the images there are, and each image can be used.
    let images = store.list().expect("list");
    assert_eq!(store.inner.layers.list().expect("list").len(), images.len() * 3, "step {step}");
    for found in &images {
        let root = store.prepare("check", found).expect("mounts");
        let files: usize = (0..3)
            .map(|i| {
                let name = if found.id == a { "a" } else { "b" };
                fs::read_dir(root.path.join(format!("{name}{i}"))).expect("list").count()
            })
            .sum();
        assert_eq!(files, 20 + 19 + 19, "step {step}");
        store.release("check").expect("releases");
    }
    for left in prepared {
        store.release(&left.container_id).expect("releases");
    }
    assert_eq!(fs::read_dir(dir.join("tmp")).expect("list").count(), 0);
    assert_eq!(overlay::mounts_below(dir).expect("mounts"), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_process_killed_at_any_moment_loses_nothing_acknowledged_and_leaves_nothing_half_made() {
    let mut reached = std::collections::BTreeSet::new();
    for n in 0..KILLS {
        let dir = tempfile::tempdir().expect("tempdir");
        let (mut ours, theirs) = UnixStream::pair().expect("pair");
        // SAFETY: the other thread of this process only waits for this test; the child uses no lock it could
        // hold but the allocator's, which libc keeps sound across a fork, and ends without unwinding.
        let child = match unsafe { fork() }.expect("fork") {
            ForkResult::Parent { child } => child,
            ForkResult::Child => {
                let code = i32::from(work(dir.path(), theirs).is_err());
                // SAFETY: ends the process at once, as nothing of the parent's may run here.
                unsafe { libc::_exit(code) }
            }
        };
        drop(theirs);
        // The last moments wait for a step instead, so that all are reached however slow the machine is.
        let mut steps = Vec::new();
        let wanted = (n % 7) as usize;
        while steps.len() < wanted {
            let mut byte = [0];
            ours.read_exact(&mut byte).expect("the child works until it is killed");
            steps.push(byte[0]);
        }
        std::thread::sleep(STEP * (n / 7));
        kill(child, Signal::SIGKILL).expect("kill");
        waitpid(child, None).expect("wait");
        ours.read_to_end(&mut steps).expect("the rest");
        let step = steps.last().copied().unwrap_or(0);
        reached.insert(step);
        check(dir.path(), step);
    }
    assert!(reached.len() >= 5, "the kills came at too few different moments: {reached:?}");
}
