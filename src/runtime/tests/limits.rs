//! Limits, mounts, users and namespaces as a program inside meets them.

mod support;

use std::path::Path;
use std::process::Command;

use runtime::container::Error;
use runtime::spec::{Mount, MountKind, Network, Propagation};
use support::{Host, cgroup_dirs};

fn bind(source: &Path, target: &str, read_only: bool, propagation: Propagation) -> Mount {
    let kind = MountKind::Bind { source: source.to_owned(), propagation };
    Mount { target: target.into(), kind, read_only }
}

#[tokio::test]
async fn limits_are_written_and_enforced() {
    let host = Host::new().await;
    let mut spec = host.shell("echo up; for i in 1 2 3 4 5 6 7 8 9 10; do sleep 1000 & done; echo forked");
    spec.resources.pids_limit = 5;
    spec.resources.nano_cpus = 500_000_000;
    spec.resources.memory = 32 << 20;
    spec.resources.memory_swap = 32 << 20;
    spec.process.args = vec!["sh".into(), "-c".into(), "echo up; sleep 1000".into()];
    host.run("a", &spec).await;
    host.until_logged("a", "up").await;
    let stats = host.containers.figures("a").await.expect("figures").container;
    assert_eq!((stats.pids_limit, stats.memory_limit), (Some(5), Some(32 << 20)));
    assert!(stats.pids_current >= 1 && stats.memory_usage > 0, "{stats:?}");
    let dirs = cgroup_dirs(&format!("{}/a", host.cgroup_parent));
    let written = |file: &str| dirs.iter().find_map(|dir| std::fs::read_to_string(dir.join(file)).ok());
    let cpu = written("cpu.max").or_else(|| written("cpu.cfs_quota_us")).expect("a file");
    assert!(["50000", "50000 100000"].contains(&cpu.trim()), "{cpu}");
    // A kernel without swap accounting has neither.
    if let Some(swap) = written("memory.swap.max") {
        assert_eq!(swap, "0\n");
    }
    spec.process.args[2] = "for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; echo forked".into();
    let (exit, log) = host.output("b", &spec).await;
    assert_ne!(exit.code, 0, "{log}");
    assert!(!log.contains("forked") && log.contains("fork"), "{log}");
}

