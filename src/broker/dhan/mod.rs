//! Dhan (DhanHQ v2).

pub mod calendar;
pub mod endpoints;
pub mod errors;
pub mod hosts;
pub mod limits;
pub mod streams;
pub mod token;
