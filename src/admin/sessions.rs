//! Who is signed in to the console, and the one-time codes of links that sign people in.
//!
//! All of it is in memory: a restart signs everybody out. A session's id is 256 random bits in a cookie, and only its
//! digest is kept, so that what reads this memory cannot use it. A session can do what the token can that it was opened
//! with, at each moment: when the token's file is taken out of the configuration the session ends with it.
//!
//! Times are passed in. A session ends [`IDLE`] after a person's last request and [`LIFE`] after its beginning; what a
//! page does by itself, as to stay up to date, does not count as a person's.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::operators::TokenDigest;
use crate::domain::{Secret, lock};

/// A session nobody uses ends after this.
pub(super) const IDLE: Duration = Duration::from_mins(30);
/// A session ends after this, however much it is used.
pub(super) const LIFE: Duration = Duration::from_hours(12);
/// How long a one-time code can be used.
pub(super) const CODE_LIFE: Duration = Duration::from_mins(5);
/// Sessions at once; the one that was idle longest makes room.
const SESSIONS: usize = 256;
/// Codes that wait to be used; the oldest makes room.
const CODES: usize = 64;
/// Wrong tokens or codes of one source that are answered at once, in [`GUESS_WINDOW`].
const GUESSES: u32 = 5;
const GUESS_WINDOW: Duration = Duration::from_secs(60);
/// The longest wait between two tries of one source.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Tries of all sources in a second.
const TRIES_A_SECOND: u32 = 20;
/// Sources that are remembered.
const SOURCES: usize = 1024;

/// The digest of a session's id or of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct SecretDigest([u8; 32]);

impl SecretDigest {
    fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// A session's name in lists and forms, which opens nothing.
    fn public(self) -> String {
        HEXLOWER.encode(self.0.get(..8).unwrap_or_default())
    }
}

/// What is shown once on the next page: what a form came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flash {
    /// Did it work?
    pub good: bool,
    /// What happened, in a sentence.
    pub text: String,
}

/// How to take back what was just done: a form of the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Undo {
    /// Where it is sent.
    pub path: String,
    /// What is in it. No secret.
    pub fields: Vec<(&'static str, String)>,
}

#[derive(Debug)]
struct Session {
    token: TokenDigest,
    /// In every form, so that no other page can send one.
    csrf: Secret,
    began: Instant,
    active: Instant,
    since: jiff::Timestamp,
    /// The browser, as it calls itself.
    browser: String,
    flash: Option<Flash>,
    undo: Option<Undo>,
}

impl Session {
    fn ends(&self) -> Instant {
        (self.active + IDLE).min(self.began + LIFE)
    }
}

/// A session that was found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Which session it is.
    pub session: SecretDigest,
    /// The token that it was opened with.
    pub token: TokenDigest,
    /// What each of its forms has to bring.
    pub csrf: Secret,
    /// When it ends if nobody does anything.
    pub ends: Instant,
}

/// A session in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// Its name, which opens nothing.
    pub id: String,
    /// When somebody signed in.
    pub since: jiff::Timestamp,
    /// The browser, as it calls itself.
    pub browser: String,
    /// Is it the one that asks?
    pub this: bool,
}

/// Why nobody was signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// It is nobody's token, and no code that waits.
    Unknown,
    /// The code was used already, or is too old.
    CodeGone,
    /// Too many were wrong: nothing is looked at for so long.
    Wait(Duration),
}

#[derive(Debug, Default)]
struct State {
    sessions: HashMap<SecretDigest, Session>,
    /// Codes that wait, and those that were used or ran out, so that their second use can be told from a guess.
    codes: Vec<Code>,
    sources: HashMap<Option<IpAddr>, Source>,
    second: Option<(Instant, u32)>,
}

#[derive(Debug)]
struct Code {
    digest: SecretDigest,
    token: TokenDigest,
    until: Instant,
    used: bool,
}

#[derive(Clone, Copy, Debug)]
struct Source {
    wrong: u32,
    last: Instant,
}

/// Everybody who is signed in.
#[derive(Debug)]
pub(super) struct Sessions {
    state: Mutex<State>,
    /// Eight hexadecimal digits that other gateways behind other tunnels do not have.
    instance: String,
}

