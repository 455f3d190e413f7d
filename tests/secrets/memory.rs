//! What is in the memory of the program stays there.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// Nobody's: as root everything belongs to root, dumpable or not.
const NOBODY: u32 = 65_534;

/// A program that has begun its work, with this master key in its environment.
struct Running(Child);

impl Running {
    fn start(key: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sixgate"));
        command.args(["sandbox", "--listen", "[::1]:0", "--control", "127.0.0.1:0"]);
        command.env("SIXGATE_MASTER_KEY", key).current_dir("/").stdout(Stdio::piped());
        if nix::unistd::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "it did not start");
        Self(child)
    }

    fn proc(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.0.id())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A core holds tokens, PINs, codes and keys, and lies on a disk for years.
#[test]
fn a_crash_writes_no_core_and_no_other_process_of_the_user_reads_its_memory() {
    let running = Running::start(&"ab".repeat(32));
    let limits = fs::read_to_string(running.proc("limits")).unwrap();
    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    // The kernel gives these to root when the process may not be dumped.
    for name in ["mem", "environ", "maps"] {
        assert_eq!(fs::metadata(running.proc(name)).unwrap().uid(), 0, "{name}");
    }
    assert_eq!(fs::metadata(format!("/proc/{}", std::process::id())).unwrap().uid(), nix::unistd::geteuid().as_raw());
}

/// Whoever may look at the process list as root, and whatever it starts, saw the key.
#[test]
fn the_master_key_does_not_stay_in_the_environment() {
    let key = "c7".repeat(32);
    let running = Running::start(&key);
    let name = fs::read_to_string(running.proc("comm")).unwrap();
    assert_eq!(name.trim(), "sixgate", "it is listed under its own name");
    let Ok(environment) = fs::read(running.proc("environ")) else {
        assert!(!nix::unistd::geteuid().is_root(), "root can read it");
        return;
    };
    let text = String::from_utf8_lossy(&environment);
    assert!(text.contains("PATH="), "{text}");
    assert!(!text.contains(&key) && !text.contains("SIXGATE_MASTER_KEY="), "{text}");
    for entry in fs::read_dir(running.proc("fd")).unwrap() {
        let to = fs::read_link(entry.unwrap().path()).unwrap_or_default();
        assert!(!to.to_string_lossy().contains("memfd:key"), "the file in memory is still open");
    }
}
