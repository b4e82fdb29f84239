//! A peer whose every frame is written by the test.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use dhtnet_copy::frame::{Frame, HEADER_LEN, Meta, Options, decode_header};
use dhtnet_copy::{CopyError, Summary, serve};

pub(crate) const META: Meta = Meta {
    mode: 0o644,
    seconds: 1,
    nanoseconds: 0,
};

/// The client of a real server.
pub(crate) struct Script {
    stream: UnixStream,
    served: Option<JoinHandle<Result<Summary, CopyError>>>,
}

impl Script {
    pub(crate) fn new() -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let served = std::thread::spawn(move || {
            let result = serve(theirs.try_clone().unwrap(), theirs.try_clone().unwrap());
            let _ = theirs.shutdown(std::net::Shutdown::Both);
            result
        });
        Self {
            stream: ours,
            served: Some(served),
        }
    }

    /// A client that sends one source into `destination`.
    pub(crate) fn push(destination: &std::path::Path) -> Self {
        let mut script = Self::new();
        script.say(&Frame::Push {
            options: Options {
                recursive: true,
                ..Options::default()
            },
            destination: destination.as_os_str().as_encoded_bytes(),
            names: vec![b"t"],
        });
        script
    }

    /// What the server has closed cannot be written to, and need not be.
    pub(crate) fn say(&mut self, frame: &Frame<'_>) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        if let Frame::Data(block) = frame {
            bytes.extend_from_slice(block);
        }
        let _ = self.stream.write_all(&bytes);
    }

    /// The next frame; `None` at the end.
    pub(crate) fn hear<T>(&mut self, take: impl FnOnce(Frame<'_>) -> T) -> Option<T> {
        let mut header = [0; HEADER_LEN];
        self.stream.read_exact(&mut header).ok()?;
        let (kind, length) = decode_header(header).unwrap();
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).ok()?;
        Some(take(Frame::decode(kind, &body).unwrap()))
    }

    /// The text with which the server gives up.
    pub(crate) fn abort(&mut self) -> String {
        loop {
            let reason = self.hear(|frame| match frame {
                Frame::Abort { reason } => Some(String::from_utf8(reason.to_vec()).unwrap()),
                _ => None,
            });
            match reason {
                Some(Some(reason)) => return reason,
                Some(None) => {}
                None => panic!("it ended without a word: {:?}", self.end()),
            }
        }
    }

    /// Hangs up, and how the server ended.
    pub(crate) fn end(&mut self) -> Result<Summary, CopyError> {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
        self.served.take().unwrap().join().unwrap()
    }
}
