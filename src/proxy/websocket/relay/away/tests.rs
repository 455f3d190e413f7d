//! A socket whose broker's side ends and is opened again by the test.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::super::tests::{End, LOGIN, Socket, open_again, token};
use super::*;
use crate::broker::dhan::streams::StreamKind;
use crate::domain::ClientId;
use crate::domain::tasks::Tasks;
use crate::proxy::websocket::login::Login;
use crate::tokens::TokenCell;

const ROOM: usize = 256 * 1024;
const SUBSCRIBES: &[u8] =
    br#"{"RequestCode":15,"InstrumentCount":1,"InstrumentList":[{"ExchangeSegment":"NSE_EQ","SecurityId":"1333"}]}"#;
const PACKET: [u8; 3] = [2, 3, 0];

/// Opens what the test gives, and tells what was lost.
struct ByHand {
    cell: Arc<TokenCell>,
    lost: mpsc::UnboundedSender<Lost>,
    given: mpsc::UnboundedReceiver<Option<DuplexStream>>,
}

impl Again<DuplexStream> for ByHand {
    fn open(&mut self, lost: Lost) -> BoxFuture<'_, Result<Reopened<DuplexStream>, GaveUp>> {
        async move {
            self.lost.send(lost).unwrap();
            let broker = self.given.recv().await.flatten().ok_or(GaveUp)?;
            let live = self.cell.last().unwrap();
            let watch = TokenWatch::new(Arc::clone(&self.cell), live.generation(), || {});
            let none = CancellationToken::new;
            let until = TunnelLifetime::until(none(), none(), none(), Tasks::default());
            let login = Some(Login::new(ClientId::parse("1000000001").unwrap(), live));
            Ok(Reopened { broker, token: watch, login, until })
        }
        .boxed()
    }
}

/// The test's side of it.
struct Hand {
    lost: mpsc::UnboundedReceiver<Lost>,
    give: mpsc::UnboundedSender<Option<DuplexStream>>,
}

impl Hand {
    /// Open another broker's side.
    fn give(&self) -> End {
        let (ours, theirs) = duplex(ROOM);
        self.give.send(Some(theirs)).unwrap();
        End { io: ours, is_caller: false }
    }
}

