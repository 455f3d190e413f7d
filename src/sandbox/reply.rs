//! Replies, with the broker's own bodies.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

/// A reply, and whether an order was made, changed or cancelled for it.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    content_type: Option<&'static str>,
    location: Option<HeaderValue>,
    body: Bytes,
    pub(super) executed: bool,
}

/// What a handler gives back; the `Err` is a reply too: it refuses.
pub(super) type Answer = Result<Reply, Reply>;

impl Reply {
    /// JSON with any status.
    pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).unwrap_or_default().into();
        Self { content_type: Some("application/json"), body, ..Self::empty(status) }
    }

    /// 200 with JSON.
    pub(super) fn ok(body: &impl Serialize) -> Self {
        Self::json(StatusCode::OK, body)
    }

    /// A status and not a byte.
    pub(super) fn empty(status: StatusCode) -> Self {
        Self { status, content_type: None, location: None, body: Bytes::new(), executed: false }
    }

    /// Text, such as a certificate.
    pub(super) fn text(content_type: &'static str, body: String) -> Self {
        Self { content_type: Some(content_type), body: body.into(), ..Self::empty(StatusCode::OK) }
    }

    /// 302 to another place.
    pub(super) fn redirect(to: &str) -> Self {
        Self { location: HeaderValue::from_str(to).ok(), ..Self::empty(StatusCode::FOUND) }
    }

    /// The same reply with another status.
    pub(super) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The same reply to a request that changed an order.
    pub(super) fn executed(mut self) -> Self {
        self.executed = true;
        self
    }

    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        if let Some(content_type) = self.content_type {
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        if let Some(location) = self.location {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }
}

/// The shape of a trading error.
fn trading(status: StatusCode, kind: &str, code: &str, message: &str) -> Reply {
    Reply::json(status, &json!({"errorType": kind, "errorCode": code, "errorMessage": message}))
}

/// The shape of a data error.
fn data(status: StatusCode, code: &str, text: &str) -> Reply {
    Reply::json(status, &json!({"data": {code: text}, "status": "failed"}))
}

/// 400 DH-905: a field is missing or wrong.
pub(super) fn bad_field() -> Reply {
    let message = "Missing required fields, bad values for parameters etc.";
    trading(StatusCode::BAD_REQUEST, "Input_Exception", "DH-905", message)
}

/// 400 DH-905 with a text of its own.
pub(super) fn input(message: &str) -> Reply {
    trading(StatusCode::BAD_REQUEST, "Input_Exception", "DH-905", message)
}

/// 400 DH-905: a correlation id with what the broker does not take.
pub(super) fn bad_correlation_id() -> Reply {
    input("Invalid correlationId")
}

/// 400 DH-905 with the text that says what it is really about: the address.
pub(super) fn invalid_ip() -> Reply {
    input("Invalid IP")
}

/// 400 DH-906: the order cannot be changed (any more).
pub(super) fn bad_order() -> Reply {
    let message = "Incorrect request for order and cannot be processed.";
    trading(StatusCode::BAD_REQUEST, "Order_Error", "DH-906", message)
}

/// 400 DH-907: nothing under that id. [C]: nobody wrote down what the broker
/// says to an id that it does not know; this is the code whose text fits.
pub(super) fn no_data() -> Reply {
    let message = "System is unable to fetch data due to incorrect parameters or no data present.";
    trading(StatusCode::BAD_REQUEST, "Data_Error", "DH-907", message)
}

/// 404 DH-906: no order under that correlation id, or none that the exchange has yet.
pub(super) fn unknown_correlation_id() -> Reply {
    let message = "Incorrect request for order and cannot be processed";
    trading(StatusCode::NOT_FOUND, "Order_Error", "DH-906", message)
}

/// 400 DH-906: what has not reached the exchange cannot be cancelled.
pub(super) fn in_transit() -> Reply {
    trading(StatusCode::BAD_REQUEST, "Order_Error", "DH-906", "Order is in Transit state")
}

/// 400 DH-906: the kill switch stays off. [C]: that it is refused is documented, its
/// words were not found.
pub(super) fn not_flat() -> Reply {
    let message = "Kill switch cannot be activated while positions or orders are open";
    trading(StatusCode::BAD_REQUEST, "Order_Error", "DH-906", message)
}

/// 500 DH-1111: nobody is at fault, the portfolio is empty.
pub(super) fn no_holdings() -> Reply {
    let message = "No holdings available";
    trading(StatusCode::INTERNAL_SERVER_ERROR, "HOLDING_ERROR", "DH-1111", message)
}

/// 401 DH-902: how charts say that there is no data plan.
pub(super) fn not_subscribed() -> Reply {
    let message = "HTTP Status 451. User has not subscribed to Data APIs or does not have access to Trading APIs. \
                   Kindly subscribe to Data APIs to be able to fetch Data.";
    trading(StatusCode::UNAUTHORIZED, "Invalid_Access", "DH-902", message)
}

