//! `PATH` or `[USER@]PEER:PATH`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use dhtnet_cli::Failure;

use crate::destination::Destination;

/// A peer and the user to be there.
pub(super) type Remote = Destination;

/// One source or destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Local(PathBuf),
    /// The path is the peer's to understand.
    Remote(Remote, Vec<u8>),
}

impl Side {
    /// As scp has it: a colon before any slash ends the name of a peer. Address hints have colons and
    /// no slashes, so the shortest beginning that is a peer counts.
    pub(super) fn parse(place: &OsStr) -> Result<Self, Failure> {
        let bytes = place.as_bytes();
        let before_slash = bytes.split(|byte| *byte == b'/').next().unwrap_or_default();
        let colons: Vec<usize> = (0..before_slash.len())
            .filter(|at| bytes[*at] == b':')
            .collect();
        let Some(first) = colons.first() else {
            return Ok(Self::Local(place.into()));
        };
        for at in &colons {
            let peer = std::str::from_utf8(&bytes[..*at]).ok();
            if let Some(peer) = peer.and_then(|peer| peer.parse().ok()) {
                return Ok(Self::Remote(peer, bytes[at + 1..].to_vec()));
            }
        }
        let peer = String::from_utf8_lossy(&bytes[..*first]).into_owned();
        let file = OsString::from(place).to_string_lossy().into_owned();
        Err(Failure::usage(format!("{peer:?} is no peer"))
            .advise(format!("write ./{file} for a file of that name here")))
    }

    pub(super) fn local(self) -> Option<PathBuf> {
        match self {
            Self::Local(path) => Some(path),
            Self::Remote(..) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    use super::*;

    fn remote(text: &str) -> Option<(String, Vec<u8>)> {
        match Side::parse(OsStr::new(text)).unwrap() {
            Side::Local(_) => None,
            Side::Remote(remote, path) => Some((remote.user.unwrap_or_default(), path)),
        }
    }

    #[test]
    fn a_colon_before_a_slash_ends_a_peer() {
        assert_eq!(remote("home:"), Some((String::new(), vec![])));
        assert_eq!(
            remote("al@home:a:b"),
            Some(("al".to_owned(), b"a:b".to_vec()))
        );
        for local in ["a", "./a:b", "/a:b", "dir/a:b", "", ".", "-"] {
            assert_eq!(remote(local), None, "{local}");
        }
        let failure = Side::parse(OsStr::new("a b:c")).unwrap_err().to_string();
        assert_eq!(
            failure,
            "\"a b\" is no peer; write ./a b:c for a file of that name here"
        );
    }

    #[test]
    fn the_colons_of_addresses_belong_to_the_peer() {
        let id = dhtnet_identity::DeviceKey::from_seed(&[1; 32]).id();
        for address in ["127.0.0.1:7000", "[::1]:7000", "10.0.0.1:7,[fd00::1]:9"] {
            let (user, path) = remote(&format!("{id}@{address}:/etc/x:y")).unwrap();
            assert_eq!((user.as_str(), path.as_slice()), ("", &b"/etc/x:y"[..]));
            let (user, path) = remote(&format!("bob@{id}@{address}:1234")).unwrap();
            assert_eq!((user.as_str(), path.as_slice()), ("bob", &b"1234"[..]));
        }
        assert_eq!(remote(&format!("{id}:x")).unwrap().1, b"x");
    }

    #[test]
    fn a_path_need_not_be_text() {
        let place = OsStr::from_bytes(b"home:\xff\n");
        match Side::parse(place).unwrap() {
            Side::Remote(_, path) => assert_eq!(path, b"\xff\n"),
            local => panic!("{local:?}"),
        }
    }
}
