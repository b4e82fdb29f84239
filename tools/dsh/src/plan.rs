//! What the flags ask for, as plain data. Contradictions end here.

use std::path::PathBuf;

use dhtnet_cli::Failure;
use dhtnet_cli::node::Role;
use dhtnet_forward::flags::Carried;
use dhtnet_forward::forward::Forwards;
use dhtnet_identity::PeerArgument;
use dhtnet_identity::policy::Permission;
use dhtnet_shell_wire::session::attach::Part;

use crate::client::escape::EscapeCharacter;
use crate::copy::Wanted;
use crate::destination::Destination;
use crate::environment::{NamePattern, Variable};
use crate::flags::{Command, Flags};
use crate::session::client::{Comeback, Named};
use crate::session::list::Form;

/// What dsh is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Serve shells and commands to the peers that come.
    Serve(Offered),
    /// List the named sessions on a peer.
    List {
        peer: PeerArgument,
        user: Option<String>,
        form: Form,
    },
    /// Connect to a peer.
    Connect {
        peer: PeerArgument,
        /// Missing with `-N`.
        job: Option<Job>,
        forwards: Forwards,
    },
    /// Copy files.
    Copy(Box<Wanted>),
}

/// What peers may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offered {
    /// The commands of the peers of `--allow`; all, and shells and forwards, if there are none.
    pub(crate) commands: Vec<Permission>,
    /// The user that they are.
    pub(crate) user: Option<String>,
    pub(crate) accept_env: Vec<NamePattern>,
    pub(crate) record: Option<PathBuf>,
}

/// A shell or a command on the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) user: Option<String>,
    /// A login shell if there is none.
    pub(crate) command: Option<String>,
    pub(crate) terminal: TerminalWish,
    pub(crate) input: InputWish,
    pub(crate) escape: EscapeCharacter,
    pub(crate) environment: Vec<Variable>,
    /// A session that goes on without this side.
    pub(crate) named: Option<Named>,
}

/// Whether the other side is to have a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TerminalWish {
    Never,
    /// If stdin is one.
    IfInput,
    Always,
}

/// Where input comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InputWish {
    Stdin,
    /// There is none (`-n`).
    Nothing,
}

impl Plan {
    /// Whether others call this node.
    pub(crate) fn role(&self) -> Role {
        match self {
            Self::Serve(_) => Role::Listener,
            Self::List { .. } | Self::Connect { .. } | Self::Copy(_) => Role::Caller,
        }
    }
}

/// Which flags stood on the command line itself, so that they must make sense there; the same
/// value from the environment or the file may be meant for another time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Typed {
    pub(crate) policy: bool,
    pub(crate) allow_command: bool,
    pub(crate) user: bool,
    pub(crate) accept_env: bool,
    pub(crate) record: bool,
    pub(crate) environment: bool,
    pub(crate) escape: bool,
}

/// Resolves the flags.
///
/// # Errors
/// Exit code 2, naming the flags that contradict each other.
pub(crate) fn plan(flags: &Flags, typed: Typed) -> Result<Plan, Failure> {
    if let Some(Command::Cp(copy)) = &flags.subcommand {
        Ok(Plan::Copy(Box::new(copy.wanted()?)))
    } else if flags.listen {
        plan_server(flags, typed)
    } else {
        plan_client(flags, typed)
    }
}

fn plan_server(flags: &Flags, typed: Typed) -> Result<Plan, Failure> {
    let client_flags = [
        (flags.destination.is_some(), "a PEER"),
        (flags.terminal > 0 || flags.no_terminal, "-t and -T"),
        (flags.no_command, "-N"),
        (flags.no_stdin, "-n"),
        (typed.escape, "-e"),
        (typed.environment, "--env"),
        (!flags.forwards.is_empty(), "-L, -R and -D"),
        (flags.session.is_some(), "-S"),
        (flags.list, "--list"),
    ];
    if let Some((_, name)) = client_flags.iter().find(|(given, _)| *given) {
        return Err(
            Failure::usage(format!("-l serves peers and does not go with {name}"))
                .advise("name the peers that may connect with --allow PEER"),
        );
    }
    Ok(Plan::Serve(Offered {
        commands: flags.allow_command.clone(),
        user: flags.user.clone(),
        accept_env: flags.accept_env.clone(),
        record: flags.record.clone(),
    }))
}

