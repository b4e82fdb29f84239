//! The command line of `dsh`.

use std::path::PathBuf;

use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use dhtnet_cli::flags::{HomeFlags, NetworkFlags, OutputFlags, PolicyFlags, Switch};
use dhtnet_cli::pages::Pages;
use dhtnet_forward::flags::ForwardFlags;
use dhtnet_identity::policy::Permission;
use dhtnet_shell_wire::session::name::SessionName;
use dhtnet_terminal::Prediction;

use crate::client::escape::EscapeCharacter;
use crate::copy::flags::CopyFlags;
use crate::destination::Destination;
use crate::environment::{NamePattern, Variable};

/// Those of dsh's own flags that the table [dsh] of the configuration file may hold.
pub(crate) const CONFIGURABLE: [&str; 8] = [
    "accept-env",
    "allow-command",
    "env",
    "escape",
    "predict",
    "record",
    "retry",
    "user",
];

const USAGE: &str = "dsh [OPTIONS] [USER@]PEER [COMMAND]...
       dsh [OPTIONS] -l [--allow PEER]...
       dsh cp [-r] [-p] SRC... DST
       dsh [OPTIONS] -N [-L|-R [BIND:]PORT:HOST:PORT]... [-D [BIND:]PORT]... PEER";

const AFTER_HELP: &str = "\
Examples:
  dsh -l --allow PEER                    let this peer in; prints the command to run there
  dsh -l --allow PEER --user alice       the same as root: the peer is alice here
  dsh PEER                               a terminal on the peer
  dsh PEER uname -a                      run a command; its exit status is that of dsh
  dsh alice@PEER                         as this user, where the peer's policy allows it
  tar c . | dsh PEER 'tar x -C /srv'     stdin and stdout are the command's
  dsh -S work PEER                       a session that goes on without you: ~d leaves it, the same
                                         again comes back; dsh --list PEER lists them
  dsh -t PEER top                        a command that needs a terminal
  dsh cp -r photos PEER:backup           copy files there; PEER:PATH as SRC copies from there
  dsh -L 8080:127.0.0.1:80 PEER          a terminal, and local port 8080 leads to the peer's port 80
  dsh -N -D 1080 PEER                    a SOCKS5 server through the peer, and no terminal
  GIT_SSH_COMMAND=dsh git clone home:src git over dsh; rsync -e dsh works as well

PEER is a device id, id@ip:port[,ip:port...], or a name from the contact book (crtmgr peer add).
Options end at the COMMAND. A contact that is called like a command of dsh comes after --.
In a terminal, at the beginning of a line: ~. ends the connection, ~? lists what else there is.

Exit codes: the status of the remote command, 128 + N if signal N ended it; 255 if the connection
failed or was refused; 2 usage or configuration, 5 identity problem. With -l: 0 done, 1 failed,
2, 5, 130/143 ended by SIGINT/SIGTERM.";

/// A remote shell by key: terminals and commands on a device known by its public key
#[derive(Parser, Debug)]
#[command(
    name = "dsh",
    version,
    override_usage = USAGE,
    after_help = AFTER_HELP,
    disable_help_subcommand = true,
    subcommand_negates_reqs = true
)]
pub(crate) struct Flags {
    /// The peer to connect to, and the user to be there
    #[arg(value_name = "[USER@]PEER")]
    pub(crate) destination: Option<Destination>,

    /// The command to run; its words are joined by blanks, and the peer's shell reads them
    #[arg(value_name = "COMMAND")]
    pub(crate) command: Vec<String>,

    /// Serve shells and commands to the allowed peers. (Before USER PEER COMMAND it is ssh's -l, as
    /// rsync calls it)
    #[arg(short = 'l', long)]
    pub(crate) listen: bool,

    /// A terminal for a command, too; twice: even if stdin is none
    #[arg(short = 't', long = "tty", action = ArgAction::Count)]
    pub(crate) terminal: u8,

    /// No terminal
    #[arg(short = 'T', long = "no-tty")]
    pub(crate) no_terminal: bool,

    /// No shell and no command; only forwards
    #[arg(short = 'N', long)]
    pub(crate) no_command: bool,

    /// Nothing comes from stdin
    #[arg(short = 'n', long)]
    pub(crate) no_stdin: bool,

