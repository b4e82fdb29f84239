//! How a node is set up.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::address::Family;
use crate::blocklist::Blocklist;
use crate::krpc::NetworkTag;
use crate::value::TypeRegistry;

/// Whether the node answers queries and lets others put it into their tables (BEP 43).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Participation {
    /// Serves, unless it stands behind a NAT and nobody who was not asked first reaches it within
    /// ten minutes.
    #[default]
    Adaptive,
    /// Serves whatever happens.
    Server,
    /// Asks only, and says so with `ro`.
    ReadOnly,
}

/// What a node is set up with. Share one between many nodes: it is behind an `Arc`.
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) families: [bool; 2],
    pub(crate) network: Option<NetworkTag>,
    pub(crate) participation: Participation,
    pub(crate) version: [u8; 4],
    pub(crate) local_addresses: Vec<IpAddr>,
    pub(crate) republish: Duration,
    pub(crate) types: Arc<TypeRegistry>,
    pub(crate) blocklist: Option<Arc<Blocklist>>,
    pub(crate) extension: bool,
}

/// `DN` and the version of this crate: what others see in `v`.
const CLIENT_VERSION: [u8; 4] = *b"DN\x00\x01";

/// How often own permanent values are stored again. BEP 44 asks for an hour at the latest; half
/// of it keeps them where nodes stay for half an hour on average.
const REPUBLISH_INTERVAL: Duration = Duration::from_secs(30 * 60);

impl Default for Config {
    fn default() -> Self {
        Self {
            families: [true, true],
            network: None,
            participation: Participation::Adaptive,
            version: CLIENT_VERSION,
            local_addresses: Vec::new(),
            republish: REPUBLISH_INTERVAL,
            types: Arc::default(),
            blocklist: None,
            extension: true,
        }
    }
}

impl Config {
    /// The families for which there is a socket. Default: both.
    #[must_use]
    pub fn families(mut self, families: &[Family]) -> Self {
        self.families = Family::ALL.map(|family| families.contains(&family));
        self
    }

    /// Joins the private network of this name instead of the public one. Every message carries
    /// eight bytes derived from the name, and messages without them are ignored. The name keeps
    /// networks apart; it is no secret.
    #[must_use]
    pub fn network(mut self, name: &str) -> Self {
        self.network = Some(NetworkTag::of(name));
        self
    }

    /// Whether others are served. Default: [`Participation::Adaptive`].
    #[must_use]
    pub fn participation(mut self, participation: Participation) -> Self {
        self.participation = participation;
        self
    }

    /// The addresses of this machine's interfaces: an external address among them means that no
    /// NAT is in between. Default: none known.
    #[must_use]
    pub fn local_addresses(mut self, addresses: Vec<IpAddr>) -> Self {
        self.local_addresses = addresses;
        self
    }

    /// How often permanent values are stored again. Default: 30 minutes.
    #[must_use]
    pub fn republish(mut self, interval: Duration) -> Self {
        self.republish = interval.max(Duration::from_secs(1));
        self
    }

    /// The types of values that this node knows, with their policies. Default: user data only.
    #[must_use]
    pub fn types(mut self, types: Arc<TypeRegistry>) -> Self {
        self.types = types;
        self
    }

    /// Speaks plain Mainline only: messages carry no `dn`, methods of the value layer are unknown,
    /// and values are neither kept nor found. Default: the value layer is spoken.
    #[must_use]
    pub fn plain_mainline(mut self) -> Self {
        self.extension = false;
        self
    }

    /// Addresses that are never talked to. Default: none.
    #[must_use]
    pub fn blocklist(mut self, blocklist: Arc<Blocklist>) -> Self {
        self.blocklist = Some(blocklist);
        self
    }
}

impl NetworkTag {
    /// The tag of the private network `name`: the first eight bytes of SHA-256 over
    /// `dhtnet network` and the name, with a zero byte between.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let hash = Sha256::new()
            .chain_update(b"dhtnet network\0")
            .chain_update(name)
            .finalize();
        let mut tag = [0; 8];
        tag.copy_from_slice(&hash[..8]);
        Self(tag)
    }
}
