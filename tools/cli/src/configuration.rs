//! `config.toml`: flags that always apply.
//!
//! Keys are the long names of flags. The flags that several tools share stand at the top, those of
//! one tool in a table with its name. The file is read whole and checked whole before anything
//! starts; its values then become the defaults of the flags, which gives the order flag,
//! environment, file, default.

use std::fs;
use std::io;
use std::path::Path;

use clap::Command;
use clap::error::ContextKind;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::Failure;
use crate::failure::one_line;
use crate::flags;

/// The tools that may have a table of their own.
const TOOLS_WITH_TABLE: [&str; 3] = ["dnc", "dsh", "dhtnode"];

/// One key of the file, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// Long name of the flag.
    pub(crate) key: String,
    /// Its values as they would stand on the command line.
    pub(crate) values: Vec<String>,
}

/// What a file is checked against.
pub(crate) struct Rules<'a> {
    /// The tool that reads the file.
    pub(crate) tool: &'static str,
    /// Its flags.
    pub(crate) command: &'a Command,
    /// Those of its own flags that may stand in its table.
    pub(crate) own_keys: &'a [&'a str],
}

/// Reads and checks `path`.
///
/// # Errors
/// Exit code 2; the line names the file, the line in it, and the key. A missing file is no error
/// unless it was `asked_for`.
pub(crate) fn load(
    path: &Path,
    asked_for: bool,
    rules: &Rules<'_>,
) -> Result<Vec<Setting>, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => check(&text, &path.display().to_string(), rules),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !asked_for => Ok(Vec::new()),
        Err(error) => Err(Failure::usage(format!(
            "cannot read the configuration {}: {error}",
            path.display()
        ))),
    }
}

/// Checks the text of a file called `file`.
fn check(text: &str, file: &str, rules: &Rules<'_>) -> Result<Vec<Setting>, Failure> {
    let at = |span: usize, what: String| {
        let line = 1 + text
            .as_bytes()
            .iter()
            .take(span)
            .filter(|b| **b == b'\n')
            .count();
        Failure::usage(format!("{file}:{line}: {what}"))
    };
    let table = DeTable::parse(text).map_err(|error| {
        at(
            error.span().map_or(0, |span| span.start),
            error.message().to_owned(),
        )
    })?;
    let shared = flags::all_shared(rules.tool);
    let shared_keys: Vec<&str> = shared
        .get_arguments()
        .filter_map(|arg| arg.get_long())
        .filter(|key| !flags::NOT_CONFIGURABLE.contains(key))
        .collect();
    let mut settings = Vec::new();
    for (key, value) in table.get_ref() {
        let name = key.get_ref().as_ref();
        if let (true, Some(own)) = (TOOLS_WITH_TABLE.contains(&name), value.get_ref().as_table()) {
            if name == rules.tool {
                for (key, value) in own {
                    let setting = check_entry(key, value, rules.command, rules.own_keys);
                    settings.push(setting.map_err(|what| at(key.span().start, what))?);
                }
            }
        } else {
            let setting = check_entry(key, value, &shared, &shared_keys);
            settings.push(setting.map_err(|what| at(key.span().start, what))?);
        }
    }
    Ok(settings)
}

fn check_entry(
    key: &Spanned<std::borrow::Cow<'_, str>>,
    value: &Spanned<DeValue<'_>>,
    command: &Command,
    known: &[&str],
) -> Result<Setting, String> {
    let key = key.get_ref().as_ref();
    if !known.contains(&key) {
        let near = known.iter().find(|name| is_near(name, key));
        let advice = near
            .map(|name| format!("; did you mean {name:?}?"))
            .unwrap_or_default();
        return Err(format!("unknown key {key:?}{advice}"));
    }
    let values = match value.get_ref() {
        DeValue::Array(list) => {
            let repeatable = command
                .get_arguments()
                .find(|arg| arg.get_long() == Some(key))
                .is_some_and(|arg| matches!(arg.get_action(), clap::ArgAction::Append));
            if !repeatable {
                return Err(format!("{key}: takes one value, not a list"));
            }
            list.iter()
                .map(|value| as_argument(key, value.get_ref()))
                .collect::<Result<_, _>>()?
        }
        value => vec![as_argument(key, value)?],
    };
    for value in &values {
        check_value(key, value, command)?;
    }
    Ok(Setting {
        key: key.to_owned(),
        values,
    })
}

fn as_argument(key: &str, value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.as_ref().to_owned()),
        DeValue::Integer(number) if number.radix() == 10 => Ok(number.as_str().to_owned()),
        DeValue::Float(number) => Ok(number.as_str().to_owned()),
        DeValue::Boolean(switch) => Ok(switch.to_string()),
        other => Err(format!(
            "{key}: a value of type {} does not fit",
            other.type_str()
        )),
    }
}