#[tokio::test]
async fn a_busy_program_is_slowed_to_its_share_and_its_time_is_counted() {
    let host = Host::new().await;
    let mut spec = host.shell("while :; do :; done");
    spec.resources.nano_cpus = 100_000_000;
    host.run("a", &spec).await;
    let slowed = tokio::time::timeout(support::LONG, async {
        loop {
            let stats = host.containers.figures("a").await.expect("figures").container;
            if stats.throttled_periods >= 3 {
                return stats;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    let stats = slowed.await.expect("it is slowed");
    assert!(stats.throttled_ns > 0 && stats.periods >= stats.throttled_periods, "{stats:?}");
    assert!(stats.cpu_total_ns >= 20_000_000, "{stats:?}");
}

#[tokio::test]
async fn nothing_is_left_of_a_container_that_ended() {
    let host = Host::new().await;
    host.output("a", &host.shell("true")).await;
    let path = format!("{}/a", host.cgroup_parent);
    let gone = tokio::time::timeout(support::LONG, async {
        while !cgroup_dirs(&path).is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    });
    gone.await.expect("its cgroups go with it");
    host.containers.delete("a").await.expect("delete");
    for dir in ["state", "run"] {
        assert_eq!(std::fs::read_dir(host.dir.path().join(dir)).expect("dir").count(), 0, "{dir}");
    }
    host.containers.delete("a").await.expect("deleting again is nothing");
}

#[tokio::test]
async fn a_container_that_cannot_be_made_says_why_and_leaves_nothing() {
    let host = Host::new().await;
    let mut spec = host.shell("true");
    spec.mounts.push(bind(Path::new("/no/such/source"), "/x", false, Propagation::Rprivate));
    let error = host.containers.create("a", &spec).await.expect_err("no source");
    assert!(error.to_string().contains("/no/such/source"), "{error}");
    let mut spec = host.shell("true");
    spec.process.user = "nobody".to_owned();
    let error = host.containers.create("a", &spec).await.expect_err("no user");
    assert!(error.to_string().contains("nobody"), "{error}");
    let mut spec = host.shell("true");
    spec.sysctls.insert("kernel.panic".to_owned(), "1".to_owned());
    assert!(host.containers.create("a", &spec).await.is_err());
    assert!(matches!(host.containers.create("../a", &spec).await, Err(Error::InvalidId(_))));
    assert!(host.containers.list().expect("list").is_empty());
    assert!(cgroup_dirs(&format!("{}/a", host.cgroup_parent)).is_empty());
}

#[tokio::test]
async fn mounts_have_their_content_size_and_mode() {
    let host = Host::new().await;
    let source = host.dir.path().join("source");
    std::fs::create_dir(&source).expect("mkdir");
    std::fs::write(source.join("file"), "content").expect("write");
    let mut spec = host.shell(
        "cat /data/file /one; echo; (echo x > /ro/file) 2>/dev/null && echo ro_written; echo new > /data/new; \
         df -k /scratch | tail -1 | tr -s ' ' | cut -d' ' -f2; stat -c %a /scratch; \
         (touch /etc/x) 2>/dev/null && echo root_written; touch /scratch/x && echo scratch_written; \
         df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2",
    );
    spec.read_only_rootfs = true;
    spec.shm_size = 1 << 20;
    spec.mounts = vec![
        bind(&source, "/data", false, Propagation::Rprivate),
        bind(&source, "/ro", true, Propagation::Rprivate),
        bind(&source.join("file"), "/one", true, Propagation::Rprivate),
        Mount {
            target: "/scratch".into(),
            kind: MountKind::Tmpfs { size: Some(2 << 20), mode: Some(0o700), options: vec![] },
            read_only: false,
        },
    ];
    let (exit, log) = host.output("a", &spec).await;
    assert_eq!(log, "contentcontent\n2048\n700\nscratch_written\n1024\n");
    assert_eq!(exit.code, 0);
    assert_eq!(std::fs::read_to_string(source.join("new")).expect("written"), "new\n");
    assert_eq!(host.containers.binding(&source).expect("binding"), ["a"]);
}

#[tokio::test]
async fn any_user_of_a_container_reaches_mounts_from_a_directory_closed_to_them() {
    use std::os::unix::fs::PermissionsExt;
    let host = Host::new().await;
    let closed = host.dir.path().join("closed");
    let volumes = runtime::volumes::Volumes::open(closed.join("volumes")).await.expect("open");
    let volume = volumes.create("v", Default::default()).await.expect("create").mountpoint;
    let (config, secret) = (closed.join("config"), closed.join("secret"));
    std::os::unix::fs::chown(&volume, Some(1000), Some(1001)).expect("chown");
    std::fs::write(&config, "config ").expect("write");
    std::fs::write(&secret, "secret\n").expect("write");
    std::os::unix::fs::chown(&secret, Some(1000), None).expect("chown");
    let mode = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode));
    mode(&secret, 0o400).and(mode(&closed, 0o700)).expect("chmod");
    let mut spec = host.shell("cat /config /run/secrets/secret; echo new > /data/new; cat /data/new; ls /data");
    spec.process.user = "web".to_owned();
    spec.mounts = vec![
        bind(&config, "/config", true, Propagation::Rprivate),
        bind(&secret, "/run/secrets/secret", true, Propagation::Rprivate),
        bind(&volume, "/data", false, Propagation::Rprivate),
    ];
    let (exit, log) = host.output("a", &spec).await;
    assert_eq!((exit.code, log.as_str()), (0, "config secret\nnew\nnew\n"));
}

#[tokio::test]
async fn a_path_within_a_volume_is_mounted_and_none_that_leads_out_of_it() {
    let host = Host::new().await;
    let volume = host.dir.path().join("volume");
    std::fs::create_dir_all(volume.join("sub/deep")).expect("mkdir");
    std::fs::write(volume.join("sub/deep/file"), "content\n").expect("write");
    std::os::unix::fs::symlink("sub/deep", volume.join("link")).expect("link");
    std::os::unix::fs::symlink("/etc", volume.join("out")).expect("link");
    let within = |path: &str, target: &str, read_only| Mount {
        target: target.into(),
        kind: MountKind::Within { directory: volume.clone(), path: path.into() },
        read_only,
    };
    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo").matches("within-").count();
    let mut spec = host.shell("cat /link/file /file; echo x > /link/new; (echo x > /ro/no) 2>/dev/null || echo ro");
    spec.mounts =
        vec![within("link", "/link", false), within("sub/deep/file", "/file", false), within("sub", "/ro", true)];
    let (exit, log) = host.output("a", &spec).await;
    assert_eq!((exit.code, log.as_str()), (0, "content\ncontent\nro\n"));
    assert!(volume.join("sub/deep/new").exists());
    assert_eq!(host.containers.binding(&volume).expect("binding"), ["a"]);
    assert_eq!(mounts(), 0, "the host sees none of it");
    host.containers.delete("a").await.expect("delete");
    assert!(volume.join("sub/deep/file").exists());
    spec.mounts = vec![within("out", "/out", false)];
    let refused = host.containers.create("b", &spec).await.expect_err("leads out").to_string();
    assert!(refused.contains("leads out of it"), "{refused}");
}

/// A tmpfs of the host, shared, that goes with the test.
struct Shared(std::path::PathBuf);

impl Shared {
    fn new(path: &Path) -> Self {
        std::fs::create_dir_all(path).expect("mkdir");
        let run = |args: &[&str]| {
            let status = Command::new("mount").args(args).arg(path).status().expect("mount");
            assert!(status.success());
        };
        run(&["-t", "tmpfs", "tmpfs"]);
        run(&["--make-shared"]);
        Self(path.to_owned())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-R").arg(&self.0).status();
    }
}

#[tokio::test]
async fn later_mounts_of_the_host_show_only_where_asked() {
    let host = Host::new().await;
    let shared = Shared::new(&host.dir.path().join("shared"));
    std::fs::create_dir(shared.0.join("sub")).expect("mkdir");
    let script = "echo up; while [ ! -e /private/go ]; do sleep 0.02; done; ls /slave/sub /private/sub; \
                  grep -c shared: /proc/self/mountinfo";
    for (id, with_slave) in [("a", true), ("b", false)] {
        let mut spec = host.shell(script);
        let other = if with_slave { Propagation::Rslave } else { Propagation::Rprivate };
        spec.mounts =
            vec![bind(&shared.0, "/private", false, Propagation::Rprivate), bind(&shared.0, "/slave", false, other)];
        host.run(id, &spec).await;
        host.until_logged(id, "up").await;
        let _inner = Shared::new(&shared.0.join("sub"));
        std::fs::write(shared.0.join("sub/late"), "").expect("write");
        std::fs::write(shared.0.join("go"), "").expect("write");
        host.wait(id).await;
        let log = host.log(id).await;
        let wanted = if with_slave {
            "up\n/private/sub:\n\n/slave/sub:\nlate\n0\n"
        } else {
            "up\n/private/sub:\n\n/slave/sub:\n0\n"
        };
        assert_eq!(log, wanted, "{id}");
        std::fs::remove_file(shared.0.join("go")).expect("remove");
    }
}

#[tokio::test]
async fn a_network_namespace_is_joined_or_new_or_the_host_s() {
    let host = Host::new().await;
    let name = format!("shim-{}", std::process::id());
    let ip = |args: &[&str]| assert!(Command::new("ip").args(args).status().expect("ip").success(), "{args:?}");
    ip(&["netns", "add", &name]);
    let result = std::panic::AssertUnwindSafe(async {
        let id_of = |path: &str| std::fs::read_link(path).expect("a namespace").to_string_lossy().into_owned();
        let mut spec = host.shell("readlink /proc/self/ns/net; cat /proc/sys/net/ipv4/ip_unprivileged_port_start");
        let path = format!("/run/netns/{name}");
        spec.network = Network::Path(path.clone().into());
        let (_, log) = host.output("joined", &spec).await;
        let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&path).expect("netns"));
        assert_eq!(log, format!("net:[{inode}]\n0\n"));
        let own = id_of("/proc/self/ns/net");
        spec.network = Network::Host;
        let (_, log) = host.output("host", &spec).await;
        assert!(log.starts_with(&own), "{log}");
        spec.network = Network::New;
        let (_, log) = host.output("new", &spec).await;
        assert!(!log.starts_with(&own), "{log}");
        spec.network = Network::Path("/run/netns/no-such".into());
        assert!(host.containers.create("missing", &spec).await.is_err());
    });
    let outcome = futures_util::FutureExt::catch_unwind(result).await;
    ip(&["netns", "del", &name]);
    outcome.expect("the namespaces are right");
}

