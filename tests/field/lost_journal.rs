//! What lies in the journal's folder is moved, compressed, cut or damaged while the gateway is stopped: an id that it
//! does not know afterwards was perhaps sent.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sixgate::sandbox::{Elsewhere, Status};

use super::{Ask, LIMIT, ReplyOutcome, arrived, is_executed, made, send, text, world};
use crate::support::engine::OrderRequest;
use crate::support::wait::wait_until;
use crate::support::world::{World, automatic};

/// The newest file of lines.
fn newest(folder: &Path) -> PathBuf {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|ending| ending == "jsonl")).max().expect("no file")
}

/// The whole of the story, for one way in which lines are lost.
fn nothing_is_sent_again_after(damage: impl FnOnce(&Path)) {
    let mut world = world();
    let mine = OrderRequest::place(Some("mine"), 100.0);
    let first = send(&world, &mine);
    is_executed(&first);
    let waiting = send(&world, OrderRequest::place(Some("waiting"), 90.0)).order_id();
    let changed = send(&world, OrderRequest::modify(&waiting, 91.0).under("change"));
    is_executed(&changed);
    world.gateway.terminate();
    let folder = world.dir.path().join("state/journal");
    let file = newest(&folder);
    let name = file.file_name().unwrap().to_str().unwrap().to_owned();
    damage(&file);

    // Who looks is told which file it is.
    let mut verify = Command::new(env!("CARGO_BIN_EXE_sixgate"));
    let verified = verify.args(["journal", "verify", "--state"]).arg(world.dir.path().join("state")).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(!verified.status.success() && said.contains(&name), "{said}");

    world.start_again();
    let (status, ready) = world.gateway.admin_without_token().get("/readyz");
    let ready = ready.as_str().unwrap().to_owned();
    assert!(status == 200 && ready.contains("not whole") && ready.contains(&name), "{status} {ready}");
    wait_until("it is in the log", LIMIT, || {
        let log = world.gateway.log();
        log.contains("THE ORDER JOURNAL IS NOT WHOLE") && log.contains(&name)
    });

    // A change that the order shows is not made again.
    let (before, books) = (arrived(&world), made(&world));
    is_executed(&send(&world, OrderRequest::modify(&waiting, 91.0).under("change")));
    assert_eq!(arrived(&world), before, "the change was made again");
    // What takes risk away asks nobody.
    is_executed(&send(&world, OrderRequest::cancel(&waiting)));
    is_executed(&send(&world, OrderRequest::new("DELETE", "/v2/positions", None)));
    assert_eq!(arrived(&world), before + 2);
    for _ in 0..2 {
        let again = send(&world, &mine);
        is_executed(&again);
        assert_eq!(again.order_id(), first.order_id(), "{again:?}");
    }
    let other = send(&world, OrderRequest::place(Some("mine"), 101.0));
    assert_eq!((other.status, other.code().as_str()), (422, "idempotency_conflict"), "{other:?}");
    // One from the phone, under an id that no line of the journal holds.
    let phone = Elsewhere {
        correlation_id: "phone".to_owned(),
        order_status: Status::Rejected,
        price: 300.0,
        ..Elsewhere::default()
    };
    world.broker.put_order(&world.traders[0].client_id, &phone).unwrap();
    let told = send(&world, OrderRequest::place(Some("phone"), 100.0));
    assert_eq!(told.status, 422, "any order of today under it forbids the send: {told:?}");
    assert_eq!(arrived(&world), before + 2, "something was sent again");
    // New orders do not wait for tomorrow.
    wait_until("a new order to go", LIMIT, || {
        send(&world, OrderRequest::place(Some("new"), 100.0)).outcome() == "executed"
    });
    is_executed(&send(&world, OrderRequest::place(None, 102.0)));
    assert_eq!((arrived(&world), made(&world)), (before + 4, books + 1 + 2));
}

#[test]
fn nothing_is_sent_again_after_the_file_was_removed() {
    nothing_is_sent_again_after(|file| fs::remove_file(file).unwrap());
}

#[test]
fn nothing_is_sent_again_after_the_file_was_moved_as_logrotate_does() {
    nothing_is_sent_again_after(|file| fs::rename(file, file.with_extension("jsonl.1")).unwrap());
}

#[test]
fn nothing_is_sent_again_after_the_file_was_truncated() {
    nothing_is_sent_again_after(|file| fs::write(file, "").unwrap());
}

#[test]
fn nothing_is_sent_again_after_the_file_lost_its_tail() {
    nothing_is_sent_again_after(|file| {
        let bytes = fs::read(file).unwrap();
        let first = memchr::memchr(b'\n', &bytes).unwrap() + 1;
        // The intents of an order are gone, and half a line stands there.
        fs::write(file, &bytes[..(first / 2)]).unwrap();
    });
}

