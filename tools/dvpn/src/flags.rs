//! The command line of `dvpn`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use dhtnet_cli::flags::{HomeFlags, NetworkFlags, OutputFlags, PolicyFlags};
use dhtnet_cli::pages::Pages;
use dhtnet_identity::PeerArgument;

/// Those of dvpn's own flags that the table [dvpn] of the configuration file may hold.
pub(crate) const CONFIGURABLE: [&str; 0] = [];

const USAGE: &str = "dvpn [OPTIONS] -l [--allow PEER]... [-C FILE]
       dvpn [OPTIONS] PEER... [-C FILE]
       dvpn [OPTIONS] up NAME [--foreground]
       dvpn down [NAME]
       dvpn status [NAME] [--json | --metrics]";

const AFTER_HELP: &str = "\
Examples:
  dvpn -l --allow PEER                   serve; prints the command to run there
  dvpn PEER                              join the network of this peer
  dvpn up home                           the network of /etc/dhtnet/vpn/home.toml, in the background
  dvpn status                            peers, addresses, paths, traffic
  dvpn down home                         end it, and undo what a killed one has left

PEER is a device id, id@ip:port[,ip:port...], or a name from the contact book (crtmgr peer add).
A contact that is called like a command comes after --: dvpn -- up.

Exit codes: 0 done, 1 failed, 2 usage or configuration, or no privilege for the interface,
3 peer not found or not reachable, 4 refused by the peer's policy, 5 identity problem,
130/143 ended by SIGINT/SIGTERM.";

/// A VPN by key: devices joined into one network by their public keys
#[derive(Parser, Clone, Debug)]
#[command(
    name = "dvpn",
    version,
    override_usage = USAGE,
    after_help = AFTER_HELP,
    disable_help_subcommand = true,
    subcommand_negates_reqs = true
)]
pub(crate) struct Flags {
    /// The peers to join
    #[arg(value_name = "PEER")]
    pub(crate) peers: Vec<PeerArgument>,

    /// Serve: give addresses to allowed peers and join them
    #[arg(short = 'l', long)]
    pub(crate) listen: bool,

    /// Configuration of the network, TOML [default: none: addresses from keys, and with -l the
    /// pool 10.80.77.0/24]
    #[arg(short = 'C', long = "vpn-configuration", value_name = "FILE")]
    pub(crate) vpn_configuration: Option<PathBuf>,

    /// When the first peer is not there, try again for ever; a connection that was up and is lost is
    /// always tried again
    #[arg(long)]
    pub(crate) retry: bool,

    /// Name of the interface [default: that in the configuration, else dvpn0]
    #[arg(long, value_name = "NAME")]
    pub(crate) interface: Option<String>,

    #[command(flatten)]
    pub(crate) policy: PolicyFlags,

    #[command(flatten)]
    pub(crate) network: NetworkFlags,

    #[command(flatten)]
    pub(crate) home: HomeFlags,

    #[command(flatten)]
    pub(crate) output: OutputFlags,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What dvpn does beside being in a network.
#[derive(Subcommand, Clone, Debug)]
pub(crate) enum Command {
    /// Start the network of /etc/dhtnet/vpn/NAME.toml in the background, and return when it is up
    Up(UpFlags),
    /// End a network, or undo what a killed one has left
    Down(DownFlags),
    /// How the networks of this device stand: peers, addresses, paths, traffic
    Status(StatusFlags),
    /// The texts about the tool.
    #[command(flatten)]
    Pages(Pages),
}

/// Flags of `dvpn up`.
#[derive(Args, Clone, Debug)]
pub(crate) struct UpFlags {
    /// The network: the name of its file without .toml, and of its interface
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    /// Stay in the foreground until a signal comes, as under a service manager
    #[arg(long)]
    pub(crate) foreground: bool,

    /// The process behind `dvpn up`
    #[arg(long, hide = true)]
    pub(crate) detached: bool,
}

/// Flags of `dvpn down`.
#[derive(Args, Clone, Debug)]
pub(crate) struct DownFlags {
    /// The network: its file's name, or its interface [default: the only one]
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
}

/// Flags of `dvpn status`.
#[derive(Args, Clone, Debug)]
pub(crate) struct StatusFlags {
    /// One network [default: all]
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// As JSON: a list of networks
    #[arg(long, conflicts_with = "metrics")]
    pub(crate) json: bool,

    /// As metrics, in the text form of Prometheus
    #[arg(long)]
    pub(crate) metrics: bool,
}
