//! poll(2).

use std::os::fd::RawFd;

pub(super) fn poll_fd(fd: RawFd, events: i16) -> libc::pollfd {
    libc::pollfd { fd, events, revents: 0 }
}

/// How many are ready; 0 after the timeout and when a signal came.
pub(super) fn poll(fds: &mut [libc::pollfd], timeout_ms: i32) -> i32 {
    // SAFETY: the slice outlives the call and its true length is given.
    let ready = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout_ms) };
    if ready < 0 {
        fds.iter_mut().for_each(|fd| fd.revents = 0);
    }
    ready.max(0)
}
