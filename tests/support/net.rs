//! Network namespaces: a caller, a gateway with two uplinks and a broker, as
//! `netns-scripts/up.sh` makes them (its header has the picture).
//!
//! A thread belongs to a network namespace, so code runs "inside" one by running
//! on a thread of its own that entered it first; sockets stay where they were made,
//! and a child process starts where the thread that spawned it is.
//!
//! Invariants:
//! - Names carry the process id and a counter, so tests never share a network.
//! - [`Net`]'s end takes its namespaces down. What a killed test left behind is
//!   taken down by the next [`Net::up`] of anybody.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::File;
use std::future::Future;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The caller's address.
pub(crate) const CALLER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 2);
/// The gateway's address towards the caller.
pub(crate) const GATEWAY: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 1);
/// What the broker sees of a connection that the gateway did not bind.
pub(crate) const UNBOUND: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xf1, 0, 0, 0, 0, 2);
/// The prefix of primaries, on uplink 1.
pub(crate) const PRIMARY: &str = "2001:db8:a1::/64";
/// The prefix of secondaries, on uplink 2.
pub(crate) const SECONDARY: &str = "2001:db8:a2::/64";

/// Set in a test process that was started again as pretend root.
const PRETEND_ROOT: &str = "SIXGATE_TEST_PRETEND_ROOT";

/// One of the broker's service addresses; `last` is 1, 2 or 3.
pub(crate) const fn broker(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0xb, 0, 0, 0, 0, last)
}

/// An address of the primary prefix.
pub(crate) const fn primary(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0xa1, 0, 0, 0, 0, last)
}

/// An address of the secondary prefix.
pub(crate) const fn secondary(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0xa2, 0, 0, 0, 0, last)
}

/// A namespace of a [`Net`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ns {
    /// Reaches only the gateway.
    Caller,
    /// Owns both prefixes.
    Gateway,
    /// Behind both uplinks.
    Broker,
}

impl Ns {
    const fn word(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Gateway => "gateway",
            Self::Broker => "broker",
        }
    }
}

/// What `uplink.sh` does to an uplink.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Uplink {
    /// Connecting fails at once.
    Down,
    /// Everything is dropped; connecting runs into its timeout.
    Silent,
    /// As at the start.
    Up,
}

/// Three namespaces, taken down at the end.
#[derive(Debug)]
pub(crate) struct Net {
    prefix: String,
}

impl Net {
    /// A new network. Panics with the reason if this host cannot have one.
    pub(crate) fn up() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        become_root();
        take_down_what_is_left_over();
        let prefix = format!("t{}x{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        // Made first, so that a half-made network is taken down when `script` panics.
        let net = Self { prefix };
        script("up.sh", &[&net.prefix]);
        net
    }

    /// The prefix of its namespaces' names.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// One of its namespaces.
    pub(crate) fn place(&self, ns: Ns) -> Place {
        Place { netns: Some(format!("{}-{}", self.prefix, ns.word())) }
    }

    /// [`Place::run`] in one of the namespaces.
    pub(crate) fn in_ns<T: Send, F: Future<Output = T>>(&self, ns: Ns, make: impl FnOnce() -> F + Send) -> T {
        self.place(ns).run(make)
    }

    /// [`Place::runtime`] in one of the namespaces.
    pub(crate) fn runtime(&self, ns: Ns) -> NsRuntime {
        self.place(ns).runtime()
    }

    /// [`Place::command`] in one of the namespaces.
    pub(crate) fn command(&self, ns: Ns, program: impl AsRef<std::ffi::OsStr>) -> Command {
        self.place(ns).command(program)
    }

    /// Break or mend uplink 1 or 2.
    pub(crate) fn uplink(&self, line: u8, state: Uplink) {
        let word = match state {
            Uplink::Down => "down",
            Uplink::Silent => "silent",
            Uplink::Up => "up",
        };
        script("uplink.sh", &[&self.prefix, &line.to_string(), word]);
    }