#[tokio::test]
async fn the_built_in_init_reaps_orphans_and_forwards_signals() {
    let host = Host::new().await;
    let mut spec = host.shell(
        "cat /proc/1/comm; (sleep 0.1 &) ; sleep 0.3; ps -o stat,comm | grep -c '^Z'; \
         trap 'echo term; exit 5' TERM; echo up; while :; do sleep 0.02; done",
    );
    spec.init = true;
    host.run("a", &spec).await;
    host.until_logged("a", "up").await;
    let exit = host.containers.stop("a", libc::SIGTERM, support::LONG).await.expect("stop");
    assert_eq!(exit.code, 5);
    assert_eq!(host.log("a").await, "init\n0\nup\nterm\n");
    let mut spec = host.spec(&["no-such-program"]);
    spec.init = true;
    host.containers.create("b", &spec).await.expect("create");
    assert!(matches!(host.containers.start("b").await, Err(Error::Start { code: 127, .. })));
    let mut spec = host.shell("kill -9 $$");
    spec.init = true;
    assert_eq!(host.output("c", &spec).await.0.code, 137);
}

#[tokio::test]
async fn a_missing_working_directory_is_made_and_the_streams_belong_to_the_user() {
    let host = Host::new().await;
    let mut spec = host.shell("pwd; id -u; id -G; echo through > /dev/stdout; echo $HOME $X");
    spec.process.cwd = "/made/for/it".to_owned();
    spec.process.user = "1000".to_owned();
    spec.process.additional_groups = vec!["77".to_owned()];
    spec.process.env = vec!["X=a=b c".to_owned()];
    let (exit, log) = host.output("a", &spec).await;
    assert_eq!((exit.code, log.as_str()), (0, "/made/for/it\n1000\n1001 4 77\nthrough\n/srv a=b c\n"));
}

#[tokio::test]
async fn a_device_is_there_and_may_be_opened_as_asked() {
    let host = Host::new().await;
    let mut spec = host.shell("(true < /dev/mine) 2>/dev/null && echo opened; ls /dev | grep -c mine");
    spec.devices = vec![runtime::spec::Device {
        host_path: "/dev/net/tun".into(),
        container_path: "/dev/mine".into(),
        permissions: "r".to_owned(),
    }];
    let (_, log) = host.output("a", &spec).await;
    assert_eq!(log, "opened\n1\n");
}
