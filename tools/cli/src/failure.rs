//! A failure as the user meets it: an exit code and one line.

use std::fmt;

use crate::ExitCode;

/// Why a tool ends without having done its work.
///
/// `Display` is always one line without control characters, whatever the cause (or a peer) put into
/// it: no failure can move the cursor, colour the terminal or look like two messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    code: ExitCode,
    line: String,
    advice: Option<String>,
}

impl Failure {
    /// What failed, for whom and why, in one line.
    pub fn new(code: ExitCode, line: impl Into<String>) -> Self {
        Self {
            code,
            line: line.into(),
            advice: None,
        }
    }

    /// Exit code 1.
    pub fn failed(line: impl Into<String>) -> Self {
        Self::new(ExitCode::Failed, line)
    }

    /// Exit code 2.
    pub fn usage(line: impl Into<String>) -> Self {
        Self::new(ExitCode::Usage, line)
    }

    /// Adds what to try next; printed after a semicolon.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// How the process should end.
    pub fn code(&self) -> ExitCode {
        self.code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_line(f, &self.line)?;
        if let Some(advice) = &self.advice {
            f.write_str("; ")?;
            write_line(f, advice)?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// `text` on one line: runs of white space become one space, other control characters `?`.
pub fn one_line(text: &str) -> String {
    let words = text.split_whitespace().map(|word| {
        word.chars()
            .map(|c| if c.is_control() { '?' } else { c })
            .collect::<String>()
    });
    words.collect::<Vec<_>>().join(" ")
}

/// An error with all its causes: `what failed: why: why that`.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let source_text = source.to_string();
        // Some errors repeat their source in their own words.
        if !text.ends_with(&source_text) {
            text.push_str(": ");
            text.push_str(&source_text);
        }
        cause = source.source();
    }
    text
}

fn write_line(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str(&one_line(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_with_the_advice_at_its_end() {
        let failure = Failure::failed("cannot listen on 127.0.0.1:80: permission denied")
            .advise("try a port above 1023");
        assert_eq!(
            failure.to_string(),
            "cannot listen on 127.0.0.1:80: permission denied; try a port above 1023"
        );
        assert_eq!(failure.code(), ExitCode::Failed);
    }

    #[test]
    fn control_characters_of_a_peer_do_not_reach_the_terminal() {
        let failure = Failure::failed("declined: \u{1b}[2Jgone\r\ndnc: all is well\u{7}");
        assert_eq!(failure.to_string(), "declined: ?[2Jgone dnc: all is well?");
    }
}
