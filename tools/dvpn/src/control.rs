//! The socket on which a running network answers `dvpn status`.
//!
//! `RUNTIME/vpn/NAME.sock`, for the owner alone. A question is one line, `status`; the answer is one
//! JSON document, and then the end.

use std::fs;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dhtnet_cli::Home;
use dhtnet_identity::atomic_file;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use crate::status::Status;

/// The one question there is.
const QUESTION: &[u8] = b"status\n";

/// How long either side waits for the other.
const LIMIT: Duration = Duration::from_secs(5);

/// Largest answer that is read, bytes: 4,096 peers at 2 KiB.
const MAX_ANSWER: u64 = 8 << 20;

/// Where the network `name` answers.
pub fn path(home: &Home, name: &str) -> PathBuf {
    home.runtime().join("vpn").join(format!("{name}.sock"))
}

/// The answering side; the socket goes when it is dropped.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Listens at `path`, in the place of a socket that a dead process left: the caller has the
    /// name to itself. Needs a tokio runtime.
    ///
    /// # Errors
    /// What the system says.
    pub fn bind(path: &Path) -> io::Result<Self> {
        atomic_file::create_private_parent(path)?;
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Answers with what `status` says, one at a time, for ever. Cancel-safe.
    pub async fn serve(&self, status: impl Fn() -> Status) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    // Who asks and does not read gets nothing.
                    let _ = timeout(LIMIT, answer(stream, &status)).await;
                }
                // Out of descriptors: others may end meanwhile.
                Err(_) => tokio::time::sleep(LIMIT).await,
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

async fn answer(mut stream: UnixStream, status: &impl Fn() -> Status) -> io::Result<()> {
    let mut question = [0; QUESTION.len()];
    stream.read_exact(&mut question).await?;
    if question == *QUESTION {
        let json = serde_json::to_vec(&status())?;
        stream.write_all(&json).await?;
    }
    stream.shutdown().await
}

/// Asks the network that answers at `path`. Blocks for at most some seconds.
///
/// # Errors
/// [`io::ErrorKind::ConnectionRefused`] or [`io::ErrorKind::NotFound`] when nobody is there.
pub fn ask(path: &Path) -> io::Result<Status> {
    let mut stream = BlockingStream::connect(path)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.write_all(QUESTION)?;
    stream.shutdown(Shutdown::Write)?;
    let mut bytes = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    use std::os::unix::fs::FileTypeExt;

    use super::*;
    use crate::status::sample;

    #[tokio::test]
    async fn a_status_is_told_to_who_asks_and_the_socket_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vpn").join("home.sock");
        // What a killed process left.
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let control = Control::bind(&path).unwrap();
        let meta = fs::metadata(&path).unwrap();
        assert!(meta.file_type().is_socket());
        assert_eq!(meta.permissions().mode() & 0o777, 0o600);
        let asking = tokio::task::spawn_blocking({
            let path = path.clone();
            move || (ask(&path).unwrap(), ask(&path).unwrap())
        });
        let answers = tokio::select! {
            answers = asking => answers.unwrap(),
            () = control.serve(sample::status) => unreachable!(),
        };
        assert_eq!(answers, (sample::status(), sample::status()));
        drop(control);
        assert!(!path.exists());
        assert_eq!(ask(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
