//! Where lines come from: an editor on the terminal, or stdin as it is. Both block, so each has a
//! thread, which reads a line when one is asked for and no sooner: a terminal is in the editor's
//! hands only while nothing else runs.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::mpsc as blocking;
use std::thread;

use dhtnet_cli::Failure;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::config::{Behavior, Config};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Editor, history::History};
use tokio::sync::mpsc;

const PROMPT: &str = "dhtnode> ";

/// Lines that are kept for another day.
const MAX_HISTORY_LINES: usize = 1_000;

/// Longest line that is read from a pipe, in bytes: room for the longest value, quoted.
const MAX_LINE_LEN: usize = 256 << 10;

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    Line(String),
    /// Ctrl-C on the line.
    Interrupted,
    /// Ctrl-D, or the end of stdin.
    End,
    Failed(String),
}

/// Lines, one at a time.
pub(super) struct Lines {
    wanted: blocking::SyncSender<()>,
    came: mpsc::Receiver<Input>,
    is_asked: bool,
    /// Of a terminal: it is put back as it was, also when the editor still has it.
    _terminal: Option<Restore>,
}

impl Lines {
    /// Lines that are typed at the terminal and remembered in `history`.
    pub(super) fn edited(history: &Path) -> Result<Self, Failure> {
        let terminal = Restore::of_terminal();
        let mut editor = editor(history)?;
        let history = history.to_owned();
        let read = move || match editor.readline(PROMPT) {
            Ok(line) => {
                remember(&mut editor, &line, &history);
                Input::Line(line)
            }
            Err(ReadlineError::Interrupted) => Input::Interrupted,
            Err(ReadlineError::Eof) => Input::End,
            Err(error) => Input::Failed(error.to_string()),
        };
        Self::new(read, terminal)
    }

    /// Lines of `stdin`.
    pub(super) fn plain(stdin: File) -> Result<Self, Failure> {
        let mut stdin = BufReader::new(stdin);
        Self::new(move || plain_line(&mut stdin), None)
    }

    fn new(
        mut read: impl FnMut() -> Input + Send + 'static,
        terminal: Option<Restore>,
    ) -> Result<Self, Failure> {
        let (wanted, requests) = blocking::sync_channel(1);
        let (sender, came) = mpsc::channel(1);
        thread::Builder::new()
            .name("prompt".to_owned())
            .spawn(move || {
                while let Ok(()) = requests.recv() {
                    if sender.blocking_send(read()).is_err() {
                        return;
                    }
                }
            })
            .map_err(|error| Failure::failed(format!("cannot start the prompt: {error}")))?;
        Ok(Self {
            wanted,
            came,
            is_asked: false,
            _terminal: terminal,
        })
    }

    /// The next line. Cancel-safe: a line that was asked for is given by the next call.
    pub(super) async fn next(&mut self) -> Input {
        if !self.is_asked {
            if self.wanted.send(()).is_err() {
                return Input::End;
            }
            self.is_asked = true;
        }
        let input = self.came.recv().await;
        self.is_asked = false;
        input.unwrap_or(Input::End)
    }
}

fn plain_line(stdin: &mut impl BufRead) -> Input {
    let mut line = Vec::new();
    loop {
        let available = match stdin.fill_buf() {
            Ok(available) => available,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Input::Failed(error.to_string()),
        };
        if available.is_empty() && line.is_empty() {
            return Input::End;
        }
        let end = available.iter().position(|&byte| byte == b'\n');
        let taken = end.map_or(available.len(), |at| at + 1);
        line.extend_from_slice(&available[..end.unwrap_or(taken)]);
        stdin.consume(taken);
        if line.len() > MAX_LINE_LEN {
            return Input::Failed(format!("a line is longer than {MAX_LINE_LEN} bytes"));
        }
        if end.is_some() || taken == 0 {
            return match String::from_utf8(line) {
                Ok(line) => Input::Line(line),
                Err(_) => Input::Failed("a line is not UTF-8".to_owned()),
            };
        }
    }
}

fn editor(history: &Path) -> Result<Editor<(), FileHistory>, Failure> {
    let unusable = |error: ReadlineError| {
        Failure::failed(format!("cannot use the terminal: {error}"))
            .advise("give the commands on stdin")
    };
    let config = Config::builder()
        .max_history_size(MAX_HISTORY_LINES)
        .map_err(unusable)?
        .auto_add_history(false)
        // stdin and stdout are the payload's; the prompt is on the terminal itself.
        .behavior(Behavior::PreferTerm)
        .build();
    let mut editor = Editor::with_config(config).map_err(unusable)?;
    // Made by us first, so that nobody else can read it. A history that cannot be read is an
    // empty one.
    let made = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(history);
    if made.is_ok() {
        let _ = editor.load_history(history);
    }
    Ok(editor)
}

/// Adds a line to the history, at once, so that it outlives any end. Failing to is no reason to
/// disturb the user.
fn remember(editor: &mut Editor<(), FileHistory>, line: &str, history: &Path) {
    if !line.trim().is_empty() && editor.history_mut().add(line).unwrap_or(false) {
        let _ = editor.append_history(history);
    }
}

/// The state of the terminal as it was.
struct Restore {
    terminal: File,
    state: Termios,
}

impl Restore {
    fn of_terminal() -> Option<Self> {
        let terminal = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/tty")
            .ok()?;
        let state = tcgetattr(&terminal).ok()?;
        Some(Self { terminal, state })
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(text: &[u8]) -> Vec<Input> {
        let mut stdin = BufReader::with_capacity(4, text);
        let mut inputs = Vec::new();
        loop {
            inputs.push(plain_line(&mut stdin));
            if matches!(inputs.last(), Some(Input::End | Input::Failed(_))) {
                return inputs;
            }
        }
    }

    fn line(text: &str) -> Input {
        Input::Line(text.to_owned())
    }

    #[test]
    fn stdin_is_cut_into_lines_and_the_last_needs_no_line_feed() {
        assert_eq!(lines_of(b""), [Input::End]);
        assert_eq!(
            lines_of(b"put 'a b'\n\nget k"),
            [line("put 'a b'"), line(""), line("get k"), Input::End]
        );
        assert_eq!(lines_of(b"x\n"), [line("x"), Input::End]);
        assert!(matches!(lines_of(b"\xff\n")[..], [Input::Failed(_)]));
    }

    #[test]
    fn a_line_has_a_longest_length() {
        let text = |length| [&vec![b'x'; length][..], b"\n"].concat();
        let [Input::Line(longest), Input::End] = &lines_of(&text(MAX_LINE_LEN))[..] else {
            panic!()
        };
        assert_eq!(longest.len(), MAX_LINE_LEN);
        assert!(matches!(
            lines_of(&text(MAX_LINE_LEN + 1))[..],
            [Input::Failed(_)]
        ));
    }
}
