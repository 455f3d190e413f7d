//! Secrets as people have them: in any editor's encoding, with what stands around them, cut off.

use super::terminal::Terminal;
use super::{DAY, PIN, Running, Shell, TOTP, create, manual, start};
use crate::admin::api::token;

fn utf16(text: &str, to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(to_bytes).collect()
}

fn write(shell: &Shell, name: &str, bytes: &[u8]) {
    std::fs::write(shell.folder.join(name), bytes).unwrap();
}

/// The code is the same, or the secret is another one: then the broker refuses logins, and after two they stop.
#[test]
fn a_totp_secret_gives_the_same_code_from_every_kind_of_file() {
    let Running { shell, .. } = &start();
    let code_of = |file: &str| {
        let said = shell.run(&["totp", "preview", "--file", file, "--json"]).ends(0).json();
        said["code"].as_str().unwrap().to_owned()
    };
    let spoken = format!("\u{feff}export DHAN_TOTP_SECRET=\"{}\u{a0}\u{200b}{}\";\r\n", &TOTP[..9], &TOTP[9..]);
    let address = format!("'otpauth://totp/Dhan:1?issuer=Dhan&amp;secret={}%3D'\n", TOTP.to_lowercase());
    let files = [
        spoken.clone().into_bytes(),
        [b"\xff\xfe".as_slice(), &utf16(&format!("TOTP: {TOTP}\r\n"), u16::to_le_bytes)].concat(),
        [b"\xfe\xff".as_slice(), &utf16(&spoken[3..], u16::to_be_bytes)].concat(),
        utf16(TOTP, u16::to_le_bytes),
        utf16(TOTP, u16::to_be_bytes),
        address.into_bytes(),
    ];
    // The code may be another one by the time that the last file is read.
    let mut codes = vec![code_of("totp.txt")];
    for bytes in &files {
        write(shell, "given.txt", bytes);
        codes.push(code_of("given.txt"));
    }
    codes.push(code_of("totp.txt"));
    let (first, last) = (codes[0].clone(), codes[codes.len() - 1].clone());
    assert!(codes.iter().all(|code| *code == first || *code == last), "{codes:?}");
}

/// An error is copied into a chat to ask what it means.
#[test]
fn what_is_wrong_with_a_secret_is_told_without_it() {
    let Running { shell, .. } = &start();
    for (option, bytes, said) in [
        ("--pin-file", b"49381".repeat(2), "a PIN is 4 to 6 digits, and this has 10"),
        ("--pin-file", b"4938l7".to_vec(), "a letter"),
        ("--totp-secret-file", TOTP.replace('4', "0").into_bytes(), "0, 1, 8 or 9"),
        ("--totp-secret-file", PIN.as_bytes().to_vec(), "six digits are a code"),
        ("--totp-secret-file", TOTP.as_bytes()[..15].to_vec(), "this has 15"),
        ("--totp-secret-file", format!("otpauth://totp/x?digits=8&secret={TOTP}").into_bytes(), "6 digits"),
        ("--api-key-file", b"caf\xe9".to_vec(), "save it as UTF-8"),
        ("--api-secret-file", b"\xff\xfe\0\0J\0\0\0".to_vec(), "UTF-32"),
    ] {
        write(shell, "given.txt", &bytes);
        shell.run(&create(&[option, "given.txt"])).fails(1, &[said]);
    }
}

/// A token that lost its end looks like a token, and every order with it is refused.
#[test]
fn a_token_is_taken_with_line_breaks_in_it_and_not_without_its_end() {
    let Running { api, shell: start, dir, .. } = &start();
    let given = token("1000000001", DAY);
    let mut shell = Shell::new(dir.path(), start.admin.clone());
    shell.secrets.push(given.clone());
    shell.run(&manual(&[])).ends(0);
    let lines = given.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned());
    let broken = lines.collect::<Vec<_>>().join("\r\n");

    for (bytes, said) in [
        (given.as_bytes()[..given.len() - 2].to_vec(), "the signature, has 84 characters in place of 86"),
        (given.as_bytes()[..100].to_vec(), "2 parts"),
        (given.as_bytes()[2..].to_vec(), "the header"),
    ] {
        write(&shell, "cut.txt", &bytes);
        shell.run(&["token", "set", "alpha", "--file", "cut.txt"]).fails(1, &[said, "access_token", "422 unusable"]);
        assert_eq!(api.get("/v1/accounts/alpha/token").text("/state"), "needs_person");
    }

    write(&shell, "token.txt", &utf16(&format!("\u{feff}access-token: {broken}\r\n"), u16::to_le_bytes));
    let set = shell.run(&["token", "set", "alpha", "--file", "token.txt"]).ends(0);
    assert_eq!(set.line("token"), ["token", "live", "(manual)"]);

    // Pasted at the prompt: its first line alone would be half a token, and a shell would show the rest.
    let mut command = shell.command(&["token", "set", "alpha", "--ask"]);
    command.env("TERM", "xterm");
    let mut terminal = Terminal::start(command);
    terminal.shows("Access token: ");
    terminal.types(&format!("\u{1b}[200~Bearer {}\u{1b}[201~\r", broken.replace('\n', "")));
    let (status, output) = terminal.end();
    assert!(status.success(), "{}", terminal.shown());
    assert!(output.contains("live (manual)"), "{output}");
    assert!(!terminal.shown().contains(&given[..20]), "{}", terminal.shown());
    assert!(terminal.shown().contains("\u{1b}[?2004l"), "the shell's own lines are pasted as before");
    assert!(terminal.echoes());
}
