//! The first line of the first steps: what did the provider give, and what can be made of it?

use maud::{Markup, html};

use super::field::{Field, field};
use super::form::Form;
use super::page::form;
use super::visitor::Visitor;
use super::{pools, words};
use crate::domain::OperatorRole;
use crate::host::{Offer, OfferKind};

/// What to do, by what the provider gave.
pub(super) fn show(visitor: &Visitor) -> Markup {
    let offers = Offer::all();
    let may = visitor.may(OperatorRole::Admin);
    html! {
        p { "Each account needs two IPv6 addresses of its own. What did your provider give you?" }
        details {
            summary { "One prefix, such as a /64, that is routed to this machine" }
            p { "It is halved: one half for primary addresses, one for secondary ones." }
            @if may {
                (form(visitor, "/console/first-run/halves", &html! {
                    (field(&Field { name: "prefix", label: "Your prefix", hint: "Such as 2001:db8:1:2::/64.", required: true, ..Field::default() }))
                    button { "Make pool of its halves" }
                }))
            }
        }
        details {
            summary { "Two prefixes" }
            @if may { (pools::make(visitor, &Form::default(), None, true)) }
        }
        details {
            summary { "Single addresses" }
            p { "No pool then: type an account's two addresses when you create it. Providers that give 16 addresses (DigitalOcean's /124) \
                 route no others, and some drop a server that uses more." }
        }
        details open {
            summary { "I do not know" }
            (seen(visitor, &offers, may))
        }
    }
}

/// What this host has, and a proposal for each.
fn seen(visitor: &Visitor, offers: &[Offer], may: bool) -> Markup {
    html! {
        @if offers.is_empty() {
            p { (words::BAD) " No interface of this machine has a global IPv6 address. Look in your provider's panel for IPv6, and set the \
                 address that it shows there." }
        } @else {
            p { "This machine has:" }
            ul { @for offer in offers { li {
                strong { (offer.prefix) } " on " (offer.interface) ", itself " (offer.address) ". "
                @match offer.kind {
                    OfferKind::Two(primary, secondary) => {
                        "If this prefix is yours alone, take two parts of it that nothing here uses: " (primary) " and " (secondary) ". \
                         It is on the link, so your router asks for each address: This machine says what answers it."
                        @if may {
                            (form(visitor, "/console/pools", &html! {
                                input type="hidden" name="name" value="main";
                                input type="hidden" name="primary" value=(primary);
                                input type="hidden" name="secondary" value=(secondary);
                                button.second { "Make pool of these two" }
                            }))
                        }
                    }
                    OfferKind::Few => "Few addresses: no pool. Type an account's two when you create it.",
                    OfferKind::Local => "Only your own network knows it: Dhan cannot answer to it. Only the built-in broker can.",
                    OfferKind::Single => "One address. Ask your provider for a routed prefix, or for single addresses.",
                }
            } } }
            p.hint { "A prefix that is routed to this machine is not seen here before something takes it: look in your provider's panel." }
        }
    }
}
