//! Input that is taken apart.

/// Input that has parts: what stands before the first `with` and what stands after it.
pub(super) fn parts(data: &[u8], with: u8) -> (&[u8], &[u8]) {
    let at = memchr::memchr(with, data).unwrap_or(data.len());
    (data.get(..at).unwrap_or_default(), data.get(at + 1..).unwrap_or_default())
}

/// How much comes at once: all of it, a byte, and something between that hangs on the input.
pub(super) fn pieces(data: &[u8]) -> [usize; 2] {
    [1, 2 + data.iter().map(|byte| usize::from(*byte)).sum::<usize>() % 13]
}
