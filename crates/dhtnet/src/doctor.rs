//! What works from here: an examination of this host and its network, in at most [`LIMIT`].
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use dhtnet::dht::Bootstrap;
//! use dhtnet::doctor::Examination;
//!
//! let report = Examination::new().bootstrap([Bootstrap::Mainline]).run().await?;
//! for finding in &report.findings {
//!     println!("{} {}: {}", finding.status, finding.topic, finding.found);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! All probes run at once: nodes of the DHT and a STUN server are asked from one socket of each
//! family; routers, relays, TCP and the names beside it. What they find are plain facts; what the
//! facts mean is decided apart from them, in `judge`. Nothing is changed anywhere: no port is
//! mapped, nothing is stored, and an address that a TURN server gives is given back.
//!
//! The DHT is asked at most 96 questions in each family.

mod facts;
mod finding;
mod inquiry;
mod judge;
mod path_mtu;
mod survey;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use dhtnet_dht_core::krpc::NetworkTag;
use dhtnet_dht_core::{Family, Id};
use dhtnet_identity::DeviceId;
use dhtnet_nat_traversal::turn::AllocationError;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use tokio::sync::mpsc;

pub(crate) use self::facts::{Claim, RouterAnswer, RouterFacts};
pub use self::facts::{HomeFacts, IdentityFacts};
pub(crate) use self::facts::{RelayOutcome, TcpOutcome, Trouble, Unsendable};
pub use self::finding::{Detail, Finding, Report, Status, Topic};
pub(crate) use self::inquiry::{Heard, Inquiry};
pub(crate) use self::survey::Outgoing;

use self::facts::{ClockFacts, Descriptors, Facts, FamilyFacts, Named, RelayFacts, TcpTry};
use self::survey::{Company, Wanted};
use crate::dht::{Blocklist, Bootstrap, saved_nodes};
use crate::driver::doctor::{
    News, RelayTrial, answering, hops, inquire, look_up, probe_sockets, try_relay, try_tcp,
};
use crate::driver::{Mark, source_towards};
use crate::interfaces::{self, Gateways};
use crate::port_mapping::claims;
use crate::relays::TurnServer;
use crate::service::{MAX_SERVICES, Service};

/// The longest that an examination takes.
pub const LIMIT: Duration = Duration::from_secs(5);

/// When probes that are still waiting are given up; the rest of [`LIMIT`] is for judging.
const PROBES_LIMIT: Duration = Duration::from_millis(4_700);

/// Contacts whose records are looked for, to compare clocks. Three that agree are enough; not
/// everybody is online.
const MAX_CONTACTS: usize = 4;

/// Remembered nodes that are asked: some of them live, and tell of others.
const MAX_SAVED: usize = 8;

/// Relays from the DHT that are tried.
const MAX_RELAYS: usize = 3;

/// Hosts to which TCP port 443 is tried.
const MAX_TCP: usize = 6;

/// Where relays announce themselves: the SHA-1 of this.
const RELAYS_PLACE: &[u8] = b"dhtnet 1 relays";

/// Somewhere outside, to ask the system about routes. Nothing is sent there.
const OUTSIDE: [&str; 2] = ["192.0.2.1:9", "[2000::1]:9"];

/// Most relays that are tried.
pub const MAX_NAMED_RELAYS: usize = 4;

/// Most STUN servers that are asked.
pub const MAX_STUN: usize = dhtnet_nat_traversal::behavior::MAX_SERVERS;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExamineError {
    /// The system gave no random bytes.
    #[error("the system gives no random bytes: {reason}")]
    Randomness {
        /// What it says.
        reason: String,
    },
}

/// What is to be looked at.
#[derive(Clone)]
pub struct Examination {
    bind: SocketAddr,
    bootstrap: Vec<Bootstrap>,
    network: Option<String>,
    blocklist: Blocklist,
    node_files: Vec<PathBuf>,
    stun: Vec<String>,
    relays: Vec<TurnServer>,
    contacts: Vec<(String, DeviceId)>,
    services: Vec<Service>,
    home: HomeFacts,
}

impl Default for Examination {
    fn default() -> Self {
        Self::new()
    }
}

impl Examination {
    /// Of the network alone, with nobody to ask.
    #[must_use]
    pub fn new() -> Self {
        Self {
            bind: (Ipv6Addr::UNSPECIFIED, 0).into(),
            bootstrap: Vec::new(),
            network: None,
            blocklist: Blocklist::default(),
            node_files: Vec::new(),
            stun: Vec::new(),
            relays: Vec::new(),
            contacts: Vec::new(),
            services: vec![Service::default()],
            home: HomeFacts::default(),
        }
    }

