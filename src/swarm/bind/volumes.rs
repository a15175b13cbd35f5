//! The volumes of this host, bound to the API's port.

use super::images::seconds;
use super::{BoundLocal, internal};
use api::ports::{Answer, Failure, VolumeRecord, Volumes};
use std::collections::BTreeMap;

impl Volumes for BoundLocal {
    fn volumes(&self) -> Answer<'_, Vec<VolumeRecord>> {
        Box::pin(async {
            let volumes = self.engine.volumes.list().await.map_err(|error| internal(&error))?;
            let used = self.used_volumes();
            let one = |volume: runtime::volumes::Volume| {
                let users = used.iter().filter(|path| path.starts_with(&volume.mountpoint)).count();
                volume_record(volume, i64::try_from(users).unwrap_or(0))
            };
            Ok(volumes.into_iter().map(one).collect())
        })
    }

    fn create_volume(&self, volume: VolumeRecord) -> Answer<'_, VolumeRecord> {
        Box::pin(async move {
            if !matches!(volume.driver.as_str(), "" | "local") {
                return Err(Failure::Invalid(format!("volume driver {} is not supported: use local", volume.driver)));
            }
            if let Some(option) = volume.options.keys().next() {
                return Err(Failure::Invalid(format!("volume option {option} is not supported")));
            }
            let known = self.engine.volumes.inspect(&volume.name).await.is_ok();
            let made = self.engine.volumes.create(&volume.name, volume.labels).await;
            let made = made.map_err(|error| Failure::Invalid(error.to_string()))?;
            if !known {
                self.engine.events.tell("volume", "create", &made.name, driver());
            }
            Ok(volume_record(made, 0))
        })
    }

    fn remove_volume<'a>(&'a self, name: &'a str, _force: bool) -> Answer<'a, ()> {
        Box::pin(async move {
            let volume = self.engine.volumes.inspect(name).await;
            let volume = volume.map_err(|error| Failure::NotFound(error.to_string()))?;
            if self.used_volumes().iter().any(|path| path.starts_with(&volume.mountpoint)) {
                return Err(Failure::Conflict(format!("volume {name} is in use by a container")));
            }
            self.engine.volumes.remove(name).await.map_err(|error| internal(&error))?;
            self.engine.events.tell("volume", "destroy", name, driver());
            Ok(())
        })
    }
}

impl BoundLocal {
    /// Paths of the host that containers have mounted.
    fn used_volumes(&self) -> Vec<std::path::PathBuf> {
        let ids = self.engine.containers.list().unwrap_or_default();
        let specs = ids.iter().filter_map(|id| self.engine.containers.spec(id).ok());
        specs.flat_map(|spec| spec.mounts).filter_map(|mount| mount.kind.source()).collect()
    }
}

fn volume_record(volume: runtime::volumes::Volume, users: i64) -> VolumeRecord {
    VolumeRecord {
        name: volume.name,
        driver: "local".to_owned(),
        mountpoint: volume.mountpoint.display().to_string(),
        labels: volume.labels,
        options: Default::default(),
        created_s: seconds(Some(&volume.created_at)),
        users,
    }
}

fn driver() -> BTreeMap<String, String> {
    [("driver".to_owned(), "local".to_owned())].into()
}
