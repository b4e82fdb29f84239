//! Streams that were accepted, and which of them makes room for another one.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::StreamId;
use crate::turn::{Framer, StreamError};

/// How long a stream may be open without an allocation.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
struct Stream {
    address: SocketAddr,
    framer: Framer,
    opened: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Streams(BTreeMap<StreamId, Stream>);

impl Streams {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn insert(&mut self, now: Instant, stream: StreamId, address: SocketAddr) {
        let framer = Framer::default();
        let opened = now;
        self.0.insert(
            stream,
            Stream {
                address,
                framer,
                opened,
            },
        );
    }

    pub(super) fn remove(&mut self, stream: StreamId) {
        self.0.remove(&stream);
    }

    pub(super) fn push(&mut self, stream: StreamId, bytes: &[u8]) {
        if let Some(found) = self.0.get_mut(&stream) {
            found.framer.push(bytes);
        }
    }

    /// The next whole frame and who sent it; none of a stream that is gone.
    pub(super) fn next_frame(
        &mut self,
        stream: StreamId,
        limit: usize,
    ) -> Result<Option<(SocketAddr, Vec<u8>)>, StreamError> {
        let Some(found) = self.0.get_mut(&stream) else {
            return Ok(None);
        };
        let frame = found.framer.next(limit)?;
        Ok(frame.map(|frame| (found.address, frame)))
    }

    /// When the first of these, those without an allocation, has been patient for long enough.
    pub(super) fn due(&self, is_idle: impl Fn(StreamId) -> bool) -> Option<Instant> {
        let idle = self.0.iter().filter(|(stream, _)| is_idle(**stream));
        idle.map(|(_, found)| found.opened + PATIENCE).min()
    }

    /// Those of them that have been.
    pub(super) fn overdue(
        &self,
        now: Instant,
        is_idle: impl Fn(StreamId) -> bool,
    ) -> Vec<StreamId> {
        let all = self.0.iter();
        let overdue =
            all.filter(|(stream, found)| now >= found.opened + PATIENCE && is_idle(**stream));
        overdue.map(|(stream, _)| *stream).collect()
    }

    /// The stream that gives way to another one: of those without an allocation the oldest of the
    /// network that has the most. Who opens many takes the places from himself.
    pub(super) fn least_wanted(&self, is_idle: impl Fn(StreamId) -> bool) -> Option<StreamId> {
        let mut by_network: BTreeMap<IpAddr, Vec<(Instant, StreamId)>> = BTreeMap::new();
        for (stream, found) in &self.0 {
            if is_idle(*stream) {
                let network = network(found.address.ip());
                let of = by_network.entry(network).or_default();
                of.push((found.opened, *stream));
            }
        }
        let most = by_network.into_values().max_by_key(Vec::len)?;
        most.into_iter().min().map(|(_, stream)| stream)
    }
}

/// An IPv4 address, or the /64 that one IPv6 host may choose its addresses from.
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}
