//! What the demo prints.

use std::fmt::Write;

use super::addresses::Addresses;
use super::gateway::{Demo, PIN, StateFolder, TOTP_SECRET};
use crate::accounts::NewKey;
use crate::app::App;
use crate::cli::table;
use crate::config::ClientKey;
use crate::domain::india;
use crate::domain::secret::ExposeSecret;

/// Where everything is, and the line that places an order.
pub(super) fn explained(
    demo: &Demo,
    app: &App,
    keys: &[NewKey],
    folder: &StateFolder,
    unpublished: Option<&std::io::Error>,
) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "Sixgate with its built-in broker. Nothing here reaches Dhan.\n");
    for line in app.bound() {
        let _ = writeln!(text, "  {line}");
    }
    let _ = writeln!(text, "  broker    https://{} (as api.dhan.co and its other hosts)", demo.broker.address());
    if let Some(control) = demo.broker.control_address() {
        let _ = writeln!(text, "  faults    sixgate sandbox fault --help (control listener http://{control})");
    }
    let _ = writeln!(text, "  CA        {}/ca.pem", folder.path.display());
    let _ = writeln!(text, "  admin     bearer token in {}", demo.config.admin.token_file.display());
    describe_accounts(&mut text, demo, keys);
    if let Addresses::Shared { why, .. } = &demo.addresses {
        let _ = writeln!(
            text,
            "\nBoth legs share ::1, because no address could be put on the loopback interface ({why}), so failover cannot \
             be seen.\nTo see two without being root: netns-scripts/sandbox.sh (it uses a user namespace)."
        );
    }
    if let Some([first, .., last]) = demo.free_client_ids() {
        // The last one asks for a key.
        let bound = app.bound();
        let callers =
            bound.iter().filter_map(|line| line.strip_prefix("callers")).next_back().unwrap_or_default().trim();
        let _ = writeln!(
            text,
            "\nTo make an account of your own (sixgate console, Create account): client ids {first} to {last}, PIN {PIN}, TOTP key\n\
             {TOTP_SECRET}; Auto Assign IP has addresses for it. Programs reach it by {callers}, with its client key."
        );
        if let Some(control) = demo.broker.control_address() {
            let _ = writeln!(
                text,
                "A token for one by hand: curl -sX POST http://{control}/accounts/{first}/token (here in place of web.dhan.co)."
            );
        }
    }
    match unpublished {
        None => {
            let _ = writeln!(text, "\nCommands find it by themselves: sixgate account list, sixgate journal list, ...");
        }
        Some(err) => {
            let _ = writeln!(
                text,
                "\nCommands do not find it by themselves ({err}): export SIXGATE_ADMIN={} SIXGATE_ADMIN_TOKEN_FILE={}",
                app.admin(),
                demo.config.admin.token_file.display()
            );
        }
    }
    let asks = demo.config.listeners.first().is_some_and(|listener| listener.client_key == ClientKey::Required);
    let listener = app.first_listener().unwrap_or_default();
    let listener = match (listener.split_once("://"), demo.accounts.first(), keys.first()) {
        (Some((scheme, rest)), Some(account), Some(key)) if asks => {
            format!("{scheme}://{}:{}@{rest}", account.name, key.key.expose_secret())
        }
        _ => listener.to_owned(),
    };
    let _ = writeln!(text, "\nPlace an order:\n\n{}\n", order_line(&listener));
    let _ = writeln!(
        text,
        "Its correlationId is your name for the order: sent again, the line places no second one, and its answer says so."
    );
    let _ = writeln!(text, "Ctrl-C stops it{}.", if folder.temporary { " and removes its state" } else { "" });
    text
}

fn describe_accounts(text: &mut String, demo: &Demo, keys: &[NewKey]) {
    if let ([account], [key]) = (demo.accounts.as_slice(), keys) {
        let _ = writeln!(text, "  account   {} (client id {})", account.name, account.client_id);
        let _ = writeln!(text, "  pair      primary {}, secondary {}", account.pair.primary, account.pair.secondary);
        let _ = writeln!(text, "  key       {} (for listeners that ask for one)", key.key.expose_secret());
        return;
    }
    let rows = demo.accounts.iter().zip(keys).map(|(account, key)| {
        [
            account.name.to_string(),
            account.client_id.to_string(),
            account.pair.primary.to_string(),
            account.pair.secondary.to_string(),
            key.key.expose_secret().to_owned(),
        ]
    });
    let header = ["ACCOUNT", "CLIENT ID", "PRIMARY", "SECONDARY", "CLIENT KEY"];
    let _ = writeln!(text, "\n{}", table::table(header, rows));
    let _ = writeln!(
        text,
        "\nThe listener serves all of them; whoever calls says which by name and key: http://ACCOUNT:KEY@127.0.0.1:8080"
    );
}

/// The curl line that places an order through `listener`. Each run has an id of its own: a state folder that is kept
/// remembers those of earlier runs.
fn order_line(listener: &str) -> String {
    let id = india::local(jiff::Timestamp::now()).strftime("demo-%H%M%S").to_string();
    format!(
        "curl -i -x {listener} http://api.dhan.co/v2/orders -H 'Content-Type: application/json' -d \
         '{{\"correlationId\":\"{id}\",\"transactionType\":\"BUY\",\"exchangeSegment\":\"NSE_EQ\",\
         \"productType\":\"INTRADAY\",\"orderType\":\"LIMIT\",\"validity\":\"DAY\",\"securityId\":\"11536\",\
         \"quantity\":5,\"price\":3310.5}}'"
    )
}
