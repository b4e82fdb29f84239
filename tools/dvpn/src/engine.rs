//! Between the interface and the links: every packet is read, judged by the table, and carried or
//! counted.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use dhtnet_identity::DeviceId;
use dhtnet_identity::target::Network;
use dhtnet_vpn_core::frame::{Checksum, Reader};
use dhtnet_vpn_core::offload::{Cut, Joiner, MAX_PACKET, VNET_HEADER, VnetHeader};
use dhtnet_vpn_core::packet::{Packet, classify};
use dhtnet_vpn_core::table::{Table, TableError};
use dhtnet_vpn_core::{DropCounters, DropReason, MIN_MTU, decrement_hop_limit, mss, too_big};
use tokio::sync::watch;

use crate::interface::Interface;
use crate::link::{Link, LinkKey, Reach, same_family};
use crate::settings::Between;

/// Bytes of the interface between two turns of everything else: half of what a connection queues.
const READ_BYTES: usize = 512 << 10;

/// Packets of the interface between two turns of everything else: as many small ones as take about
/// the time that the bytes of large ones do.
const READS: usize = 128;

/// Packets of one turn from which on it is part of a burst of which more comes at once.
const BURST: usize = 4;

/// Mean size of a burst's packets, bytes: more than acknowledgements of TCP, with all their options;
/// less than the large packets of the kernel.
const LEAST_OF_BURST: usize = 256;
const MOST_OF_BURST: usize = 4_096;

/// How long the next part of a burst is waited for. It then leaves, and arrives, together: each turn
/// costs three processes a wake-up, which is most of what small packets cost. The system makes
/// about twice as much of it, still less than a burst of 64 KiB takes (`PR_SET_TIMERSLACK`, prctl(2)).
const GATHER: Duration = Duration::from_micros(50);

/// Datagrams of a peer between two turns of everything else.
const RECEIVES: usize = 1024;

/// How often paths are asked for their size.
const REFRESH: Duration = Duration::from_secs(1);

/// Whether packets from one peer to another are passed on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Hub {
    /// We are no server.
    #[default]
    None,
    /// A server that passes them on.
    Open,
    /// A server that keeps its clients apart.
    Isolated,
}

/// Carries packets.
pub(crate) struct Engine {
    interface: Interface,
    routing: Mutex<Routing>,
    drops: Mutex<DropCounters>,
    mtu: watch::Sender<u16>,
    max_mtu: u16,
}

/// Who is where.
#[derive(Default)]
struct Routing {
    links: BTreeMap<LinkKey, Arc<Link>>,
    next_key: u64,
    /// Addresses of peers that are connected.
    direct: Table<LinkKey>,
    /// Addresses of peers that are reached through a server as long as they are not connected.
    through_server: Table<LinkKey>,
    own: Vec<IpAddr>,
    /// Networks behind this machine that peers may reach.
    subnets: Vec<Network>,
    hub: Hub,
}

impl Routing {
    fn owner(&self, address: IpAddr) -> Option<LinkKey> {
        let direct = self.direct.owner(address);
        direct.or_else(|| self.through_server.owner(address))
    }

    /// Whether a packet from `address` may come from this link.
    fn accepts(&self, link: LinkKey, address: IpAddr) -> bool {
        self.direct.owner(address) == Some(link) || self.through_server.owner(address) == Some(link)
    }

    fn own_like(&self, address: IpAddr) -> Option<IpAddr> {
        let mut own = self.own.iter().copied();
        own.find(|own| same_family(*own, address))
    }
}

/// What one turn took of the interface.
#[derive(Debug, Clone, Copy, Default)]
struct Turn {
    packets: usize,
    bytes: usize,
    /// Nothing was left.
    is_drained: bool,
}

impl Turn {
    /// Whether it was several packets of the path's size or so, and all there were. Large ones are
    /// bursts already, and acknowledgements are not held up.
    fn is_burst(&self) -> bool {
        let usual = self.packets * LEAST_OF_BURST..self.packets * MOST_OF_BURST;
        self.is_drained && self.packets >= BURST && usual.contains(&self.bytes)
    }
}

/// Links that have something new to send.
type Touched = Vec<Arc<Link>>;

impl Engine {
    pub(crate) fn new(interface: Interface, max_mtu: u16, hub: Hub) -> Self {
        Self {
            interface,
            routing: Mutex::new(Routing {
                hub,
                ..Routing::default()
            }),
            drops: Mutex::default(),
            mtu: watch::Sender::new(MIN_MTU),
            max_mtu,
        }
    }

