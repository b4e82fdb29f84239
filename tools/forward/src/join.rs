//! Two directions of bytes between a local stream and a channel, each ended on its own.

use std::io;

use bytes::Bytes;
use dhtnet::{ChannelError, RecvHalf, SendHalf};

use crate::give_up::GiveUp;

/// Blocks taken from a channel at once. A block is what one packet carried, so this is one large
/// write instead of many small ones.
const MAX_BLOCKS: usize = 64;

/// Where bytes come from on this side.
#[allow(async_fn_in_trait, reason = "joined with types that are known here")]
pub trait Source {
    /// The next bytes; `None` at the end. Cancel-safe.
    async fn next_block(&mut self) -> io::Result<Option<Bytes>>;
}

/// Where bytes go on this side.
#[allow(async_fn_in_trait, reason = "joined with types that are known here")]
pub trait Sink {
    /// Writes all blocks in order, and leaves them empty.
    async fn write_blocks(&mut self, blocks: &mut [Bytes]) -> io::Result<()>;

    /// Everything was written: says so to whoever reads.
    async fn finish(&mut self) -> io::Result<()>;
}

/// The direction of a channel to the peer.
#[allow(async_fn_in_trait, reason = "joined with types that are known here")]
pub trait ToPeer {
    /// Waits for room, then sends.
    async fn send(&mut self, block: Bytes) -> io::Result<()>;
    /// No more comes.
    fn finish(&mut self);
    /// Waits until the peer has everything.
    async fn delivered(&mut self) -> io::Result<()>;
    /// Waits until the peer reads no more: its code, or an error if the channel is gone.
    async fn stopped(&mut self) -> io::Result<Option<u32>>;
    /// Gives up.
    fn reset(&mut self, code: u32);
}

/// The direction of a channel from the peer.
#[allow(async_fn_in_trait, reason = "joined with types that are known here")]
pub trait FromPeer {
    /// Fills the front of `blocks`, waiting for the first; `None` at the end. Cancel-safe.
    async fn receive(&mut self, blocks: &mut [Bytes]) -> io::Result<Option<usize>>;
    /// Gives up.
    fn stop(&mut self, code: u32);
}

impl ToPeer for SendHalf {
    async fn send(&mut self, block: Bytes) -> io::Result<()> {
        let Err(error) = self.write_chunk(block).await else {
            return Ok(());
        };
        // A channel that ended while the write waited may still know that the peer stopped it.
        tokio::select! {
            biased;
            stopped = SendHalf::stopped(self) => Err(match stopped {
                Ok(Some(code)) => ChannelError::Stopped(code).into(),
                Ok(None) | Err(_) => error,
            }),
            () = std::future::ready(()) => Err(error),
        }
    }

    fn finish(&mut self) {
        SendHalf::finish(self);
    }

    async fn delivered(&mut self) -> io::Result<()> {
        self.flushed().await
    }

    async fn stopped(&mut self) -> io::Result<Option<u32>> {
        SendHalf::stopped(self).await
    }

    fn reset(&mut self, code: u32) {
        SendHalf::reset(self, code);
    }
}

impl FromPeer for RecvHalf {
    async fn receive(&mut self, blocks: &mut [Bytes]) -> io::Result<Option<usize>> {
        self.read_chunks(blocks).await
    }

    fn stop(&mut self, code: u32) {
        RecvHalf::stop(self, code);
    }
}

/// When a join is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// When both directions have ended.
    Both,
    /// When one direction has ended.
    Either,
    /// When the peer's direction has ended; ours ends with it.
    PeersDirection,
}

/// Bytes that went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// To the peer.
    pub sent: u64,
    /// From the peer.
    pub received: u64,
}

