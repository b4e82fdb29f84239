//! Bounds on everything that a peer, or a careless application, could make grow.
//!
//! Bounds of the wire format are constants; bounds on memory are fields of [`Limits`] whose
//! largest permitted values are constants too.

use std::time::Duration;

/// Longest channel name, in bytes of UTF-8. A name is an identifier, as in DNS (RFC 1035
/// section 2.3.4), not a text.
pub const MAX_NAME: usize = 255;

/// Most metadata in a request, in bytes (56 KiB): what [`MAX_REQUEST_FRAME`] has room for beside the
/// longest name and extensions. A long command line or a target fits, a file does not.
pub const MAX_METADATA: usize = 56 << 10;

/// Longest message in a decline or a GoAway, in bytes of UTF-8: one line on a terminal or three.
pub const MAX_MESSAGE: usize = 256;

/// Most extensions in a request, an answer or a Hello.
pub const MAX_EXTENSIONS: usize = 8;

/// Longest body of a request frame, in bytes (60 KiB): near what its 16-bit length can say.
pub const MAX_REQUEST_FRAME: usize = 60 << 10;

/// Bytes of a request up to which [`Limits::max_pending_requests`] alone bounds how many wait: more
/// than all but long command lines need.
pub const LARGE_REQUEST: usize = 8 << 10;

/// Requests of the peer above [`LARGE_REQUEST`] that are incomplete or unanswered; the next is
/// declined as busy. They are rare, and what a peer can make a connection hold stays at 1 MiB for
/// them.
pub const MAX_LARGE_REQUESTS: usize = 16;

/// Longest body of an answer frame, in bytes: the message, and room for extensions.
pub const MAX_ANSWER_FRAME: usize = 1024;

/// Longest body of a frame on the control stream, in bytes.
pub const MAX_CONTROL_FRAME: usize = 1024;

/// Bytes waiting to be sent on the control stream above which it is no longer read, so that a
/// peer that sends Pings without reading Pongs stalls itself.
pub const MAX_CONTROL_BACKLOG: usize = 4096;

/// Pings without a Pong; the ninth is refused. Enough for one a second over a path of eight
/// seconds.
pub const MAX_PINGS: usize = 8;

/// Longest note, in bytes: what fits into a control frame beside its kind and length.
pub const MAX_NOTE: usize = MAX_CONTROL_FRAME - 4;

/// Notes of the peer that wait to be taken with [`Mux::poll_event`](crate::Mux::poll_event). Those
/// above are dropped: who sends notes repeats what matters.
pub const MAX_NOTES: usize = 16;

/// Requests that every peer takes at once; assumed until the peer's Hello says more.
pub const MIN_PENDING_REQUESTS: usize = 16;

/// A request must arrive whole within this time of its stream; else the stream is reset.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The application must answer a request within this time; else it is declined. Longer than
/// connecting to a TCP target takes to fail.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// The peer's Hello must arrive within this time of the connection; else it is a fault.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// Counted for each queued datagram on top of its payload, in bytes, so that empty datagrams fill
/// a queue too: the size of a queue entry with its reference-counted buffer.
pub const DATAGRAM_OVERHEAD: usize = 64;

/// Largest value of [`Limits::max_channels`].
pub const MAX_CHANNELS: usize = 65_536;

/// Largest value of [`Limits::max_pending_requests`].
pub const MAX_PENDING_REQUESTS: usize = 65_536;

/// Largest value of [`Limits::max_queued_opens`].
pub const MAX_QUEUED_OPENS: usize = 65_536;

/// Largest value of [`Limits::max_datagram_bytes`] and
/// [`Limits::max_datagram_bytes_total`].
pub const MAX_DATAGRAM_BYTES: usize = 1 << 30;

/// Bounds of one [`Mux`](crate::Mux). A setter cuts its value to the range that it documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    channels: usize,
    pending_requests: usize,
    queued_opens: usize,
    datagram_bytes: usize,
    datagram_bytes_total: usize,
}

impl Default for Limits {
    /// 2,048 channels, 256 pending requests, 1,024 queued opens, 256 KiB of datagrams per channel
    /// and 8 MiB per connection. Worst case of what a peer can make one connection hold:
    /// 256 requests of 8 KiB, 16 of 60 KiB, 2,048 channels of about 1 KiB, 8 MiB of datagrams:
    /// 13 MiB, the link's own windows not counted.
    fn default() -> Self {
        Self {
            channels: 2048,
            pending_requests: 256,
            queued_opens: 1024,
            datagram_bytes: 256 << 10,
            datagram_bytes_total: 8 << 20,
        }
    }
}

impl Limits {
    /// Channels at once, of both sides together: 1 to [`MAX_CHANNELS`], 2,048 by default. The peer's
    /// next one is declined as busy, an own one is refused. Worst case 1 KiB each of the peer's, and
    /// for own ones the request besides.
    #[must_use]
    pub fn max_channels(mut self, channels: usize) -> Self {
        self.channels = channels.clamp(1, MAX_CHANNELS);
        self
    }

    /// Requests of the peer that are incomplete or unanswered: [`MIN_PENDING_REQUESTS`] to
    /// [`MAX_PENDING_REQUESTS`], 256 by default. The next one is declined as busy. Told to the
    /// peer in the Hello, which keeps to it. Worst case 8 KiB each, and for [`MAX_LARGE_REQUESTS`] of
    /// them 60 KiB.
    #[must_use]
    pub fn max_pending_requests(mut self, requests: usize) -> Self {
        self.pending_requests = requests.clamp(MIN_PENDING_REQUESTS, MAX_PENDING_REQUESTS);
        self
    }

    /// Own opens that wait for a stream: 1 to [`MAX_QUEUED_OPENS`], 1,024 by default. The next one
    /// is refused. Worst case 60 KiB each, of the application's own making.
    #[must_use]
    pub fn max_queued_opens(mut self, opens: usize) -> Self {
        self.queued_opens = opens.clamp(1, MAX_QUEUED_OPENS);
        self
    }

    /// Received, unread datagrams of one channel, in bytes, [`DATAGRAM_OVERHEAD`] included: 2 KiB
    /// to [`MAX_DATAGRAM_BYTES`], 256 KiB by default. When full, the oldest are dropped.
    #[must_use]
    pub fn max_datagram_bytes(mut self, bytes: usize) -> Self {
        self.datagram_bytes = bytes.clamp(2048, MAX_DATAGRAM_BYTES);
        self
    }

    /// The same for all channels of the connection together: 2 KiB to [`MAX_DATAGRAM_BYTES`],
    /// 8 MiB by default. When full, the channel that receives loses its own oldest.
    #[must_use]
    pub fn max_datagram_bytes_total(mut self, bytes: usize) -> Self {
        self.datagram_bytes_total = bytes.clamp(2048, MAX_DATAGRAM_BYTES);
        self
    }

    pub(crate) fn channels(&self) -> usize {
        self.channels
    }

    pub(crate) fn pending_requests(&self) -> usize {
        self.pending_requests
    }

    pub(crate) fn queued_opens(&self) -> usize {
        self.queued_opens
    }

    pub(crate) fn datagram_bytes(&self) -> usize {
        self.datagram_bytes
    }

    pub(crate) fn datagram_bytes_total(&self) -> usize {
        self.datagram_bytes_total
    }
}
