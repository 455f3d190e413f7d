//! The master key that stands in the environment.
//!
//! What a process was started with stays readable in `/proc/PID/environ` to its end, and
//! goes on to whatever it starts. So the program puts the key into a nameless file in
//! memory, starts itself anew without the variable, under the same process id, and reads
//! it there. A file or a systemd credential is better still: whoever set the variable has
//! it in its own environment.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Mutex;

use crate::domain::lock;

use nix::sys::memfd::{MFdFlags, memfd_create};
use zeroize::Zeroizing;

/// 64 hexadecimal digits.
const VARIABLE: &str = "SIXGATE_MASTER_KEY";
/// The number of the open file that holds them. Ours alone, so not named as settings are.
pub const NUMBER: &str = "_SIXGATE_MASTER_KEY_AT";
/// A key has 64 bytes.
const LONGEST: u64 = 256;

static KEY: Mutex<Option<Zeroizing<String>>> = Mutex::new(None);
/// Why it stays in the environment; there is no log yet when that is found out.
static STAYS: Mutex<Option<io::Error>> = Mutex::new(None);

/// Take the key out of the environment. To be called first of all, while there is one
/// thread: it may start the program anew.
pub fn take() {
    let key = match std::env::var(NUMBER).ok().and_then(|number| number.parse().ok()) {
        Some(number) => read(number),
        None => std::env::var(VARIABLE).ok().map(Zeroizing::new).inspect(|key| {
            *lock(&STAYS) = Some(start_anew(key));
        }),
    };
    *lock(&KEY) = key;
}

/// The key that was handed over, once.
pub fn key() -> Option<Zeroizing<String>> {
    if let Some(err) = lock(&STAYS).take() {
        tracing::warn!(%err, "the master key could not be taken out of the environment: {VARIABLE} stays readable in \
            /proc/PID/environ for as long as this runs; give the key by a file (state.master_key_file) or LoadCredential=");
    }
    lock(&KEY).take()
}

fn read(number: RawFd) -> Option<Zeroizing<String>> {
    let mut key = Zeroizing::new(String::with_capacity(256));
    let file = File::open(place(number));
    let read = file.and_then(|file| file.take(LONGEST).read_to_string(&mut key));
    let _closed = nix::unistd::close(number);
    read.ok().map(|_| key)
}

/// Returns only when it cannot be done: then the variable stays, as the lesser harm.
fn start_anew(key: &str) -> io::Error {
    let memory = match in_memory(key) {
        Ok(memory) => memory,
        Err(err) => return err,
    };
    // By its name where it still has it, so that it is listed under that.
    let own = std::env::current_exe().ok().filter(|path| path.exists());
    let mut command = Command::new(own.unwrap_or_else(|| "/proc/self/exe".into()));
    let mut arguments = std::env::args_os();
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command.args(arguments).env_remove(VARIABLE).env(NUMBER, memory.as_raw_fd().to_string()).exec()
}

fn in_memory(key: &str) -> io::Result<File> {
    let mut memory = File::from(memfd_create(c"key", MFdFlags::empty())?);
    memory.write_all(key.as_bytes())?;
    memory.rewind()?;
    // Without /proc it could not be read back, and the key would be lost.
    File::open(place(memory.as_raw_fd())).map(|_| memory)
}

fn place(number: RawFd) -> String {
    format!("/proc/self/fd/{number}")
}
