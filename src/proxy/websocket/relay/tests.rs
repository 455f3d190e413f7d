//! A relay between a caller and a broker that are both played: what passes, what ends it, and what each is told.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::domain::ClientId;
use crate::domain::tasks::Tasks;
use crate::proxy::websocket::frame::read_close;
use crate::telemetry::streams::StreamMetrics;
use crate::tokens::{LiveToken, TokenCell};

/// A twentieth of the usual times.
const PATIENCE: Patience = Patience {
    ask_after: Duration::from_millis(1000),
    gone_after: Duration::from_millis(1900),
    again: Duration::from_millis(50),
    login: Duration::from_millis(1500),
    close: Duration::from_millis(250),
    farewell: Duration::from_millis(150),
    spread: Duration::from_millis(1750),
    refusal: Duration::from_millis(250),
};
/// Within which a socket whose line is dead or whose token is old has to end, with room for a busy machine.
const AT_MOST: Duration = Duration::from_millis(3000);
const MASK: Option<[u8; 4]> = Some([1, 2, 3, 4]);

pub(super) fn token(generation: u64) -> LiveToken {
    LiveToken::new("real-token".to_owned().into(), Timestamp::MAX, "manual".into(), generation).unwrap()
}

/// A socket whose two ends are the test's.
pub(super) struct Socket {
    pub(super) caller: End,
    pub(super) broker: End,
    pub(super) ended: tokio::task::JoinHandle<StreamEnd>,
    pub(super) cell: Arc<TokenCell>,
    /// How often the token was said to be refused.
    pub(super) refused: Arc<AtomicUsize>,
    pub(super) keys: CancellationToken,
    tasks: Tasks,
    began: Instant,
}

/// One of the ends, and whose.
pub(super) struct End {
    pub(super) io: DuplexStream,
    pub(super) is_caller: bool,
}

impl End {
    pub(super) async fn say(&mut self, opcode: Opcode, payload: &[u8]) {
        self.raw(&encode(opcode, payload, if self.is_caller { MASK } else { None })).await;
    }

    /// The socket may have ended meanwhile, which is heard by the next read.
    pub(super) async fn raw(&mut self, bytes: &[u8]) {
        let _it_may_have_ended = self.io.write_all(bytes).await;
    }

    /// The next frame but the relay's own questions, which are answered: on a busy machine one may come at any time.
    pub(super) async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            match self.frame().await? {
                (0x89, mark) if mark.len() == size_of::<Mark>() => self.say(Opcode::Pong, &mark).await,
                frame => return Some(frame),
            }
        }
    }

    /// The next frame.
    async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let first = self.io.read_u8().await.ok()?;
        let second = self.io.read_u8().await.unwrap();
        assert_eq!(second & 0x80 == 0, self.is_caller, "a frame is masked that must not be, or the other way round");
        let length = match second & 0x7f {
            126 => self.io.read_u16().await.unwrap().into(),
            127 => self.io.read_u64().await.unwrap(),
            short => short.into(),
        };
        let mut mask = [0; 4];
        if !self.is_caller {
            self.io.read_exact(&mut mask).await.unwrap();
        }
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.io.read_exact(&mut payload).await.unwrap();
        crate::proxy::websocket::frame::apply_mask(&mut payload, mask, 0);
        Some((first, payload))
    }

    /// A Close comes next: its code and words. It is answered.
    pub(super) async fn is_told(&mut self) -> (u16, String) {
        let (first, payload) = self.next().await.expect("a Close");
        assert_eq!(first, 0x88, "{payload:?}");
        let answer = encode(Opcode::Close, &payload[..payload.len().min(2)], if self.is_caller { MASK } else { None });
        let _it_may_have_ended = self.io.write_all(&answer).await;
        let (code, words) = read_close(&payload).unwrap();
        (code, words.to_owned())
    }
}

fn open_with(kind: StreamKind, deflate: bool, room: usize) -> Socket {
    open_again(kind, deflate, room, |_| None)
}

