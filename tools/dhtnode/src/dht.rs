//! The library's DHT, in the plain values of this tool: what the library calls things is known
//! here and nowhere else.

mod relay;
mod values;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dhtnet::dht::item::{MutableItem, mutable_target};
use dhtnet::dht::{
    AnnouncePort, Bootstrap, Counters, Dht, DhtBuildError, DhtError, DhtSettings, Item, METHODS,
    Participation, Publication,
};
use dhtnet_cli::failure::chain;
use dhtnet_cli::flags::{NetworkName, Seed};
use dhtnet_cli::{ExitCode, Failure, StateFile};
use dhtnet_identity::DeviceKey;
use futures_util::StreamExt;

use crate::relay::RelayPlan;
use crate::reports::{Found, Known, Looked, Pong, Refusal, Sampled, SignedItem, Stored};
use crate::stats::{Kept, Stats, Table, Traffic};

pub(crate) use dhtnet::dht::item::ItemSigner;
pub(crate) use dhtnet::dht::{Blocklist, Contact, Family, Id};
pub(crate) use relay::RelayState;
pub(crate) use values::{NewValue, Values, Wanted};

/// Whether others are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Serving {
    /// Once it is known that they can reach this node.
    WhenReachable,
    /// Never (BEP 43).
    Never,
}

/// Under which port this host is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnnouncedPort {
    /// That of this node's socket.
    Own,
    /// The one that the others see.
    Implied,
    /// This one.
    Number(u16),
}

/// How something is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storing {
    /// Once, on the nearest nodes.
    Once,
    /// Once, on this node.
    At(SocketAddr),
    /// Again and again, also after the next start.
    Always,
}

/// How a node is set up.
pub(crate) struct Settings {
    pub(crate) bind: SocketAddr,
    pub(crate) seeds: Vec<Seed>,
    pub(crate) network: Option<NetworkName>,
    pub(crate) serving: Serving,
    pub(crate) blocklist: Option<Blocklist>,
    /// Remembers the nodes and what is permanent.
    pub(crate) state_file: Option<StateFile>,
    /// Opens the values that are encrypted to this device.
    pub(crate) key: Option<DeviceKey>,
    /// It relays for others too.
    pub(crate) relay: Option<RelayPlan>,
}

impl Settings {
    /// Enters the network by these addresses as well.
    pub(crate) fn enter_by(&mut self, addresses: &[SocketAddr]) {
        let seeds = addresses.iter().map(|at| Seed::Host(at.to_string()));
        self.seeds.extend(seeds);
    }
}

/// A node of the DHT; clones are the same node.
#[derive(Clone)]
pub(crate) struct Network {
    dht: Dht,
    key: Option<DeviceKey>,
    state_file: Option<Arc<StateFile>>,
    /// Why nobody was found when it was first waited for.
    alone: Arc<OnceLock<DhtError>>,
}

impl Network {
    /// Starts a node.
    pub(crate) async fn open(settings: Settings) -> Result<Self, Failure> {
        let bootstrap = settings.seeds.into_iter().map(|seed| match seed {
            Seed::Mainline => Bootstrap::Mainline,
            Seed::Host(host) => match host.parse() {
                Ok(address) => Bootstrap::Address(address),
                Err(_) => Bootstrap::Host(host),
            },
        });
        let mut dht =
            DhtSettings::default()
                .bootstrap(bootstrap)
                .participation(match settings.serving {
                    Serving::WhenReachable => Participation::Adaptive,
                    Serving::Never => Participation::ReadOnly,
                });
        if let Some(name) = settings.network {
            dht = dht.network(name.as_str());
        }
        if let Some(list) = settings.blocklist {
            dht = dht.blocklist(list);
        }
        if let Some(file) = &settings.state_file {
            dht = dht.state_file(file.path());
        }
        if let Some(key) = &settings.key {
            dht = dht.owner(key.clone());
        }
        let mut builder = Dht::builder().bind(settings.bind).settings(dht);
        if let Some(plan) = settings.relay {
            builder = builder.relay(relay::settings(plan));
        }
        let dht = builder.build().await;
        Ok(Self {
            dht: dht.map_err(|error| build_failure(&error))?,
            key: settings.key,
            state_file: settings.state_file.map(Arc::new),
            alone: Arc::default(),
        })
    }

