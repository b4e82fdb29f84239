//! How a DHT node is set up, checked once, before anything starts.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use dhtnet_dht_core::blocklist::Blocklist;
use dhtnet_dht_core::krpc::NetworkTag;
use dhtnet_dht_core::node::{Config, Participation};
use dhtnet_dht_core::value::TypeRegistry;
use dhtnet_dht_core::{Family, Node};
use dhtnet_identity::DeviceKey;

use super::bootstrap::Bootstrap;
use super::error::DhtBuildError;
use super::handle::{Dht, HelperNames, Running, lock};
use super::relaying::Relaying;
use super::saving::{FIRST_SAVE, Kept, SAVE_INTERVAL, StateFile, restore};
use super::shared::DhtShared;
use crate::driver::{DhtDriver, Mark, RelayHost, Sockets};
use crate::error::BuildError;
use crate::relay_server::{Announcement, RelaySettings, announce};

/// Another try to look up bootstrap names.
const DNS_RETRY: Duration = Duration::from_secs(15);

/// What a DHT node is to be, without its socket: for [`NodeBuilder::dht`](crate::NodeBuilder::dht)
/// and, through [`Dht::builder`], for a node that stands alone.
#[derive(Debug, Default)]
pub struct DhtSettings {
    bootstrap: Vec<Bootstrap>,
    network: Option<String>,
    participation: Participation,
    blocklist: Blocklist,
    state_file: Option<(PathBuf, Kept)>,
    republish: Option<Duration>,
    types: Option<Arc<TypeRegistry>>,
    owners: Vec<Arc<DeviceKey>>,
}

impl DhtSettings {
    /// Who is asked first. Default: nobody; the node then waits for others, or lives on what it
    /// saved.
    #[must_use]
    pub fn bootstrap(mut self, nodes: impl IntoIterator<Item = Bootstrap>) -> Self {
        self.bootstrap.extend(nodes);
        self
    }

    /// The name of a private network, which never mixes with others. Default: the public one.
    #[must_use]
    pub fn network(mut self, name: &str) -> Self {
        self.network = Some(name.to_owned());
        self
    }

    /// Whether others are served. Default: [`Participation::Adaptive`].
    #[must_use]
    pub fn participation(mut self, participation: Participation) -> Self {
        self.participation = participation;
        self
    }

    /// Addresses that are never talked to. Default: none.
    #[must_use]
    pub fn blocklist(mut self, blocklist: Blocklist) -> Self {
        self.blocklist = blocklist;
        self
    }

    /// Where known nodes and publications are kept between runs. Default: nowhere.
    #[must_use]
    pub fn state_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.state_file = Some((path.into(), Kept::Everything));
        self
    }

    /// Where known nodes alone are kept between runs: for short-lived processes, several of which
    /// may share the file. Default: nowhere.
    #[must_use]
    pub fn node_cache(mut self, path: impl Into<PathBuf>) -> Self {
        self.state_file = Some((path.into(), Kept::Nodes));
        self
    }

    /// How often publications are stored again. Default: 30 minutes.
    #[must_use]
    pub fn republish(mut self, interval: Duration) -> Self {
        self.republish = Some(interval);
        self
    }

    /// A key with which permanent values of its owner are renewed, those of the last run too. At
    /// most 64. Default: none.
    #[must_use]
    pub fn owner(mut self, key: DeviceKey) -> Self {
        self.owners.push(Arc::new(key));
        self
    }

    /// Types of values with their policies. Default: user data only.
    #[must_use]
    pub fn types(mut self, types: TypeRegistry) -> Self {
        self.types = Some(Arc::new(types));
        self
    }

    /// A node for sockets with these addresses.
    pub(crate) fn start(self, local_addresses: &[SocketAddr]) -> Result<Starting, BuildError> {
        let families: Vec<Family> = local_addresses.iter().map(Family::of).collect();
        let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
        let mut config = Config::default()
            .families(&families)
            .participation(self.participation)
            .local_addresses(interfaces.iter().map(|interface| interface.ip()).collect());
        let network = self.network.as_deref().map(NetworkTag::of);
        if let Some(name) = &self.network {
            config = config.network(name);
        }
        if let Some(interval) = self.republish {
            config = config.republish(interval);
        }
        if let Some(types) = self.types {
            config = config.types(types);
        }
        if !self.blocklist.is_empty() {
            config = config.blocklist(Arc::new(self.blocklist));
        }
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| BuildError::Randomness {
            reason: error.to_string(),
        })?;
        let now = Instant::now();
        let wall = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let mut node = Node::new(Arc::new(config), now, wall, seed);
        for key in self.owners {
            node.add_owner(key);
        }
        let state_file = self
            .state_file
            .map(|(path, kept)| StateFile::new(path, kept, network));
        if let Some(state) = state_file.as_ref().and_then(StateFile::load) {
            restore(&mut node, now, &state);
        }
        let addresses: Vec<SocketAddr> = self
            .bootstrap
            .iter()
            .filter_map(Bootstrap::address)
            .collect();
        for address in &addresses {
            node.add_bootstrap(now, *address);
        }
        let helpers = HelperNames {
            names: self.bootstrap.iter().flat_map(Bootstrap::names).collect(),
            addresses: Mutex::new(addresses),
            dns_error: Mutex::new(None),
        };
        Ok(Starting {
            shared: Arc::new(DhtShared::new(node)),
            local_addresses: local_addresses.to_vec(),
            helpers,
            state_file,
            now,
        })
    }
}

