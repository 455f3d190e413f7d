//! What goes into the machine and what comes out: events, actions, states.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::budget::Budget;
use super::facts::{LoginMethods, TokenFacts, Trouble};

/// An event, told to the machine.
#[derive(Clone, Debug)]
pub enum Event {
    /// The first event, from what the store holds. Everything else before it is
    /// only noted (means, clock skew) or ignored.
    Started {
        /// The last token stored, live or not.
        stored: Option<TokenFacts>,
        /// The last [`Action::Record`] that was written; the default for a new account.
        budget: Box<Budget>,
    },
    /// The account was changed.
    MeansChanged {
        /// What it has now.
        means: LoginMethods,
        /// PIN, TOTP secret, API key or API secret were given anew. Opens the lock-out guard.
        credentials_changed: bool,
    },
    /// The time of the last [`Action::Wake`] has come. Extra ones do no harm.
    Woken {
        /// The keeper grants a login now: its cap on logins per second has room.
        /// False when the wake did not ask for one.
        turn: bool,
    },
    /// What stood in the way of a login that could not be sent may be gone.
    LineMayWork,
    /// A person gave a token, which the keeper has checked and stored.
    GivenByHand(TokenFacts),
    /// How the attempt ended that was asked for under this id. Every attempt has
    /// exactly one, at the latest by the keeper's own timeout ([`AttemptOutcome::Unknown`]).
    Attempt {
        /// From the action.
        id: u64,
        /// What came of it.
        outcome: AttemptOutcome,
    },
    /// What came of [`Action::CheckStored`].
    Checked {
        /// From the action.
        id: u64,
        /// What the broker said.
        outcome: CheckOutcome,
        /// Why it refuses the token, where it does.
        why: Option<Box<Trouble>>,
    },
    /// The broker refused this token to a caller. Send it for each refusal; those of
    /// older tokens change nothing, and those of this one share what the first began.
    Refused {
        /// The token that signed the refused request.
        generation: u64,
        /// What was refused.
        by: By,
    },
    /// An operator wants a new token now.
    RefreshWanted {
        /// The person says that the cause of refused logins is mended outside (the
        /// PIN changed back at the broker, the account unlocked). Allows one more try
        /// when the lock-out guard has stopped logins.
        vouched: bool,
    },
    /// A person wants the broker's login link now.
    ConsentWanted,
    /// The person came back from the broker's page. The keeper holds the `tokenId`
    /// until [`Strategy::Consent`] asks for it.
    ConsentReturned,
    /// The broker's clock minus ours, from a `Date` header. When a reply brings both,
    /// send this first, so that the next code is made by the right clock.
    ClockSkew(SignedDuration),
}

/// What kind of request was refused for its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// An order write. The order back end's word puts a token out of use, unless it is a
    /// fresh one.
    Write,
    /// Anything else: data, quotes, books. A reason to ask `/profile`; the token signs on.
    Read,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// A token came. The keeper has numbered it; it writes it in one batch with the
    /// [`Action::Record`] that this event returns.
    Minted(TokenFacts),
    /// The link of [`Action::MakeConsent`] came.
    ConsentMade,
    /// It was sent and no answer came, or one that cannot be read: it may have happened.
    Unknown,
    /// Proven: not a byte was sent (no leg could be dialled, or `latest` had passed).
    NotSent,
    /// Proven too: what it spends could not be written down, so nothing was sent. Why, for people.
    NotRecorded(Trouble),
    /// The broker answered no.
    Refused(Refusal),
}

/// An answer that is no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What it means for the next try.
    pub verdict: RetryAdvice,
    /// It was PIN or TOTP that was refused. Two in a row stop logins: a third may
    /// lock the account at the broker.
    pub login_refusal: bool,
    /// The refusal in words for people.
    pub trouble: Trouble,
}

/// What an error of the broker means for the next try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAdvice {
    /// Not before this has passed (a cooldown, a rate limit).
    RetryAfter(Duration),
    /// With the code of another window (a TOTP code that was wrong, late or used).
    NextWindow,
    /// The token that was to be renewed is dead.
    TokenDead,
    /// No try of ours can succeed.
    AskPerson,
    /// This token is of a kind that is not renewed. It lives on.
    WrongKind,
    /// Nobody knows (a 5xx, HTML): it may even have happened.
    Unknown,
}