impl Sessions {
    /// Of the gateway whose certificate authority is this.
    pub(super) fn new(ca_pem: &str) -> Self {
        let instance = HEXLOWER.encode(Sha256::digest(ca_pem.as_bytes()).get(..4).unwrap_or_default());
        Self { state: Mutex::default(), instance }
    }

    /// The cookie's name. With `https` a browser takes it from this host alone (`__Host-`, RFC 6265bis section 4.1.3).
    pub(super) fn cookie_name(&self, https: bool) -> String {
        format!("{}sixgate-{}", if https { "__Host-" } else { "" }, self.instance)
    }

    /// Begin a session; the text is for its cookie and nowhere else.
    ///
    /// # Errors
    /// When the kernel has no random bytes.
    pub(super) fn open(&self, token: TokenDigest, browser: &str, now: Instant) -> Result<Secret, getrandom::Error> {
        let (id, csrf) = (random()?, random()?);
        let browser = browser.chars().filter(|c| !c.is_control()).take(120).collect();
        let since = jiff::Timestamp::now();
        let session = Session {
            token,
            csrf: Secret::from(csrf.as_str()),
            began: now,
            active: now,
            since,
            browser,
            flash: None,
            undo: None,
        };
        let mut state = lock(&self.state);
        state.sessions.retain(|_, session| session.ends() > now);
        if state.sessions.len() >= SESSIONS {
            let idlest = state.sessions.iter().min_by_key(|(_, session)| session.active).map(|(id, _)| *id);
            idlest.map(|id| state.sessions.remove(&id));
        }
        state.sessions.insert(SecretDigest::of(&id), session);
        Ok(Secret::from(id.as_str()))
    }

    /// The session whose cookie this is. A request that a `person` made keeps it from ending for [`IDLE`] more.
    pub(super) fn find(&self, cookie: &str, person: bool, now: Instant) -> Option<Found> {
        let id = SecretDigest::of(cookie);
        let mut state = lock(&self.state);
        let session = state.sessions.get_mut(&id)?;
        if session.ends() <= now {
            state.sessions.remove(&id);
            return None;
        }
        if person {
            session.active = now;
        }
        Some(Found { session: id, token: session.token, csrf: session.csrf.clone(), ends: session.ends() })
    }

    /// Is it open still? What a stream asks now and then.
    pub(super) fn is_open(&self, session: SecretDigest, now: Instant) -> bool {
        lock(&self.state).sessions.get(&session).is_some_and(|session| session.ends() > now)
    }

    /// End a session.
    pub(super) fn close(&self, session: SecretDigest) {
        lock(&self.state).sessions.remove(&session);
    }

    /// End every session that was opened with a token.
    pub(super) fn close_all_of(&self, token: TokenDigest) {
        lock(&self.state).sessions.retain(|_, session| session.token != token);
    }

    /// The sessions that were opened with a token, the newest first.
    pub(super) fn list(&self, token: TokenDigest, this: SecretDigest, now: Instant) -> Vec<Listed> {
        let state = lock(&self.state);
        let own = state.sessions.iter().filter(|(_, session)| session.token == token && session.ends() > now);
        let mut listed: Vec<Listed> = own
            .map(|(id, session)| Listed {
                id: id.public(),
                since: session.since,
                browser: session.browser.clone(),
                this: *id == this,
            })
            .collect();
        listed.sort_by_key(|listed| std::cmp::Reverse(listed.since));
        listed
    }

    /// Keep a sentence for the next page.
    pub(super) fn set_flash(&self, session: SecretDigest, flash: Flash) {
        if let Some(session) = lock(&self.state).sessions.get_mut(&session) {
            session.flash = Some(flash);
        }
    }

    /// Keep a way back for the next page, beside its sentence.
    pub(super) fn set_undo(&self, session: SecretDigest, undo: Undo) {
        if let Some(session) = lock(&self.state).sessions.get_mut(&session) {
            session.undo = Some(undo);
        }
    }

