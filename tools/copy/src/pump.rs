//! Between asynchronous streams and a copy, which blocks on files and therefore has a thread.

use std::io::{self, Read, Write};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

use crate::bounds::MAX_BLOCK;

/// What waits between the two, in each direction: 2 MiB in blocks of [`MAX_BLOCK`], enough that
/// neither waits for the other's turn.
const DEPTH: usize = 8;

/// The side of a copy that reads.
pub struct StreamIn {
    more: mpsc::Receiver<io::Result<Vec<Bytes>>>,
    blocks: std::vec::IntoIter<Bytes>,
    block: Bytes,
}

/// The side of a copy that writes.
pub struct StreamOut {
    blocks: mpsc::Sender<Bytes>,
}

/// Where bytes for a copy go in.
pub struct ToCopy(mpsc::Sender<io::Result<Vec<Bytes>>>);

/// Where bytes of a copy come out.
pub struct FromCopy(mpsc::Receiver<Bytes>);

/// What a copy came to.
pub struct Outcome<T>(oneshot::Receiver<T>);

impl Read for StreamIn {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.block.is_empty() {
            if let Some(block) = self.blocks.next() {
                self.block = block;
                continue;
            }
            match self.more.blocking_recv() {
                Some(blocks) => self.blocks = blocks?.into_iter(),
                None => return Ok(0),
            }
        }
        let length = self.block.len().min(buffer.len());
        self.block.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

impl Write for StreamOut {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(MAX_BLOCK);
        let block = Bytes::copy_from_slice(&bytes[..length]);
        let sent = self.blocks.blocking_send(block);
        sent.map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ToCopy {
    /// Hands blocks over, when there is room; `false` when the copy reads no more. Cancel-safe, but
    /// the blocks of a call that was dropped are lost.
    pub async fn give(&self, blocks: Vec<Bytes>) -> bool {
        self.0.send(Ok(blocks)).await.is_ok()
    }

    /// The stream has failed.
    pub async fn fail(self, error: io::Error) {
        let _ = self.0.send(Err(error)).await;
    }
}

impl FromCopy {
    /// The next block; `None` when the copy writes no more. Cancel-safe.
    pub async fn next(&mut self) -> Option<Bytes> {
        self.0.recv().await
    }
}

impl<T> Outcome<T> {
    /// Waits for the copy. Cancel-safe.
    ///
    /// # Errors
    /// When it has panicked.
    pub async fn wait(self) -> io::Result<T> {
        let outcome = self.0.await;
        outcome.map_err(|_| io::Error::other("the copy ended without a result"))
    }
}

/// Runs `copy` on a thread. When what it reads from or writes to is dropped, it ends as if the
/// connection had been cut.
///
/// # Errors
/// When there is no thread to be had.
pub fn start<T: Send + 'static>(
    copy: impl FnOnce(StreamIn, StreamOut) -> T + Send + 'static,
) -> io::Result<(ToCopy, FromCopy, Outcome<T>)> {
    let (to_copy, more) = mpsc::channel(DEPTH);
    let (blocks, from_copy) = mpsc::channel(DEPTH);
    let (tell, told) = oneshot::channel();
    std::thread::Builder::new()
        .name("copy".to_owned())
        .spawn(move || {
            let input = StreamIn {
                more,
                blocks: Vec::new().into_iter(),
                block: Bytes::new(),
            };
            let result = copy(input, StreamOut { blocks });
            let _ = tell.send(result);
        })?;
    Ok((ToCopy(to_copy), FromCopy(from_copy), Outcome(told)))
}

/// Runs `copy` on a thread, its streams joined to `reader` and `writer`. When it returns, what it
/// has written is written, and `writer` is shut down.
///
/// Not cancel-safe: dropped, it ends the copy as if the connection had been cut; the thread notices
/// with its next block.
///
/// # Errors
/// When there is no thread to be had, or the copy panics.
pub async fn on_a_thread<R, W, T>(
    mut reader: R,
    mut writer: W,
    copy: impl FnOnce(StreamIn, StreamOut) -> T + Send + 'static,
) -> io::Result<T>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
    T: Send + 'static,
{
    let (input, output, outcome) = start(copy)?;
    let finished = async {
        write_all(&mut writer, output).await;
        outcome.wait().await
    };
    tokio::select! {
        result = finished => result,
        never = read_all(&mut reader, input) => match never {},
    }
}

/// Writes until the copy is over, or the stream is broken: then the copy is told by its next write.
async fn write_all<W: AsyncWrite + Unpin>(writer: &mut W, mut blocks: FromCopy) {
    while let Some(block) = blocks.next().await {
        let written = async {
            writer.write_all(&block).await?;
            writer.flush().await
        };
        if written.await.is_err() {
            return;
        }
    }
    let _ = writer.shutdown().await;
}

/// Reads until the end, and then stays: the copy decides when it is over.
async fn read_all<R: AsyncRead + Unpin>(reader: &mut R, input: ToCopy) -> std::convert::Infallible {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(MAX_BLOCK);
        match reader.read_buf(&mut buffer).await {
            Ok(0) => break drop(input),
            Ok(_) if input.give(vec![buffer.split().freeze()]).await => {}
            Ok(_) => break,
            Err(error) => break input.fail(error).await,
        }
    }
    std::future::pending().await
}
