//! How a node becomes a member: by making a cluster, or by joining one with a token.

use super::ask::ask_leader;
use super::{Member, MemberError, Start};
use crate::disk::{DataDir, ManagerKeys, MemberState, random_key};
use crate::manager::{CA_KEY_CONTEXT, StoreMachine, new_node};
use crate::managers::Managers;
use crate::node::{InitRequest, JoinRequest, NodeOptions};
use crate::storage::{DataKey, Identity};
use crate::transport::{Endpoint, TransportError};
use crate::trust::{ClusterCa, NodeIdentity, NodeKey, SealingKey, SigningRequest, random_bytes};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use swarm_core::model::{
    self, Cluster, GossipKey, JoinSecret, Meta, Network, NetworkDriver, NetworkSpec, NodeRole, RaftMember,
};
use swarm_core::store::{Object, Store};
use swarm_core::trust::{CertSpec, JoinToken, TokenSecret, Validity};
use swarm_core::{ClusterId, NetworkId, NodeId, Sensitive, Stamp, control};
use tokio::time::{Instant, sleep, timeout};
use wire::pb::control::request::Request;
use wire::{Message, Wire, WireError, pb};

/// One attempt at a manager: it may have to wait for an election.
const JOIN_CALL: Duration = Duration::from_secs(10);
/// Until a node that joined has its first session, and as a manager its share of the log.
const SETTLE: Duration = Duration::from_secs(30);
/// For connections of an earlier attempt to drain: three of QUIC's probe timeouts (RFC 9000 section 10.2).
pub(super) const BIND_WAIT: Duration = Duration::from_secs(2);
pub(super) const BIND_LOOK: Duration = Duration::from_millis(50);
/// Between attempts to become a manager.
const SETTLE_PAUSE: Duration = Duration::from_millis(500);
/// Name of the network of published ports (as in Docker).
const INGRESS: &str = "ingress";

impl Member {
    /// Makes a cluster of this node.
    pub async fn init(options: &NodeOptions, dir: &DataDir, request: InitRequest) -> Result<Self, MemberError> {
        // The port is tried before anything is written.
        let endpoint = bind(request.listen, None).await?;
        let key = NodeKey::generate()?;
        let (cluster_id, node) = (ClusterId(random()?), NodeId(random()?));
        let now = options.clock.wall();
        let ca = ClusterCa::create(cluster_id, now)?;
        let csr = SigningRequest::parse(&key.signing_request(node)?)?;
        let validity = Validity::issued(now, request.spec.node_cert_expiry);
        let spec = CertSpec { node, role: NodeRole::Manager, cluster: cluster_id, validity };
        let certificate = ca.issue(&csr, &spec)?;
        let identity = NodeIdentity::from_issued(&key, certificate, ca.certificate_der().to_vec(), None)?;
        let keys = ManagerKeys { data: random_key()?, sealing: random_key()? };
        let gossip_keys = vec![GossipKey { id: 1, key: random_key()? }];
        let raft_id = crate::raft::fresh_raft_id();
        let listen = endpoint.local_address()?;
        let mut own = new_node(
            node,
            NodeRole::Manager,
            request.availability,
            options.description.hostname.clone(),
            request.advertise,
            now,
        );
        own.raft = Some(RaftMember { raft_id, voter: true });
        own.description = Some(options.description.clone());
        let cluster = Cluster {
            id: cluster_id,
            meta: Meta::default(),
            spec: request.spec,
            ca: model::ClusterCa {
                certificate_der: ca.certificate_der().to_vec(),
                sealed_key: seal_ca(&ca, &keys.sealing)?,
            },
            worker_secret: join_secret()?,
            manager_secret: join_secret()?,
            gossip_keys: gossip_keys.clone(),
        };
        let state = MemberState {
            listen,
            advertise: request.advertise,
            data_path: request.data_path,
            managers: vec![(node, SocketAddr::new(request.advertise, listen.port()))],
            gossip_keys,
        };
        let store = first_store(cluster, own, first_networks()?, now);
        let (machine, _) = StoreMachine::with(store, options.clock.clone());
        dir.forget_cluster()?;
        let own_log = Identity { raft_id, node };
        crate::raft::bootstrap(&dir.log(), &DataKey::new(*keys.data.expose()), own_log, &machine)?;
        dir.save_keys(&keys)?;
        identity.save(&dir.identity())?;
        dir.save_state(&state)?;
        endpoint.set_identity(identity.clone())?;
        let start = Start { options, dir, identity, state, endpoint: endpoint.clone(), resumes: false };
        let started = match Self::start(start).await {
            Ok(member) => match member.settle().await {
                Ok(()) => Ok(member),
                Err(error) => {
                    member.stop().await;
                    Err(error)
                }
            },
            Err(error) => Err(error),
        };
        if started.is_err() {
            endpoint.close().await;
        }
        started
    }

