//! The built-in process 1 of a container with `init: true`: forwards signals and reaps orphans.
//!
//! Runs inside the container with the program's own user, capabilities and filter, as the parent of the program.
//! It never allocates and never returns; it ends with the program's exit code.

use std::io;

/// Forks. Returns in the child, which goes on to run the program; the parent becomes the reaper.
pub(crate) fn split() -> io::Result<()> {
    // SAFETY: the process has one thread, so the child may do anything.
    let child = unsafe { libc::fork() };
    match child {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: plain numbers; a group of its own, in the foreground of its terminal if it has one, so that
            // the terminal's signals reach the program once.
            unsafe {
                libc::setpgid(0, 0);
                libc::signal(libc::SIGTTOU, libc::SIG_IGN);
                libc::tcsetpgrp(0, libc::getpid());
                libc::signal(libc::SIGTTOU, libc::SIG_DFL);
            }
            Ok(())
        }
        program => reap(program),
    }
}

fn reap(program: libc::pid_t) -> ! {
    // SAFETY: plain numbers and a NUL-terminated name. Descriptors of the shim must not stay open here, above all
    // the report, whose end tells that the program runs.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0);
        libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0);
        libc::prctl(libc::PR_SET_NAME, c"init".as_ptr(), 0, 0, 0);
    }
    // SAFETY: the set is initialised before use and lives as long as this function, which never returns.
    let mut all: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    unsafe {
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
    }
    loop {
        // SAFETY: waits for a signal of an initialised set; no information is asked for.
        let signal = unsafe { libc::sigwaitinfo(&raw const all, std::ptr::null_mut()) };
        match signal {
            libc::SIGCHLD => reap_all(program),
            libc::SIGTTIN | libc::SIGTTOU => {}
            // SAFETY: kill(2) takes plain numbers; the program is unreaped, so its id is its own.
            signal if signal > 0 => unsafe {
                libc::kill(program, signal);
            },
            _ => {}
        }
    }
}

fn reap_all(program: libc::pid_t) {
    loop {
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        if pid <= 0 {
            return;
        }
        if pid == program {
            let code = if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) };
            // SAFETY: ends process 1, and with it the pid namespace.
            unsafe { libc::_exit(code) }
        }
    }
}
