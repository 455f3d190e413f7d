//! A terminal that a program sits at, and the person before it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::pty::openpty;
use nix::sys::termios::{LocalFlags, tcgetattr};

use crate::support::{wait_for, wait_until};

const LIMIT: Duration = Duration::from_secs(30);

/// A program at a terminal: its standard input and error are the terminal's, its output is ours.
pub(super) struct Terminal {
    child: Child,
    /// The side of the person.
    person: File,
    program: OwnedFd,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    pub(super) fn start(mut command: Command) -> Self {
        let pty = openpty(None, None).unwrap();
        command.stdin(pty.slave.try_clone().unwrap()).stderr(pty.slave.try_clone().unwrap()).stdout(Stdio::piped());
        let child = command.spawn().unwrap();
        let person = File::from(pty.master);
        let shown: Arc<Mutex<Vec<u8>>> = Arc::default();
        let (mut reader, seen) = (person.try_clone().unwrap(), Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count) = reader.read(&mut bytes) {
                seen.lock().unwrap().extend_from_slice(&bytes[..count]);
            }
        });
        Self { child, person, program: pty.slave, shown }
    }

    /// Everything that the terminal has shown.
    pub(super) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// Wait until it shows this.
    pub(super) fn shows(&self, text: &str) {
        wait_until(text, LIMIT, || self.shown().contains(text));
    }

    pub(super) fn types(&mut self, text: &str) {
        self.person.write_all(text.as_bytes()).unwrap();
    }

    /// Does the terminal show what is typed, as a shell expects to find it?
    pub(super) fn echoes(&self) -> bool {
        let flags = tcgetattr(&self.program).unwrap().local_flags;
        flags.contains(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG)
    }

    /// Wait for the program's end; how it ended and what it wrote to its output.
    pub(super) fn end(&mut self) -> (ExitStatus, String) {
        let status = wait_for("the program ends", LIMIT, || self.child.try_wait().unwrap());
        let mut output = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
        (status, output)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