    /// The addresses of the sockets.
    pub(crate) fn local_addresses(&self) -> Vec<SocketAddr> {
        self.dht.local_addresses()
    }

    /// The same as this host reaches them.
    pub(crate) fn loopback_addresses(&self) -> Vec<SocketAddr> {
        let of_this_host = |address: SocketAddr| match address {
            SocketAddr::V4(v4) if v4.ip().is_unspecified() => {
                SocketAddr::from((Ipv4Addr::LOCALHOST, v4.port()))
            }
            SocketAddr::V6(v6) if v6.ip().is_unspecified() => {
                SocketAddr::from((Ipv6Addr::LOCALHOST, v6.port()))
            }
            other => other,
        };
        self.local_addresses()
            .into_iter()
            .map(of_this_host)
            .collect()
    }

    /// The ids, one for each family.
    pub(crate) fn ids(&self) -> Vec<(Family, Id)> {
        let ids = Family::ALL.map(|family| Some((family, self.dht.id(family)?)));
        ids.into_iter().flatten().collect()
    }

    /// This node's addresses as several others see them.
    pub(crate) fn external(&self) -> Vec<(Family, SocketAddr)> {
        let seen = Family::ALL.map(|family| Some((family, self.dht.external(family)?)));
        seen.into_iter().flatten().collect()
    }

    /// Waits until there is somebody to ask. A node that has nobody to enter by is ready at once.
    /// Who has once waited in vain is told so at once from then on; the node goes on trying.
    pub(crate) async fn ready(&self) -> Result<(), Failure> {
        let ready = self.dht.ready();
        let tried = match self.alone.get() {
            None => ready.await,
            Some(alone) => match tokio::time::timeout(Duration::ZERO, ready).await {
                Ok(tried) => tried,
                Err(_) => return Err(failure(alone)),
            },
        };
        tried.map_err(|error| failure(self.alone.get_or_init(|| error)))
    }

    /// Whether a node of any family is known that answers.
    pub(crate) fn has_found_others(&self) -> bool {
        self.dht.nodes().iter().any(|node| node.good)
    }

    /// The counters.
    pub(crate) fn stats(&self) -> Stats {
        let stats = self.dht.stats();
        let tables = stats.families.iter().map(|of| {
            let table = Table {
                good: of.good as u64,
                questionable: of.nodes.saturating_sub(of.good) as u64,
                network_size: Some(of.estimated_size).filter(|_| of.nodes > 0),
            };
            (
                if of.family == Family::V4 {
                    "IPv4"
                } else {
                    "IPv6"
                },
                table,
            )
        });
        let counters = stats.counters;
        Stats {
            tables: tables.collect(),
            received: received(&counters),
            sent: Traffic {
                count: counters.sent,
                bytes: counters.sent_bytes,
                messages: by_method(&counters.queries_out),
            },
            dropped: named(&[
                ("malformed", counters.malformed),
                ("unsolicited", counters.unsolicited),
                ("other network", counters.foreign),
                ("rate", counters.limited),
                ("blocked", counters.blocked),
            ]),
            unanswered: counters.unanswered,
            stored: Kept {
                peers: stats.stored.peers as u64,
                items: stats.stored.items as u64,
                values: stats.stored.values as u64,
                listeners: stats.stored.listeners as u64,
            },
            lookups: counters.lookups,
            uptime: stats.uptime,
            nodes: 1,
            ready: usize::from(stats.families.iter().any(|of| of.ready)),
            read_only: usize::from(stats.read_only),
            relay: self.relay().map(|relay| relay.traffic),
        }
    }

    /// The nodes that this one knows.
    pub(crate) fn nodes(&self) -> Vec<Known> {
        let nodes = self.dht.nodes().into_iter();
        nodes
            .map(|node| Known {
                contact: node.contact,
                speaks_values: node.extension,
                round_trip: node.round_trip,
                is_good: node.good,
            })
            .collect()
    }

