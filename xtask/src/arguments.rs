//! Flags of one command: `--name`, `--name VALUE`, `--name=VALUE`; anything left over is an error.

use crate::failure::{Failure, Outcome};

/// The words after the command; each call takes out what it recognises.
#[derive(Debug)]
pub(crate) struct Arguments {
    words: Vec<String>,
}

impl Arguments {
    /// The words as the shell gave them.
    pub(crate) fn new(words: &[String]) -> Self {
        Self {
            words: words.to_vec(),
        }
    }

    /// Whether the flag without a value is there.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let before = self.words.len();
        self.words.retain(|word| word != name);
        self.words.len() != before
    }

    /// The value of a flag; an error when the flag is there and its value is not.
    pub(crate) fn value(&mut self, name: &str) -> Outcome<Option<String>> {
        let with_equals = format!("{name}=");
        if let Some(at) = self
            .words
            .iter()
            .position(|word| word.starts_with(&with_equals))
        {
            let word = self.words.remove(at);
            return Ok(Some(word[with_equals.len()..].to_owned()));
        }
        let Some(at) = self.words.iter().position(|word| word == name) else {
            return Ok(None);
        };
        if at + 1 >= self.words.len() {
            return Err(Failure::usage(format!("{name} needs a value")));
        }
        self.words.remove(at);
        Ok(Some(self.words.remove(at)))
    }

    /// The value of a flag that takes a whole number of at least 1.
    pub(crate) fn number(&mut self, name: &str) -> Outcome<Option<u64>> {
        let Some(text) = self.value(name)? else {
            return Ok(None);
        };
        match text.parse::<u64>() {
            Ok(number) if number > 0 => Ok(Some(number)),
            _ => Err(Failure::usage(format!(
                "{name} takes a number from 1, not `{text}`"
            ))),
        }
    }

    /// Refuses what nobody asked for.
    pub(crate) fn finish(self) -> Outcome {
        match self.words.first() {
            None => Ok(()),
            Some(word) => Err(Failure::usage(format!("unexpected argument `{word}`"))),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn arguments(words: &[&str]) -> Arguments {
        Arguments::new(
            &words
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn a_value_is_taken_in_both_spellings() {
        assert_eq!(
            arguments(&["--size", "16"]).number("--size").unwrap(),
            Some(16)
        );
        assert_eq!(
            arguments(&["--size=16"]).number("--size").unwrap(),
            Some(16)
        );
        assert_eq!(arguments(&[]).number("--size").unwrap(), None);
    }

    #[test]
    fn a_missing_or_bad_value_is_a_usage_error() {
        assert_eq!(
            arguments(&["--size"]).number("--size").unwrap_err().code(),
            2
        );
        assert_eq!(
            arguments(&["--size", "0"])
                .number("--size")
                .unwrap_err()
                .code(),
            2
        );
        assert_eq!(
            arguments(&["--size", "x"])
                .number("--size")
                .unwrap_err()
                .code(),
            2
        );
    }

    #[test]
    fn what_is_left_over_is_refused() {
        let mut words = arguments(&["--check", "--chekc"]);
        assert!(words.flag("--check"));
        assert!(words.finish().unwrap_err().to_string().contains("--chekc"));
    }
}
