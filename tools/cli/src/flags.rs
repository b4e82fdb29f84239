//! Flags that several tools share, in groups. A tool takes the groups it needs.
//!
//! The long name of a flag is its key in the configuration file, and `DHTNET_` with the name in
//! capitals is its environment variable. Switches take an optional value (`--no-mdns=false`), so
//! that a flag can overrule the environment and the file in both directions. Lists in the
//! environment are separated by spaces.

mod dht;
mod relays;
mod service;
mod switch;

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Command};
use dhtnet_identity::PeerArgument;

use crate::Verbosity;
use crate::logging::{self, LogFormat};

pub use dht::{BootstrapArgument, DhtFlags, HostPort, NetworkName, Seed};
pub use relays::{PathArgument, RelayFlags, TurnArgument, TurnFlags};
pub use service::ServiceName;
pub use switch::Switch;

/// How long connecting may take when nothing else is said.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest time limit that is taken for meant: a week.
const MAX_TIMEOUT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Which device this is.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Identity and configuration")]
pub struct HomeFlags {
    /// Device key to use, PKCS#8 PEM [default: identity.pem in the home, made at first use]
    #[arg(long, value_name = "FILE", env = "DHTNET_IDENTITY", global = true)]
    pub identity: Option<PathBuf>,

    /// Configuration file [default: config.toml in the home]
    #[arg(
        short = 'd',
        long,
        value_name = "FILE",
        env = "DHTNET_CONFIGURATION",
        global = true
    )]
    pub configuration: Option<PathBuf>,

    /// File whose first line is the passphrase of keys that have one, readable by its owner alone
    /// [default: $DHTNET_PASSPHRASE, else the terminal is asked]
    #[arg(
        long,
        value_name = "FILE",
        env = "DHTNET_PASSPHRASE_FILE",
        global = true
    )]
    pub passphrase_file: Option<PathBuf>,
}

/// How the network is used.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Network")]
pub struct NetworkFlags {
    /// How the DHT is reached.
    #[command(flatten)]
    pub dht: DhtFlags,

    /// A certificate of this device to show to peers that ask for one, with those of CAs between;
    /// repeatable [default: device.crt in the home, if there is one]
    #[arg(
        long,
        value_name = "FILE",
        env = "DHTNET_CERTIFICATE",
        value_delimiter = ' ',
        global = true,
        help_heading = "Identity and configuration"
    )]
    pub certificate: Vec<PathBuf>,

    /// Which of several listeners of one tool and identity: with -l its name, else the one to call
    /// [default: the one without a name]
    #[arg(long, value_name = "NAME", global = true)]
    pub service: Option<ServiceName>,

    /// Neither announce this device on the local network nor look for peers there
    #[arg(long, env = "DHTNET_NO_MDNS", global = true, switch = "false")]
    pub no_mdns: bool,

    /// Do not ask the router to let others in while listening (PCP, NAT-PMP, UPnP)
    #[arg(long, env = "DHTNET_NO_PORTMAP", global = true, switch = "false")]
    pub no_portmap: bool,

    /// What reaches peers that cannot be reached directly.
    #[command(flatten)]
    pub relays: RelayFlags,
}

impl NetworkFlags {
    /// Time limit for connecting.
    pub fn connect_limit(&self) -> Duration {
        self.dht.connect_limit()
    }
}

/// Who may connect. Nobody may, unless these flags or policy.toml say so.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Policy")]
pub struct PolicyFlags {
    /// Let this peer connect: a device id or a contact; repeatable [default: nobody]
    #[arg(long, value_name = "PEER", env = "DHTNET_ALLOW", value_delimiter = ' ')]
    pub allow: Vec<PeerArgument>,

    /// Let the members of this CA connect: those that show a certificate that it made. A revocation
    /// list beside it, with the ending crl, counts; repeatable [default: nobody]
    #[arg(
        long,
        value_name = "FILE",
        env = "DHTNET_ALLOW_CA",
        value_delimiter = ' '
    )]
    pub allow_ca: Vec<PathBuf>,

    /// Let anyone connect that policy.toml does not ban
    #[arg(short = 'a', long, env = "DHTNET_ANONYMOUS", switch = "false")]
    pub anonymous: bool,
}

/// How much is said on stderr.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Output")]
pub struct OutputFlags {
    /// Say more on stderr; twice: what the network layers do
    #[arg(short = 'v', long, action = ArgAction::Count, global = true)]
    pub verbose: u8,

