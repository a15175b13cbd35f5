//! A command at a terminal: what a person types, sees, and does to the size of the window.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{SOON, wait_for, wait_until};

/// A running command and the other side of its terminal. Dropping it kills the command.
pub struct Terminal {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<Vec<u8>>>,
}

fn window((rows, columns): (u16, u16)) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

impl Terminal {
    /// Starts `command` in a window of rows and columns.
    pub fn open(mut command: Command, size: (u16, u16)) -> Self {
        let pair = openpty(Some(&window(size)), None).expect("a terminal");
        let slave = File::from(pair.slave);
        let end = || Stdio::from(slave.try_clone().expect("a descriptor"));
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("the command starts");
        // Its copies of the terminal are gone with it: then reading ends with the child.
        drop(command);
        let keyboard = File::from(pair.master);
        let mut shown = keyboard.try_clone().expect("a descriptor");
        let screen = Arc::new(Mutex::new(Vec::new()));
        let written = screen.clone();
        std::thread::spawn(move || {
            let mut piece = [0u8; 4096];
            // Linux says EIO when the last process at the terminal has gone.
            while let Ok(length @ 1..) = shown.read(&mut piece) {
                written.lock().expect("no panic").extend_from_slice(&piece[..length]);
            }
        });
        Self { child, keyboard, screen }
    }

    pub fn types(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).expect("the terminal takes it");
    }

    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().expect("no panic")).into_owned()
    }

    pub fn sees(&self, text: &str) {
        wait_until(&format!("{text:?} on the screen, which shows {:?}", self.screen()), SOON, || {
            self.screen().contains(text)
        });
    }

    /// Makes the window another size, as a window manager does.
    pub fn resize(&self, size: (u16, u16)) {
        let size = window(size);
        // SAFETY: the descriptor is open and a terminal's; the call reads one Winsize.
        let done = unsafe { libc::ioctl(self.keyboard.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(pid), Signal::SIGWINCH).expect("the command runs");
    }

    /// Waits for the command's end.
    pub fn end(mut self) -> (ExitStatus, String) {
        let status = wait_for("the end of the command at the terminal", SOON, || self.child.try_wait().ok().flatten());
        (status, self.screen())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
