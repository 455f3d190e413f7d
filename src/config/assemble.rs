//! What a draft without problems is as a configuration.

use std::path::PathBuf;

use super::reader::Pulled;
use super::sections::{Draft, DraftListener, DraftOperator, DraftPool};
use super::{AdminConfig, ClientKey, Config, Listener, ListenerTls, Operator, PoolConfig};

/// A draft without problems as a configuration.
pub(super) fn into_config(draft: Draft, warnings: Vec<String>) -> Option<Config> {
    Some(Config {
        state: draft.state,
        listeners: draft.listeners.into_iter().map(into_listener).collect::<Option<_>>()?,
        admin: AdminConfig {
            bind: draft.admin.bind?,
            token_file: draft.admin.token_file,
            operator_token_file: draft.admin.operator_token_file,
            viewer_token_file: draft.admin.viewer_token_file,
            operators: draft.admin.operators.into_iter().map(into_operator).collect::<Option<_>>()?,
            tls: into_tls(draft.admin.certificate, draft.admin.key),
            public_url: draft.admin.public_url.good(),
            hosts: draft.admin.hosts,
        },
        egress: draft.egress,
        legs: draft.legs,
        orders: draft.orders,
        tokens: draft.tokens,
        limits: draft.limits,
        journal: draft.journal,
        proxy: draft.proxy,
        latency: draft.latency,
        dhan: draft.dhan?,
        pools: draft.pools.into_iter().map(into_pool).collect::<Option<_>>()?,
        log: draft.log,
        warnings,
    })
}

fn into_listener(draft: DraftListener) -> Option<Listener> {
    let bind = draft.bind.clone()?;
    let known_caller = draft.account.given() || draft.uids.given();
    let client_key = match draft.client_key {
        Pulled::Good(key) => key,
        Pulled::Absent if draft.is_transparent() => ClientKey::None,
        Pulled::Absent if known_caller && !bind.is_reachable_from_elsewhere() => ClientKey::None,
        Pulled::Absent | Pulled::Bad => ClientKey::Required,
    };
    let tls = into_tls(draft.certificate, draft.key);
    Some(Listener {
        bind,
        account: draft.account.good(),
        client_key,
        uids: draft.uids.good().unwrap_or_default(),
        tls,
        own_hosts: draft.own_hosts,
        transparent: draft.transparent.good().unwrap_or_default(),
        sources: draft.sources.good().unwrap_or_default(),
    })
}

fn into_tls(certificate: Pulled<PathBuf>, key: Pulled<PathBuf>) -> Option<ListenerTls> {
    Some(ListenerTls { certificate: certificate.good()?, key: key.good()? })
}

fn into_operator(draft: DraftOperator) -> Option<Operator> {
    Some(Operator { name: draft.name?, role: draft.role?, token_file: draft.token_file? })
}

fn into_pool(draft: DraftPool) -> Option<PoolConfig> {
    Some(PoolConfig { name: draft.name?, primary: draft.primary?, secondary: draft.secondary? })
}
