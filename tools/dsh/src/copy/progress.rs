//! What a person sees of a copy, and what a program is told at its end.

use std::sync::{Arc, Mutex, PoisonError};

use dhtnet_cli::{Bytes, Peer, ProgressLine, Talk, Verbosity};
use dhtnet_copy::{Event, Observer, Summary};
use serde_json::{Value, json};

/// Failures that are kept for the summary of `--json`; all are told as they happen.
const MAX_FAILURES: usize = 1000;

/// Letters of a file's name on the line.
const MAX_NAME: usize = 30;

/// A moving line on a terminal, and lines for what fails. Clones share it.
#[derive(Clone)]
pub(super) struct Progress {
    line: ProgressLine,
    talk: Talk,
    peer: Arc<str>,
    failures: Arc<Mutex<Vec<Value>>>,
}

impl Progress {
    pub(super) fn new(talk: &Talk, peer: &Peer) -> Self {
        let line = match talk.verbosity() {
            Verbosity::Quiet => ProgressLine::hidden(),
            _ => ProgressLine::on_stderr(None),
        };
        let peer = match &peer.name {
            Some(name) => name.clone(),
            None => format!("{}…", peer.address.id.short()),
        };
        Self {
            line,
            talk: talk.clone(),
            peer: peer.into(),
            failures: Arc::default(),
        }
    }

    /// Whether somebody looks at it, so that counting everything first is worth while.
    pub(super) fn is_seen(&self) -> bool {
        !self.line.is_hidden()
    }

    /// Takes the line away.
    pub(super) fn clear(&self) {
        self.line.clear();
    }

    /// A line beside the moving one.
    fn say(&self, line: impl FnOnce(&Talk)) {
        self.line.suspend(|| line(&self.talk));
    }

    fn failed(&self, place: &str, reason: &str, failure: Value) {
        self.say(|talk| talk.error(format_args!("{place}: {reason}")));
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() < MAX_FAILURES {
            failures.push(failure);
        }
    }

    /// The summary for programs.
    pub(super) fn json(&self, sum: &Summary) -> Value {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        json!({
            "files": sum.files,
            "bytes": sum.bytes,
            "resumed": sum.resumed,
            "unchanged": sum.unchanged,
            "directories": sum.directories,
            "links": sum.links,
            "skipped": sum.skipped,
            "failed": sum.failed,
            "failures": *failures,
        })
    }
}

impl Observer for Progress {
    fn on_event(&mut self, event: Event) {
        match event {
            Event::Expected { bytes, .. } => self.line.set_total(bytes),
            Event::Begun { path, resumed, .. } => {
                self.line.set_message(&end_of(&path));
                self.line.skip(resumed);
                if resumed > 0 {
                    let resumed = Bytes(resumed);
                    self.say(|talk| talk.detail(format_args!("{path}: {resumed} were there")));
                }
            }
            Event::Advanced(bytes) => self.line.advance(bytes),
            Event::Verified(_) => self.line.set_message("verifying"),
            Event::Unchanged { size } => self.line.skip(size),
            Event::Skipped { path, reason } => {
                self.say(|talk| talk.note(format_args!("{path}: skipped: {reason}")));
            }
            Event::Failed {
                path,
                reason,
                is_at_peer,
            } => {
                let place = if is_at_peer {
                    format!("{}:{path}", self.peer)
                } else {
                    path.clone()
                };
                let failure = json!({ "path": path, "at_peer": is_at_peer, "reason": reason });
                self.failed(&place, &reason, failure);
            }
            Event::Waiting { path } => self.say(|talk| {
                talk.note(format_args!(
                    "{path}: waiting for another copy of it to end"
                ));
            }),
            _ => {}
        }
    }
}

/// The summary for people.
pub(super) fn words(sum: &Summary) -> String {
    let mut words = format!("copied {}, {}", count(sum.files, "file"), Bytes(sum.bytes));
    let mut add = |number: u64, what: String| {
        if number > 0 {
            words.push_str(&format!("; {what}"));
        }
    };
    let were_there = format!("{} more were there", Bytes(sum.resumed));
    add(sum.resumed, were_there);
    add(sum.links, count(sum.links, "link"));
    add(sum.unchanged, format!("{} unchanged", sum.unchanged));
    add(sum.skipped, format!("{} skipped", sum.skipped));
    add(sum.failed, format!("{} failed", sum.failed));
    words
}

fn count(number: u64, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
    }
}

fn end_of(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    match name.char_indices().nth(MAX_NAME) {
        None => name.to_owned(),
        Some((end, _)) => format!("{}…", &name[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_names_what_there_was() {
        let mut sum = Summary::default();
        assert_eq!(words(&sum), "copied 0 files, 0 B");
        (sum.files, sum.bytes, sum.unchanged, sum.failed) = (1, 2048, 3, 1);
        assert_eq!(
            words(&sum),
            "copied 1 file, 2.00 KiB; 3 unchanged; 1 failed"
        );
    }

    #[test]
    fn a_long_name_is_cut_between_letters() {
        assert_eq!(end_of("a/b"), "b");
        assert_eq!(end_of(&"ä".repeat(40)), format!("{}…", "ä".repeat(30)));
    }
}