    /// Run `ip` on a namespace, with the words of `arguments`; panics if it fails, else answers its output.
    pub(crate) fn ip(&self, ns: Ns, arguments: &str) -> String {
        let output = self.command(ns, "ip").args(arguments.split_whitespace()).output().expect("run ip");
        assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        if let Err(why) = try_script("down.sh", &[&self.prefix]) {
            // A panic while panicking would hide the first reason.
            if thread::panicking() { eprintln!("{why}") } else { panic!("{why}") }
        }
    }
}

/// Where code and programs run: a namespace, or the one that the thread is in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    netns: Option<String>,
}

impl Place {
    /// The namespace that this thread is in: the host's, if the test has not left it by [`Place::alone`].
    pub(crate) const fn here() -> Self {
        Self { netns: None }
    }

    /// A network of this test's own that has nothing but its loopback interface: none of the addresses and routes that
    /// the host happens to have is seen there, nor what the test does on the host. This thread is in it from now on,
    /// and so are the threads and programs that it starts. It ends with them.
    pub(crate) fn alone() -> Self {
        thread_local! {
            static IS_ALONE: Cell<bool> = const { Cell::new(false) };
        }
        if !IS_ALONE.replace(true) {
            become_root();
            unshare(CloneFlags::CLONE_NEWNET).unwrap_or_else(|err| panic!("cannot make a network namespace: {err}"));
            let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
            assert!(up.as_ref().is_ok_and(ExitStatus::success), "`ip link set lo up` of iproute2 gave {up:?}");
        }
        Self::here()
    }

    /// Run a future there, on a thread and a current-thread runtime of its own, and wait for its value. Blocks:
    /// not to be called from a runtime whose tasks the future needs.
    pub(crate) fn run<T: Send, F: Future<Output = T>>(&self, make: impl FnOnce() -> F + Send) -> T {
        thread::scope(|scope| match scope.spawn(|| self.enter().block_on(async { make().await })).join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// A runtime there that lives until its end, for what runs beside the test.
    pub(crate) fn runtime(&self) -> NsRuntime {
        let place = self.clone();
        let (started, ready) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            let runtime = place.enter();
            started.send(runtime.handle().clone()).expect("the test waits for this");
            // An error is the other half's end, which means the same.
            let _ = runtime.block_on(stopped);
        });
        let handle = ready.recv().expect("the runtime's thread could not start");
        NsRuntime { handle, stop: Some(stop), thread: Some(thread) }
    }

    /// `program`, to be run there. Its process id is the program's own.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        match &self.netns {
            // `ip netns exec` would also mount a new /sys, which some containers forbid.
            Some(name) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net=/run/netns/{name}")).arg("--").arg(program);
                command
            }
            None => Command::new(program),
        }
    }

    /// Move this thread there, for good, and make it a runtime.
    fn enter(&self) -> Runtime {
        if let Some(name) = &self.netns {
            let path = format!("/run/netns/{name}");
            let namespace = File::open(&path).unwrap_or_else(|err| panic!("cannot open {path}: {err}"));
            setns(namespace, CloneFlags::CLONE_NEWNET).unwrap_or_else(|err| panic!("cannot enter {path}: {err}"));
        }
        Builder::new_current_thread().enable_all().build().expect("make a runtime")
    }
}

/// A runtime inside a namespace. Its end drops its tasks.
#[derive(Debug)]
pub(crate) struct NsRuntime {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl NsRuntime {
    /// To spawn on.
    pub(crate) const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Run a future beside the test.
    pub(crate) fn spawn<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.handle.spawn(future)
    }

    /// Run a future there and wait for its value. Blocks, as [`Place::run`] does.
    pub(crate) fn run<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        let (done, value) = mpsc::channel();
        self.handle.spawn(async move {
            let _ = done.send(future.await);
        });
        value.recv().expect("the future panicked in its namespace")
    }
}

impl Drop for NsRuntime {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !thread::panicking()
        {
            panic!("the runtime's thread panicked");
        }
    }
}

/// Connect from an address of an AnyIP prefix, as the gateway has to: a second way of doing it, so that the
/// network is not proved by the code it is to prove.
pub(crate) async fn connect_from(source: Ipv6Addr, to: SocketAddrV6) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM.nonblocking(), None)?;
    socket.set_freebind_v6(true)?;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    TcpSocket::from_std_stream(socket.into()).connect(to.into()).await
}

