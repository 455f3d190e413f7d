//! The real broker behind a keeper's questions.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::{BrokerReply, BrokerRequest, CallResult, TokenBroker};
use crate::domain::ClientId;
use crate::legs::Legs;
use crate::tokens::client::{Answered, BrokerClient, Called, TokenProfile};
use crate::tokens::lifecycle::MarketCalendar;
use crate::tokens::market::Exchanges;

impl TokenBroker for BrokerClient {
    fn call(&self, legs: Arc<Legs>, client_id: ClientId, question: BrokerRequest) -> BoxFuture<'static, BrokerReply> {
        let client = self.clone();
        async move {
            match question {
                BrokerRequest::PinTotp { pin, totp_secret, step, latest } => {
                    let called = client.pin_totp(&legs, &client_id, &pin, &totp_secret, step, latest).await;
                    answer(called, |minted| CallResult::Token(minted.token))
                }
                BrokerRequest::Renew { token, latest } => {
                    let called = client.renew(&legs, &client_id, &token.secret(), latest).await;
                    answer(called, |minted| CallResult::Token(minted.token))
                }
                BrokerRequest::ConsentLink { api_key, api_secret, latest } => {
                    let called = client.generate_consent(&legs, &client_id, &api_key, &api_secret, latest).await;
                    answer(called, |link| CallResult::Link(link.url))
                }
                BrokerRequest::ConsentToken { token_id, api_key, api_secret, latest } => {
                    let called =
                        client.consume_consent(&legs, &client_id, &token_id, &api_key, &api_secret, latest).await;
                    answer(called, |minted| CallResult::Token(minted.token))
                }
                BrokerRequest::Time => answer(client.time(&legs, &client_id).await, |()| CallResult::Heard),
                BrokerRequest::Profile { token } => checked(client.profile(&legs, &client_id, &token.secret()).await),
            }
        }
        .boxed()
    }

    fn calendar(&self) -> &dyn MarketCalendar {
        &Exchanges
    }
}

fn answer<T>(called: Called<Answered<T>>, good: impl FnOnce(T) -> CallResult) -> BrokerReply {
    let said = match called.answered {
        Answered::Good(it) => good(it),
        Answered::Refused(refusal) => CallResult::Refused(Box::new(refusal)),
        Answered::Unknown(_) => CallResult::Unknown,
        Answered::NotSent(why) => CallResult::NotSent(why),
    };
    BrokerReply { skew: called.skew, said }
}

fn checked(called: Called<TokenProfile>) -> BrokerReply {
    let TokenProfile { outcome, trouble, .. } = called.answered;
    BrokerReply { skew: called.skew, said: CallResult::Checked(outcome, trouble.map(Box::new)) }
}
