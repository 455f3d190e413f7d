//! What takes a feed's line away in the middle of it: its address leaves the host, or the line swallows every packet. The
//! socket ends within 40 s with words that say so, and the next one goes by the other leg, with the token as it is then.

use std::time::Instant;

use serde_json::json;

use super::socket::{Socket, feed};
use super::{LIMIT, lines};
use crate::support::net::{Ns, NsRuntime, Uplink};
use crate::support::wait::wait_until;
use crate::support::world::World;

/// The end of the socket that was open, which must say why, and a new one, which must have a price.
fn end_and_next(callers: &NsRuntime, mut open: Socket) -> (u16, String) {
    let began = Instant::now();
    let told = callers.run(async move {
        let told = open.close().await;
        feed().await;
        told
    });
    assert!(began.elapsed() < LIMIT, "{:?}", began.elapsed());
    told
}

/// The addresses and tokens of the account's WebSockets, in their order.
fn ways(world: &World) -> Vec<(std::net::Ipv6Addr, String)> {
    let seen = world.broker.seen().into_iter().filter(|seen| seen.websocket);
    seen.map(|seen| (*seen.peer.ip(), seen.token.unwrap_or_default())).collect()
}

fn remove_the_primary(world: &World) {
    world.net.ip(Ns::Gateway, "-6 route del local 2001:db8:a1::/64 dev lo");
    wait_until("the leg to trip", LIMIT, || {
        world.gateway.admin().get("/v1/accounts/a1").1["legs"][0]["state"] == "tripped"
    });
}

#[test]
fn a_feed_whose_address_leaves_the_host_ends_with_words_and_the_next_one_goes_by_the_other_leg() {
    let world = World::up(1, "");
    let a1 = world.traders[0].clone();
    let callers = world.net.runtime(Ns::Gateway);
    let open = callers.run(feed());
    remove_the_primary(&world);
    let told = end_and_next(&callers, open);
    assert_eq!(told.0, 1012, "{told:?}");
    assert!(told.1.contains("no longer on the gateway's host"), "{told:?}");
    let [primary, secondary] = [a1.pair.primary.ip(), a1.pair.secondary.ip()];
    assert_eq!(ways(&world), [(primary, a1.token.clone()), (secondary, a1.token)]);
}

/// The worst morning: a new token while the primary is gone. Neither end may hide the other's.
#[test]
fn a_token_swap_while_the_address_is_gone_leads_to_the_other_leg_with_the_new_token() {
    let world = World::up(1, "");
    let a1 = world.traders[0].clone();
    let callers = world.net.runtime(Ns::Gateway);
    let open = callers.run(feed());
    remove_the_primary(&world);
    let new = world.broker.mint_token(&a1.client_id);
    let (status, answer) = world.gateway.admin().put("/v1/accounts/a1/token", &json!({ "access_token": new }));
    assert!(status < 300, "{answer}");
    let told = end_and_next(&callers, open);
    assert_eq!(told.0, 1012, "{told:?}");
    let [primary, secondary] = [a1.pair.primary.ip(), a1.pair.secondary.ip()];
    assert_eq!(ways(&world), [(primary, a1.token), (secondary, new)]);
}

/// Nobody says that it is dead: what is sent is not acknowledged, and nothing comes.
#[test]
fn a_feed_whose_line_swallows_every_packet_ends_with_words_and_the_next_one_goes_by_the_other_leg() {
    let world = World::up(1, "");
    let a1 = world.traders[0].clone();
    let callers = world.net.runtime(Ns::Gateway);
    let open = callers.run(feed());
    world.net.uplink(1, Uplink::Silent);
    let told = end_and_next(&callers, open);
    assert_eq!(told.0, 1012, "{told:?}");
    assert!(told.1.starts_with("reconnect: the line to the broker is dead"), "{told:?}");
    wait_until("its line", LIMIT, || lines(&world, "line_dead").len() == 1);
    let [primary, secondary] = [a1.pair.primary.ip(), a1.pair.secondary.ip()];
    assert_eq!(ways(&world), [(primary, a1.token.clone()), (secondary, a1.token)]);
}
