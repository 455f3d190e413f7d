//! When a token signs, and how long somebody waits for one.

use super::*;
use crate::domain::tasks::Tasks;

fn live(generation: u64) -> LiveToken {
    let text = format!("token-{generation}");
    LiveToken::new(text.into(), Timestamp::from_second(2000).unwrap(), "manual".into(), generation).unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

#[test]
fn a_token_never_shows_in_debug_and_an_older_one_never_wins() {
    let cell = TokenCell::default();
    cell.set(live(2));
    cell.set(live(1));
    assert_eq!(cell.last().unwrap().generation(), 2);
    assert!(!format!("{cell:?}").contains("token-2"), "{cell:?}");
    let header = cell.last().unwrap().header().clone();
    assert!(!format!("{header:?}").contains("token-2"));
}

/// A timer that was set for its end does not hear of a machine that slept: whoever finds it ended tells its keeper,
/// and nobody is told that it lives.
#[test]
fn a_token_signs_until_it_ends_and_its_keeper_hears_of_that() {
    let cell = TokenCell::default();
    assert!(cell.live_at(at(1)).is_err());
    cell.set(live(1));
    cell.publish(TokenStatus { signing: Some(1), ..standing(State::Live, 0) });
    assert!(cell.live_at(at(1999)).is_ok());
    assert_eq!(cell.standing_at(at(1999)).word(), "live");
    assert!(!cell.ended_unheard());

    assert_eq!(cell.live_at(at(2000)).unwrap_err().code, "token_ended");
    assert!(cell.ended_unheard());
    assert_eq!((cell.standing_at(at(2000)).word(), cell.standing_at(at(2000)).is_moving()), ("absent", true));
    assert!(cell.ended_unheard());
    // It knows by now, and is not told again at each request.
    cell.publish(standing(State::Minting, 0));
    assert_eq!(
        (cell.live_at(at(2001)).unwrap_err().code.as_str(), cell.standing_at(at(2001)).word()),
        ("login_under_way", "minting")
    );
    assert!(!cell.ended_unheard());
}

/// A token that the broker refused must not sign another request, whichever
/// of the account's rows that request took.
#[test]
fn a_barred_token_does_not_sign_and_the_next_one_does() {
    let cell = TokenCell::default();
    cell.set(live(3));
    cell.revoke(3);
    assert!(cell.live_at(at(1)).is_err());
    // A late refusal of an older token changes nothing.
    cell.revoke(2);
    cell.restore(3);
    assert_eq!(cell.live_at(at(1)).unwrap().generation(), 3);
    cell.revoke(3);
    cell.set(live(4));
    assert_eq!(cell.live_at(at(1)).unwrap().generation(), 4);
}

fn standing(state: State, refusals_seen: u64) -> TokenStatus {
    TokenStatus { state: Some(state), refusals_seen, ..TokenStatus::default() }
}

/// Whoever has just given PIN and TOTP secret does so as often as not in the last seconds of a code.
#[tokio::test]
async fn a_login_that_waits_for_its_code_is_waited_for_and_one_that_waits_for_more_is_not() {
    let cell = Arc::new(TokenCell::default());
    let in_seconds = |seconds| steady::now().checked_add(SignedDuration::from_secs(seconds)).unwrap();
    let by = Instant::now() + Duration::from_secs(30);
    for (until, why) in [(in_seconds(5), Why::Cooldown), (in_seconds(5), Why::Backoff), (in_seconds(60), Why::NextCode)]
    {
        cell.publish(standing(State::Waiting { until, why }, 0));
        assert_eq!(cell.wait_until_idle(by).await.state, Some(State::Waiting { until, why }));
    }
    cell.publish(standing(State::Waiting { until: in_seconds(5), why: Why::NextCode }, 0));
    let waiting = Tasks::default().spawn({
        let cell = Arc::clone(&cell);
        async move { cell.wait_until_idle(by).await.word() }
    });
    for state in [State::Minting, State::Live] {
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "not waited for before {state:?}");
        cell.publish(standing(state, 0));
    }
    assert_eq!(waiting.await.unwrap(), "live");
}

/// Who waits is told as soon as nothing can come, and gets what comes; a state of
/// before the refusal counts for nothing.
#[tokio::test]
async fn waiting_ends_with_a_token_or_when_none_can_come() {
    let cell = Arc::new(TokenCell::default());
    let far = Instant::now() + Duration::from_secs(30);
    let lost = Trouble::new("token_dead", "it is dead", "make one");
    let person = State::NeedsPerson { trouble: Box::new(lost), consent: false };

    cell.publish(standing(person.clone(), 0));
    assert_eq!(cell.wait(0, far).await.unwrap_err().code, "token_dead");
    let waiting = Tasks::default().spawn({
        let cell = Arc::clone(&cell);
        async move { cell.wait(5, far).await.map(|token| token.secret().clone()).map_err(|none| none.code) }
    });
    cell.publish(standing(State::Minting, 5));
    let until = steady::now().checked_add(SignedDuration::from_secs(1)).unwrap();
    cell.publish(standing(State::Waiting { until, why: Why::Cooldown }, 5));
    cell.publish(standing(person, 5));
    assert_eq!(waiting.await.unwrap().unwrap_err(), "token_dead");

    // A check that is under way is waited for even by who could not wait as long as it may take.
    let soon = Instant::now() + Duration::from_secs(5);
    let until = steady::now().checked_add(CHECK_TIME).unwrap();
    cell.publish(standing(State::Waiting { until, why: Why::Check }, 5));
    let waiting = Tasks::default().spawn({
        let cell = Arc::clone(&cell);
        async move { cell.wait(5, soon).await.map(|token| token.generation()).map_err(|none| none.code) }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    cell.set(LiveToken::new("token-6".into(), Timestamp::MAX, "manual".into(), 6).unwrap());
    cell.publish(standing(State::Live, 5));
    assert_eq!(waiting.await.unwrap().unwrap(), 6);
    cell.revoke(6);

    let later = steady::now().checked_add(SignedDuration::from_secs(60)).unwrap();
    cell.publish(standing(State::Waiting { until: later, why: Why::Cooldown }, 5));
    let none = cell.wait(5, far).await.unwrap_err();
    assert!(none.retry_after.is_some_and(|wait| wait > Duration::from_secs(50)), "{none:?}");
}
