//! One client: its protocol machine, and what it has been given.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use dhtnet_identity::DeviceId;
use turn_server_proto::api::{
    SocketAllocateError, Transmit as InnerTransmit, TurnServerApi, TurnServerPollRet,
};
use turn_server_proto::server::TurnServer;
use turn_server_proto::types::prelude::DelayedTransmitBuild;
use turn_server_proto::types::{AddressFamily, Instant as InnerInstant, TransportType};

use super::gate::Proven;
use super::quota::Bucket;
use super::wire::Parsed;
use super::{Family, Limits, NoSocket, REQUESTS_PER_SECOND, StreamId};
use crate::stun::{IntegrityKey, TransactionId};

/// How long a client may go without an allocation: he has shown his password and should ask again
/// at once.
const WITHOUT_ALLOCATION: Duration = Duration::from_secs(30);

/// How long a permission lasts (RFC 8656 section 9).
const PERMISSION_LIFETIME: Duration = Duration::from_secs(300);

/// How long a channel lasts (RFC 8656 section 12).
const CHANNEL_LIFETIME: Duration = Duration::from_secs(600);

/// The protocol machine counts nanoseconds from here.
const EPOCH: i64 = 1_000_000_000;

/// How a client is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Link {
    Datagrams(SocketAddr),
    Stream(StreamId),
}

/// A datagram that the machine lets out.
pub(super) struct Output {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) payload: Vec<u8>,
}

/// What the machine wants of the relay.
pub(super) enum Wish {
    Open(Family),
    Close(SocketAddr),
}

/// Why a request is refused before the machine sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    Permissions,
    Channels,
    ChannelTaken,
}

/// A socket that was asked for, and the answer.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) request: u64,
    pub(super) family: Family,
    pub(super) answer: Option<Result<SocketAddr, NoSocket>>,
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) id: DeviceId,
    pub(super) key: IntegrityKey,
    pub(super) relayed: BTreeSet<SocketAddr>,
    pub(super) asked: Vec<Asked>,
    pub(super) bytes: Bucket,
    pub(super) requests: Bucket,
    /// The last answer to a request for an allocation, to be given again.
    pub(super) reply: Option<(TransactionId, Vec<u8>)>,
    /// The request for an allocation that is being worked on.
    pub(super) working_on: Option<TransactionId>,
    pub(super) wake: Instant,
    /// When it sent something for the last time.
    pub(super) heard: Instant,
    machine: TurnServer,
    base: Instant,
    since: Instant,
    listen: SocketAddr,
    address: SocketAddr,
    permissions: BTreeMap<IpAddr, Instant>,
    channels: BTreeMap<u16, (SocketAddr, Instant)>,
}

