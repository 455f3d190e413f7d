//! The broker: what it does with what arrives, and what its book shows.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;
use sixgate::domain::{Outcome, Role};
use sixgate::orders::broker_clock::SentAt;
use sixgate::orders::lookup::{Bounds, Evidence};

use super::world::{Kind, Letter, Model, Name, customer, secs};

/// An order in the broker's book.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub id: u64,
    pub correlation: Option<String>,
    pub quantity: u32,
    pub created: Timestamp,
    pub status: &'static str,
    /// The write that it came of; none of this gateway's.
    pub owner: Option<u32>,
    /// The write near which it was put into the book.
    pub under: u32,
}

impl Row {
    fn shown(&self) -> serde_json::Value {
        let created = sixgate::domain::india::local(self.created).strftime("%Y-%m-%d %H:%M:%S").to_string();
        json!({
            "orderId": self.id.to_string(), "correlationId": self.correlation, "orderStatus": self.status,
            "transactionType": "BUY", "exchangeSegment": "NSE_EQ", "productType": "INTRADAY", "orderType": "LIMIT",
            "securityId": "11536", "quantity": self.quantity, "price": 100.0, "triggerPrice": 0.0, "createTime": created,
        })
    }
}

/// What came of looking.
pub(super) enum Looked {
    Settled(Outcome),
    NotFound,
}

impl Model {
    /// Orders that are there before a write is: yesterday's under its id, one that was refused, one from the phone, and
    /// one of another program's that happens to have the id now.
    pub(super) fn strangers(&mut self, serial: u32, correlation: Option<&str>) {
        let now = self.really(self.now);
        let kinds = self.below(16);
        let row = |n: u64, correlation: Option<&str>, quantity, ago: u64, status| Row {
            id: 1_000_000_000 + u64::from(serial) * 10 + n,
            correlation: correlation.map(str::to_owned),
            quantity,
            created: now - secs(ago),
            status,
            owner: None,
            under: serial,
        };
        let old = [
            (1, row(1, correlation, serial, 900, "TRADED")),
            (2, row(2, correlation, serial, 3600, "REJECTED")),
            (4, row(3, None, serial, 0, "TRADED")),
            (8, row(4, correlation, serial + 1_000_000, 0, "PENDING")),
        ];
        for (kind, row) in old {
            if kinds & kind != 0 {
                self.counts.old_rows += 1;
                self.book.push(row);
            }
        }
    }

    /// A letter arrives at the broker, or nowhere.
    pub(super) fn deliver(&mut self) {
        let open: Vec<u32> = self.writes.values().filter(|write| write.open() > 0).map(|write| write.serial).collect();
        if open.is_empty() {
            return;
        }
        let serial = open[usize::try_from(self.below(open.len() as u64)).unwrap()];
        let write = &self.writes[&serial];
        let letter = write.letters.iter().position(|letter| *letter == Letter::UnderWay).unwrap();
        let (by, kind) = (write.by[letter], write.kind);
        let refuses = self.refuses[usize::from(by == Role::Secondary)];
        let end = match self.below(12) {
            0..=1 => Letter::Lost,
            _ if refuses => Letter::Refused,
            // A token that is dead.
            2 => Letter::Refused,
            3 => Letter::Denied,
            4 if kind == Kind::Place => Letter::TurnedDown,
            5..=7 if kind == Kind::Exit => Letter::Denied,
            _ => Letter::Executed,
        };
        self.arrives(serial, letter, end);
    }