    /// Our addresses, and the networks behind us.
    pub(crate) fn set_own(&self, own: Vec<IpAddr>, subnets: Vec<Network>) {
        let mut routing = self.routing();
        routing.own = own;
        routing.subnets = subnets;
    }

    /// How a server's clients reach each other from now on; no matter for who is none.
    pub(crate) fn set_between(&self, between: Between) {
        let mut routing = self.routing();
        routing.hub = match (routing.hub, between) {
            (Hub::None, _) => Hub::None,
            (_, Between::Isolated) => Hub::Isolated,
            _ => Hub::Open,
        };
    }

    /// The MTU that the interface should have.
    pub(crate) fn mtu(&self) -> watch::Receiver<u16> {
        self.mtu.subscribe()
    }

    pub(crate) fn drops(&self) -> DropCounters {
        *self.drops.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn links(&self) -> Vec<Arc<Link>> {
        self.routing().links.values().cloned().collect()
    }

    /// Adds a link that owns these networks. An older link of the same peer is out.
    ///
    /// # Errors
    /// The network that another peer has.
    pub(crate) fn add_link(
        &self,
        reach: Reach,
        channel: dhtnet::Channel,
        networks: &[Network],
    ) -> Result<Arc<Link>, LinkError> {
        let mut routing = self.routing();
        let peer = channel.peer();
        let old: Vec<LinkKey> = routing
            .links
            .values()
            .filter(|link| link.peer == peer)
            .map(|link| link.key)
            .collect();
        for key in old {
            routing.remove(key);
        }
        let key = LinkKey(routing.next_key);
        routing.next_key += 1;
        for network in networks {
            if let Err(error) = routing.direct.insert(*network, key) {
                routing.direct.remove_owner(key);
                return Err(LinkError::Table(error));
            }
        }
        let link = match Link::new(key, reach, channel, self.max_mtu) {
            Ok(link) => Arc::new(link),
            Err(error) => {
                routing.direct.remove_owner(key);
                return Err(LinkError::Channel(error));
            }
        };
        routing.links.insert(key, link.clone());
        drop(routing);
        self.refresh();
        Ok(link)
    }

    pub(crate) fn remove_link(&self, key: LinkKey) {
        self.routing().remove(key);
    }

    /// Of these networks, those that another peer than this has.
    pub(crate) fn taken(&self, peer: &DeviceId, networks: &[Network]) -> Vec<Network> {
        let routing = self.routing();
        let is_anothers = |network: &&Network| {
            let owner = routing.direct.owner_of(network);
            let link = owner.and_then(|key| routing.links.get(&key));
            link.is_some_and(|link| link.peer != *peer)
        };
        networks.iter().filter(is_anothers).copied().collect()
    }

    /// A connected peer owns these networks from now on, instead of those it had, and its packets
    /// may go there. What another peer has stays with that one.
    pub(crate) fn set_networks(&self, peer: &DeviceId, reach: Reach, networks: &[Network]) {
        let mut routing = self.routing();
        let links = routing.links.values();
        let Some(link) = links.rev().find(|link| link.peer == *peer).cloned() else {
            return;
        };
        link.set_reach(reach);
        routing.direct.remove_owner(link.key);
        for network in networks {
            if let Err(error) = routing.direct.insert(*network, link.key) {
                tracing::warn!(%network, %error, "a network of a peer is left out");
            }
        }
    }

    /// Says which networks are reached through the server at the end of `link`, instead of those
    /// said before.
    pub(crate) fn set_through_server(&self, link: LinkKey, networks: &[Network]) {
        let mut routing = self.routing();
        routing.through_server.remove_owner(link);
        if !routing.links.contains_key(&link) {
            return;
        }
        for network in networks {
            if let Err(error) = routing.through_server.insert(*network, link) {
                tracing::warn!(%network, %error, "a network of a peer is left out");
            }
        }
    }

    fn routing(&self) -> MutexGuard<'_, Routing> {
        self.routing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, reason: DropReason) {
        self.count_many(reason, 1);
    }

    fn count_many(&self, reason: DropReason, packets: u64) {
        if packets > 0 {
            let mut drops = self.drops.lock().unwrap_or_else(PoisonError::into_inner);
            drops.add(reason, packets);
        }
    }

    fn refresh(&self) {
        let links = self.links();
        links.iter().for_each(|link| link.refresh());
        // Without anybody it stays as it was: the next one is probably the last one again.
        if let Some(mtu) = links.iter().map(|link| link.mtu()).max() {
            self.mtu
                .send_if_modified(|current| std::mem::replace(current, mtu) != mtu);
        }
    }