/// 403 DH-903: the account may not trade. [C] for the kill switch.
pub(super) fn account_blocked() -> Reply {
    let message =
        "Errors related to User's Account. Check if the required segments are activated or other requirements are met.";
    trading(StatusCode::FORBIDDEN, "User_Account", "DH-903", message)
}

/// 401 DH-901: no token, or one past its end ([C]).
pub(super) fn unauthenticated() -> Reply {
    let message = "Client ID or user generated access token is invalid or expired.";
    trading(StatusCode::UNAUTHORIZED, "Invalid_Authentication", "DH-901", message)
}

/// 400 DH-906: how trading paths refuse a dead or unknown token.
pub(super) fn invalid_token() -> Reply {
    trading(StatusCode::BAD_REQUEST, "Order_Error", "DH-906", "Invalid Token")
}

/// 500 DH-905: how a token that PIN and TOTP made is refused renewal.
pub(super) fn not_renewable() -> Reply {
    let message = "Renewal of token not allowed for this token type";
    trading(StatusCode::INTERNAL_SERVER_ERROR, "INVALID_REQUEST", "DH-905", message)
}

/// 401 808: how data paths refuse a missing, dead or unknown token.
pub(super) fn data_invalid_token() -> Reply {
    data(StatusCode::UNAUTHORIZED, "808", "Authentication Failed - Client ID or Token invalid")
}

/// 401 807: a token past its end, on data paths. [C]
pub(super) fn data_expired() -> Reply {
    data(StatusCode::UNAUTHORIZED, "807", "Access token is expired")
}

/// 401 809: how data paths call a token that is none. [C] for which of 808 and 809 comes when.
pub(super) fn data_token() -> Reply {
    data(StatusCode::UNAUTHORIZED, "809", "Access token is invalid")
}

/// 401 806: how quotes and option chains say that there is no data plan.
pub(super) fn data_not_subscribed() -> Reply {
    data(StatusCode::UNAUTHORIZED, "806", "Data APIs not Subscribed")
}

/// 401 810: the header `client-id` is missing or another account's. [C]
pub(super) fn data_client_id() -> Reply {
    data(StatusCode::UNAUTHORIZED, "810", "Client ID is invalid")
}

/// 400 814: a data request that makes no sense. [C] for the status.
pub(super) fn data_bad_request() -> Reply {
    data(StatusCode::BAD_REQUEST, "814", "Invalid Request")
}

/// 404 for a path that is not there.
pub(super) fn not_found(path: &str, now: Timestamp) -> Reply {
    let timestamp = now.as_millisecond();
    let body = json!({"timestamp": timestamp, "status": 404, "error": "Not Found", "path": path});
    Reply::json(StatusCode::NOT_FOUND, &body)
}

/// 301 to the base of all paths: what writes over HTTP/2 were seen to get.
pub(super) fn moved() -> Reply {
    Reply::redirect("https://api.dhan.co:443/v2/").with_status(StatusCode::MOVED_PERMANENTLY)
}

/// What the CDN in front of the broker says when the broker itself is not there.
pub(super) fn bad_gateway() -> Reply {
    let body = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n\
                <center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n";
    Reply::text("text/html", body.to_owned()).with_status(StatusCode::BAD_GATEWAY)
}

/// A page where JSON was meant, as firewalls and maintenance put in its place.
pub(super) fn html(status: u16) -> Reply {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let body = "<!DOCTYPE html><html><head><title>Please wait</title></head><body>Please wait</body></html>\n";
    Reply::text("text/html; charset=utf-8", body.to_owned()).with_status(status)
}

/// How a login fails: HTTP 200, and the failure in the body.
pub(super) fn login_error(message: &str) -> Reply {
    Reply::ok(&json!({"message": message, "status": "error"}))
}

/// 401: no client id, or none of the broker's. [C] for all but the text.
pub(super) fn login_unknown() -> Reply {
    login_error("Unauthorized Request").with_status(StatusCode::UNAUTHORIZED)
}

/// 401: the app's key or secret is missing or wrong.
pub(super) fn app_unauthorized() -> Reply {
    login_error("Unauthorized").with_status(StatusCode::UNAUTHORIZED)
}

/// More consents than a day has. [C] for the shape and the status.
pub(super) fn consent_limit() -> Reply {
    let (code, message) = ("CONSENT_LIMIT_EXCEED", "Consent limit Exceeded");
    Reply::ok(&json!({"status": "error", "errorCode": code, "errorMessage": message}))
}

/// A refusal that a test wrote.
pub(super) fn refused(status: u16, body: &Value) -> Reply {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if body.is_null() { Reply::empty(status) } else { Reply::json(status, body) }
}
