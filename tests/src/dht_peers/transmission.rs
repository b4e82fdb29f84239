//! `transmission-daemon` with its DHT, which knows one node to enter it by.

use std::net::SocketAddrV4;
use std::time::Duration;

use serde_json::json;

use super::PeerError;
use crate::lab::{Host, Process};
use crate::ssh::find;

/// Longer than any test.
const LIFETIME: Duration = Duration::from_secs(600);

/// A running daemon with a folder of its own. It refuses loopback addresses as nodes.
#[derive(Debug)]
pub struct Transmission {
    process: Process,
    address: SocketAddrV4,
}

impl Transmission {
    /// Starts it on `host`, its DHT and its peers on `address`. It tries to enter after a second.
    ///
    /// # Errors
    /// [`PeerError::Missing`] without Debian's transmission-daemon.
    pub fn start(
        host: &Host,
        address: SocketAddrV4,
        bootstrap: SocketAddrV4,
    ) -> Result<Self, PeerError> {
        let program = find("transmission-daemon").ok_or_else(|| PeerError::Missing {
            peer: "Transmission",
            reason: "install transmission-daemon (cargo xtask setup)".to_owned(),
        })?;
        let folder = host.folder().join(format!("transmission-{}", host.name()));
        std::fs::create_dir_all(&folder)?;
        let settings = json!({
            "dht-enabled": true, "lpd-enabled": false, "pex-enabled": false,
            "port-forwarding-enabled": false, "bind-address-ipv4": address.ip().to_string(),
            "peer-port": address.port(), "rpc-enabled": false,
        });
        std::fs::write(folder.join("settings.json"), settings.to_string())?;
        let seed = format!("{} {}\n", bootstrap.ip(), bootstrap.port());
        std::fs::write(folder.join("dht.bootstrap"), seed)?;
        let command = host.command(program).args(["-f", "-g"]).arg(&folder);
        let command = command.env("HOME", &folder).lifetime(LIFETIME);
        Ok(Self {
            process: command.start()?,
            address,
        })
    }

    /// Where its DHT listens.
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// What it logged.
    pub fn said(&self) -> String {
        self.process.stderr()
    }
}
