//! Tasks come and go.

use super::{Attachment, Manager};
use crate::api::{AttachSpec, Attached};
use crate::container;
use crate::error::{FabricError, Result};
use crate::netns::Netns;
use crate::record::Record;
use crate::resolver::{Resolver, ResolverOptions};
use std::fs;

impl Manager {
    /// Wires a task. The same id and spec again gives the same answer.
    pub async fn attach(&mut self, id: &str, spec: AttachSpec) -> Result<Attached> {
        let record = Record::new(id, spec)?;
        let host_resolv = fs::read_to_string(&self.options.resolv_conf).unwrap_or_default();
        if let Some(there) = self.attachments.get(id) {
            if there.record.spec != record.spec {
                return Err(FabricError::AttachedOtherwise(id.into()));
            }
            return Ok(container::attached(&self.names, &record, &host_resolv));
        }
        self.make_dirs()?;
        // Before anything is made in the kernel: a daemon that dies now finds what to remove.
        record.save(&self.names)?;
        self.attachments.insert(id.into(), Attachment { record: record.clone(), resolver: None });
        match self.make(id, &record).await {
            Ok(()) => Ok(container::attached(&self.names, &record, &host_resolv)),
            Err(error) => {
                if let Err(second) = self.detach(id).await {
                    tracing::warn!(%id, error = %crate::error::chain(&second), "a half-made attachment cannot be removed");
                }
                Err(error)
            }
        }
    }

    async fn make(&mut self, id: &str, record: &Record) -> Result<()> {
        let plan = self.plan();
        // Ports of this task first: if one is taken, the task cannot run here at all.
        for (port, _) in plan.ports.iter().filter(|(_, f)| f.owner.as_deref() == Some(id)) {
            self.ports.hold(&self.host, *port)?;
        }
        for leg in record.legs()? {
            self.build_network(leg.net).await?;
        }
        // A namespace left by an attempt that failed half-way would be somebody's with old links.
        Netns::remove(&self.names.task_netns(id))?;
        container::wire(&self.names, record, &self.networks).await?;
        self.start_resolver(id)?;
        self.unsettled = true;
        if !record.spec.host_ports.is_empty() {
            // Its ports are open when the caller is told so.
            self.settle().await;
        }
        Ok(())
    }

    /// Removes a task's links, namespace and ports; one that is not attached is fine.
    pub async fn detach(&mut self, id: &str) -> Result<()> {
        let Some(attachment) = self.attachments.remove(id) else { return Ok(()) };
        let record = attachment.record;
        for leg in record.legs()? {
            self.pending_forget.entry(leg.net.overlay_id).or_default().addrs.insert(leg.addr);
        }
        self.unsettled = true;
        container::unwire(&self.names, &record, &self.networks).await?;
        self.forget_record(id)
    }

    /// The second half of attaching and detaching, once for all that came together: rules that name
    /// the tasks, ports of the host, networks that are no longer needed, connections of tasks gone.
    pub async fn settle(&mut self) {
        if !std::mem::take(&mut self.unsettled) {
            return;
        }
        for error in self.reconcile().await {
            tracing::warn!(error = %crate::error::chain(&error), "the network is not as it should be");
        }
    }

    pub(super) fn forget_record(&self, id: &str) -> Result<()> {
        let path = self.names.record(id);
        match fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(FabricError::File { path: path.display().to_string(), what: "remove it", source }),
        }
    }

    /// Ids of what is attached.
    pub fn attached(&self) -> Vec<String> {
        self.attachments.keys().cloned().collect()
    }
    pub(super) fn start_resolver(&mut self, id: &str) -> Result<()> {
        let Some(attachment) = self.attachments.get_mut(id) else { return Ok(()) };
        let record = &attachment.record;
        if record.spec.attachments.is_empty() {
            return Ok(());
        }
        let options = ResolverOptions {
            networks: record.networks(),
            servers: record.spec.dns.nameservers.clone(),
            forwards: record.legs()?.iter().any(|l| l.default),
            host: self.host.clone(),
            host_resolv_conf: self.options.resolv_conf.clone(),
        };
        let place = Netns::At(self.names.task_netns(id));
        attachment.resolver = Some(Resolver::start(&place, &self.runtime, options, self.zones.subscribe())?);
        Ok(())
    }
}
