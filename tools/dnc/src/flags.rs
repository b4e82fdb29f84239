//! The command line of `dnc`.

use std::num::NonZeroU16;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Parser};
use dhtnet_cli::flags::{HomeFlags, NetworkFlags, OutputFlags, PolicyFlags};
use dhtnet_cli::pages::Pages;
use dhtnet_identity::PeerArgument;
use dhtnet_identity::target::{Target, TargetPattern};

use crate::local_forward::LocalForward;

/// Those of dnc's own flags that the table [dnc] of the configuration file may hold.
pub(crate) const CONFIGURABLE: [&str; 1] = ["half-close"];

const USAGE: &str = "dnc [OPTIONS] PEER [HOST:PORT]
       dnc [OPTIONS] -l [--allow PEER]... [--allow-target TARGET]...
       dnc [OPTIONS] -L [BIND:]PORT:HOST:PORT... PEER";

const AFTER_HELP: &str = "\
Examples:
  dnc -l --allow PEER                    wait for this peer; prints the command to run there
  dnc PEER < file                        send a file to a peer's `dnc -l`
  dnc -l --allow PEER --allow-target 127.0.0.1:22
                                         let the peer reach this machine's ssh server
  dnc PEER 127.0.0.1:22                  stdin and stdout to that server
  dnc -L 8080:127.0.0.1:80 PEER          local port 8080 leads to the peer's port 80

PEER is a device id, id@ip:port[,ip:port...], or a name from the contact book (crtmgr peer add).

Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 peer not found or not reachable,
4 refused by the peer's policy, 5 identity problem, 6 the target behind the peer failed,
130/143 ended by SIGINT/SIGTERM.";

/// Netcat by key: pipes and port forwards to a device known by its public key
#[derive(Parser, Debug)]
#[command(
    name = "dnc",
    version,
    override_usage = USAGE,
    after_help = AFTER_HELP,
    disable_help_subcommand = true,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub(crate) struct Flags {
    /// The peer to connect to
    #[arg(value_name = "PEER")]
    pub(crate) peer: Option<PeerArgument>,

    /// Where to go behind the peer: HOST:PORT, [IPV6]:PORT or unix:/PATH, as seen from there
    #[arg(value_name = "HOST:PORT")]
    pub(crate) target: Option<Target>,

    /// Wait for an allowed peer and join it to stdin and stdout
    #[arg(short = 'l', long)]
    pub(crate) listen: bool,

    /// With -l: go on listening when a peer is done, one peer at a time
    #[arg(short = 'k', long)]
    pub(crate) keep_open: bool,

    /// Forward a local TCP port to a target behind the peer; repeatable. BIND is 127.0.0.1 unless
    /// given (* = all addresses); PORT 0 is chosen and told
    #[arg(short = 'L', long = "forward", value_name = "[BIND:]PORT:HOST:PORT")]
    pub(crate) forwards: Vec<LocalForward>,

    /// No stdin and stdout; only forwards
    #[arg(short = 'N', long)]
    pub(crate) no_stdio: bool,

    /// Only probe: connect, to the target if one is named, and tell by the exit code
    #[arg(short = 'z', long)]
    pub(crate) probe: bool,

    /// Host of the target behind the peer; the same as HOST:PORT together with -P
    #[arg(short = 'i', long, value_name = "HOST")]
    pub(crate) host: Option<String>,

    /// Port of the target behind the peer
    #[arg(short = 'P', long, value_name = "PORT")]
    pub(crate) port: Option<NonZeroU16>,

    /// The end of stdin ends that direction only, and the peer's answer is still received; with
    /// false, the end of either direction ends both
    #[arg(
        long,
        value_name = "BOOL",
        env = "DHTNET_HALF_CLOSE",
        action = ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        default_value = "true",
        hide_possible_values = true,
        value_parser = BoolishValueParser::new()
    )]
    pub(crate) half_close: bool,

    /// The same as --half-close=false
    #[arg(long)]
    pub(crate) no_half_close: bool,

    #[command(flatten)]
    pub(crate) policy: PolicyFlags,

    /// With -l: instead of stdin and stdout, serve this target to the allowed peers; repeatable:
    /// HOST:PORT, HOST:*, 10.0.0.0/8:22, [IPV6]:PORT, unix:/PATH [default: none]
    #[arg(
        long,
        value_name = "TARGET",
        env = "DHTNET_ALLOW_TARGET",
        value_delimiter = ' ',
        help_heading = "Policy"
    )]
    pub(crate) allow_target: Vec<TargetPattern>,

    #[command(flatten)]
    pub(crate) network: NetworkFlags,

    #[command(flatten)]
    pub(crate) home: HomeFlags,

    /// With -z, -L and --allow-target: tell on stdout, as JSON, one line per event
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) output: OutputFlags,

    #[command(subcommand)]
    pub(crate) pages: Option<Pages>,
}