fn open(kind: StreamKind) -> (Socket, Hand) {
    let ((tell, lost), (give, given)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    let by_hand = |cell: &Arc<TokenCell>| {
        let by_hand: Box<dyn Again<_>> = Box::new(ByHand { cell: Arc::clone(cell), lost: tell, given });
        Some(by_hand)
    };
    (open_again(kind, false, ROOM, by_hand), Hand { lost, give })
}

fn ids(message: &[u8]) -> (u64, Vec<String>) {
    let message: Value = serde_json::from_slice(message).unwrap();
    let list = message["InstrumentList"].as_array().unwrap();
    let ids = list.iter().map(|one| one["SecurityId"].as_str().unwrap().to_owned()).collect();
    (message["RequestCode"].as_u64().unwrap(), ids)
}

/// Subscribed, and a price has come.
async fn subscribed() -> (Socket, Hand) {
    let (mut socket, hand) = open(StreamKind::Feed);
    socket.caller.say(Opcode::Text, SUBSCRIBES).await;
    assert_eq!(socket.broker.next().await, Some((0x81, SUBSCRIBES.to_vec())));
    socket.broker.say(Opcode::Binary, &PACKET).await;
    assert_eq!(socket.caller.next().await, Some((0x82, PACKET.to_vec())));
    (socket, hand)
}

#[tokio::test]
async fn a_reset_is_not_seen_by_the_caller_and_what_it_says_meanwhile_is_not_lost() {
    let (mut socket, mut hand) = subscribed().await;
    // Half a frame, of which the caller must hear nothing, and a ping that nobody will answer.
    socket.caller.say(Opcode::Ping, b"there?").await;
    assert_eq!(socket.broker.next().await, Some((0x89, b"there?".to_vec())));
    socket.broker.raw(&[0x82, 3, 2]).await;
    drop(socket.broker);
    assert_eq!(socket.caller.next().await, Some((0x8a, b"there?".to_vec())));
    let lost = hand.lost.recv().await.unwrap();
    assert_eq!((lost.why, lost.refused, lost.instruments), ("broker_left", 0, 1));

    let more = String::from_utf8(SUBSCRIBES.to_vec()).unwrap().replace("1333", "11536");
    socket.caller.say(Opcode::Text, more.as_bytes()).await;
    socket.caller.say(Opcode::Text, b"hello").await;
    socket.caller.say(Opcode::Ping, b"still?").await;
    assert_eq!(socket.caller.next().await, Some((0x8a, b"still?".to_vec())));

    let mut broker = hand.give();
    let (first, message) = broker.next().await.unwrap();
    let (code, mut found) = ids(&message);
    found.sort_unstable();
    assert_eq!((first, code, found), (0x81, 15, vec!["11536".to_owned(), "1333".to_owned()]));
    assert_eq!(broker.next().await, Some((0x81, b"hello".to_vec())));
    broker.say(Opcode::Binary, &PACKET).await;
    assert_eq!(socket.caller.next().await, Some((0x82, PACKET.to_vec())));
    // A second time, and what was held is not said again.
    drop(broker);
    hand.lost.recv().await.unwrap();
    let mut broker = hand.give();
    assert_eq!(ids(&broker.next().await.unwrap().1).1.len(), 2);
    socket.caller.say(Opcode::Close, b"\x03\xe8").await;
    assert_eq!(broker.is_told().await.0, 1000);
    assert_eq!(socket.caller.next().await, Some((0x88, b"\x03\xe8".to_vec())));
    let end = socket.ended.await.unwrap();
    assert_eq!((end.why, end.reconnects, end.messages, end.dropped), ("caller_closed", 2, [3, 2], 0));
}

/// The old one has to be gone first: with the sixth the broker would end another socket of the account.
#[tokio::test]
async fn a_socket_of_an_old_token_is_closed_and_the_next_one_has_the_new_token() {
    let (mut socket, mut hand) = open(StreamKind::OrderUpdate);
    socket.caller.say(Opcode::Text, LOGIN).await;
    socket.broker.next().await.unwrap();
    socket.cell.set(token(2));
    let closed = tokio::select! {
        closed = socket.broker.next() => closed,
        // It only answers, and is told nothing.
        said = socket.caller.next() => panic!("{said:?}"),
    };
    assert_eq!(closed, Some((0x88, 1001_u16.to_be_bytes().to_vec())));
    assert_eq!(socket.broker.next().await, None);
    assert_eq!(hand.lost.recv().await.unwrap().why, "token_replaced");
    let mut broker = hand.give();
    let (first, login) = broker.next().await.unwrap();
    let login: Value = serde_json::from_slice(&login).unwrap();
    assert_eq!((first, &login["LoginReq"]["Token"]), (0x81, &"real-token".into()));
    broker.say(Opcode::Text, br#"{"Type":"order_alert"}"#).await;
    assert_eq!(socket.caller.next().await.unwrap().0, 0x81);
}

#[tokio::test]
async fn a_caller_that_logs_in_while_there_is_no_broker_is_logged_in_with_the_next() {
    let (mut socket, mut hand) = open(StreamKind::OrderUpdate);
    drop(socket.broker);
    hand.lost.recv().await.unwrap();
    socket.caller.say(Opcode::Binary, LOGIN).await;
    socket.caller.say(Opcode::Ping, b"heard").await;
    assert_eq!(socket.caller.next().await, Some((0x8a, b"heard".to_vec())));
    let mut broker = hand.give();
    assert_eq!(broker.next().await.unwrap().0, 0x81);
}

/// It would take the rest of another message for the rest of this one.
#[tokio::test]
async fn inside_a_message_the_socket_ends_as_it_would_without() {
    for begun in [&[0x02, 1, 7][..], &[0x82, 126, 0xff, 0xff, 7]] {
        let (mut socket, mut hand) = subscribed().await;
        socket.broker.raw(begun).await;
        drop(socket.broker);
        drop(hand.give);
        let mut rest = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut socket.caller.io, &mut rest).await.unwrap();
        // Inside a frame no Close can be said.
        assert_eq!(rest.windows(9).any(|some| some == b"reconnect"), begun.len() == 3, "{rest:x?}");
        assert_eq!(socket.ended.await.unwrap().why, "broker_left");
        assert!(hand.lost.try_recv().is_err(), "another was asked for");
    }
}

#[tokio::test]
async fn what_the_broker_said_of_its_end_is_kept_until_there_is_no_other() {
    let packet = [0x32, 0x0a, 0, 0, 0, 0, 0, 0, 0x27, 0x03];
    let (mut socket, mut hand) = subscribed().await;
    socket.broker.say(Opcode::Binary, &packet).await;
    let lost = hand.lost.recv().await.unwrap();
    assert_eq!(
        (lost.why, lost.refused, socket.refused.load(std::sync::atomic::Ordering::Relaxed)),
        ("broker_disconnected", 1, 1)
    );
    socket.caller.say(Opcode::Ping, b"1").await;
    assert_eq!(socket.caller.next().await, Some((0x8a, b"1".to_vec())), "before anything of the end");
    hand.give.send(None).unwrap();
    assert_eq!(socket.caller.next().await, Some((0x82, packet.to_vec())));
    let told = socket.caller.is_told().await;
    assert_eq!(told, (1008, "the broker ended it: the access token has ended (807)".to_owned()));
    let end = socket.ended.await.unwrap();
    assert_eq!((end.why, end.reconnects), ("broker_disconnected", 0));

    let (mut socket, mut hand) = subscribed().await;
    socket.broker.say(Opcode::Close, b"\x03\xe9bye").await;
    assert_eq!(socket.broker.next().await, Some((0x88, b"\x03\xe9".to_vec())));
    assert_eq!(hand.lost.recv().await.unwrap().why, "broker_closed");
    hand.give.send(None).unwrap();
    assert_eq!(socket.caller.is_told().await, (1001, "bye".to_owned()));
    assert_eq!(socket.ended.await.unwrap().why, "broker_closed");
}

#[tokio::test]
async fn what_will_not_mend_ends_the_socket_at_once() {
    for reason in [805_u16, 806, 808, 810] {
        let (mut socket, mut hand) = subscribed().await;
        let [low, high] = reason.to_le_bytes();
        let packet = [0x32, 0x0a, 0, 0, 0, 0, 0, 0, low, high];
        socket.broker.say(Opcode::Binary, &packet).await;
        assert_eq!(socket.caller.next().await, Some((0x82, packet.to_vec())));
        drop(socket.broker);
        let (code, words) = socket.caller.is_told().await;
        assert!(code == 1008 && words.contains(&reason.to_string()), "{words}");
        assert_eq!(socket.ended.await.unwrap().why, "broker_disconnected");
        assert!(hand.lost.try_recv().is_err());
    }
    // What the caller has said is to blame.
    let (mut socket, mut hand) = subscribed().await;
    socket.broker.say(Opcode::Close, b"\x03\xf0no").await;
    assert_eq!(socket.caller.is_told().await, (1008, "no".to_owned()));
    assert_eq!(socket.ended.await.unwrap().why, "broker_closed");
    // It asked for the end.
    let (mut other, mut its) = subscribed().await;
    other.caller.say(Opcode::Text, br#"{"RequestCode":12}"#).await;
    other.broker.next().await.unwrap();
    drop(other.broker);
    assert_eq!(other.caller.is_told().await.0, 1011);
    assert!(hand.lost.try_recv().is_err() && its.lost.try_recv().is_err());
}

#[tokio::test]
async fn a_key_that_is_taken_away_or_a_caller_that_goes_ends_the_wait() {
    let (mut socket, mut hand) = subscribed().await;
    socket.broker.say(Opcode::Close, b"\x03\xe9bye").await;
    hand.lost.recv().await.unwrap();
    socket.keys.cancel();
    let (code, words) = socket.caller.is_told().await;
    assert!(code == 1008 && words.contains("client key"), "{code} {words}");
    assert_eq!(socket.ended.await.unwrap().why, "key_revoked");

    let (mut socket, mut hand) = subscribed().await;
    drop(socket.broker);
    hand.lost.recv().await.unwrap();
    socket.caller.say(Opcode::Close, b"\x0f\xa0enough").await;
    assert_eq!(socket.caller.next().await, Some((0x88, b"\x0f\xa0".to_vec())));
    let end = socket.ended.await.unwrap();
    assert_eq!((end.why, end.code), ("caller_closed", 4000));

    let (socket, mut hand) = subscribed().await;
    drop(socket.broker);
    hand.lost.recv().await.unwrap();
    drop(socket.caller);
    assert_eq!(socket.ended.await.unwrap().why, "caller_left");
}

/// A caller that asks and does not read what it is answered must not make the gateway hold the answers.
#[tokio::test]
async fn pings_without_a_broker_are_answered_within_bounds() {
    use tokio::io::AsyncWriteExt;

    let (mut socket, mut hand) = subscribed().await;
    drop(socket.broker);
    hand.lost.recv().await.unwrap();
    let pings = encode(Opcode::Ping, &[7; 125], Some([1, 2, 3, 4])).repeat(1000);
    let mut wrote = 0;
    let write = async {
        loop {
            wrote += socket.caller.io.write(&pings[wrote % pings.len()..]).await.unwrap();
        }
    };
    assert!(tokio::time::timeout(std::time::Duration::from_millis(300), write).await.is_err());
    // Two pipes between us, and what is read at once.
    assert!(wrote < 3 * ROOM, "{wrote} bytes were taken");
}
