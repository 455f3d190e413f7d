//! Which secrets of a login an account has, and how they are given and taken away. Never their values.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::error::AccountError;
use crate::domain::Secret;
use crate::domain::problem::Invalid;
use crate::domain::secret::LoginSecret;
use crate::store::records::CredentialsRecord;

/// Which secrets are set, and since when. `None` for those that were given before that was kept.
pub type SecretsSet = BTreeMap<LoginSecret, Option<Timestamp>>;

/// What is set of a record.
pub fn set_of(record: &CredentialsRecord) -> SecretsSet {
    let CredentialsRecord { pin, totp_secret, phone, api_key, api_secret, set_at } = record;
    let given = [
        (LoginSecret::Pin, pin),
        (LoginSecret::TotpSecret, totp_secret),
        (LoginSecret::Phone, phone),
        (LoginSecret::ApiKey, api_key),
        (LoginSecret::ApiSecret, api_secret),
    ];
    let set = given.into_iter().filter(|(_, secret)| secret.is_some());
    set.map(|(name, _)| (name, set_at.get(&name).copied())).collect()
}

/// What an account that logs in by itself lacks for that, by what it has: something of one of the ways is needed, and a
/// PIN needs a TOTP secret and the reverse.
pub fn login_lacks(has: impl Fn(LoginSecret) -> bool, has_token: bool) -> Vec<LoginSecret> {
    let other = has_token || has(LoginSecret::ApiKey) && has(LoginSecret::ApiSecret);
    let by_code = [LoginSecret::Pin, LoginSecret::TotpSecret];
    if other && !by_code.iter().any(|secret| has(*secret)) {
        return Vec::new();
    }
    by_code.into_iter().filter(|secret| !has(*secret)).collect()
}

/// What stands of an old record after new secrets were given and others taken away.
///
/// # Errors
/// [`AccountError::Invalid`] for one that is both given and taken away.
pub(super) fn merge(
    old: Option<CredentialsRecord>,
    new: CredentialsRecord,
    remove: &[LoginSecret],
) -> Result<CredentialsRecord, AccountError> {
    let given = set_of(&new);
    if let Some(both) = remove.iter().find(|name| given.contains_key(name)) {
        let why = Invalid::because(format!("{} is given in the same call; give it or remove it", both.as_str()));
        return Err(AccountError::Invalid { field: "remove", why });
    }
    let mut merged = old.unwrap_or_default();
    merged.pin = new.pin.or(merged.pin);
    merged.totp_secret = new.totp_secret.or(merged.totp_secret);
    merged.phone = new.phone.or(merged.phone);
    merged.api_key = new.api_key.or(merged.api_key);
    merged.api_secret = new.api_secret.or(merged.api_secret);
    let now = Timestamp::now();
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    merged.set_at.extend(given.into_keys().map(|name| (name, now)));
    for name in remove {
        *place(&mut merged, *name) = None;
        merged.set_at.remove(name);
    }
    Ok(merged)
}

const fn place(record: &mut CredentialsRecord, name: LoginSecret) -> &mut Option<Secret> {
    match name {
        LoginSecret::Pin => &mut record.pin,
        LoginSecret::TotpSecret => &mut record.totp_secret,
        LoginSecret::Phone => &mut record.phone,
        LoginSecret::ApiKey => &mut record.api_key,
        LoginSecret::ApiSecret => &mut record.api_secret,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pin: Option<&str>, api_key: Option<&str>) -> CredentialsRecord {
        let secret = |text: Option<&str>| text.map(Secret::from);
        CredentialsRecord { pin: secret(pin), api_key: secret(api_key), ..CredentialsRecord::default() }
    }

    /// A page says "set on 24 November; leave empty to keep": what was left empty keeps its day, and what is removed
    /// leaves nothing behind.
    #[test]
    fn what_is_given_gets_its_time_what_is_left_keeps_its_own_and_what_is_removed_is_gone() {
        let day = Timestamp::from_second(1_000).unwrap();
        let mut old = with(Some("1234"), Some("key"));
        old.set_at = [(LoginSecret::Pin, day)].into();
        assert_eq!(set_of(&old), [(LoginSecret::Pin, Some(day)), (LoginSecret::ApiKey, None)].into());

        let kept = merge(Some(old.clone()), with(None, Some("other")), &[]).unwrap();
        assert_eq!(set_of(&kept)[&LoginSecret::Pin], Some(day));
        assert!(set_of(&kept)[&LoginSecret::ApiKey].unwrap() > day);

        let removed = merge(Some(old.clone()), with(None, None), &[LoginSecret::ApiKey, LoginSecret::Pin]).unwrap();
        assert!(set_of(&removed).is_empty() && removed.set_at.is_empty() && !removed.is_given());

        let both = merge(Some(old), with(Some("4321"), None), &[LoginSecret::Pin]).unwrap_err();
        assert!(matches!(both, AccountError::Invalid { field: "remove", .. }), "{both}");
    }
}