fn plan_client(flags: &Flags, typed: Typed) -> Result<Plan, Failure> {
    let server_flags = [
        (typed.policy, "--allow and -a"),
        (typed.allow_command, "--allow-command"),
        (typed.user, "--user"),
        (typed.accept_env, "--accept-env"),
        (typed.record, "--record"),
    ];
    if let Some((_, name)) = server_flags.iter().find(|(given, _)| *given) {
        return Err(Failure::usage(format!("{name} needs -l")));
    }
    let Some(destination) = flags.destination.clone() else {
        return Err(Failure::usage("a PEER is missing")
            .advise("name one, or serve peers with -l; see dsh --help"));
    };
    if flags.list {
        return plan_list(flags, destination);
    }
    if flags.json {
        return Err(Failure::usage("--json needs --list"));
    }
    check_session(flags)?;
    if flags.no_terminal && flags.terminal > 0 {
        return Err(Failure::usage("-t and -T contradict each other"));
    }
    let forwards = flags.forwards.wanted(Carried::AsNamed)?;
    if flags.no_command {
        if !flags.command.is_empty() || flags.terminal > 0 {
            return Err(Failure::usage("-N does not go with a COMMAND or -t"));
        }
        if flags.forwards.is_empty() {
            return Err(Failure::usage("-N has nothing to do without -L, -R or -D"));
        }
    }
    let job = (!flags.no_command).then(|| job(flags, destination.user));
    Ok(Plan::Connect {
        peer: destination.peer,
        job,
        forwards,
    })
}

fn plan_list(flags: &Flags, destination: Destination) -> Result<Plan, Failure> {
    let is_alone = flags.command.is_empty()
        && flags.session.is_none()
        && !(flags.view || flags.no_command || flags.no_terminal)
        && flags.terminal == 0
        && flags.forwards.is_empty();
    if !is_alone {
        return Err(Failure::usage("--list goes with a PEER and nothing else"));
    }
    Ok(Plan::List {
        peer: destination.peer,
        user: destination.user,
        form: if flags.json { Form::Json } else { Form::Table },
    })
}

/// Whether the flags of a named session make sense.
fn check_session(flags: &Flags) -> Result<(), Failure> {
    if flags.session.is_none() {
        return match flags.view {
            true => Err(Failure::usage(
                "--view needs the name of a session: -S NAME",
            )),
            false => Ok(()),
        };
    }
    if flags.no_command || flags.no_terminal || flags.no_stdin {
        return Err(Failure::usage(
            "-S is a terminal and does not go with -N, -T or -n",
        ));
    }
    if flags.view && !flags.command.is_empty() {
        return Err(Failure::usage(
            "--view looks at a session and runs no COMMAND",
        ));
    }
    Ok(())
}

fn named(flags: &Flags) -> Option<Named> {
    let name = flags.session.clone()?;
    Some(Named {
        name,
        part: if flags.view { Part::View } else { Part::Own },
        comeback: if flags.retry {
            Comeback::Retry
        } else {
            Comeback::GiveUp
        },
        prediction: flags.predict.into(),
    })
}

