//! The overlay of this host, once the node is a member.

use super::{EngineError, line};
use crate::agent::engine::{Fabric as AgentFabric, FabricMember};
use futures_util::future::BoxFuture;
use overlay::{Fabric, FabricOptions};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use swarm_core::fabric::FabricState;
use swarm_core::{Sensitive, ServiceId};

/// Handle of the overlay; clones see the same.
#[derive(Clone)]
pub struct Net {
    /// Set while the node is a member. Held for a moment only.
    fabric: Arc<Mutex<Option<Fabric>>>,
    settings: Arc<NetSettings>,
}

/// What the overlay needs beside the membership.
#[derive(Debug)]
pub struct NetSettings {
    pub state_dir: PathBuf,
    pub run_dir: PathBuf,
    /// Tells the daemons of one host apart.
    pub instance: String,
    pub wireguard_private_key: Sensitive<[u8; 32]>,
}

impl Net {
    /// Not in a cluster yet.
    pub fn new(settings: NetSettings) -> Self {
        Self { fabric: Arc::default(), settings: Arc::new(settings) }
    }

    /// The overlay; an error while there is none.
    pub fn fabric(&self) -> Result<Fabric, EngineError> {
        let fabric = self.fabric.lock().unwrap_or_else(PoisonError::into_inner).clone();
        fabric.ok_or_else(|| EngineError("the network of this node has not started".to_owned()))
    }

    fn set(&self, fabric: Option<Fabric>) {
        *self.fabric.lock().unwrap_or_else(PoisonError::into_inner) = fabric;
    }
}

impl AgentFabric for Net {
    fn open(&self, member: FabricMember) -> BoxFuture<'static, Result<(), EngineError>> {
        let net = self.clone();
        Box::pin(async move {
            let settings = &net.settings;
            let options = FabricOptions {
                node: member.node,
                state_dir: settings.state_dir.clone(),
                run_dir: settings.run_dir.clone(),
                instance: settings.instance.clone(),
                listen: member.listen,
                advertise: Some(member.advertise),
                wireguard_private_key: settings.wireguard_private_key.clone(),
                resolv_conf: PathBuf::from("/etc/resolv.conf"),
                host_netns: None,
            };
            let fabric = Fabric::start(options).await.map_err(|error| line(&error))?;
            net.set(Some(fabric));
            Ok(())
        })
    }

    fn close(&self) -> BoxFuture<'static, Result<(), EngineError>> {
        let net = self.clone();
        Box::pin(async move {
            let fabric = net.fabric()?;
            net.set(None);
            fabric.teardown().await.map_err(|error| line(&error))
        })
    }

    fn connections(&self) -> BoxFuture<'static, Result<BTreeMap<ServiceId, u64>, EngineError>> {
        let net = self.clone();
        Box::pin(async move { net.fabric()?.connections().await.map_err(|error| line(&error)) })
    }

    fn apply(&self, state: Arc<FabricState>) -> BoxFuture<'static, Result<(), EngineError>> {
        let net = self.clone();
        Box::pin(async move {
            let errors = net.fabric()?.apply(state).await;
            match errors.first() {
                None => Ok(()),
                Some(first) => {
                    let more =
                        if errors.len() > 1 { format!(" (and {} more)", errors.len() - 1) } else { String::new() };
                    Err(EngineError(format!("{}{more}", crate::error::chain(first))))
                }
            }
        })
    }
}
