//! Congestion control for links that lose packets without being full.
//!
//! [`AdaptiveConfig`] makes [`Adaptive`] controllers for quinn-proto. quinn's pacer sends at
//! 1.25 windows per smoothed round trip and takes no rate from a controller, so everything here
//! acts through the window alone.
//!
//! # The model
//!
//! Three things are measured over intervals of a round trip (at least 5 ms): the delivery rate,
//! the least round trip, and the loss rate. The *base* round trip is the least of the last ten
//! seconds; what an interval's least round trip exceeds it by is the *standing queue*. The path
//! is taken to be full when
//! - the standing queue reaches a quarter of the base round trip (at least 4 ms), or
//! - packets are lost while there is a queue at all (1/16 of the base), or marked by ECN, or
//! - more than 2 % are lost beyond the *weather*, the loss rate read while draining.
//!
//! Loss without a queue and below that bound changes nothing.
//!
//! # What it does with it
//!
//! | phase | window | until |
//! |---|---|---|
//! | startup | grows by what is acknowledged | the path is full, or a queue of 1/8 of the base |
//! | drain | 0.9 × rate × base | the queue is gone |
//! | cruise | rate × (base + 1 ms) | 60 to 85 intervals, or 2.4 to 3.4 s |
//! | probe | grows by 1, 2, 4, ... packets a round | the path is full, or a queue of 4 ms (1/16 of the base) shows |
//! | share | CUBIC's curve; every loss counts, but for weather above 0.2 % | a drain, tried every 5 s, empties the queue |
//!
//! A drain that does not empty the queue shows that others keep it full; asking for less would
//! only starve us, so the controller then takes part as CUBIC would (*share*). If the queue did not
//! shrink at all, it is none: the route is longer, and the base round trip follows. What a drained
//! path still adds to the base is jitter, and allowed for. The rate is always
//! what was delivered while the path was full, hence a reaction costs neither throughput when the
//! loss was random nor more than the queue when it was not.
//!
//! Sources: the BBR draft (draft-ietf-ccwg-bbr) for the model and the pace of probing, TCP
//! Westwood (Mascolo et al., MobiCom 2001) for falling back to what was delivered, Copa (Arun and
//! Balakrishnan, NSDI 2018) for telling a queue of others from one's own, HyStart++ (RFC 9406),
//! CUBIC (RFC 9438). The numbers and the alternatives that were measured are in
//! `docs/design/0003-congestion-control.md`.
//!
//! ```
//! use std::sync::Arc;
//! use dhtnet_secure_transport::congestion::AdaptiveConfig;
//!
//! let mut transport = quinn_proto::TransportConfig::default();
//! transport.congestion_controller_factory(Arc::new(AdaptiveConfig::default()));
//! ```
//!
//! # What it does not do
//!
//! It does not pace by itself, does not scale its answer to the number of ECN marks (quinn reports
//! that there were some), does not undo a reaction to a loss that proves spurious, and does not
//! yield to others as a background transfer would (LEDBAT).

mod adaptive;
mod constants;
mod curve;
mod filter;
mod interval;
mod loss;

pub use adaptive::{Adaptive, AdaptiveConfig};
