//! The mark of packets, by which the rules of the system's routing tell them apart.

use std::io;

/// The mark of a socket's packets (`SO_MARK`, socket(7)), if it has one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Mark(pub(crate) Option<u32>);

impl Mark {
    /// Marks what `socket` sends from now on.
    #[cfg(target_os = "linux")]
    pub(in crate::driver) fn put_on<S: std::os::fd::AsFd>(self, socket: &S) -> io::Result<()> {
        match self.0 {
            Some(mark) => socket2::SockRef::from(socket).set_mark(mark),
            None => Ok(()),
        }
    }

    /// There are no marks on this system, and no way to ask for one.
    #[cfg(not(target_os = "linux"))]
    pub(in crate::driver) fn put_on<S>(self, _socket: &S) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    use super::*;

    #[test]
    fn a_socket_has_the_mark_that_was_asked_for_or_none() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        Mark(None).put_on(&socket).unwrap();
        assert_eq!(socket2::SockRef::from(&socket).mark().unwrap(), 0);
        match Mark(Some(7)).put_on(&socket) {
            Ok(()) => assert_eq!(socket2::SockRef::from(&socket).mark().unwrap(), 7),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
        }
    }
}
