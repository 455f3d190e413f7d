//! All accounts at a glance: which are in trouble, in the order in which a person wants to see them.
//!
//! What an account's trouble is, and which comes first, is pure. A page is made from one walk over the rows, so a list of
//! 10,000 costs a few milliseconds and the order path nothing.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Account, Accounts};
use crate::domain::AccountName;
use crate::domain::problem::Invalid;
use crate::legs::LegState;
use crate::tokens::lifecycle::State;

/// What is wrong with an account. The worst comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// Nothing goes on before a person does something: its login needs one, it has no pair, or somebody pinned it to an
    /// address that is out of use.
    NeedsPerson,
    /// Something else logs in to it or places orders for it: mostly a second gateway.
    NotAlone,
    /// Placements and changes are refused.
    Halted,
    /// There is nothing to sign with now: nothing is sent.
    NoToken,
    /// A way out does not admit. The other may.
    LegTripped,
    /// The last validation found something that is not as it should be.
    ValidationFailed,
    /// Nobody has validated it since the gateway was started, or not everything could be found out.
    NotValidated,
}

impl Trouble {
    /// All of them, the worst first.
    pub const ALL: [Self; 7] = [
        Self::NeedsPerson,
        Self::NotAlone,
        Self::Halted,
        Self::NoToken,
        Self::LegTripped,
        Self::ValidationFailed,
        Self::NotValidated,
    ];

    /// The word in the API. Never changes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NeedsPerson => "needs_person",
            Self::NotAlone => "not_alone",
            Self::Halted => "halted",
            Self::LegTripped => "leg_tripped",
            Self::NoToken => "no_token",
            Self::ValidationFailed => "validation_failed",
            Self::NotValidated => "not_validated",
        }
    }

    /// The trouble of that word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|trouble| trouble.as_str() == text)
    }
}

/// What decides which trouble an account is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its login waits for a person.
    pub login_needs_person: bool,
    /// It has two addresses.
    pub has_pair: bool,
    /// Somebody pinned it to a leg that is out of use, so that the other is not tried.
    pub is_pinned_down: bool,
    /// Nothing else is known to log in or to place orders for it.
    pub is_alone: bool,
    /// It is halted.
    pub is_halted: bool,
    /// Both its legs take requests.
    pub legs_admit: bool,
    /// It has a token that signs.
    pub has_token: bool,
    /// What the last validation found: all well, something wrong, or neither.
    pub validated: Option<bool>,
}

/// Troubles of one account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Troubles([bool; Trouble::ALL.len()]);

impl Troubles {
    /// Which they are.
    pub fn of(facts: &Facts) -> Self {
        let has = |trouble: &Trouble| match trouble {
            Trouble::NeedsPerson => facts.login_needs_person || !facts.has_pair || facts.is_pinned_down,
            Trouble::NotAlone => !facts.is_alone,
            Trouble::Halted => facts.is_halted,
            Trouble::NoToken => !facts.has_token,
            Trouble::LegTripped => facts.has_pair && !facts.legs_admit,
            Trouble::ValidationFailed => facts.validated == Some(false),
            Trouble::NotValidated => facts.validated.is_none(),
        };
        Self(Trouble::ALL.each_ref().map(has))
    }

    /// Is this one of them?
    pub fn has(self, trouble: Trouble) -> bool {
        self.iter().any(|other| other == trouble)
    }

    /// The worst of them.
    pub fn worst(self) -> Option<Trouble> {
        self.iter().next()
    }

    /// All of them, the worst first.
    pub fn iter(self) -> impl Iterator<Item = Trouble> {
        Trouble::ALL.into_iter().zip(self.0).filter(|(_, has)| *has).map(|(trouble, _)| trouble)
    }

    /// Where its account stands when the worst are shown first.
    fn rank(self) -> u8 {
        let place = self.0.iter().position(|has| *has).unwrap_or(Trouble::ALL.len());
        u8::try_from(place).unwrap_or(u8::MAX)
    }
}

impl Account {
    /// What is wrong with it now.
    pub fn troubles(&self) -> Troubles {
        let standing = self.token.standing();
        let validated = self.validated.load();
        let admits = |leg: &crate::legs::Leg| matches!(leg.state().0, LegState::Admits);
        Troubles::of(&Facts {
            login_needs_person: matches!(standing.state, Some(State::NeedsPerson { .. })),
            has_pair: self.legs.is_some(),
            is_pinned_down: self.is_pinned_down(),
            is_alone: self.is_alone(),
            is_halted: self.record.halted.is_some(),
            legs_admit: self.legs.as_ref().is_some_and(|legs| legs.both().into_iter().all(admits)),
            has_token: self.token.live().is_ok(),
            validated: validated.as_ref().and_then(|validated| match (validated.ok(), validated.failed()) {
                (true, _) => Some(true),
                (false, true) => Some(false),
                (false, false) => None,
            }),
        })
    }