    /// The way back that was kept, once.
    pub(super) fn take_undo(&self, session: SecretDigest) -> Option<Undo> {
        lock(&self.state).sessions.get_mut(&session)?.undo.take()
    }

    /// The sentence that was kept, once.
    pub(super) fn take_flash(&self, session: SecretDigest) -> Option<Flash> {
        lock(&self.state).sessions.get_mut(&session)?.flash.take()
    }

    /// A code that signs somebody in once, with what `token` may do.
    ///
    /// # Errors
    /// When the kernel has no random bytes.
    pub(super) fn make_code(&self, token: TokenDigest, now: Instant) -> Result<Secret, getrandom::Error> {
        let code = random()?;
        let mut state = lock(&self.state);
        if state.codes.len() >= CODES {
            state.codes.remove(0);
        }
        state.codes.push(Code { digest: SecretDigest::of(&code), token, until: now + CODE_LIFE, used: false });
        Ok(Secret::from(code.as_str()))
    }

    /// The token that a code was made with. The code is used up by it.
    ///
    /// # Errors
    /// [`Denied::Unknown`] if it was never one, [`Denied::CodeGone`] if it was.
    pub(super) fn take_code(&self, code: &str, now: Instant) -> Result<TokenDigest, Denied> {
        let digest = SecretDigest::of(code);
        let mut state = lock(&self.state);
        let found = state.codes.iter_mut().find(|known| known.digest.0.ct_eq(&digest.0).into());
        let found = found.ok_or(Denied::Unknown)?;
        if found.used || found.until <= now {
            return Err(Denied::CodeGone);
        }
        found.used = true;
        Ok(found.token)
    }

    /// May somebody at `source` try now? Counts the try among all sources'.
    ///
    /// # Errors
    /// [`Denied::Wait`].
    pub(super) fn may_try(&self, source: Option<IpAddr>, now: Instant) -> Result<(), Denied> {
        let mut state = lock(&self.state);
        let (begun, tries) = match state.second {
            Some((begun, tries)) if now < begun + Duration::from_secs(1) => (begun, tries + 1),
            _ => (now, 1),
        };
        state.second = Some((begun, tries));
        if tries > TRIES_A_SECOND {
            return Err(Denied::Wait(Duration::from_secs(1)));
        }
        let Some(found) = state.sources.get(&source) else { return Ok(()) };
        let over = found.wrong.saturating_sub(GUESSES);
        if found.wrong < GUESSES || now >= found.last + GUESS_WINDOW {
            return Ok(());
        }
        let wait = Duration::from_secs(1 << over.min(5)).min(LONGEST_WAIT);
        let left = (found.last + wait).saturating_duration_since(now);
        if left.is_zero() { Ok(()) } else { Err(Denied::Wait(left)) }
    }

    /// A try of `source` was wrong, or right.
    pub(super) fn tried(&self, source: Option<IpAddr>, good: bool, now: Instant) {
        let mut state = lock(&self.state);
        if good {
            state.sources.remove(&source);
            return;
        }
        state.sources.retain(|_, source| now < source.last + GUESS_WINDOW);
        if state.sources.len() >= SOURCES {
            return;
        }
        let found = state.sources.entry(source).or_insert(Source { wrong: 0, last: now });
        (found.wrong, found.last) = (found.wrong.saturating_add(1), now);
    }
}

