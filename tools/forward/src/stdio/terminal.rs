//! A terminal opened once more, so that it can be read and written without waiting.
//!
//! Whether a file blocks is a property of the opening, which the shell and others share; this one is
//! ours alone. A key then needs no thread on its way, neither in nor out.

use std::fs::File;
use std::io::{self, IoSlice, IsTerminal};
use std::os::fd::{AsRawFd, OwnedFd};

use bytes::{Buf, Bytes};
use rustix::fs::{Mode, OFlags, fstat, major, minor, open};
use rustix::io::{Errno, writev};
use tokio::net::unix::pipe;

/// Bytes asked for by one `read`: a terminal gives 4,095 at most.
const BLOCK: usize = 4 * 1024;

/// Parts of one vectored write; the kernel takes up to 1,024 (`IOV_MAX`).
const MAX_PARTS: usize = 64;

/// The device by which new terminals are made (Linux's list of devices): opening it is no opening
/// of the terminal.
const MAKER_OF_TERMINALS: (u32, u32) = (5, 2);

/// `None` if it is no terminal, or one of somebody else.
fn open_again(file: &File, access: OFlags) -> Option<File> {
    let device = file.is_terminal().then(|| fstat(file).ok())??.st_rdev;
    if (major(device), minor(device)) == MAKER_OF_TERMINALS {
        return None;
    }
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let again = File::from(open(path, flags, Mode::empty()).ok()?);
    (fstat(&again).ok()?.st_rdev == device).then_some(again)
}

/// What is typed.
pub(super) struct Typed(pipe::Receiver);

impl Typed {
    pub(super) fn at(file: &File) -> Option<Self> {
        let again = OwnedFd::from(open_again(file, OFlags::RDONLY)?);
        // It is read as a pipe is.
        let receiver = pipe::Receiver::from_owned_fd_unchecked(again);
        receiver.ok().map(Self)
    }

    /// The next keys; `None` at the end. Cancel safe.
    pub(super) async fn next(&self) -> io::Result<Option<Bytes>> {
        let mut buffer = [0; BLOCK];
        loop {
            self.0.readable().await?;
            match self.0.try_read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(len) => return Ok(Some(Bytes::copy_from_slice(&buffer[..len]))),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        }
    }
}

/// What is drawn.
pub(super) struct Drawn(File);

impl Drawn {
    pub(super) fn at(file: &File) -> Option<Self> {
        open_again(file, OFlags::WRONLY).map(Self)
    }

    /// Writes what the terminal takes now, and takes it out of the blocks.
    pub(super) fn write_now(&self, blocks: &mut [Bytes]) -> Result<(), Errno> {
        let mut from = 0;
        loop {
            while blocks.get(from).is_some_and(Bytes::is_empty) {
                from += 1;
            }
            if from == blocks.len() {
                return Ok(());
            }
            let parts = blocks[from..].iter().take(MAX_PARTS);
            let parts: Vec<IoSlice<'_>> = parts.map(|block| IoSlice::new(block)).collect();
            let mut written = match writev(&self.0, &parts) {
                Ok(0) | Err(Errno::AGAIN) => return Ok(()),
                Ok(written) => written,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno),
            };
            for block in &mut blocks[from..] {
                let taken = written.min(block.len());
                block.advance(taken);
                written -= taken;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use std::io::{Read, Write};
    use std::os::fd::OwnedFd;

    use rustix::fs::fcntl_getfl;
    use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
    use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

    use super::super::*;
    use super::*;

    /// Both sides of a terminal in raw mode; the first is the person's.
    fn terminal() -> (File, File) {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let control: OwnedFd = openpt(flags).unwrap();
        unlockpt(&control).unwrap();
        let other = ioctl_tiocgptpeer(&control, flags).unwrap();
        let mut modes = tcgetattr(&other).unwrap();
        modes.make_raw();
        tcsetattr(&other, OptionalActions::Now, &modes).unwrap();
        (control.into(), other.into())
    }

    #[tokio::test]
    async fn a_terminal_is_read_without_a_thread_and_stays_blocking_for_others() {
        let (mut person, other) = terminal();
        let mut stdin = Stdin::new(other.try_clone().unwrap());
        for key in ["a", "b"] {
            person.write_all(key.as_bytes()).unwrap();
            assert_eq!(stdin.next_block().await.unwrap().unwrap(), key);
        }
        assert!(stdin.typed.is_some());
        assert!(!fcntl_getfl(&other).unwrap().contains(OFlags::NONBLOCK));
    }

    #[tokio::test]
    async fn the_end_of_a_terminal_stays_the_end() {
        let (person, other) = terminal();
        let mut stdin = Stdin::new(other);
        drop(person);
        for _ in 0..2 {
            assert!(!matches!(stdin.next_block().await, Ok(Some(_))));
        }
    }

    #[tokio::test]
    async fn more_than_a_terminal_holds_is_drawn_in_order() {
        let (mut person, other) = terminal();
        let mut stdout = Stdout::new(other, AtEnd::Close);
        let text: Vec<u8> = (0..200_000_u32).map(|n| b'a' + (n % 26) as u8).collect();
        let expected = text.clone();
        let reader = std::thread::spawn(move || {
            let mut drawn = vec![0; expected.len()];
            person.read_exact(&mut drawn).unwrap();
            assert!(drawn == expected);
        });
        for part in text.chunks(7_001) {
            let (one, two) = part.split_at(part.len() / 2);
            let mut blocks = [one, &[], two].map(Bytes::copy_from_slice);
            stdout.write_blocks(&mut blocks).await.unwrap();
        }
        stdout.finish().await.unwrap();
        reader.join().unwrap();
    }

    #[tokio::test]
    async fn no_terminal_is_left_to_the_threads() {
        let (reader, writer) = std::io::pipe().unwrap();
        assert!(Typed::at(&File::from(OwnedFd::from(reader))).is_none());
        assert!(Drawn::at(&File::from(OwnedFd::from(writer))).is_none());
        let (person, _other) = terminal();
        assert!(Typed::at(&person).is_none(), "a new one would be made");
    }
}
