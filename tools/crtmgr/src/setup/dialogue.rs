//! Questions on stderr, answers from stdin, a line each.

use std::fmt::Display;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::str::FromStr;

use dhtnet_cli::{Failure, Talk};

/// Bytes of the longest answer: an id with all its address hints, and room.
const MAX_ANSWER_LEN: u64 = 4096;
/// How often a wrong answer may be given before it is taken for a pipe that will not learn.
const MAX_ATTEMPTS: usize = 5;

/// A conversation. At the end of its input every answer is empty.
pub(super) struct Dialogue<'a> {
    answers: BufReader<File>,
    talk: &'a Talk,
}

impl<'a> Dialogue<'a> {
    pub(super) fn new(stdin: File, talk: &'a Talk) -> Self {
        Self {
            answers: BufReader::new(stdin),
            talk,
        }
    }

    /// Yes, unless it is answered with no.
    pub(super) fn confirm(&mut self, question: &str) -> Result<bool, Failure> {
        self.ask(&format!("{question} [Y/n]"), |answer| {
            match answer.to_ascii_lowercase().as_str() {
                "" | "y" | "yes" => Ok(true),
                "n" | "no" => Ok(false),
                _ => Err("answer y or n".to_owned()),
            }
        })
    }

    /// One of these words, or its beginning.
    pub(super) fn choose<'w>(
        &mut self,
        question: &str,
        words: &[&'w str],
    ) -> Result<&'w str, Failure> {
        let listed = words.join("/");
        self.ask(&format!("{question} [{listed}]"), |answer| {
            let fits = |word: &&&str| !answer.is_empty() && word.starts_with(answer);
            words
                .iter()
                .find(fits)
                .copied()
                .ok_or_else(|| format!("answer one of {listed}"))
        })
    }

    /// Something, or nothing.
    pub(super) fn optional<T>(&mut self, question: &str) -> Result<Option<T>, Failure>
    where
        T: FromStr<Err: Display>,
    {
        self.ask(question, |answer| match answer {
            "" => Ok(None),
            text => text
                .parse()
                .map(Some)
                .map_err(|error: T::Err| error.to_string()),
        })
    }

    /// Something; the default if nothing is said.
    pub(super) fn with_default<T>(&mut self, question: &str, default: &str) -> Result<T, Failure>
    where
        T: FromStr<Err: Display>,
    {
        self.ask(&format!("{question} [{default}]"), |answer| {
            let text = if answer.is_empty() { default } else { answer };
            text.parse().map_err(|error: T::Err| error.to_string())
        })
    }

    fn ask<T>(
        &mut self,
        question: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, Failure> {
        let mut fault = String::new();
        for _ in 0..MAX_ATTEMPTS {
            self.talk.bare(question);
            let line = self.line()?;
            match read(line.as_deref().unwrap_or_default().trim()) {
                Ok(value) => return Ok(value),
                Err(error) => fault = error,
            }
            if line.is_none() {
                break;
            }
            self.talk.note(&fault);
        }
        Err(
            Failure::usage(format!("no answer to \"{question}\": {fault}"))
                .advise("give it by a flag; see crtmgr setup --help"),
        )
    }

    /// The next line; `None` at the end.
    fn line(&mut self) -> Result<Option<String>, Failure> {
        let mut line = String::new();
        let read = (&mut self.answers)
            .take(MAX_ANSWER_LEN)
            .read_line(&mut line)
            .map_err(|error| Failure::failed(format!("cannot read the answer: {error}")))?;
        Ok((read > 0).then_some(line))
    }
}
