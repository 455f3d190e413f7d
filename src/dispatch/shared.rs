//! Questions that several searches of one customer want answered at the same moment: put once, heard by all.
//!
//! When a line dies under many orders each of them is looked for, mostly in the same list, and the broker takes twenty
//! questions a second of a customer. Put by each they would wait for one another until nobody has time left.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::domain::{Authority, ClientId, SourceAddr};

/// Status and body; `None` when no answer came.
pub(super) type BrokerAnswer = Option<(u16, Bytes)>;

/// What is asked for whom, and by which line.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct QuestionKey {
    pub customer: ClientId,
    pub source: SourceAddr,
    pub to: Authority,
    pub path: String,
}

/// Those that somebody wants answered.
#[derive(Debug, Default)]
pub(super) struct Questions(Mutex<Wanted>);

#[derive(Debug, Default)]
struct Wanted {
    questions: HashMap<QuestionKey, Weak<SharedQuestion>>,
    /// At so many those that nobody wants any more are let go.
    prune_at: usize,
}

/// The fewest that are worth going through.
const PRUNED: usize = 64;

impl Questions {
    /// The question, to be put by one of those who hold it.
    pub(super) fn wanted(&self, key: QuestionKey) -> Arc<SharedQuestion> {
        let mut wanted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = wanted.questions.get(&key).and_then(Weak::upgrade) {
            return shared;
        }
        if wanted.questions.len() >= wanted.prune_at {
            wanted.questions.retain(|_, shared| shared.strong_count() > 0);
            wanted.prune_at = (wanted.questions.len() * 2).max(PRUNED);
        }
        let shared = Arc::new(SharedQuestion::default());
        wanted.questions.insert(key, Arc::downgrade(&shared));
        shared
    }
}

/// One question.
#[derive(Debug, Default)]
pub(super) struct SharedQuestion {
    state: Mutex<QuestionState>,
    answered: Notify,
}

#[derive(Debug, Default)]
struct QuestionState {
    under_way: bool,
    /// How often it was put, and an end came of it.
    ended: u64,
    /// When it was put last, and what was answered.
    last: Option<(Instant, BrokerAnswer)>,
}

impl SharedQuestion {
    /// Does more than one search want it?
    pub(super) fn is_wanted_by_several(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 1
    }

    /// The answer to the question as it was put at `since` or later, by somebody else or here by `question`. That it was put
    /// in vain while this waited holds for this one too, and somebody else's is waited for no longer than `patience`: it
    /// may have another line to ask by. Cancel-safe.
    pub(super) async fn put(
        &self,
        since: Instant,
        patience: Duration,
        question: impl Future<Output = BrokerAnswer>,
    ) -> BrokerAnswer {
        let until = Instant::now() + patience;
        let before = self.lock().ended;
        loop {
            let mut answered = pin!(self.answered.notified());
            answered.as_mut().enable();
            {
                let mut state = self.lock();
                match &state.last {
                    Some((put, answer)) if *put >= since => return answer.clone(),
                    Some((_, None)) if state.ended > before => return None,
                    Some(_) | None => {}
                }
                if !state.under_way {
                    state.under_way = true;
                    break;
                }
            }
            timeout_at(until, answered).await.ok()?;
        }
        let turn = Turn { shared: self, put: Instant::now() };
        let answer = question.await;
        turn.end(&answer);
        answer
    }

    fn lock(&self) -> MutexGuard<'_, QuestionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever puts it. Dropped, because its search is over, it is somebody else's turn.
struct Turn<'a> {
    shared: &'a SharedQuestion,
    put: Instant,
}

