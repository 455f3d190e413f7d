//! A keeper against a broker that a test plays: what is written before what is sent,
//! and what reaches the order path.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use data_encoding::BASE64URL_NOPAD;
use futures_util::FutureExt;
use tokio::sync::Notify;

use super::*;
use crate::domain::secret::ExposeSecret;
use crate::domain::{Authority, Pair, Platform, SourceAddr, clocks};
use crate::egress::{Egress, Options};
use crate::legs::{LegSettings, Supervisor};
use crate::store::Change;
use crate::store::MasterKey;
use crate::store::records::{AccountRecord, CredentialsRecord, TokenRecord};
use crate::tokens::facts;
use crate::tokens::lifecycle::{NeverOpen, RetryAdvice, State, Why};

const CLIENT: &str = "1000000001";

/// What was asked, in short, and what the keeper's own record said at that moment.
#[derive(Clone, Debug, PartialEq, Eq)]
struct AskedRequest {
    what: &'static str,
    recorded: bool,
}

/// Answers in the order they were put in; without one it does not answer.
struct Played {
    store: Store,
    answers: Mutex<Vec<CallResult>>,
    asked: Mutex<Vec<AskedRequest>>,
    /// Is `/profile` answered like everything else?
    profile: AtomicBool,
    more: Arc<Notify>,
}

impl Played {
    fn push(&self, said: CallResult) {
        self.answers.lock().unwrap().push(said);
        self.more.notify_one();
    }

    fn asked(&self) -> Vec<&'static str> {
        self.asked.lock().unwrap().iter().map(|asked| asked.what).collect()
    }

    fn take(&self) -> Option<CallResult> {
        let mut answers = self.answers.lock().unwrap();
        (!answers.is_empty()).then(|| answers.remove(0))
    }
}

struct Handle(Arc<Played>);

impl TokenBroker for Handle {
    fn call(&self, _legs: Arc<Legs>, _client_id: ClientId, question: BrokerRequest) -> BoxFuture<'static, BrokerReply> {
        let what = match question {
            BrokerRequest::PinTotp { .. } => "login",
            BrokerRequest::Renew { .. } => "renew",
            BrokerRequest::ConsentLink { .. } => "link",
            BrokerRequest::ConsentToken { .. } => "consent",
            // Nobody says what time it is.
            BrokerRequest::Time => {
                return Box::pin(std::future::ready(BrokerReply {
                    skew: None,
                    said: CallResult::NotSent(String::new()),
                }));
            }
            BrokerRequest::Profile { .. } if self.0.profile.load(Ordering::Relaxed) => "profile",
            // Asked only when a test begins in the last seconds of a code, and then it is dead.
            BrokerRequest::Profile { .. } => {
                let said = CallResult::Checked(CheckOutcome::Dead, None);
                return Box::pin(std::future::ready(BrokerReply { skew: None, said }));
            }
        };
        let played = Arc::clone(&self.0);
        async move {
            let record = played.store.get::<LoginRecord>(&name()).unwrap();
            let recorded = record.is_some_and(|record| !record.0["unanswered"].is_null());
            played.asked.lock().unwrap().push(AskedRequest { what, recorded });
            loop {
                if let Some(said) = played.take() {
                    return BrokerReply { skew: None, said };
                }
                played.more.notified().await;
            }
        }
        .boxed()
    }

    fn calendar(&self) -> &dyn MarketCalendar {
        &NeverOpen
    }
}

fn name() -> AccountName {
    AccountName::parse("alpha").unwrap()
}

fn token(n: i64) -> Secret {
    made(n, Timestamp::now().as_second())
}

/// Not a fresh one, whose refusals prove little.
fn older(n: i64) -> Secret {
    made(n, Timestamp::now().as_second() - 3600)
}

fn made(n: i64, iat: i64) -> Secret {
    let claims = format!(
        r#"{{"exp":{},"iat":{iat},"tokenConsumerType":"APP","dhanClientId":"{CLIENT}","n":{n}}}"#,
        iat + 86_400
    );
    format!("eyJhbGciOiJIUzUxMiJ9.{}.c2lnbmF0dXJl", BASE64URL_NOPAD.encode(claims.as_bytes())).into()
}

