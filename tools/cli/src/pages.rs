//! Shell completions and manual pages, generated from the flag definitions.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Command, Subcommand};
use clap_complete::Shell;

use crate::{ExitCode, Failure};

/// Names that are subcommands of the tools and so make poor names for contacts.
pub const RESERVED_NAMES: [&str; 4] = ["completions", "man", "help", "ping"];

/// What every tool can print about itself.
#[derive(Subcommand, Clone, Debug)]
pub enum Pages {
    /// Print the completions for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print the manual page, or write all pages into a directory
    #[command(hide = true)]
    Man {
        /// Directory for the pages; made if it is missing
        directory: Option<PathBuf>,
    },
}

impl Pages {
    /// Prints what was asked for about `command`, which is all that there is to do.
    ///
    /// # Errors
    /// Exit code 1 if it cannot be written.
    pub fn put(&self, command: Command, stdout: &mut impl Write) -> Result<ExitCode, Failure> {
        let mut text = Vec::new();
        self.print(command, &mut text)
            .map_err(|error| Failure::failed(format!("cannot write the pages: {error}")))?;
        put(stdout, &text)
    }

    /// Prints what was asked for about `command`.
    ///
    /// # Errors
    /// Those of writing to `stdout` or into the directory.
    pub fn print(&self, mut command: Command, stdout: &mut dyn Write) -> io::Result<()> {
        let mut text = Vec::new();
        match self {
            Self::Completions { shell } => {
                let name = command.get_name().to_owned();
                clap_complete::generate(*shell, &mut command, name, &mut text);
            }
            Self::Man { directory: None } => clap_mangen::Man::new(command).render(&mut text)?,
            Self::Man {
                directory: Some(directory),
            } => {
                fs::create_dir_all(directory)?;
                clap_mangen::generate_to(command, directory)?;
            }
        }
        stdout.write_all(&text)
    }
}

/// Writes a text that was asked for to stdout, which is all that there is to do.
///
/// # Errors
/// Exit code 1 if it cannot be written.
pub fn put(stdout: &mut impl Write, text: &[u8]) -> Result<ExitCode, Failure> {
    stdout
        .write_all(text)
        .map(|()| ExitCode::Done)
        .map_err(|error| Failure::failed(format!("cannot write to stdout: {error}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::flags;

    #[test]
    fn the_page_and_the_completions_know_the_flags() {
        let mut page = Vec::new();
        let man = Pages::Man { directory: None };
        man.print(flags::all_shared("tool"), &mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        assert!(
            page.contains(r"\-\-no\-mdns") && page.contains("DHTNET_NO_MDNS"),
            "{page}"
        );

        let mut script = Vec::new();
        let completions = Pages::Completions { shell: Shell::Bash };
        completions
            .print(flags::all_shared("tool"), &mut script)
            .unwrap();
        assert!(String::from_utf8(script).unwrap().contains("--no-mdns"));
    }

    #[test]
    fn all_pages_can_be_written_into_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let pages = dir.path().join("man1");
        let man = Pages::Man {
            directory: Some(pages.clone()),
        };
        let command = Command::new("tool").subcommand(Command::new("part"));
        man.print(command, &mut io::sink()).unwrap();
        assert!(pages.join("tool.1").exists() && pages.join("tool-part.1").exists());
    }
}
