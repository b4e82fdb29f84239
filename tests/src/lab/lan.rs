//! A local network: a bridge in a namespace of its own, with multicast.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{DEFAULT_MTU, Families, Host, INTERFACE, LabError};

/// A switch. Hosts attached to it see each other's broadcasts and multicasts.
#[derive(Debug)]
pub struct Lan {
    switch: Host,
    ports: AtomicU32,
}

impl Lan {
    pub(super) fn new(folder: &Path) -> Result<Self, LabError> {
        let switch = Host::new("switch", super::Lab::MAX_HOSTS, folder)?;
        switch.ip("link add br0 type bridge\nlink set br0 up")?;
        Ok(Self {
            switch,
            ports: AtomicU32::new(0),
        })
    }

    /// Joins `eth0` of a host to the bridge, MTU [`DEFAULT_MTU`].
    ///
    /// # Errors
    /// [`LabError::Network`] when the host is already joined.
    pub fn attach(&self, host: &Host, families: Families) -> Result<(), LabError> {
        let port = self.ports.fetch_add(1, Ordering::Relaxed);
        self.switch.ip(&format!(
            "link add p{port} mtu {DEFAULT_MTU} type veth peer name {INTERFACE} mtu {DEFAULT_MTU} \
             netns {}\nlink set p{port} master br0\nlink set p{port} up",
            host.namespace_path()
        ))?;
        host.bring_up(INTERFACE, families)?;
        host.await_ready(INTERFACE, families)?;
        // The bridge forwards nothing from a port that it has not seen come up.
        self.switch.await_ready(&format!("p{port}"), Families::V4)
    }
}
