//! The command line of `crtmgr`.

mod authority;
mod setup;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use dhtnet_cli::flags::{HomeFlags, OutputFlags};
use dhtnet_cli::pages::Pages;
use dhtnet_identity::certificate::CertificateName;
use dhtnet_identity::policy::{OwnedAction, Permission};
use dhtnet_identity::{Alias, PeerAddress, PeerArgument};

pub(crate) use authority::{AuthorityCommand, InitAuthority, Renew, Revoke, Sign};
pub(crate) use setup::{Named, Role, SetupClient, SetupCommand, SetupServer, SshChoice};

use crate::moment::End;

/// Keys, certificates, contacts and policy of a device
///
/// The identity and the contact book are in $DHTNET_HOME if that is set, else in
/// $XDG_CONFIG_HOME/dhtnet (~/.config/dhtnet).
#[derive(Parser, Debug)]
#[command(name = "crtmgr", version, disable_help_subcommand = true)]
pub(crate) struct Flags {
    /// Print what was asked for as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// The same as the command setup
    #[arg(short = 'i', long)]
    pub(crate) interactive: bool,

    #[command(flatten)]
    pub(crate) home: HomeFlags,

    #[command(flatten)]
    pub(crate) output: OutputFlags,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Make a new identity and print its id; an existing one is never overwritten
    Init(Init),

    /// Print the id of this device, which is what others need to connect to it
    Id(Id),

    /// Copy the identity into a new file: a backup, or the way to another machine
    Export(Export),

    /// Take over an identity, a certificate of this device, or a capability that it holds
    #[command(
        after_help = "An identity is PKCS#8 in PEM; one that is there is never overwritten. A \
                      certificate becomes device.crt in the home, in the place of one that ends \
                      earlier. A capability is a file or the word itself, and is kept in the folder \
                      capabilities. The tools show both to peers that ask for them."
    )]
    Import(Import),

    /// The contact book: names for peers
    #[command(subcommand)]
    Peer(PeerCommand),

    /// Ask a few questions and write what a device needs: identity, contacts, who may connect, ssh
    #[command(
        after_help = "Without a role it is asked for too. Answers may come by pipe, one a line; what \
                            the flags say is not asked."
    )]
    Setup(SetupCommand),

    /// A CA of your own: certificates for devices, and their revocation
    #[command(subcommand)]
    Ca(AuthorityCommand),

    /// Make a new certificate for the same device, name and groups, in the place of the old one
    Renew(Renew),

    /// Tell what is in a file: certificates, requests, revocation lists, keys (their id), capabilities
    Show {
        /// The file
        file: PathBuf,
    },

    /// Judge a certificate now; exit code 5 and one line that names the fault if it is not good
    Verify(Verify),

    /// The policy file: test it, ask it
    #[command(subcommand)]
    Policy(PolicyCommand),

    /// Sign a grant that its holder carries with it, and print it: one word that begins with cap1
    #[command(after_help = GRANT_EXAMPLES)]
    Grant(Grant),

    #[command(flatten)]
    Pages(Pages),
}

const GRANT_EXAMPLES: &str = "\
Examples:
  crtmgr grant laptop 'dnc.target 127.0.0.1:22' --until 30d
  crtmgr grant phone dsh.shell --until 2027-01-01 --delegable 1
  crtmgr grant guest dsh.shell --until 1h --from received.cap    pass on a part of one";

#[derive(Args, Debug)]
pub(crate) struct Init {
    /// What this device is called: kept as a contact for its own id
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<Alias>,

    /// Keep the key under a passphrase: asked on the terminal, or from --passphrase-file or
    /// $DHTNET_PASSPHRASE
    #[arg(long)]
    pub(crate) passphrase: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Id {
    /// Print the id in this certificate instead
    #[arg(short = 'c', long, value_name = "CERT")]
    pub(crate) certificate: Option<PathBuf>,

    /// Print it as a QR code too, for terminals with a dark background
    #[arg(long)]
    pub(crate) qr: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Export {
    /// The new file, mode 0600
    #[arg(
        short = 'o',
        long,
        value_name = "FILE",
        required_unless_present = "request"
    )]
    pub(crate) output: Option<PathBuf>,

    /// Put the copy under a passphrase
    #[arg(long, requires = "output")]
    pub(crate) passphrase: bool,

    /// Print a certificate request for a CA instead, with this name: it holds no secret
    #[arg(long, value_name = "NAME", conflicts_with = "output")]
    pub(crate) request: Option<CertificateName>,
}

#[derive(Args, Debug)]
pub(crate) struct Import {
    /// The file, or a capability; a key under a passphrase stays under it
    #[arg(value_name = "FILE|CAP")]
    pub(crate) file: PathBuf,

    /// Put a key that has no passphrase under one
    #[arg(long)]
    pub(crate) passphrase: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// The certificate, and behind it those of CAs between
    #[arg(value_name = "CERT")]
    pub(crate) certificate: PathBuf,

    /// The certificate of the CA that is trusted
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: PathBuf,

    /// Its revocation list [default: nothing is revoked]
    #[arg(long, value_name = "FILE")]
    pub(crate) crl: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum PolicyCommand {
    /// Read the file strictly and run its [[test]] entries; exit code 1 if one fails, 2 if the file
    /// is not in order
    Check {
        /// The policy [default: policy.toml in the home]
        file: Option<PathBuf>,
    },
    /// Tell what the policy decides for a peer, and what each rule says to it
    Explain(Explain),
}

#[derive(Args, Debug)]
pub(crate) struct Explain {
    /// A device id or a contact
    pub(crate) peer: PeerArgument,

    /// What it would do, such as dsh.shell or 'dnc.target 127.0.0.1:22'
    pub(crate) action: OwnedAction,

    /// The policy [default: policy.toml in the home]
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,

    /// A certificate that the peer would show, with those of CAs between; repeatable
    #[arg(long, value_name = "FILE")]
    pub(crate) certificate: Vec<PathBuf>,

    /// A capability that the peer would show: its text, or a file with it; repeatable
    #[arg(long, value_name = "CAP")]
    pub(crate) capability: Vec<String>,

    /// The moment [default: now]
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<End>,
}

#[derive(Args, Debug)]
pub(crate) struct Grant {
    /// Who gets it: a device id or a contact
    pub(crate) peer: PeerArgument,

    /// What it allows, such as dsh.shell or 'dnc.target 127.0.0.1:*'; several may follow
    #[arg(required = true, value_name = "ACTION")]
    pub(crate) permissions: Vec<Permission>,

    /// When it ends: 2027-01-01, 2027-01-01T12:00:00Z, or a span as 12h or 30d
    #[arg(long, value_name = "TIME")]
    pub(crate) until: End,

    /// How often it may be passed on
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) delegable: u8,

    /// Pass on a part of this capability, which this device holds: its text, or a file with it
    #[arg(long, value_name = "CAP")]
    pub(crate) from: Option<String>,
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
