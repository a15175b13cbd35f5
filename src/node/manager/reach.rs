//! Which managers answer now: what store and gossip say of one that has just died is some seconds old.

use super::addresses::Addresses;
use super::write::Writer;
use crate::transport::{CONTROL, Expect};
use futures_util::future::join_all;
use std::collections::BTreeSet;
use std::time::Duration;
use swarm_core::NodeId;
use wire::{Message, pb};

/// For one answer, dialling included. A person waits for it.
const ANSWER: Duration = Duration::from_millis(1500);

impl Writer {
    /// Asks all managers of the store at once. This one counts as answering.
    pub async fn answering(&self, addresses: &Addresses) -> BTreeSet<NodeId> {
        let view = self.feed.view();
        let own = addresses.own.0;
        let managers = view.nodes().filter(|node| node.raft.is_some()).map(|node| node.id);
        let asked = managers.map(|node| {
            let address = addresses.of(&view, node);
            async move { (node == own || self.answers(node, address?).await).then_some(node) }
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    async fn answers(&self, node: NodeId, address: std::net::SocketAddr) -> bool {
        let question = pb::control::request::Request::Leader(pb::control::LeaderQuery {});
        let question = pb::control::Request { request: Some(question) }.encode_to_vec();
        self.endpoint.call(address, Expect::Node(node), &CONTROL, question, ANSWER).await.is_ok()
    }
}