    /// Say nothing on stderr but errors
    #[arg(
        short = 'q',
        long,
        env = "DHTNET_QUIET",
        global = true,
        switch = "false"
    )]
    pub quiet: bool,

    /// What to log on stderr, in the syntax of RUST_LOG [default: by -v and -q]
    #[arg(
        long,
        value_name = "FILTER",
        env = "DHTNET_LOG",
        global = true,
        value_parser = parse_log
    )]
    pub log: Option<String>,

    /// How to log: text, json (an object a line), journald (to the journal of the system), or auto
    /// (journald in a service whose stderr is the journal, else text)
    #[arg(
        long,
        value_name = "FORMAT",
        env = "DHTNET_LOG_FORMAT",
        global = true,
        value_enum,
        default_value_t,
        hide_possible_values = true
    )]
    pub log_format: LogFormat,
}

impl OutputFlags {
    /// What `-v`, `-vv` and `-q` ask for.
    pub fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, 0) => Verbosity::Normal,
            (false, 1) => Verbosity::Verbose,
            (false, _) => Verbosity::Debug,
        }
    }

    /// Starts the log as these flags say.
    pub fn start_log(&self) {
        logging::start(self.log.as_deref(), self.verbosity(), self.log_format);
    }
}

/// Shared flags that have no place in a configuration file.
pub(crate) const NOT_CONFIGURABLE: [&str; 5] =
    ["configuration", "service", "verbose", "help", "version"];

/// All shared flags in one command, whatever the tool at hand takes of them: the configuration
/// file is one for all tools.
pub(crate) fn all_shared(name: &'static str) -> Command {
    let command = HomeFlags::augment_args(Command::new(name));
    let command = NetworkFlags::augment_args(command);
    OutputFlags::augment_args(PolicyFlags::augment_args(command))
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|limit| !limit.is_zero() && *limit <= MAX_TIMEOUT)
        .ok_or_else(|| format!("not between 0 and {} seconds", MAX_TIMEOUT.as_secs()))
}

fn parse_log(text: &str) -> Result<String, String> {
    logging::parse_filter(text)
        .map(|_| text.to_owned())
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Tool {
        #[command(flatten)]
        network: NetworkFlags,
        #[command(flatten)]
        policy: PolicyFlags,
        #[command(flatten)]
        output: OutputFlags,
        #[arg(short = 'l')]
        listen: bool,
        peer: Option<String>,
    }

    #[test]
    fn switches_can_be_joined_and_negated() {
        let tool = Tool::try_parse_from(["t", "-lav", "--no-mdns=false", "peer"]).unwrap();
        assert!(tool.listen && tool.policy.anonymous && !tool.network.no_mdns);
        assert_eq!(tool.output.verbosity(), Verbosity::Verbose);
        assert_eq!(tool.peer.as_deref(), Some("peer"));
        let tool = Tool::try_parse_from(["t", "-l", "--no-portmap", "peer"]).unwrap();
        assert!(tool.network.no_portmap && tool.peer.as_deref() == Some("peer"));
        let tool = Tool::try_parse_from(["t", "-al", "--no-mdns", "peer"]).unwrap();
        assert!(tool.listen && tool.policy.anonymous && tool.network.no_mdns);
        assert_eq!(tool.peer.as_deref(), Some("peer"));
    }

    #[test]
    fn defaults_are_those_of_the_help() {
        let tool = Tool::try_parse_from(["t"]).unwrap();
        assert_eq!(tool.network.dht.bind, "[::]:0".parse().unwrap());
        assert_eq!(tool.network.connect_limit(), Duration::from_secs(30));
        assert!(!tool.network.no_mdns && !tool.network.no_portmap);
        assert!(tool.policy.allow.is_empty() && !tool.policy.anonymous);
        assert_eq!(tool.output.verbosity(), Verbosity::Normal);
    }

    #[test]
    fn a_time_limit_is_a_positive_number_of_at_most_a_week() {
        assert_eq!(parse_seconds("0.25"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_seconds("604800"), Ok(MAX_TIMEOUT));
        for wrong in ["0", "-1", "604801", "inf", "NaN", "soon", ""] {
            assert!(parse_seconds(wrong).is_err(), "{wrong}");
        }
    }
}