struct Fixture {
    dir: tempfile::TempDir,
    store: Store,
    played: Arc<Played>,
    keepers: Arc<Keepers>,
    account: KeptAccount,
    cell: Arc<TokenCell>,
    legs: Arc<Legs>,
    tasks: Tasks,
}

impl Fixture {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = MasterKey::load_or_create(&dir.path().join("master.key")).unwrap();
        let store = Store::open(&dir.path().join("state"), key).unwrap();
        let second = Duration::from_secs(1);
        let options = Options {
            connect_timeout: second,
            read_timeout: second,
            freebind: false,
            http2: false,
            idle_timeout: second,
            idle_per_exit: 1,
            open_per_exit: 64,
            extra_roots: Vec::new(),
            resolve: std::collections::BTreeMap::new(),
            ipv4_hosts: std::collections::BTreeMap::new(),
            name_servers: Vec::new(),
            user_timeout: second,
        };
        let egress = Egress::new(options, Tasks::default()).unwrap();
        let own = SourceAddr::parse("::1").unwrap();
        let api = Authority::parse("api.dhan.co:443", None).unwrap();
        let settings = LegSettings { dwell: second, warm: 0, warm_always: false, api };
        let supervisor = Supervisor::new(settings, egress, Arc::default());
        let legs = Legs::new(&name(), &Pair { primary: own, secondary: own }, &supervisor);
        let record = AccountRecord {
            nickname: None,
            platform: Platform::Automatic,
            client_id: ClientId::parse(CLIENT).unwrap(),
            halted: None,
            pin: None,
            created_at: Timestamp::now(),
            repeats_by: crate::domain::RepeatsBy::AnyId,
            streams: crate::domain::StreamsMode::PassOn,
            changes: 0,
        };
        let credentials = CredentialsRecord {
            pin: Some("123456".to_owned().into()),
            totp_secret: Some("JBSWY3DPEHPK3PXP".to_owned().into()),
            api_key: Some("0a1b2c3d".to_owned().into()),
            api_secret: Some("secret".to_owned().into()),
            ..CredentialsRecord::default()
        };
        let account = KeptAccount { name: name(), client_id: record.client_id.clone(), created_at: record.created_at };
        store.commit(Change::new().put(&name(), &record).put(&name(), &credentials)).await.unwrap();
        let played = Arc::new(Played {
            store: store.clone(),
            answers: Mutex::default(),
            asked: Mutex::default(),
            profile: AtomicBool::default(),
            more: Arc::default(),
        });
        let tasks = Tasks::default();
        let keepers = Keepers::new(
            store.clone(),
            Arc::new(Handle(Arc::clone(&played))),
            1000,
            tasks.clone(),
            crate::telemetry::events::Events::default(),
        );
        Self { dir, store, played, keepers, account, cell: Arc::default(), legs, tasks }
    }

    fn means(&self) -> LoginMethods {
        LoginMethods { platform: Platform::Automatic, pin_totp: true, consent: true, pair: true }
    }

    fn keep(&self) -> Arc<Keeper> {
        self.keep_with(self.means())
    }

    fn keep_with(&self, means: LoginMethods) -> Arc<Keeper> {
        let setup = Setup { means, legs: Some(Arc::clone(&self.legs)), credentials: 0, tries: 0 };
        self.keepers.keep(self.account.clone(), Arc::clone(&self.cell), setup)
    }

    /// A token that a person gave, as the accounts' room stores it.
    async fn store_token(&self, text: &Secret, generation: u64) -> TokenRecord {
        let record = TokenRecord {
            access_token: text.clone(),
            expires_at: Timestamp::now().as_second() + 80_000,
            source: "manual".to_owned(),
            generation,
            stored_at: Timestamp::now(),
        };
        self.store.commit(Change::new().put(&name(), &record)).await.unwrap();
        let ends = Timestamp::from_second(record.expires_at).unwrap();
        self.cell.set(LiveToken::new(text.clone(), ends, "manual".into(), generation).unwrap());
        record
    }

    async fn until(&self, what: impl Fn(&crate::tokens::TokenStatus) -> bool) -> crate::tokens::TokenStatus {
        let mut looks = 0;
        loop {
            let standing = self.cell.standing();
            if what(&standing) {
                return standing;
            }
            looks += 1;
            assert!(looks < 3000, "still {standing:?}, asked {:?}", self.played.asked());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn in_a_minute() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// The whole way: nobody asks, and a token that is stored signs.
#[tokio::test]
async fn an_account_without_a_token_logs_in_and_what_it_spends_is_written_first() {
    let it = Fixture::new().await;
    let text = token(1);
    it.played.push(CallResult::Token(text.clone()));
    let _keeper = it.keep();
    let live = it.cell.wait(0, in_a_minute()).await.unwrap();
    assert_eq!(live.secret().expose_secret(), text.expose_secret());
    assert_eq!(*it.played.asked.lock().unwrap(), [AskedRequest { what: "login", recorded: true }]);
    let stored = it.store.get::<TokenRecord>(&name()).unwrap().unwrap();
    assert_eq!((stored.generation, stored.source.as_str()), (1, "pin_totp"));
    it.until(|standing| standing.state == Some(State::Live)).await;
    // And a keeper that starts again asks nothing.
    it.tasks.stop(Duration::from_secs(5)).await;
    let again = Tasks::default();
    let keepers = Keepers::new(
        it.store.clone(),
        Arc::new(Handle(Arc::clone(&it.played))),
        1000,
        again,
        crate::telemetry::events::Events::default(),
    );
    let cell = Arc::<TokenCell>::default();
    cell.set(LiveToken::new(text, live.expires_at(), "pin_totp".into(), 1).unwrap());
    let setup = Setup { means: it.means(), legs: Some(Arc::clone(&it.legs)), credentials: 0, tries: 0 };
    let keeper = keepers.keep(it.account.clone(), Arc::clone(&cell), setup);
    keeper.given(facts(&stored)).await;
    assert_eq!(cell.standing().word(), "live");
    assert_eq!(it.played.asked(), ["login"]);
}

/// Two hundred requests see the token refused: one login, and all go on with its token.
#[tokio::test]
async fn two_hundred_refusals_make_one_login() {
    let it = Arc::new(Fixture::new().await);
    it.store_token(&older(1), 1).await;
    let keeper = it.keep();
    it.until(|standing| standing.state == Some(State::Live)).await;
    let waiting: Vec<_> = (0..200)
        .map(|_| {
            let (keeper, cell) = (Arc::clone(&keeper), Arc::clone(&it.cell));
            it.tasks.spawn(async move {
                keeper.refused(1, By::Write);
                cell.wait(1, in_a_minute()).await.map(|token| token.generation())
            })
        })
        .collect();
    it.until(|_| !it.played.asked().is_empty()).await;
    assert!(it.cell.live().is_err(), "a refused token signs nothing while the next is got");
    it.played.push(CallResult::Token(token(2)));
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap(), Ok(2));
    }
    assert_eq!(it.played.asked(), ["login"]);
}

