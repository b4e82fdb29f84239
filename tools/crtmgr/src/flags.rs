//! The command line of `crtmgr`.

use clap::{Parser, Subcommand};
use dhtnet_cli::flags::{HomeFlags, OutputFlags};
use dhtnet_cli::pages::Pages;
use dhtnet_identity::{Alias, PeerAddress};

/// Keys and contacts of a device
///
/// The identity and the contact book are in $DHTNET_HOME if that is set, else in
/// $XDG_CONFIG_HOME/dhtnet (~/.config/dhtnet).
#[derive(Parser, Debug)]
#[command(name = "crtmgr", version, disable_help_subcommand = true)]
pub(crate) struct Flags {
    /// Print what was asked for as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) home: HomeFlags,

    #[command(flatten)]
    pub(crate) output: OutputFlags,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Make a new identity and print its id; an existing one is never overwritten
    Init {
        /// What this device is called: kept as a contact for its own id
        #[arg(long, value_name = "NAME")]
        name: Option<Alias>,
    },

    /// Print the id of this device, which is what others need to connect to it
    Id,

    /// The contact book: names for peers
    #[command(subcommand)]
    Peer(PeerCommand),

    #[command(flatten)]
    Pages(Pages),
}

#[derive(Subcommand, Debug)]
pub(crate) enum PeerCommand {
    /// Add a contact
    Add {
        /// 1 to 63 of a-z, 0-9 and, after the first, also . _ -
        name: Alias,
        /// Device id, or ID@IP:PORT[,IP:PORT...] with the addresses it can be reached at
        #[arg(value_name = "ID")]
        address: PeerAddress,
    },
    /// Remove a contact
    Rm {
        /// The contact
        name: Alias,
    },
    /// List the contacts
    List,
    /// Give a contact another name
    Rename {
        /// The name it has
        from: Alias,
        /// The name it gets
        to: Alias,
    },
}
