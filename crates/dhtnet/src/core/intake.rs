//! What comes in: every datagram, the first packets of strangers, and what is answered to them.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use dhtnet_nat_traversal::check::addressee;
use dhtnet_nat_traversal::stun::Message;
use dhtnet_secure_transport::{accepts_version, may_answer};
use quinn_proto::{ConnectionHandle, DatagramEvent, EcnCodepoint};

use super::path::{PathAddress, PathChange, Paths, VIRTUAL_REMOTE};
use super::{
    ConnectionKey, Core, MAX_CONNECTIONS, MAX_PENDING_FROM_ONE_HOST, MAX_PENDING_HANDSHAKES,
    MAX_RESPONSES, Phase,
};

const FIRST_KEY: ConnectionKey = ConnectionKey {
    slot: 0,
    generation: 0,
};
const LAST_KEY: ConnectionKey = ConnectionKey {
    slot: usize::MAX,
    generation: u64::MAX,
};

impl Core {
    /// Takes one datagram from the network.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Instant,
        from: PathAddress,
        ecn: Option<EcnCodepoint>,
        datagram: BytesMut,
    ) {
        if !accepts_version(&datagram) {
            self.dropped.foreign += 1;
            return;
        }
        self.scratch.clear();
        let handled =
            self.endpoint
                .handle(now, VIRTUAL_REMOTE, None, ecn, datagram, &mut self.scratch);
        match handled {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                self.handle_connection_datagram(now, from, handle, event);
            }
            Some(DatagramEvent::NewConnection(incoming)) => {
                self.handle_incoming(now, from, incoming);
            }
            Some(DatagramEvent::Response(transmit)) => self.respond(transmit.size, from),
            None => {}
        }
    }

    fn handle_connection_datagram(
        &mut self,
        now: Instant,
        from: PathAddress,
        handle: ConnectionHandle,
        event: quinn_proto::ConnectionEvent,
    ) {
        let Some(connection) = self.slots.get_mut(handle.0).and_then(Option::as_deref_mut) else {
            return;
        };
        let key = connection.key;
        if connection.paths.needs_proof(now, &from) {
            let before = connection.authenticated_frames();
            connection.quic.handle_event(event);
            let authenticated = connection.authenticated_frames() != before;
            if connection.paths.on_received(now, from, authenticated) == PathChange::Moved {
                connection.quic.path_changed(now);
            }
        } else {
            connection.quic.handle_event(event);
        }
        self.mark_ready(key);
    }

    /// Takes a STUN message that is for no session. Returns whether a connection knew it.
    pub(crate) fn handle_check(
        &mut self,
        now: Instant,
        from: PathAddress,
        datagram: &[u8],
    ) -> bool {
        let Some(tag) = addressee(datagram) else {
            return false;
        };
        let of_tag = self.check_tags.range((tag, FIRST_KEY)..=(tag, LAST_KEY));
        let keys: Vec<ConnectionKey> = of_tag.map(|(_, key)| *key).collect();
        for key in keys {
            let Some(connection) = self.get_mut(key) else {
                continue;
            };
            if connection.paths.handle_check(now, from, datagram) {
                self.drive(now, key);
                return true;
            }
        }
        false
    }

    /// Takes an empty STUN message. Its sender has just opened its NAT: what was sent there
    /// before is sent again.
    pub(crate) fn handle_greeting(&mut self, from: PathAddress, datagram: &[u8]) {
        if !matches!(Message::decode(datagram), Ok(Message::Indication(_))) {
            return;
        }
        let connections = self.slots.iter_mut().flatten();
        for connection in connections.filter(|c| c.phase == Phase::Handshaking) {
            let repeats = connection.paths.on_greeting(&from);
            let repeats = repeats.into_iter().map(|datagram| (datagram, from));
            self.repeats.extend(repeats);
        }
    }

    fn handle_incoming(
        &mut self,
        now: Instant,
        from: PathAddress,
        incoming: quinn_proto::Incoming,
    ) {
        if self.pending_handshakes >= MAX_PENDING_HANDSHAKES
            || self.pending_from(from.remote.ip()) >= MAX_PENDING_FROM_ONE_HOST
            || self.connections().count() >= MAX_CONNECTIONS
        {
            self.dropped.over_limit += 1;
            self.endpoint.ignore(incoming);
            return;
        }
        self.introduce(now);
        self.scratch.clear();
        match self.endpoint.accept(incoming, now, &mut self.scratch, None) {
            Ok((handle, quic)) => {
                let key = self.insert(now, handle, quic, Paths::settled(from, now));
                self.pending_handshakes += 1;
                self.mark_ready(key);
            }
            Err(error) => {
                // The cause is answered only to those who could encrypt a first packet to us.
                if let Some(transmit) = error.response.filter(|_| may_answer(&error.cause)) {
                    self.respond(transmit.size, from);
                }
            }
        }
    }

    /// Unfinished handshakes that one host began; an IPv6 host owns a /64.
    fn pending_from(&self, host: IpAddr) -> usize {
        let host = network_of(host);
        self.connections()
            .filter(|c| c.phase == Phase::Handshaking && !c.initiated)
            .filter(|c| {
                c.paths
                    .current()
                    .is_some_and(|p| network_of(p.remote.ip()) == host)
            })
            .count()
    }

    fn respond(&mut self, len: usize, to: PathAddress) {
        if self.responses.len() < MAX_RESPONSES {
            self.responses
                .push_back((Bytes::copy_from_slice(&self.scratch[..len]), to));
        }
    }
}

fn network_of(host: IpAddr) -> IpAddr {
    match host {
        IpAddr::V4(_) => host,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}
