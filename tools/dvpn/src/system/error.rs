//! Why the system cannot be made as the plan says.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use dhtnet_cli::failure::chain;
use dhtnet_cli::{ExitCode, Failure};
use dhtnet_identity::target::Network;

use super::privilege::MAX_INTERFACE_NAME;

/// What hinders changing the system, or putting it back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SystemError {
    /// The kernel's device for interfaces is missing.
    #[error("there is no /dev/net/tun here")]
    NoTunDevice {
        /// Why it cannot be opened.
        source: io::Error,
    },
    /// The process may not change the network.
    #[error("no privilege to change the network of this machine")]
    NoPrivilege,
    /// The name cannot be that of an interface and of files.
    #[error(
        "{name:?} is no name for an interface: it takes 1 to {MAX_INTERFACE_NAME} letters, digits, - and _"
    )]
    BadName {
        /// What was asked for.
        name: String,
    },
    /// There is an interface of this name.
    #[error("there is an interface {name} already")]
    InterfaceTaken {
        /// Its name.
        name: String,
    },
    /// The interface that is to be set up is not there.
    #[error("there is no interface {name}")]
    NoInterface {
        /// Its name.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another process runs under this name.
    #[error("{name} is up already{}", .pid.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    Running {
        /// The name.
        name: String,
        /// The process, when its journal tells.
        pid: Option<u32>,
    },
    /// This machine has the address on another interface.
    #[error("the address {address} is taken: {interface} of this machine has it")]
    AddressTaken {
        /// The address.
        address: IpAddr,
        /// Who has it.
        interface: String,
    },
    /// A network of the plan takes away one of this machine.
    #[error("the network {network} overlaps {other}, which this machine reaches by {interface}")]
    Overlap {
        /// Of the plan.
        network: Network,
        /// Of the machine.
        other: Network,
        /// By which interface.
        interface: String,
    },
    /// Another VPN has led all packets away by the same rules.
    #[error("{} carries all traffic of this machine already", .name.as_deref().unwrap_or("another dvpn"))]
    SecondFullTunnel {
        /// Its name, when it is a network of this home.
        name: Option<String>,
    },
    /// Another network is changing the system, and does not come to an end.
    #[error("another dvpn has been changing the network of this machine for too long")]
    Busy,
    /// The kernel refused something about links, addresses, routes or rules.
    #[error("cannot {what}")]
    Netlink {
        /// What was tried.
        what: String,
        /// What it said.
        source: io::Error,
    },
    /// A knob of the kernel cannot be read or set.
    #[error("cannot set {knob}")]
    Sysctl {
        /// As `sysctl` names it.
        knob: String,
        /// Why.
        source: io::Error,
    },
    /// The program `nft` cannot be run.
    #[error("cannot run nft")]
    NoNft {
        /// Why.
        source: io::Error,
    },
    /// The kernel has no nftables, or does not let this process use them.
    #[error("nftables cannot be used here: {said}")]
    NoNftables {
        /// The first line of `nft`.
        said: String,
    },
    /// nftables refused the rules.
    #[error("nft refused the rules: {said}")]
    Nft {
        /// Its first line.
        said: String,
    },
    /// A program that manages the resolver failed.
    #[error("{program} failed: {said}")]
    Resolver {
        /// Its name.
        program: &'static str,
        /// Its first line.
        said: String,
    },
    /// `/etc/resolv.conf` cannot be read or written.
    #[error("cannot rewrite /etc/resolv.conf")]
    ResolvConf {
        /// Why.
        source: io::Error,
    },
    /// The journal, which everything depends on, cannot be read or written.
    #[error("cannot keep the journal {}", .path.display())]
    Journal {
        /// Where it is.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The journal was not written by this program, or by another version of it.
    #[error("the journal {} cannot be understood", .path.display())]
    StrangeJournal {
        /// Where it is.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A process does not end.
    #[error("the process {pid} of {name} does not end")]
    DoesNotEnd {
        /// The name.
        name: String,
        /// The process.
        pid: u32,
    },
}

impl From<SystemError> for Failure {
    fn from(error: SystemError) -> Self {
        let code = match &error {
            SystemError::NoTunDevice { .. }
            | SystemError::NoPrivilege
            | SystemError::BadName { .. }
            | SystemError::InterfaceTaken { .. }
            | SystemError::Running { .. }
            | SystemError::AddressTaken { .. }
            | SystemError::Overlap { .. }
            | SystemError::SecondFullTunnel { .. }
            | SystemError::NoNft { .. }
            | SystemError::NoNftables { .. } => ExitCode::Usage,
            _ => ExitCode::Failed,
        };
        let failure = Self::new(code, chain(&error));
        match next_step(&error) {
            Some(advice) => failure.advise(advice),
            None => failure,
        }
    }
}

fn next_step(error: &SystemError) -> Option<String> {
    Some(match error {
        SystemError::NoTunDevice { .. } => {
            "load the module tun (modprobe tun), or give the container the device /dev/net/tun"
                .into()
        }
        SystemError::NoPrivilege => {
            "run it as root, or give it CAP_NET_ADMIN (and /dev/net/tun)".into()
        }
        SystemError::InterfaceTaken { .. } | SystemError::NoInterface { .. } => {
            "choose another with --interface NAME".into()
        }
        SystemError::BadName { .. } => "choose another name".into(),
        SystemError::Running { name, .. } => format!("end it with: dvpn down {name}"),
        SystemError::AddressTaken { .. } => {
            "give this device another address, or the network another name (network = \"NAME\")"
                .into()
        }
        SystemError::Overlap { network, .. } if network.address().is_ipv6() => {
            "give the network another name on all its devices (network = \"NAME\")".into()
        }
        SystemError::Overlap { .. } => {
            "choose another [address] pool in the configuration of the server".into()
        }
        SystemError::SecondFullTunnel { name: Some(name) } => {
            format!("end it with: dvpn down {name}; or leave full_tunnel out here")
        }
        SystemError::SecondFullTunnel { name: None } => {
            "end that one first, or leave full_tunnel out here".into()
        }
        SystemError::Busy => "try again; dvpn status lists what is up".into(),
        SystemError::Sysctl { .. } => {
            "in a container, /proc/sys may have to be writable, or the value set outside".into()
        }
        SystemError::NoNft { .. } => {
            "install nftables: exit nodes, subnets, isolation and the kill switch need it".into()
        }
        SystemError::NoNftables { .. } => {
            "the kernel needs nf_tables (modprobe nf_tables): exit nodes, subnets, isolation and \
             the kill switch are made of it"
                .into()
        }
        SystemError::StrangeJournal { .. } => {
            "undo by hand what it names (ip rule, nft list tables, sysctl), and delete it".into()
        }
        SystemError::Resolver { .. } => "leave [dns] out to do without".into(),
        SystemError::ResolvConf { .. } => "leave rewrite out of [dns] to do without".into(),
        SystemError::Journal { .. } => "set DHTNET_HOME to a directory that can be written".into(),
        SystemError::DoesNotEnd { name, pid } => {
            format!("kill -9 {pid}, then: dvpn down {name}")
        }
        _ => return None,
    })
}
