//! The knobs of a connection, their defaults and what they cost.

use std::{fmt, sync::Arc, time::Duration};

use quinn_proto::{
    AckFrequencyConfig, IdleTimeout, MtuDiscoveryConfig, StdSystemTime, TimeSource,
    TransportConfig, VarInt,
    congestion::{BbrConfig, ControllerFactory, CubicConfig, NewRenoConfig},
};

use crate::{congestion::AdaptiveConfig, framing::MAX_HANDSHAKE_MESSAGE_LEN};

/// Smallest UDP payload QUIC works with, in bytes (RFC 9000 section 14).
pub const MIN_MTU: u16 = 1_200;

/// Largest UDP payload, in bytes: 65,535 less the UDP header.
pub const MAX_MTU: u16 = 65_527;

/// What decides how much may be in flight.
#[derive(Clone)]
#[non_exhaustive]
pub enum Congestion {
    /// CUBIC (RFC 9438).
    Cubic,
    /// NewReno as in RFC 9002: for comparison.
    NewReno,
    /// Our own: keeps its rate under random loss without filling queues
    /// ([`AdaptiveConfig`]).
    Adaptive,
    /// BBR version 1: keeps its rate under random loss, floods shallow queues.
    Bbr,
    /// Any other controller.
    Custom(Arc<dyn ControllerFactory + Send + Sync>),
}

impl Congestion {
    fn factory(&self) -> Arc<dyn ControllerFactory + Send + Sync> {
        match self {
            Self::Cubic => Arc::new(CubicConfig::default()),
            Self::NewReno => Arc::new(NewRenoConfig::default()),
            Self::Adaptive => Arc::new(AdaptiveConfig::default()),
            Self::Bbr => Arc::new(BbrConfig::default()),
            Self::Custom(factory) => Arc::clone(factory),
        }
    }
}

impl fmt::Debug for Congestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cubic => "Cubic",
            Self::NewReno => "NewReno",
            Self::Adaptive => "Adaptive",
            Self::Bbr => "Bbr",
            Self::Custom(_) => "Custom",
        })
    }
}

/// Settings that no connection can work with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The idle timeout is zero or above 2^62 milliseconds.
    #[error("the idle timeout is zero or too long")]
    IdleTimeout,
    /// The keep-alive interval is zero or not shorter than the idle timeout.
    #[error("the keep-alive interval is zero or not shorter than the idle timeout")]
    KeepAlive,
    /// A window is zero, or a stream's is larger than the connection's.
    #[error("a window is zero, or the stream window is larger than the connection window")]
    Window,
    /// An MTU is outside [`MIN_MTU`]..=[`MAX_MTU`], or the first is above the upper bound.
    #[error("an MTU is out of range, or the initial one is above the upper bound")]
    Mtu,
    /// The crypto buffer cannot hold one handshake message.
    #[error("the crypto buffer is smaller than a handshake message")]
    CryptoBuffer,
    /// Zero packets per acknowledgement.
    #[error("the acknowledgement interval is zero packets")]
    AckInterval,
}

/// How connections behave. The defaults are chosen for bulk speed on long paths.
///
/// Worst-case memory of one connection is the connection window (16 MiB) plus the send window
/// (8 MiB) plus both datagram buffers (2 MiB): about 26 MiB, reached only by a peer that sends and
/// acknowledges nothing of ours while nobody reads what it sent.
///
/// ```
/// use std::time::Duration;
/// use dhtnet_secure_transport::TransportSettings;
///
/// let settings = TransportSettings::default()
///     .idle_timeout(Duration::from_secs(60))
///     .stream_window(1 << 20);
/// assert!(settings.check().is_ok());
/// assert!(settings.connection_window(1).check().is_err());
/// ```
#[derive(Clone)]
pub struct TransportSettings {
    idle_timeout: Duration,
    keep_alive: Option<Duration>,
    initial_rtt: Duration,
    stream_window: u32,
    connection_window: u32,
    send_window: u32,
    max_bidi_streams: u32,
    max_uni_streams: u32,
    datagram_receive_buffer: usize,
    datagram_send_buffer: usize,
    initial_mtu: u16,
    mtu_upper_bound: u16,
    ack_interval: Option<u32>,
    congestion: Congestion,
    send_fairness: bool,
    crypto_buffer: usize,
    segmentation_offload: bool,
    wall_clock: Arc<dyn TimeSource>,
}

