//! A name server of a test's own, over UDP and TCP, which says what the test wants it to.

#![allow(
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test ends by panicking, and its tasks with its runtime"
)]

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

const A: [u8; 2] = [0, 1];
const AAAA: [u8; 2] = [0, 28];
const CNAME: [u8; 2] = [0, 5];

/// What it says of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    /// These addresses, with this TTL in seconds.
    Addresses(Vec<Ipv6Addr>, u32),
    /// This address to a question for A records, and no record to one for AAAA records.
    Ipv4(Ipv4Addr),
    /// The same by another name, in one reply.
    ByAlias(Vec<Ipv6Addr>, u32),
    /// It is another name for this one, and no more.
    Alias(&'static str),
    /// No error and no record.
    NoData,
    /// An error: 2 for SERVFAIL, 3 for NXDOMAIN, 5 for REFUSED.
    Error(u8),
    /// What is no reply, with the question's id.
    Garbage,
    /// A reply to another question, and the id is wrong too.
    SomebodyElses,
    /// Over UDP that it is too long for it, with so many of the addresses, over TCP all of them.
    TooLong(Vec<Ipv6Addr>, usize),
    /// The same, and nothing over TCP.
    TooLongWithoutTcp(Vec<Ipv6Addr>, usize),
    /// Nothing at all.
    Nothing,
    /// Nothing to the first two questions for a name, and this to the third.
    AtLength(Box<Self>),
}

impl Says {
    /// One address for a minute.
    pub(crate) fn address(address: Ipv6Addr) -> Self {
        Self::Addresses(vec![address], 60)
    }
}

/// See the module. It answers until its runtime ends.
#[derive(Clone, Debug)]
pub(crate) struct NameServer {
    at: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    says: Says,
    of: HashMap<String, Says>,
    asked: Vec<String>,
}