impl Turn<'_> {
    fn end(self, answer: &BrokerAnswer) {
        let mut state = self.shared.lock();
        state.ended += 1;
        state.last = Some((self.put, answer.clone()));
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.shared.lock().under_way = false;
        self.shared.answered.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU16, Ordering};

    use futures_util::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// A broker that answers when it is let to, with how often it was asked.
    struct Broker {
        asked: AtomicU16,
        may_answer: Semaphore,
    }

    impl Broker {
        const fn new() -> Self {
            Self { asked: AtomicU16::new(0), may_answer: Semaphore::const_new(0) }
        }

        async fn ask(&self) -> BrokerAnswer {
            let number = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
            self.may_answer.acquire().await.unwrap().forget();
            answer(number)
        }

        async fn ask_in_vain(&self) -> BrokerAnswer {
            self.ask().await;
            None
        }

        async fn answers(&self, times: usize) {
            self.may_answer.add_permits(times);
        }
    }

    fn answer(number: u16) -> BrokerAnswer {
        Some((number, Bytes::new()))
    }

    #[tokio::test]
    async fn many_that_want_it_at_once_put_it_once_and_who_comes_later_puts_it_anew() {
        let (shared, broker) = (SharedQuestion::default(), Broker::new());
        let first = join_all((0..50).map(|_| shared.put(Instant::now(), LONG, broker.ask())));
        let later = async { join_all((0..50).map(|_| shared.put(Instant::now(), LONG, broker.ask()))).await };
        let (first, later, ()) = tokio::join!(first, later, broker.answers(100));
        assert!(first.iter().all(|told| *told == answer(1)), "{first:?}");
        assert!(later.iter().all(|told| *told == answer(2)), "an answer to an older question: {later:?}");
    }

    #[tokio::test]
    async fn when_the_one_who_asks_goes_away_another_asks() {
        let (shared, broker) = (SharedQuestion::default(), Broker::new());
        let mut goes = Box::pin(shared.put(Instant::now(), LONG, std::future::pending()));
        assert!(futures_util::poll!(goes.as_mut()).is_pending());
        let mut stays = Box::pin(shared.put(Instant::now(), LONG, broker.ask()));
        assert!(futures_util::poll!(stays.as_mut()).is_pending());
        assert_eq!(broker.asked.load(Ordering::Relaxed), 0);
        drop(goes);
        broker.answers(1).await;
        assert_eq!(stays.await, answer(1));
    }

    /// A silent line would be asked by one after the other, and none would have time for the other line.
    #[tokio::test]
    async fn what_was_asked_in_vain_is_told_to_all_who_waited() {
        let (shared, broker) = (SharedQuestion::default(), Broker::new());
        let some = join_all((0..20).map(|_| shared.put(Instant::now(), LONG, broker.ask_in_vain())));
        let late = async { shared.put(Instant::now(), LONG, broker.ask_in_vain()).await };
        let (some, late, ()) = tokio::join!(some, late, broker.answers(100));
        assert!(some.iter().chain([&late]).all(Option::is_none), "{some:?} {late:?}");
        assert_eq!(broker.asked.load(Ordering::Relaxed), 1);
        // That one says nothing of the next.
        assert_eq!(shared.put(Instant::now(), LONG, broker.ask()).await, answer(2));
    }

    /// A question of a longer patience is under way by a line that is silent, and there is another line.
    #[tokio::test]
    async fn another_s_question_is_not_waited_for_for_ever() {
        let shared = SharedQuestion::default();
        let mut silent = Box::pin(shared.put(Instant::now(), LONG, std::future::pending()));
        assert!(futures_util::poll!(silent.as_mut()).is_pending());
        assert_eq!(shared.put(Instant::now(), Duration::from_millis(5), async { answer(1) }).await, None);
    }

    #[test]
    fn customers_and_lines_share_nothing_and_what_nobody_wants_is_let_go() {
        let key = |customer: &str, last: u16, path: &str| QuestionKey {
            customer: ClientId::parse(customer).unwrap(),
            source: SourceAddr::new(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last)).unwrap(),
            to: Authority::parse("api.dhan.co:443", None).unwrap(),
            path: path.to_owned(),
        };
        let questions = Questions::default();
        let one = questions.wanted(key("1000000001", 1, "/v2/orders"));
        assert!(!one.is_wanted_by_several());
        for other in [
            key("1000000002", 1, "/v2/orders"),
            key("1000000001", 2, "/v2/orders"),
            key("1000000001", 1, "/v2/super/orders"),
        ] {
            assert!(!Arc::ptr_eq(&one, &questions.wanted(other)));
        }
        let same = questions.wanted(key("1000000001", 1, "/v2/orders"));
        assert!(Arc::ptr_eq(&one, &same) && one.is_wanted_by_several());
        for n in 0..1000 {
            drop(questions.wanted(key("1000000001", n, "/v2/other")));
        }
        assert!(questions.0.lock().unwrap().questions.len() <= PRUNED);
    }
}
