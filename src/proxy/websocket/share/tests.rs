//! A fan-out between pipes: callers on one side, the broker's sockets on the other.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use super::ends::{serve_caller, serve_socket};
use super::fanout::{Fanout, Wanted};
use crate::domain::tasks::Tasks;
use crate::proxy::websocket::frame::{Opcode, close_payload, code, encode, read_close};
use crate::proxy::websocket::reader::{FrameReader, Piece, Sender};

const PATIENCE: Duration = Duration::from_secs(20);
const MASK: Option<[u8; 4]> = Some([1, 2, 3, 4]);

/// The far end of a pipe: of a caller's relay, or of the relay of one of the broker's sockets.
struct End {
    pipe: DuplexStream,
    reader: FrameReader,
    input: BytesMut,
    mask: Option<[u8; 4]>,
}

impl End {
    fn new(pipe: DuplexStream, hears: Sender) -> Self {
        let mask = (hears == Sender::Broker).then_some(MASK).flatten();
        Self { pipe, reader: FrameReader::new(hears, false), input: BytesMut::new(), mask }
    }

    async fn say(&mut self, opcode: Opcode, payload: &[u8]) {
        // The socket may have ended meanwhile, which is heard by the next read.
        let _it_may_have_ended = self.pipe.write_all(&encode(opcode, payload, self.mask)).await;
    }

    async fn subscribe(&mut self, code: u64, ids: &[u32]) {
        let list: Vec<_> =
            ids.iter().map(|id| json!({ "ExchangeSegment": "NSE_EQ", "SecurityId": id.to_string() })).collect();
        let message = json!({ "RequestCode": code, "InstrumentCount": list.len(), "InstrumentList": list });
        self.say(Opcode::Text, message.to_string().as_bytes()).await;
    }

    /// The next frame; `None` at the end.
    async fn hear(&mut self) -> Option<(Opcode, Vec<u8>)> {
        let hear = async {
            loop {
                match self.reader.next(&mut self.input).unwrap() {
                    Some(Piece::Data(data)) => return Some((data.kind, data.payload().to_vec())),
                    Some(Piece::Control(control)) => return Some((control.opcode, control.payload.to_vec())),
                    None if self.pipe.read_buf(&mut self.input).await.unwrap() == 0 => return None,
                    None => {}
                }
            }
        };
        timeout(PATIENCE, hear).await.expect("something to hear")
    }

    /// The next frame is a Close: its code and words.
    async fn close(&mut self) -> (u16, String) {
        let (opcode, payload) = self.hear().await.expect("a Close");
        assert_eq!(opcode, Opcode::Close, "{payload:?}");
        let (code, words) = read_close(&payload).unwrap();
        (code, words.to_owned())
    }
}

/// A fan-out with its first caller and its first socket, and the sockets that it wants beside.
struct Setting {
    fanout: Arc<Fanout>,
    caller: End,
    socket: End,
    wanted: UnboundedReceiver<Wanted>,
    wants: tokio::sync::mpsc::UnboundedSender<Wanted>,
}

impl Setting {
    fn new() -> Self {
        let (fanout, first, place) = Fanout::new();
        let (wants, wanted) = unbounded_channel();
        let fanout = Arc::new(fanout);
        let socket = socket(&fanout, first);
        let caller = serve(&fanout, place, &wants);
        Self { fanout, caller, socket, wanted, wants }
    }

    fn join(&self) -> Option<End> {
        Some(serve(&self.fanout, self.fanout.join()?, &self.wants))
    }
}

fn serve(
    fanout: &Arc<Fanout>,
    place: (super::Caller, super::Queue),
    wants: &tokio::sync::mpsc::UnboundedSender<Wanted>,
) -> End {
    let (theirs, ours) = duplex(1024);
    let (fanout, wants) = (Arc::clone(fanout), wants.clone());
    Tasks::default()
        .spawn(async move { serve_caller(&fanout, place, ours, |wanted| wants.send(wanted).unwrap()).await });
    End::new(theirs, Sender::Broker)
}

fn socket(fanout: &Arc<Fanout>, wanted: Wanted) -> End {
    let (theirs, ours) = duplex(1024);
    let fanout = Arc::clone(fanout);
    Tasks::default().spawn(async move { serve_socket(&fanout, wanted, ours).await });
    End::new(theirs, Sender::Caller)
}

