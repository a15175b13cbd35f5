//! Finding the containers again after the daemon, or the host, was away.

use std::io;
use std::time::Duration;

use super::{Containers, Error, Exit, KILL_MS_MAX, Result, Status, blocking, io_error, write_private};
use crate::shim::log::now_ns;
use crate::shim::protocol::{EXIT_FILE, PID_FILE};

/// A container found on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    pub id: String,
    pub found: Found,
}

/// What has become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Its shim answers.
    Alive(Status),
    /// It ended, perhaps while nobody looked.
    Ended(Exit),
    /// Its shim is gone without a record. Whatever was left of it has been killed, and this exit recorded.
    Lost(Exit),
}

impl Containers {
    /// Looks at every container once: adopts those whose shim answers, reports those that ended, and kills what is
    /// left of those whose shim was killed or that a reboot ended. One that cannot be judged, such as one whose shim
    /// lives but does not answer in time, is logged and left out, unharmed.
    pub async fn recover(&self) -> Result<Vec<Recovered>> {
        let mut out = Vec::new();
        for id in self.list()? {
            let found = match self.status(&id).await {
                Ok(Status::Exited(exit)) => Ok(Found::Ended(exit)),
                Ok(status) => Ok(Found::Alive(status)),
                Err(Error::NotFound(_)) => self.bury(&id).await,
                Err(error) => Err(error),
            };
            match found {
                Ok(found) => out.push(Recovered { id, found }),
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                    tracing::error!(id, %error, cause, "a container cannot be judged and is left as it is");
                }
            }
        }
        Ok(out)
    }

    /// Ends a container of which nothing can be learned any more: kills its processes, and its shim unless that
    /// records the end. Returns how it ended, once nothing of it runs; on an error something may. An unknown id is
    /// success.
    pub async fn put_down(&self, id: &str) -> Result<Exit> {
        let cgroup = self.cgroup(id)?;
        let killed = blocking(move || {
            if cgroup.is_frozen() {
                cgroup.freeze(false)?; // On v1 a frozen process does not even die.
            }
            cgroup.kill()
        });
        if self.exit(id)?.is_none() {
            killed.await??;
        }
        match self.bury(id).await? {
            Found::Ended(exit) | Found::Lost(exit) => Ok(exit),
            Found::Alive(_) => Err(Error::Running(id.to_owned())),
        }
    }

    async fn bury(&self, id: &str) -> Result<Found> {
        self.end_silent_shim(id).await?;
        if let Some(exit) = self.exit(id)? {
            return Ok(Found::Ended(exit));
        }
        let cgroup = self.cgroup(id)?;
        let oom_killed = cgroup.oom_kills() > 0;
        blocking(move || cgroup.remove()).await??;
        let _ = std::fs::remove_dir_all(self.run_dir(id));
        let exit = Exit {
            code: 128 + libc::SIGKILL,
            signal: Some(libc::SIGKILL),
            oom_killed,
            started_at_ms: 0,
            finished_at_ms: now_ns() / 1_000_000,
            error: Some("its shim was killed or the host was restarted; how it ended is not known".to_owned()),
        };
        let path = self.state_dir(id).join(EXIT_FILE);
        let text = serde_json::to_vec(&exit).map_err(|error| io_error("write", &path)(error.into()))?;
        // Whole or not at all, as the shim does it; not the shim's name for it.
        let partial = path.with_extension("new");
        match write_private(&partial, &text).and_then(|()| std::fs::rename(&partial, &path)) {
            // Deleted meanwhile, or never made.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            written => written.map_err(io_error("write", &path))?,
        }
        Ok(Found::Lost(exit))
    }

    /// A shim between its container's end and its own, or one that lost its socket: it gets time to end.
    async fn end_silent_shim(&self, id: &str) -> Result<()> {
        let path = self.run_dir(id).join(PID_FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(io_error("read", &path)(error)),
        };
        let mut numbers = text.split_whitespace();
        let (Some(pid), Some(start)) = (
            numbers.next().and_then(|text| text.parse::<i32>().ok()),
            numbers.next().and_then(|text| text.parse::<u64>().ok()),
        ) else {
            return Ok(());
        };
        let alive = || crate::shim::start_time(pid) == Some(start);
        let give_up = tokio::time::Instant::now() + Duration::from_millis(KILL_MS_MAX / 4);
        while alive() && tokio::time::Instant::now() < give_up {
            // Not our child, so its end can only be looked for.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if alive() {
            // SAFETY: plain numbers; process id and start time together name the shim.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        Ok(())
    }
}
