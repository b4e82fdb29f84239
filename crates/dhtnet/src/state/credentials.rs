//! What peers show on their connections, and who is not judged before it has shown.
//!
//! ```text
//! established ─ shows nothing, or nobody asks ─────────────────────────► judged by its id
//!      └─ said that it shows ─► awaited ─ shown, or SHOW_LIMIT is over ─► judged by all there is
//! ```
//! A peer that was connected before anybody asked is asked then, and stays for [`REPRIEVE`].
//! Requests that come while a peer is awaited are kept and judged afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use dhtnet_channel_mux::{ChannelId, ChannelRequest};
use dhtnet_identity::DeviceId;
use dhtnet_identity::policy::{
    Action, Credentials, Decision, MAX_PRESENTED_LEN, OwnedAction, Policy, Presented,
};

use crate::core::{ChannelKey, ConnectionKey};
use crate::hello::Hello;

/// Time for a peer to show what it has. It is on its way with the peer's first request, so that
/// this is one flight over the slowest path, with losses.
pub(crate) const SHOW_LIMIT: Duration = Duration::from_secs(5);

/// Time for a peer to show what it has when a policy begins to want it: a round trip over a slow
/// path, and little enough that who may not be here any more is cut within a second.
pub(crate) const REPRIEVE: Duration = Duration::from_millis(500);

/// Connections of peers that nothing lets in but what they may show, while they are awaited; the
/// next is turned away as busy. Each holds at most [`MAX_HELD_OF_STRANGERS`] requests, of 60 KiB at
/// the very worst, 64 KiB of credentials, and what the windows of a connection take.
pub(crate) const MAX_STRANGERS: usize = 64;

/// Most of those that one peer may have.
pub(crate) const MAX_STRANGERS_OF_ONE_PEER: usize = 4;

/// Requests of such a peer that are kept until it is judged: as many as every peer takes at once.
pub(crate) const MAX_HELD_OF_STRANGERS: usize = 16;

/// The same for a peer that is let in anyway: as many as channel-mux lets through.
pub(crate) const MAX_HELD: usize = 256;

/// How often a peer may show something on one connection: at the beginning, and when it has
/// renewed something. Each costs some tens of signatures.
pub(crate) const MAX_SHOWN: u32 = 64;

/// How often a peer may ask on one connection to be shown something, 64 KiB at most each time: a
/// policy changes that often only by hand.
pub(crate) const MAX_ASKED: u32 = 64;

/// One connection, as the policy sees it.
#[derive(Debug)]
pub(crate) struct Showing {
    /// What was found good of what it showed.
    pub(crate) credentials: Credentials,
    presented: Presented,
    pub(crate) hello: Hello,
    pub(crate) initiated: bool,
    /// When it is judged at the latest.
    awaited: Option<Instant>,
    /// Nothing but what it shows can let it in; it is not connected for anybody yet.
    stranger: bool,
    held: Vec<(ChannelId, ChannelRequest)>,
    arriving: Option<Arriving>,
    shown: u32,
    /// It is heard for a moment although the policy may not allow it any more, because it was only
    /// now asked to show something.
    reprieved: bool,
    /// How often it asked this side to show something.
    asked: u32,
    /// Channels that it asked for and was given, and what for: first the action of the request, then
    /// what the application required.
    granted: BTreeMap<ChannelId, Vec<OwnedAction>>,
}

/// Credentials on their way in.
#[derive(Debug)]
struct Arriving {
    channel: ChannelId,
    bytes: Vec<u8>,
}

/// A peer that was awaited.
#[derive(Debug)]
pub(crate) struct Awaited {
    pub(crate) stranger: bool,
    pub(crate) held: Vec<(ChannelId, ChannelRequest)>,
}

/// Why a peer cannot show something now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CannotShow {
    /// It does so at the moment, or did so too often.
    TooOften,
}

impl Showing {
    pub(crate) fn new(peer: DeviceId, hello: Hello, initiated: bool) -> Self {
        Self {
            credentials: Credentials::none(peer),
            presented: Presented::default(),
            hello,
            initiated,
            awaited: None,
            stranger: false,
            held: Vec::new(),
            arriving: None,
            shown: 0,
            reprieved: false,
            asked: 0,
            granted: BTreeMap::new(),
        }
    }

    pub(crate) fn is_awaited(&self) -> bool {
        self.awaited.is_some()
    }

    /// Whether nothing but what it shows can let it in, and it is not judged yet.
    pub(crate) fn is_stranger(&self) -> bool {
        self.stranger
    }

    /// Whether it is not judged yet because it was only now asked to show something.
    pub(crate) fn is_reprieved(&self) -> bool {
        self.reprieved
    }

