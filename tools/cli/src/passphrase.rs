//! The passphrase of a key: from a file, the environment, or the terminal, and never from the
//! command line, which every user of the machine can read.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use dhtnet_identity::device_key::{MAX_PASSPHRASE_LEN, Passphrase};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use zeroize::Zeroizing;

use crate::flags::HomeFlags;
use crate::{ExitCode, Failure};

/// Holds the passphrase where no terminal is.
const VARIABLE: &str = "DHTNET_PASSPHRASE";
/// Permission bits of everybody but the owner.
const FOREIGN_BITS: u32 = 0o077;
const HOW_ELSE: &str = "name a file with --passphrase-file, or set DHTNET_PASSPHRASE";

const INTERRUPT: u8 = 3;
const END: u8 = 4;
const BACKSPACE: u8 = 8;
const DELETE: u8 = 127;
const KILL_LINE: u8 = 21;

impl HomeFlags {
    /// The passphrase of the key in `path`.
    ///
    /// # Errors
    /// Exit code 5 if there is none, 130 if the user interrupts the question, 143 if a signal does.
    pub fn passphrase_of(&self, path: &Path) -> Result<Passphrase, Failure> {
        match self.given()? {
            Some(word) => Ok(word),
            None => ask(&format!("Passphrase of {}: ", path.display())),
        }
    }

    /// A passphrase for a new key; on the terminal it is asked for twice.
    ///
    /// # Errors
    /// Those of [`passphrase_of`](Self::passphrase_of); exit code 5 if the two differ.
    pub fn new_passphrase(&self) -> Result<Passphrase, Failure> {
        if let Some(word) = self.given()? {
            return Ok(word);
        }
        let first = ask_text("New passphrase: ")?;
        let second = ask_text("Once more: ")?;
        if first != second {
            return Err(fault("the two passphrases differ"));
        }
        checked(first)
    }

    /// What the file or the environment says.
    fn given(&self) -> Result<Option<Passphrase>, Failure> {
        if let Some(path) = &self.passphrase_file {
            return read_file(path).map(Some);
        }
        match std::env::var(VARIABLE) {
            Ok(text) if text.is_empty() => Ok(None),
            Ok(text) => checked(Zeroizing::new(text)).map(Some),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(_) => Err(fault(format!("${VARIABLE} is not UTF-8 text"))),
        }
    }
}

/// The first line of a file that its owner alone may read.
fn read_file(path: &Path) -> Result<Passphrase, Failure> {
    let failed = |what: &dyn std::fmt::Display| {
        fault(format!(
            "cannot read the passphrase in {}: {what}",
            path.display()
        ))
    };
    let file = File::open(path).map_err(|error| failed(&error))?;
    let metadata = file.metadata().map_err(|error| failed(&error))?;
    let mode = metadata.mode() & 0o7777;
    // A pipe of `<(...)` belongs to who made it, whatever its mode.
    if metadata.is_file() && mode & FOREIGN_BITS != 0 {
        let advice = format!("run: chmod 600 {}", path.display());
        return Err(failed(&format!("other users may read it (mode {mode:04o})")).advise(advice));
    }
    // The longest passphrase, its line end, and one byte that shows that there is more.
    let limit = MAX_PASSPHRASE_LEN as u64 + 3;
    let mut text = Zeroizing::new(String::with_capacity(MAX_PASSPHRASE_LEN + 3));
    file.take(limit)
        .read_to_string(&mut text)
        .map_err(|error| failed(&error))?;
    let line = text.lines().next().unwrap_or_default();
    checked(Zeroizing::new(line.to_owned()))
}

fn ask(question: &str) -> Result<Passphrase, Failure> {
    checked(ask_text(question)?)
}

fn ask_text(question: &str) -> Result<Zeroizing<String>, Failure> {
    let mut terminal = Terminal::open().map_err(|_| {
        fault("a passphrase is needed, and there is no terminal to ask").advise(HOW_ELSE)
    })?;
    terminal.ask(question)
}

fn checked(text: Zeroizing<String>) -> Result<Passphrase, Failure> {
    Passphrase::new(text).map_err(|error| fault(error.to_string()))
}

fn fault(line: impl Into<String>) -> Failure {
    Failure::new(ExitCode::Identity, line)
}

