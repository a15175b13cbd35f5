//! docker-py, the library of scripts and dashboards, against three hosts that begin without a cluster.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Cluster, assert_success};

/// Where the set-up puts docker-py; where it is absent, Python's own packages are looked at.
fn packages() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/python")
}

#[test]
fn docker_py_drives_a_cluster_from_init_to_leave() {
    let cluster = Cluster::apart("dockerpy", 3);
    let archives = [1, 2].map(|version| cluster.make_app(version, &format!("app {version}\n")));
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cluster/docker_py/suite.py");
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", packages()).env_remove("DOCKER_HOST").arg(suite).args(archives);
    for host in &cluster.hosts {
        command.arg(format!("{}={}", host.socket.display(), host.address));
    }
    let output = command.output().expect("python3 runs; `scripts/setup.sh test` installs it and docker-py");
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert_success("docker-py's suite", &output);
}