/// Reads that a data back end refused wait for `/profile`'s word; the token signs all the while,
/// and of two hundred refusals one question comes.
#[tokio::test]
async fn refused_reads_ask_once_and_the_token_signs_on() {
    let it = Arc::new(Fixture::new().await);
    it.played.profile.store(true, Ordering::Relaxed);
    it.store_token(&older(1), 1).await;
    let keeper = it.keep_with(LoginMethods { pin_totp: false, ..it.means() });
    it.until(|standing| standing.state == Some(State::Live)).await;
    let refused = || {
        let (keeper, cell) = (Arc::clone(&keeper), Arc::clone(&it.cell));
        it.tasks.spawn(async move {
            keeper.refused(1, By::Read);
            cell.wait(1, in_a_minute()).await.map(|token| token.generation())
        })
    };
    let waiting: Vec<_> = (0..200).map(|_| refused()).collect();
    it.until(|_| it.played.asked() == ["profile"]).await;
    assert_eq!(it.cell.live().unwrap().generation(), 1, "orders go on");
    it.played.push(CallResult::Checked(CheckOutcome::Lives, None));
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap(), Ok(1));
    }
    // The next one is not asked about: it was just found alive. Nor does it wait.
    assert_eq!(refused().await.unwrap(), Ok(1));
    assert_eq!(it.played.asked(), ["profile"]);
    // An order's word stops it, and what takes risk away has it as the last resort.
    keeper.refused(1, By::Write);
    assert!(it.cell.live().is_err());
    assert_eq!(it.cell.last_resort().unwrap().generation(), 1);
}