impl NameServer {
    /// One at this address (with port 0 at a free one), which says this of every name.
    pub(crate) async fn start(at: SocketAddr, says: Says) -> Self {
        // The free UDP port may be taken for TCP: then another one.
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind(at).await.unwrap();
            match TcpListener::bind(udp.local_addr().unwrap()).await {
                Ok(tcp) => break (udp, tcp),
                Err(err) => assert_eq!(at.port(), 0, "{at} is taken: {err}"),
            }
        };
        let state = State { says, of: HashMap::new(), asked: Vec::new() };
        let server = Self { at: udp.local_addr().unwrap(), state: Arc::new(Mutex::new(state)) };
        let (by_udp, by_tcp) = (server.clone(), server.clone());
        tokio::task::spawn(async move { by_udp.serve_udp(udp).await });
        tokio::task::spawn(async move { by_tcp.serve_tcp(tcp).await });
        server
    }

    /// Where it listens.
    pub(crate) const fn at(&self) -> SocketAddr {
        self.at
    }

    /// What it says of every name from now on.
    pub(crate) fn says(&self, says: Says) {
        self.state.lock().unwrap().says = says;
    }

    /// What it says of this one.
    pub(crate) fn says_of(&self, name: &str, says: Says) {
        self.state.lock().unwrap().of.insert(name.to_owned(), says);
    }

    /// How many questions it was asked, those that it did not answer included.
    pub(crate) fn asked(&self) -> usize {
        self.state.lock().unwrap().asked.len()
    }

    /// How many of them were about this name.
    pub(crate) fn asked_of(&self, name: &str) -> usize {
        self.state.lock().unwrap().asked.iter().filter(|asked| *asked == name).count()
    }

    async fn serve_udp(self, socket: UdpSocket) {
        let mut question = [0; 512];
        loop {
            // A caller that is gone makes an error of the next receive: there will be others.
            let Ok((length, from)) = socket.recv_from(&mut question).await else { continue };
            if let Some(reply) = self.reply(&question[..length], false) {
                let _ = socket.send_to(&reply, from).await;
            }
        }
    }

    async fn serve_tcp(self, listener: TcpListener) {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut question = vec![0; usize::from(stream.read_u16().await.unwrap())];
            stream.read_exact(&mut question).await.unwrap();
            if let Some(reply) = self.reply(&question, true) {
                stream.write_u16(u16::try_from(reply.len()).unwrap()).await.unwrap();
                stream.write_all(&reply).await.unwrap();
            }
        }
    }

    /// A DNS message (RFC 1035) that answers the one question.
    fn reply(&self, question: &[u8], tcp: bool) -> Option<Vec<u8>> {
        let end = 12 + question[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
        let name = read_name(&question[12..]);
        let says = {
            let mut state = self.state.lock().unwrap();
            state.asked.push(name.clone());
            let times = state.asked.iter().filter(|asked| **asked == name).count();
            let says = state.of.get(&name).unwrap_or(&state.says).clone();
            if let Says::AtLength(at_length) = says {
                if times <= 2 { Says::Nothing } else { *at_length }
            } else {
                says
            }
        };
        let asked = &question[12..end];
        let records = |addresses: &[Ipv6Addr], ttl: u32| {
            addresses.iter().map(|address| record(&[0xc0, 12], AAAA, ttl, &address.octets())).collect::<Vec<_>>()
        };
        let id = [question[0], question[1]];
        Some(match says {
            Says::Addresses(addresses, ttl) => message(id, 0, false, asked, &records(&addresses, ttl)),
            Says::Ipv4(address) if asked.ends_with(&[A[0], A[1], 0, 1]) => {
                message(id, 0, false, asked, &[record(&[0xc0, 12], A, 60, &address.octets())])
            }
            Says::Ipv4(_) => message(id, 0, false, asked, &[]),
            Says::ByAlias(addresses, ttl) => {
                let alias = name_of("edge.example");
                let mut all = vec![record(&[0xc0, 12], CNAME, ttl, &alias)];
                all.extend(addresses.iter().map(|address| record(&alias, AAAA, 3600, &address.octets())));
                message(id, 0, false, asked, &all)
            }
            Says::Alias(other) => message(id, 0, false, asked, &[record(&[0xc0, 12], CNAME, 60, &name_of(other))]),
            Says::NoData => message(id, 0, false, asked, &[]),
            Says::Error(code) => message(id, code, false, asked, &[]),
            Says::Garbage => [&id[..], &[0x81, 0x80, 0xff, 0xff, 0xff, 0xff, 7]].concat(),
            Says::SomebodyElses => {
                let other = [name_of("other.example"), vec![0, 28, 0, 1]].concat();
                message([id[0] ^ 1, id[1]], 0, false, &other, &records(&["4000::bad".parse().unwrap()], 60))
            }
            Says::TooLong(addresses, _) if tcp => message(id, 0, false, asked, &records(&addresses, 60)),
            Says::TooLong(addresses, some) | Says::TooLongWithoutTcp(addresses, some) if !tcp => {
                message(id, 0, true, asked, &records(&addresses[..some], 60))
            }
            Says::TooLong(..) | Says::TooLongWithoutTcp(..) | Says::Nothing | Says::AtLength(_) => return None,
        })
    }
}

fn message(id: [u8; 2], code: u8, too_long: bool, question: &[u8], records: &[Vec<u8>]) -> Vec<u8> {
    let mut reply = id.to_vec();
    reply.extend([0x81 | if too_long { 2 } else { 0 }, 0x80 | code, 0, 1]);
    reply.extend(u16::try_from(records.len()).unwrap().to_be_bytes());
    reply.extend([0; 4]);
    reply.extend(question);
    reply.extend(records.iter().flatten());
    reply
}

fn record(owner: &[u8], kind: [u8; 2], ttl: u32, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap().to_be_bytes();
    [owner, &kind, &[0, 1], &ttl.to_be_bytes(), &length, data].concat()
}

fn name_of(text: &str) -> Vec<u8> {
    let labels = text.split('.').flat_map(|label| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat());
    labels.chain([0]).collect()
}

fn read_name(mut bytes: &[u8]) -> String {
    let mut labels = Vec::new();
    while bytes[0] != 0 {
        let (label, rest) = bytes[1..].split_at(usize::from(bytes[0]));
        labels.push(String::from_utf8_lossy(label).into_owned());
        bytes = rest;
    }
    labels.join(".")
}