    /// From now on these addresses are neither asked nor answered.
    pub(crate) fn block(&self, list: Blocklist) {
        self.dht.set_blocklist(list);
    }

    /// Whether the next start remembers what this node does.
    pub(crate) fn is_remembered(&self) -> bool {
        self.state_file.as_ref().is_some_and(|file| file.is_first())
    }

    /// Saves what the node knows and ends it.
    pub(crate) async fn shutdown(&self) {
        self.dht.shutdown().await;
    }

    pub(crate) async fn ping(&self, address: SocketAddr) -> Result<Pong, Failure> {
        let pong = self
            .dht
            .ping(address)
            .await
            .map_err(|error| failure(&error))?;
        Ok(Pong {
            id: pong.contact.id,
            round_trip: pong.round_trip,
            version: pong.version,
            external: pong.external,
            extension: pong.extension,
        })
    }

    /// The nodes nearest to `target`, or those that one node tells of.
    pub(crate) async fn find_node(
        &self,
        target: Id,
        via: Option<SocketAddr>,
    ) -> Result<Vec<Contact>, Failure> {
        let found = match via {
            Some(address) => self.dht.at(address).find_node(target).await,
            None => self.dht.closest(target).await.map(|report| report.closest),
        };
        found.map_err(|error| failure(&error))
    }

    pub(crate) async fn closest(&self, target: Id) -> Result<Looked, Failure> {
        let report = self
            .dht
            .closest(target)
            .await
            .map_err(|error| failure(&error))?;
        Ok(Looked {
            closest: report.closest,
            hops: report.hops.into(),
            queries: report.queries.into(),
            elapsed: report.elapsed,
        })
    }

    pub(crate) async fn peers(&self, hash: Id, via: Option<SocketAddr>) -> Result<Peers, Failure> {
        let peers = match via {
            Some(address) => self.dht.at(address).get_peers(hash).await,
            None => self.dht.get_peers(hash).await,
        };
        peers.map(Peers).map_err(|error| failure(&error))
    }

    pub(crate) async fn announce(
        &self,
        hash: Id,
        port: AnnouncedPort,
        storing: Storing,
    ) -> Result<Stored, Failure> {
        let own = || self.local_addresses().first().map(SocketAddr::port);
        let port = match port {
            AnnouncedPort::Implied => AnnouncePort::Implied,
            AnnouncedPort::Number(port) => AnnouncePort::Number(port),
            AnnouncedPort::Own => own().map_or(AnnouncePort::Implied, AnnouncePort::Number),
        };
        stored(match storing {
            Storing::Once => self.dht.announce(hash, port).await,
            Storing::At(address) => self.dht.at(address).announce(hash, port).await,
            Storing::Always => self.dht.publish(Publication::Peer(hash, port)).await,
        })
    }

    pub(crate) async fn sample(
        &self,
        address: SocketAddr,
        target: Option<Id>,
    ) -> Result<Sampled, Failure> {
        let own = self.dht.id(Family::of(&address)).unwrap_or_default();
        let sample = self.dht.sample(address, target.unwrap_or(own)).await;
        let sample = sample.map_err(|error| failure(&error))?;
        Ok(Sampled {
            samples: sample.samples,
            interval: sample.interval,
            count: sample.count,
            nodes: sample.nodes,
        })
    }

    /// The item at `target`; of one that can be changed, the newest.
    pub(crate) async fn item(
        &self,
        target: Id,
        salt: &[u8],
        via: Option<SocketAddr>,
    ) -> Result<Option<Found>, Failure> {
        let item = match via {
            Some(address) => self.dht.at(address).get_item(target, salt).await,
            None => self.dht.get_item(target, salt).await,
        };
        Ok(match item.map_err(|error| failure(&error))? {
            None => None,
            Some(Item::Immutable(encoded)) => Some(Found::Immutable { encoded }),
            Some(Item::Mutable(item)) => Some(Found::Mutable(signed_item(&item))),
        })
    }

    pub(crate) async fn put_immutable(
        &self,
        encoded: Vec<u8>,
        storing: Storing,
    ) -> Result<Stored, Failure> {
        stored(match storing {
            Storing::Once => self.dht.put_immutable(&encoded).await,
            Storing::At(address) => self.dht.at(address).put_immutable(&encoded).await,
            Storing::Always => self.dht.publish(Publication::Immutable(encoded)).await,
        })
    }

