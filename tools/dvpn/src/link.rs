//! One peer's datagrams: what goes out, what it may send, what was counted.

use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::BufMut;
use dhtnet::{Channel, ChannelError, DatagramBatch, DeviceId};
use dhtnet_vpn_core::frame::{self, Checksum, HALF_HEADER, Halver, WHOLE_HEADER};
use dhtnet_vpn_core::offload::Cut;
use dhtnet_vpn_core::{DropReason, MIN_MTU};
use tokio::sync::Notify;

/// Datagrams that wait for a path that is slower than what comes; the next is dropped, as a
/// router does. The queue of the connection is before it.
pub(crate) const MAX_BACKLOG: usize = 1024;

/// Names a link for the life of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LinkKey(pub(crate) u64);

/// Where a peer's packets may go, beside our own addresses and networks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Nowhere.
    #[default]
    Network,
    /// Anywhere: we are its exit.
    Everywhere,
}

/// A datagram channel to a peer, and what belongs to it.
pub(crate) struct Link {
    pub(crate) key: LinkKey,
    pub(crate) peer: DeviceId,
    /// Whether it is [`Reach::Everywhere`].
    is_everywhere: AtomicBool,
    pub(crate) channel: Channel,
    outbound: Mutex<Outbound>,
    /// Something stayed in the batch.
    backlog: Notify,
    /// The batch is empty again.
    room: Notify,
    max_datagram: AtomicUsize,
    max_mtu: u16,
    pub(crate) traffic: Traffic,
}

/// What was carried, of packets and their bytes.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) sent_packets: AtomicU64,
    pub(crate) sent_bytes: AtomicU64,
    pub(crate) received_packets: AtomicU64,
    pub(crate) received_bytes: AtomicU64,
}

struct Outbound {
    batch: DatagramBatch,
    halver: Halver,
    /// Nobody carries it any more.
    is_over: bool,
}

impl Link {
    pub(crate) fn new(
        key: LinkKey,
        reach: Reach,
        channel: Channel,
        max_mtu: u16,
    ) -> io::Result<Self> {
        let batch = channel.datagram_batch()?;
        let link = Self {
            key,
            peer: channel.peer(),
            is_everywhere: AtomicBool::new(reach == Reach::Everywhere),
            outbound: Mutex::new(Outbound {
                batch,
                halver: Halver::default(),
                is_over: false,
            }),
            backlog: Notify::new(),
            room: Notify::new(),
            max_datagram: AtomicUsize::new(0),
            max_mtu,
            traffic: Traffic::default(),
            channel,
        };
        link.refresh();
        Ok(link)
    }

    /// Where its packets may go.
    pub(crate) fn reach(&self) -> Reach {
        match self.is_everywhere.load(Ordering::Relaxed) {
            true => Reach::Everywhere,
            false => Reach::Network,
        }
    }

    /// Its packets may go there from now on.
    pub(crate) fn set_reach(&self, reach: Reach) {
        let is_everywhere = reach == Reach::Everywhere;
        self.is_everywhere.store(is_everywhere, Ordering::Relaxed);
    }

    /// Looks how large a datagram the path takes now.
    pub(crate) fn refresh(&self) {
        if let Some(max) = self.channel.max_datagram_size() {
            self.max_datagram.store(max, Ordering::Relaxed);
        }
    }

    fn max_datagram(&self) -> usize {
        self.max_datagram.load(Ordering::Relaxed)
    }

    /// Largest packet that goes to this peer, bytes.
    pub(crate) fn mtu(&self) -> u16 {
        let room = u16::try_from(frame::room(self.max_datagram())).unwrap_or(u16::MAX);
        room.min(self.max_mtu).max(MIN_MTU)
    }

    /// Queues the packets of a large one. They go with [`Link::flush`].
    pub(crate) fn queue_cut(&self, cut: &Cut<'_>) -> Result<(), DropReason> {
        let mut outbound = self.outbound();
        let count = cut.count();
        if outbound.batch.len() + count > MAX_BACKLOG {
            return Err(DropReason::QueueFull);
        }
        let kind = frame::whole(cut.checksum());
        if cut.largest() > frame::room(self.max_datagram()) {
            for index in 0..count {
                let mut packet = bytes::BytesMut::with_capacity(cut.largest());
                cut.write(index, &mut packet);
                outbound.put(&packet, (cut.checksum(), self.max_datagram()), |_| {})?;
            }
        } else {
            for index in 0..count {
                outbound.batch.push(WHOLE_HEADER + cut.largest(), |memory| {
                    memory.put_u8(kind);
                    cut.write(index, memory);
                });
            }
        }
        self.count_sent(count as u64, cut.bytes().len() as u64);
        Ok(())
    }

