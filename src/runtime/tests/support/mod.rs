//! A root file system from busybox, a daemon's view of containers, and the cleaning up.
#![allow(dead_code)] // each test binary uses its part

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use runtime::container::{Containers, ContainersOptions, Exit, LogOptions};
use runtime::spec::{ContainerSpec, ProcessSpec};

pub const SHIM: &str = env!("CARGO_BIN_EXE_runtime-shim");

/// Longest a test waits for anything that should happen.
pub const LONG: Duration = Duration::from_secs(60);

/// Containers below a directory of their own; whatever is left is killed and removed at the end.
pub struct Host {
    pub dir: tempfile::TempDir,
    pub containers: Containers,
    pub rootfs: PathBuf,
    pub cgroup_parent: String,
}

pub fn options(dir: &Path, cgroup_parent: &str) -> ContainersOptions {
    ContainersOptions {
        state_dir: dir.join("state"),
        run_dir: dir.join("run"),
        shim_command: vec![SHIM.into(), "shim".into()],
        cgroup_parent: cgroup_parent.to_owned(),
    }
}

impl Host {
    pub async fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        assert!(nix::unistd::geteuid().is_root(), "these tests make containers: run them as root");
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let cgroup_parent = format!("/swarm-test-{}-{number}", std::process::id());
        let dir = tempfile::Builder::new().prefix("swarm-rt-").tempdir().expect("temp dir");
        let rootfs = dir.path().join("rootfs");
        make_rootfs(&rootfs);
        let containers = Containers::open(options(dir.path(), &cgroup_parent)).await.expect("open");
        Self { dir, containers, rootfs, cgroup_parent }
    }

    /// A container that runs a shell script.
    pub fn shell(&self, script: &str) -> ContainerSpec {
        self.spec(&["/bin/sh", "-c", script])
    }

    pub fn spec(&self, args: &[&str]) -> ContainerSpec {
        ContainerSpec {
            rootfs: self.rootfs.clone(),
            hostname: "box".to_owned(),
            process: ProcessSpec { args: args.iter().map(|arg| (*arg).to_owned()).collect(), ..Default::default() },
            ..Default::default()
        }
    }

    /// Creates and starts.
    pub async fn run(&self, id: &str, spec: &ContainerSpec) {
        self.containers.create(id, spec).await.expect("create");
        self.containers.start(id).await.expect("start");
    }

    pub async fn wait(&self, id: &str) -> Exit {
        tokio::time::timeout(LONG, self.containers.wait(id)).await.expect("it ends").expect("wait")
    }

    /// Runs to its end: the exit and everything it wrote.
    pub async fn output(&self, id: &str, spec: &ContainerSpec) -> (Exit, String) {
        self.run(id, spec).await;
        let exit = self.wait(id).await;
        (exit, self.log(id).await)
    }

    pub async fn log(&self, id: &str) -> String {
        use futures_util::StreamExt;
        let lines: Vec<_> = self.containers.logs(id, LogOptions::default()).await.expect("logs").collect().await;
        lines
            .into_iter()
            .map(|line| String::from_utf8_lossy(&line.expect("a line").bytes).into_owned())
            .collect::<String>()
    }

    /// Waits until the log holds the text.
    pub async fn until_logged(&self, id: &str, text: &str) {
        use futures_util::StreamExt;
        let options = LogOptions { follow: true, ..Default::default() };
        let mut lines = self.containers.logs(id, options).await.expect("logs");
        let found = tokio::time::timeout(LONG, async {
            let mut seen = String::new();
            while let Some(line) = lines.next().await {
                seen.push_str(&String::from_utf8_lossy(&line.expect("a line").bytes));
                if seen.contains(text) {
                    return;
                }
            }
            panic!("the log ended without {text:?}: {seen}");
        });
        found.await.expect("in time");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Shims end with their containers; killing by cgroup also ends what a failed test left.
        for tree in cgroup_dirs(&self.cgroup_parent) {
            for procs in walk(&tree) {
                let path = procs.join("cgroup.procs");
                let shims = procs.ends_with("shims");
                for pid in std::fs::read_to_string(&path).unwrap_or_default().lines() {
                    if let Ok(pid) = pid.parse::<i32>()
                        && !shims
                    {
                        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL);
                    }
                }
            }
        }
        let give_up = std::time::Instant::now() + Duration::from_secs(5);
        for tree in cgroup_dirs(&self.cgroup_parent) {
            while tree.exists() && std::time::Instant::now() < give_up {
                for dir in walk(&tree) {
                    let _ = std::fs::remove_dir(dir);
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

pub fn cgroup_dirs(path: &str) -> Vec<PathBuf> {
    let relative = path.trim_start_matches('/');
    let mut out = vec![Path::new("/sys/fs/cgroup").join(relative)];
    for entry in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        out.push(entry.path().join(relative));
    }
    out.retain(|dir| dir.exists());
    out
}

/// Deepest first.
fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            out.extend(walk(&entry.path()));
        }
    }
    out.push(dir.to_owned());
    out
}

fn busybox() -> &'static Path {
    static BUSYBOX: OnceLock<PathBuf> = OnceLock::new();
    BUSYBOX.get_or_init(|| {
        ["/bin/busybox", "/usr/bin/busybox"]
            .into_iter()
            .map(PathBuf::from)
            .find(|path| path.exists())
            .expect("install busybox-static")
    })
}

fn make_rootfs(rootfs: &Path) {
    for dir in ["bin", "etc", "proc", "sys", "dev", "tmp", "root", "srv"] {
        std::fs::create_dir_all(rootfs.join(dir)).expect("mkdir");
    }
    std::fs::copy(busybox(), rootfs.join("bin/busybox")).expect("copy busybox");
    for name in [
        "sh", "cat", "id", "ls", "grep", "mknod", "mount", "sleep", "kill", "true", "false", "ps", "env", "pwd", "dd",
        "touch", "echo", "tty", "stty", "hostname", "head", "stat", "chmod", "rm", "mkdir", "seq", "tail", "sync",
        "wc", "trap", "unshare", "printenv", "df", "readlink", "test", "cut", "tr", "umount",
    ] {
        std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(name)).expect("link");
    }
    std::fs::write(rootfs.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001::/srv:/bin/sh\n")
        .expect("passwd");
    std::fs::write(rootfs.join("etc/group"), "root:x:0:\nweb:x:1001:\nlogs:x:4:web\n").expect("group");
}
