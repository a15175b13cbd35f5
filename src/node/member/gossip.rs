//! This member's part in gossip.

use super::MemberError;
use super::entry::{BIND_LOOK, BIND_WAIT};
use crate::clock::Clock;
use crate::disk::{DataDir, MemberState};
use crate::gossip::{GOSSIP_PORT, GossipConfig, GossipError, GossipHandle, Snapshot, next_generation, start};
use crate::gossip_view::{GossipMember, GossipView};
use std::net::SocketAddr;
use swarm_core::NodeId;
use swarm_core::membership::{MemberInfo, MemberState as Liveness};
use swarm_core::model::{GossipKey, NodeDescription, NodeRole};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// Longest name in gossip: a label of a host name.
const NAME_BYTES_MAX: usize = 63;

/// Gossip of one member.
pub(super) struct Gossip {
    handle: GossipHandle,
    info: MemberInfo,
    snapshot: watch::Receiver<Snapshot>,
}

impl Gossip {
    /// Starts with the keys and addresses of `state`, and tells the managers known.
    pub async fn start(
        node: NodeId,
        role: NodeRole,
        description: &NodeDescription,
        state: &MemberState,
        dir: &DataDir,
        clock: &Clock,
    ) -> Result<Self, MemberError> {
        let generation = next_generation(&dir.generation(), clock.wall())?;
        let info = MemberInfo {
            gossip: SocketAddr::new(state.advertise, GOSSIP_PORT),
            control_port: state.listen.port(),
            overlay: SocketAddr::new(state.data_path, description.wireguard_port),
            wireguard_key: description.wireguard_key,
            role,
            name: cut(&description.hostname),
        };
        let config = GossipConfig {
            bind: SocketAddr::new(state.listen.ip(), GOSSIP_PORT),
            node,
            generation,
            info: info.clone(),
            keys: state.gossip_keys.clone(),
        };
        let handle = start_soon(config, clock).await?;
        let seeds = state.managers.iter().filter(|(manager, _)| *manager != node);
        handle.join(seeds.map(|(_, at)| SocketAddr::new(at.ip(), GOSSIP_PORT)).collect()).await;
        let snapshot = handle.members();
        Ok(Self { handle, info, snapshot })
    }

    /// Resolves at the next change of the members.
    pub async fn changed(&mut self) {
        if self.snapshot.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The members now.
    pub fn view(&mut self) -> GossipView {
        let snapshot = self.snapshot.borrow_and_update();
        let members = snapshot.members.iter().map(|(node, member)| {
            let info = &member.identity.info;
            let seen = GossipMember {
                alive: member.state != Liveness::Down,
                manager: info.role == NodeRole::Manager,
                control: info.control(),
            };
            (*node, seen)
        });
        GossipView { members: members.collect() }
    }

    /// Uses these keys from now on.
    pub async fn set_keys(&self, keys: &[GossipKey]) -> Result<(), MemberError> {
        Ok(self.handle.set_keys(keys).await?)
    }

    /// Tells the others this node's role.
    pub async fn set_role(&mut self, role: NodeRole) -> Result<(), MemberError> {
        self.info.role = role;
        self.handle.update_self(self.info.clone()).await.map_err(|error| MemberError::Gossip(error.into()))
    }

    /// Client of the gossip task.
    pub fn handle(&self) -> &GossipHandle {
        &self.handle
    }

    /// Says goodbye, so that nobody waits for this node.
    pub async fn leave(&self) {
        self.handle.leave().await;
    }
}

/// Starts; the socket of a daemon just before may be closing still.
async fn start_soon(config: GossipConfig, clock: &Clock) -> Result<GossipHandle, GossipError> {
    let deadline = Instant::now() + BIND_WAIT;
    loop {
        match start(config.clone(), clock.clone()) {
            Err(GossipError::Bind { source, .. })
                if source.kind() == std::io::ErrorKind::AddrInUse && Instant::now() < deadline =>
            {
                sleep(BIND_LOOK).await;
            }
            result => return result,
        }
    }
}

fn cut(name: &str) -> String {
    let mut end = name.len().min(NAME_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].to_owned()
}
