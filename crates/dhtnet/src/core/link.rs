//! A QUIC connection as the link that channel-mux runs on.

use std::collections::BTreeSet;

use bytes::Bytes;
use dhtnet_channel_mux::{Link, ReadError, SendDatagramError, StreamId, WriteError};
use quinn_proto::{Dir, VarInt};

/// Extra room in the connection's send window that only interactive streams may use, in bytes,
/// so that a keystroke is accepted while bulk fills the window.
const INTERACTIVE_RESERVE: u64 = 64 * 1024;

/// Streams of at least this priority may use the reserve.
const INTERACTIVE_PRIORITY: i32 = 1;

/// Borrows the parts of a connection that the mux may use.
pub(crate) struct QuicLink<'a> {
    pub(super) quic: &'a mut quinn_proto::Connection,
    pub(super) interactive: &'a mut BTreeSet<StreamId>,
    pub(super) send_window: u64,
    /// Set when something was queued that has to be sent.
    pub(super) transmit: &'a mut bool,
    /// Largest datagram that goes now; asked once, since quinn-proto wants a mutable borrow.
    pub(super) max_datagram: Option<usize>,
}

impl QuicLink<'_> {
    fn write_chunks(&mut self, id: StreamId, chunks: &mut [Bytes]) -> Result<usize, WriteError> {
        match self.quic.send_stream(to_quic(id)).write_chunks(chunks) {
            Ok(written) => {
                *self.transmit = true;
                Ok(written.bytes)
            }
            Err(quinn_proto::WriteError::Blocked) => Err(WriteError::Blocked),
            Err(quinn_proto::WriteError::Stopped(code)) => Err(WriteError::Stopped(code_of(code))),
            Err(quinn_proto::WriteError::ClosedStream) => Err(WriteError::Closed),
        }
    }
}

impl Link for QuicLink<'_> {
    fn open_stream(&mut self) -> Option<StreamId> {
        self.quic.streams().open(Dir::Bi).map(from_quic)
    }

    fn accept_stream(&mut self) -> Option<StreamId> {
        self.quic.streams().accept(Dir::Bi).map(from_quic)
    }

    fn write(&mut self, id: StreamId, chunks: &mut [Bytes]) -> Result<usize, WriteError> {
        if !self.interactive.contains(&id) {
            return self.write_chunks(id, chunks);
        }
        self.quic
            .set_send_window(self.send_window + INTERACTIVE_RESERVE);
        let written = self.write_chunks(id, chunks);
        self.quic.set_send_window(self.send_window);
        written
    }

    fn read(&mut self, id: StreamId, max: usize) -> Result<Option<Bytes>, ReadError> {
        let mut stream = self.quic.recv_stream(to_quic(id));
        let mut chunks = stream.read(true).map_err(|_| ReadError::Closed)?;
        let next = chunks.next(max);
        *self.transmit |= chunks.finalize().should_transmit();
        match next {
            Ok(chunk) => Ok(chunk.map(|c| c.bytes)),
            Err(quinn_proto::ReadError::Blocked) => Err(ReadError::Blocked),
            Err(quinn_proto::ReadError::Reset(code)) => Err(ReadError::Reset(code_of(code))),
        }
    }

    fn finish(&mut self, id: StreamId) {
        *self.transmit = true;
        // A stream that is stopped or gone has nothing left to finish.
        let _ = self.quic.send_stream(to_quic(id)).finish();
    }

    fn reset(&mut self, id: StreamId, code: u32) {
        *self.transmit = true;
        self.interactive.remove(&id);
        let _ = self
            .quic
            .send_stream(to_quic(id))
            .reset(VarInt::from_u32(code));
    }

    fn stop(&mut self, id: StreamId, code: u32) {
        *self.transmit = true;
        let _ = self
            .quic
            .recv_stream(to_quic(id))
            .stop(VarInt::from_u32(code));
    }

    fn set_priority(&mut self, id: StreamId, priority: i32) {
        if priority >= INTERACTIVE_PRIORITY {
            self.interactive.insert(id);
        } else {
            self.interactive.remove(&id);
        }
        let _ = self.quic.send_stream(to_quic(id)).set_priority(priority);
    }

    fn send_datagram(&mut self, datagram: Bytes) -> Result<(), SendDatagramError> {
        match self.quic.datagrams().send(datagram, false) {
            Ok(()) => {
                *self.transmit = true;
                Ok(())
            }
            Err(quinn_proto::SendDatagramError::Blocked(_)) => Err(SendDatagramError::Blocked),
            Err(quinn_proto::SendDatagramError::TooLarge) => Err(SendDatagramError::TooLarge {
                max: self.max_datagram.unwrap_or(0),
            }),
            Err(
                quinn_proto::SendDatagramError::UnsupportedByPeer
                | quinn_proto::SendDatagramError::Disabled,
            ) => Err(SendDatagramError::Unsupported),
        }
    }

    fn recv_datagram(&mut self) -> Option<Bytes> {
        self.quic.datagrams().recv()
    }

    fn max_datagram_size(&self) -> Option<usize> {
        self.max_datagram
    }
}

pub(super) fn to_quic(id: StreamId) -> quinn_proto::StreamId {
    quinn_proto::StreamId::from(VarInt::from_u64(id.0).unwrap_or(VarInt::MAX))
}

pub(super) fn from_quic(id: quinn_proto::StreamId) -> StreamId {
    StreamId(VarInt::from(id).into_inner())
}

/// Codes are 32 bits in channel-mux; a larger one from a peer is capped, not trusted.
fn code_of(code: VarInt) -> u32 {
    u32::try_from(code.into_inner()).unwrap_or(u32::MAX)
}