/// What `/profile` said of the stored token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckOutcome {
    /// The broker took it.
    Lives,
    /// The broker refused it.
    Dead,
    /// An answer that proves nothing of the token (a 5xx, HTML).
    Unclear,
    /// The broker did not answer.
    NoAnswer,
}

/// What the keeper must do, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write this durably before doing what follows. If it cannot be written, do not
    /// do what follows: report [`AttemptOutcome::NotRecorded`].
    Record(Box<Budget>),
    /// Sign with the token of this generation, or with none. Only ever names a token
    /// the keeper was given or gave.
    Sign(Option<u64>),
    /// Log in: one request, sent once.
    Mint {
        /// For [`Event::Attempt`].
        id: u64,
        /// By which of the account's means.
        strategy: Strategy,
        /// The last moment, by our clock, at which it may be sent.
        latest: Timestamp,
    },
    /// Renew the token of this generation: one request, sent once.
    Renew {
        /// For [`Event::Attempt`].
        id: u64,
        /// The token to renew.
        generation: u64,
        /// The last moment, by our clock, at which it may be sent.
        latest: Timestamp,
    },
    /// Ask the broker for a login link, for the person who wanted one.
    MakeConsent {
        /// For [`Event::Attempt`].
        id: u64,
        /// The last moment, by our clock, at which it may be sent.
        latest: Timestamp,
    },
    /// Tell the person who wanted a login link why there is none.
    DenyConsent(Trouble),
    /// Ask `/profile` whether this token lives. Changes nothing at the broker.
    CheckStored {
        /// For [`Event::Checked`].
        id: u64,
        /// The token to ask with.
        generation: u64,
    },
    /// Show this to people; also [`Lifecycle::trouble`](super::Lifecycle::trouble).
    Show(State),
    /// Send [`Event::Woken`] at this time. Replaces the wake before it; none in a
    /// list leaves none.
    Wake {
        /// When, by our clock; may be past.
        at: Timestamp,
        /// First get a turn from the cap on logins per second.
        turn: bool,
    },
}

/// By what to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// PIN and the TOTP code of exactly this step (Unix time of the broker over 30),
    /// whatever the clock says when it is made.
    PinTotp {
        /// RFC 6238's `T`.
        step: u64,
    },
    /// The `tokenId` a person brought back.
    Consent,
}

/// Where an account's token stands. Words of the API; see [`State::as_str`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// None yet, and nothing to do about it before the account has a pair.
    Absent,
    /// A login is under way or in the queue, and there is no token.
    Minting,
    /// One that signs.
    Live,
    /// One that signs, while the next is being got.
    Refreshing,
    /// None. It goes on by itself.
    Waiting {
        /// When: `Retry-After` of a caller's 503.
        until: Timestamp,
        /// What it waits for.
        why: Why,
    },
    /// None. Nothing goes on until a person does something.
    NeedsPerson {
        /// What happened and what to do.
        trouble: Box<Trouble>,
        /// A login link can be had: [`Event::ConsentWanted`] would be granted.
        consent: bool,
    },
}

impl State {
    /// The word in the API.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Minting => "minting",
            Self::Live => "live",
            Self::Refreshing => "refreshing",
            Self::Waiting { .. } => "waiting",
            Self::NeedsPerson { .. } => "needs_person",
        }
    }

    /// Is there a token to sign with?
    pub const fn signs(&self) -> bool {
        matches!(self, Self::Live | Self::Refreshing)
    }
}

/// What an account without a token waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The time that must pass between two logins.
    Cooldown,
    /// The time after a failure.
    Backoff,
    /// The next TOTP window.
    NextCode,
    /// The broker's word on whether the token lives.
    Check,
}

impl Why {
    /// A word for programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cooldown => "cooldown",
            Self::Backoff => "backoff",
            Self::NextCode => "next_code",
            Self::Check => "check",
        }
    }
}