    /// Joins the cluster of the token through one of the managers named.
    pub async fn join(options: &NodeOptions, dir: &DataDir, request: JoinRequest) -> Result<Self, MemberError> {
        let token: JoinToken = request.token.expose().trim().parse()?;
        let endpoint = bind(request.listen, None).await?;
        let key = NodeKey::generate()?;
        let node = NodeId(random()?);
        let asked = pb::trust::JoinRequest {
            secret: token.secret.reveal(),
            csr_der: key.signing_request(node)?,
            hostname: options.description.hostname.clone(),
            availability: request.availability.to_wire(),
            advertise_addr: request.advertise.map(|addr| addr.to_string()).unwrap_or_default(),
            wall: options.clock.wall().0,
        };
        let joined = ask_all(&endpoint, &token, &asked, &request.managers).await?;
        let issued = joined.identity.ok_or(WireError::Missing("JoinReply.identity"))?;
        let certificate = issued.certificate_der;
        let identity = NodeIdentity::from_issued(&key, certificate, issued.ca_certificate_der, Some(token.digest))?;
        let advertise = IpAddr::from_wire(joined.advertise_addr)?;
        let managers = joined
            .managers
            .into_iter()
            .map(|manager| Ok((NodeId::from_wire(manager.node)?, SocketAddr::from_wire(manager.addr)?)));
        let state = MemberState {
            listen: endpoint.local_address()?,
            advertise,
            data_path: request.data_path.unwrap_or(advertise),
            managers: managers.collect::<Result<_, WireError>>()?,
            gossip_keys: Vec::from_wire(joined.gossip_keys)?,
        };
        endpoint.set_identity(identity.clone())?;
        let managers = Managers::new(state.managers.iter().copied());
        let start = Start { options, dir, identity, state, endpoint: endpoint.clone(), resumes: false };
        let error = match Self::enter(start).await {
            Ok(member) => return Ok(member),
            Err(error) => error,
        };
        // Not half joined: the managers forget the node again.
        let leave = Request::Leave(pb::control::LeaveCluster { force: true });
        if let Err(error) = ask_leader(&endpoint, &managers, leave).await {
            let error = crate::error::chain(&error);
            tracing::warn!(%node, error, "the managers still list this node: remove it with swarm node rm");
        }
        endpoint.close().await;
        Err(error)
    }

    /// Takes the place that a manager gave. After an error nothing runs but the endpoint.
    async fn enter(start: Start<'_>) -> Result<Self, MemberError> {
        let (options, dir) = (start.options, start.dir);
        dir.forget_cluster()?;
        start.identity.save(&dir.identity())?;
        dir.save_state(&start.state)?;
        let mut member = Self::start(start).await?;
        match member.settle_in(options, dir).await {
            Ok(()) => Ok(member),
            Err(error) => {
                member.agent.hold_sessions(true).await;
                member.agent.clear().await;
                member.gossip.leave().await;
                member.stop_parts().await;
                Err(error)
            }
        }
    }

    /// Waits for the first session, and becomes a manager if that is the role: managers join one after the other,
    /// so this one may have to wait for another.
    async fn settle_in(&mut self, options: &NodeOptions, dir: &DataDir) -> Result<(), MemberError> {
        let deadline = Instant::now() + SETTLE;
        self.settle().await?;
        loop {
            match self.follow_role(options, dir).await {
                Err(MemberError::NoManager { .. }) if Instant::now() < deadline => sleep(SETTLE_PAUSE).await,
                result => return result,
            }
        }
    }