    pub(crate) async fn put_mutable(
        &self,
        item: MutableItem,
        cas: Option<i64>,
        storing: Storing,
    ) -> Result<Stored, Failure> {
        stored(match storing {
            Storing::Once => self.dht.put_mutable(item, cas).await,
            Storing::At(address) => self.dht.at(address).put_mutable(item, cas).await,
            Storing::Always => self.dht.publish(Publication::Mutable(item)).await,
        })
    }
}

/// Peers, as they are found.
pub(crate) struct Peers(dhtnet::dht::Peers);

impl Peers {
    /// The next one; none when the look-up is over.
    pub(crate) async fn next(&mut self) -> Option<SocketAddr> {
        self.0.next().await
    }
}

/// Where the item of this public key and salt lies.
pub(crate) fn target_of(public: &[u8; 32], salt: &[u8]) -> Id {
    mutable_target(public, salt)
}

/// Signs an item.
pub(crate) fn sign_item(
    signer: &ItemSigner,
    salt: &[u8],
    seq: i64,
    encoded: &[u8],
) -> Result<MutableItem, Failure> {
    MutableItem::sign(signer, salt, seq, encoded).map_err(|error| failure(&DhtError::Item(error)))
}

/// An item as it is shown.
pub(crate) fn signed_item(item: &MutableItem) -> SignedItem {
    SignedItem {
        encoded: item.value().to_vec(),
        key: *item.key(),
        salt: item.salt().to_vec(),
        seq: item.seq(),
        signature: *item.signature(),
    }
}

fn stored(stored: Result<dhtnet::dht::Stored, DhtError>) -> Result<Stored, Failure> {
    let stored = stored.map_err(|error| failure(&error))?;
    let refused = stored.refused.into_iter();
    Ok(Stored {
        target: stored.target,
        acknowledged: stored.acknowledged,
        refused: refused
            .map(|refusal| Refusal {
                address: refusal.address,
                code: refusal.code,
                text: refusal.text,
            })
            .collect(),
        silent: stored.silent,
        is_kept_here: stored.stored_here,
    })
}

fn received(counters: &Counters) -> Traffic {
    let mut messages = by_method(&counters.queries_in);
    messages.extend(named(&[
        ("answers", counters.answers),
        ("refusals", counters.refusals),
    ]));
    Traffic {
        count: counters.received,
        bytes: counters.received_bytes,
        messages,
    }
}

fn by_method(counts: &[u64; METHODS.len()]) -> BTreeMap<String, u64> {
    let methods = METHODS.iter().zip(counts);
    methods
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect()
}

fn named(counts: &[(&str, u64)]) -> BTreeMap<String, u64> {
    counts
        .iter()
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect()
}

fn build_failure(error: &DhtBuildError) -> Failure {
    let failure = Failure::failed(format!("cannot start: {}", chain(error)));
    match error {
        DhtBuildError::RelayPort { .. } => failure.advise("try another --relay-tcp PORT"),
        _ => failure.advise("try another --bind ADDR:PORT"),
    }
}

/// What the user is told of an error of the library.
fn failure(error: &DhtError) -> Failure {
    let unreachable = || Failure::new(ExitCode::Unreachable, chain(error));
    match error {
        DhtError::NobodyAnswered { .. } => {
            unreachable().advise("or enter by another node: --bootstrap HOST:PORT")
        }
        DhtError::NoAddress { .. } | DhtError::NoAnswer(_) => unreachable(),
        DhtError::Item(error) => {
            let failure = Failure::usage(format!("this cannot be stored: {error}"));
            match error.code().code() {
                205 => failure.advise("shorten it, or store it as a value: put --at KEY"),
                207 => failure.advise("shorten it"),
                203 => failure.advise("without --raw the value is encoded for you"),
                _ => failure,
            }
        }
        DhtError::Save { .. } => {
            Failure::failed(chain(error)).advise("it would be lost at the next start")
        }
        _ => Failure::failed(chain(error)),
    }
}
