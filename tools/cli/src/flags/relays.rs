//! Flags of tools that may go through a relay.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};

use super::HostPort;

/// What reaches peers that cannot be reached directly.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Network")]
pub struct RelayFlags {
    /// The relays.
    #[command(flatten)]
    pub turn: TurnFlags,

    /// STUN server to ask for this device's outer address, repeatable; nodes of the DHT tell it too
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "DHTNET_STUN",
        value_delimiter = ' ',
        global = true
    )]
    pub stun: Vec<HostPort>,

    /// Which paths to use
    #[arg(
        long,
        value_name = "KIND",
        env = "DHTNET_PATH",
        default_value = "any",
        global = true
    )]
    pub path: PathArgument,
}

/// The relays to use, and how to prove oneself there.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Network")]
pub struct TurnFlags {
    /// Relay to use where no direct path is found, repeatable.
    // The help is apart: rustdoc takes its brackets for a link.
    #[arg(
        help = "Relay for peers without a direct path, repeatable: \
                turn:USER@HOST:PORT?transport=udp|tcp, or turns: for TLS \
                [default: relays found in the DHT]",
        long,
        value_name = "URI",
        env = "DHTNET_TURN",
        value_delimiter = ' ',
        global = true
    )]
    pub turn: Vec<TurnArgument>,

    /// File with the password of the users in --turn.
    #[arg(
        help = "File with the password of the users in --turn, mode 0600 \
                [default: the variable DHTNET_TURN_PASSWORD]",
        long,
        value_name = "FILE",
        env = "DHTNET_TURN_PASSWORD_FILE",
        global = true
    )]
    pub turn_password_file: Option<PathBuf>,

    /// Certificates, in PEM, of authorities to trust for turns: beside the system's
    #[arg(long, value_name = "FILE", env = "DHTNET_TURN_CA_FILE", global = true)]
    pub turn_ca_file: Option<PathBuf>,
}

/// A value of `--path`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PathArgument {
    /// direct ones, and a relay where there is none
    #[default]
    Any,
    /// never a relay
    Direct,
    /// nothing but a relay: peers do not learn this device's address
    Relay,
}

/// A value of `--turn`: the URI of a relay, without a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnArgument(String);

impl TurnArgument {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TurnArgument {
    type Err = String;

    /// A tool that opens no node looks at the scheme only, for it meets the URI in a shared
    /// configuration file and does not use it.
    fn from_str(text: &str) -> Result<Self, String> {
        #[cfg(feature = "network")]
        if let Err(error) = text.parse::<dhtnet::TurnServer>() {
            return Err(format!(
                "{error}; write turn:USER@HOST:PORT?transport=udp or =tcp, or turns:USER@HOST:PORT"
            ));
        }
        if text.starts_with("turn:") || text.starts_with("turns:") {
            Ok(Self(text.to_owned()))
        } else {
            Err("it does not begin with turn: or turns:".to_owned())
        }
    }
}
