//! One question to one name server: which AAAA records (or A records, for a host of `egress.ipv4_hosts`)
//! has this name?
//!
//! The socket is connected, so that a server that is not there ("refused", "no route") is known at once and not after a
//! time-out, and nobody else's datagrams are read. A reply that was cut short is asked for again over TCP; where that
//! fails, the addresses that did come are used: any of them will do.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, UdpSocket};
use tokio::time::timeout;

use super::family::Family;
use crate::domain::random;
use crate::egress::guard::{self, RuleId};

/// How long a server may be silent after each time it was asked; the sum is all that it gets.
pub(super) const SILENCES: [Duration; 3] =
    [Duration::from_millis(400), Duration::from_millis(600), Duration::from_millis(1000)];
/// How long the same question may take over TCP.
const TCP_LIMIT: Duration = Duration::from_millis(1000);
/// How often a reply that only says "it is another name for ..." is followed by a question for that name.
const ALIASES_FOLLOWED: usize = 4;
/// How long a chain of aliases in one reply may be.
const LONGEST_CHAIN: usize = 16;
/// Of very many addresses so many are kept.
const MOST_ADDRESSES: usize = 32;

/// What a server's answer is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerAnswer {
    /// In the server's order; at least one, and the guard forbids none of them.
    pub addresses: Vec<IpAddr>,
    pub ttl: Duration,
}

/// Why a server's answer is of no use, in words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::egress) enum Unusable {
    /// The server did not answer within this time.
    Silent(Duration),
    /// It could not be asked, or its host says that it is not there.
    Unreachable(String),
    /// What came is no reply to what was asked.
    Malformed(&'static str),
    /// NXDOMAIN.
    NoSuchName,
    /// NODATA, or aliases that lead to no address of this family.
    NoRecord(Family),
    /// SERVFAIL, REFUSED and the like.
    Refused(ResponseCode),
    /// It points to where nothing of ours may go.
    Forbidden(IpAddr, RuleId),
    /// It was cut short, and over TCP there is none.
    Truncated(String),
}

impl Unusable {
    /// Does it say that there is no address, rather than nothing?
    pub(crate) const fn is_no_record(&self) -> bool {
        matches!(self, Self::NoSuchName | Self::NoRecord(_))
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent(limit) => write!(f, "gave no answer within {limit:?}"),
            Self::Unreachable(why) => write!(f, "cannot be asked ({why})"),
            Self::Malformed(what) => write!(f, "answered with {what}"),
            Self::NoSuchName => f.write_str("says that there is no such name (NXDOMAIN)"),
            Self::NoRecord(family) => write!(f, "says that there is no {} record", family.record()),
            Self::Refused(ResponseCode::ServFail) => f.write_str("could not find out (SERVFAIL)"),
            Self::Refused(ResponseCode::Refused) => f.write_str("refuses to answer this host (REFUSED)"),
            Self::Refused(code) => write!(f, "answered with an error ({code:?})"),
            Self::Forbidden(at, rule) => write!(f, "says {at}, which is forbidden by rule {rule}"),
            Self::Truncated(why) => write!(f, "has an answer too long for UDP, and gives none over TCP ({why})"),
        }
    }
}

/// What one reply says.
enum ServerReply {
    Found(ServerAnswer),
    /// It is another name for this one, of which the reply says no more.
    Alias(Name),
}

/// Ask `server` for the addresses of `host` that are of this family, to the end of all aliases.
pub(super) async fn query(server: SocketAddr, host: &str, family: Family) -> Result<ServerAnswer, Unusable> {
    // The final dot keeps search lists out of it.
    let mut name = Name::from_ascii(format!("{host}.")).map_err(|_| Unusable::Malformed("a name that DNS has not"))?;
    let mut ttl = Duration::MAX;
    for _ in 0..=ALIASES_FOLLOWED {
        match exchange(server, (&name, family), &mut ttl).await? {
            ServerReply::Found(found) => return Ok(ServerAnswer { ttl: found.ttl.min(ttl), ..found }),
            ServerReply::Alias(other) => name = other,
        }
    }
    Err(Unusable::NoRecord(family))
}

/// A name, and which kind of its addresses is wanted.
type Asked<'a> = (&'a Name, Family);

