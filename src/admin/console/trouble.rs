//! What is said of a login that failed, and the ways on. Pure: facts in, words out.

use jiff::Timestamp;

use super::words;
use crate::tokens::lifecycle::ANOTHER_LOGS_IN;

/// A way on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The gateway goes on by itself.
    Wait,
    /// Log in now by what the account has.
    Now,
    /// Give it a token by hand.
    Paste,
    /// Log in at Dhan's page.
    Page,
    /// Type the TOTP key again.
    Totp,
    /// Type the PIN again.
    Pin,
    /// Give it PIN and TOTP key, so that it logs in by itself.
    Automatic,
    /// Log in the other way from now on.
    Switch,
    /// See what this machine lacks.
    Machine,
}

/// What is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'f> {
    /// The word of the API.
    pub code: &'f str,
    /// What happened, with the broker's words.
    pub summary: &'f str,
    /// What to do.
    pub action: &'f str,
    /// Does it log in by itself?
    pub automatic: bool,
    /// Does nothing go on until a person does something?
    pub stopped: bool,
    /// When it goes on by itself.
    pub until: Option<Timestamp>,
    /// By how many seconds Dhan's clock is ahead of this machine's, if it was held against it.
    pub clock: Option<f64>,
    /// Has it a PIN and a TOTP key?
    pub has_pin_totp: bool,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// What happened, why, and what comes next.
    pub text: String,
    /// Dhan's own words.
    pub brokers_words: Option<String>,
    /// The first is the one that is meant.
    pub ways: Vec<Way>,
}

/// Put it into words.
pub(super) fn said(facts: &Facts<'_>) -> Said {
    let (summary, brokers_words) = match facts.summary.split_once("; the broker says ") {
        Some((summary, words)) => (summary, Some(words.to_owned())),
        None => (facts.summary, None),
    };
    // Of a login that could not leave: why it matters and what to type stand on the page of this machine.
    let (summary, of_machine) = match summary.split_once(". Why it matters: ") {
        Some((found, _)) => (found, true),
        None => (summary, false),
    };
    let at = facts.until.map(|until| format!(" at {}", words::exact_clock(until)));
    let at = at.as_deref().unwrap_or_default();
    let (text, ways) = match facts.code {
        "token_superseded" | "token_dead" if facts.automatic => (
            format!(
                "Another login replaced this token. The gateway logs in again{at} (Dhan allows one login in two minutes). If it \
                 happens again, something else logs in: another program, another vendor, or Generate on web.dhan.co."
            ),
            vec![Way::Wait, Way::Paste],
        ),
        "token_superseded" | "token_dead" => (
            "Another login replaced this token, or it was revoked. Make a new one at Dhan and paste it here. If it happens \
             again, something else logs in: another program, another vendor, or Generate on web.dhan.co."
                .to_owned(),
            vec![Way::Paste, Way::Automatic],
        ),
        "token_must_be_regenerated" if facts.automatic => {
            (format!("Dhan asks for a new token. It is being replaced by itself{at}."), vec![Way::Wait, Way::Paste])
        }
        "token_must_be_regenerated" => (
            "Dhan asks for a new token. Make a new one at Dhan and paste it here.".to_owned(),
            vec![Way::Paste, Way::Automatic],
        ),
        "login_step_busy" => (
            format!("Dhan's login page wants a pause; the next try is{}. PIN + TOTP does not use that page.", or(at, " in a while")),
            vec![Way::Wait, Way::Paste],
        ),
        "consent_limit" => (
            "25 logins by Dhan's page are used up for today (until midnight IST).".to_owned(),
            vec![if facts.has_pin_totp { Way::Now } else { Way::Automatic }, Way::Paste],
        ),
        "totp_not_valid" | "totp_refused" => (refused_code(facts), vec![Way::Totp, Way::Paste]),
        "pin_refused" => (format!("{summary}. {}.", full(facts.action)), vec![Way::Pin, Way::Paste]),
        "pair_missing" => ("It has no addresses to log in from: give it two, above.".to_owned(), vec![]),
        "login_incomplete" if facts.automatic && !facts.has_pin_totp => (
            "This account has no PIN and TOTP key to log in with. Type them, log in at Dhan's page, or paste a token."
                .to_owned(),
            vec![Way::Automatic, Way::Page, Way::Paste],
        ),
        "token_absent" | "token_expired" if !facts.automatic => (
            format!("{}. Make one at Dhan and paste it here.", first_large(summary)),
            vec![Way::Paste, Way::Automatic],
        ),
        // Trying again helps against nothing here: what else logs in kills the next token too.
        code if code == ANOTHER_LOGS_IN => (
            format!("{}. {}. The gateway tries again{at}.", first_large(summary), first_large(&full(facts.action))),
            vec![Way::Wait, Way::Paste],
        ),
        _ if facts.until.is_some() => {
            let first = if of_machine { Way::Machine } else { Way::Wait };
            let then = if of_machine { Way::Wait } else { Way::Paste };
            (format!("{}. The gateway tries again{at}.", first_large(summary)), vec![first, then])
        }
        _ => (
            format!("{}. {}.", first_large(summary), first_large(&full(facts.action))),
            vec![if facts.automatic { Way::Now } else { Way::Paste }, if facts.automatic { Way::Paste } else { Way::Automatic }],
        ),
    };
    Said { text, brokers_words, ways }
}