/// The controlling terminal, which shows nothing of what is typed and is as before when dropped.
///
/// Signals by keys are off meanwhile: a process that they end would leave a terminal that shows
/// nothing.
struct Terminal {
    device: File,
    before: Termios,
}

impl Terminal {
    fn open() -> io::Result<Self> {
        let device = File::options().read(true).write(true).open("/dev/tty")?;
        let before = tcgetattr(&device)?;
        let mut silent = before.clone();
        silent
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        silent.special_codes[SpecialCodeIndex::VMIN] = 1;
        silent.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&device, OptionalActions::Flush, &silent)?;
        Ok(Self { device, before })
    }

    /// Waits for a key. A signal that the tool watches for ends the question: the loop that would
    /// hear of it waits for the answer. Unlike `read`, `poll` is never taken up again after one.
    fn await_key(&mut self) -> Result<(), Failure> {
        let mut fds = [PollFd::new(&self.device, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) => Ok(()),
            Err(Errno::INTR) => {
                let _ = self.device.write_all(b"\n");
                Err(Failure::new(ExitCode::Terminated, "ended by a signal"))
            }
            Err(error) => Err(fault(format!("cannot ask for the passphrase: {error}"))),
        }
    }

    fn ask(&mut self, question: &str) -> Result<Zeroizing<String>, Failure> {
        let failed = |error: io::Error| fault(format!("cannot ask for the passphrase: {error}"));
        self.device.write_all(question.as_bytes()).map_err(failed)?;
        // The whole capacity at once: growing would leave copies behind.
        let mut typed = Zeroizing::new(Vec::with_capacity(MAX_PASSPHRASE_LEN + 1));
        let mut key = Zeroizing::new([0]);
        loop {
            self.await_key()?;
            if self.device.read(&mut *key).map_err(failed)? == 0 {
                break;
            }
            match key[0] {
                b'\n' | b'\r' | END => break,
                INTERRUPT => {
                    let _ = self.device.write_all(b"\n");
                    return Err(Failure::new(ExitCode::Interrupted, "interrupted"));
                }
                BACKSPACE | DELETE => erase_one(&mut typed),
                KILL_LINE => typed.clear(),
                byte if typed.len() <= MAX_PASSPHRASE_LEN => typed.push(byte),
                _ => {}
            }
        }
        self.device.write_all(b"\n").map_err(failed)?;
        let text = std::str::from_utf8(&typed)
            .map_err(|_| fault("the passphrase is not UTF-8 text"))?
            .to_owned();
        Ok(Zeroizing::new(text))
    }
}

/// Takes away the last character, whatever its length in UTF-8.
fn erase_one(typed: &mut Vec<u8>) {
    while typed.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A terminal that is gone has nothing to restore.
        let _ = tcsetattr(&self.device, OptionalActions::Flush, &self.before);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file_with(text: &str, mode: u32) -> (tempfile::TempDir, HomeFlags) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("word");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let flags = HomeFlags {
            passphrase_file: Some(path),
            ..HomeFlags::default()
        };
        (dir, flags)
    }

    #[test]
    fn the_first_line_of_a_private_file_is_the_passphrase() {
        let (_dir, flags) = file_with("correct horse\nsecond line\n", 0o600);
        assert!(flags.given().unwrap().is_some());
    }

    #[test]
    fn a_file_that_others_may_read_an_empty_one_and_a_long_one_are_exit_code_5() {
        let long = "x".repeat(MAX_PASSPHRASE_LEN + 1);
        for (text, mode, part) in [
            ("word\n", 0o644, "(mode 0644)"),
            ("\n", 0o600, "empty"),
            (long.as_str(), 0o600, "longer than"),
        ] {
            let (_dir, flags) = file_with(text, mode);
            let failure = flags.given().unwrap_err();
            assert_eq!(failure.code(), ExitCode::Identity);
            assert!(failure.to_string().contains(part), "{failure}");
        }
        let (_dir, flags) = file_with(&long[1..], 0o600);
        assert!(flags.given().is_ok(), "the longest is taken");
    }

    #[test]
    fn backspace_takes_a_whole_character() {
        let mut typed = "aö".as_bytes().to_vec();
        erase_one(&mut typed);
        assert_eq!(typed, b"a");
        erase_one(&mut typed);
        erase_one(&mut typed);
        assert!(typed.is_empty());
    }
}
