//! Recordings of terminals: asciicast v2, one JSON value a line.
//!
//! What a terminal showed and how its window changed is recorded; what was typed is not, since
//! passwords are among it. The file is for its owner alone. A session that cannot be recorded
//! ends.

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use dhtnet_cli::Failure;
use dhtnet_shell_wire::request::{Size, Terminal};
use serde_json::json;

/// A directory for recordings.
pub(crate) struct Recordings {
    directory: PathBuf,
    /// Tells recordings that begin in the same second apart.
    count: AtomicU64,
}

impl Recordings {
    /// Recordings in this directory, which is made if it is missing.
    pub(crate) fn into(directory: PathBuf) -> Result<Self, Failure> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(|error| {
                let place = directory.display();
                Failure::failed(format!("cannot record into {place}: {error}"))
            })?;
        Ok(Self {
            directory,
            count: AtomicU64::new(0),
        })
    }

    /// Begins one.
    pub(crate) fn begin(&self, terminal: &Terminal, command: Option<&str>) -> io::Result<Recorder> {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let seconds = since.as_secs();
        let turn = self.count.fetch_add(1, Ordering::Relaxed);
        let name = format!("{seconds}-{}-{turn}.cast", std::process::id());
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.directory.join(name))?;
        Recorder::begin(file, (terminal, command), seconds)
    }
}

/// One recording.
pub(crate) struct Recorder {
    file: File,
    begun: Instant,
    /// The beginning of a character whose rest has not come yet; at most three bytes.
    rest: Vec<u8>,
}

impl Recorder {
    fn begin(
        mut file: File,
        (terminal, command): (&Terminal, Option<&str>),
        timestamp: u64,
    ) -> io::Result<Self> {
        let size = terminal.size.or_usual();
        let mut header = json!({
            "version": 2,
            "width": size.columns,
            "height": size.rows,
            "timestamp": timestamp,
            "env": {"TERM": terminal.term},
        });
        if let Some(command) = command {
            header["command"] = command.into();
        }
        writeln!(file, "{header}")?;
        Ok(Self {
            file,
            begun: Instant::now(),
            rest: Vec::new(),
        })
    }

    /// These bytes were shown.
    pub(crate) fn output(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.rest.extend_from_slice(bytes);
        let whole = self.rest.len() - unfinished(&self.rest);
        let text = String::from_utf8_lossy(&self.rest[..whole]).into_owned();
        self.rest.drain(..whole);
        self.event("o", &text)
    }

    /// The window has another size.
    pub(crate) fn resize(&mut self, size: Size) -> io::Result<()> {
        self.event("r", &format!("{}x{}", size.columns, size.rows))
    }

    fn event(&mut self, kind: &str, text: &str) -> io::Result<()> {
        let seconds = self.begun.elapsed().as_micros() as f64 / 1e6;
        let line = format!("{}\n", json!([seconds, kind, text]));
        self.file.write_all(line.as_bytes())
    }
}

/// How many bytes at the end are the beginning of a character.
fn unfinished(bytes: &[u8]) -> usize {
    let from = bytes.len().saturating_sub(3);
    for at in (from..bytes.len()).rev() {
        let wanted = match bytes[at] {
            0x80..=0xbf => continue,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => 1,
        };
        let there = bytes.len() - at;
        return if there < wanted { there } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_recording_is_private_and_keeps_characters_whole() {
        let dir = tempfile::tempdir().unwrap();
        let recordings = Recordings::into(dir.path().join("casts")).unwrap();
        let terminal = Terminal {
            term: "xterm".to_owned(),
            size: Size {
                columns: 100,
                rows: 30,
                width: 0,
                height: 0,
            },
            modes: Vec::new(),
        };
        let mut recorder = recordings.begin(&terminal, Some("top")).unwrap();
        let euro = "€".as_bytes();
        recorder.output(&[b"a", &euro[..2]].concat()).unwrap();
        recorder
            .output(&[&euro[2..], b"\xff\"\n"].concat())
            .unwrap();
        recorder
            .resize(Size {
                columns: 90,
                ..terminal.size
            })
            .unwrap();
        let entry = std::fs::read_dir(dir.path().join("casts"))
            .unwrap()
            .next()
            .unwrap()
            .unwrap();
        assert_eq!(
            entry.metadata().unwrap().permissions().mode() & 0o777,
            0o600
        );
        let text = std::fs::read_to_string(entry.path()).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines[0]["version"], 2);
        assert_eq!(
            (&lines[0]["width"], &lines[0]["height"]),
            (&json!(100), &json!(30))
        );
        assert_eq!(lines[0]["command"], "top");
        let events: Vec<_> = lines[1..]
            .iter()
            .map(|line| (line[1].clone(), line[2].clone()))
            .collect();
        let expected = [("o", "a"), ("o", "€\u{fffd}\"\n"), ("r", "90x30")];
        assert_eq!(
            events,
            expected.map(|(kind, text)| (json!(kind), json!(text)))
        );
        assert!(
            lines[1..]
                .iter()
                .all(|line| line[0].as_f64().unwrap() >= 0.0)
        );
    }

    #[test]
    fn what_is_no_beginning_of_a_character_does_not_wait() {
        let ends: [(&[u8], usize); 8] = [
            (b"", 0),
            (b"abc", 0),
            (b"\xe2", 1),
            (b"x\xe2\x82", 2),
            (b"\xe2\x82\xac", 0),
            (b"\xf0\x9f\x98", 3),
            (b"\x80\x80\x80\x80", 0),
            (b"\xff\x80", 0),
        ];
        for (bytes, count) in ends {
            assert_eq!(unfinished(bytes), count, "{bytes:?}");
        }
    }
}
