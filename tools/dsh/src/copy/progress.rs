//! What a person sees of a copy, and what a program is told at its end.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};

use dhtnet_cli::{Peer, Talk, Verbosity};
use dhtnet_copy::{Event, Observer, Summary};
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

/// Drawings a second; a person sees no more.
const DRAWINGS: u8 = 5;

/// Failures that are kept for the summary of `--json`; all are told as they happen.
const MAX_FAILURES: usize = 1000;

/// Letters of a file's name on the line.
const MAX_NAME: usize = 30;

/// A moving line on a terminal, and lines for what fails. Clones share it.
#[derive(Clone)]
pub(super) struct Progress {
    bar: ProgressBar,
    talk: Talk,
    peer: Arc<str>,
    failures: Arc<Mutex<Vec<Value>>>,
}

impl Progress {
    pub(super) fn new(talk: &Talk, peer: &Peer) -> Self {
        let is_seen = std::io::stderr().is_terminal() && talk.verbosity() >= Verbosity::Normal;
        let bar = if is_seen {
            let target = ProgressDrawTarget::stderr_with_hz(DRAWINGS);
            let bar = ProgressBar::with_draw_target(None, target);
            set_style(&bar, "{bytes}  {binary_bytes_per_sec}  {elapsed}  {msg}");
            bar
        } else {
            ProgressBar::hidden()
        };
        let peer = match &peer.name {
            Some(name) => name.clone(),
            None => format!("{}…", peer.address.id.short()),
        };
        Self {
            bar,
            talk: talk.clone(),
            peer: peer.into(),
            failures: Arc::default(),
        }
    }

    /// Whether somebody looks at it, so that counting everything first is worth while.
    pub(super) fn is_seen(&self) -> bool {
        !self.bar.is_hidden()
    }

    /// Takes the line away.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// A line beside the moving one.
    fn say(&self, line: impl FnOnce(&Talk)) {
        self.bar.suspend(|| line(&self.talk));
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
            Event::Expected { bytes, .. } => {
                self.bar.set_length(bytes);
                let template = "{bytes} of {total_bytes}  {percent}%  {binary_bytes_per_sec}  \
                                {eta} left  {msg}";
                set_style(&self.bar, template);
            }
            Event::Begun { path, resumed, .. } => {
                self.bar.set_message(end_of(&path));
                // What is there already is no part of the rate.
                self.bar.set_position(self.bar.position() + resumed);
                if resumed > 0 {
                    let resumed = HumanBytes(resumed);
                    self.say(|talk| talk.detail(format_args!("{path}: {resumed} were there")));
                }
            }
            Event::Advanced(bytes) => self.bar.inc(bytes),
            Event::Verified(_) => self.bar.set_message("verifying"),
            Event::Unchanged { size } => self.bar.inc(size),
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
    let mut words = format!(
        "copied {}, {}",
        count(sum.files, "file"),
        HumanBytes(sum.bytes)
    );
    let mut add = |number: u64, what: String| {
        if number > 0 {
            words.push_str(&format!("; {what}"));
        }
    };
    let were_there = format!("{} more were there", HumanBytes(sum.resumed));
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

fn set_style(bar: &ProgressBar, template: &str) {
    // The template is a constant; were it wrong, the one before would do.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
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
