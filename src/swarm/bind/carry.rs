//! Connections to the API of other nodes, and those that managers bring here.

use api::ports::{Connections, Dialled, Failure};
use futures_util::StreamExt;
use node::carry::CarriedIo;
use node::manager::Writer;
use node::node::MemberStatus;
use std::time::Duration;
use swarm_core::NodeId;
use tokio::sync::mpsc;

/// A connection to the API of `node`.
pub async fn dial(member: &MemberStatus, writer: &Writer, node: NodeId, within: Duration) -> Result<Dialled, Failure> {
    let addresses = member.addresses.all_of(&writer.feed.view(), node);
    let dialled = node::carry::dial(&member.endpoint, node, &addresses, within).await;
    let node::carry::Dialled { io, api_version } =
        dialled.map_err(|error| Failure::Unavailable(node::error::chain(&error)))?;
    Ok(Dialled { io: Box::new(io), api_version })
}

/// What managers carry here, for the API.
pub fn connections(accepted: mpsc::Receiver<CarriedIo>) -> Connections {
    let next = |mut accepted: mpsc::Receiver<CarriedIo>| async move {
        let io: api::ports::Io = Box::new(accepted.recv().await?);
        Some((io, accepted))
    };
    futures_util::stream::unfold(accepted, next).boxed()
}
