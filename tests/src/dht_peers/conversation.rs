//! Lines to and from a running program, each answer with a time limit.

use std::io::{BufRead, BufReader, Write};
use std::process::ChildStdin;
use std::sync::mpsc;
use std::time::Duration;

use super::PeerError;
use crate::lab::{Command, Process, Usage};

/// A program whose standard input and output are lines.
#[derive(Debug)]
pub(super) struct Conversation {
    name: String,
    process: Process,
    input: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
}

impl Conversation {
    pub(super) fn start(name: &str, command: Command) -> Result<Self, PeerError> {
        let mut process = command.stdin_pipe().stdout_pipe().start()?;
        let (line, lines) = mpsc::channel();
        if let Some(output) = process.take_stdout() {
            std::thread::Builder::new()
                .name("lines".into())
                .spawn(move || {
                    let mut read = BufReader::new(output).lines().map_while(Result::ok);
                    // Ends with the program, or with whoever listens.
                    while read.next().is_some_and(|text| line.send(text).is_ok()) {}
                })?;
        }
        Ok(Self {
            name: name.to_owned(),
            input: process.take_stdin(),
            process,
            lines,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn write(&mut self, line: &str) -> Result<(), PeerError> {
        let sent = self.input.as_mut().map(|input| writeln!(input, "{line}"));
        match sent {
            Some(Ok(())) => Ok(()),
            _ => Err(self.silent(line, "its input is closed")),
        }
    }

    /// The next line; `asked` is for the message.
    pub(super) fn read(&mut self, asked: &str, limit: Duration) -> Result<String, PeerError> {
        match self.lines.recv_timeout(limit) {
            Ok(line) => Ok(line),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                Err(self.silent(asked, &format!("silent for {limit:?}")))
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                Err(self.silent(asked, "its output is closed"))
            }
        }
    }

    pub(super) fn answer(&self, request: &str, answer: &str) -> PeerError {
        PeerError::Answer {
            peer: self.name.clone(),
            request: request.to_owned(),
            answer: answer.to_owned(),
        }
    }

    pub(super) fn usage(&self) -> Option<Usage> {
        self.process.usage()
    }

    pub(super) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What it wrote to standard error so far.
    pub(super) fn said(&self) -> String {
        self.process.stderr()
    }

    fn silent(&mut self, request: &str, state: &str) -> PeerError {
        let ended = self.process.poll_exit().ok().flatten();
        PeerError::Silent {
            peer: self.name.clone(),
            request: request.to_owned(),
            state: ended.map_or_else(|| state.to_owned(), |status| status.to_string()),
            said: self.process.stderr().trim().to_owned(),
        }
    }
}