fn ticker(id: u32, price: u8) -> Vec<u8> {
    [&[2, 16, 0, 1], &id.to_le_bytes()[..], &[price; 8]].concat()
}

fn is_code(message: &[u8], code: u64) -> bool {
    serde_json::from_slice::<serde_json::Value>(message).unwrap()["RequestCode"] == code
}

#[tokio::test]
async fn two_callers_hear_what_they_asked_for_from_one_socket() {
    let mut setting = Setting::new();
    let mut second = setting.join().unwrap();
    setting.caller.subscribe(15, &[10]).await;
    let (opcode, said) = setting.socket.hear().await.unwrap();
    assert!(opcode == Opcode::Text && is_code(&said, 15), "{said:?}");
    setting.socket.say(Opcode::Binary, &ticker(10, 1)).await;
    assert_eq!(setting.caller.hear().await, Some((Opcode::Binary, ticker(10, 1))));
    // The second one asks for the same, and for one more: it hears of the first at once.
    second.subscribe(15, &[10, 11]).await;
    assert_eq!(second.hear().await, Some((Opcode::Binary, ticker(10, 1))));
    let (_, said) = setting.socket.hear().await.unwrap();
    assert!(String::from_utf8(said).unwrap().contains("\"InstrumentCount\":1"));
    setting.socket.say(Opcode::Binary, &[ticker(10, 2), ticker(11, 3)].concat()).await;
    assert_eq!(setting.caller.hear().await, Some((Opcode::Binary, ticker(10, 2))));
    assert_eq!(second.hear().await, Some((Opcode::Binary, [ticker(10, 2), ticker(11, 3)].concat())));
    // Pings are answered on both sides.
    second.say(Opcode::Ping, b"there?").await;
    assert_eq!(second.hear().await, Some((Opcode::Pong, b"there?".to_vec())));
    setting.socket.say(Opcode::Ping, b"you?").await;
    assert_eq!(setting.socket.hear().await, Some((Opcode::Pong, b"you?".to_vec())));
    // The market's state is everybody's.
    setting.socket.say(Opcode::Binary, &[7, 8, 0, 1, 0, 0, 0, 0]).await;
    for end in [&mut setting.caller, &mut second] {
        assert_eq!(end.hear().await, Some((Opcode::Binary, vec![7, 8, 0, 1, 0, 0, 0, 0])));
    }
}

