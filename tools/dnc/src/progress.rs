//! How much has gone through, as a line that moves: for people at a terminal whose bytes go
//! elsewhere.

use std::io::IsTerminal;

use dhtnet_cli::{Io, Verbosity};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Drawings a second; a person sees no more.
const DRAWINGS: u8 = 5;

/// A line on stderr, or nothing. Clones share it.
#[derive(Clone)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Shown when stderr is a terminal, and stdin or stdout is none: then nobody sees the bytes.
    pub(crate) fn new(io: &Io, verbosity: Verbosity) -> Self {
        let is_bulk = !io.stdin.is_terminal() || !io.stdout.is_terminal();
        let is_seen = is_bulk && std::io::stderr().is_terminal() && verbosity >= Verbosity::Normal;
        if !is_seen {
            return Self {
                bar: ProgressBar::hidden(),
            };
        }
        let file = io.stdin.metadata().ok().filter(std::fs::Metadata::is_file);
        let len = file.map(|file| file.len()).filter(|len| *len > 0);
        let template = match len {
            Some(_) => "{bytes} of {total_bytes}  {percent}%  {binary_bytes_per_sec}  {eta} left",
            None => "{bytes}  {binary_bytes_per_sec}  {elapsed}",
        };
        let bar = ProgressBar::with_draw_target(len, ProgressDrawTarget::stderr_with_hz(DRAWINGS));
        // The template is a constant; were it wrong, the library's own would do.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self { bar }
    }

    /// So many bytes more were read.
    pub(crate) fn sent(&self, bytes: usize) {
        self.bar.inc(bytes as u64);
    }

    /// So many bytes more came. Where the length of the input is known, it alone is shown.
    pub(crate) fn received(&self, bytes: usize) {
        if self.bar.length().is_none() {
            self.bar.inc(bytes as u64);
        }
    }

    /// Takes the line away, so that what is said next has one of its own.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