/// 256 random bits as text that a person can copy.
fn random() -> Result<Zeroizing<String>, getrandom::Error> {
    let mut bytes = Zeroizing::new([0u8; 32]);
    getrandom::fill(&mut *bytes)?;
    Ok(Zeroizing::new(BASE32_NOPAD.encode(&*bytes).to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::secret::ExposeSecret;

    fn sessions() -> Sessions {
        Sessions::new("a certificate")
    }

    fn after(begun: Instant, minutes: u64) -> Instant {
        begun + Duration::from_mins(minutes)
    }

    #[test]
    fn a_session_ends_when_nobody_uses_it_and_after_twelve_hours_in_any_case() {
        let (sessions, begun) = (sessions(), Instant::now());
        let token = TokenDigest::of("one");
        let idle = sessions.open(token, "", begun).unwrap();
        assert!(sessions.find(idle.expose_secret(), false, after(begun, 29)).is_some());
        assert!(sessions.find(idle.expose_secret(), true, after(begun, 31)).is_none(), "a page's own requests kept it");
        let used = sessions.open(token, "", begun).unwrap();
        for minute in (0..720).step_by(20) {
            assert!(sessions.find(used.expose_secret(), true, after(begun, minute)).is_some(), "minute {minute}");
        }
        assert!(sessions.find(used.expose_secret(), true, after(begun, 720)).is_none());
        assert!(sessions.find("guess", true, begun).is_none());
    }

    #[test]
    fn everybody_s_sessions_of_a_token_end_at_once_and_no_others() {
        let (sessions, now) = (sessions(), Instant::now());
        let (one, two) = (TokenDigest::of("one"), TokenDigest::of("two"));
        let first = sessions.open(one, "Firefox", now).unwrap();
        let _second = sessions.open(one, "Chrome", now).unwrap();
        let other = sessions.open(two, "", now).unwrap();
        let found = sessions.find(first.expose_secret(), true, now).unwrap();
        assert_eq!(sessions.list(one, found.session, now).len(), 2);
        sessions.close_all_of(one);
        assert!(sessions.find(first.expose_secret(), true, now).is_none());
        assert!(!sessions.is_open(found.session, now));
        assert!(sessions.find(other.expose_secret(), true, now).is_some());
    }

    #[test]
    fn a_code_signs_in_once_and_for_five_minutes() {
        let (sessions, now) = (sessions(), Instant::now());
        let token = TokenDigest::of("one");
        let code = sessions.make_code(token, now).unwrap();
        assert_eq!(sessions.take_code("other", now), Err(Denied::Unknown));
        assert_eq!(sessions.take_code(code.expose_secret(), now), Ok(token));
        assert_eq!(sessions.take_code(code.expose_secret(), now), Err(Denied::CodeGone));
        let old = sessions.make_code(token, now).unwrap();
        assert_eq!(sessions.take_code(old.expose_secret(), after(now, 5)), Err(Denied::CodeGone));
    }

    #[test]
    fn who_guesses_waits_longer_each_time_and_nobody_else_does() {
        let (sessions, now) = (sessions(), Instant::now());
        let (guesser, other) = (Some([192, 0, 2, 1].into()), Some([192, 0, 2, 2].into()));
        for _ in 0..5 {
            sessions.may_try(guesser, now).unwrap();
            sessions.tried(guesser, false, now);
        }
        assert_eq!(sessions.may_try(guesser, now), Err(Denied::Wait(Duration::from_secs(1))));
        assert_eq!(sessions.may_try(other, now), Ok(()));
        let mut at = now;
        for wait in [1, 2, 4, 8, 16, 30, 30] {
            let just_before = at + Duration::from_secs(wait) - Duration::from_millis(1);
            assert!(sessions.may_try(guesser, just_before).is_err(), "{wait}");
            at += Duration::from_secs(wait);
            assert_eq!(sessions.may_try(guesser, at), Ok(()), "{wait}");
            sessions.tried(guesser, false, at);
        }
        sessions.tried(guesser, true, at);
        assert_eq!(sessions.may_try(guesser, at), Ok(()), "who was right is no guesser");
    }

    #[test]
    fn all_sources_together_have_twenty_tries_a_second() {
        let (sessions, now) = (sessions(), Instant::now());
        for n in 0..20u8 {
            assert_eq!(sessions.may_try(Some([192, 0, 2, n].into()), now), Ok(()));
        }
        assert!(sessions.may_try(Some([192, 0, 2, 99].into()), now).is_err());
        assert_eq!(sessions.may_try(Some([192, 0, 2, 99].into()), now + Duration::from_secs(1)), Ok(()));
    }

    #[test]
    fn two_gateways_on_one_host_have_cookies_of_their_own() {
        assert_ne!(Sessions::new("a").cookie_name(false), Sessions::new("b").cookie_name(false));
        assert!(Sessions::new("a").cookie_name(true).starts_with("__Host-sixgate-"));
    }
}
