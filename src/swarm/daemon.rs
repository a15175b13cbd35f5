//! `swarm daemon`: the node of this host and the API on its socket.

use crate::bind::{BoundCluster, BoundLocal, connections};
use crate::host;
use crate::listener::Socket;
use clap::Args;
use node::clock::Clock;
use node::disk::{DataDir, DirLock};
use node::engine::{Events, LocalEngine, Net, NetSettings, SecretFiles};
use node::node::{Node, NodeOptions};
use runtime::image::{ImageStore, StoreOptions};
use runtime::volumes::Volumes;
use runtime::{Containers, ContainersOptions};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use swarm_core::model::NodeDescription;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Arguments of the daemon.
#[derive(Clone, Debug, Args)]
pub struct DaemonArgs {
    /// Where state is kept
    #[arg(long, value_name = "DIR", default_value = "/var/lib/swarm", env = "SWARM_DATA_DIR")]
    pub data_dir: PathBuf,
    /// Where runtime files are kept (gone after a reboot)
    #[arg(long, value_name = "DIR", default_value = "/run/swarm", env = "SWARM_RUN_DIR")]
    pub run_dir: PathBuf,
    /// Socket of the API
    #[arg(short = 'H', long = "socket", value_name = "unix://PATH", default_value = "unix:///run/swarm/swarm.sock")]
    pub socket: String,
    /// Registry that is spoken to over plain HTTP (may be repeated)
    #[arg(long = "insecure-registry", value_name = "HOST[:PORT]")]
    pub insecure_registries: Vec<String>,
    /// Label of this engine, KEY=VALUE (may be repeated)
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<String>,
    /// Generic resource of this host, KIND=AMOUNT or KIND=NAME (may be repeated)
    #[arg(long = "node-generic-resource", value_name = "KIND=VALUE")]
    pub generic_resources: Vec<String>,
    /// How much is logged: error, warn, info, debug, trace
    #[arg(short = 'l', long = "log-level", default_value = "info", env = "SWARM_LOG")]
    pub log_level: String,
    /// Form of the log
    #[arg(long = "log-format", default_value = "text", value_parser = ["text", "json"])]
    pub log_format: String,
}

/// Runs the daemon until SIGTERM or SIGINT. Containers go on when it ends.
pub fn run(args: DaemonArgs) -> ExitCode {
    close_inherited();
    if let Err(words) = start_log(&args) {
        eprintln!("swarm daemon: {words}");
        return ExitCode::FAILURE;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("swarm daemon: cannot start its threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(serve(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(words) => {
            eprintln!("swarm daemon: {words}");
            ExitCode::FAILURE
        }
    }
}

/// What its caller left open is none of the daemon's: a lock or the end of a pipe would be held for weeks, by
/// every shim too.
fn close_inherited() {
    // SAFETY: the process has one thread and has opened nothing yet. An error (Linux before 5.9) leaves all as it was.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0);
    }
}

fn start_log(args: &DaemonArgs) -> Result<(), String> {
    let filter = EnvFilter::try_new(&args.log_level)
        .map_err(|error| format!("log level \"{}\" is not understood: {error}", args.log_level))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    match args.log_format.as_str() {
        "json" => log.json().init(),
        _ => log.init(),
    }
    Ok(())
}

fn line(what: &str, error: &dyn std::error::Error) -> String {
    format!("{what}: {}", node::error::chain(error))
}

async fn serve(args: DaemonArgs) -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("it must run as root: it makes namespaces, mounts and cgroups".to_owned());
    }
    let socket = args.socket.strip_prefix("unix://").ok_or("-H takes unix://PATH; TCP is not served yet")?;
    let socket = PathBuf::from(socket);
    for dir in [&args.data_dir, &args.run_dir] {
        std::fs::create_dir_all(dir).map_err(|error| format!("cannot make {}: {error}", dir.display()))?;
    }
    let labels = parse_labels(&args.labels)?;
    let clock = Clock::new();
    let stop = CancellationToken::new();
    let dir = DataDir::open_soon(&args.data_dir).await.map_err(|error| node::error::chain(&error))?;
    let run_lock = DirLock::of_run_dir(&args.run_dir).await.map_err(|error| node::error::chain(&error))?;
    let (engine, description) = start_engine(&args, labels.clone()).await?;
    let (carrier, carried) = node::carry::carrier(api::ApiVersion::MAX.to_string());
    let options = NodeOptions {
        engine: Arc::new(engine.clone()),
        fabric: Arc::new(engine.net.clone()),
        description: description.clone(),
        clock: clock.clone(),
        carrier,
    };
    let (node, done) = Node::start(options, dir, stop.clone()).await.map_err(|error| node::error::chain(&error))?;
    let info = host::info(&args, &description, labels);
    let ports = api::Ports {
        cluster: Arc::new(BoundCluster::new(node.clone(), clock)),
        local: Arc::new(BoundLocal::new(engine, node, info)),
    };
    let listener = listen(&socket)?;
    tracing::info!(socket = %socket.display(), version = crate::VERSION, "the API is served");
    let api = tokio::spawn(api::serve(Socket(listener), connections(carried), ports, stop.clone()));
    wait_for_end().await?;
    tracing::info!("stopping; containers go on");
    stop.cancel();
    done.wait().await;
    match api.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the API did not end as it should"),
        Err(error) => tracing::error!(%error, "the API failed"),
    }
    // The next daemon makes it anew; until then a client is told that nobody listens.
    let _ = std::fs::remove_file(&socket);
    drop(run_lock);
    Ok(())
}