    /// The escape character of a terminal; ^C for control characters, none to have none
    #[arg(
        short = 'e',
        long,
        value_name = "CHAR",
        env = "DHTNET_ESCAPE",
        default_value = "~"
    )]
    pub(crate) escape: EscapeCharacter,

    /// A session of this name, which goes on without this side: attach to it, or begin it
    #[arg(
        short = 'S',
        long = "session",
        value_name = "NAME",
        help_heading = "Sessions"
    )]
    pub(crate) session: Option<SessionName>,

    /// With -S: only look. There must be such a session
    #[arg(long, help_heading = "Sessions")]
    pub(crate) view: bool,

    /// List the sessions of this device on the peer
    #[arg(long, help_heading = "Sessions")]
    pub(crate) list: bool,

    /// With --list: as JSON
    #[arg(long, help_heading = "Sessions")]
    pub(crate) json: bool,

    /// With -S: come back by itself when the connection is lost
    #[arg(long, env = "DHTNET_RETRY", switch = "true", help_heading = "Sessions")]
    pub(crate) retry: bool,

    /// With -S: show what is typed before the peer has echoed it; auto does on slow connections
    #[arg(
        long,
        value_name = "WHEN",
        env = "DHTNET_PREDICT",
        default_value = "auto",
        help_heading = "Sessions"
    )]
    pub(crate) predict: When,

    /// Give this variable to the command: NAME as it is here, or NAME=VALUE; repeatable. The peer
    /// has to accept it [default: LANG and LC_*]
    #[arg(
        long = "env",
        value_name = "NAME[=VALUE]",
        env = "DHTNET_ENV",
        value_delimiter = ' '
    )]
    pub(crate) environment: Vec<Variable>,

    #[command(flatten)]
    pub(crate) forwards: ForwardFlags,

    #[command(flatten)]
    pub(crate) policy: PolicyFlags,

    /// With -l: the peers of --allow may run this command and nothing else; repeatable. As in a
    /// policy: letter by letter, with " *" at its end also with plain arguments [default: shells,
    /// all commands and forwards]
    #[arg(
        long,
        value_name = "COMMAND",
        env = "DHTNET_ALLOW_COMMAND",
        help_heading = "Policy",
        value_parser = parse_command_permission
    )]
    pub(crate) allow_command: Vec<Permission>,

    /// With -l, as root: the user that the peers of --allow, --allow-ca and -a are; root only if it is
    /// named here [default: the one that policy.toml names with dsh.user]
    #[arg(
        long,
        value_name = "NAME",
        env = "DHTNET_USER",
        help_heading = "Policy"
    )]
    pub(crate) user: Option<String>,

    /// With -l: variables that peers may set beside LANG, LC_* and TERM; repeatable; * at the end
    /// stands for anything
    #[arg(
        long,
        value_name = "NAME",
        env = "DHTNET_ACCEPT_ENV",
        value_delimiter = ' ',
        help_heading = "Policy"
    )]
    pub(crate) accept_env: Vec<NamePattern>,

    /// With -l: record the output of each terminal into a file of this directory (asciicast v2)
    #[arg(
        long,
        value_name = "DIR",
        env = "DHTNET_RECORD",
        help_heading = "Policy"
    )]
    pub(crate) record: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) network: NetworkFlags,

    #[command(flatten)]
    pub(crate) home: HomeFlags,

    #[command(flatten)]
    pub(crate) output: OutputFlags,

    #[command(subcommand)]
    pub(crate) subcommand: Option<Command>,
}

/// When typed characters are shown before their echo.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Auto,
    Always,
    Never,
}

impl From<When> for Prediction {
    fn from(when: When) -> Self {
        match when {
            When::Auto => Self::Auto,
            When::Always => Self::Always,
            When::Never => Self::Never,
        }
    }
}

/// What dsh does beside shells and commands.
#[derive(Subcommand, Clone, Debug)]
pub(crate) enum Command {
    /// Copy files to a peer or from it; goes on where an earlier copy was cut short
    Cp(CopyFlags),
    /// The texts about the tool.
    #[command(flatten)]
    Pages(Pages),
}

fn parse_command_permission(text: &str) -> Result<Permission, String> {
    let permission: Result<Permission, _> = format!("dsh.command {text}").parse();
    permission.map_err(|error| error.to_string())
}
