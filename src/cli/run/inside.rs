//! Between `sixgate run` and its command: this program, started anew under another name, with one thread.
//!
//! A process that has threads cannot move into a user namespace, and a child that is made by `fork` can do nothing
//! before its `exec` without unsafe code. So the child is this program again: it makes the namespaces, listens there, hands the
//! listening sockets to the one that started it, and becomes the command when that one says so. It holds no secret: the
//! key stays with the one outside.
//!
//! Invariant: whatever fails here, the command does not run.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};
use socket2::{Domain, Socket, Type};

use super::plan::Plan;
use crate::net::host_address::{add_to_loopback, set_loopback_up};

/// The name that it is started under.
pub(super) const NAME: &str = "sixgate-run-inside";
/// In place of a socket's path: no namespace.
pub(super) const NOWHERE: &str = "-";
/// What is handed over at most: the kernel's SCM_MAX_FD.
pub(super) const MOST_SOCKETS: usize = 253;
/// As a shell says it.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;
/// What root could leave a namespace with, or change it.
const WAYS_OUT: [CapabilitySet; 6] = [
    CapabilitySet::SYS_ADMIN,
    CapabilitySet::SYS_PTRACE,
    CapabilitySet::SYS_MODULE,
    CapabilitySet::SYS_RAWIO,
    CapabilitySet::NET_ADMIN,
    CapabilitySet::BPF,
];

/// Why there is no namespace.
#[derive(Debug, thiserror::Error)]
enum IsolateError {
    #[error("cannot make a namespace for the command: {err}. {}", hint(Path::new("/proc/sys")))]
    Forbidden { err: io::Error },
    #[error("cannot {what} in the command's namespace: {err}. {}", hint(Path::new("/proc/sys")))]
    ForbiddenInside { what: String, err: io::Error },
    #[error("cannot {what} in the command's namespace")]
    Inside {
        what: String,
        #[source]
        err: io::Error,
    },
    #[error("what started this has gone")]
    Alone(#[source] io::Error),
}

impl IsolateError {
    fn inside(what: impl Into<String>, err: io::Error) -> Self {
        let what = what.into();
        let is_forbidden = err.kind() == io::ErrorKind::PermissionDenied;
        if is_forbidden { Self::ForbiddenInside { what, err } } else { Self::Inside { what, err } }
    }
}

/// Was this process started to become a command? Then it does, and this returns only if it cannot.
pub(in crate::cli) fn become_command() -> Option<ExitCode> {
    let mut arguments = std::env::args_os();
    if arguments.next()? != NAME {
        return None;
    }
    let (socket, command) = (arguments.next()?, arguments.collect::<Vec<_>>());
    // Those that `sixgate run` reads itself are blocked, and the command is not to begin so.
    let _ = SigSet::empty().thread_set_mask();
    if socket != NOWHERE
        && let Err(err) = isolate(Path::new(&socket))
    {
        return Some(crate::cli::failure::failed(&err));
    }
    Some(exec(command))
}

fn exec(command: Vec<OsString>) -> ExitCode {
    let mut words = command.into_iter();
    let Some(program) = words.next() else { return ExitCode::from(NOT_FOUND) };
    let err = Command::new(&program).args(words).exec();
    eprintln!("sixgate: cannot run {}: {err}", program.display());
    ExitCode::from(if err.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE })
}

/// Make the namespaces, listen there, and wait for the word to go on.
fn isolate(socket: &Path) -> Result<(), IsolateError> {
    let mut outside = BufReader::new(UnixStream::connect(socket).map_err(IsolateError::Alone)?);
    let mut text = String::new();
    outside.read_line(&mut text).map_err(IsolateError::Alone)?;
    let plan: Plan = serde_json::from_str(&text).map_err(|err| IsolateError::Alone(err.into()))?;

    enter().map_err(|err| IsolateError::Forbidden { err })?;
    set_loopback_up().map_err(|err| IsolateError::inside("set the loopback interface up", err))?;
    for address in &plan.addresses {
        let what = || format!("give the loopback interface {address}");
        add_to_loopback(*address).map_err(|err| IsolateError::inside(what(), err))?;
    }
    mount(&plan)?;
    let sockets = listen(&plan)?;
    hand_over(outside.get_ref(), &sockets).map_err(IsolateError::Alone)?;
    drop(sockets);
    // It ends with whoever holds the sockets: without them it has no way to the broker, but could not know.
    let _ = prctl::set_pdeathsig(Signal::SIGTERM);
    let mut word = [0];
    outside.read_exact(&mut word).map_err(IsolateError::Alone)?;
    for capability in WAYS_OUT {
        // Where it has none of them, it can take none away.
        let _ = remove_capability_from_bounding_set(capability);
    }
    Ok(())
}