    /// Whether it has credentials, and nothing of them is known here.
    pub(crate) fn may_show_more(&self) -> bool {
        self.hello.shows && self.presented.is_empty()
    }

    /// It wants to be shown something. Whether that may be answered.
    pub(crate) fn on_asked(&mut self) -> bool {
        let answered = self.asked < MAX_ASKED;
        if answered {
            self.asked += 1;
            self.hello.wants = true;
        }
        answered
    }

    /// Keeps a request until the peer is judged; gives it back when there are too many.
    pub(crate) fn hold(&mut self, id: ChannelId, request: ChannelRequest) -> Result<(), ()> {
        let most = match self.stranger {
            true => MAX_HELD_OF_STRANGERS,
            false => MAX_HELD,
        };
        if self.held.len() >= most {
            return Err(());
        }
        self.held.push((id, request));
        Ok(())
    }

    /// The peer is about to show something on this channel.
    pub(crate) fn begin(&mut self, channel: ChannelId) -> Result<(), CannotShow> {
        if self.arriving.is_some() || self.shown >= MAX_SHOWN {
            return Err(CannotShow::TooOften);
        }
        self.shown += 1;
        let bytes = Vec::new();
        self.arriving = Some(Arriving { channel, bytes });
        Ok(())
    }

    /// Whether something is shown on this channel.
    pub(crate) fn arrives_on(&self, channel: ChannelId) -> bool {
        let arriving = self.arriving.as_ref();
        arriving.is_some_and(|arriving| arriving.channel == channel)
    }

    /// Takes a part of it; `false` when that is too much.
    pub(crate) fn push(&mut self, part: &[u8]) -> bool {
        let Some(arriving) = &mut self.arriving else {
            return false;
        };
        let fits = arriving.bytes.len() + part.len() <= MAX_PRESENTED_LEN;
        if fits {
            arriving.bytes.extend_from_slice(part);
        }
        fits
    }

    /// Ends it, and gives what has come.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let arriving = self.arriving.take();
        arriving.map_or_else(Vec::new, |arriving| arriving.bytes)
    }

    /// Takes over what was shown, in the place of what was shown before.
    pub(crate) fn present(&mut self, presented: Presented) {
        self.presented = presented;
    }

    /// Judges anew what was shown.
    pub(crate) fn examine(&mut self, policy: &Policy, now: SystemTime) {
        let peer = *self.credentials.peer();
        self.credentials = match self.presented.is_empty() {
            true => Credentials::none(peer),
            false => policy.examine(&peer, &self.presented, now),
        };
    }

    /// Notes what the peer was given.
    pub(crate) fn grant(&mut self, channel: ChannelId, action: OwnedAction) {
        self.granted.insert(channel, vec![action]);
    }

    /// Notes what else a channel needs that the peer was given; one that has ended needs nothing.
    pub(crate) fn require(&mut self, channel: ChannelId, action: &Action<'_>) {
        if let Some(needed) = self.granted.get_mut(&channel)
            && !needed.iter().any(|one| one.as_action() == *action)
        {
            needed.push((*action).into_owned());
        }
    }

    pub(crate) fn on_closed(&mut self, channel: ChannelId) {
        self.granted.remove(&channel);
        self.held.retain(|(held, _)| *held != channel);
    }

    /// The channels that the policy no longer gives it, each with the decision.
    pub(crate) fn no_longer_granted(
        &self,
        policy: &Policy,
        now: SystemTime,
    ) -> Vec<(ChannelId, OwnedAction, Decision)> {
        let lost = self.granted.iter().filter_map(|(channel, needed)| {
            needed.iter().find_map(|action| {
                let decision = policy.decide(&self.credentials, &action.as_action(), now);
                (!decision.is_allowed()).then(|| (*channel, action.clone(), decision))
            })
        });
        lost.collect()
    }

    pub(crate) fn decide(&self, policy: &Policy, action: &Action<'_>, now: SystemTime) -> Decision {
        policy.decide(&self.credentials, action, now)
    }
}

/// All established connections, as the policy sees them.
#[derive(Debug, Default)]
pub(crate) struct Showings {
    of: BTreeMap<ConnectionKey, Showing>,
    /// Those that are awaited, by the time when they are judged at the latest.
    awaited: BTreeSet<(Instant, ConnectionKey)>,
    /// Own credentials that a connection did not take at once.
    outbox: BTreeMap<ChannelKey, bytes::Bytes>,
}

impl Showings {
    pub(crate) fn insert(&mut self, key: ConnectionKey, showing: Showing) {
        self.of.insert(key, showing);
    }

    pub(crate) fn get(&self, key: ConnectionKey) -> Option<&Showing> {
        self.of.get(&key)
    }

    pub(crate) fn get_mut(&mut self, key: ConnectionKey) -> Option<&mut Showing> {
        self.of.get_mut(&key)
    }

