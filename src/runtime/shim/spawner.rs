//! The spawner: a shim that has not been born, from which shims are forked.
//!
//! One per daemon. Loading a program dirties its relocated data, megabytes for a large one, in every process anew;
//! forked shims share those pages, and start without loading anything. It does nothing but fork, keeps no state, and
//! goes with its daemon; shims do not mind. A daemon without one starts one.

use crate::cgroup::Hierarchy;
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use serde::{Deserialize, Serialize};

use super::create::receive;
use super::protocol::decode;

/// The argument that makes a spawner, in place of a container's.
pub(crate) const COMMAND: &str = "spawner";
/// The same, once the spawner runs from a read-only view of its program.
pub(super) const SEALED: &str = "sealed-spawner";
/// Bytes of one request: four arguments, of which two are paths.
const REQUEST_BYTES_MAX: usize = 64 << 10;

/// A shim to fork: its arguments. The stream for its one line comes with it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub args: Vec<OsString>,
}

/// Serves the socket that is standard input. Returns in each forked shim, with its arguments and with standard
/// output set; returns `None` in the spawner itself when the daemon is gone.
pub(super) fn serve() -> io::Result<Option<Vec<OsString>>> {
    // SAFETY: plain numbers and a NUL-terminated name. Ended shims need no waiting for.
    unsafe {
        libc::setsid();
        libc::prctl(libc::PR_SET_NAME, c"swarm-spawner".as_ptr(), 0, 0, 0);
        libc::signal(libc::SIGCHLD, libc::SIG_IGN);
        libc::signal(libc::SIGHUP, libc::SIG_IGN);
        libc::signal(libc::SIGINT, libc::SIG_IGN);
    }
    // SAFETY: duplicates standard input, close-on-exec, as a descriptor of our own.
    let control = unsafe { libc::fcntl(0, libc::F_DUPFD_CLOEXEC, 3) };
    if control < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel returned this new descriptor to us alone.
    let control = unsafe { OwnedFd::from_raw_fd(control) };
    // Each shim has it from here. Where there is none, the first shim says so.
    let _ = Hierarchy::known();
    let null = File::options().read(true).write(true).open("/dev/null")?;
    for fd in 0..3 {
        replace(null.as_raw_fd(), fd)?;
    }
    drop(null);
    let (mut buffer, mut fds) = (Vec::new(), Vec::new());
    loop {
        let mut piece = [0u8; 4096];
        let (count, received) = match receive(control.as_raw_fd(), &mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        };
        if count == 0 || buffer.len() > REQUEST_BYTES_MAX {
            return Ok(None);
        }
        buffer.extend_from_slice(&piece[..count]);
        fds.extend(received);
        while let Some((body, length)) = decode(&buffer).map_err(io::Error::other)? {
            let request: Request = serde_json::from_slice(body)?;
            buffer.drain(..length);
            if fds.is_empty() {
                return Err(io::Error::other("a request came without its stream"));
            }
            let ready: OwnedFd = fds.remove(0);
            // SAFETY: this process has one thread, so the child may do anything. Without a child the stream is
            // closed, which tells the daemon.
            if unsafe { libc::fork() } == 0 {
                // SAFETY: SIG_DFL installs no handler; a shim waits for its children.
                unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
                replace(ready.as_raw_fd(), 1)?;
                return Ok(Some(request.args));
            }
        }
    }
}

/// Runs this program again, from a read-only mount that only it has.
///
/// A container may name `/proc/self/exe` as its program, or open `/proc/PID/exe` of a process that joins it: what it
/// gets is the host's binary. Behind a read-only mount it cannot be written to, whatever the container may do
/// (CVE-2019-5736). Returns only when the kernel cannot (open_tree(2) needs 5.2, mount_setattr(2) 5.12); what
/// remains then is that a running program's file is busy.
pub(super) fn seal() -> io::Error {
    const MOUNT_ATTR_RDONLY: u64 = 1;
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    // SAFETY: the path is NUL-terminated.
    let tree = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, c"/proc/self/exe".as_ptr(), flags) };
    if tree < 0 {
        return io::Error::last_os_error();
    }
    // SAFETY: the kernel returned this new descriptor to us alone.
    let tree = unsafe { OwnedFd::from_raw_fd(tree as i32) };
    // attr_set, attr_clr, propagation, userns_fd
    let attributes: [u64; 4] = [MOUNT_ATTR_RDONLY, 0, 0, 0];
    // SAFETY: the attributes outlive the call and their true size is given; the path is NUL-terminated.
    let set = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    };
    if set != 0 {
        return io::Error::last_os_error();
    }
    let args: Vec<CString> = std::env::args_os()
        .map(|arg| if arg == COMMAND { SEALED.into() } else { arg })
        .filter_map(|arg| CString::new(arg.into_encoded_bytes()).ok())
        .collect();
    let pointers: Vec<*const libc::c_char> = args.iter().map(|arg| arg.as_ptr()).chain([std::ptr::null()]).collect();
    let none = [std::ptr::null::<libc::c_char>()];
    // SAFETY: both arrays end with a null pointer and, with what they point to, outlive the call.
    unsafe {
        libc::execveat(
            tree.as_raw_fd(),
            c"".as_ptr(),
            pointers.as_ptr().cast(),
            none.as_ptr().cast(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

fn replace(from: i32, to: i32) -> io::Result<()> {
    // SAFETY: `from` is open; the standard streams are nobody's in this process.
    if unsafe { libc::dup2(from, to) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
