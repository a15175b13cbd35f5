//! What a process sees and may do inside a container: one table of probes, for the first process and for an exec,
//! with the values Docker's defaults give, and compared with runc where it is installed.

mod support;

use std::collections::BTreeMap;
use std::process::Command;

use runtime::container::{ExecStreams, Exit};
use runtime::spec::{ContainerSpec, Mount, MountKind, ProcessSpec, Propagation, Seccomp};
use serde_json::{Value, json};
use support::Host;
use tokio::io::AsyncReadExt;

/// Prints `key=value` lines. Nothing in it can harm the host when the isolation fails.
const PROBES: &str = r#"
for key in Seccomp NoNewPrivs SigIgn SigBlk CapInh CapPrm CapEff CapBnd CapAmb Uid Gid Groups; do
  echo "$key=$(grep "^$key:" /proc/self/status | cut -f2- | tr '\t' ' ')"
done
echo "oom_score_adj=$(cat /proc/self/oom_score_adj)"
echo "umask=$(umask)"
echo "nofile=$(ulimit -n) $(ulimit -Hn)"
echo "pwd=$(pwd)"
echo "home=$HOME"
echo "path=$PATH"
echo "hostname=$(hostname)"
for file in /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids/pids.max; do
  [ -e $file ] && { (echo 999999999 > $file) 2>/dev/null && echo "cgroup_write=$file"; }
done
(mkdir /sys/fs/cgroup/x) 2>/dev/null && echo "cgroup_mkdir=yes"
[ -e /sys/fs/cgroup/cgroup.controllers ] && for file in /proc/self/cgroup /sys/fs/cgroup/cgroup.controllers; do
  echo "$file=$(cat $file)"
done
rm -f /tmp/fuse; mknod /tmp/fuse c 10 229 2>/dev/null && echo "mknod=yes"
(true < /tmp/fuse) 2>/dev/null && echo "device_open=yes"
(true < /dev/zero) 2>/dev/null && echo "zero_open=yes"
echo "kcore=$(head -c1 /proc/kcore 2>/dev/null | wc -c)"
echo "firmware=$(ls /sys/firmware | wc -l)"
echo "powercap=$(ls /sys/devices/virtual/powercap 2>/dev/null | wc -l)"
(echo other > /proc/sys/kernel/domainname) 2>/dev/null && echo "proc_sys_write=yes"
(mount -t tmpfs none /tmp) 2>/dev/null && echo "mount=yes"
(unshare -m true) 2>/dev/null && echo "unshare=yes"
echo "shared=$(grep -c 'shared:\|master:' /proc/self/mountinfo)"
echo "dev=$(ls /dev | tr '\n' ' ')"
echo "links=$(readlink /dev/fd) $(readlink /dev/stdout) $(readlink /dev/ptmx)"
echo "descriptors=$(ls /proc/self/fd | tr '\n' ' ')"
echo "low_ports=$(cat /proc/sys/net/ipv4/ip_unprivileged_port_start) $(cat /proc/sys/net/ipv4/ping_group_range | tr '\t' ' ')"
cut -d' ' -f2-4 /proc/mounts | while read target kind options; do
  flags=""
  for flag in ro nosuid nodev noexec; do
    case ",$options," in *,$flag,*) flag_set=1; flags="$flags $flag";; esac
  done
  [ "$target" = / ] || echo "mount $target=$kind$flags"
done
"#;

type Facts = BTreeMap<String, String>;

fn facts(text: &str) -> Facts {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .collect()
}

async fn exec(host: &Host, id: &str, process: &ProcessSpec) -> (Exit, String) {
    let mut handle = host.containers.exec(id, process).await.expect("exec");
    let ExecStreams::Pipes { stdout, stderr, .. } = &mut handle.streams else { panic!("no pipes") };
    let (mut out, mut err) = (String::new(), String::new());
    let (stdout, stderr) = (stdout.as_mut().expect("stdout"), stderr.as_mut().expect("stderr"));
    let (one, two) = tokio::join!(stdout.read_to_string(&mut out), stderr.read_to_string(&mut err));
    one.and(two).expect("read");
    (handle.wait().await.expect("wait"), out + &err)
}

