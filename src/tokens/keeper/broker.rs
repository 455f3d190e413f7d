//! The real broker behind a keeper's questions.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::{Answer, Broker, CallResult, Question};
use crate::domain::ClientId;
use crate::legs::Legs;
use crate::tokens::client::{Answered, BrokerClient, Called, Profile};
use crate::tokens::lifecycle::CheckOutcome;

impl Broker for BrokerClient {
    fn ask(&self, legs: Arc<Legs>, client_id: ClientId, question: Question) -> BoxFuture<'static, Answer> {
        let login = self.clone();
        async move {
            match question {
                Question::PinTotp { pin, totp_secret, step, latest } => {
                    let called = login.pin_totp(&legs, &client_id, &pin, &totp_secret, step, latest).await;
                    answer(called, |minted| CallResult::Token(minted.token))
                }
                Question::Renew { token, latest } => {
                    let called = login.renew(&legs, &client_id, &token.secret(), latest).await;
                    answer(called, |minted| CallResult::Token(minted.token))
                }
                Question::ConsentLink { api_key, api_secret, latest } => {
                    let called = login.generate_consent(&legs, &client_id, &api_key, &api_secret, latest).await;
                    answer(called, |link| CallResult::Link(link.url))
                }
                Question::ConsentToken { token_id, api_key, api_secret, latest } => {
                    let called =
                        login.consume_consent(&legs, &client_id, &token_id, &api_key, &api_secret, latest).await;
                    answer(called, |minted| CallResult::Token(minted.token))
                }
                Question::Time => answer(login.time(&legs, &client_id).await, |()| CallResult::Heard),
                Question::Profile { token } => checked(login.profile(&legs, &client_id, &token.secret()).await),
            }
        }
        .boxed()
    }
}

fn answer<T>(called: Called<Answered<T>>, good: impl FnOnce(T) -> CallResult) -> Answer {
    let said = match called.answered {
        Answered::Good(it) => good(it),
        Answered::Refused(refusal) => CallResult::Refused(Box::new(refusal)),
        Answered::Unknown(_) => CallResult::Unknown,
        Answered::NotSent(why) => CallResult::NotSent(why),
    };
    Answer { skew: called.skew, said }
}

fn checked(called: Called<Profile>) -> Answer {
    let outcome: CheckOutcome = called.answered.outcome;
    Answer { skew: called.skew, said: CallResult::Checked(outcome) }
}