    /// Follows the size of the paths. Never ends.
    pub(crate) async fn run_refresh(&self) {
        loop {
            tokio::time::sleep(REFRESH).await;
            self.refresh();
        }
    }

    /// Carries what comes from the interface, until that fails.
    pub(crate) async fn run_outgoing(&self) -> io::Error {
        let mut buffer = vec![0; VNET_HEADER + MAX_PACKET];
        let mut touched = Touched::new();
        let mut turn = Turn::default();
        loop {
            if let Err(error) = self.interface.readable().await {
                return error;
            }
            if turn.is_burst() {
                // Not by the runtime's timer: whoever waits there is woken by every packet.
                std::thread::sleep(GATHER);
            }
            turn = match self.read_turn(&mut buffer, &mut touched) {
                Ok(turn) => turn,
                Err(error) => return error,
            };
            self.flush(&mut touched).await;
            if !turn.is_drained {
                // The node's own task sends them.
                tokio::task::yield_now().await;
            }
        }
    }

    /// Takes what the interface has, as much as one turn takes.
    fn read_turn(&self, buffer: &mut [u8], touched: &mut Touched) -> io::Result<Turn> {
        let mut turn = Turn::default();
        while turn.packets < READS && turn.bytes < READ_BYTES {
            let Some(len) = self.interface.try_read(buffer)? else {
                turn.is_drained = true;
                break;
            };
            turn.packets += 1;
            turn.bytes += len;
            if let Err(reason) = self.on_outgoing(&mut buffer[..len], touched) {
                self.count(reason);
            }
        }
        Ok(turn)
    }

    /// Hands over what was queued. With one peer alone, a full queue holds the interface up, so that
    /// the senders behind it notice; with several it must not.
    async fn flush(&self, touched: &mut Touched) {
        for link in touched.drain(..) {
            self.count_many(DropReason::TooBig, link.flush());
            if link.is_backed_up() && self.routing().links.len() == 1 {
                link.has_room().await;
            }
        }
    }

    fn on_outgoing(&self, bytes: &mut [u8], touched: &mut Touched) -> Result<(), DropReason> {
        let (header, bytes) = bytes
            .split_first_chunk_mut::<VNET_HEADER>()
            .ok_or(DropReason::Truncated)?;
        let header = VnetHeader::decode(*header);
        let packet = classify(bytes)?;
        let link = {
            let routing = self.routing();
            let owner = routing.owner(packet.destination);
            let owner = owner.ok_or(DropReason::NoRoute)?;
            let link = routing.links.get(&owner).ok_or(DropReason::PeerAway)?;
            link.clone()
        };
        let mtu = link.mtu();
        let checksum = match header.flags & 1 {
            0 => Checksum::Complete,
            _ => Checksum::Partial,
        };
        mss::clamp(bytes, &packet, (mtu, checksum));
        let cut = Cut::new(header, bytes, packet)?;
        if cut.largest() > usize::from(mtu) {
            // As from where it was going: what comes from an interface with an address of this
            // machine as its source the kernel drops (for IPv4, `accept_local` aside).
            let as_from = cut.packet().destination;
            let told = too_big::answer(cut.bytes(), cut.packet(), (as_from, mtu));
            if let Some(answer) = told {
                // Lost at worst, as any packet.
                let _ = self.interface.write_plain(&answer);
                return Err(DropReason::TooBig);
            }
        }
        link.queue_cut(&cut)?;
        touch(touched, &link);
        Ok(())
    }

    /// Carries what comes from a peer, until its channel ends.
    pub(crate) async fn run_incoming(&self, link: &Link) -> io::Result<()> {
        let (mut datagrams, mut touched) = (Vec::new(), Touched::new());
        let (mut reader, mut joiner) = (Reader::default(), Joiner::default());
        loop {
            let received = link
                .channel
                .recv_datagrams(&mut datagrams, RECEIVES)
                .await?;
            if received == 0 {
                return Ok(());
            }
            for datagram in datagrams.drain(..) {
                let taken = match reader.read(&datagram) {
                    Ok(Some(packet)) => self.on_incoming(link, packet, (&mut joiner, &mut touched)),
                    Ok(None) => Ok(()),
                    Err(reason) => Err(reason),
                };
                if let Err(reason) = taken {
                    self.count(reason);
                }
            }
            self.count_many(DropReason::LostHalf, reader.take_lost());
            joiner.drain(|joined| {
                if let Err(error) = self.interface.write(&joined) {
                    tracing::debug!(%error, "the interface refused a packet");
                    self.count_many(DropReason::Interface, joined.packets as u64);
                }
            });
            for link in touched.drain(..) {
                self.count_many(DropReason::TooBig, link.flush());
            }
            if received == RECEIVES {
                // There may be more, and it is not waited for.
                tokio::task::yield_now().await;
            }
        }
    }