/// A login that fails is told to whoever waits, with the reason, and at once.
#[tokio::test]
async fn who_waits_is_told_why_no_token_comes() {
    let it = Fixture::new().await;
    it.store_token(&older(1), 1).await;
    let keeper = it.keep();
    keeper.refused(1, By::Write);
    it.until(|_| it.played.asked() == ["login"]).await;
    it.played.push(CallResult::Refused(Box::new(Refusal {
        verdict: RetryAdvice::AskPerson,
        login_refusal: true,
        trouble: Trouble::new("pin_wrong", "the PIN is wrong", "correct it"),
    })));
    let none = it.cell.wait(1, in_a_minute()).await.unwrap_err();
    assert_eq!(none.code, "pin_wrong", "{none:?}");
    assert_eq!(it.cell.standing().word(), "needs_person");
}

/// A token given by hand while a login is under way: whichever is stored last signs.
#[tokio::test]
async fn a_token_given_during_a_login_is_followed_by_the_login_s() {
    let it = Fixture::new().await;
    let keeper = it.keep();
    it.until(|_| it.played.asked() == ["login"]).await;
    let given = token(1);
    let record = it.store_token(&given, 1).await;
    keeper.given(facts(&record)).await;
    assert_eq!(it.cell.live().unwrap().generation(), 1);
    let minted = token(2);
    it.played.push(CallResult::Token(minted.clone()));
    it.until(|standing| standing.signing == Some(2)).await;
    let stored = it.store.get::<TokenRecord>(&name()).unwrap().unwrap();
    assert_eq!(stored.access_token.expose_secret(), minted.expose_secret());
}

/// The account was deleted, or made anew: what a late login brings is nobody's.
#[tokio::test]
async fn a_keeper_writes_nothing_into_an_account_that_is_not_its_own() {
    let it = Fixture::new().await;
    let _keeper = it.keep();
    it.until(|_| it.played.asked() == ["login"]).await;
    let mut other = it.store.get::<AccountRecord>(&name()).unwrap().unwrap();
    other.client_id = ClientId::parse("1000000002").unwrap();
    it.store.commit(Change::new().put(&name(), &other).delete::<LoginRecord>(&name())).await.unwrap();
    it.played.push(CallResult::Token(token(1)));
    it.until(|standing| standing.trouble.is_some()).await;
    assert!(it.store.get::<TokenRecord>(&name()).unwrap().is_none());
    assert!(it.store.get::<LoginRecord>(&name()).unwrap().is_none());
    assert!(it.cell.last().is_none());
}

/// A stop waits for a login that was sent: its token killed the one before.
#[tokio::test]
async fn a_stop_waits_for_the_answer_of_a_login() {
    let it = Fixture::new().await;
    let _keeper = it.keep();
    it.until(|_| it.played.asked() == ["login"]).await;
    let (stopped, ()) = tokio::join!(it.tasks.stop(Duration::from_secs(30)), async {
        it.played.push(CallResult::Token(token(1)));
    });
    assert_eq!(stopped, crate::domain::tasks::Stopped::Clean);
    assert!(it.store.get::<TokenRecord>(&name()).unwrap().is_some());
}

/// After a start every account waits for a check of its token; a stop does not go through all of them.
#[tokio::test]
async fn a_stop_does_not_wait_for_checks_that_have_not_begun() {
    let it = Fixture::new().await;
    it.store_token(&older(1), 1).await;
    let _room = it.keepers.checks.acquire_many(CHECKS as u32).await.unwrap();
    let keeper = it.keep_with(LoginMethods { pin_totp: false, ..it.means() });
    keeper.refused(1, By::Write);
    let checking = |state: &State| matches!(state, State::Waiting { why: Why::Check, .. });
    it.until(|standing| standing.state.as_ref().is_some_and(checking)).await;
    assert_eq!(it.tasks.stop(Duration::from_secs(30)).await, crate::domain::tasks::Stopped::Clean);
}