/// The ways that are not among these.
pub(super) fn others(ways: &[Way]) -> Vec<Way> {
    [Way::Now, Way::Paste, Way::Page, Way::Switch].into_iter().filter(|way| !ways.contains(way)).collect()
}

/// Where PIN and TOTP key are judged by somebody who says what is wrong first and no more.
const ONE_AT_A_TIME: &str = "Dhan names one thing at a time: compare the client id and the PIN too.";

/// A code was refused: is it the clock, or the key?
fn refused_code(facts: &Facts<'_>) -> String {
    let refusals = if facts.stopped {
        "the gateway has stopped after 2 refusals, because a third may lock the account at Dhan"
    } else {
        "1 of 2 refusals before the gateway stops to protect the account"
    };
    match facts.clock {
        Some(off) if off.abs() > 2.0 => format!(
            "Dhan refused the code. This machine's clock is {:.1} s off, which is why: set it right (timedatectl set-ntp true); \
             {refusals}.",
            off.abs()
        ),
        Some(off) => format!(
            "Dhan refused the code. This machine's clock is {:.1} s off: fine. So the TOTP key is likely wrong ({refusals}). \
             {ONE_AT_A_TIME}",
            off.abs()
        ),
        None => format!("Dhan refused the code. The TOTP key is likely wrong ({refusals}). {ONE_AT_A_TIME}"),
    }
}

fn or<'t>(text: &'t str, other: &'t str) -> &'t str {
    if text.is_empty() { other } else { text }
}

/// An advice in the console's words: what a program would call is a button here.
fn full(action: &str) -> String {
    let action = action.trim_end_matches('.');
    ["; give it by PUT", " and give it by PUT", ": POST", " by POST"]
        .iter()
        .find_map(|call| action.split_once(call).map(|(before, _)| before))
        .unwrap_or(action)
        .to_owned()
}

fn first_large(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(code: &'static str) -> Facts<'static> {
        Facts {
            code,
            summary: "The broker said no; the broker says DH-906, \"Invalid Token\"",
            action: "make a token and give it by PUT /v1/accounts/alpha/token",
            automatic: true,
            stopped: false,
            until: Some("2026-11-30T05:03:10Z".parse().unwrap()),
            clock: Some(0.3),
            has_pin_totp: true,
        }
    }

    /// The five errors of the broker that people meet, each with its own reason and its own first way on.
    #[test]
    fn each_of_the_five_errors_is_told_apart() {
        let superseded = said(&facts("token_superseded"));
        assert!(
            superseded.text.contains("again at 10:33:10 IST") && superseded.text.contains("two minutes"),
            "{superseded:?}"
        );
        assert_eq!(superseded.ways, [Way::Wait, Way::Paste]);
        assert_eq!(superseded.brokers_words.as_deref(), Some("DH-906, \"Invalid Token\""));
        let by_hand = said(&Facts { automatic: false, ..facts("token_must_be_regenerated") });
        assert!(by_hand.text.contains("paste it here"));
        assert_eq!(by_hand.ways, [Way::Paste, Way::Automatic]);
        assert!(said(&facts("token_must_be_regenerated")).text.contains("by itself"));
        assert!(said(&facts("login_step_busy")).text.contains("the next try is at 10:33:10 IST"));
        assert!(said(&Facts { until: None, ..facts("login_step_busy") }).text.contains("in a while"));
        assert_eq!(said(&facts("consent_limit")).ways, [Way::Now, Way::Paste]);
        assert_eq!(said(&Facts { has_pin_totp: false, ..facts("consent_limit") }).ways, [Way::Automatic, Way::Paste]);
        for code in ["totp_not_valid", "totp_refused"] {
            let refused = said(&facts(code));
            assert!(refused.text.contains("0.3 s off: fine") && refused.text.contains("1 of 2"), "{refused:?}");
            assert_eq!(refused.ways, [Way::Totp, Way::Paste]);
        }
        let off = said(&Facts { clock: Some(-7.2), stopped: true, ..facts("totp_refused") });
        assert!(off.text.contains("7.2 s off, which is why") && off.text.contains("has stopped"), "{off:?}");
    }

    /// What mends this machine is a page of its own, and no wall of words under Login.
    #[test]
    fn a_login_that_could_not_leave_leads_to_this_machine() {
        let summary = "a login could not be sent: primary: 2001:db8::1 is not an address of this host. Why it matters: x. \
                       What to do: ip -6 addr add 2001:db8::1/128 dev lo nodad";
        let said = said(&Facts { summary, ..facts("login_not_sent") });
        assert_eq!(said.ways, [Way::Machine, Way::Wait]);
        assert!(said.text.contains("not an address of this host. The gateway tries again at 10:33:10 IST"), "{said:?}");
        assert!(!said.text.contains("What to do") && !said.text.contains("nodad"), "{said:?}");
    }

    /// Who reads the console has buttons, and no use for the API's calls.
    #[test]
    fn advice_names_no_call_of_the_api() {
        let other = said(&Facts { until: None, automatic: false, ..facts("login_incomplete") });
        assert!(other.text.contains("Make a token") && !other.text.contains("/v1/"), "{other:?}");
        assert!(!other.text.contains(".."), "{other:?}");
    }
}