impl Default for TransportSettings {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(30),
            keep_alive: Some(Duration::from_secs(10)),
            initial_rtt: Duration::from_millis(333),
            stream_window: 2 << 20,
            connection_window: 16 << 20,
            send_window: 8 << 20,
            max_bidi_streams: 1_024,
            max_uni_streams: 0,
            datagram_receive_buffer: 1 << 20,
            datagram_send_buffer: 1 << 20,
            initial_mtu: MIN_MTU,
            mtu_upper_bound: 1_472,
            ack_interval: Some(10),
            congestion: Congestion::Adaptive,
            send_fairness: true,
            crypto_buffer: 16 << 10,
            segmentation_offload: true,
            wall_clock: Arc::new(StdSystemTime),
        }
    }
}

impl TransportSettings {
    /// Time without a packet from the peer after which a connection is over. The smaller of both
    /// sides' values holds. Default 30 s (RFC 9308 section 3.2).
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Silence after which a packet is sent to keep the connection and the NAT's mapping; `None`
    /// for never. Default 10 s: three tries within the idle timeout, and shorter than the mapping
    /// life of most NATs (RFC 4787 section 4.3 asks for two minutes, 30 s is common).
    pub fn keep_alive(mut self, interval: Option<Duration>) -> Self {
        self.keep_alive = interval;
        self
    }

    /// Round-trip time to assume before one was measured; the first retransmission comes after
    /// three of it. Default 333 ms (RFC 9002 section 6.2.2).
    pub fn initial_rtt(mut self, rtt: Duration) -> Self {
        self.initial_rtt = rtt;
        self
    }

    /// Bytes a peer may have in flight or unread on one stream. Default 2 MiB: 40 MiB/s at 50 ms.
    /// More than that risks the connection: quinn-proto 0.11 closes it when the data of one stream
    /// is in over 1,024 pieces, which heavy loss in a window of 4 MiB can reach.
    /// Memory: as much per stream, all streams together at most the connection window.
    pub fn stream_window(mut self, bytes: u32) -> Self {
        self.stream_window = bytes;
        self
    }

    /// Bytes a peer may have in flight or unread on all streams of a connection. Default 16 MiB,
    /// which is also the memory it can cost.
    pub fn connection_window(mut self, bytes: u32) -> Self {
        self.connection_window = bytes;
        self
    }

    /// The connection window and the stream window, in bytes, for who raises the first on a live
    /// connection.
    pub fn receive_windows(&self) -> (u64, u64) {
        (self.connection_window.into(), self.stream_window.into())
    }

    /// Bytes of ours that wait for acknowledgement, over all streams of a connection. Default
    /// 8 MiB, which is also the memory it can cost.
    pub fn send_window(mut self, bytes: u32) -> Self {
        self.send_window = bytes;
        self
    }

    /// Bidirectional streams a peer may have open at once. Default 1,024. Memory: some hundred
    /// bytes each, beside what they hold.
    pub fn max_bidi_streams(mut self, streams: u32) -> Self {
        self.max_bidi_streams = streams;
        self
    }

    /// Unidirectional streams a peer may have open at once. Default 0: channels use none.
    pub fn max_uni_streams(mut self, streams: u32) -> Self {
        self.max_uni_streams = streams;
        self
    }

    /// Bytes of received datagrams that wait to be read; the oldest are dropped beyond it. Default
    /// 1 MiB. 0 tells the peer that datagrams are not wanted.
    pub fn datagram_receive_buffer(mut self, bytes: usize) -> Self {
        self.datagram_receive_buffer = bytes;
        self
    }

    /// Bytes of datagrams that wait to be sent; the oldest are dropped beyond it. Default 1 MiB.
    pub fn datagram_send_buffer(mut self, bytes: usize) -> Self {
        self.datagram_send_buffer = bytes;
        self
    }

    /// UDP payload to start with, in bytes. Default [`MIN_MTU`]: right on every path.
    pub fn initial_mtu(mut self, bytes: u16) -> Self {
        self.initial_mtu = bytes;
        self
    }

    /// Largest UDP payload that MTU discovery tries, in bytes. Default 1,472: Ethernet with IPv4.
    /// Equal to the initial MTU it turns discovery off.
    pub fn mtu_upper_bound(mut self, bytes: u16) -> Self {
        self.mtu_upper_bound = bytes;
        self
    }

