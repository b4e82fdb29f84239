//! Telling the service manager how it stands (sd_notify(3)). Without one, nothing happens.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Sends `state`, such as `READY=1`, to the socket that the environment names.
///
/// A service manager that is gone is no reason to stop serving, so failures are left at that.
pub fn tell(state: &str) {
    if let Some(socket) = std::env::var_os("NOTIFY_SOCKET") {
        let _ = send(&socket, state);
    }
}

fn send(socket: &OsStr, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => {
            use std::os::linux::net::SocketAddrExt;
            SocketAddr::from_abstract_name(name)?
        }
        _ => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_state_arrives_at_a_socket_in_the_file_system_and_at_an_abstract_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let receiver = UnixDatagram::bind(&path).unwrap();
        let mut buffer = [0; 64];
        send(path.as_os_str(), "READY=1").unwrap();
        let length = receiver.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1");
        assert!(send(dir.path().join("none").as_os_str(), "READY=1").is_err());

        #[cfg(target_os = "linux")]
        {
            use std::os::linux::net::SocketAddrExt;
            let name = path.as_os_str().as_bytes();
            let address = SocketAddr::from_abstract_name(name).unwrap();
            let receiver = UnixDatagram::bind_addr(&address).unwrap();
            let socket = [b"@", name].concat();
            send(OsStr::from_bytes(&socket), "STOPPING=1").unwrap();
            let length = receiver.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"STOPPING=1");
        }
    }
}
