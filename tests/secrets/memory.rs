//! What is in the memory of the program stays there.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::support::wait::wait_until;
use crate::support::world::{World, automatic, config, pins};

/// Nobody's: as root everything belongs to root, dumpable or not.
const NOBODY: u32 = 65_534;

/// A program that has begun its work, with this master key in its environment.
struct Running {
    child: Child,
    /// Holds the program: root's checkout may be in root's home, where nobody else may go.
    _folder: TempDir,
}

impl Running {
    fn start(key: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let program = folder.path().join("sixgate");
        fs::copy(env!("CARGO_BIN_EXE_sixgate"), &program).unwrap();
        let mut command = Command::new(program);
        command.args(["sandbox", "--listen", "[::1]:0", "--control", "127.0.0.1:0"]);
        command.env("SIXGATE_MASTER_KEY", key).current_dir("/").stdout(Stdio::piped());
        if nix::unistd::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "it did not start");
        Self { child, _folder: folder }
    }

    fn proc(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.child.id())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
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

/// A program that is told to crash where it may write a core, and whether it wrote one.
fn crashes_with_a_core(folder: &Path, program: &Path, args: &[&str]) -> bool {
    // As much as anybody allows it here: the limit that is left is its own.
    let limit = "ulimit -Sc \"$(ulimit -Hc)\" && exec \"$@\"";
    let mut command = Command::new("bash");
    command.args(["-c", limit, "bash"]).arg(program).args(args).current_dir(folder);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(!line.is_empty(), "{} did not start", program.display());
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGABRT).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(6), "{} ended otherwise", program.display());
    status.core_dumped()
}

/// The limit and the flag above say that no core is written; this says that none is, where another program's would be.
#[test]
fn a_crash_writes_no_core_where_another_program_s_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Path::new(env!("CARGO_BIN_EXE_sixgate"));
    let (here, cores) = (folder.path(), || fs::read_dir(folder.path()).unwrap().count());
    let sandbox = ["sandbox", "--listen", "[::1]:0", "--control", "127.0.0.1:0"];
    assert!(!crashes_with_a_core(here, gateway, &sandbox), "the gateway wrote a core");
    assert_eq!(cores(), 0, "something was left in {}", here.display());
    let other = crashes_with_a_core(here, Path::new("/bin/sh"), &["-c", "echo up; exec cat"]);
    let may = fs::read_to_string("/proc/self/limits").unwrap();
    let may = may.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let hard = may.split_whitespace().nth(5).unwrap();
    assert!(other || hard == "0", "another program's crash writes no core here either, so nothing was shown: {may}");
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

/// Read at once.
const PIECE: u64 = 1 << 20;

/// The places in what a process has in its memory to write to at which this stands.
fn places(process: u32, needle: &[u8]) -> usize {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let memory = fs::File::open(format!("/proc/{process}/mem")).unwrap();
    let finder = memchr::memmem::Finder::new(needle);
    let mut found = 0;
    for line in maps.lines() {
        let mut parts = line.split_whitespace();
        let (range, rights) = (parts.next().unwrap(), parts.next().unwrap());
        let Some((from, to)) = range.split_once('-').filter(|_| rights.starts_with("rw")) else { continue };
        let (from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        // Piece by piece: most of what is reserved was never touched.
        let mut at = from;
        while at < to {
            let length = PIECE.min(to - at) + needle.len() as u64;
            let mut piece = vec![0; usize::try_from(length.min(to - at)).unwrap()];
            if memory.read_exact_at(&mut piece, at).is_ok() {
                found += finder.find_iter(&piece).count();
            }
            at += PIECE;
        }
    }
    found
}

/// A swapped page, a core of the host or a debugger shows what was forgotten but not wiped.
#[test]
fn nothing_of_a_login_is_left_in_memory_but_what_is_kept() {
    let mut world = World::up_with(0, &config(&pins()));
    world.broker.set_cooldown(std::time::Duration::ZERO);
    world.broker.add_account(World::broker_account(1));
    let trader = world.add(1, &automatic());
    wait_until("a login", std::time::Duration::from_secs(60), || {
        let (_, token) = world.gateway.admin().get("/v1/accounts/a1/token");
        token["state"] == "live"
    });
    let login = world.broker.seen().into_iter().find(|seen| seen.path_and_query.contains("/app/generateAccessToken"));
    let login = login.unwrap().path_and_query;
    let from = login.find("&pin=").unwrap();
    assert!(login.contains("&totp="), "{login}");
    let process = world.gateway.id();
    assert!(places(process, trader.client_id.as_str().as_bytes()) > 0, "nothing is seen in there at all");
    assert_eq!(places(process, &login.as_bytes()[from..]), 0, "the PIN and the code of a login are still there");
}
