//! The words of the command line before they are parsed: where the options end.
//!
//! As with ssh, options may stand before and after PEER and end at the first word of the COMMAND:
//! what follows belongs to the command, whatever it looks like. A `--` is put there.

use std::ffi::{OsStr, OsString};

use clap::{ArgAction, Command};

/// Puts `--` before the words of a remote command, and `-l USER PEER COMMAND` (as rsync has it)
/// into the form `USER@PEER COMMAND`.
pub(crate) fn prepare(command: &Command, words: &[OsString]) -> Vec<OsString> {
    let mut words = words.to_vec();
    let (Some(first), second) = plain_words(command, &words) else {
        return words;
    };
    let names_subcommand = |word: &OsStr| {
        let known = command.get_subcommands().map(Command::get_name);
        word.to_str()
            .is_some_and(|word| known.into_iter().any(|name| name == word))
    };
    if names_subcommand(&words[first]) {
        return words;
    }
    let Some(mut second) = second else {
        return words;
    };
    if first > 1 && words[first - 1] == "-l" && second == first + 1 {
        let mut destination = words[first].clone();
        destination.push("@");
        destination.push(&words[second]);
        words.splice(first - 1..=second, [destination]);
        second = first;
    }
    if second < words.len() {
        words.insert(second, OsString::from("--"));
    }
    words
}

/// Where the first two words are that are neither options nor their values. After a `--` there is
/// nothing to find.
fn plain_words(command: &Command, words: &[OsString]) -> (Option<usize>, Option<usize>) {
    let mut first = None;
    let mut at = 1;
    while let Some(word) = words.get(at) {
        let bytes = word.as_encoded_bytes();
        if bytes == b"--" {
            return (first, None);
        }
        if bytes.first() == Some(&b'-') && bytes.len() > 1 {
            at += if wants_next(command, &word.to_string_lossy()) {
                2
            } else {
                1
            };
            continue;
        }
        match first {
            None => first = Some(at),
            Some(_) => return (first, Some(at)),
        }
        at += 1;
    }
    (first, None)
}

/// Whether the word after this option is its value.
fn wants_next(command: &Command, option: &str) -> bool {
    let takes_next = |arg: &&clap::Arg| {
        matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
            && !arg.is_require_equals_set()
    };
    if let Some(long) = option.strip_prefix("--") {
        let mut args = command.get_arguments().filter(takes_next);
        return args.any(|arg| arg.get_long() == Some(long));
    }
    // Of `-NL`, the first letter that takes a value takes the rest of the word, if there is any.
    let letters: Vec<char> = option.chars().skip(1).collect();
    let valued = letters.iter().position(|letter| {
        let mut args = command.get_arguments().filter(takes_next);
        args.any(|arg| arg.get_short() == Some(*letter))
    });
    valued.is_some_and(|at| at + 1 == letters.len())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::flags::Flags;

    fn prepared(line: &str) -> String {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let words = prepare(&Flags::command(), &words);
        let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
        words.join(" ")
    }

    #[test]
    fn options_end_at_the_command() {
        for (line, expected) in [
            ("dsh home", "dsh home"),
            ("dsh home ls -la", "dsh home -- ls -la"),
            ("dsh -v home -t ls -t", "dsh -v home -t -- ls -t"),
            ("dsh -L 1:h:2 home ls", "dsh -L 1:h:2 home -- ls"),
            ("dsh -NL 1:h:2 home ls", "dsh -NL 1:h:2 home -- ls"),
            ("dsh -L1:h:2 home ls", "dsh -L1:h:2 home -- ls"),
            ("dsh --env A=1 home cp a b", "dsh --env A=1 home -- cp a b"),
            ("dsh --env=A home man ls", "dsh --env=A home -- man ls"),
            ("dsh --no-mdns home ls", "dsh --no-mdns home -- ls"),
            ("dsh home -- ls", "dsh home -- ls"),
            ("dsh -- man", "dsh -- man"),
            ("dsh completions bash", "dsh completions bash"),
            ("dsh -l -a", "dsh -l -a"),
        ] {
            assert_eq!(prepared(line), expected);
        }
    }

    #[test]
    fn the_login_name_of_ssh_is_understood() {
        assert_eq!(
            prepared("dsh -l alice home rsync --server ."),
            "dsh alice@home -- rsync --server ."
        );
        assert_eq!(prepared("dsh -v -l alice home"), "dsh -v alice@home");
    }
}