/// What broke.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Reading on this side.
    #[error("cannot read the input")]
    Input(#[source] io::Error),
    /// Writing on this side.
    #[error("cannot write the output")]
    Output(#[source] io::Error),
    /// The channel.
    #[error("the channel failed")]
    Channel(#[source] io::Error),
}

/// Joins a local stream to a channel until both are done, as `ending` says.
///
/// An end on one side becomes an end on the other; a failure on one side becomes a reset on the
/// other, so that nobody takes a part for the whole. When this returns without an error, the peer
/// has acknowledged every byte. Dropping it gives up both directions of the channel.
pub async fn join(
    source: &mut impl Source,
    sink: &mut impl Sink,
    to_peer: &mut impl ToPeer,
    from_peer: &mut impl FromPeer,
    ending: Ending,
) -> Result<Totals, JoinError> {
    let mut totals = Totals::default();
    let result = copy_both(source, sink, to_peer, from_peer, ending, &mut totals).await;
    let result = match result {
        Ok(Upload::NotWanted) => Ok(()),
        Ok(Upload::Ended) => {
            to_peer.finish();
            to_peer.delivered().await.map_err(JoinError::Channel)
        }
        Err(error) => Err(error),
    };
    match result {
        Ok(()) => {
            from_peer.stop(GiveUp::Done.code());
            Ok(totals)
        }
        Err(error) => {
            let code = GiveUp::because_of(&error).code();
            to_peer.reset(code);
            from_peer.stop(code);
            Err(error)
        }
    }
}

/// How the direction to the peer ended, when it did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upload {
    /// Everything that there was is on its way.
    Ended,
    /// Nothing was waiting to be sent when the peer said that it wants no more.
    NotWanted,
}

async fn copy_both(
    source: &mut impl Source,
    sink: &mut impl Sink,
    to_peer: &mut impl ToPeer,
    from_peer: &mut impl FromPeer,
    ending: Ending,
    totals: &mut Totals,
) -> Result<Upload, JoinError> {
    let Totals { sent, received } = totals;
    let up = copy_to_peer(source, to_peer, sent);
    let down = copy_from_peer(from_peer, sink, received);
    tokio::pin!(up, down);
    let mut sent_all: Option<Result<Upload, JoinError>> = None;
    let mut received_all = false;
    while sent_all.is_none() || !received_all {
        tokio::select! {
            // Both are asked each time; this order lets the better cause of a failure go first.
            biased;
            result = &mut up, if sent_all.is_none() => match result {
                Ok(upload) if ending == Ending::Either => return Ok(upload),
                Err(error @ (JoinError::Input(_) | JoinError::Output(_))) => return Err(error),
                // What the peer said before it stopped reading, or before it was gone, is still
                // received: the other direction knows its own end.
                result => sent_all = Some(result),
            },
            result = &mut down, if !received_all => {
                match (result, &sent_all) {
                    (Ok(()), _) => received_all = true,
                    // Why it stopped reading says more than that it is gone.
                    (Err(JoinError::Channel(_)), Some(Err(JoinError::Channel(error))))
                        if is_stopped(error) => break,
                    (Err(error), _) => return Err(error),
                }
                if ending != Ending::Both && sent_all.is_none() {
                    return Ok(Upload::Ended);
                }
            },
        }
    }
    sent_all.unwrap_or(Ok(Upload::Ended))
}

/// Copies until the source ends. Notices while waiting that the peer reads no more.
async fn copy_to_peer(
    source: &mut impl Source,
    to_peer: &mut impl ToPeer,
    sent: &mut u64,
) -> Result<Upload, JoinError> {
    loop {
        let block = tokio::select! {
            biased;
            block = source.next_block() => block.map_err(JoinError::Input)?,
            stopped = to_peer.stopped() => match stopped {
                Ok(Some(code)) if code == GiveUp::Done.code() => return Ok(Upload::NotWanted),
                Ok(Some(code)) => {
                    return Err(JoinError::Channel(ChannelError::Stopped(code).into()));
                }
                Ok(None) => return Ok(Upload::Ended),
                Err(error) => return Err(JoinError::Channel(error)),
            },
        };
        let Some(block) = block else {
            to_peer.finish();
            return Ok(Upload::Ended);
        };
        let len = block.len() as u64;
        to_peer.send(block).await.map_err(JoinError::Channel)?;
        *sent += len;
    }
}

/// Copies until the peer ends its direction.
async fn copy_from_peer(
    from_peer: &mut impl FromPeer,
    sink: &mut impl Sink,
    received: &mut u64,
) -> Result<(), JoinError> {
    let mut blocks = [const { Bytes::new() }; MAX_BLOCKS];
    while let Some(count) = from_peer
        .receive(&mut blocks)
        .await
        .map_err(JoinError::Channel)?
    {
        let filled = &mut blocks[..count];
        let len: usize = filled.iter().map(Bytes::len).sum();
        sink.write_blocks(filled).await.map_err(JoinError::Output)?;
        *received += len as u64;
    }
    sink.finish().await.map_err(JoinError::Output)
}

fn is_stopped(error: &io::Error) -> bool {
    matches!(ChannelError::from_io(error), Some(ChannelError::Stopped(_)))
}

#[cfg(test)]
mod tests;
