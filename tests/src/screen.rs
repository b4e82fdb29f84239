//! A terminal that a test types into and looks at: tmux, on a host.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::device::{Device, START_LIMIT};
use crate::lab::{Process, ProcessError};
use crate::ssh::find;

/// How often the screen is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

static SCREENS: AtomicU64 = AtomicU64::new(0);

/// Why there is no screen, or not what was waited for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScreenError {
    /// It is not installed.
    #[error("find tmux: install it (cargo xtask setup)")]
    NotInstalled,
    /// It said no.
    #[error("use tmux: {0}")]
    Tmux(String),
    /// The time is over.
    #[error("see {what:?} on the screen, which is:\n{screen}")]
    NotSeen {
        /// What was waited for.
        what: String,
        /// What was there instead.
        screen: String,
    },
    /// It did not start or end.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Processes.
    #[error("start tmux: {0}")]
    Io(#[from] io::Error),
}

/// A terminal with one window, which ends with this value.
#[derive(Debug)]
pub struct Screen<'d> {
    device: &'d Device,
    socket: PathBuf,
    _server: Process,
}

impl<'d> Screen<'d> {
    /// Opens a window of 100 columns and 30 rows on the host of `device`, with a plain shell that
    /// prompts `near> `.
    ///
    /// # Errors
    /// [`ScreenError::NotInstalled`] without tmux.
    pub fn open(device: &'d Device) -> Result<Self, ScreenError> {
        find("tmux").ok_or(ScreenError::NotInstalled)?;
        let serial = SCREENS.fetch_add(1, Ordering::Relaxed);
        let socket = device.host().folder().join(format!("tmux-{serial}"));
        let server = device.with_home(device.host().command("tmux"));
        let server = server
            .args(["-u", "-D", "-f", "/dev/null", "-S"])
            .arg(&socket)
            .env("LANG", "C.UTF-8")
            .env("TERM", "xterm-256color")
            .start()?;
        let screen = Self {
            device,
            socket,
            _server: server,
        };
        let deadline = Instant::now() + START_LIMIT;
        let window = ["new-session", "-d", "-x", "100", "-y", "30", "sh"];
        while let Err(error) = screen.tmux(&window) {
            if Instant::now() >= deadline {
                return Err(error);
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        screen.await_prompt(START_LIMIT)?;
        screen.type_line("PS1='near> '")?;
        screen.await_that("the prompt", START_LIMIT, |screen| {
            screen.lines().any(|line| line.starts_with("near>"))
        })?;
        Ok(screen)
    }

    /// Waits for the prompt of a plain shell: `#` or `$` in the last line.
    ///
    /// # Errors
    /// [`ScreenError::NotSeen`].
    pub fn await_prompt(&self, limit: Duration) -> Result<(), ScreenError> {
        self.await_that("a plain prompt", limit, |screen| {
            let last = screen.trim_end().lines().last();
            last.is_some_and(|line| ["#", "$"].contains(&line.trim()))
        })
    }

    /// Types a line and the return key.
    ///
    /// # Errors
    /// [`ScreenError::Tmux`].
    pub fn type_line(&self, line: &str) -> Result<(), ScreenError> {
        self.tmux(&["send-keys", "-l", line])?;
        self.press("Enter")
    }

    /// Presses a key by its name in tmux: `C-c`, `Escape`, `q`.
    ///
    /// # Errors
    /// [`ScreenError::Tmux`].
    pub fn press(&self, key: &str) -> Result<(), ScreenError> {
        self.tmux(&["send-keys", key]).map(drop)
    }

    /// Pastes the text of a file.
    ///
    /// # Errors
    /// [`ScreenError::Tmux`].
    pub fn paste(&self, file: &str) -> Result<(), ScreenError> {
        self.tmux(&["load-buffer", file])?;
        self.tmux(&["paste-buffer"]).map(drop)
    }

    /// Gives the window another size.
    ///
    /// # Errors
    /// [`ScreenError::Tmux`].
    pub fn resize(&self, columns: u16, rows: u16) -> Result<(), ScreenError> {
        let (columns, rows) = (columns.to_string(), rows.to_string());
        self.tmux(&["resize-window", "-x", &columns, "-y", &rows])
            .map(drop)
    }

    /// What is on the screen, without trailing blanks.
    ///
    /// # Errors
    /// [`ScreenError::Tmux`].
    pub fn text(&self) -> Result<String, ScreenError> {
        self.tmux(&["capture-pane", "-p", "-J"])
    }

    /// What is on the screen and above it.
    ///
    /// # Errors
    /// [`ScreenError::Tmux`].
    pub fn history(&self) -> Result<String, ScreenError> {
        self.tmux(&["capture-pane", "-p", "-J", "-S", "-"])
    }

    /// Waits until the screen has this text.
    ///
    /// # Errors
    /// [`ScreenError::NotSeen`].
    pub fn await_text(&self, what: &str, limit: Duration) -> Result<(), ScreenError> {
        self.await_that(what, limit, |screen| screen.contains(what))
    }

    /// Waits until the screen is as wanted; `what` is for the failure.
    ///
    /// # Errors
    /// [`ScreenError::NotSeen`].
    pub fn await_that(
        &self,
        what: &str,
        limit: Duration,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<(), ScreenError> {
        let deadline = Instant::now() + limit;
        loop {
            let screen = self.text()?;
            if is_wanted(&screen) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let what = what.to_owned();
                return Err(ScreenError::NotSeen { what, screen });
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    fn tmux(&self, words: &[&str]) -> Result<String, ScreenError> {
        let command = self.device.with_home(self.device.host().command("tmux"));
        let finished = command
            .args(["-u", "-S"])
            .arg(&self.socket)
            .args(words)
            .start()?
            .finish(START_LIMIT)?;
        match finished.code() {
            Some(0) => Ok(finished.text()),
            _ => Err(ScreenError::Tmux(finished.stderr)),
        }
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        let _ = self.tmux(&["kill-server"]);
    }
}
