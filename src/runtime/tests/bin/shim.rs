//! The smallest program around the crate, for its tests: a shim, and a daemon to be killed.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::ExitCode;

use runtime::container::{Containers, ContainersOptions};
use runtime::spec::{ContainerSpec, ProcessSpec};

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let program = args.next();
    match args.next().as_deref().and_then(OsStr::to_str) {
        Some("shim") => runtime::shim::main(args),
        Some("daemon") => daemon(program.map(PathBuf::from), args.filter_map(|arg| arg.into_string().ok()).collect()),
        _ => {
            eprintln!("usage: runtime-shim shim ... | daemon DIR CGROUP ROOTFS (ID SCRIPT)...");
            ExitCode::from(2)
        }
    }
}

/// Starts the containers, says so, and stays until it is killed.
fn daemon(program: Option<PathBuf>, args: Vec<String>) -> ExitCode {
    let [dir, cgroup_parent, rootfs, containers @ ..] = args.as_slice() else { return ExitCode::from(2) };
    let Some(program) = program else { return ExitCode::from(2) };
    let dir = PathBuf::from(dir);
    let options = ContainersOptions {
        state_dir: dir.join("state"),
        run_dir: dir.join("run"),
        shim_command: vec![program.into(), "shim".into()],
        cgroup_parent: cgroup_parent.clone(),
    };
    let started = async {
        let handle = Containers::open(options).await?;
        for pair in containers.chunks_exact(2) {
            let args = ["sh", "-c", pair[1].as_str()].map(str::to_owned).to_vec();
            let process = ProcessSpec { args, ..Default::default() };
            let spec = ContainerSpec { rootfs: rootfs.into(), process, ..Default::default() };
            handle.create(&pair[0], &spec).await?;
            handle.start(&pair[0]).await?;
        }
        println!("started");
        std::future::pending::<()>().await;
        Ok::<(), runtime::container::Error>(())
    };
    match tokio::runtime::Builder::new_multi_thread().enable_all().build().map(|runtime| runtime.block_on(started)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