#[tokio::test]
async fn who_goes_takes_its_subscriptions_along_and_the_last_one_the_socket() {
    let mut setting = Setting::new();
    let mut second = setting.join().unwrap();
    setting.caller.subscribe(15, &[10]).await;
    setting.socket.hear().await.unwrap();
    second.subscribe(15, &[11]).await;
    setting.socket.hear().await.unwrap();
    // One without a word, one with the broker's own.
    drop(setting.caller);
    let (_, said) = setting.socket.hear().await.unwrap();
    let said = String::from_utf8(said).unwrap();
    assert!(is_code(said.as_bytes(), 16) && said.contains("\"10\""), "{said}");
    second.say(Opcode::Text, br#"{"RequestCode":12}"#).await;
    assert_eq!(second.close().await.0, code::NORMAL);
    assert_eq!(setting.socket.close().await.0, code::NORMAL);
    assert_eq!(setting.fanout.counts(), (0, 0));
    assert!(setting.fanout.join().is_none(), "whoever comes opens another");
}

#[tokio::test]
async fn a_socket_that_ends_is_told_to_all_and_a_caller_that_breaks_the_rules_alone() {
    let mut setting = Setting::new();
    let (mut strange, mut loud) = (setting.join().unwrap(), setting.join().unwrap());
    strange.say(Opcode::Text, br#"{"RequestCode":99}"#).await;
    let (said, words) = strange.close().await;
    assert!(said == code::POLICY && words.contains("streams = share"), "{words}");
    // What it says before it has heard of that is nobody's.
    strange.subscribe(15, &[99]).await;
    strange.say(Opcode::Close, &close_payload(code::POLICY, "")).await;
    assert_eq!(strange.hear().await, None);
    // It need not be read to its end.
    let _ = loud.pipe.write_all(&encode(Opcode::Text, &vec![b' '; 70_000], MASK)).await;
    assert_eq!(loud.close().await.0, code::TOO_BIG);
    // What is no request at all changes nothing.
    setting.caller.say(Opcode::Text, b"ping").await;
    setting.caller.subscribe(15, &[10]).await;
    let (_, said) = setting.socket.hear().await.unwrap();
    assert!(String::from_utf8(said).unwrap().contains("\"10\""), "the first subscription that is anybody's");
    setting.socket.say(Opcode::Close, &close_payload(code::POLICY, "the broker ended it: (806)")).await;
    assert_eq!(setting.caller.close().await, (code::POLICY, "the broker ended it: (806)".to_owned()));
    assert!(setting.fanout.join().is_none());
}

/// A second mode of an instrument wants a socket of its own, whose failure is its callers' alone.
#[tokio::test]
async fn another_socket_is_wanted_for_another_mode_and_hears_what_was_said_meanwhile() {
    let mut setting = Setting::new();
    let mut second = setting.join().unwrap();
    setting.caller.subscribe(15, &[10]).await;
    setting.socket.hear().await.unwrap();
    second.subscribe(21, &[10]).await;
    let wanted = timeout(PATIENCE, setting.wanted.recv()).await.unwrap().unwrap();
    let mut other = socket(&setting.fanout, wanted);
    let (_, said) = other.hear().await.unwrap();
    assert!(is_code(&said, 21), "{said:?}");
    other.say(Opcode::Binary, &ticker(10, 5)).await;
    assert_eq!(second.hear().await, Some((Opcode::Binary, ticker(10, 5))));
    drop(other);
    assert_eq!(second.close().await.0, code::UNEXPECTED);
    setting.socket.say(Opcode::Binary, &ticker(10, 6)).await;
    assert_eq!(setting.caller.hear().await, Some((Opcode::Binary, ticker(10, 6))));
    assert_eq!(setting.fanout.counts(), (1, 1));
}

/// A caller that does not read is closed, with what was queued for it, and nobody waits for it.
#[tokio::test]
async fn a_caller_that_does_not_read_holds_nobody_up_and_a_bounded_amount() {
    let mut setting = Setting::new();
    let mut slow = setting.join().unwrap();
    for end in [&mut setting.caller, &mut slow] {
        end.subscribe(15, &[10]).await;
    }
    setting.socket.hear().await.unwrap();
    slow.say(Opcode::Ping, b"subscribed").await;
    assert_eq!(slow.hear().await, Some((Opcode::Pong, b"subscribed".to_vec())));
    let message = ticker(10, 1).repeat(1000);
    let mut said = 0;
    while setting.fanout.counts().0 == 2 {
        setting.socket.say(Opcode::Binary, &message).await;
        assert_eq!(setting.caller.hear().await.unwrap().1, message);
        said += message.len();
        assert!(said < 8 * 1024 * 1024, "{said} bytes are held for a caller that does not read");
    }
    // It hears a little of what is old by now, and then why.
    let mut heard = 0;
    let last = loop {
        let (opcode, message) = slow.hear().await.expect("a Close");
        if opcode != Opcode::Binary {
            break read_close(&message).unwrap().0;
        }
        heard += message.len();
    };
    assert_eq!(last, code::POLICY);
    assert!(heard < 1024 * 1024, "{heard} of {said}");
}

/// A caller that asks faster than the broker hears waits, and what waits for the broker is bounded.
#[tokio::test]
async fn a_caller_waits_while_the_broker_does_not_hear() {
    let Setting { fanout, mut caller, mut socket, .. } = Setting::new();
    let ids: Vec<_> = (0..100).collect();
    let asking = Tasks::default().spawn(async move {
        for _ in 0..1_000 {
            caller.subscribe(15, &ids).await;
        }
        caller
    });
    while fanout.waiting() < 1024 * 1024 {
        tokio::task::yield_now().await;
    }
    // Nothing of what was said is lost, and what waits stays within one message more.
    for _ in 0..1_000 {
        assert!(fanout.waiting() < 1024 * 1024 + 8 * 1024, "{} bytes", fanout.waiting());
        assert_eq!(socket.hear().await.unwrap().0, Opcode::Text);
    }
    drop(asking.await.unwrap());
    assert_eq!(fanout.waiting(), 0);
}
