//! Questions on a terminal, by way of script(1), which gives a program one of its own.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use crate::{Place, is_there};

/// A program on a terminal.
struct OnTerminal {
    child: Child,
    seen: String,
}

impl OnTerminal {
    fn start(place: &Place, words: &str) -> Self {
        let line = format!("{} {words}", env!("CARGO_BIN_EXE_crtmgr"));
        let child = Command::new("script")
            .args(["-q", "-e", "-c", &line, "/dev/null"])
            .env_remove("DHTNET_PASSPHRASE")
            .env("DHTNET_HOME", place.home())
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            child,
            seen: String::new(),
        }
    }

    /// Waits for a question, which is on the terminal only after all that was typed before was
    /// thrown away, and answers.
    fn answer(&mut self, question: &str, keys: &str) {
        let mut byte = [0];
        while !self.seen.ends_with(question) {
            let read = self.child.stdout.as_mut().unwrap().read(&mut byte).unwrap();
            assert_eq!(read, 1, "no {question:?} in {:?}", self.seen);
            self.seen.push(char::from(byte[0]));
        }
        self.child
            .stdin
            .as_mut()
            .unwrap()
            .write_all(keys.as_bytes())
            .unwrap();
    }

    /// The exit code and all that was on the terminal.
    fn end(mut self) -> (Option<i32>, String) {
        let mut rest = Vec::new();
        self.child
            .stdout
            .take()
            .unwrap()
            .read_to_end(&mut rest)
            .unwrap();
        self.seen.push_str(&String::from_utf8_lossy(&rest));
        (self.child.wait().unwrap().code(), self.seen)
    }
}

#[test]
fn a_passphrase_is_asked_twice_and_not_shown() {
    if !is_there("script", "a_passphrase_is_asked_twice_and_not_shown") {
        return;
    }
    let place = Place::new();
    let mut made = OnTerminal::start(&place, "init --passphrase");
    made.answer("New passphrase: ", "sesamx\u{7f}e\n");
    made.answer("Once more: ", "sesame\n");
    let (code, seen) = made.end();
    assert_eq!(code, Some(0), "{seen}");
    assert!(!seen.contains("sesam"), "{seen}");

    let mut opened = OnTerminal::start(&place, "id");
    opened.answer("identity.pem: ", "sesame\n");
    let (code, seen) = opened.end();
    assert_eq!(code, Some(0), "{seen}");
    assert!(!seen.contains("sesame"));
}

#[test]
fn two_different_passphrases_and_control_c_make_nothing() {
    if !is_there(
        "script",
        "two_different_passphrases_and_control_c_make_nothing",
    ) {
        return;
    }
    let place = Place::new();
    let mut made = OnTerminal::start(&place, "init --passphrase");
    made.answer("New passphrase: ", "one\n");
    made.answer("Once more: ", "two\n");
    let (code, seen) = made.end();
    assert_eq!(code, Some(5), "{seen}");
    assert!(seen.contains("the two passphrases differ"), "{seen}");

    let mut made = OnTerminal::start(&place, "init --passphrase");
    made.answer("New passphrase: ", "one\u{3}");
    let (code, seen) = made.end();
    assert_eq!(code, Some(130), "{seen}");
    assert!(!place.home().join("identity.pem").exists());
}

#[test]
fn without_a_terminal_it_is_said_where_a_passphrase_may_come_from() {
    let test = "without_a_terminal_it_is_said_where_a_passphrase_may_come_from";
    if !is_there("setsid", test) {
        return;
    }
    let place = Place::new();
    let mut command = Command::new("setsid");
    command
        .args([
            "--wait",
            env!("CARGO_BIN_EXE_crtmgr"),
            "init",
            "--passphrase",
        ])
        .env_remove("DHTNET_PASSPHRASE")
        .env("DHTNET_HOME", place.home());
    let ended = place.ended(command);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(5), ""));
    assert_eq!(
        ended.stderr,
        "crtmgr: a passphrase is needed, and there is no terminal to ask; name a file with \
         --passphrase-file, or set DHTNET_PASSPHRASE\n"
    );
    assert!(!place.home().join("identity.pem").exists());
}
