//! Addresses of this host, by netlink (rtnetlink(7)).
//!
//! Only what the built-in sandbox needs: to lend the loopback interface two
//! addresses for as long as it runs. Real addresses are the operator's to set up.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

use crate::domain::SourceAddr;

const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 0x01;
const NLM_F_ACK: u16 = 0x04;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// Usable at once: nobody else on a loopback interface can have it.
const IFA_F_NODAD: u8 = 0x02;
const AF_INET6: u8 = 10;
/// The loopback interface is the first of every network namespace.
const LOOPBACK_INDEX: u32 = 1;

/// An address that this process lent the loopback interface, taken back on drop.
#[derive(Debug)]
pub struct LentAddress(SourceAddr);

impl LentAddress {
    /// One that is there already is taken over: a process that was killed left it.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_ADMIN`.
    pub fn lend(address: SourceAddr) -> io::Result<Self> {
        match change(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, address) {
            Err(err) if err.kind() != io::ErrorKind::AlreadyExists => Err(err),
            Ok(()) | Err(_) => Ok(Self(address)),
        }
    }
}

impl Drop for LentAddress {
    fn drop(&mut self) {
        if let Err(err) = change(RTM_DELADDR, 0, self.0) {
            tracing::warn!(address = %self.0, error = %err, "could not take an address off the loopback interface again");
        }
    }
}

fn change(kind: u16, flags: u16, address: SourceAddr) -> io::Result<()> {
    let mut message = Vec::with_capacity(64);
    message.extend_from_slice(&[0; 4]); // length, below
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&(NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
    message.extend_from_slice(&1u32.to_ne_bytes()); // sequence
    message.extend_from_slice(&0u32.to_ne_bytes()); // port: the kernel fills it in
    message.extend_from_slice(&[AF_INET6, 128, IFA_F_NODAD, 0]); // family, prefix length, flags, scope
    message.extend_from_slice(&LOOPBACK_INDEX.to_ne_bytes());
    for attribute in [IFA_LOCAL, IFA_ADDRESS] {
        message.extend_from_slice(&20u16.to_ne_bytes());
        message.extend_from_slice(&attribute.to_ne_bytes());
        message.extend_from_slice(&address.ip().octets());
    }
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_ne_bytes();
    for (to, from) in message.iter_mut().zip(length) {
        *to = from;
    }
    let netlink: OwnedFd =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    send(netlink.as_raw_fd(), &message, MsgFlags::empty())?;
    let mut answer = [0u8; 1024];
    let length = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    acknowledged(answer.get(..length).unwrap_or_default())
}

/// The kernel's answer: `nlmsghdr`, then an errno, 0 for done.
fn acknowledged(answer: &[u8]) -> io::Result<()> {
    let at = |from: usize, to: usize| answer.get(from..to);
    let kind = at(4, 6).and_then(|b| b.try_into().ok()).map(u16::from_ne_bytes);
    let errno = at(16, 20).and_then(|b| b.try_into().ok()).map(i32::from_ne_bytes);
    match (kind, errno) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(errno)) => Err(io::Error::from_raw_os_error(-errno)),
        _ => Err(io::Error::other("netlink gave no acknowledgement")),
    }
}
