//! stdin and stdout as source and sink of a join.
//!
//! Each has a thread that makes blocking calls with large blocks. Making them non-blocking instead
//! would change the terminal or pipe for every process that shares it, and does nothing for files.
//! A terminal can be opened once more; it is read without the thread, and written by it only while
//! it does not take all at once.

mod terminal;

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, read, writev};
use rustix::pipe::fcntl_setpipe_size;
use tokio::sync::{mpsc, oneshot};

use self::terminal::{Drawn, Typed};
use crate::join::{Sink, Source};

/// Bytes asked for by one `read`.
const BLOCK: usize = 256 * 1024;

/// A read of less is copied, so that a typed line does not hold a whole block.
const SMALL: usize = 4 * 1024;

/// Blocks that wait on their way in: at most 1 MiB is read ahead.
const MAX_READ_AHEAD: usize = 4;

/// Batches that wait on their way out; a batch is what was there at once, about 90 KiB.
const MAX_WRITE_BEHIND: usize = 4;

/// Room that pipes are given, where the system allows it: fewer turns between the two programs.
const PIPE_ROOM: usize = 1024 * 1024;

/// Standard input.
pub struct Stdin {
    unopened: Option<File>,
    /// In the place of the thread.
    typed: Option<Typed>,
    blocks: mpsc::Receiver<io::Result<Bytes>>,
    sender: Option<mpsc::Sender<io::Result<Bytes>>>,
    /// Closed with this value, which ends the thread: what comes later is for another reader.
    wanted: Option<OwnedFd>,
    failed: Option<Errno>,
    begun: bool,
}

impl Stdin {
    /// Nothing is read before the first block is asked for.
    pub fn new(file: File) -> Self {
        let (sender, blocks) = mpsc::channel(MAX_READ_AHEAD);
        Self {
            unopened: Some(file),
            typed: None,
            blocks,
            sender: Some(sender),
            wanted: None,
            failed: None,
            begun: false,
        }
    }

    /// Whether a block was handed out, or the end.
    pub fn is_begun(&self) -> bool {
        self.begun
    }

    fn start(&mut self) -> io::Result<()> {
        if let (Some(file), Some(sender)) = (self.unopened.take(), self.sender.take()) {
            self.typed = Typed::at(&file);
            if self.typed.is_some() {
                return Ok(());
            }
            let (unwanted, wanted) = std::io::pipe()?;
            self.wanted = Some(wanted.into());
            let thread = thread::Builder::new().name("stdin".to_owned());
            thread.spawn(move || read_all(&file, &unwanted, &sender))?;
        }
        Ok(())
    }
}

impl Source for Stdin {
    /// After the end or an error, every further call gives the same again, so that each of
    /// several peers in turn is told.
    async fn next_block(&mut self) -> io::Result<Option<Bytes>> {
        self.start()?;
        if let Some(errno) = self.failed {
            return Err(errno.into());
        }
        let block = match &self.typed {
            Some(typed) => typed.next().await.transpose(),
            None => self.blocks.recv().await,
        };
        self.begun = true;
        match block {
            Some(Ok(block)) => Ok(Some(block)),
            Some(Err(error)) => {
                self.failed = Errno::from_io_error(&error);
                Err(error)
            }
            None => {
                self.typed = None;
                Ok(None)
            }
        }
    }
}

fn read_all(file: &File, unwanted: &std::io::PipeReader, blocks: &mpsc::Sender<io::Result<Bytes>>) {
    // Not a pipe, or not allowed: then it stays as it is.
    let _ = fcntl_setpipe_size(file, PIPE_ROOM);
    let mut buffer = Vec::new();
    loop {
        buffer.reserve(BLOCK);
        if !wait_for_input(file, unwanted) {
            return;
        }
        let block = match read(file, spare_capacity(&mut buffer)) {
            Ok(0) => return,
            Ok(_) if buffer.len() < SMALL => {
                let block = Bytes::copy_from_slice(&buffer);
                buffer.clear();
                Ok(block)
            }
            Ok(_) => Ok(Bytes::from(std::mem::take(&mut buffer))),
            Err(Errno::INTR | Errno::AGAIN) => continue,
            Err(errno) => Err(errno.into()),
        };
        let last = block.is_err();
        // Nobody is left to read when the tool is ending.
        if blocks.blocking_send(block).is_err() || last {
            return;
        }
    }
}

enum ToStdout {
    Write(Vec<Bytes>),
    /// Answered when everything before it was written.
    Reached(oneshot::Sender<()>),
}

/// What happens to stdout when a peer has ended its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtEnd {
    /// It is closed, so that a program that reads it sees the end and can answer.
    Close,
    /// It stays open for the next peer.
    StayOpen,
}

