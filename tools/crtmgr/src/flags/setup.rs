//! The flags of `crtmgr setup`.

use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};
use dhtnet_identity::target::TargetPattern;
use dhtnet_identity::{Alias, PeerAddress};

#[derive(Args, Debug)]
pub(crate) struct SetupCommand {
    #[command(subcommand)]
    pub(crate) role: Option<Role>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Role {
    /// This device connects to others
    Client(SetupClient),
    /// Others connect to this device
    Server(SetupServer),
}

#[derive(Args, Debug, Default)]
pub(crate) struct SetupClient {
    /// A device to connect to: its name here and its id
    #[arg(long, value_name = "NAME=ID")]
    pub(crate) server: Option<Named>,

    /// Whether ssh shall reach hosts *.dn through dnc: written into ~/.ssh/config, once
    #[arg(long)]
    pub(crate) ssh: Option<SshChoice>,
}

#[derive(Args, Debug, Default)]
pub(crate) struct SetupServer {
    /// Who may connect: a name for the device and its id; repeatable
    #[arg(long, value_name = "NAME=ID")]
    pub(crate) client: Vec<Named>,

    /// What they may reach here, as for dnc --allow-target; repeatable
    #[arg(long, value_name = "TARGET")]
    pub(crate) target: Vec<TargetPattern>,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SshChoice {
    Yes,
    No,
}

/// A contact to be.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) name: Alias,
    pub(crate) address: PeerAddress,
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, address) = text.split_once('=').ok_or("give NAME=ID")?;
        Ok(Self {
            name: name.parse().map_err(|error| format!("{error}"))?,
            address: address.parse().map_err(|error| format!("{error}"))?,
        })
    }
}
