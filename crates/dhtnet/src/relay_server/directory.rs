//! Relays find their clients through the DHT: each announces itself as a peer (BEP 5) of one
//! well-known info hash, which any Mainline node keeps.
//!
//! Entries are not trusted, and need not be: a relay sees ciphertext only, its id is told by its
//! realm, and one that does not answer costs its finder a bounded try.

use std::time::Duration;

use crate::dht::{Dht, DhtError, Id, Peers};

/// What the info hash of relays is the SHA-1 of: the purpose and its version.
const DIRECTORY: &[u8] = b"dhtnet 1 relays";

/// Time between two announcements: nodes forget peers after half an hour, so two go out in that
/// time.
pub(super) const INTERVAL: Duration = Duration::from_secs(15 * 60);

/// Another try when no node took it.
pub(super) const RETRY: Duration = Duration::from_secs(60);

/// The info hash under which relays announce themselves.
#[must_use]
pub fn relay_directory() -> Id {
    Id::hash_of(DIRECTORY)
}

impl Dht {
    /// Relays that announced themselves, as they are found: UDP addresses, with TCP on the same
    /// number. Anybody can announce anything, so what is found has to be tried. Ends with the
    /// lookup.
    ///
    /// # Errors
    /// As of [`Dht::get_peers`].
    pub async fn find_relays(&self) -> Result<Peers, DhtError> {
        self.get_peers(relay_directory()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_of_relays_lies_where_it_is_documented() {
        let expected = "812ca0ff1c9c05df1d19d643c7a4183f1d5808bd";
        assert_eq!(relay_directory().to_string(), expected);
    }
}
