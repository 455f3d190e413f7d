//! The handshake that opens the broker's side of a socket, the first time and again: signed in its query, or followed by
//! a login.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method};

use super::login::Login;
use super::token::TokenWatch;
use crate::accounts::Account;
use crate::broker::dhan::streams::StreamKind;
use crate::dispatch::reply::Problem;
use crate::dispatch::{UpstreamRequest, sign};
use crate::domain::Authority;
use crate::tokens::{By, LiveToken};

/// Sign a handshake. What it says is the login that has to follow it, where one has to.
///
/// # Errors
/// [`Problem`] when its query cannot be signed.
pub(in super::super) fn signed(
    out: &mut UpstreamRequest,
    kind: StreamKind,
    account: &Account,
    token: &Arc<LiveToken>,
) -> Result<Option<Login>, Problem> {
    out.upgrade = true;
    match kind {
        StreamKind::OrderUpdate => {
            // Its login is its first frame; a query could only hold another one.
            out.path = sign::no_query(&out.path);
            Ok(Some(Login::new(account.client_id().clone(), Arc::clone(token))))
        }
        StreamKind::Feed | StreamKind::Depth20 | StreamKind::Depth200 => {
            out.path = sign::feed_query(&out.path, account, token)?;
            out.secret_path = true;
            Ok(None)
        }
    }
}

/// Watches the token that a handshake was signed with.
pub(in super::super) fn watch(account: &Account, token: &LiveToken) -> TokenWatch {
    let (keeper, generation) = (Arc::clone(&account.keeper), token.generation());
    let refused = move || keeper.refused(generation, By::Read);
    TokenWatch::new(Arc::clone(&account.token), generation, refused)
}

/// A handshake as the caller asked for it, unsigned. No `Debug`: its query is the caller's, and may hold a token.
#[derive(Clone)]
pub(super) struct Upstream {
    pub(super) kind: StreamKind,
    authority: Authority,
    path: PathAndQuery,
    headers: HeaderMap,
    limit: Duration,
}

impl Upstream {
    /// Of what is about to be signed.
    pub(super) fn of(out: &UpstreamRequest, kind: StreamKind) -> Self {
        let UpstreamRequest { authority, path, headers, limit, .. } = out;
        let (authority, path, headers) = (authority.clone(), path.clone(), headers.clone());
        Self { kind, authority, path, headers, limit: *limit }
    }

    /// The subprotocols that were asked for.
    pub(super) fn protocol(&self) -> Option<&HeaderValue> {
        self.headers.get(SEC_WEBSOCKET_PROTOCOL)
    }

    /// The same once more, with this key.
    ///
    /// # Errors
    /// As [`signed`].
    pub(super) fn again(
        &self,
        account: &Account,
        token: &Arc<LiveToken>,
        key: HeaderValue,
    ) -> Result<(UpstreamRequest, Option<Login>), Problem> {
        let mut out = UpstreamRequest {
            authority: self.authority.clone(),
            method: Method::GET,
            path: self.path.clone(),
            headers: self.headers.clone(),
            body: Bytes::new(),
            may_repeat: true,
            limit: self.limit,
            upgrade: true,
            secret_path: false,
            counts: None,
        };
        out.headers.insert(SEC_WEBSOCKET_KEY, key);
        let login = signed(&mut out, self.kind, account, token)?;
        Ok((out, login))
    }
}