/// A link is for the person who asked; what comes back is taken once.
#[tokio::test]
async fn a_person_logs_in_by_a_link() {
    let it = Fixture::new().await;
    let keeper = it.keep_with(LoginMethods { pin_totp: false, ..it.means() });
    assert!(!keeper.returned("nobody-asked".to_owned().into()).await);
    it.played.push(CallResult::Link("https://auth.dhan.co/login".to_owned()));
    let link = keeper.consent().await.unwrap();
    assert_eq!((link.url.as_str(), link.left), ("https://auth.dhan.co/login", 24));
    it.played.push(CallResult::Token(token(1)));
    assert!(keeper.returned("token-id".to_owned().into()).await);
    it.until(|standing| standing.signing == Some(1)).await;
    assert_eq!(it.played.asked(), ["link", "consent"]);
    assert!(!keeper.returned("token-id".to_owned().into()).await);
    drop(it.dir);
}

/// Two people ask at the same moment: the second is told that one is under way, and the
/// first gets the link that counts among the day's 25.
#[tokio::test]
async fn a_second_who_asks_for_a_link_does_not_take_it_from_the_first() {
    let it = Fixture::new().await;
    let keeper = it.keep_with(LoginMethods { pin_totp: false, ..it.means() });
    let first = it.tasks.spawn({
        let keeper = Arc::clone(&keeper);
        async move { keeper.consent().await }
    });
    it.until(|_| it.played.asked() == ["link"]).await;
    let second = keeper.consent().await.unwrap_err();
    assert_eq!(second.code, "login_under_way", "{second:?}");
    it.played.push(CallResult::Link("https://auth.dhan.co/login".to_owned()));
    let link = first.await.unwrap().unwrap();
    assert_eq!((link.url.as_str(), link.left), ("https://auth.dhan.co/login", 24));
    assert_eq!(it.played.asked(), ["link"]);
}

/// So many a second, whoever asks.
#[tokio::test]
async fn turns_come_one_after_the_other() {
    let turns = LoginRateLimiter::new(50);
    let began = std::time::Instant::now();
    futures_util::future::join_all((0..6).map(|_| turns.take())).await;
    assert!(began.elapsed() >= Duration::from_millis(100));
}

/// There is a keeper for each of ten thousand accounts, and nearly all of them wait. What one
/// does now and then must not be room that all of them hold; it was 4 KB each, and then 2.4.
#[tokio::test]
async fn a_keeper_that_waits_holds_little() {
    let it = Fixture::new().await;
    let keeper = it.keep();
    let run = driver::run(Arc::clone(&it.keepers), receiver::Receiver(keeper), Box::default());
    assert!(size_of_val(&run) < 1500, "{} bytes", size_of_val(&run));
}

/// One who waits for a person has planned nothing, and a token that was told as ended by a wrong clock may live.
#[tokio::test]
async fn a_clock_that_is_corrected_wakes_who_has_nothing_to_wait_for() {
    let it = Fixture::new().await;
    let due = |epoch, parted| timer::due(&it.keepers, None, epoch, parted).now_or_never();
    let (before, parted) = (steady::epoch(), clocks::parted());
    assert_eq!(due(before, parted), None);
    assert_eq!(due(before, parted + 1), Some(timer::WakeCause::ClocksParted));
    let planned = timer::due(&it.keepers, None, before, parted);
    tokio::pin!(planned);
    assert_eq!(planned.as_mut().now_or_never(), None);
    assert!(steady::measured(jiff::SignedDuration::from_hours(24)).is_some());
    // At once, and not when it would have looked at the clock again.
    assert_eq!(planned.await, timer::WakeCause::Moment { turn: false });
    assert_eq!(
        (due(before, parted), due(steady::epoch(), parted)),
        (Some(timer::WakeCause::Moment { turn: false }), None)
    );
}
