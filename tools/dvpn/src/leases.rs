//! The server's leases, kept in the state directory over restarts.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use dhtnet_cli::failure::chain;
use dhtnet_cli::{Failure, Home};
use dhtnet_identity::{DeviceId, atomic_file};
use dhtnet_vpn_core::pool::{Lease, Pool};
use serde::{Deserialize, Serialize};

/// Largest file that is read, bytes: the most leases, at some hundred bytes each.
const MAX_FILE: u64 = 16 << 20;

/// One line of the file.
#[derive(Serialize, Deserialize)]
struct Row {
    id: String,
    address: std::net::Ipv4Addr,
    /// Seconds since 1970.
    seen: u64,
}

/// Where the leases of a network are kept.
#[derive(Debug, Clone)]
pub(crate) struct LeaseFile {
    path: PathBuf,
}

impl LeaseFile {
    /// The file of the network served on `interface`.
    pub(crate) fn of(home: &Home, interface: &str) -> Self {
        Self {
            path: home.state().join(format!("vpn-{interface}.leases")),
        }
    }

    /// Takes up what was saved. A file that cannot be read is told and left out.
    pub(crate) fn restore(&self, pool: &mut Pool) -> Result<(), Failure> {
        let len = match std::fs::metadata(&self.path) {
            Ok(file) => file.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(self.failure("read", &error)),
        };
        if len > MAX_FILE {
            return Err(self.failure("read", &std::io::Error::other("it is too large")));
        }
        let text = std::fs::read_to_string(&self.path);
        let text = text.map_err(|error| self.failure("read", &error))?;
        for line in text.lines() {
            let Ok(row) = serde_json::from_str::<Row>(line) else {
                continue;
            };
            let seen = Duration::from_secs(row.seen.min(u64::from(u32::MAX)));
            if let Ok(id) = row.id.parse::<DeviceId>() {
                let lease = Lease {
                    address: row.address,
                    seen: SystemTime::UNIX_EPOCH + seen,
                };
                pool.restore(id, lease);
            }
        }
        Ok(())
    }

    /// Saves the leases.
    pub(crate) fn save(&self, pool: &Pool) -> Result<(), Failure> {
        let mut text = String::new();
        for (id, lease) in pool.leases() {
            let seen = lease.seen.duration_since(SystemTime::UNIX_EPOCH);
            let row = Row {
                id: id.to_string(),
                address: lease.address,
                seen: seen.map_or(0, |since| since.as_secs()),
            };
            if let Ok(line) = serde_json::to_string(&row) {
                text.push_str(&line);
                text.push('\n');
            }
        }
        atomic_file::create_private_parent(&self.path)
            .and_then(|()| atomic_file::replace(&self.path, text.as_bytes(), 0o600))
            .map_err(|error| self.failure("write", &error))
    }

    fn failure(&self, what: &str, error: &std::io::Error) -> Failure {
        let path = self.path.display();
        Failure::failed(format!(
            "cannot {what} the leases in {path}: {}",
            chain(error)
        ))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    use dhtnet_identity::DeviceKey;

    use super::*;

    #[test]
    fn leases_survive_a_restart_and_lines_that_are_none_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let file = LeaseFile {
            path: folder.path().join("state/vpn-x.leases"),
        };
        let pool = || Pool::new("10.0.0.0/24".parse().unwrap()).unwrap();
        let mut before = pool();
        file.restore(&mut before).unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let ids = [1, 2].map(|seed| DeviceKey::from_seed(&[seed; 32]).id());
        for id in ids {
            before.lease(now, id, |_| false).unwrap();
        }
        file.save(&before).unwrap();
        let mut text = std::fs::read_to_string(&file.path).unwrap();
        text.insert_str(
            0,
            "no lease\n{\"id\":\"x\",\"address\":\"10.0.0.9\",\"seen\":1}\n",
        );
        std::fs::write(&file.path, text).unwrap();
        let mut after = pool();
        file.restore(&mut after).unwrap();
        let leases = |pool: &Pool| {
            pool.leases()
                .map(|(id, lease)| (*id, *lease))
                .collect::<Vec<_>>()
        };
        assert_eq!(leases(&after), leases(&before));
        assert_eq!(leases(&after).len(), 2);
    }
}
