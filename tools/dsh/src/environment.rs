//! Variables that travel from the client to the command, and the list of those that may.

use std::fmt;
use std::str::FromStr;

use dhtnet_shell_wire::request::MAX_VARIABLES;

/// What a client sends without being told: how its terminal's user reads and writes.
const SENT: [&str; 2] = ["LANG", "LC_*"];

/// What a server always accepts; TERM comes with the terminal.
const ACCEPTED: [&str; 3] = ["LANG", "LC_*", "TERM"];

/// The argument of `--env`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variable {
    name: String,
    /// `None`: as it is here.
    value: Option<String>,
}

impl FromStr for Variable {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        if !is_name(name) {
            return Err(format!("{name:?} is no name of a variable"));
        }
        let name = name.to_owned();
        Ok(Self { name, value })
    }
}

/// The name of a variable, or its beginning and `*`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct NamePattern(String);

impl fmt::Debug for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for NamePattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.strip_suffix('*').unwrap_or(text);
        if is_name(name) || text == "*" {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "{text:?} is no name of a variable, with or without * at its end"
            ))
        }
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    }
}

/// Whether programs take this for a variable: POSIX's letters, digits and underscores.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// What a client sends: the locale of `own`, and what it was told to send.
pub(crate) fn to_send(
    asked: &[Variable],
    own: impl Iterator<Item = (String, String)>,
) -> Vec<(String, String)> {
    let mut sent: Vec<(String, String)> = Vec::new();
    let own: Vec<(String, String)> = own.collect();
    let is_locale = |name: &str| SENT.iter().any(|pattern| matches(pattern, name));
    sent.extend(own.iter().filter(|(name, _)| is_locale(name)).cloned());
    for Variable { name, value } in asked {
        let here = || {
            own.iter()
                .find(|(own, _)| own == name)
                .map(|(_, value)| value.clone())
        };
        if let Some(value) = value.clone().or_else(here) {
            sent.retain(|(before, _)| before != name);
            sent.push((name.clone(), value));
        }
    }
    sent.truncate(MAX_VARIABLES);
    sent
}

/// What a server takes of the variables that a peer sent.
pub(crate) fn accepted<'v>(
    sent: &'v [(String, String)],
    more: &'v [NamePattern],
) -> impl Iterator<Item = &'v (String, String)> {
    sent.iter()
        .take(MAX_VARIABLES)
        .filter(move |(name, value)| {
            let mut patterns = ACCEPTED
                .iter()
                .copied()
                .chain(more.iter().map(|pattern| pattern.0.as_str()));
            is_name(name) && !value.contains('\0') && patterns.any(|pattern| matches(pattern, name))
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = list
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        owned.collect()
    }

    #[test]
    fn a_client_sends_its_locale_and_what_it_was_told() {
        let own = pairs(&[
            ("LANG", "C.UTF-8"),
            ("LC_TIME", "C"),
            ("SECRET", "s"),
            ("A", "1"),
        ]);
        let asked: Vec<Variable> = ["A", "B=2", "MISSING", "LANG=de"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let expected = pairs(&[("LC_TIME", "C"), ("A", "1"), ("B", "2"), ("LANG", "de")]);
        assert_eq!(to_send(&asked, own.into_iter()), expected);
        let many = (0..200).map(|n| (format!("LC_{n}"), String::new()));
        assert_eq!(to_send(&[], many).len(), MAX_VARIABLES);
    }

    #[test]
    fn a_server_takes_the_locale_and_what_it_was_told() {
        let sent = pairs(&[
            ("LANG", "C"),
            ("LC_ALL", "C"),
            ("LD_PRELOAD", "x"),
            ("GIT_DIR", "g"),
            ("TERM", "vt"),
            ("LC_A=B", "x"),
            ("LC_NUL", "a\0b"),
        ]);
        let names = |more: &[NamePattern]| {
            let taken = accepted(&sent, more).map(|(name, _)| name.clone());
            taken.collect::<Vec<_>>()
        };
        assert_eq!(names(&[]), ["LANG", "LC_ALL", "TERM"]);
        let git = ["GIT_*".parse().unwrap()];
        assert_eq!(names(&git), ["LANG", "LC_ALL", "GIT_DIR", "TERM"]);
        let many = pairs(&[("LANG", "C"); MAX_VARIABLES + 1]);
        assert_eq!(accepted(&many, &[]).count(), MAX_VARIABLES);
    }

    #[test]
    fn names_are_those_of_posix() {
        for wrong in ["", "1A", "A-B", "A B", "=x", "Ä"] {
            wrong.parse::<Variable>().unwrap_err();
        }
        for wrong in ["", "A*B", "*A"] {
            wrong.parse::<NamePattern>().unwrap_err();
        }
        assert!("*".parse::<NamePattern>().is_ok());
    }
}
