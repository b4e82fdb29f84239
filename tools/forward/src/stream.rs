//! A socket as source and sink of a join.

use std::io::{self, IoSlice};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::join::{Sink, Source};

/// What is read at once at first: a connection that says little costs little.
const FIRST_BLOCK: usize = 8 * 1024;

/// What is read at once from a connection that fills its blocks. Large blocks are what makes a
/// forward fast; beyond this size nothing is gained.
const MAX_BLOCK: usize = 256 * 1024;

/// Parts of one vectored write; the kernel takes up to 1,024 (`IOV_MAX`).
const MAX_PARTS: usize = 64;

/// The reading half of a socket.
pub struct StreamSource<R> {
    reader: R,
    buffer: BytesMut,
    block: usize,
}

impl<R> StreamSource<R> {
    /// Reads from `reader`.
    pub fn new(reader: R) -> Self {
        Self {
            reader,
            buffer: BytesMut::new(),
            block: FIRST_BLOCK,
        }
    }
}

impl<R: AsyncRead + Unpin> Source for StreamSource<R> {
    /// Blocks share one allocation until it is used up, and grow with the traffic.
    async fn next_block(&mut self) -> io::Result<Option<Bytes>> {
        if self.buffer.capacity() < self.block / 4 {
            self.buffer = BytesMut::with_capacity(self.block);
        }
        let room = self.buffer.capacity();
        let read = self.reader.read_buf(&mut self.buffer).await?;
        if read == 0 {
            return Ok(None);
        }
        if read == room && self.block < MAX_BLOCK {
            self.block = (self.block * 4).min(MAX_BLOCK);
        }
        Ok(Some(self.buffer.split().freeze()))
    }
}

/// The writing half of a socket.
pub struct StreamSink<W> {
    writer: W,
}

impl<W> StreamSink<W> {
    /// Writes to `writer`.
    pub fn new(writer: W) -> Self {
        Self { writer }
    }
}

impl<W: AsyncWrite + Unpin> Sink for StreamSink<W> {
    async fn write_blocks(&mut self, blocks: &mut [Bytes]) -> io::Result<()> {
        let mut from = 0;
        loop {
            while blocks.get(from).is_some_and(Bytes::is_empty) {
                // Lets go of the memory before waiting for the rest.
                blocks[from] = Bytes::new();
                from += 1;
            }
            if from == blocks.len() {
                return Ok(());
            }
            let mut parts = [IoSlice::new(&[]); MAX_PARTS];
            let count = blocks[from..].len().min(MAX_PARTS);
            for (part, block) in parts.iter_mut().zip(&blocks[from..]) {
                *part = IoSlice::new(block);
            }
            let mut written = self.writer.write_vectored(&parts[..count]).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            for block in &mut blocks[from..] {
                let taken = written.min(block.len());
                block.advance(taken);
                written -= taken;
                if written == 0 {
                    break;
                }
            }
        }
    }

    async fn finish(&mut self) -> io::Result<()> {
        self.writer.shutdown().await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn blocks_grow_while_they_are_filled_and_stay_small_otherwise() {
        let input = vec![7; 1_000_000];
        let mut source = StreamSource::new(input.as_slice());
        let mut sizes = Vec::new();
        while let Some(block) = source.next_block().await.unwrap() {
            sizes.push(block.len());
        }
        assert_eq!(sizes[..4], [8 * 1024, 32 * 1024, 128 * 1024, 256 * 1024]);
        assert_eq!(sizes.iter().sum::<usize>(), 1_000_000);

        let (mut far, near) = tokio::io::duplex(64);
        let mut source = StreamSource::new(near);
        far.write_all(b"hello").await.unwrap();
        assert_eq!(source.next_block().await.unwrap().unwrap(), "hello");
        assert!(source.buffer.capacity() <= FIRST_BLOCK);
    }

    #[tokio::test]
    async fn all_blocks_are_written_in_order_through_a_narrow_stream() {
        let (near, mut far) = tokio::io::duplex(7);
        let write = async move {
            let mut sink = StreamSink::new(near);
            let mut blocks: Vec<Bytes> =
                (0..200_u32).map(|n| Bytes::from(format!("{n},"))).collect();
            blocks[3] = Bytes::new();
            sink.write_blocks(&mut blocks).await.unwrap();
            assert!(blocks.iter().all(Bytes::is_empty));
            sink.finish().await.unwrap();
        };
        let mut text = String::new();
        let (_, read) = tokio::join!(write, far.read_to_string(&mut text));
        read.unwrap();
        let expected: String = (0..200_u32)
            .filter(|n| *n != 3)
            .map(|n| format!("{n},"))
            .collect();
        assert_eq!(text, expected);
    }
}
