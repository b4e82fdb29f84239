//! The flags of `crtmgr ca` and `crtmgr renew`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use dhtnet_identity::certificate::{CertificateName, GroupName};

/// Days that a certificate may last: a hundred years.
const MAX_DAYS: i64 = 36_500;

#[derive(Subcommand, Debug)]
pub(crate) enum AuthorityCommand {
    /// Make a CA: ca.key and ca.crt in a folder; an existing one is never overwritten
    Init(InitAuthority),
    /// Make a certificate for a device
    Sign(Sign),
    /// Revoke certificates, and write the revocation list ca.crl anew
    Revoke(Revoke),
    /// List the certificates that were made, and which of them are revoked or have ended
    List(Folder),
}

/// Where a CA is kept.
#[derive(Args, Debug)]
pub(crate) struct Folder {
    /// Folder of the CA [default: ca in the home]
    #[arg(long, value_name = "DIR")]
    pub(crate) ca_dir: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct InitAuthority {
    /// What the CA is called [default: "CA" and the beginning of its key]
    #[arg(long)]
    pub(crate) name: Option<CertificateName>,

    /// Folder for it [default: ca in the home]
    #[arg(short = 'o', long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,

    /// How many days it lasts
    #[arg(long, value_name = "D", default_value_t = 3650,
          value_parser = clap::value_parser!(u32).range(1..=MAX_DAYS))]
    pub(crate) days: u32,

    /// Keep its key under a passphrase: asked on the terminal, or from --passphrase-file or
    /// $DHTNET_PASSPHRASE
    #[arg(long)]
    pub(crate) passphrase: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Sign {
    /// For whom: a device id, a contact, or a file with a certificate request
    #[arg(value_name = "ID|CSR")]
    pub(crate) device: String,

    /// What the device is called [default: the name of the contact, or in the request]
    #[arg(long)]
    pub(crate) name: Option<CertificateName>,

    /// How many days it lasts; never longer than the CA
    #[arg(long, value_name = "D", default_value_t = 365,
          value_parser = clap::value_parser!(u32).range(1..=MAX_DAYS))]
    pub(crate) days: u32,

    /// A group that the device belongs to; repeatable
    #[arg(long, value_name = "G")]
    pub(crate) group: Vec<GroupName>,

    /// The new file [default: the certificate goes to stdout]
    #[arg(short = 'o', long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) folder: Folder,
}

#[derive(Args, Debug)]
pub(crate) struct Revoke {
    /// A serial number, a device id or a contact (all its certificates), or a file with a
    /// certificate; several may follow. With none the list is only made anew, for another year
    #[arg(value_name = "SERIAL|ID")]
    pub(crate) what: Vec<String>,

    #[command(flatten)]
    pub(crate) folder: Folder,
}

#[derive(Args, Debug)]
pub(crate) struct Renew {
    /// The certificate; its file is replaced
    #[arg(value_name = "CERT")]
    pub(crate) certificate: PathBuf,

    /// How many days the new one lasts; never longer than the CA
    #[arg(long, value_name = "D", default_value_t = 365,
          value_parser = clap::value_parser!(u32).range(1..=MAX_DAYS))]
    pub(crate) days: u32,

    /// Write the new one to this new file instead
    #[arg(short = 'o', long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) folder: Folder,
}
