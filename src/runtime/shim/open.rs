//! Opening what a container's own files name, without leaving the directory they are in (openat2(2)).

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::Path;

/// Opens a path with `root` as `/`; no symbolic link leads out of it.
pub(crate) fn in_root(root: &Path, path: &str, flags: i32) -> io::Result<File> {
    openat2(root, Path::new(path), flags, libc::RESOLVE_IN_ROOT)
}

/// Opens a regular file with `root` as `/` for reading. Nothing else is opened: a container can put a device of the host
/// there, and opening some already does something.
pub(crate) fn file_in_root(root: &Path, path: &str) -> io::Result<File> {
    let found = in_root(root, path, libc::O_PATH)?;
    if !found.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    File::open(format!("/proc/self/fd/{}", found.as_raw_fd()))
}

/// Opens a path below `directory`; one that leads out of it, by a link or otherwise, fails with EXDEV.
pub(crate) fn beneath(directory: &Path, path: &Path, flags: i32) -> io::Result<File> {
    openat2(directory, path, flags, libc::RESOLVE_BENEATH)
}

fn openat2(directory: &Path, path: &Path, flags: i32, resolve: u64) -> io::Result<File> {
    let directory = File::open(directory)?;
    let path = CString::new(path.as_os_str().as_encoded_bytes())?;
    // SAFETY: `open_how` is plain numbers, for which zero is valid (openat2(2)).
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (flags | libc::O_CLOEXEC) as u64;
    // Never into links like those of /proc.
    how.resolve = resolve | libc::RESOLVE_NO_MAGICLINKS;
    // SAFETY: the path and `how` outlive the call and the size is that of `how`.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_openat2,
            directory.as_raw_fd(),
            path.as_ptr(),
            &raw const how,
            size_of::<libc::open_how>(),
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel returned this new descriptor to us alone.
    Ok(unsafe { File::from_raw_fd(fd as i32) })
}