/// The probes as the first process and as an exec of the same container.
async fn both(host: &Host, spec: &ContainerSpec) -> [Facts; 2] {
    let (_, log) = host.output("init", spec).await;
    let waiting = ContainerSpec {
        process: ProcessSpec { args: vec!["sleep".into(), "1000".into()], ..spec.process.clone() },
        ..spec.clone()
    };
    host.run("exec", &waiting).await;
    let (exit, text) = exec(host, "exec", &spec.process).await;
    assert_eq!(exit.code, 0, "{text}");
    host.containers.kill("exec").await.expect("kill");
    host.wait("exec").await;
    for id in ["init", "exec"] {
        host.containers.delete(id).await.expect("delete");
    }
    [facts(&log), facts(&text)]
}

fn check(facts: &Facts, who: &str, table: &[(&str, &str)]) {
    for (key, wanted) in table {
        assert_eq!(facts.get(*key).map(String::as_str), Some(*wanted), "{who}: {key} in {facts:#?}");
    }
}

fn v2() -> bool {
    std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// These lines appear only when something is possible that must not be.
fn check_impossible(facts: &Facts, who: &str) {
    for key in ["cgroup_write", "cgroup_mkdir", "device_open", "proc_sys_write", "mount", "unshare"] {
        assert_eq!(facts.get(key), None, "{who}: {key}");
    }
}

#[tokio::test]
async fn root_has_docker_s_defaults_in_the_first_process_and_in_exec() {
    let host = Host::new().await;
    let found = both(&host, &host.shell(PROBES)).await;
    for (facts, who) in found.iter().zip(["init", "exec"]) {
        check(
            facts,
            who,
            &[
                ("Seccomp", "2"),
                ("NoNewPrivs", "0"),
                ("SigIgn", "0000000000000000"),
                ("SigBlk", "0000000000000000"),
                ("CapInh", "0000000000000000"),
                ("CapPrm", "00000000a80425fb"),
                ("CapEff", "00000000a80425fb"),
                ("CapBnd", "00000000a80425fb"),
                ("CapAmb", "0000000000000000"),
                ("Uid", "0 0 0 0"),
                ("oom_score_adj", "0"),
                ("umask", "0022"),
                ("pwd", "/"),
                ("home", "/root"),
                ("hostname", "box"),
                ("mknod", "yes"),
                ("zero_open", "yes"),
                ("kcore", "0"),
                ("firmware", "0"),
                ("powercap", "0"),
                ("shared", "0"),
                ("links", "/proc/self/fd /proc/self/fd/1 pts/ptmx"),
                ("descriptors", "0 1 2 3"), // 3 is the listed directory itself
                ("low_ports", "0 0 2147483647"),
            ],
        );
        check_impossible(facts, who);
        if v2() {
            check(facts, who, &[("/proc/self/cgroup", "0::/")]); // a namespace whose root is the container's group
        }
    }
}

#[tokio::test]
async fn another_user_has_no_capabilities_in_either() {
    let host = Host::new().await;
    let mut spec = host.shell(PROBES);
    spec.process.user = "web".to_owned();
    spec.process.cwd = "/srv".to_owned();
    let found = both(&host, &spec).await;
    for (facts, who) in found.iter().zip(["init", "exec"]) {
        check(
            facts,
            who,
            &[
                ("Seccomp", "2"),
                ("NoNewPrivs", "0"),
                ("CapPrm", "0000000000000000"),
                ("CapEff", "0000000000000000"),
                ("CapBnd", "00000000a80425fb"),
                ("Uid", "1000 1000 1000 1000"),
                ("Gid", "1001 1001 1001 1001"),
                ("Groups", "4 1001"),
                ("home", "/srv"),
                ("pwd", "/srv"),
            ],
        );
        check_impossible(facts, who);
    }
}

#[tokio::test]
async fn options_reach_the_first_process_and_exec() {
    let host = Host::new().await;
    let mut spec = host.shell(PROBES);
    spec.no_new_privileges = true;
    spec.seccomp = Seccomp::Unconfined;
    spec.cap_drop = vec!["ALL".to_owned()];
    spec.cap_add = vec!["NET_ADMIN".to_owned()];
    spec.oom_score_adj = 500;
    spec.ulimits = vec![runtime::spec::Ulimit { name: "nofile".to_owned(), soft: 100, hard: 200 }];
    let found = both(&host, &spec).await;
    for (facts, who) in found.iter().zip(["init", "exec"]) {
        check(
            facts,
            who,
            &[
                ("Seccomp", "0"),
                ("NoNewPrivs", "1"),
                ("CapEff", "0000000000001000"),
                ("CapBnd", "0000000000001000"),
                ("oom_score_adj", "500"),
                ("nofile", "100 200"),
            ],
        );
    }
    let shim = std::fs::read_to_string("/proc/self/oom_score_adj").expect("read");
    assert_ne!(shim.trim(), "500", "the score must not reach the one who makes the container");
}

#[tokio::test]
async fn a_privileged_container_has_everything() {
    let host = Host::new().await;
    let mut spec = host.shell(PROBES);
    spec.privileged = true;
    let found = both(&host, &spec).await;
    let all = format!("{:016x}", runtime::caps::CapSet::all().0);
    for (facts, who) in found.iter().zip(["init", "exec"]) {
        // No more than the daemon itself has can be given.
        let bounding = u64::from_str_radix(&facts["CapBnd"], 16).expect("hex");
        let daemon = std::fs::read_to_string("/proc/self/status").expect("status");
        let daemon = daemon.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).expect("CapBnd");
        let daemon = u64::from_str_radix(daemon.trim(), 16).expect("hex");
        let wanted = u64::from_str_radix(&all, 16).expect("hex") & daemon;
        assert_eq!(bounding, wanted, "{who}");
        check(facts, who, &[("Seccomp", "0"), ("device_open", "yes")]);
    }
}

