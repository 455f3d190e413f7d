//! How a dial failed, as the kernel is asked about it.

/// How a dial failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The address could not be bound.
    Bind(i32),
    /// Connecting was refused with this error number.
    Connect(i32),
    /// The connection was not answered.
    Silent,
    /// It was connected, and the handshake of TLS was not answered.
    SilentTls,
}
