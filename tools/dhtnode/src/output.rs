//! stdout: what was asked for, as text or as JSON, one object a line.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use data_encoding::HEXLOWER;
use dhtnet_cli::{ExitCode, Failure};
use serde_json::{Value, json};

/// Why a command ends before its work is done.
#[derive(Debug)]
pub(crate) enum Halt {
    /// It failed, and the user must be told.
    Failure(Failure),
    /// Nobody wants more of it: the reader of stdout is gone, or the user interrupted.
    Quiet(ExitCode),
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// Which of the two forms is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// For people and shells.
    Text,
    /// For programs.
    Json,
}

impl Form {
    /// The form that the flag `--json` asks for.
    pub(crate) fn of_flag(json: bool) -> Self {
        if json { Self::Json } else { Self::Text }
    }
}

/// Where results go. Clones write to the same stream, each in its own form.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    stdout: Arc<File>,
    form: Form,
    is_terminal: bool,
}

impl Output {
    /// Results go to `stdout` in this form.
    pub(crate) fn new(stdout: Arc<File>, form: Form) -> Self {
        let is_terminal = stdout.is_terminal();
        Self {
            stdout,
            form,
            is_terminal,
        }
    }

    /// The same stream, in another form.
    pub(crate) fn in_form(&self, form: Form) -> Self {
        Self {
            form,
            ..self.clone()
        }
    }

    /// Which form is printed.
    pub(crate) fn form(&self) -> Form {
        self.form
    }

    /// Prints `text` (whole lines) or `json`.
    pub(crate) fn print(&self, text: &str, json: &Value) -> Result<(), Halt> {
        match self.form {
            Form::Text => self.write(text.as_bytes()),
            Form::Json => self.write(format!("{json}\n").as_bytes()),
        }
    }

    /// Prints a value: as it is if it is text, or if stdout is no terminal; else as hexadecimal
    /// digits. `before` stands before it on its line.
    pub(crate) fn print_value(&self, before: &str, value: &[u8], json: &Value) -> Result<(), Halt> {
        match self.form {
            Form::Text => {
                let mut line = before.as_bytes().to_vec();
                line.extend(value_line(value, self.is_terminal));
                self.write(&line)
            }
            Form::Json => self.print("", json),
        }
    }

    /// One write for each line, so that lines of several tasks do not mix.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<(), Halt> {
        match (&*self.stdout).write_all(bytes) {
            Ok(()) => Ok(()),
            // The reader had enough, as in `dhtnode listen KEY | head -1`.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                Err(Halt::Quiet(ExitCode::Failed))
            }
            Err(error) => Err(Failure::failed(format!("cannot write to stdout: {error}")).into()),
        }
    }
}

/// A value as a line. Text ends with a line feed, its own or one that is added; bytes that are no
/// text are written to a file or pipe exactly as they are, and to a terminal as digits.
fn value_line(value: &[u8], is_terminal: bool) -> Vec<u8> {
    match (as_text(value), is_terminal) {
        (Some(text), _) if text.ends_with('\n') => value.to_vec(),
        (Some(_), _) => [value, b"\n"].concat(),
        (None, true) => format!("hex:{}\n", HEXLOWER.encode(value)).into_bytes(),
        (None, false) => value.to_vec(),
    }
}

/// The value as a text of one line, whatever it holds, for lines with other fields.
pub(crate) fn value_word(value: &[u8]) -> String {
    match as_text(value) {
        Some(text) if !text.contains('\n') => text.to_owned(),
        _ => format!("hex:{}", HEXLOWER.encode(value)),
    }
}

/// The fields `value` and `encoding` of a JSON object.
pub(crate) fn value_fields(value: &[u8]) -> [(&'static str, Value); 2] {
    let (text, encoding) = match std::str::from_utf8(value) {
        Ok(text) => (text.to_owned(), "utf8"),
        Err(_) => (HEXLOWER.encode(value), "hex"),
    };
    [("value", json!(text)), ("encoding", json!(encoding))]
}

/// `value` if it is UTF-8 without control characters other than line feeds and tabs.
fn as_text(value: &[u8]) -> Option<&str> {
    let is_shown = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    std::str::from_utf8(value)
        .ok()
        .filter(|text| text.chars().all(is_shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_gets_a_line_of_its_own_and_bytes_stay_what_they_are() {
        for is_terminal in [false, true] {
            assert_eq!(value_line(b"two words", is_terminal), b"two words\n");
            assert_eq!(value_line(b"a\nb\n", is_terminal), b"a\nb\n");
            assert_eq!(
                value_line("grün\t✓".as_bytes(), is_terminal),
                "grün\t✓\n".as_bytes()
            );
            assert_eq!(value_line(b"", is_terminal), b"\n");
        }
    }

    #[test]
    fn nothing_that_is_stored_can_steer_the_terminal() {
        for value in [
            &b"\x1b[2J"[..],
            b"a\rb",
            b"\xff\x00",
            b"\x7f",
            "\u{9b}2J".as_bytes(),
        ] {
            let line = value_line(value, true);
            assert!(line.starts_with(b"hex:"), "{value:?}");
            assert_eq!(line[4..line.len() - 1], *HEXLOWER.encode(value).as_bytes());
            assert_eq!(value_line(value, false), value);
            assert!(value_word(value).starts_with("hex:"));
        }
        assert_eq!(value_word(b"a\nb"), "hex:610a62");
    }

    #[test]
    fn json_says_how_the_value_is_written() {
        let fields = |value| value_fields(value).map(|(name, field)| format!("{name}={field}"));
        assert_eq!(fields(b"a\"b"), ["value=\"a\\\"b\"", "encoding=\"utf8\""]);
        assert_eq!(fields(b"\x00\xff"), ["value=\"00ff\"", "encoding=\"hex\""]);
    }
}