    pub(super) fn arrives(&mut self, serial: u32, letter: usize, end: Letter) {
        let (now, id) = (self.really(self.now), 2_000_000_000 + u64::from(serial) * 10 + letter as u64);
        let write = self.writes.get_mut(&serial).unwrap();
        write.letters[letter] = end;
        if end == Letter::Executed {
            write.executed += 1;
        }
        if write.kind == Kind::Place && matches!(end, Letter::Executed | Letter::TurnedDown) {
            let correlation = match write.name {
                Name::Ids => Some(format!("c{serial}")),
                Name::Label => Some("label".to_owned()),
                Name::Echo | Name::None => None,
            };
            let status = if end == Letter::Executed { "TRADED" } else { "REJECTED" };
            self.book.push(Row {
                id,
                correlation,
                quantity: serial,
                created: now,
                status,
                owner: Some(serial),
                under: serial,
            });
        }
        if write.kind == Kind::Exit && end == Letter::Executed {
            self.taken = self.taken.max(self.writes[&serial].came);
        }
    }

    /// The order that a write became, if it did: named in the broker's answer.
    pub(super) fn answered(&mut self, serial: u32) {
        let ids: Vec<String> =
            self.book.iter().filter(|row| row.owner == Some(serial)).map(|row| row.id.to_string()).collect();
        self.known.note(&customer(), ids.iter().map(String::as_str));
    }

    /// Ask the broker what became of a write.
    pub(super) fn look(&mut self, serial: u32) -> Looked {
        let Some(trail) = self.writes[&serial].trail.clone() else { return Looked::NotFound };
        let (book_answers, one_answers) = (!self.one_in(4), !self.one_in(4));
        if !trail.leads_somewhere() || !(book_answers || one_answers) {
            return Looked::NotFound;
        }
        // A line that was written before the broker was heard, by a clock that may be wrong, does not tell what is older.
        if let Some(SentAt::Written(at)) = trail.sent()
            && self.journal.iter().any(|line| line.serial == serial && line.at == at && !line.heard)
        {
            return Looked::NotFound;
        }
        self.hear_clock(self.now);
        let mut search = trail.search();
        for path in trail.paths() {
            let rows: Vec<&Row> = match path.strip_prefix("/v2/orders/external/") {
                Some(_) if !one_answers => continue,
                None if !book_answers => continue,
                // Of several the broker shows one, and nobody knows which.
                Some(id) => self.book.iter().filter(|row| row.correlation.as_deref() == Some(id)).take(1).collect(),
                None => self.book.iter().filter(|row| row.under.abs_diff(serial) < 4).collect(),
            };
            let body = match (path.contains("external"), rows.as_slice()) {
                (true, []) => json!({ "errorCode": "DH-906" }),
                (true, [row, ..]) => row.shown(),
                (false, rows) => rows.iter().map(|row| row.shown()).collect(),
            };
            let status = if path.contains("external") && rows.is_empty() { 404 } else { 200 };
            search.hear(&path, status, body.to_string().as_bytes());
        }
        let window = trail.sent().and_then(|sent| self.broker_clock.window(sent, self.instant(), self.wall()));
        let known = |id: &str| self.known.has(&customer(), id);
        let (outcome, placed) = match search.finding(&Bounds { known: &known, window }) {
            Evidence::Executed(found) => (Outcome::Executed, found.placed),
            Evidence::Rejected(Some(found)) => (Outcome::Rejected, found.placed),
            Evidence::Rejected(None) => (Outcome::Rejected, Vec::new()),
            Evidence::Open => return Looked::NotFound,
        };
        for id in &placed {
            let row = self.book.iter().find(|row| row.id.to_string() == **id).unwrap();
            assert_eq!(row.owner, Some(serial), "an order that is not this write's was taken for it: {row:?}");
        }
        if !trail.is_found() && !self.known.claim(&customer(), &placed) {
            return Looked::NotFound;
        }
        self.counts.found += 1;
        Looked::Settled(outcome)
    }

    /// What a write is looked for by, kept by both.
    pub(super) fn trail(&self, serial: u32) -> Arc<sixgate::orders::lookup::Lookup> {
        let write = &self.writes[&serial];
        let (method, path) = (&write.write.method, write.write.path.as_str());
        Arc::new(sixgate::orders::lookup::Lookup::of(method, path, write.body.as_bytes(), None))
    }
}