    fn on_incoming(
        &self,
        link: &Link,
        (bytes, checksum): (Bytes, Checksum),
        (joiner, touched): (&mut Joiner, &mut Touched),
    ) -> Result<(), DropReason> {
        let packet = classify(&bytes)?;
        let routing = self.routing();
        if !routing.accepts(link.key, packet.source) {
            return Err(DropReason::SpoofedSource);
        }
        link.traffic
            .received_packets
            .fetch_add(1, Ordering::Relaxed);
        link.traffic
            .received_bytes
            .fetch_add(packet.len as u64, Ordering::Relaxed);
        let to = packet.destination;
        if routing.own.contains(&to) || routing.subnets.iter().any(|net| net.contains(to)) {
            joiner.push(&bytes, &packet, checksum);
            return Ok(());
        }
        if routing.hub != Hub::None
            && let Some(other) = routing.direct.owner(to)
            && let Some(other) = routing.links.get(&other)
        {
            if routing.hub == Hub::Isolated {
                return Err(DropReason::Isolated);
            }
            let (other, own) = (other.clone(), routing.own_like(packet.source));
            drop(routing);
            return self.pass_on((link, &other), (&bytes, &packet, checksum), (own, touched));
        }
        if link.reach() == Reach::Everywhere {
            joiner.push(&bytes, &packet, checksum);
            return Ok(());
        }
        Err(match routing.hub {
            Hub::None => DropReason::NotAllowed,
            _ => DropReason::NoRoute,
        })
    }

    /// From one peer to another.
    fn pass_on(
        &self,
        (from, to): (&Link, &Arc<Link>),
        (bytes, packet, checksum): (&[u8], &Packet, Checksum),
        (own, touched): (Option<IpAddr>, &mut Touched),
    ) -> Result<(), DropReason> {
        let bytes = &bytes[..packet.len];
        let mtu = to.mtu();
        if packet.len > usize::from(mtu)
            && let Some(own) = own
            && let Some(answer) = too_big::answer(bytes, packet, (own, mtu))
        {
            from.queue(&answer, Checksum::Complete, |_| {})?;
            self.count_many(DropReason::TooBig, from.flush());
            return Err(DropReason::TooBig);
        }
        let mut limit = Ok(());
        let mut first = [0; 20];
        let header = bytes.get(..first.len()).ok_or(DropReason::Truncated)?;
        first.copy_from_slice(header);
        decrement_hop_limit(&mut first)?;
        to.queue(bytes, checksum, |copy| {
            limit = decrement_hop_limit(copy);
            mss::clamp(copy, packet, (mtu, checksum));
        })?;
        touch(touched, to);
        limit
    }
}

fn touch(touched: &mut Touched, link: &Arc<Link>) {
    if !touched.iter().any(|other| other.key == link.key) {
        touched.push(link.clone());
    }
}

impl Routing {
    fn remove(&mut self, key: LinkKey) {
        self.links.remove(&key);
        self.direct.remove_owner(key);
        self.through_server.remove_owner(key);
    }
}

/// Why a link was not added.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// Somebody has its addresses.
    #[error(transparent)]
    Table(#[from] TableError),
    /// It is over already.
    #[error("the channel is over: {0}")]
    Channel(io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_packets_of_the_usual_size_that_were_all_are_a_burst_and_nothing_else_is() {
        let turn = |packets: usize, size: usize, is_drained: bool| Turn {
            packets,
            bytes: packets * size,
            is_drained,
        };
        assert!(turn(BURST, 1_240, true).is_burst());
        assert!(turn(READS - 1, LEAST_OF_BURST, true).is_burst());
        // A ping of any size; acknowledgements.
        assert!(!turn(BURST - 1, 1_240, true).is_burst());
        assert!(!turn(READS - 1, LEAST_OF_BURST - 1, true).is_burst());
        // Streams, and an interface that has more at once.
        assert!(!turn(BURST, MOST_OF_BURST, true).is_burst());
        assert!(!turn(READS, 1_240, false).is_burst());
        assert!(!Turn::default().is_burst());
    }
}
