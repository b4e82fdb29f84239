//! What all commands share: the node, the user's files, the words.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dhtnet_cli::flags::{DhtFlags, HomeFlags, HostPort};
use dhtnet_cli::own_identity::{load_contacts, resolve_peer};
use dhtnet_cli::{ExitCode, Failure, Home, Talk};
use dhtnet_identity::{DeviceId, DeviceKey, PeerArgument, atomic_file};

use crate::blocklist;
use crate::dht::{Family, Network, Serving, Settings, Storing};
use crate::flags::Flags;
use crate::output::Output;

/// A node with the user's files and the way to tell the user something.
pub(crate) struct Session {
    pub(crate) network: Network,
    pub(crate) talk: Talk,
    pub(crate) place: Place,
    /// How the network is entered.
    pub(crate) entry: Entry,
}

/// How the network is entered.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) dht: DhtFlags,
    /// Addresses that are neither asked nor answered.
    pub(crate) blocklist: Option<PathBuf>,
}

impl Entry {
    /// As these flags say.
    pub(crate) fn of(flags: &Flags) -> Self {
        Self {
            dht: flags.dht.clone(),
            blocklist: flags.blocklist.clone(),
        }
    }
}

/// The user's files.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) home: Home,
    pub(crate) flags: HomeFlags,
}

/// How one command is carried out.
#[derive(Clone)]
pub(crate) struct How {
    pub(crate) output: Output,
    /// Ask this node only.
    pub(crate) remote: Option<HostPort>,
    pub(crate) limit: Duration,
    /// What was read from stdin for a VALUE of `-`.
    pub(crate) stdin: Option<Arc<[u8]>>,
}

impl How {
    /// The VALUE of the command line.
    pub(crate) fn value(&self, typed: &[String]) -> Result<Vec<u8>, Failure> {
        match (typed, &self.stdin) {
            ([dash], Some(read)) if dash == "-" => Ok(read.to_vec()),
            ([dash], None) if dash == "-" => {
                Err(Failure::usage("stdin holds the commands and no value")
                    .advise("type the value, in quotes"))
            }
            _ => Ok(typed.join(" ").into_bytes()),
        }
    }
}

impl Place {
    /// The key of this device.
    pub(crate) fn own_key(&self, talk: &Talk) -> Result<DeviceKey, Failure> {
        self.flags.load_or_create_key(&self.home, talk)
    }

    /// The device key if there is one already.
    pub(crate) fn own_key_if_made(&self) -> Result<Option<DeviceKey>, Failure> {
        self.flags.load_key(&self.home)
    }

    /// Whom the user means.
    pub(crate) fn peer(&self, argument: &PeerArgument) -> Result<DeviceId, Failure> {
        Ok(resolve_peer(&load_contacts(&self.home)?, argument)?
            .address
            .id)
    }

    /// A file in the state directory, which is made if it is missing.
    pub(crate) fn state_file(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.home.state().join(name);
        atomic_file::create_private_parent(&path).map_err(|error| {
            Failure::failed(format!(
                "cannot make the directory {}: {error}",
                self.home.state().display()
            ))
            .advise("set DHTNET_HOME to a directory that can be written")
        })?;
        Ok(path)
    }
}

/// How the node of these flags is set up. `number` tells the nodes of one process apart, from 0.
pub(crate) fn settings(
    flags: &Flags,
    place: &Place,
    number: u16,
    talk: &Talk,
) -> Result<Settings, Failure> {
    Ok(Settings {
        bind: bind_of(flags.dht.bind, number)?,
        seeds: flags.dht.seeds()?,
        network: flags.dht.network.clone(),
        serving: if flags.read_only {
            Serving::Never
        } else {
            Serving::WhenReachable
        },
        blocklist: match &flags.blocklist {
            Some(path) => Some(blocklist::load(path, talk)?),
            None => None,
        },
        state_file: Some(flags.dht.state_file(&place.home)?),
        key: None,
        relay: None,
    })
}

/// The address of node `number`: ports count on from the given one.
fn bind_of(bind: SocketAddr, number: u16) -> Result<SocketAddr, Failure> {
    let mut bind = bind;
    if bind.port() != 0 {
        let port = bind.port().checked_add(number).ok_or_else(|| {
            Failure::usage(format!(
                "there is no port for node {} above {bind}",
                number + 1
            ))
            .advise("use a lower port, or port 0")
        })?;
        bind.set_port(port);
    }
    Ok(bind)
}

impl Session {
    /// Waits until the node has found others.
    pub(crate) async fn ready(&self) -> Result<(), Failure> {
        self.network.ready().await
    }

    /// The address of `host`, of a family that this node has a socket for.
    pub(crate) async fn resolve(&self, host: &HostPort) -> Result<SocketAddr, Failure> {
        let unknown = |why: String| {
            Failure::new(
                ExitCode::Unreachable,
                format!("cannot look up {host}: {why}"),
            )
        };
        let found: Vec<SocketAddr> = tokio::net::lookup_host(host.as_str())
            .await
            .map_err(|error| unknown(error.to_string()).advise("check its spelling"))?
            .collect();
        let families: Vec<Family> = self
            .network
            .local_addresses()
            .iter()
            .map(Family::of)
            .collect();
        let usable = found
            .iter()
            .find(|address| families.contains(&Family::of(address)));
        usable.copied().ok_or_else(|| match found.first() {
            Some(other) => unknown(format!("{other} is not of the family of --bind"))
                .advise("leave --bind away to use IPv4 and IPv6"),
            None => unknown("it has no address".to_owned()).advise("check its spelling"),
        })
    }

    /// Where and for how long to store; waits until there is a network to ask.
    pub(crate) async fn storing(&self, how: &How, lasting: Lasting) -> Result<Storing, Failure> {
        match (self.asked(how).await?, lasting) {
            (Some(_), Lasting::Permanent) => {
                Err(Failure::usage("--permanent does not go with --remote")
                    .advise("what is permanent is stored on the nearest nodes"))
            }
            (Some(address), Lasting::Once) => Ok(Storing::At(address)),
            (None, Lasting::Permanent) if !self.network.is_remembered() => Err(Failure::failed(
                "another dhtnode of this home is running and remembers what is permanent",
            )
            .advise("end it first, or use another DHTNET_HOME")),
            (None, Lasting::Permanent) => Ok(Storing::Always),
            (None, Lasting::Once) => Ok(Storing::Once),
        }
    }

    /// The one node to ask, if the user named one; else waits until there is a network to ask.
    pub(crate) async fn asked(&self, how: &How) -> Result<Option<SocketAddr>, Failure> {
        match &how.remote {
            Some(host) => self.resolve(host).await.map(Some),
            None => self.ready().await.map(|()| None),
        }
    }
}

/// Whether something is stored once or for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lasting {
    Once,
    Permanent,
}

impl Lasting {
    /// What the flag `--permanent` asks for.
    pub(crate) fn of_flag(permanent: bool) -> Self {
        if permanent {
            Self::Permanent
        } else {
            Self::Once
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_ports_of_a_cluster_count_on_from_the_given_one() {
        let bind = |bind: &str, number| bind_of(bind.parse().unwrap(), number);
        assert_eq!(bind("[::]:0", 7).unwrap(), "[::]:0".parse().unwrap());
        assert_eq!(bind("10.0.0.1:6881", 0).unwrap().port(), 6881);
        assert_eq!(bind("10.0.0.1:6881", 7).unwrap().port(), 6888);
        assert_eq!(bind("10.0.0.1:65535", 0).unwrap().port(), 65535);
        assert!(bind("10.0.0.1:65535", 1).is_err());
    }
}
