//! TUN devices: opened in a network's namespace, used from wherever the shard runs.
//!
//! Devices are persistent: while the daemon is away they keep their routes, and the next daemon takes
//! them over by name. (tuntap.rst in the kernel's documentation)

use crate::error::{FabricError, Result};
use crate::netns::Netns;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

/// Opens or takes over the TUN device `name` in `place`. Packets are plain IP, one per read and
/// write; the descriptor does not block.
pub(crate) fn open(place: &Netns, name: &str) -> Result<OwnedFd> {
    let err = |what, source| FabricError::Tun { name: name.into(), what, source };
    place.enter(|| {
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open("/dev/net/tun")
            .map_err(|e| err("open /dev/net/tun", e))?;
        let fd = OwnedFd::from(file);
        // SAFETY: ifreq is plain data for which all zeroes are a valid value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
        // SAFETY: the descriptor is open and the request outlives the call; TUNSETIFF reads and
        // writes one ifreq.
        cvt(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) })
            .map_err(|e| err("attach to it", e))?;
        // The offload mask belongs to the device and outlives its opener: a plain reader clears it.
        // SAFETY: TUNSETOFFLOAD takes an integer and touches no memory of ours.
        cvt(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD as _, 0 as libc::c_ulong) })
            .map_err(|e| err("clear its offloads", e))?;
        // SAFETY: TUNSETPERSIST takes an integer and touches no memory of ours.
        cvt(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETPERSIST as _, 1 as libc::c_ulong) })
            .map_err(|e| err("keep it", e))?;
        Ok(fd)
    })?
}

fn cvt(code: libc::c_int) -> io::Result<()> {
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
