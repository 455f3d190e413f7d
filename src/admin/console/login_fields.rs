//! The fields by which an account logs in, as the pages that create and change one have them.

use maud::{Markup, html};

use super::super::wire::{SecretBody, SecretsBody};
use super::call::Refused;
use super::context::Console;
use super::field::{Field, copied, field};
use super::form::Form;
use super::words;

/// What a person types on `web.dhan.co` to get an API key.
const APP_NAME: &str = "MyTradingApp";

/// What the fields are filled with, and what is said of them.
pub(super) struct LoginFields<'f> {
    /// What was typed.
    pub form: &'f Form,
    /// How it logs in, as chosen.
    pub platform: &'f str,
    /// Of an account that is there: which secrets are set.
    pub set: Option<&'f SecretsBody>,
    /// What was wrong.
    pub refused: Option<&'f Refused>,
    /// Where Dhan sends a person back to.
    pub redirect: String,
}

/// How it logs in: two cards.
pub(super) fn cards(platform: &str) -> Markup {
    const CARDS: [(&str, &str, &str); 2] = [
        ("DHAN_V2_AT_IPV6", "Automatic", "PIN and TOTP once, connects every day on its own. Recommended."),
        ("DHAN_V2_IPV6", "By hand", "You paste a token from web.dhan.co; renewed by itself where Dhan allows."),
    ];
    html! {
        fieldset #platform {
            legend { "How it logs in" }
            div.cards-of-choice {
                @for (value, title, text) in CARDS {
                    label.card {
                        // What it is called is the title alone: its text names fields that have labels of their own.
                        input type="radio" name="platform" value=(value) checked[platform == value]
                            aria-labelledby={ "way-" (value) } aria-describedby={ "about-" (value) };
                        span {
                            strong id={ "way-" (value) } { (title) } " "
                            span id={ "about-" (value) } { span.hint { (value) } br; (text) }
                        }
                    }
                }
            }
        }
    }
}

impl LoginFields<'_> {
    /// Every field of the login; those of the other way are hidden, and lose nothing.
    pub(super) fn show(&self) -> Markup {
        let by_hand = self.platform == "DHAN_V2_IPV6";
        html! {
            fieldset {
                legend { "Login" }
                div data-shown-with="platform=DHAN_V2_AT_IPV6" {
                    (self.secret("pin", "PIN", "The 4 to 6 digits that Dhan's app asks for.", Some("numeric")))
                    (self.totp())
                    details open[self.is_wrong(&["phone", "api_key", "api_secret"])] {
                        summary { "Phone, API key and API secret: not needed for PIN + TOTP" }
                        (self.app())
                    }
                }
                details open[by_hand || self.is_wrong(&["access_token"])] data-open-with="platform=DHAN_V2_IPV6" {
                    summary { "Access token" }
                    (token_steps())
                    (token(self.refused))
                }
            }
        }
    }

    fn totp(&self) -> Markup {
        html! {
            (self.secret("totp_secret", "TOTP key",
                "The letters that Dhan shows beside the QR code, 16 to 64 of them; blanks and an otpauth:// address are taken.", None))
            p { button.second formaction="/console/look/totp" formtarget="_blank" formnovalidate
                data-look="totp-look" data-when="totp_secret" { "Show the code" }
                span.hint { " Compare it with your authenticator before Dhan judges it." } }
            div #totp-look {}
        }
    }

    fn app(&self) -> Markup {
        html! {
            p { "Only for logging in by Dhan's page when PIN + TOTP fails. A key lasts 12 months." }
            ol {
                li { "On web.dhan.co open the profile picture, then DhanHQ Trading APIs (older: Access DhanHQ APIs)." }
                li { "Switch to API key." }
                li { "Application name: " (copied(APP_NAME)) }
                li { "Redirect URL: " (copied(&self.redirect)) }
                li { "Postback URL: leave empty. This gateway takes no postbacks: Dhan signs none, and sends none for logins by PIN \
                      and TOTP. Your program has its order updates by the order-update WebSocket, however the account logs in." }
            }
            (self.secret("phone", "Phone", "The number of the account at Dhan.", Some("tel")))
            (self.secret("api_key", "API key", "", None))
            (self.secret("api_secret", "API secret", "", None))
        }
    }

    fn secret(&self, name: &str, label: &str, hint: &str, inputmode: Option<&str>) -> Markup {
        let set = self.set.and_then(|set| of(set, name)).filter(|secret| secret.set);
        let hint = match set {
            Some(secret) => format!("{} {hint}", kept(secret)),
            None => hint.to_owned(),
        };
        let at_times = matches!(name, "pin" | "totp_secret");
        let error = self.refused.and_then(|refused| refused.of(name));
        html! {
            (field(&Field { name, label, hint: hint.trim(), secret: true, at_times, inputmode, error, ..Field::default() }))
            @if set.is_some() {
                label.choice {
                    input type="checkbox" name="remove" value=(name) checked[self.form.all("remove").any(|one| one == name)];
                    "Remove the " (label)
                }
            }
        }
    }

    fn is_wrong(&self, names: &[&str]) -> bool {
        let wrong = |name| self.refused.is_some_and(|refused| refused.of(name).is_some());
        names.iter().any(|name| wrong(name) || self.form.given(name).is_some())
    }
}

/// "Set on 24 Nov; leave empty to keep."
fn kept(secret: &SecretBody) -> String {
    match secret.since.as_deref().and_then(|at| at.parse().ok()) {
        Some(since) => format!("Set on {}; leave empty to keep.", words::day(since)),
        None => "Set; leave empty to keep.".to_owned(),
    }
}

fn of<'s>(set: &'s SecretsBody, name: &str) -> Option<&'s SecretBody> {
    Some(match name {
        "pin" => &set.pin,
        "totp_secret" => &set.totp_secret,
        "phone" => &set.phone,
        "api_key" => &set.api_key,
        "api_secret" => &set.api_secret,
        _ => return None,
    })
}

/// Where a token comes from.
pub(super) fn token_steps() -> Markup {
    html! {
        ol {
            li { "On web.dhan.co open the profile picture, then DhanHQ Trading APIs (older: Access DhanHQ APIs)." }
            li { "Access token: Generate. It ends 24 h after it was made, and making one ends the one before." }
            li { "Copy it and paste it here." }
        }
    }
}

/// The field for a token, and a look at what it says of itself.
pub(super) fn token(refused: Option<&Refused>) -> Markup {
    let error = refused.and_then(|refused| refused.of("access_token"));
    html! {
        (field(&Field { name: "access_token", label: "Access token", hint: "Ends 24 h after it was made.", secret: true,
            at_times: true, error, ..Field::default() }))
        p { button.second formaction="/console/look/token" formtarget="_blank" formnovalidate
            data-look="token-look" data-when="access_token client_id" { "Show whose it is" } }
        div #token-look {}
    }
}

/// Where Dhan's page sends a browser back to: the name by which this browser reaches the gateway, where that is one that
/// it could have been registered with.
pub(super) fn return_base(console: &Console, host: &str) -> String {
    let site = &console.admin.site;
    let scheme = if site.is_https() { "https" } else { "http" };
    site.public_url().unwrap_or_else(|| {
        let (name, port) =
            host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).unwrap_or((host, "80"));
        // Each browser takes this name for its own machine, and Dhan's form takes no other loopback name.
        if name == "localhost" || name.ends_with(".localhost") {
            format!("{scheme}://127.0.0.1:{port}")
        } else {
            format!("{scheme}://{host}")
        }
    })
}
