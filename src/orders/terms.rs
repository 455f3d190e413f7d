//! What an order asks for, in the broker's words: what a person reads in the journal, and what an order in the
//! broker's book is held against when an answer was lost.
//!
//! Not here: reading a body (`body`), what fits (`evidence`).

use std::fmt;

use serde::{Deserialize, Serialize};

/// A decimal number by its value: `3310.50`, `"3310.5"` and `33105e-1` are the same number and the same text. At most
/// 40 digits; nothing is rounded.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Number(Box<str>);

/// More digits than any price or quantity has; what has more is compared as text.
const DIGITS: usize = 40;

impl Number {
    /// A number as JSON spells it (RFC 8259 section 6). `None` for anything else, and for what has more than 40 digits
    /// when it is written out.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = match rest.find(['e', 'E']) {
            Some(at) => (rest.get(..at)?, rest.get(at + 1..)?.parse::<i32>().ok()?),
            None => (rest, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((_, "")) => return None,
            Some((whole, fraction)) => (whole, fraction),
            None => (mantissa, ""),
        };
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || (whole.len() > 1 && whole.starts_with('0')) || !digits(whole) || !digits(fraction) {
            return None;
        }
        // Nearly every number: nothing has to be moved.
        if exponent == 0 && !negative && fraction.is_empty() && whole.len() <= DIGITS {
            return Some(Self(whole.into()));
        }
        let all = [whole, fraction].concat();
        let point = i64::try_from(whole.len()).ok()? + i64::from(exponent);
        let leading = all.bytes().take_while(|b| *b == b'0').count();
        let significant = all.get(leading..)?.trim_end_matches('0');
        if significant.is_empty() {
            return Some(Self("0".into()));
        }
        let point = point - i64::try_from(leading).ok()?;
        let length = i64::try_from(significant.len()).ok()?;
        if point.abs().max(length).max(length - point) > DIGITS as i64 {
            return None;
        }
        let sign = if negative { "-" } else { "" };
        let text = if point <= 0 {
            format!("{sign}0.{}{significant}", "0".repeat(usize::try_from(-point).ok()?))
        } else if point >= length {
            format!("{sign}{significant}{}", "0".repeat(usize::try_from(point - length).ok()?))
        } else {
            let (whole, fraction) = significant.split_at_checked(usize::try_from(point).ok()?)?;
            format!("{sign}{whole}.{fraction}")
        };
        Some(Self(text.into()))
    }

    /// Of a JSON value that is a number, or a text that spells one.
    pub fn of(value: &serde_json::Value) -> Option<Self> {
        match value {
            serde_json::Value::Number(number) => Self::parse(&number.to_string()),
            serde_json::Value::String(text) => Self::parse(text.trim()),
            serde_json::Value::Null
            | serde_json::Value::Bool(_)
            | serde_json::Value::Array(_)
            | serde_json::Value::Object(_) => None,
        }
    }

    /// Written out: no exponent, no zeros that say nothing.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As near as a double comes.
    pub fn to_f64(&self) -> f64 {
        self.0.parse().unwrap_or(f64::NAN)
    }
}

impl TryFrom<String> for Number {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("not a decimal number")
    }
}

impl From<Number> for String {
    fn from(number: Number) -> Self {
        number.0.into()
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The terms of one placement, or of one change. What the caller left out, or left empty, is `None`. Member names are
/// the journal's; the doc of each names the broker's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Terms {
    /// `transactionType`: `BUY` or `SELL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub side: Option<Box<str>>,
    /// `exchangeSegment`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment: Option<Box<str>>,
    /// `securityId`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security: Option<Box<str>>,
    /// `productType`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<Box<str>>,
    /// `orderType`: `LIMIT`, `MARKET`, `STOP_LOSS`, `STOP_LOSS_MARKET`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub order_type: Option<Box<str>>,
    /// `quantity`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantity: Option<Number>,
    /// `price`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<Number>,
    /// `triggerPrice`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Number>,
    /// `validity`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validity: Option<Box<str>>,
    /// `disclosedQuantity`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disclosed: Option<Number>,
    /// `targetPrice` of a super order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Number>,
    /// `stopLossPrice` of a super order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_loss: Option<Number>,
    /// `trailingJump` of a super order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trailing: Option<Number>,
    /// `legName` of a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leg: Option<Box<str>>,
    /// `orderFlag` of a forever order: `SINGLE` or `OCO`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flag: Option<Box<str>>,
    /// `afterMarketOrder`: it belongs to the next trading day.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub after_market: bool,
    /// `correlationId` of one order of a multi-order; a single order's stands in the line itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<Box<str>>,
    /// `sequence` of one order of a multi-order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<Box<str>>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_number_has_one_text() {
        for (spelt, want) in [
            ("0", "0"),
            ("-0", "0"),
            ("0.000", "0"),
            ("0e9", "0"),
            ("3310.50", "3310.5"),
            ("33105e-1", "3310.5"),
            ("3.3105E+3", "3310.5"),
            ("5", "5"),
            ("5.0", "5"),
            ("500e-2", "5"),
            ("1e3", "1000"),
            ("-0.050", "-0.05"),
            ("0.05", "0.05"),
            ("247.8000030517578", "247.8000030517578"),
            ("100", "100"),
        ] {
            assert_eq!(Number::parse(spelt).unwrap().as_str(), want, "{spelt}");
        }
        for no in ["", "-", "+1", "01", "1.", ".5", "1e", "1e1.5", "0x1", "1 ", "NaN", "1e99999999999", "1e41", "１"] {
            assert!(Number::parse(no).is_none(), "{no}");
        }
    }

    proptest! {
        /// Two spellings of one number must never be two orders, nor two numbers one.
        #[test]
        fn a_text_is_its_number(number in -1_000_000_000_i64..1_000_000_000, places in 0_usize..6, zeros in 0_usize..4) {
            let scale = 10_i64.pow(u32::try_from(places).unwrap());
            let sign = if number < 0 { "-" } else { "" };
            let (whole, fraction) = (number.abs() / scale, number.abs() % scale);
            let spelt = if places == 0 {
                format!("{sign}{whole}")
            } else {
                format!("{sign}{whole}.{fraction:0places$}{}", "0".repeat(zeros))
            };
            let other = format!("{number}e-{places}");
            let (one, two) = (Number::parse(&spelt).unwrap(), Number::parse(&other).unwrap());
            prop_assert_eq!(&one, &two, "{} {}", spelt, other);
            prop_assert_eq!(one.to_f64(), spelt.parse::<f64>().unwrap() + 0.0);
            prop_assert_eq!(Number::parse(one.as_str()).unwrap(), one);
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,30}") {
            let _ = Number::parse(&text);
        }
    }
}