    /// The UDP address; another port is used if it is taken. Default: `[::]:0`.
    #[must_use]
    pub fn bind(mut self, address: SocketAddr) -> Self {
        self.bind = address;
        self
    }

    /// Nodes by which the DHT is entered. Default: none.
    #[must_use]
    pub fn bootstrap(mut self, nodes: impl IntoIterator<Item = Bootstrap>) -> Self {
        self.bootstrap.extend(nodes);
        self
    }

    /// The name of a private network. Default: the public one.
    #[must_use]
    pub fn network(mut self, name: &str) -> Self {
        self.network = Some(name.to_owned());
        self
    }

    /// Addresses of the DHT that are not asked. Default: none.
    #[must_use]
    pub fn blocklist(mut self, blocklist: Blocklist) -> Self {
        self.blocklist = blocklist;
        self
    }

    /// A file in which a DHT node remembers others; nothing is written to it. Repeatable. Default:
    /// none.
    #[must_use]
    pub fn node_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.node_files.push(path.into());
        self
    }

    /// `HOST:PORT` of a STUN server. Two tell what the NAT's ports depend on, one with two
    /// addresses (RFC 5780) the filtering as well. The first [`MAX_STUN`] are asked, of the
    /// addresses that they have as many. Default: none.
    #[must_use]
    pub fn stun(mut self, server: &str) -> Self {
        if self.stun.len() < MAX_STUN {
            self.stun.push(server.to_owned());
        }
        self
    }

    /// A relay to try; at one with a user an address is asked for and given back. The first
    /// [`MAX_NAMED_RELAYS`] are tried, all at once. Default: none.
    #[must_use]
    pub fn relay(mut self, server: TurnServer) -> Self {
        if self.relays.len() < MAX_NAMED_RELAYS {
            self.relays.push(server);
        }
        self
    }

    /// Devices whose clocks this one's is compared with, by their presence records in the DHT. The
    /// first four are used. Default: none.
    #[must_use]
    pub fn contacts(mut self, contacts: impl IntoIterator<Item = (String, DeviceId)>) -> Self {
        self.contacts.extend(contacts);
        self.contacts.truncate(MAX_CONTACTS);
        self
    }

    /// As which services contacts may be found, those that are likely first. At most 8 are looked for.
    /// Default: the service without a name.
    #[must_use]
    pub fn services(mut self, services: impl IntoIterator<Item = Service>) -> Self {
        self.services = services.into_iter().take(MAX_SERVICES).collect();
        self
    }

    /// What is known about the user's files.
    #[must_use]
    pub fn home(mut self, home: HomeFacts) -> Self {
        self.home = home;
        self
    }

    /// Looks at everything, in at most [`LIMIT`]. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`ExamineError`]. What does not work is in the report.
    pub async fn run(self) -> Result<Report, ExamineError> {
        let began = Instant::now();
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| ExamineError::Randomness {
            reason: error.to_string(),
        })?;
        let facts = self.gather(began, ChaCha20Rng::from_seed(seed)).await;
        Ok(Report {
            findings: judge::judge(&facts),
            elapsed: began.elapsed(),
        })
    }

    async fn gather(self, began: Instant, mut rng: ChaCha20Rng) -> Facts {
        let deadline = began + PROBES_LIMIT;
        let sockets = probe_sockets(self.bind);
        let bound: Vec<SocketAddr> = sockets.iter().map(|socket| socket.local()).collect();
        let company = Company {
            network: self.network.as_deref().map(NetworkTag::of),
            blocked: Arc::new(self.blocklist.clone()),
        };
        let wanted = self.wanted();
        let parties = sockets.into_iter().map(|socket| {
            let local = local_ips(socket.local());
            let rng = ChaCha20Rng::from_rng(&mut rng);
            let own = (socket.local(), local.as_slice());
            (Inquiry::new(began, own, &company, &wanted, rng), socket)
        });
        let parties: Vec<_> = parties.collect();
        let saved = saved_nodes(&self.node_files, company.network, MAX_SAVED);
        let (tell, news) = mpsc::channel(64);
        let mut id = [0; 12];
        rng.fill_bytes(&mut id);

        let walk = async {
            let inquiries = inquire(parties, news).await;
            let mut relays: Vec<SocketAddr> = inquiries
                .iter()
                .flat_map(|one| one.survey().peers())
                .collect();
            relays.truncate(MAX_RELAYS);
            let answering = answering(&relays, id).await;
            (inquiries, relays, answering)
        };
        let named = self.look_names_up(tell, &saved);
        let mut relay_rng = ChaCha20Rng::from_rng(&mut rng);
        let (walk, names, routers, relays) = tokio::join!(
            by(deadline, walk),
            by(deadline, named),
            by(deadline, claims(&bound)),
            self.try_relays(deadline, &mut relay_rng),
        );
        let (inquiries, announced, answering) = walk.unwrap_or_default();
        let names = names.unwrap_or_default();
        let mut facts = Facts {
            home: self.home.clone(),
            descriptors: Descriptors {
                hard: rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum,
            },
            clock: self.clock(&inquiries),
            seeds: names.seeds,
            saved_nodes: saved.len(),
            stun: names.stun,
            routers: routers.unwrap_or_default(),
            named_relays: relays,
            announced_relays: announced,
            answering_relays: answering,
            tcp: names.tcp,
            ..Facts::default()
        };
        facts.v4 = family_facts(Family::V4, &inquiries);
        facts.v4.hops = names.hops;
        facts.v6 = family_facts(Family::V6, &inquiries);
        facts
    }

    fn wanted(&self) -> Vec<Wanted> {
        let records = self.services.iter().flat_map(|service| {
            let contacts = self.contacts.iter();
            contacts.map(|(_, id)| Wanted::Presence(*id, service.clone()))
        });
        std::iter::once(Wanted::Peers(Id::hash_of(RELAYS_PLACE)))
            .chain(records)
            .collect()
    }

    /// Looks up all names at once, tells the inquiries of them, and asks what needs an address.
    async fn look_names_up(&self, tell: mpsc::Sender<News>, saved: &[SocketAddr]) -> Names {
        let _ = tell.send(News::Nodes(saved.to_vec())).await;
        let seeds = self.bootstrap.iter().flat_map(Bootstrap::all_names);
        let seeds = seeds.map(|name| {
            let tell = &tell;
            async move {
                let addresses = look_up(&name).await;
                let _ = tell
                    .send(News::Nodes(addresses.clone().unwrap_or_default()))
                    .await;
                Named { name, addresses }
            }
        });
        let stun = async {
            let named = self.stun.iter().map(|name| async move {
                let (name, addresses) = (name.clone(), look_up(name).await);
                Named { name, addresses }
            });
            let named = futures_util::future::join_all(named).await;
            let _ = tell.send(News::Stun(one_of_each_first(&named))).await;
            named
        };
        let relays = self.relays.iter().map(|relay| async move {
            let name = host_and_port(relay);
            look_up(&name).await.unwrap_or_default()
        });
        let relays = futures_util::future::join_all(relays);
        let seeds = futures_util::future::join_all(seeds);
        let (seeds, stun, relays) = tokio::join!(seeds, stun, relays);
        drop(tell);
        let named = seeds
            .iter()
            .chain(&stun)
            .flat_map(|one| one.addresses.iter().flatten());
        let known: Vec<SocketAddr> = named.chain(saved).copied().collect();
        let mut ports: Vec<SocketAddr> = relays.iter().flatten().copied().collect();
        ports.extend(known.iter().map(|known| SocketAddr::new(known.ip(), 443)));
        ports.retain(|to| to.port() == 443);
        ports.dedup();
        ports.truncate(MAX_TCP);
        let tries = ports.into_iter().map(|to| async move {
            let outcome = try_tcp(to).await;
            TcpTry { to, outcome }
        });
        let far = known.iter().find(|known| known.is_ipv4()).copied();
        let hops = async {
            match far {
                Some(far) => hops(far).await,
                None => Vec::new(),
            }
        };
        let (tcp, hops) = tokio::join!(futures_util::future::join_all(tries), hops);
        Names {
            seeds,
            stun,
            tcp,
            hops,
        }
    }

    async fn try_relays(&self, deadline: Instant, rng: &mut ChaCha20Rng) -> Vec<RelayFacts> {
        let trials = self.relays.iter().map(|server| {
            let rng = ChaCha20Rng::from_rng(rng);
            async move {
                let outcome = by(deadline, try_server(server.clone(), rng));
                let silent = RelayOutcome::Failed {
                    transport: server.transport(),
                    error: AllocationError::Silent,
                };
                RelayFacts {
                    server: host_and_port(server),
                    outcome: outcome.await.unwrap_or(silent),
                }
            }
        });
        futures_util::future::join_all(trials).await
    }

    fn clock(&self, inquiries: &[Inquiry]) -> ClockFacts {
        let newest = |id: &DeviceId| {
            let all = inquiries.iter().filter_map(|one| one.survey().record(id));
            all.max().and_then(|seq| u64::try_from(seq).ok())
        };
        let witnesses = self
            .contacts
            .iter()
            .filter_map(|(name, id)| Some((name.clone(), Duration::from_secs(newest(id)?))));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        ClockFacts {
            now: now.unwrap_or_default(),
            is_kept: std::path::Path::new("/run/systemd/timesync/synchronized").exists(),
            asked: self.contacts.len(),
            witnesses: witnesses.collect(),
        }
    }
}

