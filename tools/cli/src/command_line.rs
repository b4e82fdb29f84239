//! From the words of the command line to a tool's flags, by way of the configuration file.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::error::{ContextKind, ErrorKind};
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches};

use crate::configuration::{self, Rules};
use crate::failure::one_line;
use crate::{ExitCode, Failure, Home, pages};

/// A command line that was understood.
#[derive(Debug)]
pub struct Parsed<T> {
    /// The flags, with environment and configuration file applied.
    pub flags: T,
    /// Where each value came from.
    pub matches: ArgMatches,
    home: Result<Home, Failure>,
}

impl<T> Parsed<T> {
    /// The directories of the device.
    ///
    /// # Errors
    /// Exit code 2 if the environment names none.
    pub fn home(&self) -> Result<&Home, Failure> {
        self.home.as_ref().map_err(Clone::clone)
    }
}

/// Why there is nothing to run.
#[derive(Debug)]
pub enum Stop {
    /// Help or version was asked for: this text belongs on stdout, and the tool has done its work.
    Text(String),
    /// The command line or the configuration is wrong.
    Failure(Failure),
}

impl Stop {
    /// Prints the text, if that is what it is.
    ///
    /// # Errors
    /// The failure, or exit code 1 if the text cannot be written.
    pub fn put(self, stdout: &mut impl Write) -> Result<ExitCode, Failure> {
        match self {
            Self::Text(text) => pages::put(stdout, text.as_bytes()),
            Self::Failure(failure) => Err(failure),
        }
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// Parses `words`, the first of which is the name of the program.
///
/// `own_keys` are the flags of this tool that its table in the configuration file may hold.
///
/// # Errors
/// [`Stop`]: a text to print, or a failure of exit code 2.
pub fn parse<T>(
    tool: &'static str,
    words: &[OsString],
    own_keys: &[&str],
) -> Result<Parsed<T>, Stop>
where
    T: CommandFactory + FromArgMatches,
{
    let home = Home::from_environment();
    let command = T::command();
    // Strictly, before the file is read: wrong flags are reported first, and --help works
    // whatever the file holds.
    let matches = matches_of(tool, command.clone(), words)?;
    let settings = match configuration_path(&matches, &home) {
        Some((path, asked_for)) if !prints_only(&matches) => configuration::load(
            &path,
            asked_for,
            &Rules {
                tool,
                command: &command,
                own_keys,
            },
        )?,
        _ => Vec::new(),
    };
    let matches = if settings.is_empty() {
        matches
    } else {
        let configured = settings.into_iter().fold(command, |command, setting| {
            let id = command
                .get_arguments()
                .find(|arg| arg.get_long() == Some(setting.key.as_str()))
                .map(|arg| arg.get_id().clone());
            match id {
                Some(id) => command.mut_arg(id, |arg| arg.default_values(setting.values)),
                None => command, // A shared flag that this tool does not take.
            }
        });
        matches_of(tool, configured, words)?
    };
    let flags = T::from_arg_matches(&matches).map_err(|error| stop_for(&help_of(tool), &error))?;
    Ok(Parsed {
        flags,
        matches,
        home,
    })
}

fn matches_of(tool: &str, command: Command, words: &[OsString]) -> Result<ArgMatches, Stop> {
    let mut command = command;
    command.try_get_matches_from_mut(words).map_err(|error| {
        match stop_for(&help_of(tool), &error) {
            Stop::Failure(failure) => match environment_at_fault(&command, words, &error) {
                Some(variable) => Failure::usage(format!("${variable}: {failure}")).into(),
                None => failure.into(),
            },
            text => text,
        }
    })
}

/// The environment variable that a bad value came from, if it was not on the command line.
fn environment_at_fault(
    command: &Command,
    words: &[OsString],
    error: &clap::Error,
) -> Option<String> {
    let blamed = error.get(ContextKind::InvalidArg)?.to_string();
    let arg = command.get_arguments().find(|arg| {
        arg.get_long().is_some_and(|long| {
            blamed.strip_prefix("--").is_some_and(|name| {
                name.strip_prefix(long)
                    .is_some_and(|rest| !rest.starts_with(['-', '_']))
            })
        })
    })?;
    let variable = arg.get_env()?.to_str()?;
    let is_typed = |word: &OsString| {
        let word = word.to_string_lossy();
        let long = arg.get_long().is_some_and(|long| {
            word.strip_prefix("--")
                .is_some_and(|name| name.starts_with(long))
        });
        let short = arg.get_short().is_some_and(|short| {
            word.starts_with('-') && !word.starts_with("--") && word.contains(short)
        });
        long || short
    };
    let is_set = std::env::var_os(variable).is_some();
    (is_set && !words.iter().any(is_typed)).then(|| variable.to_owned())
}

/// The configuration file, and whether the user named it.
fn configuration_path(
    matches: &ArgMatches,
    home: &Result<Home, Failure>,
) -> Option<(PathBuf, bool)> {
    let named = matches.get_one::<PathBuf>("configuration").cloned();
    named.map(|path| (path, true)).or_else(|| {
        home.as_ref()
            .ok()
            .map(|home| (home.configuration_file(), false))
    })
}

/// Completions and manual pages depend on the flags alone.
fn prints_only(matches: &ArgMatches) -> bool {
    matches!(matches.subcommand_name(), Some("completions" | "man"))
}

fn help_of(tool: &str) -> String {
    format!("{tool} --help")
}

/// What to do about words that were not understood. `help` is what the user can type to see what
/// is: `dnc --help`, or `help` in a prompt.
pub fn stop_for(help: &str, error: &clap::Error) -> Stop {
    let text = error.render().to_string();
    let advice = format!("see {help}");
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Stop::Text(text),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            Failure::usage("a command is missing").advise(advice).into()
        }
        _ => {
            let meant = text
                .lines()
                .map(|line| line.trim_start_matches("error: ").trim())
                .filter(|line| !line.is_empty() && !line.starts_with("For more information"))
                .take_while(|line| !line.starts_with("Usage:"))
                .collect::<Vec<_>>();
            Stop::Failure(Failure::usage(one_line(&meant.join(" "))).advise(advice))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use clap::Parser;

    use super::*;
    use crate::flags::{HomeFlags, NetworkFlags};

    #[derive(Parser, Debug)]
    #[command(name = "dnc", version)]
    struct Tool {
        #[command(flatten)]
        home: HomeFlags,
        #[command(flatten)]
        network: NetworkFlags,
        #[arg(long)]
        own: Option<u8>,
    }

    fn parse_with(file: &str, words: &[&str]) -> Result<Tool, Stop> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        fs::write(&path, file).unwrap();
        let words = ["dnc", "-d", path.to_str().unwrap()]
            .into_iter()
            .chain(words.iter().copied());
        let words: Vec<OsString> = words.map(OsString::from).collect();
        parse::<Tool>("dnc", &words, &["own"]).map(|parsed| parsed.flags)
    }

    fn failure(result: Result<Tool, Stop>) -> String {
        match result {
            Err(Stop::Failure(failure)) => failure.to_string(),
            other => panic!("no failure: {other:?}"),
        }
    }

    #[test]
    fn the_file_overrules_defaults_and_flags_overrule_the_file() {
        let file = "bind = '127.0.0.1:7'\nno-mdns = true\nallow = 'home'\n[dnc]\nown = 3\n";
        let tool = parse_with(file, &[]).unwrap();
        assert_eq!(tool.network.dht.bind, "127.0.0.1:7".parse().unwrap());
        assert!(tool.network.no_mdns);
        assert_eq!(tool.own, Some(3));
        let tool = parse_with(file, &["--bind", "[::1]:8", "--no-mdns=false", "--own=4"]).unwrap();
        assert_eq!(tool.network.dht.bind, "[::1]:8".parse().unwrap());
        assert!(!tool.network.no_mdns);
        assert_eq!(tool.own, Some(4));
    }

    #[test]
    fn a_wrong_flag_is_one_line_that_points_at_the_help() {
        assert_eq!(
            failure(parse_with("", &["--bimd", "x"])),
            "unexpected argument '--bimd' found tip: a similar argument exists: '--bind'; \
             see dnc --help"
        );
        assert_eq!(
            failure(parse_with("", &["--bind", "x"])),
            "invalid value 'x' for '--bind <ADDR:PORT>': invalid socket address syntax; \
             see dnc --help"
        );
    }

    #[test]
    fn a_mistake_in_the_file_stops_everything_but_the_help() {
        assert!(failure(parse_with("oops = 1", &[])).contains("config.toml:1: unknown key"));
        assert!(matches!(
            parse_with("oops = 1", &["--help"]),
            Err(Stop::Text(_))
        ));
        assert!(matches!(
            parse_with("oops = 1", &["-V"]),
            Err(Stop::Text(_))
        ));
    }
}
