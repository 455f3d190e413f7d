//! What an account is made and changed by. Only for the document: requests are read by `fields`.

use serde::Serialize;
use utoipa::ToSchema;

/// A body with fields of its own and those that an account is both made and changed by.
macro_rules! with_account_fields {
    ($(#[$doc:meta])* $name:ident { $($own:tt)* }) => {
        $(#[$doc])*
        #[derive(ToSchema)]
        #[expect(dead_code, reason = "describes a request in the OpenAPI document")]
        pub(crate) struct $name {
            $($own)*
            #[schema(max_length = 256, pattern = "^[\\t-\\r ]*[^\\x00-\\x1F\\x7F-\\x9F]*[\\t-\\r ]*$")]
            pub nickname: Option<String>,
            /// 4 to 6 digits, as people have them: of every secret, what stands around it is taken away (blanks,
            /// quotation marks, names such as `PIN:`). Write-only.
            #[schema(max_length = 4096)]
            pub pin: Option<String>,
            /// 16 to 64 letters of base32, as the broker shows them, or the `otpauth://` address of the picture beside
            /// them. Write-only.
            #[schema(max_length = 4096)]
            pub totp_secret: Option<String>,
            /// Write-only.
            #[schema(max_length = 4096)]
            pub phone: Option<String>,
            /// Write-only.
            #[schema(max_length = 4096)]
            pub api_key: Option<String>,
            /// Write-only.
            #[schema(max_length = 4096)]
            pub api_secret: Option<String>,
            /// A live token; line breaks in it are taken away. Write-only.
            #[schema(max_length = 4096)]
            pub access_token: Option<String>,
            /// What makes an order write a repeat: `any_id`, or `idempotency_key` where correlation ids are labels that
            /// many orders share.
            #[schema(pattern = "^(any_id|idempotency_key)$")]
            pub repeats_by: Option<String>,
            /// What becomes of a WebSocket whose broker's side ends for a reason that is not the caller's doing: `pass_on`
            /// closes it, with `reconnect` the gateway opens the broker's side again and replays the subscriptions, and
            /// with `share` callers of the feed share the broker's sockets as well.
            #[schema(pattern = "^(pass_on|reconnect|share)$")]
            pub streams: Option<String>,
        }
    };
}

with_account_fields! {
    /// The fields of `POST /v1/accounts`.
    AccountFields {
        /// 1 to 64 of `A-Z a-z 0-9 . _ -`.
        #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
        pub name: String,
        /// `DHAN_V2_AT_IPV6` (PIN and TOTP) or `DHAN_V2_IPV6` (a token pasted by hand).
        #[schema(pattern = "^(DHAN_V2_AT_IPV6|DHAN_V2_IPV6)$")]
        pub platform: String,
        /// The broker's `dhanClientId`: digits.
        #[schema(pattern = "^[0-9]{1,20}$")]
        pub client_id: String,
    }
}

with_account_fields! {
    /// The fields of `PATCH /v1/accounts/{name}`; those that are not there stay as they are.
    AccountChanges {
        /// `DHAN_V2_AT_IPV6` (PIN and TOTP) or `DHAN_V2_IPV6` (a token pasted by hand).
        #[schema(pattern = "^(DHAN_V2_AT_IPV6|DHAN_V2_IPV6)$")]
        pub platform: Option<String>,
        /// The broker's `dhanClientId`: digits. It cannot change while the account has a pair that it has had a token with,
        /// or whose addresses were somebody's before: 409 `taken`.
        #[schema(pattern = "^[0-9]{1,20}$")]
        pub client_id: Option<String>,
        /// What to take away: `nickname`, `pin`, `totp_secret`, `phone`, `api_key`, `api_secret`.
        #[schema(max_items = 16)]
        pub remove: Option<Vec<Removable>>,
    }
}

/// What of an account can be taken away.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub(crate) enum Removable {
    Nickname,
    Pin,
    TotpSecret,
    Phone,
    ApiKey,
    ApiSecret,
}