    /// Queues one packet, after `change` of its copy. It goes with [`Link::flush`].
    pub(crate) fn queue(
        &self,
        packet: &[u8],
        checksum: Checksum,
        change: impl FnOnce(&mut [u8]),
    ) -> Result<(), DropReason> {
        let mut outbound = self.outbound();
        if outbound.batch.len() >= MAX_BACKLOG {
            return Err(DropReason::QueueFull);
        }
        outbound.put(packet, (checksum, self.max_datagram()), change)?;
        self.count_sent(1, packet.len() as u64);
        Ok(())
    }

    fn count_sent(&self, packets: u64, bytes: u64) {
        self.traffic
            .sent_packets
            .fetch_add(packets, Ordering::Relaxed);
        self.traffic.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Hands over what the connection takes; the rest goes when it takes more. Returns how many
    /// were too large for the path, which has changed.
    pub(crate) fn flush(&self) -> u64 {
        let mut lost = 0;
        let mut outbound = self.outbound();
        while let Err(error) = self.channel.try_send_datagrams(&mut outbound.batch) {
            match ChannelError::from_io(&error) {
                Some(ChannelError::DatagramTooLarge { max }) => {
                    self.max_datagram.store(*max, Ordering::Relaxed);
                    lost += 1;
                }
                // Whoever receives hears of it too, and ends the link.
                _ => {
                    outbound.batch.clear();
                }
            }
        }
        if !outbound.batch.is_empty() {
            self.backlog.notify_one();
        }
        lost
    }

    /// Whether something waits that the connection does not take yet.
    pub(crate) fn is_backed_up(&self) -> bool {
        let outbound = self.outbound();
        !outbound.is_over && !outbound.batch.is_empty()
    }

    /// Nothing is carried here any more: what waits is dropped, and who waits for room goes on.
    pub(crate) fn close(&self) {
        let mut outbound = self.outbound();
        outbound.is_over = true;
        outbound.batch.clear();
        drop(outbound);
        self.room.notify_waiters();
    }

    /// Waits until nothing does, or never will.
    pub(crate) async fn has_room(&self) {
        loop {
            let room = self.room.notified();
            let mut room = pin!(room);
            room.as_mut().enable();
            if !self.is_backed_up() {
                return;
            }
            room.await;
        }
    }

    /// Sends what stays behind, as long as the link lives.
    pub(crate) async fn run_backlog(&self) {
        loop {
            self.backlog.notified().await;
            // The lock is not held while it waits.
            let sent = poll_fn(|cx| {
                let mut outbound = self.outbound();
                let sending = self.channel.send_datagrams(&mut outbound.batch);
                let mut sending = pin!(sending);
                sending.as_mut().poll(cx)
            });
            if let Err(error) = sent.await {
                match ChannelError::from_io(&error) {
                    Some(ChannelError::DatagramTooLarge { .. }) => self.refresh(),
                    _ => {
                        self.outbound().batch.clear();
                    }
                }
                self.flush();
            }
            self.room.notify_waiters();
        }
    }

    fn outbound(&self) -> MutexGuard<'_, Outbound> {
        self.outbound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The peer's way to us as the connection sees it, for those who look.
    pub(crate) fn report(&self) -> Option<dhtnet::ConnectionReport> {
        self.channel.connection()
    }
}

impl Outbound {
    fn put(
        &mut self,
        packet: &[u8],
        (checksum, max): (Checksum, usize),
        change: impl FnOnce(&mut [u8]),
    ) -> Result<(), DropReason> {
        if packet.len() <= frame::room(max) {
            self.batch.push(WHOLE_HEADER + packet.len(), |memory| {
                memory.put_u8(frame::whole(checksum));
                let start = memory.len();
                memory.put_slice(packet);
                change(&mut memory[start..]);
            });
            return Ok(());
        }
        if packet.len() > frame::room_in_two(max) {
            return Err(DropReason::TooBig);
        }
        let mut packet = packet.to_vec();
        change(&mut packet);
        for (header, half) in self.halver.cut(&packet, checksum) {
            self.batch.push(HALF_HEADER + half.len(), |memory| {
                memory.put_slice(&header);
                memory.put_slice(half);
            });
        }
        Ok(())
    }
}

/// Whether two addresses are of one family.
pub(crate) fn same_family(a: IpAddr, b: IpAddr) -> bool {
    a.is_ipv4() == b.is_ipv4()
}