    /// Packets after which the peer is asked to acknowledge (draft-ietf-quic-ack-frequency-04);
    /// `None` for every other packet. Default 10: measured 1.24 times the bulk rate. A lone packet
    /// is still acknowledged within the peer's 25 ms, and a gap at once.
    pub fn ack_interval(mut self, packets: Option<u32>) -> Self {
        self.ack_interval = packets;
        self
    }

    /// The congestion controller. Default [`Congestion::Adaptive`].
    pub fn congestion(mut self, congestion: Congestion) -> Self {
        self.congestion = congestion;
        self
    }

    /// Whether streams of one priority take turns by packet. Default yes. Without it they are
    /// served in the order they were written to: less overhead, but a bulk stream goes first.
    pub fn send_fairness(mut self, fair: bool) -> Self {
        self.send_fairness = fair;
        self
    }

    /// Bytes of out-of-order handshake a peer may make us hold. Default 16 KiB.
    pub fn crypto_buffer(mut self, bytes: usize) -> Self {
        self.crypto_buffer = bytes;
        self
    }

    /// Whether the driver can send several packets in one call (GSO). Default yes: measured three
    /// times the bulk rate.
    pub fn segmentation_offload(mut self, enabled: bool) -> Self {
        self.segmentation_offload = enabled;
        self
    }

    /// The clock that Retry tokens are dated with, the only use of wall time in this crate. Default
    /// the system's; a responder that never sends Retry never reads it.
    pub fn wall_clock(mut self, clock: Arc<dyn TimeSource>) -> Self {
        self.wall_clock = clock;
        self
    }

    /// Whether connections can work with these settings.
    ///
    /// # Errors
    ///
    /// The first [`SettingsError`] that applies.
    pub fn check(&self) -> Result<(), SettingsError> {
        if self.idle_timeout.is_zero() || IdleTimeout::try_from(self.idle_timeout).is_err() {
            return Err(SettingsError::IdleTimeout);
        }
        if self
            .keep_alive
            .is_some_and(|it| it.is_zero() || it >= self.idle_timeout)
        {
            return Err(SettingsError::KeepAlive);
        }
        let windows = [self.stream_window, self.connection_window, self.send_window];
        if windows.contains(&0) || self.stream_window > self.connection_window {
            return Err(SettingsError::Window);
        }
        if self.initial_mtu < MIN_MTU
            || self.initial_mtu > self.mtu_upper_bound
            || self.mtu_upper_bound > MAX_MTU
        {
            return Err(SettingsError::Mtu);
        }
        if self.crypto_buffer < 2 * MAX_HANDSHAKE_MESSAGE_LEN {
            return Err(SettingsError::CryptoBuffer);
        }
        if self.ack_interval == Some(0) {
            return Err(SettingsError::AckInterval);
        }
        Ok(())
    }

    pub(crate) fn clock(&self) -> Arc<dyn TimeSource> {
        Arc::clone(&self.wall_clock)
    }

    /// The settings in quinn-proto's terms.
    pub(crate) fn transport_config(&self) -> Result<Arc<TransportConfig>, SettingsError> {
        self.check()?;
        let idle =
            IdleTimeout::try_from(self.idle_timeout).map_err(|_| SettingsError::IdleTimeout)?;
        let discovery = (self.mtu_upper_bound > self.initial_mtu).then(|| {
            let mut discovery = MtuDiscoveryConfig::default();
            discovery.upper_bound(self.mtu_upper_bound);
            discovery
        });
        let acknowledgements = self.ack_interval.map(|packets| {
            let mut config = AckFrequencyConfig::default();
            // The threshold counts the packets that may arrive without one.
            config.ack_eliciting_threshold(VarInt::from_u32(packets - 1));
            config
        });
        let datagrams = (self.datagram_receive_buffer > 0).then_some(self.datagram_receive_buffer);
        let mut config = TransportConfig::default();
        config
            .max_idle_timeout(Some(idle))
            .keep_alive_interval(self.keep_alive)
            .initial_rtt(self.initial_rtt)
            .stream_receive_window(VarInt::from_u32(self.stream_window))
            .receive_window(VarInt::from_u32(self.connection_window))
            .send_window(u64::from(self.send_window))
            .max_concurrent_bidi_streams(VarInt::from_u32(self.max_bidi_streams))
            .max_concurrent_uni_streams(VarInt::from_u32(self.max_uni_streams))
            .datagram_receive_buffer_size(datagrams)
            .datagram_send_buffer_size(self.datagram_send_buffer)
            .initial_mtu(self.initial_mtu)
            .mtu_discovery_config(discovery)
            .ack_frequency_config(acknowledgements)
            .congestion_controller_factory(self.congestion.factory())
            .send_fairness(self.send_fairness)
            .crypto_buffer_size(self.crypto_buffer)
            .enable_segmentation_offload(self.segmentation_offload)
            // A bit that shows the round-trip time to everybody on the way.
            .allow_spin(false);
        Ok(Arc::new(config))
    }
}