/// A file tree that pretends to be the kernel's, with no capability after the first.
fn false_proc(host: &Host) -> std::path::PathBuf {
    let kernel = host.dir.path().join("false/sys/kernel");
    std::fs::create_dir_all(&kernel).expect("mkdir");
    std::fs::write(kernel.join("cap_last_cap"), "0\n").expect("write");
    host.dir.path().join("false")
}

fn bind(source: &std::path::Path, target: &str) -> Mount {
    let kind = MountKind::Bind { source: source.to_owned(), propagation: Propagation::Rprivate };
    Mount { target: target.into(), kind, read_only: false }
}

#[tokio::test]
async fn nothing_is_mounted_over_proc_but_what_lxcfs_gives() {
    let host = Host::new().await;
    let source = false_proc(&host);
    std::os::unix::fs::symlink("../proc/sys", host.rootfs.join("srv/link")).expect("link");
    for target in ["/proc", "/proc/", "/x/../proc", "/proc/sys/kernel", "/srv/link", "/srv/link/kernel", "/proc/new"] {
        let mut spec = host.shell(PROBES);
        spec.mounts = vec![bind(&source, target)];
        let refused = host.containers.create("a", &spec).await.expect_err(target).to_string();
        assert!(refused.contains("at or below /proc"), "{target}: {refused}");
    }
    let uptime = source.join("uptime");
    std::fs::write(&uptime, "1.00 1.00\n").expect("write");
    let mut spec = host.spec(&["cat", "/proc/uptime"]);
    spec.mounts = vec![bind(&uptime, "/proc/uptime")];
    let (_, log) = host.output("b", &spec).await;
    assert_eq!(log, "1.00 1.00\n");
}

/// A link in a volume, which a container that had it before may have made, is not seen before it is mounted.
#[tokio::test]
async fn a_false_proc_behind_a_link_in_a_volume_gives_no_capability() {
    let host = Host::new().await;
    let (source, volume) = (false_proc(&host), host.dir.path().join("volume"));
    std::fs::create_dir(&volume).expect("mkdir");
    std::os::unix::fs::symlink("../proc/sys/kernel", volume.join("kernel")).expect("link");
    std::os::unix::fs::symlink("../proc", volume.join("proc")).expect("link");
    let mut spec = host.shell(PROBES);
    spec.mounts = vec![bind(&volume, "/volume"), bind(&source.join("sys/kernel"), "/volume/kernel")];
    for (facts, who) in both(&host, &spec).await.iter().zip(["init", "exec"]) {
        check(facts, who, &[("CapBnd", "00000000a80425fb"), ("CapEff", "00000000a80425fb")]);
    }
    spec.mounts = vec![bind(&volume, "/volume"), bind(&source, "/volume/proc")];
    host.containers.create("a", &spec).await.expect_err("without the kernel's /proc nothing is made");
}

#[tokio::test]
async fn it_is_as_runc_makes_it() {
    if Command::new("runc").arg("--version").output().is_err() {
        eprintln!("runc is not installed: the comparison is left out, the other probes are not");
        return;
    }
    let host = Host::new().await;
    for (user, uid, gid, groups) in [("", 0, 0, vec![0]), ("web", 1000, 1001, vec![1001, 4])] {
        let mut spec = host.shell(PROBES);
        spec.process.user = user.to_owned();
        let ours = both(&host, &spec).await;
        let theirs = runc(&host, json!({ "uid": uid, "gid": gid, "additionalGids": groups }));
        for ((ours, theirs), who) in ours.iter().zip(&theirs).zip(["init", "exec"]) {
            let keys: std::collections::BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
            let different: Vec<String> = keys
                .into_iter()
                .filter(|key| !not_compared(key) && ours.get(*key) != theirs.get(*key))
                .map(|key| format!("{key}: ours {:?}, runc's {:?}", ours.get(key), theirs.get(key)))
                .collect();
            assert!(different.is_empty(), "{user} {who}: {different:#?}");
        }
    }
}

