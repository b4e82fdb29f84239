//! How much has gone through, as a line that moves: for people at a terminal whose bytes go
//! elsewhere.

use std::io::IsTerminal;

use dhtnet_cli::{Io, ProgressLine, Verbosity};

/// A line on stderr, or nothing. Clones share it.
#[derive(Clone)]
pub(crate) struct Progress {
    line: ProgressLine,
}

impl Progress {
    /// Shown when stderr is a terminal, and stdin or stdout is none: then nobody sees the bytes.
    pub(crate) fn new(io: &Io, verbosity: Verbosity) -> Self {
        let is_bulk = !io.stdin.is_terminal() || !io.stdout.is_terminal();
        if !is_bulk || verbosity < Verbosity::Normal {
            return Self {
                line: ProgressLine::hidden(),
            };
        }
        let file = io.stdin.metadata().ok().filter(std::fs::Metadata::is_file);
        let len = file.map(|file| file.len()).filter(|len| *len > 0);
        Self {
            line: ProgressLine::on_stderr(len),
        }
    }

    /// So many bytes more were read.
    pub(crate) fn sent(&self, bytes: usize) {
        self.line.advance(bytes as u64);
    }

    /// So many bytes more came. Where the length of the input is known, it alone is shown.
    pub(crate) fn received(&self, bytes: usize) {
        if self.line.total().is_none() {
            self.line.advance(bytes as u64);
        }
    }

    /// Takes the line away, so that what is said next has one of its own.
    pub(crate) fn clear(&self) {
        self.line.clear();
    }
}
