//! Which account somebody means who types its name or its nickname.

use maud::{Markup, html};

use super::context::Console;
use super::words;
use crate::domain::AccountName;

/// With more accounts than this a list of them all is no help.
const LISTED: usize = 50;
/// The id of the list of all accounts.
pub(super) const LIST: &str = "accounts-known";

/// Whom a text means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Called {
    /// This account.
    One(AccountName),
    /// Several that have the same nickname.
    Several(Vec<AccountName>),
    /// None that there is now. One that was deleted may have had the name.
    Nobody,
}

/// The account of this name, or else of this nickname in any letters.
pub(super) fn called(console: &Console, text: &str) -> Called {
    let accounts = &console.admin.accounts;
    if let Some(account) = accounts.lookup(text) {
        return Called::One(account.name.clone());
    }
    let mut named = Vec::new();
    accounts.for_each(|account| {
        let is_nickname = account.record.nickname.as_deref().is_some_and(|nickname| is_same(nickname, text));
        if is_nickname || is_same(account.name.as_str(), text) {
            named.push(account.name.clone());
        }
    });
    of(named)
}

fn is_same(one: &str, other: &str) -> bool {
    one.trim().to_lowercase() == other.trim().to_lowercase()
}

fn of(mut named: Vec<AccountName>) -> Called {
    named.sort();
    match named.pop() {
        None => Called::Nobody,
        Some(only) if named.is_empty() => Called::One(only),
        Some(last) => {
            named.push(last);
            Called::Several(named)
        }
    }
}

/// What is said where a text means no account, or several.
pub(super) fn nobody(called: &Called, text: &str) -> Markup {
    html! {
        @match called {
            Called::Several(names) => p.flash.bad role="alert" { (words::BAD) " Several accounts are called " (text) ": "
                (names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")) ". Type the name of one." },
            Called::One(_) | Called::Nobody => p role="status" { (words::UNKNOWN) " No account is called " (text) ", by its name or its nickname." },
        }
    }
}

/// All accounts, for a field to choose from, where they are few.
pub(super) fn list(console: &Console) -> Option<Markup> {
    let accounts = &console.admin.accounts;
    let mut known = Vec::new();
    if accounts.len() > LISTED {
        return None;
    }
    accounts.for_each(|account| known.push((account.name.clone(), account.record.nickname.clone())));
    known.sort();
    Some(html! {
        datalist id=(LIST) {
            @for (name, nickname) in &known { option value=(name) { (nickname.as_deref().unwrap_or_default()) } }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nickname_means_its_account_in_any_letters_and_two_of_it_mean_neither() {
        assert!(is_same("Alpha ", "alpha") && is_same("Straße", "STRAẞE") && !is_same("Alpha", "Alp"));
        let name = |text: &str| AccountName::parse(text).unwrap();
        assert_eq!(of(Vec::new()), Called::Nobody);
        assert_eq!(of(vec![name("a1")]), Called::One(name("a1")));
        let both = of(vec![name("b1"), name("a1")]);
        assert_eq!(both, Called::Several(vec![name("a1"), name("b1")]));
        assert!(nobody(&both, "Alpha").into_string().contains("a1, b1"));
        assert!(nobody(&Called::Nobody, "<x>").into_string().contains("No account is called &lt;x&gt;"));
    }
}
