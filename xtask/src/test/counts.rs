//! Adding up what the test runners print.

use std::collections::BTreeMap;
use std::fmt;

/// Tests by how they ended, and why some did not run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
    reasons: BTreeMap<String, String>,
}

impl Counts {
    /// Reads the summaries of libtest (`test result: ok. 3 passed; …`) and of cargo-nextest
    /// (`Summary [ 1.2s] 4 tests run: 3 passed, 1 failed, 0 skipped`). With a filter, what the
    /// filter left out does not count as skipped.
    pub(crate) fn read(lines: &[String], is_filtered: bool) -> Self {
        let mut counts = Self::default();
        for line in lines {
            // Indented it is what a failed test said, told again by nextest.
            if let Some(rest) = line.strip_prefix("test result: ") {
                let after_verdict = rest.split_once(". ").map_or(rest, |(_, numbers)| numbers);
                counts.add_numbers(after_verdict, ';');
            } else if let Some((head, numbers)) = line.trim().split_once(" run: ")
                && head.starts_with("Summary [")
            {
                let mut run = Self::default();
                run.add_numbers(numbers, ',');
                if is_filtered {
                    run.skipped = 0;
                }
                counts.add(&run);
            } else if let Some((name, verdict)) = line
                .strip_prefix("test ")
                .and_then(|rest| rest.split_once(" ... ignored"))
            {
                let reason = verdict.trim_start_matches([',', ' ']);
                let reason = if reason.is_empty() {
                    "marked #[ignore]"
                } else {
                    reason
                };
                counts.reasons.insert(name.to_owned(), reason.to_owned());
            }
        }
        counts
    }

    fn add_numbers(&mut self, text: &str, separator: char) {
        for part in text.split(separator) {
            let mut words = part.split_whitespace();
            let (Some(Ok(number)), Some(what)) =
                (words.next().map(str::parse::<u64>), words.next())
            else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" | "timed" | "exec" => self.failed += number,
                "ignored" | "skipped" => self.skipped += number,
                _ => {}
            }
        }
    }

    /// Adds another run.
    pub(crate) fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.reasons.extend(other.reasons.clone());
    }

    /// Moves the tests that said they cannot run here (`name: reason`, with or without `SKIPPED: `
    /// in front) from the passed to the skipped ones.
    pub(crate) fn move_skipped(&mut self, log: &str) {
        for line in log.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let line = line.strip_prefix("SKIPPED: ").unwrap_or(line);
            let (name, reason) = line.split_once(": ").unwrap_or((line, "no reason given"));
            if self
                .reasons
                .insert(name.to_owned(), reason.to_owned())
                .is_none()
            {
                self.passed = self.passed.saturating_sub(1);
                self.skipped += 1;
            }
        }
    }

    /// How many failed.
    pub(crate) fn failed(&self) -> u64 {
        self.failed
    }

    /// How many had a name that was asked for.
    pub(crate) fn ran(&self) -> u64 {
        self.passed + self.failed + self.skipped
    }

    /// `name: reason` of each that did not run.
    pub(crate) fn reasons(&self) -> impl Iterator<Item = String> + '_ {
        self.reasons
            .iter()
            .map(|(name, reason)| format!("{name}: {reason}"))
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, is_filtered: bool) -> Counts {
        Counts::read(
            &text.lines().map(str::to_owned).collect::<Vec<_>>(),
            is_filtered,
        )
    }

    #[test]
    fn libtest_summaries_of_several_binaries_add_up() {
        let counts = read(
            "test a::b ... ok\n\
             test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 2 filtered out; finished\n\
             test c ... ignored, needs a printer\n\
             test result: FAILED. 1 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out\n",
            false,
        );
        assert_eq!(counts.to_string(), "6 passed, 2 failed, 1 skipped");
        assert_eq!(counts.reasons().collect::<Vec<_>>(), ["c: needs a printer"]);
    }

    #[test]
    fn a_nextest_summary_counts_time_outs_as_failures() {
        let line = "     Summary [   1.013s] 6 tests run: 3 passed (1 slow), 1 failed, \
                    1 timed out, 1 exec failed, 2 skipped";
        assert_eq!(
            read(line, false).to_string(),
            "3 passed, 3 failed, 2 skipped"
        );
        assert_eq!(
            read(line, true).to_string(),
            "3 passed, 3 failed, 0 skipped"
        );
    }

    #[test]
    fn a_failed_test_that_nextest_tells_of_again_counts_once() {
        let lines = "     Summary [ 475.7s] 9 tests run: 8 passed, 1 failed, 0 skipped\n\
                     \x20   test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured\n";
        assert_eq!(
            read(lines, false).to_string(),
            "8 passed, 1 failed, 0 skipped"
        );
    }

    #[test]
    fn a_test_that_said_it_cannot_run_is_not_counted_as_passed() {
        let mut counts = read("test result: ok. 3 passed; 0 failed; 0 ignored", false);
        counts.move_skipped(
            "SKIPPED: veth: needs root\nsshd: not installed\n\nsshd: not installed\n",
        );
        assert_eq!(counts.to_string(), "1 passed, 0 failed, 2 skipped");
        let reasons: Vec<_> = counts.reasons().collect();
        assert_eq!(reasons, ["sshd: not installed", "veth: needs root"]);
    }

    #[test]
    fn other_lines_count_nothing() {
        assert_eq!(
            read(
                "running 5 tests\nresult: 3 passed\n3 passed, 1 failed",
                false
            ),
            Counts::default()
        );
    }
}
