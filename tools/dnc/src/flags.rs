//! The command line of `dnc`.

use std::num::NonZeroU16;

use clap::{Parser, Subcommand};
use dhtnet_cli::flags::{HomeFlags, NetworkFlags, OutputFlags, PolicyFlags, Switch};
use dhtnet_cli::pages::Pages;
use dhtnet_forward::flags::ForwardFlags;
use dhtnet_identity::PeerArgument;
use dhtnet_identity::target::{Target, TargetPattern};

use crate::ping::PingFlags;

/// Those of dnc's own flags that the table [dnc] of the configuration file may hold.
pub(crate) const CONFIGURABLE: [&str; 3] = ["half-close", "allow-target", "allow-bind"];

const USAGE: &str = "dnc [OPTIONS] PEER [HOST:PORT]
       dnc [OPTIONS] -l [--allow PEER]... [--allow-target TARGET]...
       dnc [OPTIONS] [-L|-R [BIND:]PORT:HOST:PORT]... [-D [BIND:]PORT]... PEER
       dnc ping [OPTIONS] PEER";

const AFTER_HELP: &str = "\
Examples:
  dnc -l --allow PEER                    wait for this peer; prints the command to run there
  dnc PEER < file                        send a file to a peer's `dnc -l`
  dnc -l --allow PEER --allow-target 127.0.0.1:22
                                         let the peer reach this machine's ssh server
  dnc -l -N                              serve what policy.toml in the home allows
  dnc PEER 127.0.0.1:22                  stdin and stdout to that server
  dnc -L 8080:127.0.0.1:80 PEER          local port 8080 leads to the peer's port 80
  dnc -R 8080:127.0.0.1:80 PEER          the peer's port 8080 leads here (--allow-bind there)
  dnc -D 1080 --retry PEER               a SOCKS5 server through the peer, for ever
  dnc -u -L 5353:192.0.2.53:53 PEER      UDP
  dnc ping -c 5 PEER                     round trips, and the paths that they take

PEER is a device id, id@ip:port[,ip:port...], or a name from the contact book (crtmgr peer add).
A contact that is called like a command comes after --: dnc -- ping.

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

    /// With -l: join stdin and stdout to a peer even where the configuration names targets to serve
    #[arg(long)]
    pub(crate) pipe: bool,

    /// With -l: go on listening when a peer is done, one peer at a time
    #[arg(short = 'k', long)]
    pub(crate) keep_open: bool,

    #[command(flatten)]
    pub(crate) forwards: ForwardFlags,

    /// -L and -R carry UDP; with udp:HOST:PORT as its target a single one does
    #[arg(short = 'u', long)]
    pub(crate) udp: bool,

    /// When the peer is not there or the connection is lost, try again for ever, at growing
    /// intervals of 1 to 30 s; stdin and stdout only as long as nothing was transferred
    #[arg(long)]
    pub(crate) retry: bool,

    /// No stdin and stdout; only forwards, or with -l what policy.toml allows
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
    #[arg(long, env = "DHTNET_HALF_CLOSE", switch = "true")]
    pub(crate) half_close: bool,

    /// The same as --half-close=false
    #[arg(long)]
    pub(crate) no_half_close: bool,

    #[command(flatten)]
    pub(crate) policy: PolicyFlags,

    /// With -l: instead of stdin and stdout, serve this target to the allowed peers, and nothing that
    /// is not named so; repeatable: HOST:PORT, HOST:*, 10.0.0.0/8:22, [IPV6]:PORT, udp:HOST:PORT,
    /// unix:/PATH [default: with -N what policy.toml allows, else none]
    #[arg(
        long,
        value_name = "TARGET",
        env = "DHTNET_ALLOW_TARGET",
        value_delimiter = ' ',
        help_heading = "Policy"
    )]
    pub(crate) allow_target: Vec<TargetPattern>,

    /// With -l: let the allowed peers listen here with -R; repeatable, and beside --allow-target:
    /// 127.0.0.1:8080, 127.0.0.1:*, [::]:80, udp:127.0.0.1:*, unix:/PATH [default: none]
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "DHTNET_ALLOW_BIND",
        value_delimiter = ' ',
        help_heading = "Policy"
    )]
    pub(crate) allow_bind: Vec<TargetPattern>,

    #[command(flatten)]
    pub(crate) network: NetworkFlags,

    #[command(flatten)]
    pub(crate) home: HomeFlags,

    /// With -z, -L, -R, -D, --allow-target and --allow-bind: tell on stdout, as JSON, one line per
    /// event
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) output: OutputFlags,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What dnc does beside joining streams.
#[derive(Subcommand, Clone, Debug)]
pub(crate) enum Command {
    /// Measure round trips to a peer, and show the paths that they take
    Ping(PingFlags),

    /// The texts about the tool.
    #[command(flatten)]
    Pages(Pages),
}