    pub(crate) fn keys(&self) -> Vec<ConnectionKey> {
        self.of.keys().copied().collect()
    }

    /// Waits for a peer that is let in anyway to show what it has.
    pub(crate) fn await_admitted(&mut self, now: Instant, key: ConnectionKey) {
        if let Some(showing) = self.of.get_mut(&key) {
            showing.awaited = Some(now + SHOW_LIMIT);
            self.awaited.insert((now + SHOW_LIMIT, key));
        }
    }

    /// Waits for a peer that only what it shows can let in. `false` when too many are awaited.
    pub(crate) fn await_stranger(&mut self, now: Instant, key: ConnectionKey) -> bool {
        let Some(peer) = self.of.get(&key).map(|showing| *showing.credentials.peer()) else {
            return false;
        };
        let strangers = || self.of.values().filter(|showing| showing.stranger);
        let own = strangers().filter(|showing| *showing.credentials.peer() == peer);
        if own.count() >= MAX_STRANGERS_OF_ONE_PEER || strangers().count() >= MAX_STRANGERS {
            return false;
        }
        self.await_admitted(now, key);
        if let Some(showing) = self.of.get_mut(&key) {
            showing.stranger = true;
        }
        true
    }

    /// Waits a moment for a peer that was only now asked to show what it has. One that is awaited
    /// already has no more time than before.
    pub(crate) fn reprieve(&mut self, now: Instant, key: ConnectionKey) {
        if let Some(showing) = self.of.get_mut(&key).filter(|one| one.awaited.is_none()) {
            showing.reprieved = true;
            showing.awaited = Some(now + REPRIEVE);
            self.awaited.insert((now + REPRIEVE, key));
        }
    }

    /// Ends the waiting for a peer; `None` if it was not awaited.
    pub(crate) fn take_awaited(&mut self, key: ConnectionKey) -> Option<Awaited> {
        let showing = self.of.get_mut(&key)?;
        let at = showing.awaited.take()?;
        self.awaited.remove(&(at, key));
        showing.reprieved = false;
        Some(Awaited {
            stranger: std::mem::take(&mut showing.stranger),
            held: std::mem::take(&mut showing.held),
        })
    }

    /// A peer that has been awaited long enough.
    pub(crate) fn overdue(&self, now: Instant) -> Option<ConnectionKey> {
        let (at, key) = self.awaited.first()?;
        (*at <= now).then_some(*key)
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.awaited.first().map(|(at, _)| *at)
    }

    pub(crate) fn on_connection_ended(&mut self, key: ConnectionKey) -> Option<Showing> {
        self.take_awaited(key);
        self.outbox.retain(|channel, _| channel.connection != key);
        self.of.remove(&key)
    }

    /// Keeps what is left of own credentials.
    pub(crate) fn keep_unsent(&mut self, key: ChannelKey, rest: bytes::Bytes) {
        self.outbox.insert(key, rest);
    }

    pub(crate) fn take_unsent(&mut self, key: ChannelKey) -> Option<bytes::Bytes> {
        self.outbox.remove(&key)
    }
}

/// What is kept of all peers, for tests of bounds.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) connections: usize,
    pub(crate) awaited: usize,
    pub(crate) held: usize,
    pub(crate) arriving: usize,
}