async fn exchange(server: SocketAddr, asked: Asked<'_>, ttl: &mut Duration) -> Result<ServerReply, Unusable> {
    let id = u16::from_ne_bytes(random::bytes().map_err(|err| Unusable::Unreachable(err.to_string()))?);
    let mut query = Message::new(id, MessageType::Query, OpCode::Query);
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(asked.0.clone(), asked.1.record_type()));
    let bytes = query.to_vec().map_err(|_| Unusable::Malformed("a name that DNS has not"))?;
    let reply = over_udp(server, id, &bytes, asked).await?;
    if !reply.metadata.truncation {
        return read(&reply, asked, ttl);
    }
    let whole = match timeout(TCP_LIMIT, over_tcp(server, &bytes)).await {
        Ok(Ok(bytes)) => match decode(&bytes, id, asked) {
            Some(Ok(whole)) => return read(&whole, asked, ttl),
            Some(Err(_)) | None => "what came is no DNS reply".to_owned(),
        },
        Ok(Err(err)) => err.to_string(),
        Err(_) => format!("no answer within {TCP_LIMIT:?}"),
    };
    match read(&reply, asked, ttl) {
        Ok(ServerReply::Found(found)) => Ok(ServerReply::Found(found)),
        Err(forbidden @ Unusable::Forbidden(..)) => Err(forbidden),
        Ok(ServerReply::Alias(_)) | Err(_) => Err(Unusable::Truncated(whole)),
    }
}

fn unreachable(err: &io::Error) -> Unusable {
    Unusable::Unreachable(err.to_string())
}

async fn over_udp(server: SocketAddr, id: u16, query: &[u8], asked: Asked<'_>) -> Result<Message, Unusable> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await.map_err(|err| unreachable(&err))?;
    socket.connect(server).await.map_err(|err| unreachable(&err))?;
    let mut buffer = vec![0; 4096];
    let mut junk = false;
    for silence in SILENCES {
        socket.send(query).await.map_err(|err| unreachable(&err))?;
        let receive = async {
            loop {
                let length = socket.recv(&mut buffer).await.map_err(|err| unreachable(&err))?;
                match decode(buffer.get(..length).unwrap_or_default(), id, asked) {
                    Some(Ok(reply)) => return Ok(reply),
                    Some(Err(what)) => return Err(what),
                    // Somebody else's, or an old one: ours may still come.
                    None => junk = true,
                }
            }
        };
        if let Ok(received) = timeout(silence, receive).await {
            return received;
        }
    }
    Err(if junk {
        Unusable::Malformed("what is no reply to the question")
    } else {
        Unusable::Silent(SILENCES.iter().sum())
    })
}

/// The same question over TCP (RFC 7766): a length, then the message.
async fn over_tcp(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let socket = if server.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    let mut stream = socket.connect(server).await?;
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(query);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut reply = vec![0; usize::from(length)];
    stream.read_exact(&mut reply).await?;
    Ok(reply)
}

/// The reply to this question; `None` for what is a reply to none or to another.
fn decode(bytes: &[u8], id: u16, (name, family): Asked<'_>) -> Option<Result<Message, Unusable>> {
    if bytes.first_chunk() != Some(&id.to_be_bytes()) {
        return None;
    }
    let Ok(message) = Message::from_vec(bytes) else { return Some(Err(Unusable::Malformed("what is no DNS message"))) };
    if message.metadata.message_type != MessageType::Response {
        return Some(Err(Unusable::Malformed("a question of its own")));
    }
    let asked = |query: &Query| query.query_type == family.record_type() && query.name == *name;
    // Some servers leave the question out of an error.
    let is_error = message.queries.is_empty() && message.metadata.response_code != ResponseCode::NoError;
    (is_error || message.queries.iter().any(asked)).then_some(Ok(message))
}

fn read(reply: &Message, (name, family): Asked<'_>, ttl: &mut Duration) -> Result<ServerReply, Unusable> {
    let code = reply.metadata.response_code;
    if code == ResponseCode::NXDomain {
        return Err(Unusable::NoSuchName);
    }
    if code != ResponseCode::NoError {
        return Err(Unusable::Refused(code));
    }
    let mut owner = name;
    let of = |owner: &Name, record: &Record| record.dns_class == DNSClass::IN && record.name == *owner;
    for _ in 0..LONGEST_CHAIN {
        let alias = reply.answers.iter().find_map(|record| {
            let RData::CNAME(target) = &record.data else { return None };
            of(owner, record).then_some((&target.0, record.ttl))
        });
        let Some((target, alias_ttl)) = alias else { break };
        *ttl = (*ttl).min(Duration::from_secs(alias_ttl.into()));
        owner = target;
    }
    let mut addresses = Vec::new();
    let mut forbidden = None;
    for record in reply.answers.iter().filter(|record| of(owner, record)) {
        let Some(address) = family.address(&record.data) else { continue };
        *ttl = (*ttl).min(Duration::from_secs(record.ttl.into()));
        match guard::forbidden(address) {
            Some(rule) => forbidden = Some(Unusable::Forbidden(address, rule)),
            None if !addresses.contains(&address) && addresses.len() < MOST_ADDRESSES => addresses.push(address),
            None => {}
        }
    }
    match forbidden {
        _ if !addresses.is_empty() => Ok(ServerReply::Found(ServerAnswer { addresses, ttl: *ttl })),
        Some(forbidden) => Err(forbidden),
        None if owner != name => Ok(ServerReply::Alias(owner.clone())),
        None => Err(Unusable::NoRecord(family)),
    }
}
