//! A log that goes into a pipe, whose reader may stop reading.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};

use nix::sys::stat::Mode;

/// The pipe of a gateway's standard error, which is read into the file where other gateways write it.
#[derive(Debug)]
pub(crate) struct LogPipe {
    path: PathBuf,
    reads: Arc<(Mutex<bool>, Condvar)>,
}

impl LogPipe {
    /// One that is read, in `dir`.
    pub(crate) fn new(dir: &Path) -> Self {
        let (path, file) = (dir.join("log.pipe"), dir.join("gateway.stderr"));
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
        // Open for writing too: then it has no end while no gateway runs.
        let mut pipe = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let reads = Arc::new((Mutex::new(true), Condvar::new()));
        let gate = Arc::clone(&reads);
        std::thread::spawn(move || {
            let mut piece = vec![0; 16 * 1024];
            while let Ok(length @ 1..) = pipe.read(&mut piece) {
                drop(gate.1.wait_while(gate.0.lock().unwrap(), |reads| !*reads).unwrap());
                let into = OpenOptions::new().create(true).append(true).open(&file);
                // The folder may be gone with its test.
                let Ok(()) = into.and_then(|mut into| into.write_all(&piece[..length])) else { return };
            }
        });
        Self { path, reads }
    }

    /// Let a program have it as its standard error.
    pub(crate) fn give(&self, command: &mut Command) {
        let mut inside = Command::new("sh");
        inside.args(["-c", "exec \"$@\" 2>\"$0\""]).arg(&self.path).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        *command = inside;
    }

    /// Let it be read, or let nobody read it.
    pub(crate) fn is_read(&self, reads: bool) {
        *self.reads.0.lock().unwrap() = reads;
        self.reads.1.notify_all();
    }
}