fn job(flags: &Flags, user: Option<String>) -> Job {
    let command = (!flags.command.is_empty()).then(|| flags.command.join(" "));
    let terminal = match (flags.no_terminal, flags.terminal, &command) {
        _ if flags.session.is_some() => TerminalWish::Always,
        (true, ..) | (false, 0, Some(_)) => TerminalWish::Never,
        (false, 0, None) | (false, 1, _) => TerminalWish::IfInput,
        (false, 2.., _) => TerminalWish::Always,
    };
    let input = if flags.no_stdin {
        InputWish::Nothing
    } else {
        InputWish::Stdin
    };
    Job {
        user,
        command,
        terminal,
        input,
        escape: flags.escape,
        environment: flags.environment.clone(),
        named: named(flags),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    use clap::Parser;

    use super::*;

    fn planned(words: &[&str]) -> Result<Plan, String> {
        let flags = Flags::try_parse_from([&["dsh"], words].concat()).unwrap();
        let typed = Typed {
            policy: !flags.policy.allow.is_empty(),
            record: flags.record.is_some(),
            ..Typed::default()
        };
        plan(&flags, typed).map_err(|failure| failure.to_string())
    }

    fn job_of(words: &[&str]) -> Job {
        match planned(words) {
            Ok(Plan::Connect { job: Some(job), .. }) => job,
            other => panic!("no job: {other:?}"),
        }
    }

    #[test]
    fn the_words_of_a_command_are_joined_by_blanks() {
        let job = job_of(&["bob@home", "--", "echo", "a  b", "-x"]);
        assert_eq!(job.command.as_deref(), Some("echo a  b -x"));
        assert_eq!(job.user.as_deref(), Some("bob"));
    }

    #[test]
    fn a_terminal_is_wished_for_as_with_ssh() {
        let wish = |words: &[&str]| job_of(words).terminal;
        assert_eq!(wish(&["home"]), TerminalWish::IfInput);
        assert_eq!(wish(&["home", "ls"]), TerminalWish::Never);
        assert_eq!(wish(&["-t", "home", "ls"]), TerminalWish::IfInput);
        assert_eq!(wish(&["-tt", "home", "ls"]), TerminalWish::Always);
        assert_eq!(wish(&["-T", "home"]), TerminalWish::Never);
    }

    #[test]
    fn a_named_session_is_a_terminal_that_comes_back() {
        let job = job_of(&["-S", "work", "home"]);
        assert_eq!(job.terminal, TerminalWish::Always);
        let named = job.named.unwrap();
        assert_eq!(named.name.to_string(), "work");
        assert_eq!((named.part, named.comeback), (Part::Own, Comeback::Retry));
        let words = ["-S", "work", "--view", "--retry=false", "home"];
        let named = job_of(&words).named.unwrap();
        assert_eq!((named.part, named.comeback), (Part::View, Comeback::GiveUp));
        assert_eq!(job_of(&["home"]).named, None);
        let list = planned(&["--list", "--json", "bob@home"]).unwrap();
        assert!(matches!(
            list,
            Plan::List {
                user: Some(_),
                form: Form::Json,
                ..
            }
        ));
    }

    #[test]
    fn contradictions_are_named() {
        for (words, expected) in [
            (
                &["-l", "home"][..],
                "-l serves peers and does not go with a PEER",
            ),
            (
                &["-l", "-t"],
                "-l serves peers and does not go with -t and -T",
            ),
            (&["--allow", "x", "home"], "--allow and -a needs -l"),
            (&["--record", "d", "home"], "--record needs -l"),
            (&[], "a PEER is missing"),
            (&["-N", "home"], "-N has nothing to do without -L, -R or -D"),
            (
                &["-N", "-D", "1", "home", "ls"],
                "-N does not go with a COMMAND or -t",
            ),
            (&["-t", "-T", "home"], "-t and -T contradict each other"),
            (&["--view", "home"], "--view needs the name of a session"),
            (&["-S", "x", "-T", "home"], "-S is a terminal"),
            (&["-S", "x", "--view", "home", "ls"], "--view looks at"),
            (&["-S", "x", "--list", "home"], "--list goes with a PEER"),
            (&["--json", "home"], "--json needs --list"),
            (
                &["-l", "-S", "x"],
                "-l serves peers and does not go with -S",
            ),
        ] {
            let failure = planned(words).unwrap_err();
            assert!(failure.starts_with(expected), "{failure}");
        }
        assert!(matches!(
            planned(&["-l", "--record", "d"]),
            Ok(Plan::Serve(_))
        ));
    }
}