#[cfg(test)]
impl Showings {
    pub(crate) fn kept(&self) -> Kept {
        let arriving = |one: &Showing| one.arriving.as_ref().map_or(0, |part| part.bytes.len());
        Kept {
            connections: self.of.len(),
            awaited: self.awaited.len(),
            held: self.of.values().map(|one| one.held.len()).sum(),
            arriving: self.of.values().map(arriving).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use std::time::Instant;

    use dhtnet_channel_mux::{Limits, Mux, Side};
    use dhtnet_identity::DeviceKey;

    use super::*;

    fn key(generation: usize) -> ConnectionKey {
        ConnectionKey {
            slot: generation,
            generation: generation as u64,
        }
    }

    fn showing(seed: u8) -> Showing {
        let hello = Hello {
            instance: [0; 16],
            wants: false,
            shows: true,
        };
        Showing::new(DeviceKey::from_seed(&[seed; 32]).id(), hello, false)
    }

    /// Ids of channels, which only a mux gives.
    fn channels(count: usize) -> Vec<ChannelId> {
        struct NoLink;
        impl dhtnet_channel_mux::Link for NoLink {
            fn open_stream(&mut self) -> Option<dhtnet_channel_mux::StreamId> {
                None
            }
            fn accept_stream(&mut self) -> Option<dhtnet_channel_mux::StreamId> {
                None
            }
            fn write(
                &mut self,
                _: dhtnet_channel_mux::StreamId,
                _: &mut [bytes::Bytes],
            ) -> Result<usize, dhtnet_channel_mux::WriteError> {
                Err(dhtnet_channel_mux::WriteError::Closed)
            }
            fn read(
                &mut self,
                _: dhtnet_channel_mux::StreamId,
                _: usize,
            ) -> Result<Option<bytes::Bytes>, dhtnet_channel_mux::ReadError> {
                Err(dhtnet_channel_mux::ReadError::Closed)
            }
            fn finish(&mut self, _: dhtnet_channel_mux::StreamId) {}
            fn reset(&mut self, _: dhtnet_channel_mux::StreamId, _: u32) {}
            fn stop(&mut self, _: dhtnet_channel_mux::StreamId, _: u32) {}
            fn set_priority(&mut self, _: dhtnet_channel_mux::StreamId, _: i32) {}
            fn send_datagram(
                &mut self,
                _: bytes::Bytes,
            ) -> Result<(), dhtnet_channel_mux::SendDatagramError> {
                Err(dhtnet_channel_mux::SendDatagramError::Unsupported)
            }
            fn recv_datagram(&mut self) -> Option<bytes::Bytes> {
                None
            }
            fn max_datagram_size(&self) -> Option<usize> {
                None
            }
        }
        let now = Instant::now();
        let mut mux = Mux::new(Side::Initiator, Limits::default(), now);
        let mut open = || mux.open(&mut NoLink, now, ChannelRequest::stream("x"));
        (0..count).map(|_| open().unwrap()).collect()
    }

    #[test]
    fn strangers_that_are_awaited_are_bounded_also_those_of_one_peer() {
        let (now, mut table) = (Instant::now(), Showings::default());
        let mut wait = |n: usize, seed: usize| {
            table.insert(key(n), showing(seed as u8));
            table.await_stranger(now, key(n))
        };
        for n in 0..MAX_STRANGERS_OF_ONE_PEER {
            assert!(wait(n, 200));
        }
        assert!(!wait(100, 200), "one more of the same peer");
        for n in MAX_STRANGERS_OF_ONE_PEER..MAX_STRANGERS {
            assert!(wait(n, n));
        }
        assert!(!wait(101, 201), "one more of all");
        // A place becomes free when one is judged, or is gone.
        assert!(table.take_awaited(key(0)).unwrap().stranger);
        assert!(table.await_stranger(now, key(100)));
        table.on_connection_ended(key(1));
        assert!(table.await_stranger(now, key(101)));
    }

    #[test]
    fn a_peer_is_awaited_no_longer_than_the_limit() {
        let (now, mut table) = (Instant::now(), Showings::default());
        table.insert(key(1), showing(1));
        table.await_admitted(now, key(1));
        assert_eq!(table.next_deadline(), Some(now + SHOW_LIMIT));
        assert_eq!(table.overdue(now), None);
        assert_eq!(table.overdue(now + SHOW_LIMIT), Some(key(1)));
        assert!(!table.take_awaited(key(1)).unwrap().stranger);
        assert!(table.take_awaited(key(1)).is_none());
        assert_eq!(table.next_deadline(), None);
    }

    #[test]
    fn requests_of_an_awaited_peer_are_kept_up_to_a_bound() {
        let ids = channels(MAX_HELD + 1);
        let (now, mut table) = (Instant::now(), Showings::default());
        for (stranger, most) in [(true, MAX_HELD_OF_STRANGERS), (false, MAX_HELD)] {
            table.insert(key(1), showing(1));
            match stranger {
                true => assert!(table.await_stranger(now, key(1))),
                false => table.await_admitted(now, key(1)),
            }
            let one = table.get_mut(key(1)).unwrap();
            for id in &ids[..most] {
                one.hold(*id, ChannelRequest::stream("x")).unwrap();
            }
            one.hold(ids[most], ChannelRequest::stream("x"))
                .unwrap_err();
            // What the peer gave up meanwhile is forgotten.
            one.on_closed(ids[0]);
            assert_eq!(table.take_awaited(key(1)).unwrap().held.len(), most - 1);
        }
    }

    #[test]
    fn what_is_shown_is_bounded_in_length_and_in_number() {
        let id = channels(1)[0];
        let mut one = showing(1);
        one.begin(id).unwrap();
        assert_eq!(one.begin(id), Err(CannotShow::TooOften), "two at once");
        assert!(one.push(&vec![0; MAX_PRESENTED_LEN]));
        assert!(!one.push(&[0]));
        assert_eq!(one.finish().len(), MAX_PRESENTED_LEN);
        for _ in 1..MAX_SHOWN {
            one.begin(id).unwrap();
            one.finish();
        }
        assert_eq!(one.begin(id), Err(CannotShow::TooOften));
    }
}
