//! All channels of a connection, found by id, by stream and by datagram number.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use crate::channel::{Channel, Phase};
use crate::event::ChannelId;
use crate::link::StreamId;

type ById<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// The channels, and how many of them wait for what.
#[derive(Debug, Default)]
pub(crate) struct Table {
    channels: ById<ChannelId, Channel>,
    streams: ById<StreamId, ChannelId>,
    /// Ordered: its keys are the peer's choice, and a tree cannot be made slow by them.
    numbers: BTreeMap<u64, ChannelId>,
    queue: VecDeque<ChannelId>,
    pending_requests: usize,
    awaiting_answer: usize,
    open: usize,
}

impl Table {
    pub(crate) fn len(&self) -> usize {
        self.channels.len()
    }

    /// The peer's requests that are incomplete or unanswered.
    pub(crate) fn pending_requests(&self) -> usize {
        self.pending_requests
    }

    /// Our requests without an answer, queued ones not counted.
    pub(crate) fn awaiting_answer(&self) -> usize {
        self.awaiting_answer
    }

    /// Accepted by either side, and not over.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// Our opens that wait for a stream, oldest first.
    pub(crate) fn queue(&self) -> &VecDeque<ChannelId> {
        &self.queue
    }

    pub(crate) fn channel(&self, id: ChannelId) -> Option<&Channel> {
        self.channels.get(&id)
    }

    pub(crate) fn channel_mut(&mut self, id: ChannelId) -> Option<&mut Channel> {
        self.channels.get_mut(&id)
    }

    pub(crate) fn by_stream(&self, stream: StreamId) -> Option<ChannelId> {
        self.streams.get(&stream).copied()
    }

    pub(crate) fn by_number(&self, number: u64) -> Option<ChannelId> {
        self.numbers.get(&number).copied()
    }

    /// The channels in the order of their ids.
    pub(crate) fn ids(&self) -> Vec<ChannelId> {
        let mut ids: Vec<_> = self.channels.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Channel> {
        self.channels.values()
    }

    /// Adds a channel with the stream and the number that it has, if any.
    pub(crate) fn insert(&mut self, channel: Channel) {
        let id = channel.id;
        self.count_in(&channel.phase, id);
        if let Some(stream) = channel.stream {
            self.streams.insert(stream, id);
        }
        if let Some(number) = channel.number {
            self.numbers.insert(number, id);
        }
        self.channels.insert(id, channel);
    }

    /// Gives a channel its stream.
    pub(crate) fn bind_stream(&mut self, id: ChannelId, stream: StreamId) {
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.stream = Some(stream);
            self.streams.insert(stream, id);
        }
    }

    /// Gives a channel its datagram number; `false` if another has it.
    pub(crate) fn bind_number(&mut self, id: ChannelId, number: u64) -> bool {
        if self.numbers.contains_key(&number) {
            return false;
        }
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.number = Some(number);
            self.numbers.insert(number, id);
        }
        true
    }

    /// The only place where a channel's phase changes.
    pub(crate) fn move_to(&mut self, id: ChannelId, phase: Phase) {
        self.count_in(&phase, id);
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        let before = std::mem::replace(&mut channel.phase, phase);
        self.count_out(&before, id);
    }

    pub(crate) fn remove(&mut self, id: ChannelId) -> Option<Channel> {
        let channel = self.channels.remove(&id)?;
        self.count_out(&channel.phase, id);
        if let Some(stream) = channel.stream {
            self.streams.remove(&stream);
        }
        if let Some(number) = channel.number {
            self.numbers.remove(&number);
        }
        Some(channel)
    }

    fn count_in(&mut self, phase: &Phase, id: ChannelId) {
        match phase {
            Phase::Queued => self.queue.push_back(id),
            Phase::Requested(_) => self.awaiting_answer += 1,
            Phase::Receiving(_) | Phase::Offered => self.pending_requests += 1,
            Phase::Open => self.open += 1,
            Phase::Declining => {}
        }
    }

    fn count_out(&mut self, phase: &Phase, id: ChannelId) {
        match phase {
            Phase::Queued if self.queue.front() == Some(&id) => {
                self.queue.pop_front();
            }
            Phase::Queued => self.queue.retain(|queued| *queued != id),
            Phase::Requested(_) => self.awaiting_answer -= 1,
            Phase::Receiving(_) | Phase::Offered => self.pending_requests -= 1,
            Phase::Open => self.open -= 1,
            Phase::Declining => {}
        }
    }
}

/// Hashes one integer by a multiplication (Fibonacci hashing; Knuth, TAOCP vol. 3, 6.4). The keys
/// are counters of ours and stream ids, which count up too, so no peer can aim at a bucket, and
/// no randomness of the process is needed.
#[derive(Debug, Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        // The golden ratio times 2^64. Folding brings the high bits down, where the table looks.
        let product = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product ^ (product >> 32);
    }
}
