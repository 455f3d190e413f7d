//! What a keeper asks of the broker, and what it makes of the answers.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

use super::persistence::SaveError;
use super::{Driver, PendingCall};
use crate::domain::{Secret, steady};
use crate::store::records::{CredentialsRecord, TokenRecord};
use crate::tokens::keeper::request::Link;
use crate::tokens::keeper::{BrokerReply, BrokerRequest, CallResult};
use crate::tokens::lifecycle::{AttemptOutcome, CheckOutcome, Event, Strategy, TokenSource, Trouble};
use crate::tokens::live::facts;

impl Driver {
    pub(super) fn attempt(
        &mut self,
        id: u64,
        source: Option<TokenSource>,
        question: Option<BrokerRequest>,
        recorded: bool,
        events: &mut VecDeque<Event>,
    ) {
        match question {
            Some(question) if self.setup.legs.is_some() => self.call(PendingCall::Attempt { id, source }, question),
            Some(_) | None => {
                let outcome = match self.unrecorded.filter(|_| !recorded) {
                    Some(trouble) => {
                        self.give_link(Err(trouble.clone()));
                        AttemptOutcome::NotRecorded(trouble.clone())
                    }
                    None => {
                        self.give_link(Err(UNSENT));
                        AttemptOutcome::NotSent
                    }
                };
                events.push_back(Event::Attempt { id, outcome });
            }
        }
    }

    pub(super) fn credentials(&self) -> Option<CredentialsRecord> {
        match self.shared.store.get::<CredentialsRecord>(&self.keeper.account.name) {
            Ok(known) => known,
            Err(err) => {
                tracing::error!(account = %self.keeper.account.name, error = %err, "the credentials cannot be read");
                None
            }
        }
    }

    pub(super) fn login(&mut self, strategy: Strategy, latest: Timestamp) -> Option<BrokerRequest> {
        let known = self.credentials()?;
        match strategy {
            Strategy::PinTotp { step } => {
                Some(BrokerRequest::PinTotp { pin: known.pin?, totp_secret: known.totp_secret?, step, latest })
            }
            Strategy::Consent => {
                // Kept until the answer: what could not be sent is tried again.
                let token_id = self.token_id.clone()?;
                let (api_key, api_secret) = (known.api_key?, known.api_secret?);
                Some(BrokerRequest::ConsentToken { token_id, api_key, api_secret, latest })
            }
        }
    }

    /// Call the broker, aside. An answer comes in any case: a task that fails is an
    /// answer that was lost.
    pub(super) fn call(&mut self, errand: PendingCall, question: BrokerRequest) {
        let Some(legs) = self.setup.legs.clone() else { return };
        let (shared, client_id) = (Arc::clone(&self.shared), self.keeper.account.client_id.clone());
        // A task of its own, so that a login goes on if this keeper ends.
        let begin = move |room: Option<OwnedSemaphorePermit>| -> JoinHandle<BrokerReply> {
            let call = shared.broker.call(legs, client_id, question);
            shared.tasks.spawn(async move {
                let _room = room;
                call.await
            })
        };
        let lost = BrokerReply { skew: None, said: CallResult::Unknown };
        let running = self.running.get_or_insert_default();
        match errand {
            PendingCall::Attempt { .. } => {
                let task = begin(None);
                running.push(Box::pin(async move { (errand, task.await.unwrap_or(lost)) }));
            }
            PendingCall::Check { .. } => {
                let shared = Arc::clone(&self.shared);
                running.push(Box::pin(async move {
                    // What asking takes is made when it has room: after a start every account waits for that.
                    let room = Arc::clone(&shared.checks).acquire_owned();
                    tokio::select! {
                        biased;
                        () = shared.tasks.stopping() => (errand, lost),
                        room = room => (errand, begin(room.ok()).await.unwrap_or(lost)),
                    }
                }));
            }
        }
    }

    pub(super) async fn answered(&mut self, errand: PendingCall, answer: BrokerReply) {
        let BrokerReply { skew, said } = answer;
        if let Some(skew) = skew {
            self.shared.measured(skew);
        }
        self.clock(skew).await;
        match errand {
            PendingCall::Check { id } => {
                let (outcome, why) = match said {
                    CallResult::Checked(outcome, why) => (outcome, why),
                    CallResult::Token(_) | CallResult::Link(_) | CallResult::Refused(_) | CallResult::Heard => {
                        (CheckOutcome::Unclear, None)
                    }
                    CallResult::Unknown | CallResult::NotSent(_) => (CheckOutcome::NoAnswer, None),
                };
                self.feed(Event::Checked { id, outcome, why }).await;
            }
            PendingCall::Attempt { id, source } => {
                let outcome = match (said, source) {
                    (CallResult::Token(text), Some(source)) => self.minted(text, source).await,
                    (CallResult::Link(url), None) => {
                        let left = self.machine.consents_left(steady::now());
                        self.give_link(Ok(Link { url, left }));
                        AttemptOutcome::ConsentMade
                    }
                    (CallResult::Refused(refusal), _) => {
                        self.give_link(Err(refusal.trouble.clone()));
                        AttemptOutcome::Refused(*refusal)
                    }
                    (CallResult::NotSent(why), _) => {
                        let mut unsent = UNSENT;
                        unsent.summary = format!("a login link could not be asked for: {why}").into();
                        self.give_link(Err(unsent));
                        self.machine.could_not_send(why);
                        AttemptOutcome::NotSent
                    }
                    (
                        CallResult::Token(_)
                        | CallResult::Link(_)
                        | CallResult::Checked(..)
                        | CallResult::Heard
                        | CallResult::Unknown,
                        _,
                    ) => {
                        self.give_link(Err(LOST));
                        AttemptOutcome::Unknown
                    }
                };
                if source == Some(TokenSource::Consent) && !matches!(outcome, AttemptOutcome::NotSent) {
                    self.token_id = None;
                }
                self.feed(Event::Attempt { id, outcome }).await;
            }
        }
    }

    pub(super) fn give_link(&mut self, link: Result<Link, Trouble>) {
        if let Some(wanted) = self.link_wanted.take() {
            let _ = wanted.send(link);
        }
    }

    /// Number a new token, store it, and let it sign.
    async fn minted(&mut self, text: Secret, source: TokenSource) -> AttemptOutcome {
        let name = self.keeper.account.name.clone();
        let mut record = TokenRecord {
            expires_at: expiry_of(&text),
            access_token: text,
            source: source.as_str().to_owned(),
            generation: 0,
            stored_at: steady::now(),
        };
        if let Err(err) = self.save(&mut record).await {
            if matches!(err, SaveError::Gone) {
                return AttemptOutcome::Unknown;
            }
            tracing::error!(account = %name, error = %err, "a new token cannot be stored yet; it signs, and is stored as soon as it can be");
            record.generation = record.generation.max(self.keeper.cell.last().map_or(0, |last| last.generation()) + 1);
            self.unsaved = Some(Box::new(record.clone()));
        }
        self.publish(&record);
        AttemptOutcome::Minted(facts(&record))
    }
}

/// The end of a token that was checked to have one.
fn expiry_of(text: &Secret) -> i64 {
    use crate::domain::secret::ExposeSecret;
    crate::broker::dhan::token::Claims::read(text.expose_secret()).map_or(0, |claims| claims.expires_at)
}

const UNSENT: Trouble = Trouble::new(
    "login_not_sent",
    "no connection to the broker could be made to ask for a login link",
    "see the account's legs, then try again",
);

const LOST: Trouble = Trouble::new(
    "login_lost",
    "the broker did not answer when asked for a login link",
    "try again; the link that was lost counts among today's 25",
);