/// What came of the names.
#[derive(Default)]
struct Names {
    seeds: Vec<Named>,
    stun: Vec<Named>,
    tcp: Vec<TcpTry>,
    hops: Vec<(u8, IpAddr)>,
}

/// The addresses of all hosts, the first of each before the second of any: two hosts tell more than
/// two addresses of one.
fn one_of_each_first(named: &[Named]) -> Vec<SocketAddr> {
    let of = |one: &Named| one.addresses.clone().unwrap_or_default();
    let all: Vec<Vec<SocketAddr>> = named.iter().map(of).collect();
    let most = all.iter().map(Vec::len).max().unwrap_or_default();
    let rounds = (0..most).flat_map(|at| all.iter().filter_map(move |one| one.get(at)));
    rounds.copied().collect()
}

/// `HOST:PORT` of a relay, as it is looked up and shown.
fn host_and_port(server: &TurnServer) -> String {
    let (host, port) = (server.host(), server.port());
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

async fn try_server(server: TurnServer, rng: ChaCha20Rng) -> RelayOutcome {
    match look_up(&host_and_port(&server)).await {
        Err(reason) => RelayOutcome::NoAddress(reason),
        Ok(addresses) => match addresses.first() {
            None => RelayOutcome::NoAddress("it has no address".to_owned()),
            Some(&address) => {
                try_relay(RelayTrial {
                    address,
                    server,
                    rng,
                })
                .await
            }
        },
    }
}

/// The outcome of a probe, if it ends before `deadline`.
async fn by<T>(deadline: Instant, probe: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout_at(deadline.into(), probe).await.ok()
}

/// Addresses under which a socket can be sent to.
fn local_ips(bound: SocketAddr) -> Vec<IpAddr> {
    let all = interfaces::reachable(&[bound]);
    all.into_iter().map(|address| address.ip()).collect()
}

/// What the inquiry of a family found, and where this host stands in it.
fn family_facts(family: Family, inquiries: &[Inquiry]) -> FamilyFacts {
    let mut all = inquiries.iter().map(Inquiry::facts);
    let own = all.find(|facts| facts.bound.as_ref().map(Family::of) == Some(family));
    let mut found = own.unwrap_or_default();
    let outside = OUTSIDE[family.index()].parse().ok();
    found.source = outside.and_then(|to| source_towards(to, Mark::default()));
    let gateways = Gateways::now();
    found.gateway = match family {
        Family::V4 => gateways.v4.map(IpAddr::V4),
        Family::V6 => gateways.v6.map(|gateway| IpAddr::V6(*gateway.ip())),
    };
    if found.bound.is_none() {
        let any: SocketAddr = match family {
            Family::V4 => ([0, 0, 0, 0], 0).into(),
            Family::V6 => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        found.local = local_ips(any);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::doctor::{ANNOUNCED_LIMIT, HOPS_LIMIT, NAME_LIMIT, TCP_LIMIT};

    #[test]
    fn the_probes_of_each_chain_together_end_before_the_limit() {
        let walk = inquiry::INQUIRY_LIMIT + ANNOUNCED_LIMIT;
        let named = NAME_LIMIT + TCP_LIMIT.max(HOPS_LIMIT);
        for chain in [walk, named, crate::port_mapping::CLAIMS_LIMIT] {
            assert!(chain <= PROBES_LIMIT, "{chain:?}");
        }
        assert!(PROBES_LIMIT + Duration::from_millis(250) <= LIMIT);
    }

    #[tokio::test]
    async fn a_probe_that_never_ends_is_given_up() {
        let never = std::future::pending::<()>();
        assert_eq!(by(Instant::now(), never).await, None);
    }
}
