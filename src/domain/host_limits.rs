//! What this host lets the process have: file descriptors above all, for each connection is one.
//!
//! Running out of them is the host's own trouble. It says nothing of a line, an address or the broker, and whoever
//! meets it has to tell it from those.

use std::fmt;
use std::io;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

/// What the kernel refuses for want of. Its text says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Of this process's own file descriptors (`EMFILE`).
    Descriptors,
    /// Of those of the whole host (`ENFILE`).
    HostDescriptors,
    /// Of the kernel's memory (`ENOMEM`, `ENOBUFS`).
    Memory,
}

impl Lack {
    /// Is it this that an error says? Then nothing is known of what was asked for but that it could not be tried.
    pub fn of(err: &io::Error) -> Option<Self> {
        match err.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EMFILE) => Some(Self::Descriptors),
            Some(Errno::ENFILE) => Some(Self::HostDescriptors),
            Some(Errno::ENOMEM | Errno::ENOBUFS) => Some(Self::Memory),
            Some(_) | None => None,
        }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Descriptors => write!(
                f,
                "the gateway has as many files and connections open as it may have ({} file descriptors); \
                 raise LimitNOFILE= in its systemd unit (ulimit -Hn if it is started by hand), and restart it",
                descriptors().map_or_else(|_| "the limit cannot be read".to_owned(), |most| most.to_string()),
            ),
            Self::HostDescriptors => f.write_str(
                "all programs on this host together have as many files open as the host allows; raise the limit \
                 (sysctl fs.file-max), or find the program that holds them (lsof)",
            ),
            Self::Memory => f.write_str(
                "this host's kernel has no memory left for another connection; find and end what uses it up \
                 (free -m, top), or raise MemoryMax= of the systemd unit or sysctl net.ipv4.tcp_mem",
            ),
        }
    }
}

/// How many file descriptors this process may have open.
///
/// # Errors
/// The kernel does not say.
pub fn descriptors() -> io::Result<usize> {
    Ok(as_count(getrlimit(Resource::RLIMIT_NOFILE)?.0))
}

/// How many it may have at most, without being root.
///
/// # Errors
/// The kernel does not say.
pub fn most_descriptors() -> io::Result<usize> {
    Ok(as_count(getrlimit(Resource::RLIMIT_NOFILE)?.1))
}

/// Let this process have as many file descriptors as it may without being root: most hosts begin with 1,024 of half a
/// million, for the sake of programs that still use `select(2)`. How many it had, and has.
///
/// # Errors
/// The kernel refuses; then it has what it had.
pub fn raise_descriptors() -> io::Result<(usize, usize)> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok((as_count(soft), as_count(hard)))
}

fn as_count(limit: rlim_t) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lacks_on_this_host_is_its_own_trouble() {
        let of = |errno: Errno| Lack::of(&io::Error::from(errno));
        assert_eq!(of(Errno::EMFILE), Some(Lack::Descriptors));
        assert_eq!(of(Errno::ENFILE), Some(Lack::HostDescriptors));
        assert_eq!((of(Errno::ENOMEM), of(Errno::ENOBUFS)), (Some(Lack::Memory), Some(Lack::Memory)));
        for line in [Errno::ECONNREFUSED, Errno::ENETUNREACH, Errno::EADDRNOTAVAIL, Errno::ETIMEDOUT, Errno::EACCES] {
            assert_eq!(of(line), None, "{line}");
        }
        assert_eq!(Lack::of(&io::Error::other("no number")), None);
    }
}