/// Move into new namespaces: by oneself as root, else as root of a user namespace until the command begins.
fn enter() -> io::Result<()> {
    let own = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
    // Root reads everybody's files, which it could not as the one user of a user namespace.
    if nix::unistd::geteuid().is_root() {
        match unshare(own) {
            Ok(()) => return Ok(()),
            // In a container that keeps this to itself.
            Err(Errno::EPERM) => {}
            Err(err) => return Err(err.into()),
        }
    }
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    // Or the files below would be root's.
    prctl::set_dumpable(true)?;
    unshare(own | CloneFlags::CLONE_NEWUSER)?;
    std::fs::write("/proc/self/uid_map", format!("{uid} {uid} 1\n"))?;
    // The kernel wants this before an ordinary user maps a group (user_namespaces(7)).
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/gid_map", format!("{gid} {gid} 1\n"))
}

fn mount(plan: &Plan) -> Result<(), IsolateError> {
    let quiet = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", quiet).map_err(|err| IsolateError::inside("keep mounts to itself", err.into()))?;
    for (number, (from, to)) in plan.mounts.iter().enumerate() {
        // The first is /etc/hosts, without which nothing leads to the gateway.
        if number == 0 || to.exists() {
            let what = || format!("put {} over {}", from.display(), to.display());
            mount_bind(from, to).map_err(|err| IsolateError::inside(what(), err.into()))?;
        }
    }
    Ok(())
}

fn listen(plan: &Plan) -> Result<Vec<TcpListener>, IsolateError> {
    let mut sockets = Vec::new();
    let by_v6 = plan.addresses.iter().any(std::net::IpAddr::is_ipv6);
    for port in &plan.ports {
        let what = || format!("listen at port {port}");
        let v4 = TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port));
        sockets.push(v4.map_err(|err| IsolateError::inside(what(), err))?);
        if by_v6 {
            sockets.push(listen_v6(*port).map_err(|err| IsolateError::inside(what(), err))?);
        }
    }
    Ok(sockets)
}

fn listen_v6(port: u16) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, None)?;
    // Beside one of IPv4 at the same port.
    socket.set_only_v6(true)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
    socket.listen(128)?;
    Ok(socket.into())
}

fn hand_over(outside: &UnixStream, sockets: &[TcpListener]) -> io::Result<()> {
    let descriptors: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).take(MOST_SOCKETS).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("there are too many ports"));
    }
    sendmsg(outside, &[IoSlice::new(b"l")], &mut control, SendFlags::empty())?;
    Ok(())
}

/// What forbids namespaces here, as far as the kernel's settings below `settings` tell.
fn hint(settings: &Path) -> String {
    let value = |name: &str| std::fs::read_to_string(settings.join(name)).ok().map(|text| text.trim().to_owned());
    let mut text = String::from("--isolate needs user namespaces");
    let culprits = [
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0"),
        ("user/max_user_namespaces", "0", "user.max_user_namespaces=10000"),
        ("user/max_net_namespaces", "0", "user.max_net_namespaces=10000"),
    ];
    let found: Vec<&str> = culprits
        .iter()
        .filter(|(name, bad, _)| value(name).as_deref() == Some(bad))
        .map(|(_, _, good)| *good)
        .collect();
    if found.is_empty() {
        text.push_str(
            ", which something other than a kernel setting forbids here: a container's seccomp profile (Docker's, for \
             example), or a service's RestrictNamespaces=",
        );
    } else {
        let _ = write!(text, ", which this host forbids. As root: sysctl -w {}", found.join(" "));
    }
    text.push_str("; without --isolate the command is led by its environment alone");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "Operation not permitted" tells nobody which of four settings it was.
    #[test]
    fn what_forbids_namespaces_is_told_with_the_command_that_allows_them() {
        let settings = tempfile::tempdir().unwrap();
        for folder in ["kernel", "user"] {
            std::fs::create_dir(settings.path().join(folder)).unwrap();
        }
        let set = |name: &str, value: &str| std::fs::write(settings.path().join(name), format!("{value}\n")).unwrap();
        assert!(hint(settings.path()).contains("RestrictNamespaces"));
        for (name, bad, good) in [
            ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
            ("kernel/unprivileged_userns_clone", "0", "1"),
            ("user/max_user_namespaces", "0", "9"),
        ] {
            set(name, bad);
            let text = hint(settings.path());
            assert!(text.contains(&format!("sysctl -w {}=", name.replace('/', "."))), "{text}");
            set(name, good);
            assert!(hint(settings.path()).contains("RestrictNamespaces"));
        }
    }
}