impl Client {
    /// `realm` is that of the relay.
    pub(super) fn new(
        now: Instant,
        (listen, address): (SocketAddr, SocketAddr),
        proven: Proven,
        realm: &str,
        limits: &Limits,
    ) -> Self {
        let Proven { id, key, password } = proven;
        let mut machine = TurnServer::new(TransportType::Udp, listen, realm.to_owned());
        machine.add_user(id.to_string(), password.as_str().to_owned());
        Self {
            id,
            key,
            relayed: BTreeSet::new(),
            asked: Vec::new(),
            bytes: Bucket::new(now, limits.bytes_per_second),
            requests: Bucket::new(now, REQUESTS_PER_SECOND),
            reply: None,
            working_on: None,
            wake: now + WITHOUT_ALLOCATION,
            heard: now,
            machine,
            base: now,
            since: now,
            listen,
            address,
            permissions: BTreeMap::new(),
            channels: BTreeMap::new(),
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A frame from the client.
    pub(super) fn on_frame(&mut self, now: Instant, frame: &[u8]) -> Option<Output> {
        self.heard = now;
        self.machine_recv(now, frame, self.address, self.listen)
    }

    /// A datagram from a peer to a relayed address.
    pub(super) fn on_peer(
        &mut self,
        now: Instant,
        relayed: SocketAddr,
        from: SocketAddr,
        payload: &[u8],
    ) -> Option<Output> {
        self.machine_recv(now, payload, from, relayed)
    }

    fn machine_recv(
        &mut self,
        now: Instant,
        bytes: &[u8],
        from: SocketAddr,
        to: SocketAddr,
    ) -> Option<Output> {
        let transmit = InnerTransmit::new(bytes, TransportType::Udp, from, to);
        let built = self.machine.recv(transmit, self.at(now))?;
        Some(Output {
            from: built.from,
            to: built.to,
            payload: built.data.build(),
        })
    }

    /// Counts the peers of a request for permissions.
    pub(super) fn note_permissions(
        &mut self,
        now: Instant,
        peers: &[SocketAddr],
        limits: &Limits,
    ) -> Result<(), Full> {
        self.permissions.retain(|_, until| *until > now);
        let new: BTreeSet<IpAddr> = peers
            .iter()
            .map(SocketAddr::ip)
            .filter(|ip| !self.permissions.contains_key(ip))
            .collect();
        if self.permissions.len() + new.len() > limits.permissions {
            return Err(Full::Permissions);
        }
        for peer in peers {
            self.permissions
                .insert(peer.ip(), now + PERMISSION_LIFETIME);
        }
        Ok(())
    }

    /// Counts a channel. A number belongs to one peer until it has expired, and some more
    /// (RFC 8656 section 12).
    pub(super) fn note_channel(
        &mut self,
        now: Instant,
        (number, peer): (u16, SocketAddr),
        limits: &Limits,
    ) -> Result<(), Full> {
        self.channels.retain(|_, (_, until)| *until > now);
        let taken = self
            .channels
            .iter()
            .any(|(&other, &(bound, _))| (other == number) != (bound == peer));
        if taken {
            return Err(Full::ChannelTaken);
        }
        if !self.channels.contains_key(&number) && self.channels.len() >= limits.channels {
            return Err(Full::Channels);
        }
        self.note_permissions(now, &[peer], limits)?;
        self.channels.insert(number, (peer, now + CHANNEL_LIFETIME));
        Ok(())
    }

    /// The peer of a channel.
    pub(super) fn channel_peer(&self, number: u16) -> Option<SocketAddr> {
        self.channels.get(&number).map(|(peer, _)| *peer)
    }

    /// Whether a frame is an answer to the request for an allocation; then it is kept.
    pub(super) fn keep_reply(&mut self, frame: &[u8]) {
        let Some(parsed) = Parsed::new(frame) else {
            return;
        };
        if self.working_on == Some(parsed.id) {
            self.working_on = None;
            self.reply = Some((parsed.id, frame.to_vec()));
        }
    }

    /// What the machine wants, until it is content.
    pub(super) fn wishes(&mut self, now: Instant) -> Vec<Wish> {
        let at = self.at(now);
        let mut wishes = Vec::new();
        // Two sockets at most are opened and closed at once, and nothing else is asked for.
        for _ in 0..16 {
            match self.machine.poll(at) {
                TurnServerPollRet::AllocateSocket { family, .. } => {
                    wishes.push(Wish::Open(match family {
                        AddressFamily::IPV4 => Family::V4,
                        AddressFamily::IPV6 => Family::V6,
                    }));
                }
                TurnServerPollRet::SocketClose { listen_addr, .. } => {
                    wishes.push(Wish::Close(listen_addr));
                }
                TurnServerPollRet::TcpConnect { .. } | TurnServerPollRet::TcpClose { .. } => {}
                TurnServerPollRet::WaitUntil(until) => {
                    let after = until.as_nanos().saturating_sub(at.as_nanos());
                    let after = Duration::from_nanos(u64::try_from(after).unwrap_or(0));
                    // It expires things a moment after the time it names.
                    self.wake = now + after + Duration::from_millis(1);
                    break;
                }
            }
        }
        wishes
    }

    /// Sees to it that a client without an allocation is looked at again when its time is over.
    pub(super) fn watch_the_end(&mut self) {
        if self.relayed.is_empty() && self.asked.is_empty() {
            self.wake = self.wake.min(self.since + WITHOUT_ALLOCATION);
        }
    }

    /// Answers of the machine that had to wait for a socket.
    pub(super) fn poll_output(&mut self, now: Instant) -> Option<Output> {
        let transmit = self.machine.poll_transmit(self.at(now))?;
        Some(Output {
            from: transmit.from,
            to: transmit.to,
            payload: transmit.data,
        })
    }

    /// Tells the machine of its sockets, once all have been answered. The last one told decides
    /// whether the machine remembers the client, so failures are told first.
    pub(super) fn tell_sockets(&mut self, now: Instant) {
        if self.asked.iter().any(|asked| asked.answer.is_none()) {
            return;
        }
        let at = self.at(now);
        let mut asked = std::mem::take(&mut self.asked);
        asked.sort_by_key(|asked| matches!(asked.answer, Some(Ok(_))));
        for Asked { family, answer, .. } in asked {
            let Some(answer) = answer else { continue };
            if let Ok(relayed) = answer {
                self.relayed.insert(relayed);
            }
            let answer = answer.map_err(|error| match error {
                NoSocket::FamilyUnavailable => SocketAllocateError::AddressFamilyNotSupported,
                NoSocket::Exhausted => SocketAllocateError::InsufficientCapacity,
            });
            let family = match family {
                Family::V4 => AddressFamily::IPV4,
                Family::V6 => AddressFamily::IPV6,
            };
            let udp = TransportType::Udp;
            self.machine
                .allocated_socket(udp, self.listen, self.address, udp, family, answer, at);
        }
    }

    /// Whether nothing is left of it.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.relayed.is_empty() && self.asked.is_empty() && now >= self.since + WITHOUT_ALLOCATION
    }

    /// Its allocation was closed: it may ask for another one for a while.
    pub(super) fn on_closed(&mut self, now: Instant, relayed: SocketAddr) {
        self.relayed.remove(&relayed);
        self.reply = None;
        self.permissions.clear();
        self.channels.clear();
        self.since = now;
    }

    fn at(&self, now: Instant) -> InnerInstant {
        let elapsed = now.saturating_duration_since(self.base).as_nanos();
        InnerInstant::from_nanos(EPOCH.saturating_add(i64::try_from(elapsed).unwrap_or(i64::MAX)))
    }
}