/// Standard output.
pub struct Stdout {
    unopened: Option<File>,
    /// A terminal, for what it takes at once.
    drawn: Option<Drawn>,
    orders: Option<mpsc::Sender<ToStdout>>,
    /// Orders that the thread has not carried out.
    waiting: Arc<AtomicUsize>,
    begun: bool,
    failure: Arc<Mutex<Option<Errno>>>,
    at_end: AtEnd,
}

impl Stdout {
    /// `file` must be the only holder of the stream for [`AtEnd::Close`] to be seen.
    pub fn new(file: File, at_end: AtEnd) -> Self {
        Self {
            drawn: Drawn::at(&file),
            unopened: Some(file),
            orders: None,
            waiting: Arc::default(),
            begun: false,
            failure: Arc::default(),
            at_end,
        }
    }

    /// Whether anything was to be written.
    pub fn is_begun(&self) -> bool {
        self.begun
    }

    async fn order(&mut self, order: ToStdout) -> io::Result<()> {
        if let Some(file) = self.unopened.take() {
            let (failure, waiting) = (self.failure.clone(), self.waiting.clone());
            let (sender, orders) = mpsc::channel(MAX_WRITE_BEHIND);
            let thread = thread::Builder::new().name("stdout".to_owned());
            thread.spawn(move || write_all_orders(&file, orders, &waiting, &failure))?;
            self.orders = Some(sender);
        }
        let Some(orders) = &self.orders else {
            return Err(Errno::PIPE.into()); // Closed before.
        };
        let place = orders.reserve().await.map_err(|_| self.failure())?;
        self.waiting.fetch_add(1, Ordering::Relaxed);
        place.send(order);
        Ok(())
    }

    /// Why the thread ended.
    fn failure(&self) -> io::Error {
        let failure = *self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.unwrap_or(Errno::IO).into()
    }
}

impl Sink for Stdout {
    async fn write_blocks(&mut self, blocks: &mut [Bytes]) -> io::Result<()> {
        self.begun = true;
        if let Some(drawn) = &self.drawn
            && self.waiting.load(Ordering::Acquire) == 0
        {
            drawn.write_now(blocks)?;
            if blocks.iter().all(Bytes::is_empty) {
                return Ok(());
            }
        }
        let blocks = blocks.iter_mut().map(std::mem::take).collect();
        self.order(ToStdout::Write(blocks)).await
    }

    /// Waits until everything was handed to the system.
    async fn finish(&mut self) -> io::Result<()> {
        if self.orders.is_some() {
            let (reached, wait) = oneshot::channel();
            self.order(ToStdout::Reached(reached)).await?;
            wait.await.map_err(|_| self.failure())?;
        }
        if self.at_end == AtEnd::Close {
            // The thread ends with its orders, and the stream with the thread.
            self.orders = None;
            self.unopened = None;
            self.drawn = None;
        }
        Ok(())
    }
}

fn write_all_orders(
    file: &File,
    mut orders: mpsc::Receiver<ToStdout>,
    waiting: &AtomicUsize,
    failure: &Mutex<Option<Errno>>,
) {
    let _ = fcntl_setpipe_size(file, PIPE_ROOM);
    while let Some(order) = orders.blocking_recv() {
        match order {
            ToStdout::Write(blocks) => {
                if let Err(errno) = write_blocks(file, &blocks) {
                    *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(errno);
                    return;
                }
            }
            ToStdout::Reached(reached) => {
                // Whoever asked may have been cancelled.
                let _ = reached.send(());
            }
        }
        waiting.fetch_sub(1, Ordering::Release);
    }
}