    async fn settle(&self) -> Result<(), MemberError> {
        let mut connected = self.agent.connected();
        match timeout(SETTLE, connected.wait_for(|connected| *connected)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(MemberError::NoManager {
                waited: SETTLE,
                last: "the node is known to the managers, but no session with their leader came up".to_owned(),
            }),
        }
    }
}

/// Opens the endpoint. The socket of an attempt, or of a daemon, just before may be closing still.
pub(super) async fn bind(listen: SocketAddr, identity: Option<&NodeIdentity>) -> Result<Endpoint, TransportError> {
    let deadline = Instant::now() + BIND_WAIT;
    loop {
        match Endpoint::bind(listen, identity.cloned()) {
            Err(TransportError::Bind { source, .. })
                if source.kind() == std::io::ErrorKind::AddrInUse && Instant::now() < deadline =>
            {
                sleep(BIND_LOOK).await;
            }
            result => return result,
        }
    }
}

/// Asks one after the other. A refusal in words is the answer rather than an address nobody answers at.
async fn ask_all(
    endpoint: &Endpoint,
    token: &JoinToken,
    request: &pb::trust::JoinRequest,
    managers: &[SocketAddr],
) -> Result<pb::trust::JoinReply, MemberError> {
    let mut last =
        MemberError::NoManager { waited: Duration::ZERO, last: "no address of a manager was given".to_owned() };
    let mut refused = None;
    for address in managers {
        let reply: Result<_, TransportError> =
            endpoint.join_call(*address, token.digest, request.encode_to_vec(), JOIN_CALL).await;
        let reply = match reply {
            Ok(reply) => pb::trust::Joined::decode(reply).map_err(WireError::from)?,
            Err(error) => {
                last = error.into();
                continue;
            }
        };
        match reply.result.ok_or(WireError::Missing("Joined.result"))? {
            pb::trust::joined::Result::Reply(joined) => return Ok(joined),
            pb::trust::joined::Result::Refusal(words) => refused = Some(MemberError::Refused(words)),
        }
    }
    Err(refused.unwrap_or(last))
}

fn random() -> Result<u128, MemberError> {
    Ok(u128::from_be_bytes(random_bytes()?))
}

fn join_secret() -> Result<JoinSecret, MemberError> {
    let secret = TokenSecret::from_random(random_bytes()?).reveal();
    Ok(JoinSecret { secret: Sensitive::new(secret), expires: None })
}

fn seal_ca(ca: &ClusterCa, sealing: &Sensitive<[u8; 32]>) -> Result<Sensitive<Vec<u8>>, MemberError> {
    Ok(Sensitive::new(SealingKey::new(sealing).seal(CA_KEY_CONTEXT, ca.key_pkcs8().expose())?))
}

/// `ingress` takes its subnet from the cluster's pools, as every network does.
fn first_networks() -> Result<[Network; 3], MemberError> {
    let ids = [NetworkId(random()?), NetworkId(random()?), NetworkId(random()?)];
    let [_, host, none] = control::predefined_networks(ids);
    Ok([ingress(ids[0]), host, none])
}

fn ingress(id: NetworkId) -> Network {
    Network {
        id,
        meta: Meta::default(),
        spec: NetworkSpec {
            name: INGRESS.to_owned(),
            driver: NetworkDriver::Overlay,
            ingress: true,
            ..NetworkSpec::default()
        },
        allocation: None,
        pending_reason: String::new(),
        removing: false,
    }
}

/// What the log of a new cluster begins with, as if written at index 1.
fn first_store(
    mut cluster: Cluster,
    mut node: model::Node,
    networks: [Network; 3],
    now: swarm_core::WallTime,
) -> Store {
    let stamp = Stamp { index: 1, wall: now };
    let meta = Meta { version: 1, created: stamp, updated: stamp };
    cluster.meta = meta;
    node.meta = meta;
    let networks = networks.map(|network| Object::Network(Arc::new(Network { meta, ..network })));
    let objects = [Object::Cluster(Arc::new(cluster)), node.into()];
    Store::restore(1, objects.into_iter().chain(networks))
}
