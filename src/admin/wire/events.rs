//! Bodies and parameters of `/v1/events`.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

/// Something that happened, as the stream tells it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventBody {
    /// Give it as `Last-Event-ID` to hear what came after.
    pub id: String,
    /// `token`, `leg`, `order`, `validation` or `stream`.
    pub event: &'static str,
    /// `at`, `account`, and what the API shows of it.
    #[schema(value_type = std::collections::HashMap<String, Value>)]
    pub data: Map<String, Value>,
}

/// What just happened.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RecentEventsBody {
    pub items: Vec<EventBody>,
}

/// Which events. Only for the document.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub(crate) struct EventFilter {
    /// Of this account only.
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    pub account: Option<String>,
    /// Of this subject only.
    #[param(inline)]
    pub subject: Option<SubjectWord>,
    /// From this moment on (RFC 3339).
    #[param(value_type = Option<String>, format = DateTime)]
    pub since: Option<String>,
}

/// Which of the events that are kept. Only for the document.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub(crate) struct RecentFilter {
    /// Of this account only.
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    pub account: Option<String>,
    /// Of this subject only.
    #[param(inline)]
    pub subject: Option<SubjectWord>,
    /// Items at most: 1 to 1000, 100 when not given.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
}

/// What an event is about.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "describes a request in the OpenAPI document")]
pub(crate) enum SubjectWord {
    Token,
    Leg,
    Order,
    Validation,
    Stream,
}