/// A script of `netns-scripts/`.
pub(crate) fn script_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("netns-scripts").join(name)
}

#[track_caller]
fn script(name: &str, arguments: &[&str]) {
    if let Err(why) = try_script(name, arguments) {
        panic!("{why}");
    }
}

fn try_script(name: &str, arguments: &[&str]) -> Result<(), String> {
    let path = script_path(name);
    let output = Command::new(&path)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|err| format!("cannot run {}: {err}; it needs bash, iproute2 and util-linux", path.display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{name} {} ended with {}: {said}", arguments.join(" "), output.status))
}

/// A disk of its own at a folder, in a mount namespace that ends with this test's thread and its children. `options` are
/// those of tmpfs(5).
pub(crate) fn own_disk(at: &Path, options: &str) {
    become_root();
    unshare(CloneFlags::CLONE_NEWNS).unwrap_or_else(|err| panic!("cannot make a mount namespace: {err}"));
    let mount = |arguments: &[&str], at: &Path| {
        let ended = Command::new("mount").args(arguments).arg(at).status();
        assert!(ended.as_ref().is_ok_and(ExitStatus::success), "`mount {arguments:?} {}` gave {ended:?}", at.display());
    };
    mount(&["--make-rprivate"], Path::new("/"));
    mount(&["-t", "tmpfs", "-o", options, "tmpfs"], at);
}

/// Is this test where nothing outside can be reached, or would it be if it were not root's?
static IS_AWAY: AtomicBool = AtomicBool::new(false);

/// For what tests fetch from outside. Panics when a test first asks for it after [`Net::up`] or [`Place::alone`]: as root,
/// or where it has been fetched before, it could be had there even so, and on a new machine it could not.
#[track_caller]
pub(crate) fn assert_asked_for_in_time(what: &str) {
    static ASKED_FOR: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let is_first = ASKED_FOR.lock().unwrap_or_else(PoisonError::into_inner).insert(what.to_owned());
    assert!(!is_first || !IS_AWAY.load(Ordering::Relaxed), "{what} must be asked for before Net::up and Place::alone");
}

/// Network namespaces take root. Anybody else runs this very test again as pretend root, in user, mount and
/// network namespaces of its own, and ends with its result. The outside is not reachable from there: what a test
/// fetches it has to fetch before.
fn become_root() {
    IS_AWAY.store(true, Ordering::Relaxed);
    if nix::unistd::geteuid().is_root() {
        return;
    }
    assert!(std::env::var_os(PRETEND_ROOT).is_none(), "unshare -Urnm did not make this process pretend root");
    let test = std::env::current_exe().expect("the path of this test");
    let mut probe = Command::new("unshare");
    let probe = probe.args(["-Urnm", "true"]).output();
    assert!(
        probe.as_ref().is_ok_and(|output| output.status.success()),
        "this test needs network namespaces: run it as root, or allow user namespaces to ordinary users \
         (sysctl kernel.unprivileged_userns_clone=1 or kernel.apparmor_restrict_unprivileged_userns=0); \
         `unshare -Urnm true` gave {probe:?}",
    );
    let err = Command::new("unshare")
        .args(["-Urnm", "--"])
        .arg(test)
        .args(std::env::args_os().skip(1))
        .env(PRETEND_ROOT, "1")
        .exec();
    panic!("cannot start this test again by unshare: {err}");
}

/// A test that was killed could not take its network down.
fn take_down_what_is_left_over() {
    let Ok(names) = std::fs::read_dir("/run/netns") else { return };
    for name in names.flatten() {
        let name = name.file_name();
        let Some(prefix) = name.to_str().and_then(|name| name.strip_suffix("-gateway")) else { continue };
        let owner = prefix.strip_prefix('t').and_then(|rest| rest.split_once('x')).map(|(pid, _)| pid);
        let Some(owner) = owner.and_then(|pid| pid.parse::<u32>().ok()) else { continue };
        if !Path::new("/proc").join(owner.to_string()).exists()
            && let Err(why) = try_script("down.sh", &[prefix])
        {
            // Another test may have been quicker.
            eprintln!("left over: {why}");
        }
    }
}
