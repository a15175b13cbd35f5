//! Hosts made of network namespaces on a bridge, each with a fabric; servers and clients in any
//! namespace. Everything is removed on drop, also when a test fails.

#![allow(dead_code, reason = "each test binary uses its part")]

use nix::sched::{CloneFlags, setns};
use overlay::{AttachSpec, Attached, Fabric, FabricOptions, keys};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use swarm_core::fabric::{FabricEndpoint, FabricNetwork, FabricPeer, FabricService, FabricState};
use swarm_core::model::{EndpointMode, PortConfig, Protocol, PublishMode, TaskAttachment, VirtualIp};
use swarm_core::{NetworkId, NodeId, Sensitive, ServiceId, TaskId};

/// A hard limit on anything waited for.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How long one connection may take before it counts as failed.
pub const CONNECT: Duration = Duration::from_secs(3);

pub const INGRESS: u8 = 9;

/// Runs `work` in the namespace at `path`, on a thread of its own.
pub fn inside<R: Send>(path: &Path, work: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let file = File::open(path).expect("the namespace is there");
            setns(&file, CloneFlags::CLONE_NEWNET).expect("entered: these tests need root");
            work()
        });
        thread.join().expect("no panic inside")
    })
}

pub fn run(command: &str) -> String {
    let words: Vec<&str> = command.split_whitespace().collect();
    let output = Command::new(words[0]).args(&words[1..]).output().expect(command);
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Asks again until `ready` gives something.
pub fn wait<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(done) = ready() {
            return done;
        }
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub struct Host {
    pub index: u8,
    pub netns: PathBuf,
    pub options: FabricOptions,
    pub fabric: Option<Fabric>,
}

impl Host {
    pub fn node(&self) -> NodeId {
        NodeId(u128::from(self.index))
    }

    pub fn addr(&self) -> Ipv4Addr {
        Ipv4Addr::new(192, 0, 2, self.index)
    }

    pub fn fabric(&self) -> &Fabric {
        self.fabric.as_ref().expect("it runs")
    }
}

pub struct Lab {
    pub dir: tempfile::TempDir,
    prefix: String,
    names: Vec<String>,
    pub hosts: Vec<Host>,
    /// A machine on the same wire that belongs to no cluster.
    pub outside: PathBuf,
    pub bridge: PathBuf,
    pub state: FabricState,
}

impl Lab {
    /// `count` hosts at 192.0.2.1 and up, and one outside at 192.0.2.100.
    pub async fn new(count: u8) -> Self {
        let prefix = format!("ovl-test-{}", std::process::id());
        let names: Vec<String> = std::iter::once("br".to_owned())
            .chain((1..=count).map(|i| format!("h{i}")))
            .chain(["out".to_owned()])
            .map(|n| format!("{prefix}-{n}"))
            .collect();
        let path = |name: &str| Path::new("/run/netns").join(format!("{prefix}-{name}"));
        let mut lab = Self {
            dir: tempfile::tempdir().expect("directory"),
            outside: path("out"),
            bridge: path("br"),
            prefix: prefix.clone(),
            names,
            hosts: Vec::new(),
            state: FabricState::default(),
        };
        for name in &lab.names {
            run(&format!("ip netns add {name}"));
            run(&format!("ip -n {name} link set lo up"));
        }
        let bridge = format!("{prefix}-br");
        run(&format!("ip -n {bridge} link add br0 type bridge"));
        run(&format!("ip -n {bridge} link set br0 up"));
        for i in 1..=count {
            lab.wire(&format!("h{i}"), i);
            let host = lab.options(i);
            lab.hosts.push(host);
        }
        lab.wire("out", 100);
        for host in &lab.hosts {
            let peer = FabricPeer {
                name: format!("h{}", host.index),
                endpoint: SocketAddr::from((host.addr(), 4789)),
                wireguard_key: keys::public_key(&host.options.wireguard_private_key),
            };
            lab.state.peers.insert(host.node(), peer);
        }
        for host in &mut lab.hosts {
            host.fabric = Some(Fabric::start(host.options.clone()).await.expect("started"));
        }
        lab
    }

    fn wire(&self, name: &str, last: u8) {
        let (bridge, ns) = (format!("{}-br", self.prefix), format!("{}-{name}", self.prefix));
        run(&format!("ip -n {bridge} link add p{last} type veth peer name eth0 netns {ns}"));
        run(&format!("ip -n {bridge} link set p{last} master br0 up"));
        run(&format!("ip -n {ns} addr add 192.0.2.{last}/24 dev eth0"));
        run(&format!("ip -n {ns} link set eth0 up"));
        run(&format!("ip -n {ns} route add default dev eth0"));
    }

    fn options(&self, index: u8) -> Host {
        let netns = Path::new("/run/netns").join(format!("{}-h{index}", self.prefix));
        let dir = self.dir.path().join(format!("h{index}"));
        std::fs::create_dir_all(&dir).expect("directory");
        std::fs::write(dir.join("resolv.conf"), "search lab.example\nnameserver 127.0.0.1\n").expect("file");
        let options = FabricOptions {
            node: NodeId(u128::from(index)),
            state_dir: dir.join("state"),
            run_dir: dir.join("run"),
            instance: format!("{}-h{index}", self.prefix),
            listen: SocketAddr::from(([0, 0, 0, 0], 4789)),
            advertise: None,
            wireguard_private_key: Sensitive::new(*keys::generate().expose()),
            resolv_conf: dir.join("resolv.conf"),
            host_netns: Some(netns.clone()),
        };
        Host { index, netns, options, fabric: None }
    }

    pub fn host(&self, index: u8) -> &Host {
        &self.hosts[usize::from(index) - 1]
    }

    /// Ends the daemon of a host, without any goodbye, and starts it again; gives no new state.
    pub async fn restart(&mut self, index: u8) {
        let host = &mut self.hosts[usize::from(index) - 1];
        drop(host.fabric.take());
        // The old one's thread closes its port in its own time.
        let end = Instant::now() + PATIENCE;
        host.fabric = Some(loop {
            match Fabric::start(host.options.clone()).await {
                Ok(fabric) => break fabric,
                Err(error) => assert!(Instant::now() < end, "{error}"),
            }
        });
    }

    /// Hands the state to every host; nothing may be left undone.
    pub async fn apply(&mut self) {
        self.state.index += 1;
        for host in &self.hosts {
            let errors = host.fabric().apply(Arc::new(self.state.clone())).await;
            assert!(errors.is_empty(), "h{}: {errors:?}", host.index);
        }
    }

    /// A network 10.0.<id>.0/24 with the overlay id `id`.
    pub fn network(&mut self, id: u8, internal: bool) {
        self.network_at(id, id, internal);
    }

    /// A network with the subnet of another number.
    pub fn network_at(&mut self, id: u8, subnet: u8, internal: bool) {
        let network = FabricNetwork {
            name: format!("net{id}"),
            subnet: format!("10.0.{subnet}.0/24").parse().expect("subnet"),
            gateway: IpAddr::from([10, 0, subnet, 1]),
            overlay_id: u32::from(id),
            internal,
            ingress: id == INGRESS,
        };
        self.state.networks.insert(network_id(id), network);
    }

    pub fn service(
        &mut self,
        id: u128,
        name: &str,
        mode: EndpointMode,
        vips: &[(u8, [u8; 4])],
        ports: Vec<PortConfig>,
    ) {
        let vips: Vec<VirtualIp> =
            vips.iter().map(|(n, a)| VirtualIp { network: network_id(*n), addr: IpAddr::from(*a) }).collect();
        let service = FabricService { name: name.into(), mode, vips, aliases: BTreeMap::new(), ports };
        self.state.services.insert(ServiceId(id), service);
    }

    /// A task in the state; `attach` makes it real.
    pub fn endpoint(&mut self, task: u128, service: u128, host: u8, at: &[(u8, [u8; 4])]) {
        let endpoint = FabricEndpoint {
            service: ServiceId(service),
            node: self.host(host).node(),
            name: format!("s{service}.{task}"),
            attachments: attachments(at),
            receives: true,
            host_ports: Vec::new(),
        };
        self.state.endpoints.insert(TaskId(task), endpoint);
    }

    pub fn spec(&self, at: &[(u8, [u8; 4])]) -> AttachSpec {
        let attachments = attachments(at);
        AttachSpec {
            networks: attachments.iter().map(|a| (a.network, self.state.networks[&a.network].clone())).collect(),
            attachments,
            hostname: "box".into(),
            ..AttachSpec::default()
        }
    }

    pub async fn attach(&self, host: u8, task: u128, at: &[(u8, [u8; 4])]) -> Attached {
        self.host(host).fabric().attach(TaskId(task), self.spec(at)).await.expect("attached")
    }

    /// A task of service 1 in the state and in the kernel, with a server that says `name`.
    pub async fn task(&mut self, task: u128, host: u8, at: &[(u8, [u8; 4])]) -> PathBuf {
        self.endpoint(task, 1, host, at);
        let netns = self.attach(host, task, at).await.netns;
        serve(&netns, 80, &format!("t{task}"));
        netns
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let hosts = std::mem::take(&mut self.hosts);
        // A runtime of its own: drop may run inside the test's.
        let cleaner = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("runtime");
            for host in hosts {
                drop(host.fabric);
                let _ = runtime.block_on(Fabric::purge(&host.options));
            }
        });
        let _ = cleaner.join();
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

pub fn network_id(id: u8) -> NetworkId {
    NetworkId(u128::from(id))
}

pub fn attachments(at: &[(u8, [u8; 4])]) -> Vec<TaskAttachment> {
    at.iter()
        .map(|(n, a)| TaskAttachment { network: network_id(*n), addr: IpAddr::from(*a), aliases: Vec::new() })
        .collect()
}

pub fn port(published: u16, protocol: Protocol, mode: PublishMode) -> PortConfig {
    PortConfig { target_port: 80, published_port: published, protocol, mode, ..PortConfig::default() }
}

/// Serves TCP and UDP on all addresses: each client is told `name` and the address it is seen with.
pub fn serve(netns: &Path, port: u16, name: &str) {
    let (listener, socket) = inside(netns, || {
        (TcpListener::bind(("0.0.0.0", port)).expect("bind"), UdpSocket::bind(("0.0.0.0", port)).expect("bind"))
    });
    let text = name.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let text = text.clone();
            std::thread::spawn(move || talk(stream, &text));
        }
    });
    let text = name.to_owned();
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((bytes, from)) = socket.recv_from(&mut buffer) {
            let mut answer = format!("{text} {} ", from.ip()).into_bytes();
            answer.extend(&buffer[..bytes]);
            let _ = socket.send_to(&answer, from);
        }
    });
}

