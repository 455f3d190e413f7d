//! The broker as data and parsing: which endpoints there are and what kind of
//! request each is, what its tokens say, what its replies look like. No I/O.
//!
//! `dhan` is the only broker. Facts come from its documentation as compiled in
//! the project's broker reference; each table carries the date it was checked.

pub mod dhan;
