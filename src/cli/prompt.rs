//! Asking for a secret on a terminal, without echo.
//!
//! The terminal is read byte by byte and not by the line: a line of the kernel's ends
//! at 4,095 characters, and Ctrl-C must restore the echo before the program goes.

use std::io::{IsTerminal, Write};

use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::failure::CallError;
use crate::domain::{Secret, pasted};

/// The longest answer, with room to spare for a token.
const LONGEST: usize = 8192;

/// What a terminal sends around pasted text, where it was asked to (xterm's bracketed paste).
const PASTE: (&[u8], &[u8]) = (b"\x1b[200~", b"\x1b[201~");

/// Ask on the terminal; the answer as it was given, which may be empty.
///
/// # Errors
/// [`CallError::Usage`] without a terminal, [`CallError::Interrupted`] after Ctrl-C.
pub(super) fn read(question: &str) -> Result<Secret, CallError> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        let text = "--ask needs a terminal to ask on; without one, name files of secrets, or - for standard input";
        return Err(CallError::Usage(text.to_owned()));
    }
    let fail = |err: nix::Error| CallError::Secret(format!("the terminal cannot be asked: {err}"));
    let quiet = Quiet::begin(stdin).map_err(fail)?;
    eprint!("{question}: ");
    let _ = std::io::stderr().flush();
    let answer = read_line(&quiet);
    eprintln!();
    let answer = answer?;
    let text = pasted::text(&answer).map_err(|why| CallError::Secret(format!("{question}: {why}")))?;
    Ok(Secret::from(text.as_str()))
}

/// Ask whether something is meant; anything but yes is no.
///
/// # Errors
/// [`CallError::Usage`] with `unasked` where there is no terminal to ask on.
pub(super) fn confirm(question: &str, unasked: &str) -> Result<bool, CallError> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(CallError::Usage(unasked.to_owned()));
    }
    eprint!("{question}. Go on? [y/N] ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let read = stdin.read_line(&mut answer);
    read.map_err(|err| CallError::Secret(format!("the terminal cannot be read: {err}")))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// A terminal that shows nothing and leaves Ctrl-C to us; as before when dropped.
struct Quiet {
    stdin: std::io::Stdin,
    before: Termios,
}

impl Quiet {
    fn begin(stdin: std::io::Stdin) -> nix::Result<Self> {
        let before = tcgetattr(&stdin)?;
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ECHO | LocalFlags::ECHONL | LocalFlags::ICANON | LocalFlags::ISIG);
        for (index, value) in [(SpecialCharacterIndices::VMIN, 1), (SpecialCharacterIndices::VTIME, 0)] {
            if let Some(character) = quiet.control_chars.get_mut(index as usize) {
                *character = value;
            }
        }
        // What was typed before the question is no answer to it.
        tcsetattr(&stdin, SetArg::TCSAFLUSH, &quiet)?;
        // A token that was copied with line breaks in it would end at the first, and the shell would show and run the
        // rest of it.
        marks_pastes(true);
        Ok(Self { stdin, before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        marks_pastes(false);
        // Not flushed: what is typed ahead may be the answer to the next question.
        let _ = tcsetattr(&self.stdin, SetArg::TCSANOW, &self.before);
    }
}

/// Ask the terminal to tell where pasted text begins and ends, or no longer to; what is none knows nothing of it.
fn marks_pastes(on: bool) {
    let mut terminal = std::io::stderr();
    let dumb = std::env::var_os("TERM").is_none_or(|name| name == "dumb");
    if terminal.is_terminal() && !dumb {
        let _ = terminal.write_all(if on { b"\x1b[?2004h" } else { b"\x1b[?2004l" }).and_then(|()| terminal.flush());
    }
}

/// What is typed up to the end of a line, or pasted with all of its lines.
fn read_line(quiet: &Quiet) -> Result<Zeroizing<Vec<u8>>, CallError> {
    // Made once: a buffer that grows leaves copies behind.
    let mut line = Zeroizing::new(Vec::with_capacity(LONGEST));
    let mut pasting = false;
    loop {
        let mut byte = [0u8];
        // Past the buffer of `Stdin`, which would keep a copy of the secret.
        let count = match nix::unistd::read(&quiet.stdin, &mut byte) {
            Err(nix::Error::EINTR) => continue,
            read => read.map_err(|err| CallError::Secret(format!("the terminal cannot be read: {err}")))?,
        };
        let [byte] = byte;
        match byte {
            _ if count == 0 => return Ok(line),
            byte if pasting && line.len() < LONGEST => {
                line.push(byte);
                pasting = !took_away(&mut line, PASTE.1);
            }
            b'\r' | b'\n' => return Ok(line),
            3 => return Err(CallError::Interrupted),
            4 if line.is_empty() => return Err(CallError::Interrupted),
            4 => return Ok(line),
            8 | 127 => erase(&mut line),
            21 => line.clear(),
            // Escape sequences of arrow keys and the like are no part of a secret, but
            // dropping a half of one would leave the other in it: it is kept and refused.
            byte if line.len() < LONGEST => {
                line.push(byte);
                pasting = took_away(&mut line, PASTE.0);
            }
            _ => return Err(CallError::Secret(format!("the answer has more than {LONGEST} characters"))),
        }
    }
}

/// Does the line end with `mark`? It is taken away.
fn took_away(line: &mut Vec<u8>, mark: &[u8]) -> bool {
    let before = line.strip_suffix(mark).map(<[u8]>::len);
    line.truncate(before.unwrap_or(line.len()));
    before.is_some()
}

/// Take the last character away, of however many bytes.
fn erase(line: &mut Vec<u8>) {
    while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_is_erased_whole() {
        let mut line = "aé€".as_bytes().to_vec();
        for left in ["aé", "a", "", ""] {
            erase(&mut line);
            assert_eq!(line, left.as_bytes());
        }
    }
}
