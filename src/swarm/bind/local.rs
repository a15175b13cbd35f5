//! This host, bound to the API's ports: what there is of it as a whole.

use super::images::failure;
use super::{blocking, internal, usage};
use api::ports::{Answer, DiskUsage, Host, HostInfo, LocalEvent};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use node::engine::LocalEngine;
use node::node::Node;
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;

/// This host.
#[derive(Clone)]
pub struct BoundLocal {
    pub(super) engine: LocalEngine,
    info: Arc<HostInfo>,
}

impl BoundLocal {
    /// Binds the engine of this host.
    pub fn new(engine: LocalEngine, _node: Node, info: HostInfo) -> Self {
        Self { engine, info: Arc::new(info) }
    }
}

impl Host for BoundLocal {
    fn info(&self) -> Answer<'_, HostInfo> {
        Box::pin(async { Ok((*self.info).clone()) })
    }

    fn disk_usage(&self) -> Answer<'_, DiskUsage> {
        Box::pin(async {
            let volumes = self.engine.volumes.list().await.map_err(|error| internal(&error))?;
            let images = self.engine.images.clone();
            blocking(move || {
                let layers_bytes = images.layer_bytes().map_err(failure)?;
                let volumes_bytes = volumes.into_iter().map(|volume| (volume.name, usage::bytes(&volume.mountpoint)));
                Ok(DiskUsage {
                    layers_bytes: i64::try_from(layers_bytes).unwrap_or(i64::MAX),
                    volumes_bytes: volumes_bytes.collect(),
                })
            })
            .await
        })
    }

    fn events(&self) -> BoxStream<'static, LocalEvent> {
        let next = |mut events: tokio::sync::broadcast::Receiver<node::engine::Event>| async move {
            loop {
                match events.recv().await {
                    Ok(event) => return Some((local_event(event), events)),
                    // Docker's stream, too, leaves out what a slow listener missed.
                    Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "events of this host were lost"),
                    Err(RecvError::Closed) => return None,
                }
            }
        };
        stream::unfold(self.engine.events.listen(), next).boxed()
    }
}

fn local_event(event: node::engine::Event) -> LocalEvent {
    let node::engine::Event { kind, action, id, attributes, time_ns } = event;
    LocalEvent { kind, action, id, attributes, time_ns }
}
