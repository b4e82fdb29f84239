//! Stream sockets of this side, of either family, and their join to a channel.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dhtnet::Channel;
use dhtnet_cli::Failure;
use rustix::fs::{Mode, fchmod};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixSocket, UnixStream};
use tokio::time::timeout;

use crate::forward_spec::Bind;
use crate::join::{Ending, JoinError, join};
use crate::stream::{StreamSink, StreamSource};

/// How long a socket that was there before may take to show that it is alive.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// Connections that may wait to be taken; the system's own bound is below it or the same.
const BACKLOG: u32 = 1024;

/// A connected stream socket.
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Joins it to a channel. If it goes wrong the program at the other end of the socket gets a
    /// reset, never an orderly end after a part of the data.
    pub(crate) async fn join(self, channel: Channel, ending: Ending) -> Result<(), JoinError> {
        match self {
            Self::Tcp(mut stream) => {
                // Small packets are not held back: the channel batches by itself.
                let _ = stream.set_nodelay(true);
                let (reader, writer) = stream.split();
                let joined = join_halves(reader, writer, channel, ending).await;
                if joined.is_err() {
                    let _ = stream.set_zero_linger();
                }
                joined
            }
            Self::Unix(mut stream) => {
                let (reader, writer) = stream.split();
                join_halves(reader, writer, channel, ending).await
            }
        }
    }

    /// Ends it with a reset: the program must not take this for an empty answer.
    pub(crate) fn abort(self) {
        if let Self::Tcp(stream) = self {
            let _ = stream.set_zero_linger();
        }
    }
}

async fn join_halves(
    reader: impl AsyncRead + Unpin,
    writer: impl AsyncWrite + Unpin,
    channel: Channel,
    ending: Ending,
) -> Result<(), JoinError> {
    let (mut send, mut recv) = channel.split();
    let (mut source, mut sink) = (StreamSource::new(reader), StreamSink::new(writer));
    join(&mut source, &mut sink, &mut send, &mut recv, ending)
        .await
        .map(drop)
}

/// A listening stream socket. Dropping a Unix one removes its file.
pub(crate) enum Entry {
    Tcp(TcpListener),
    Unix(UnixEntry),
}

impl Entry {
    /// Listens at a place that is no UDP port.
    ///
    /// # Errors
    /// Those of the system; `InvalidInput` for UDP, and `AlreadyExists` for a path at which
    /// something else is than the socket of a dead process.
    pub(crate) async fn open(bind: &Bind) -> io::Result<Self> {
        match bind {
            Bind::Tcp(address) => TcpListener::bind(address).await.map(Self::Tcp),
            Bind::Unix(path) => UnixEntry::open(path).await.map(Self::Unix),
            Bind::Udp(_) => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Where it listens, with the port that was chosen.
    pub(crate) fn bind(&self) -> io::Result<Bind> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Bind::Tcp),
            Self::Unix(entry) => Ok(Bind::Unix(entry.file.path.clone())),
        }
    }

    /// The next connection. Cancel-safe.
    pub(crate) async fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => Ok(Socket::Tcp(listener.accept().await?.0)),
            Self::Unix(entry) => Ok(Socket::Unix(entry.listener.accept().await?.0)),
        }
    }
}

/// A Unix socket that this process made, for its own user alone.
pub(crate) struct UnixEntry {
    /// Goes first, so that nobody connects to what is about to end.
    file: SocketFile,
    listener: UnixListener,
}

impl UnixEntry {
    async fn open(path: &Path) -> io::Result<Self> {
        remove_dead_socket(path).await?;
        let socket = UnixSocket::new_stream()?;
        // The file gets the mode of the socket that is bound (Linux, unix_bind), so it is private
        // from its first moment, and the umask, which is that of all threads, stays.
        fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        socket.bind(path)?;
        let file = SocketFile::of(path)?;
        let listener = socket.listen(BACKLOG)?;
        Ok(Self { file, listener })
    }
}

/// The file of a socket, which is removed with this value.
struct SocketFile {
    path: PathBuf,
    /// Device and inode, so that a file that took its place is left alone.
    number: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        let file = std::fs::symlink_metadata(path)?;
        Ok(Self {
            path: path.to_owned(),
            number: (file.dev(), file.ino()),
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|file| (file.dev(), file.ino()) == self.number);
        if is_ours {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Removes the file of a socket on which nobody listens any more, and nothing else.
async fn remove_dead_socket(path: &Path) -> io::Result<()> {
    let exists = |what: &str| Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
    let file = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    if !file.file_type().is_socket() {
        return exists("there is a file of another kind");
    }
    match timeout(ANSWER_LIMIT, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        // One whose queue is full is alive, too.
        Ok(Ok(_)) | Err(_) => exists("another program listens there"),
        Ok(Err(error)) => Err(error),
    }
}

/// The words for a place at which nothing can listen here.
pub(crate) fn bind_failure(bind: &Bind, error: &io::Error) -> Failure {
    let failure = Failure::failed(format!("cannot listen on {bind}: {error}"));
    match (error.kind(), bind) {
        (io::ErrorKind::AddrInUse, _) => failure.advise("take another port, or 0 for a free one"),
        (io::ErrorKind::PermissionDenied, Bind::Tcp(_) | Bind::Udp(_)) => {
            failure.advise("take a port above 1023")
        }
        (io::ErrorKind::AlreadyExists, _) => failure.advise("take another path, or remove it"),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_everything_else_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let bind = Bind::Unix(path.clone());
        // std's listener leaves its file behind.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let entry = Entry::open(&bind).await.unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let Err(error) = Entry::open(&bind).await else {
            panic!("a living socket was replaced");
        };
        assert_eq!(error.to_string(), "another program listens there");
        drop(entry);
        assert!(!path.exists(), "the own file is removed");
        std::fs::write(&path, "precious").unwrap();
        let Err(error) = Entry::open(&bind).await else {
            panic!("a file was replaced");
        };
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }

    #[tokio::test]
    async fn a_file_that_took_the_place_of_the_socket_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let entry = Entry::open(&Bind::Unix(path.clone())).await.unwrap();
        let other = dir.path().join("other");
        std::fs::write(&other, "precious").unwrap();
        std::fs::rename(&other, &path).unwrap();
        drop(entry);
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }

    #[tokio::test]
    async fn opening_a_socket_does_not_touch_the_modes_of_files_that_others_make() {
        let dir = tempfile::tempdir().unwrap();
        let (ended, end) = std::sync::mpsc::channel::<()>();
        let folder = dir.path().to_owned();
        let others = std::thread::spawn(move || {
            let mut modes = std::collections::BTreeSet::new();
            loop {
                let ends = end.try_recv() != Err(std::sync::mpsc::TryRecvError::Empty);
                let path = folder.join("other");
                drop(std::fs::File::create(&path).unwrap());
                modes.insert(std::fs::metadata(&path).unwrap().permissions().mode());
                std::fs::remove_file(&path).unwrap();
                if ends {
                    return modes;
                }
            }
        });
        let bind = Bind::Unix(dir.path().join("s"));
        for _ in 0..2000 {
            drop(Entry::open(&bind).await.unwrap());
        }
        drop(ended);
        let modes = others.join().unwrap();
        assert_eq!(modes.len(), 1, "{modes:?}");
    }
}