impl fmt::Debug for TransportSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransportSettings")
            .field("idle_timeout", &self.idle_timeout)
            .field("keep_alive", &self.keep_alive)
            .field("initial_rtt", &self.initial_rtt)
            .field("stream_window", &self.stream_window)
            .field("connection_window", &self.connection_window)
            .field("send_window", &self.send_window)
            .field("max_bidi_streams", &self.max_bidi_streams)
            .field("max_uni_streams", &self.max_uni_streams)
            .field("datagram_receive_buffer", &self.datagram_receive_buffer)
            .field("datagram_send_buffer", &self.datagram_send_buffer)
            .field("initial_mtu", &self.initial_mtu)
            .field("mtu_upper_bound", &self.mtu_upper_bound)
            .field("ack_interval", &self.ack_interval)
            .field("congestion", &self.congestion)
            .field("send_fairness", &self.send_fairness)
            .field("crypto_buffer", &self.crypto_buffer)
            .field("segmentation_offload", &self.segmentation_offload)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> TransportSettings {
        TransportSettings::default()
    }

    #[test]
    fn every_controller_can_be_chosen() {
        let custom = Congestion::Custom(Congestion::Adaptive.factory());
        let all = [
            Congestion::Cubic,
            Congestion::NewReno,
            Congestion::Adaptive,
            Congestion::Bbr,
        ];
        for congestion in all.into_iter().chain([custom]) {
            let name = format!("{congestion:?}");
            let settings = settings().congestion(congestion);
            assert!(settings.transport_config().is_ok());
            assert!(format!("{settings:?}").contains(&name));
        }
    }

    #[test]
    fn the_defaults_are_good_and_every_bound_is_exact() {
        let second = Duration::from_secs(1);
        let cases = [
            (settings(), Ok(())),
            (
                settings().idle_timeout(Duration::ZERO),
                Err(SettingsError::IdleTimeout),
            ),
            (
                settings().idle_timeout(Duration::MAX),
                Err(SettingsError::IdleTimeout),
            ),
            (settings().idle_timeout(second).keep_alive(None), Ok(())),
            (
                settings().keep_alive(Some(30 * second)),
                Err(SettingsError::KeepAlive),
            ),
            (settings().keep_alive(Some(29 * second)), Ok(())),
            (
                settings().keep_alive(Some(Duration::ZERO)),
                Err(SettingsError::KeepAlive),
            ),
            (settings().stream_window(16 << 20), Ok(())),
            (
                settings().stream_window((16 << 20) + 1),
                Err(SettingsError::Window),
            ),
            (settings().send_window(0), Err(SettingsError::Window)),
            (settings().initial_mtu(1_199), Err(SettingsError::Mtu)),
            (settings().initial_mtu(1_472), Ok(())),
            (settings().initial_mtu(1_473), Err(SettingsError::Mtu)),
            (settings().mtu_upper_bound(MAX_MTU), Ok(())),
            (
                settings().mtu_upper_bound(MAX_MTU + 1),
                Err(SettingsError::Mtu),
            ),
            (settings().crypto_buffer(4_096), Ok(())),
            (
                settings().crypto_buffer(4_095),
                Err(SettingsError::CryptoBuffer),
            ),
            (settings().ack_interval(Some(1)), Ok(())),
            (
                settings().ack_interval(Some(0)),
                Err(SettingsError::AckInterval),
            ),
            (settings().ack_interval(None), Ok(())),
        ];
        for (settings, expected) in cases {
            assert_eq!(settings.check(), expected, "{settings:?}");
            assert_eq!(settings.transport_config().is_ok(), expected.is_ok());
        }
    }
}