/// A node whose datagrams nobody moves yet.
pub(crate) struct Starting {
    pub(crate) shared: Arc<DhtShared>,
    local_addresses: Vec<SocketAddr>,
    helpers: HelperNames,
    state_file: Option<StateFile>,
    now: Instant,
}

impl Starting {
    /// The handle. Must be called inside a runtime.
    pub(crate) fn into_handle(
        self,
        driver: Option<tokio::task::JoinHandle<()>>,
        relay: Option<Arc<RelayHost>>,
    ) -> Dht {
        let saves = self.state_file.is_some();
        let (said, announcement) = tokio::sync::watch::channel(Announcement::default());
        let looks_up = !self.helpers.names.is_empty();
        let dht = Dht {
            inner: Arc::new(Running {
                shared: self.shared,
                local_addresses: self.local_addresses,
                helpers: self.helpers,
                state_file: self.state_file,
                started: self.now,
                tasks: Mutex::new(Vec::new()),
                driver: tokio::sync::Mutex::new(driver),
                relay: relay.map(|host| Relaying { host, announcement }),
            }),
        };
        let weak = Arc::downgrade(&dht.inner);
        let mut tasks = lock(&dht.inner.tasks);
        if looks_up {
            tasks.push(tokio::spawn(look_up_names(weak.clone())));
        }
        if saves {
            tasks.push(tokio::spawn(save_regularly(weak.clone())));
        }
        if let Some(relay) = &dht.inner.relay {
            let told = relay.host.told_addresses().to_vec();
            let handle = move || weak.upgrade().map(|inner| Dht { inner });
            tasks.push(tokio::spawn(announce(handle, told, said)));
        }
        drop(tasks);
        dht
    }
}

/// Looks up the bootstrap names until each was found once.
async fn look_up_names(running: std::sync::Weak<Running>) {
    let Some(mut names) = running
        .upgrade()
        .map(|running| running.helpers.names.clone())
    else {
        return;
    };
    while !names.is_empty() {
        let mut missing = Vec::new();
        for name in &names {
            let found = tokio::net::lookup_host(name.as_str()).await;
            let Some(running) = running.upgrade() else {
                return;
            };
            let dht = Dht { inner: running };
            match found {
                Ok(addresses) => addresses.for_each(|address| dht.add_bootstrap(address)),
                Err(error) => {
                    tracing::debug!(%name, %error, "a bootstrap name was not found");
                    *lock(&dht.inner.helpers.dns_error) = Some(error.to_string());
                    missing.push(name.clone());
                }
            }
        }
        names = missing;
        if !names.is_empty() {
            tokio::time::sleep(DNS_RETRY).await;
        }
    }
}

async fn save_regularly(running: std::sync::Weak<Running>) {
    let mut wait = FIRST_SAVE;
    loop {
        tokio::time::sleep(wait).await;
        wait = SAVE_INTERVAL;
        let Some(running) = running.upgrade() else {
            return;
        };
        if let Err(error) = (Dht { inner: running }).save().await {
            tracing::warn!(%error, "the DHT's state was not saved");
        }
    }
}

/// Sets up a [`Dht`] with a socket of its own; begin with [`Dht::builder`].
#[derive(Debug)]
pub struct DhtBuilder {
    bind: SocketAddr,
    settings: DhtSettings,
    relay: Option<RelaySettings>,
}

impl Dht {
    /// Begins a DHT node with a socket of its own.
    #[must_use]
    pub fn builder() -> DhtBuilder {
        DhtBuilder {
            bind: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
            settings: DhtSettings::default(),
            relay: None,
        }
    }
}

impl DhtBuilder {
    /// The UDP address. The default, `[::]:0`, opens one socket for each family on one port that
    /// the system chooses.
    #[must_use]
    pub fn bind(mut self, address: SocketAddr) -> Self {
        self.bind = address;
        self
    }

    /// As [`DhtSettings::bootstrap`].
    #[must_use]
    pub fn bootstrap(mut self, nodes: impl IntoIterator<Item = Bootstrap>) -> Self {
        self.settings = self.settings.bootstrap(nodes);
        self
    }

    /// As [`DhtSettings::network`].
    #[must_use]
    pub fn network(mut self, name: &str) -> Self {
        self.settings = self.settings.network(name);
        self
    }

    /// Everything else at once; what was set before is replaced.
    #[must_use]
    pub fn settings(mut self, settings: DhtSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Is a relay for others too, on the same sockets. Default: none.
    #[must_use]
    pub fn relay(mut self, settings: RelaySettings) -> Self {
        self.relay = Some(settings);
        self
    }

    /// Binds the sockets and starts the node. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`DhtBuildError`].
    pub async fn build(self) -> Result<Dht, DhtBuildError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| BuildError::NoRuntime)?;
        let sockets = Sockets::bind(self.bind, Mark::default())?;
        let starting = self.settings.start(&sockets.local_addresses())?;
        let relay = match self.relay {
            Some(settings) => Some(RelayHost::start(settings, &sockets)?),
            None => None,
        };
        let driver = DhtDriver::new(starting.shared.clone(), sockets, relay.clone());
        let driver = runtime.spawn(driver.run());
        Ok(starting.into_handle(Some(driver), relay))
    }
}