fn write_blocks(file: &File, blocks: &[Bytes]) -> Result<(), Errno> {
    let mut parts: Vec<IoSlice<'_>> = blocks.iter().map(|block| IoSlice::new(block)).collect();
    let mut rest = parts.as_mut_slice();
    // Skips parts that are empty from the start.
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        match writev(file, rest) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => IoSlice::advance_slices(&mut rest, written),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait_for(file, PollFlags::OUT),
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Waits until there is something to read; `false` if nobody wants it any more.
fn wait_for_input(file: &File, unwanted: &std::io::PipeReader) -> bool {
    let mut both = [
        PollFd::new(file, PollFlags::IN),
        PollFd::new(unwanted, PollFlags::IN),
    ];
    loop {
        match poll(&mut both, None) {
            Err(Errno::INTR) => {}
            // An error here shows again at the read that follows.
            Err(_) => return true,
            Ok(_) => return both[1].revents().is_empty(),
        }
    }
}

/// For streams that another program made non-blocking.
fn wait_for(file: &File, flags: PollFlags) {
    // An error here shows again at the read or write that follows.
    let _ = poll(&mut [PollFd::new(file, flags)], None);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::{Read, Seek, Write};

    use rustix::fs::{OFlags, fcntl_setfl};

    use super::*;

    fn pipe() -> (File, File) {
        let (reader, writer) = std::io::pipe().unwrap();
        (
            File::from(OwnedFd::from(reader)),
            File::from(OwnedFd::from(writer)),
        )
    }

    async fn read_to_end(mut stdin: Stdin) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(block) = stdin.next_block().await.unwrap() {
            all.extend_from_slice(&block);
        }
        assert_eq!(
            stdin.next_block().await.unwrap(),
            None,
            "the end stays the end"
        );
        all
    }

    #[tokio::test]
    async fn a_file_is_read_in_large_blocks_and_whole() {
        let bytes: Vec<u8> = (0..1_000_003_u32).map(|n| n as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        file.rewind().unwrap();
        assert!(read_to_end(Stdin::new(file)).await == bytes);
    }

    #[tokio::test]
    async fn what_comes_after_the_reader_is_gone_stays_for_the_next() {
        let (reader, mut writer) = pipe();
        let mut stdin = Stdin::new(reader.try_clone().unwrap());
        writer.write_all(b"one").unwrap();
        assert_eq!(stdin.next_block().await.unwrap().unwrap(), "one");
        drop(stdin);
        writer.write_all(b"two").unwrap();
        drop(writer);
        assert_eq!(read_to_end(Stdin::new(reader)).await, b"two");
    }

    #[tokio::test]
    async fn a_pipe_that_does_not_block_is_read_whole() {
        let (reader, mut writer) = pipe();
        fcntl_setfl(&reader, OFlags::NONBLOCK).unwrap();
        let mut stdin = Stdin::new(reader);
        writer.write_all(b"one").unwrap();
        assert_eq!(stdin.next_block().await.unwrap().unwrap(), "one");
        writer.write_all(b"two").unwrap();
        drop(writer);
        assert_eq!(read_to_end(stdin).await, b"two");
    }

    #[tokio::test]
    async fn a_directory_cannot_be_read_and_says_so_each_time() {
        let mut stdin = Stdin::new(File::open("/").unwrap());
        for _ in 0..2 {
            let error = stdin.next_block().await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
        }
    }

    #[tokio::test]
    async fn finish_waits_until_everything_is_written() {
        let mut file = tempfile::tempfile().unwrap();
        let mut stdout = Stdout::new(file.try_clone().unwrap(), AtEnd::StayOpen);
        for n in 0..100_u8 {
            let mut blocks = [
                Bytes::new(),
                Bytes::from(vec![n; 1000]),
                Bytes::from_static(b"\n"),
            ];
            stdout.write_blocks(&mut blocks).await.unwrap();
        }
        stdout.finish().await.unwrap();
        let mut written = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut written).unwrap();
        assert_eq!(written.len(), 100 * 1001);
        assert!(
            written
                .chunks(1001)
                .zip(0..)
                .all(|(line, n)| line[0] == n && line[1000] == b'\n')
        );
    }

    #[tokio::test]
    async fn a_full_disk_is_an_error_with_its_cause() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut stdout = Stdout::new(full, AtEnd::Close);
        // Taken into the queue, and refused by the system afterwards.
        let _ = stdout.write_blocks(&mut [Bytes::from_static(b"x")]).await;
        let error = stdout.finish().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    #[tokio::test]
    async fn a_closed_pipe_is_an_error_with_its_cause() {
        let (reader, writer) = pipe();
        drop(reader);
        let mut stdout = Stdout::new(writer, AtEnd::Close);
        let _ = stdout.write_blocks(&mut [Bytes::from_static(b"x")]).await;
        assert_eq!(
            stdout.finish().await.unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
    }

    #[tokio::test]
    async fn the_end_closes_stdout_or_keeps_it_for_the_next_peer() {
        for blocks in [vec![], vec![Bytes::from_static(b"x")]] {
            let (mut reader, writer) = pipe();
            let mut stdout = Stdout::new(writer, AtEnd::Close);
            if !blocks.is_empty() {
                stdout.write_blocks(&mut blocks.clone()).await.unwrap();
            }
            stdout.finish().await.unwrap();
            let mut read = Vec::new();
            // Returns although `stdout` still lives.
            reader.read_to_end(&mut read).unwrap();
            assert_eq!(read, blocks.concat());
            assert!(stdout.write_blocks(&mut [Bytes::new()]).await.is_err());
        }
        let (mut reader, writer) = pipe();
        let mut stdout = Stdout::new(writer, AtEnd::StayOpen);
        for text in ["one", "two"] {
            stdout.write_blocks(&mut [Bytes::from(text)]).await.unwrap();
            stdout.finish().await.unwrap();
        }
        drop(stdout);
        let mut read = String::new();
        reader.read_to_string(&mut read).unwrap();
        assert_eq!(read, "onetwo");
    }
}