/// The same where the broker's side is opened again by what is made of the token's place.
pub(super) fn open_again(
    kind: StreamKind,
    deflate: bool,
    room: usize,
    again: impl FnOnce(&Arc<TokenCell>) -> Option<Box<dyn Again<DuplexStream>>>,
) -> Socket {
    let ((caller, ours), (broker, theirs)) = (duplex(room), duplex(room));
    let (cell, refused) = (Arc::new(TokenCell::default()), Arc::new(AtomicUsize::new(0)));
    cell.set(token(1));
    cell.publish_live(1);
    let counted = Arc::clone(&refused);
    let watch = TokenWatch::new(Arc::clone(&cell), 1, move || {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let login = (kind == StreamKind::OrderUpdate)
        .then(|| Login::new(ClientId::parse("1000000001").unwrap(), Arc::new(token(1))));
    let terms = Terms { kind, deflate, login, token: watch, patience: PATIENCE };
    let (keys, tasks) = (CancellationToken::new(), Tasks::default());
    let until = TunnelLifetime::until(CancellationToken::new(), keys.clone(), CancellationToken::new(), tasks.clone());
    let counters = StreamMetrics::default().counters(kind.as_str());
    let mut again = again(&cell);
    let ended = Tasks::default().spawn(async move {
        let again = again.as_deref_mut().map(|again| again as &mut dyn Again<_>);
        converse(ours, theirs, terms, counters, &until, again).await
    });
    let (caller, broker) = (End { io: caller, is_caller: true }, End { io: broker, is_caller: false });
    Socket { caller, broker, ended, cell, refused, keys, tasks, began: Instant::now() }
}

fn open(kind: StreamKind) -> Socket {
    open_with(kind, false, 64 * 1024)
}

pub(super) const LOGIN: &[u8] = br#"{"UserType":"SELF","LoginReq":{"Token":"fake","ClientId":"9","MsgCode":42}}"#;

#[tokio::test]
async fn frames_go_both_ways_as_they_are_and_controls_between_them() {
    let mut socket = open_with(StreamKind::Feed, true, 64 * 1024);
    // Compressed, in two fragments, with a ping between.
    socket.broker.raw(&[0x42, 2, 0xff, 0xfe]).await;
    socket.broker.say(Opcode::Ping, b"there?").await;
    socket.broker.raw(&[0x80, 1, 0xfd]).await;
    for want in [(0x42, &b"\xff\xfe"[..]), (0x89, b"there?"), (0x80, b"\xfd")] {
        assert_eq!(socket.caller.next().await, Some((want.0, want.1.to_vec())));
    }
    socket.caller.say(Opcode::Pong, b"there?").await;
    socket.caller.say(Opcode::Text, b"{}").await;
    assert_eq!(socket.broker.next().await, Some((0x8a, b"there?".to_vec())));
    assert_eq!(socket.broker.next().await, Some((0x81, b"{}".to_vec())));

    socket.caller.say(Opcode::Close, b"\x0f\xa0enough").await;
    assert_eq!(socket.broker.is_told().await, (4000, "enough".to_owned()));
    assert_eq!(socket.caller.next().await, Some((0x88, b"\x0f\xa0".to_vec())));
    assert_eq!(socket.caller.next().await, None);
    let end = socket.ended.await.unwrap();
    assert_eq!((end.why, end.code, end.messages, end.dropped), ("caller_closed", 4000, [1, 1], 0));
}

#[tokio::test]
async fn a_close_of_the_brokers_is_passed_on_and_answered() {
    let mut socket = open(StreamKind::Depth20);
    socket.broker.say(Opcode::Close, b"\x03\xe9bye").await;
    assert_eq!(socket.caller.is_told().await, (1001, "bye".to_owned()));
    assert_eq!(socket.broker.next().await, Some((0x88, b"\x03\xe9".to_vec())));
    assert_eq!(socket.ended.await.unwrap().why, "broker_closed");
}

/// Many servers end the connection when they hear Close, and many clients never answer one.
#[tokio::test]
async fn who_does_not_answer_a_close_is_not_waited_for_for_long() {
    let mut socket = open(StreamKind::Feed);
    socket.caller.say(Opcode::Close, b"").await;
    assert_eq!(socket.broker.next().await, Some((0x88, Vec::new())));
    assert_eq!(socket.caller.next().await, Some((0x88, Vec::new())));
    let waited = socket.began.elapsed();
    assert!((PATIENCE.close..PATIENCE.ask_after).contains(&waited), "{waited:?}");
    assert_eq!(socket.ended.await.unwrap().why, "caller_closed");

    let mut socket = open(StreamKind::Feed);
    socket.broker.say(Opcode::Close, b"\x03\xe8").await;
    assert_eq!(socket.caller.next().await, Some((0x88, b"\x03\xe8".to_vec())));
    drop(socket.caller);
    assert_eq!(socket.broker.next().await, Some((0x88, b"\x03\xe8".to_vec())));
    assert_eq!(socket.ended.await.unwrap().why, "broker_closed");
}

/// It was measured: the broker resets connections without a word, also of healthy tokens.
#[tokio::test]
async fn an_end_without_a_close_is_told_with_one() {
    let mut socket = open(StreamKind::Feed);
    socket.broker.say(Opcode::Binary, b"\x02").await;
    socket.caller.next().await;
    drop(socket.broker);
    let (code, words) = socket.caller.is_told().await;
    assert_eq!((code, &words[..9]), (1011, "reconnect"), "{words}");
    assert_eq!((socket.ended.await.unwrap().why, socket.refused.load(Ordering::Relaxed)), ("broker_left", 0));

    let mut socket = open(StreamKind::Feed);
    drop(socket.caller);
    assert_eq!(socket.broker.is_told().await.0, 1001);
    assert_eq!(socket.ended.await.unwrap().why, "caller_left");
}

#[tokio::test]
async fn a_violation_is_answered_with_its_code_and_words_and_the_other_side_is_told() {
    for (bytes, code, words) in [
        (&[0x81, 0x01, b'x'][..], 1002, "not masked"),
        (&[0xc1, 0x80, 0, 0, 0, 0], 1002, "extension"),
        (&[0xb1], 1002, "reserved"),
        (&[0x83], 1002, "opcode"),
        (&[0x89, 0xfe], 1002, "125"),
        (&[0x09], 1002, "fragmented"),
        (&[0x81, 0x81, 0, 0, 0, 0, 0xff], 1007, "UTF-8"),
        (&[0x88, 0x83, 0, 0, 0, 0, 0x03, 0xe8, 0xff], 1007, "UTF-8"),
        (&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xed], 1002, "never sent"),
        (&[0x82, 0xff, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0], 1009, "1 MiB"),
    ] {
        let mut socket = open(StreamKind::Feed);
        socket.caller.raw(bytes).await;
        let told = socket.caller.is_told().await;
        assert!(told.0 == code && told.1.contains(words), "{bytes:x?}: {told:?}");
        drop(socket.caller);
        assert_eq!(socket.broker.is_told().await.0, 1000);
        let end = socket.ended.await.unwrap();
        assert_eq!((end.why, end.code), ("caller_broke_protocol", code));
    }

    let mut socket = open(StreamKind::Feed);
    socket.broker.raw(&[0x82, 0x81, 0, 0, 0, 0, b'x']).await;
    let told = socket.caller.is_told().await;
    assert_eq!(told, (1011, "the broker broke the protocol: a frame is masked".to_owned()));
    assert_eq!(socket.broker.is_told().await.0, 1002);
}

#[tokio::test]
async fn a_line_that_is_dead_ends_within_40_seconds_with_a_close() {
    let mut socket = open(StreamKind::Feed);
    let (first, mark) = socket.broker.frame().await.unwrap();
    assert!(first == 0x89 && socket.began.elapsed() >= PATIENCE.ask_after);
    let answered = Instant::now();
    // Its answer is ours and not passed on.
    socket.broker.say(Opcode::Pong, &mark).await;
    let answer = async {
        let (first, mark) = socket.caller.frame().await.unwrap();
        assert_eq!(first, 0x89);
        socket.caller.say(Opcode::Pong, &mark).await;
        socket.caller.is_told().await
    };
    let (code, words) = answer.await;
    assert_eq!(code, 1012);
    assert!(words.contains("nothing was heard from the broker"), "{words}");
    assert!((PATIENCE.gone_after..AT_MOST).contains(&answered.elapsed()), "{:?}", answered.elapsed());
    drop(socket.caller);
    assert_eq!(socket.ended.await.unwrap().why, "broker_silent");
}

#[tokio::test]
async fn a_caller_that_vanished_frees_its_place_within_40_seconds() {
    let mut socket = open(StreamKind::Feed);
    // The broker goes on, and its bytes vanish in buffers.
    let broker = async {
        loop {
            socket.broker.say(Opcode::Binary, b"\x02").await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let end = tokio::select! { end = &mut socket.ended => end.unwrap(), () = broker => unreachable!() };
    assert_eq!(end.why, "caller_silent");
    assert!((PATIENCE.gone_after..AT_MOST).contains(&end.duration), "{:?}", end.duration);
}

#[tokio::test]
async fn a_socket_of_an_old_token_ends_within_40_seconds() {
    let mut socket = open(StreamKind::Feed);
    socket.broker.say(Opcode::Binary, b"\x02").await;
    socket.caller.next().await;
    socket.cell.set(token(2));
    let at = Instant::now();
    // Both sides are alive, as a library's pongs would show.
    let alive = async {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            socket.broker.say(Opcode::Pong, b"").await;
        }
    };
    let told = async {
        loop {
            match socket.caller.next().await.unwrap() {
                (0x88, payload) => return payload,
                _ => socket.caller.say(Opcode::Pong, b"").await,
            }
        }
    };
    let payload = tokio::select! { told = told => told, () = alive => unreachable!() };
    assert_eq!(read_close(&payload), Ok((1012, "reconnect: the token was replaced")));
    assert!(at.elapsed() < AT_MOST, "{:?}", at.elapsed());
    drop(socket.caller);
    assert_eq!(socket.ended.await.unwrap().why, "token_replaced");

    // The broker ends it first, as most likely it does: there is nothing to wait for.
    let mut socket = open(StreamKind::Feed);
    socket.cell.set(token(2));
    drop(socket.broker);
    assert_eq!(socket.caller.is_told().await, (1012, "reconnect: the token was replaced".to_owned()));
}

#[tokio::test]
async fn what_is_taken_away_ends_it_with_words() {
    let mut socket = open(StreamKind::OrderUpdate);
    socket.keys.cancel();
    let (code, words) = socket.caller.is_told().await;
    assert_eq!(code, 1008);
    assert!(words.contains("client key"), "{words}");
    assert_eq!(socket.broker.is_told().await.0, 1001);
    assert_eq!(socket.ended.await.unwrap().why, "key_revoked");

    let mut socket = open(StreamKind::Feed);
    let stop = socket.tasks.clone();
    stop.stop(Duration::ZERO).await;
    assert_eq!(socket.caller.is_told().await, (1001, "the gateway is stopping".to_owned()));
    assert_eq!(socket.ended.await.unwrap().why, "gateway_stopping");
}

#[tokio::test]
async fn a_slow_reader_slows_the_broker_down_and_is_not_ended_while_it_reads() {
    let mut socket = open_with(StreamKind::Feed, false, 4096);
    let frames = encode(Opcode::Binary, &[7; 3212], None).repeat(100);
    let mut wrote = 0;
    // As much as it takes without anybody reading: our buffers, and the two in between.
    while let Ok(done) =
        tokio::time::timeout(Duration::from_millis(200), socket.broker.io.write(&frames[wrote..])).await
    {
        wrote += done.unwrap();
        assert!(wrote < 64 * 1024, "it is held without a bound");
    }
    // A little, again and again, for longer than a silence may last.
    let mut some = [0; 512];
    for _ in 0..10 {
        tokio::time::sleep(PATIENCE.ask_after / 2).await;
        socket.caller.io.read_exact(&mut some).await.unwrap();
        assert!(!socket.ended.is_finished(), "a reader that reads was ended");
    }
}

#[tokio::test]
async fn order_updates_log_in_as_the_account_and_say_nothing_else() {
    let mut socket = open(StreamKind::OrderUpdate);
    socket.caller.say(Opcode::Text, b"hello").await;
    socket.caller.say(Opcode::Binary, LOGIN).await;
    socket.caller.say(Opcode::Text, LOGIN).await;
    socket.caller.say(Opcode::Ping, b"1").await;
    let (first, said) = socket.broker.next().await.unwrap();
    let said: serde_json::Value = serde_json::from_slice(&said).unwrap();
    assert_eq!((first, &said["LoginReq"]["Token"]), (0x81, &"real-token".into()));
    assert_eq!(socket.broker.next().await, Some((0x89, b"1".to_vec())));
    socket.broker.say(Opcode::Text, br#"{"Type":"order_alert"}"#).await;
    assert_eq!(socket.caller.next().await.unwrap().1, br#"{"Type":"order_alert"}"#);
    socket.caller.say(Opcode::Close, b"").await;
    socket.broker.is_told().await;
    let end = socket.ended.await.unwrap();
    assert_eq!((end.messages, end.dropped, socket.refused.load(Ordering::Relaxed)), ([3, 1], 2, 0));
}

#[tokio::test]
async fn a_refused_login_is_passed_on_and_named() {
    // A binary frame with a reason, as one production client saw it.
    let mut socket = open(StreamKind::OrderUpdate);
    socket.caller.say(Opcode::Text, LOGIN).await;
    socket.broker.next().await;
    let packet = [0x32, 0x0a, 0, 0, 0, 0, 0, 0, 0x29, 0x03];
    socket.broker.say(Opcode::Binary, &packet).await;
    assert_eq!(socket.caller.next().await, Some((0x82, packet.to_vec())));
    drop(socket.broker);
    let told = socket.caller.is_told().await;
    assert_eq!(told, (1008, "the broker ended it: the access token is not valid (809)".to_owned()));
    let end = socket.ended.await.unwrap();
    assert_eq!((end.why, end.detail.as_deref()), ("login_refused", Some("809: the access token is not valid")));
    assert_eq!(socket.refused.load(Ordering::Relaxed), 1);

    // An end without a word right after it.
    let mut socket = open(StreamKind::OrderUpdate);
    socket.caller.say(Opcode::Text, LOGIN).await;
    socket.broker.next().await;
    drop(socket.broker);
    assert_eq!(socket.caller.is_told().await.0, 1011);
    assert_eq!((socket.ended.await.unwrap().why, socket.refused.load(Ordering::Relaxed)), ("login_refused", 1));
}

#[tokio::test]
async fn a_disconnect_packet_is_passed_on_and_named() {
    let mut socket = open(StreamKind::Feed);
    let packet = [0x32, 0x0a, 0, 0, 0, 0, 0, 0, 0x25, 0x03];
    socket.broker.say(Opcode::Binary, &packet).await;
    assert_eq!(socket.caller.next().await, Some((0x82, packet.to_vec())));
    drop(socket.broker);
    let told = socket.caller.is_told().await;
    assert_eq!(told, (1008, "the broker ended it: there are more sockets than the broker allows (805)".to_owned()));
    assert_eq!((socket.ended.await.unwrap().why, socket.refused.load(Ordering::Relaxed)), ("broker_disconnected", 0));
}

#[tokio::test]
async fn who_does_not_log_in_is_told_so() {
    let mut socket = open(StreamKind::OrderUpdate);
    assert_eq!(socket.caller.is_told().await, (1008, "no login came within 30 s".to_owned()));
}