#[test]
fn nothing_is_sent_again_after_a_byte_flipped() {
    nothing_is_sent_again_after(|file| {
        let mut bytes = fs::read(file).unwrap();
        let at = memchr::memmem::find(&bytes, b"\"mine\"").unwrap();
        bytes[at + 1] ^= 1;
        fs::write(file, bytes).unwrap();
    });
}

#[test]
fn nothing_is_sent_again_after_the_file_was_compressed() {
    nothing_is_sent_again_after(|file| {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut packer, &fs::read(file).unwrap()).unwrap();
        fs::write(file.with_extension("jsonl.gz"), packer.finish().unwrap()).unwrap();
        fs::remove_file(file).unwrap();
    });
}

/// Moved while the gateway runs: it says so, and goes on in a file that is found again.
#[test]
fn a_file_that_is_taken_away_while_it_runs_is_told_and_another_is_begun() {
    let world = world();
    let mine = OrderRequest::place(Some("mine"), 100.0);
    is_executed(&send(&world, &mine));
    let folder = world.dir.path().join("state/journal");
    let file = newest(&folder);
    let name = file.file_name().unwrap().to_str().unwrap().to_owned();
    fs::rename(&file, world.dir.path().join("taken")).unwrap();
    is_executed(&send(&world, OrderRequest::place(Some("next"), 100.0)));
    wait_until("it is in the log", LIMIT, || world.gateway.log().contains("THE ORDER JOURNAL IS NOT WHOLE"));
    let ready = world.gateway.admin_without_token().get("/readyz").1;
    assert!(ready.as_str().unwrap().contains(&name), "{ready}");
    let lines = fs::read_to_string(newest(&folder)).unwrap();
    assert!(lines.contains("\"next\""), "{lines}");
    // It remembers by itself, whatever lies in the folder.
    let again = send(&world, &mine);
    is_executed(&again);
    assert_ne!(again.repeat_of(), "");
    is_executed(&send(&world, OrderRequest::place(Some("third"), 100.0)));
    assert_eq!((arrived(&world), made(&world)), (3, 3));
}

/// A broker that does not answer proves nothing, and nobody is kept in a position for it.
#[test]
fn what_cannot_be_asked_for_after_a_loss_is_not_sent() {
    use sixgate::sandbox::{Action, Fault};
    let mut world = world();
    let kept = send(&world, OrderRequest::place(Some("kept"), 90.0)).order_id();
    let waiting = send(&world, OrderRequest::place(Some("waiting"), 90.0)).order_id();
    world.gateway.terminate();
    fs::remove_file(newest(&world.dir.path().join("state/journal"))).unwrap();
    world.start_again();
    let before = arrived(&world);
    world.broker.fault(Fault::new(Action::BadGateway { executed: false }).on("GET", "/v2/orders"));
    let told = send(&world, OrderRequest::place(Some("kept"), 90.0));
    assert_eq!((told.status, told.outcome()), (504, "unknown"), "{told:?}");
    // The lists of these show no ids.
    for wish in [OrderRequest::forever(Some("long"), 90.0), OrderRequest::place(Some("kept"), 90.0).under("key")] {
        let told = send(&world, wish);
        assert_eq!((told.status, told.outcome()), (504, "unknown"), "{told:?}");
        assert!(told.json()["detail"].as_str().unwrap().contains("journal"), "{told:?}");
    }
    assert_eq!(arrived(&world), before, "{told:?}");
    // It must not be made harder to get out.
    is_executed(&send(&world, Ask::from(OrderRequest::cancel(&waiting)).with("idempotency-key", "out")));
    // Nor is an order held up that nobody can have sent before.
    is_executed(&send(&world, OrderRequest::place(None, 91.0)));
    world.broker.clear_faults();
    let told = send(&world, OrderRequest::place(Some("kept"), 90.0));
    is_executed(&told);
    assert_eq!((told.order_id(), arrived(&world)), (kept, before + 2));
}

/// The question itself is refused then. Unless that counts, every order with an id is unknown until somebody reads.
#[test]
fn a_token_that_dies_after_a_loss_is_found_dead_by_asking() {
    let mut world = World::up_with(0, &text(""));
    world.broker.set_cooldown(Duration::ZERO);
    let mut fields = automatic();
    fields["access_token"] = world.at_the_broker(1).into();
    let trader = world.add(1, &fields);
    let wish = OrderRequest::place(Some("kept"), 90.0);
    let kept = send(&world, &wish).order_id();
    world.gateway.terminate();
    fs::remove_file(newest(&world.dir.path().join("state/journal"))).unwrap();
    world.start_again();
    is_executed(&send(&world, OrderRequest::place(None, 91.0)));
    world.broker.kill_token(&trader.client_id);
    wait_until("the order to be found", LIMIT, || send(&world, &wish).order_id() == kept);
    assert_eq!((arrived(&world), made(&world)), (2, 2));
}
