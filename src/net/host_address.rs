//! Addresses of this host, by netlink (rtnetlink(7)).
//!
//! Only the loopback interface is touched: the built-in sandbox lends it addresses for as long as it runs, and
//! `sixgate run --isolate` sets it up in a namespace of its own. Real addresses are the operator's to set up.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

use crate::domain::SourceAddr;

const RTM_NEWLINK: u16 = 16;
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
const IFF_UP: u32 = 1;
const AF_UNSPEC: u8 = 0;
const AF_INET: u8 = 2;
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
        add_to_loopback(address.ip().into()).map(|()| Self(address))
    }
}

impl Drop for LentAddress {
    fn drop(&mut self) {
        if let Err(err) = change(RTM_DELADDR, 0, self.0.ip().into()) {
            tracing::warn!(address = %self.0, error = %err, "could not take an address off the loopback interface again");
        }
    }
}

/// Set the loopback interface up, which gives it `127.0.0.1` and `::1`.
///
/// # Errors
/// `EPERM` without `CAP_NET_ADMIN`.
pub fn set_loopback_up() -> io::Result<()> {
    let mut link = vec![AF_UNSPEC, 0, 0, 0]; // family, padding, type
    for field in [LOOPBACK_INDEX, IFF_UP, IFF_UP] {
        link.extend_from_slice(&field.to_ne_bytes()); // index, flags, which of them change
    }
    ask(RTM_NEWLINK, 0, &link)
}

/// Give the loopback interface an address for good. One that it has already is as good.
///
/// # Errors
/// `EPERM` without `CAP_NET_ADMIN`.
pub fn add_to_loopback(address: IpAddr) -> io::Result<()> {
    match change(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, address) {
        Err(err) if err.kind() != io::ErrorKind::AlreadyExists => Err(err),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn change(kind: u16, flags: u16, address: IpAddr) -> io::Result<()> {
    let (family, octets) = match address {
        IpAddr::V4(address) => (AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (AF_INET6, address.octets().to_vec()),
    };
    let length = u8::try_from(octets.len()).unwrap_or(u8::MAX);
    let mut fields = vec![family, 8 * length, IFA_F_NODAD, 0]; // family, prefix length, flags, scope
    fields.extend_from_slice(&LOOPBACK_INDEX.to_ne_bytes());
    for attribute in [IFA_LOCAL, IFA_ADDRESS] {
        fields.extend_from_slice(&(4 + u16::from(length)).to_ne_bytes());
        fields.extend_from_slice(&attribute.to_ne_bytes());
        fields.extend_from_slice(&octets);
    }
    ask(kind, flags, &fields)
}

/// Ask the kernel for a change and wait for its word.
fn ask(kind: u16, flags: u16, fields: &[u8]) -> io::Result<()> {
    let mut message = Vec::with_capacity(64);
    message.extend_from_slice(&[0; 4]); // length, below
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&(NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
    message.extend_from_slice(&1u32.to_ne_bytes()); // sequence
    message.extend_from_slice(&0u32.to_ne_bytes()); // port: the kernel fills it in
    message.extend_from_slice(fields);
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
