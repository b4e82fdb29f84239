//! Simulated links and networks on a virtual clock, for tests.
//!
//! A [`Network`] is many machines that send each other datagrams: 100,000 and more in one thread,
//! with a delay for each pair, losses, NATs, deaths and partitions.
//!
//! An [`Internet`] is a few hosts with many sockets each and, between them, routers: NATs of every
//! kind (RFC 4787), one behind the other if need be, firewalls, and walls that let no UDP through.
//!
//! A [`Link`] is one direction of a path: packets enter with [`Link::send`], wait in a bounded
//! queue, leave at the line rate, travel for the one-way delay, and come out of
//! [`Link::poll_delivery`] when the [`Clock`] reaches their arrival. On the way they can be lost
//! (singly or in bursts), doubled, delayed, overtaken or marked as having met congestion.
//!
//! Nothing here opens a socket, reads the system clock or draws global randomness: the same
//! configuration, seed and calls give the same deliveries to the nanosecond. The crate knows
//! nothing of what the packets mean; an item of any type can travel.
//!
//! Left out of links: several queues each, active queue management beyond a mark threshold, and
//! rates that change with time. Give a test two links, or a second configuration, for those.
//! Left out of networks: queues and rates; a path there has a delay and a chance of loss.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use dhtnet_simnet::{Clock, Link, LinkConfig, Queue};
//!
//! let mut clock = Clock::new(Instant::now());
//! let config = LinkConfig::default()
//!     .with_rate(8_000_000)
//!     .with_delay(Duration::from_millis(20))
//!     .with_queue(Queue::Packets(100));
//! let mut link = Link::new(config, 7);
//! link.send(clock.now(), 1_000, false, "hello");
//!
//! // 1,000 bytes take 1 ms at 8 Mbit/s, then 20 ms of travel.
//! let arrival = link.next_delivery().expect("one packet is under way");
//! clock.advance_to(arrival);
//! assert_eq!(clock.elapsed(), Duration::from_millis(21));
//! assert_eq!(link.poll_delivery(clock.now()).expect("it is due").item, "hello");
//! ```

mod clock;
mod config;
mod internet;
mod link;
mod network;
mod rng;

pub use clock::Clock;
pub use config::{LinkConfig, LossBursts, Queue};
pub use internet::{
    Endpoint, HostId, Internet, NatFiltering, NatMapping, NatModel, NatPorts, Packet, Place,
    RouterConfig, RouterId, STREAM_PORT,
};
pub use link::{Delivery, Fate, Link, LinkStats};
pub use network::{
    Machine, MachineId, Nat, Network, NetworkConfig, NetworkStats, Traffic, Transmit,
};
pub use rng::Rng;