/// Says who it is, then echoes until the client is done.
fn talk(mut stream: TcpStream, name: &str) -> io::Result<()> {
    let peer = stream.peer_addr()?.ip();
    stream.write_all(format!("{name} {peer}\n").as_bytes())?;
    let mut buffer = [0; 65536];
    loop {
        let bytes = stream.read(&mut buffer)?;
        if bytes == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..bytes])?;
    }
}

/// The first line of the server at `to`: its name and the client as it sees it.
pub fn greet(netns: &Path, to: (Ipv4Addr, u16)) -> io::Result<(String, Ipv4Addr)> {
    inside(netns, || {
        let stream = TcpStream::connect_timeout(&SocketAddr::from(to), CONNECT)?;
        stream.set_read_timeout(Some(CONNECT))?;
        let mut line = String::new();
        io::BufRead::read_line(&mut io::BufReader::new(stream), &mut line)?;
        words(&line)
    })
}

/// The same over UDP.
pub fn greet_udp(netns: &Path, to: (Ipv4Addr, u16), payload: &[u8]) -> io::Result<(String, Ipv4Addr)> {
    inside(netns, || {
        let socket = UdpSocket::bind(("0.0.0.0", 0))?;
        socket.set_read_timeout(Some(CONNECT))?;
        // Connected: an answer from any other address does not count.
        socket.connect(to)?;
        socket.send(payload)?;
        let mut buffer = [0; 4096];
        let bytes = socket.recv(&mut buffer)?;
        words(&String::from_utf8_lossy(&buffer[..bytes]))
    })
}

fn words(line: &str) -> io::Result<(String, Ipv4Addr)> {
    let mut words = line.split_whitespace();
    match (words.next(), words.next().and_then(|w| w.parse().ok())) {
        (Some(name), Some(addr)) => Ok((name.into(), addr)),
        _ => Err(io::Error::other(format!("no greeting: {line:?}"))),
    }
}