    /// Did somebody pin it to a leg that is out of use? Its orders are refused then, whatever the other leg is worth.
    pub fn is_pinned_down(&self) -> bool {
        let pinned = self.legs.as_ref().and_then(|legs| Some(legs.leg(legs.pin()?)));
        pinned.is_some_and(|leg| matches!(leg.state().0, LegState::Tripped { .. }))
    }

    /// Is the text in one of the names by which a person looks for it? `text` is in lower case.
    fn is_called(&self, text: &str) -> bool {
        let in_it = |name: &str| name.to_lowercase().contains(text);
        let addresses = || self.legs.iter().flat_map(|legs| legs.both()).map(|leg| leg.source().ip());
        in_it(self.name.as_str())
            || self.record.nickname.as_deref().is_some_and(in_it)
            || self.client_id().as_str().contains(text)
            || match text.parse::<std::net::Ipv6Addr>() {
                Ok(wanted) => addresses().any(|own| own == wanted),
                // Part of one: as it is written, which is as it is shown.
                Err(_) => text.contains(':') && addresses().any(|own| own.to_string().contains(text)),
            }
    }
}

/// In which order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// By name.
    #[default]
    Name,
    /// The worst trouble first, then by name.
    Trouble,
}

impl Sort {
    /// The order of that word in the API.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "name" => Some(Self::Name),
            "trouble" => Some(Self::Trouble),
            _ => None,
        }
    }
}

/// Where a page ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    rank: u8,
    name: AccountName,
}

impl Position {
    /// As [`Position::show`] wrote it.
    ///
    /// # Errors
    /// When it is not that.
    pub fn read(text: &str, sort: Sort) -> Result<Self, Invalid> {
        let (rank, name) = match sort {
            Sort::Name => ("0", text),
            Sort::Trouble => text.split_once('.').unwrap_or_default(),
        };
        let read = || Some(Self { rank: rank.parse().ok()?, name: AccountName::parse(name).ok()? });
        read().ok_or(Invalid::new("is none of this list's"))
    }

    /// As text, for a list in this order.
    pub fn show(&self, sort: Sort) -> String {
        match sort {
            Sort::Name => self.name.to_string(),
            Sort::Trouble => format!("{}.{}", self.rank, self.name),
        }
    }
}

/// Which accounts, and in which order.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// With this in its name, nickname, client id or addresses.
    pub text: Option<String>,
    /// With its token in this state, a word of the API.
    pub state: Option<String>,
    /// In this trouble, others besides or not.
    pub trouble: Option<Trouble>,
    /// In which order.
    pub sort: Sort,
    /// After the end of the page before.
    pub after: Option<Position>,
    /// At most so many.
    pub limit: usize,
}

/// How many of the accounts that text and state leave are in which trouble. One can be in several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All that text and state leave.
    pub all: u64,
    /// Those of them that the wanted trouble leaves: what the pages have together.
    pub matching: u64,
    by_trouble: [u64; Trouble::ALL.len()],
}

impl Counts {
    /// In this trouble.
    pub fn of(&self, trouble: Trouble) -> u64 {
        Trouble::ALL.into_iter().zip(self.by_trouble).find(|(other, _)| *other == trouble).map_or(0, |(_, count)| count)
    }

    fn add(&mut self, troubles: Troubles, is_wanted: bool) {
        self.all += 1;
        self.matching += u64::from(is_wanted);
        for (count, has) in self.by_trouble.iter_mut().zip(troubles.0) {
            *count += u64::from(has);
        }
    }
}

/// A page of accounts, and how many there are of each kind.
#[derive(Debug)]
pub struct Overview {
    /// The accounts on this page.
    pub rows: Vec<Arc<Account>>,
    /// Where the next page goes on; `None` at the end.
    pub next: Option<Position>,
    /// How many there are.
    pub counts: Counts,
}

impl Accounts {
    /// A page of accounts. One walk over all of them: milliseconds for 10,000, so not for the order path.
    pub fn overview(&self, wanted: &Wanted) -> Overview {
        let text = wanted.text.as_ref().map(|text| text.trim().to_lowercase()).filter(|text| !text.is_empty());
        let mut counts = Counts::default();
        let mut found: Vec<(Position, Arc<Account>)> = Vec::new();
        for row in self.rows.pin().values() {
            if text.as_ref().is_some_and(|text| !row.is_called(text))
                || wanted.state.as_ref().is_some_and(|state| row.token.standing().word() != state)
            {
                continue;
            }
            let troubles = row.troubles();
            let is_wanted = wanted.trouble.is_none_or(|trouble| troubles.has(trouble));
            counts.add(troubles, is_wanted);
            let rank = match wanted.sort {
                Sort::Name => 0,
                Sort::Trouble => troubles.rank(),
            };
            let position = Position { rank, name: row.name.clone() };
            if is_wanted && wanted.after.as_ref().is_none_or(|after| position > *after) {
                found.push((position, Arc::clone(row)));
            }
        }
        let by_position = |one: &(Position, Arc<Account>), other: &(Position, Arc<Account>)| one.0.cmp(&other.0);
        let more = found.len() > wanted.limit;
        if more {
            // Of 10,000 a page of 50 is wanted in order.
            found.select_nth_unstable_by(wanted.limit, by_position);
            found.truncate(wanted.limit);
        }
        found.sort_unstable_by(by_position);
        let next = found.last().filter(|_| more).map(|(position, _)| position.clone());
        Overview { rows: found.into_iter().map(|(_, row)| row).collect(), next, counts }
    }
}