/// Where the two may differ, each for its reason.
fn not_compared(key: &str) -> bool {
    match key {
        // Signals that the parent ignored are handed down by runc; here none is, which the tables check.
        "SigIgn" | "SigBlk" => true,
        // What HOME and PATH are is Docker's doing, not runc's.
        "home" | "path" => true,
        // runc 1.1 leaves the directory that holds the v1 mounts writable.
        "cgroup_mkdir" | "mount /sys/fs/cgroup" => !v2(),
        _ => false,
    }
}

/// The probes under runc with Docker's configuration, as the first process and as an exec.
fn runc(host: &Host, user: Value) -> [Facts; 2] {
    let bundle = host.dir.path().join("bundle");
    std::fs::create_dir_all(&bundle).expect("mkdir");
    let root = bundle.join("root");
    let run = |args: &[&str]| {
        let output = Command::new("runc").arg("--root").arg(&root).args(args).output().expect("run runc");
        assert!(output.status.success(), "runc {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let bundle_text = bundle.to_str().expect("utf-8");
    let config = |args: &[&str]| {
        let text = runc_config(host, &user, args).to_string();
        std::fs::write(bundle.join("config.json"), text).expect("write");
    };
    config(&["/bin/sh", "-c", PROBES]);
    let init = run(&["run", "--bundle", bundle_text, "probe-init"]);
    config(&["sleep", "1000"]);
    // Detached with streams of its own: it would keep ours open.
    let status = Command::new("runc")
        .arg("--root")
        .arg(&root)
        .args(["run", "--detach", "--bundle", bundle_text, "probe-exec"])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .expect("run runc");
    assert!(status.success());
    let process = runc_config(host, &user, &["/bin/sh", "-c", PROBES])["process"].to_string();
    let file = bundle.join("process.json");
    std::fs::write(&file, process).expect("write");
    let exec = run(&["exec", "--process", file.to_str().expect("utf-8"), "probe-exec"]);
    run(&["delete", "--force", "probe-exec"]);
    [facts(&init), facts(&exec)]
}

fn runc_config(host: &Host, user: &Value, args: &[&str]) -> Value {
    let caps = runtime::caps::CapSet::resolve(&[], &[], false).expect("default").names();
    let bind = |kind: &str, target: &str, source: &str, options: &[&str]| json!({ "destination": target, "type": kind, "source": source, "options": options });
    let mut namespaces = vec!["pid", "ipc", "uts", "mount", "network"];
    if v2() {
        namespaces.push("cgroup");
    }
    let namespaces: Vec<Value> = namespaces.into_iter().map(|kind| json!({ "type": kind })).collect();
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false, "user": user, "args": args, "cwd": "/", "oomScoreAdj": 0,
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=box"],
            "capabilities": { "bounding": caps, "effective": caps, "permitted": caps },
        },
        "root": { "path": host.rootfs }, "hostname": "box",
        "mounts": [
            bind("proc", "/proc", "proc", &["nosuid", "noexec", "nodev"]),
            bind("tmpfs", "/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            bind("devpts", "/dev/pts", "devpts",
                &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            bind("sysfs", "/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            bind("cgroup", "/sys/fs/cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"]),
            bind("mqueue", "/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            bind("tmpfs", "/dev/shm", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"]),
        ],
        "linux": {
            "namespaces": namespaces,
            "cgroupsPath": format!("{}/runc", host.cgroup_parent),
            "resources": { "devices": [
                {"allow": false, "access": "rwm"},
                {"allow": true, "type": "c", "access": "m"}, {"allow": true, "type": "b", "access": "m"},
                {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
                {"allow": true, "type": "c", "major": 1, "minor": 5, "access": "rwm"},
            ]},
            "sysctl": {
                "net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647",
            },
            // Any filter makes the mode 2; which calls it lets through is tested with the filter itself.
            "seccomp": { "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                { "names": ["mount", "unshare", "bpf"], "action": "SCMP_ACT_ERRNO" } ]},
            "maskedPaths": [
                "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
                "/sys/devices/virtual/powercap",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            "rootfsPropagation": "rprivate",
        }
    })
}