/// Lets the flag itself judge, so that the file and the command line cannot differ.
fn check_value(key: &str, value: &str, command: &Command) -> Result<(), String> {
    let flag = format!("--{key}");
    let judged = command
        .clone()
        .no_binary_name(true)
        .try_get_matches_from([format!("{flag}={value}")]);
    let Err(error) = judged else { return Ok(()) };
    let blamed = error
        .get(ContextKind::InvalidArg)
        .map(ToString::to_string)
        .unwrap_or_default();
    if !blamed.starts_with(&flag) {
        return Ok(()); // The environment's fault, and told when the command line is parsed.
    }
    let cause = std::error::Error::source(&error).map_or_else(
        || {
            let text = error.render().to_string();
            let first = text.lines().next().unwrap_or_default();
            one_line(first.trim_start_matches("error: "))
        },
        |source| format!("invalid value {value:?}: {source}"),
    );
    Err(format!("{key}: {cause}"))
}

/// Whether `typed` may be `known` with typing errors: at most one in three letters.
fn is_near(known: &str, typed: &str) -> bool {
    let mut row: Vec<usize> = (0..=typed.chars().count()).collect();
    for (i, a) in known.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in typed.chars().enumerate() {
            let substituted = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last()
        .is_some_and(|distance| distance * 3 <= known.chars().count())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tool() -> Command {
        flags::all_shared("dnc").arg(
            clap::Arg::new("allow_target")
                .long("allow-target")
                .action(clap::ArgAction::Append)
                .value_parser(["a:1", "b:2"]),
        )
    }

    fn checked(text: &str) -> Result<Vec<Setting>, String> {
        let command = tool();
        let rules = Rules {
            tool: "dnc",
            command: &command,
            own_keys: &["allow-target"],
        };
        check(text, "config.toml", &rules).map_err(|failure| failure.to_string())
    }

    fn setting(key: &str, values: &[&str]) -> Setting {
        Setting {
            key: key.to_owned(),
            values: values.iter().map(|v| (*v).to_owned()).collect(),
        }
    }

    #[test]
    fn values_of_every_kind_become_arguments() {
        let text = "bind = '127.0.0.1:4433'\ntimeout = 5\nno-mdns = true\nno-portmap = true\n\
                    allow = ['home', 'work']\n\
                    [dnc]\nallow-target = ['a:1', 'b:2']\n";
        assert_eq!(
            checked(text).unwrap(),
            [
                setting("allow", &["home", "work"]),
                setting("bind", &["127.0.0.1:4433"]),
                setting("allow-target", &["a:1", "b:2"]),
                setting("no-mdns", &["true"]),
                setting("no-portmap", &["true"]),
                setting("timeout", &["5"]),
            ]
        );
    }

    #[test]
    fn each_mistake_is_named_with_file_line_and_key() {
        let mistakes = [
            (
                "bind =",
                "config.toml:1: string values must be quoted, expected literal string",
            ),
            (
                "\nbnd = ':1'",
                r#"config.toml:2: unknown key "bnd"; did you mean "bind"?"#,
            ),
            ("colour = 1", r#"config.toml:1: unknown key "colour""#),
            ("verbose = 1", r#"config.toml:1: unknown key "verbose""#),
            (
                "# x\n\nbind = 'here'",
                r#"config.toml:3: bind: invalid value "here": invalid socket address syntax"#,
            ),
            (
                "bind = ['[::]:1']",
                "config.toml:1: bind: takes one value, not a list",
            ),
            (
                "bind = {}",
                "config.toml:1: bind: a value of type table does not fit",
            ),
            (
                "no-mdns = 'perhaps'",
                r#"config.toml:1: no-mdns: invalid value "perhaps": value was not a boolean"#,
            ),
            (
                "bootstrap = ['none', 'a.example']",
                "config.toml:1: bootstrap: invalid value \"a.example\": not HOST:PORT or \
                 [IPV6]:PORT; neither is it \"mainline\" or \"none\"",
            ),
            (
                "[dnc]\nbind = '[::]:1'",
                r#"config.toml:2: unknown key "bind""#,
            ),
            ("[dnd]\nx = 1", r#"config.toml:1: unknown key "dnd""#),
            ("dnc = 1", r#"config.toml:1: unknown key "dnc""#),
        ];
        for (text, expected) in mistakes {
            assert_eq!(checked(text).unwrap_err(), expected, "for {text:?}");
        }
    }

    #[test]
    fn a_missing_file_is_an_error_only_if_it_was_asked_for() {
        let command = tool();
        let rules = Rules {
            tool: "dnc",
            command: &command,
            own_keys: &[],
        };
        let path = Path::new("/nonexistent/config.toml");
        assert_eq!(load(path, false, &rules), Ok(Vec::new()));
        let failure = load(path, true, &rules).unwrap_err();
        assert_eq!(failure.code(), crate::ExitCode::Usage);
    }

    #[test]
    fn one_typing_error_in_three_letters_is_near_and_more_are_not() {
        assert!(is_near("bootstrap", "botstrap"));
        assert!(is_near("bootstrap", "bootstarp"));
        assert!(is_near("bind", "bnd"));
        assert!(!is_near("bind", "dnd"));
        assert!(!is_near("bootstrap", "bots"));
        assert!(!is_near("allow", ""));
    }
}