/// What is known of the last requests of all accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastRequests {
    /// The newest of them.
    pub newest: Option<Timestamp>,
    /// How many accounts had none since the start.
    pub without: u64,
}

impl Accounts {
    /// The last requests of all accounts: a walk over all of them.
    pub fn last_requests(&self) -> LastRequests {
        let mut all = LastRequests::default();
        for row in self.rows.pin().values() {
            match row.last_request.view() {
                Some(last) => all.newest = all.newest.max(Some(last.at)),
                None => all.without += 1,
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Facts = Facts {
        login_needs_person: false,
        has_pair: true,
        is_pinned_down: false,
        is_alone: true,
        is_halted: false,
        legs_admit: true,
        has_token: true,
        validated: Some(true),
    };

    /// Who watches ten thousand accounts sees the top of the list: what only a person can mend stands there.
    #[test]
    fn what_needs_a_person_comes_first_and_what_is_fine_last() {
        let in_order = [
            Facts { login_needs_person: true, ..FINE },
            Facts { is_alone: false, ..FINE },
            Facts { is_halted: true, ..FINE },
            Facts { has_token: false, ..FINE },
            Facts { legs_admit: false, ..FINE },
            Facts { validated: Some(false), ..FINE },
            Facts { validated: None, ..FINE },
            FINE,
        ];
        let ranks = in_order.map(|facts| Troubles::of(&facts).rank());
        assert_eq!(ranks, [0, 1, 2, 3, 4, 5, 6, 7]);
        let worst = in_order.map(|facts| Troubles::of(&facts).worst().map(Trouble::as_str));
        let words =
            ["needs_person", "not_alone", "halted", "no_token", "leg_tripped", "validation_failed", "not_validated"];
        assert_eq!(worst, [words.map(Some).as_slice(), &[None]].concat()[..]);
        assert!(words.iter().all(|word| Trouble::parse(word).is_some_and(|trouble| trouble.as_str() == *word)));
    }

    /// An account is found under each of its troubles, not only under the worst.
    #[test]
    fn an_account_has_all_of_its_troubles_and_no_other() {
        let all = Troubles::of(&Facts { is_halted: true, has_token: false, validated: None, ..FINE });
        let words: Vec<_> = all.iter().map(Trouble::as_str).collect();
        assert_eq!(words, ["halted", "no_token", "not_validated"]);
        assert!(all.has(Trouble::NoToken) && !all.has(Trouble::LegTripped) && !all.has(Trouble::ValidationFailed));
        // Without addresses there are no legs that could trip, and nothing that could mend itself.
        let bare = Troubles::of(&Facts { has_pair: false, legs_admit: false, ..FINE });
        assert_eq!(bare.iter().collect::<Vec<_>>(), [Trouble::NeedsPerson]);

        // One address works, and a pin keeps it from being used.
        let down = Troubles::of(&Facts { is_pinned_down: true, legs_admit: false, ..FINE });
        assert_eq!(down.worst(), Some(Trouble::NeedsPerson));

        let mut counts = Counts::default();
        counts.add(all, false);
        counts.add(bare, true);
        assert_eq!((counts.all, counts.matching), (2, 1));
        assert_eq!((counts.of(Trouble::Halted), counts.of(Trouble::NeedsPerson)), (1, 1));
        assert_eq!((counts.of(Trouble::LegTripped), counts.of(Trouble::NotValidated)), (0, 1));
    }

    /// A name may have dots in it.
    #[test]
    fn a_position_comes_back_as_it_was_shown() {
        let position = Position { rank: 3, name: AccountName::parse("a.b-1").unwrap() };
        assert_eq!(Position::read(&position.show(Sort::Trouble), Sort::Trouble).unwrap(), position);
        assert_eq!(Position::read("a.b-1", Sort::Name).unwrap().show(Sort::Name), "a.b-1");
        for none in ["", "x", "9", "x.alpha", "256.alpha", "1."] {
            assert!(Position::read(none, Sort::Trouble).is_err(), "{none:?}");
        }
    }
}
