//! A service manager that forbids a family of sockets.

use std::path::Path;
use std::process::Command;

use super::preload;

/// `AF_UNIX`, as the kernel numbers it.
pub(crate) const UNIX: u8 = 1;
/// `AF_INET6`.
pub(crate) const INET6: u8 = 10;
/// `AF_NETLINK`.
pub(crate) const NETLINK: u8 = 16;

/// Let a program, and what it starts, open no socket of this family. The library is built into `dir`.
pub(crate) fn family(family: u8, dir: &Path, command: &mut Command) {
    let library = preload::library("support/forbid.c", dir);
    command.env("LD_PRELOAD", library).env("FORBIDDEN_FAMILY", family.to_string());
}