async fn wait_for_end() -> Result<(), String> {
    let handler = |kind| signal(kind).map_err(|error| format!("cannot take signals: {error}"));
    let (mut term, mut int) = (handler(SignalKind::terminate())?, handler(SignalKind::interrupt())?);
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}

async fn start_engine(
    args: &DaemonArgs,
    labels: BTreeMap<String, String>,
) -> Result<(LocalEngine, NodeDescription), String> {
    let instance = instance(&args.data_dir);
    let data = &args.data_dir;
    let store = StoreOptions { insecure_registries: args.insecure_registries.clone(), ..StoreOptions::default() };
    let images = data.join("images");
    let images = tokio::task::spawn_blocking(move || ImageStore::open(&images, store))
        .await
        .map_err(|error| line("images", &error))?
        .map_err(|error| format!("images: {}", error.one_line()))?;
    let exe = std::env::current_exe().map_err(|error| line("cannot find this program", &error))?;
    let containers = Containers::open(ContainersOptions {
        state_dir: data.join("containers"),
        run_dir: args.run_dir.join("containers"),
        shim_command: vec![exe.into_os_string(), OsString::from("shim")],
        cgroup_parent: cgroup_parent(&instance),
    });
    let containers = containers.await.map_err(|error| line("containers", &error))?;
    let volumes = Volumes::open(data.join("volumes")).await.map_err(|error| line("volumes", &error))?;
    let network = data.join("network");
    std::fs::create_dir_all(&network).map_err(|error| line("cannot make the network's folder", &error))?;
    let private = overlay::keys::load_or_create(&network.join("wireguard.key"))
        .map_err(|error| line("key of the overlay", &error))?;
    let mut description = host::description(labels);
    for text in &args.generic_resources {
        let added = description.resources.add_generic(text);
        added.map_err(|error| format!("--node-generic-resource: {error}"))?;
    }
    description.wireguard_key = overlay::keys::public_key(&private);
    description.wireguard_port = overlay::PORT_DEFAULT;
    let net = Net::new(NetSettings {
        state_dir: network,
        run_dir: args.run_dir.join("network"),
        instance,
        wireguard_private_key: private,
    });
    let (events, secrets) = (Events::default(), SecretFiles::new(args.run_dir.join("secrets")));
    let run_dir = args.run_dir.clone();
    Ok((LocalEngine { images, containers, volumes, net, events, secrets, run_dir }, description))
}

/// Tells the daemons of one host apart, the same after a restart: from the data directory.
pub(crate) fn instance(data_dir: &Path) -> String {
    let path = data_dir.canonicalize().unwrap_or_else(|_| data_dir.to_owned());
    let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
    digest.iter().take(3).map(|byte| format!("{byte:02x}")).collect()
}

/// The control group that the containers of an instance are in, in each hierarchy.
pub(crate) fn cgroup_parent(instance: &str) -> String {
    format!("/swarm-{instance}")
}

fn parse_labels(labels: &[String]) -> Result<BTreeMap<String, String>, String> {
    let one = |label: &String| match label.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err(format!("--label {label} is not KEY=VALUE")),
    };
    labels.iter().map(one).collect()
}

fn listen(path: &Path) -> Result<tokio::net::UnixListener, String> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(|error| format!("cannot make {}: {error}", dir.display()))?;
    }
    // The data directory's lock says that no other daemon of ours is behind it; a stale one is in the way.
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(format!("another daemon answers at {} (choose another with -H)", path.display()));
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(format!("{} is in the way: it is no socket (choose another with -H)", path.display()));
        }
        Ok(_) | Err(_) => {
            let _ = std::fs::remove_file(path);
        }
    }
    let listener = tokio::net::UnixListener::bind(path)
        .map_err(|error| format!("cannot listen at {}: {error}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))
        .map_err(|error| format!("cannot set the mode of {}: {error}", path.display()))?;
    if let Ok(Some(group)) = nix::unistd::Group::from_name("swarm") {
        nix::unistd::chown(path, None, Some(group.gid))
            .map_err(|error| format!("cannot give {} to the group swarm: {error}", path.display()))?;
    }
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_at_the_path_of_the_socket_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes");
        std::fs::write(&path, "mine").unwrap();
        let error = listen(&path).unwrap_err();
        assert!(error.contains("is in the way: it is no socket"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");

        let path = dir.path().join("sock");
        drop(listen(&path).unwrap());
        // What a daemon that was killed left behind is.
        listen(&path).unwrap();
    }
}
