//! The three kernel calls that std and rustix have no safe form of: a new network namespace for
//! the calling thread, a child that dies with its parent thread, and a TAP device.
#![allow(
    unsafe_code,
    reason = "unshare, pre_exec and the TUNSETIFF ioctl have no safe wrapper"
)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;

/// Moves the calling thread, and what it starts from now on, into a new network namespace.
pub(crate) fn unshare_network() -> io::Result<()> {
    // SAFETY: CLONE_NEWNET changes the network namespace of the calling thread and nothing that
    // memory safety or another thread rests on.
    match unsafe { libc::unshare(libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The child gets SIGKILL when the thread that starts it ends, also when that is by a kill.
pub(crate) fn die_with_thread(command: &mut std::process::Command) {
    // SAFETY: between fork and exec the closure makes one async-signal-safe system call and
    // allocates nothing.
    unsafe {
        command.pre_exec(
            || match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            },
        );
    }
}

/// Makes the TAP device `name` in the network namespace of the calling thread. Each read and write
/// of the returned file, which does not block, is one Ethernet frame.
pub(crate) fn open_tap(name: &str) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")?;
    let flags = libc::IFF_TAP | libc::IFF_NO_PI;
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_flags: flags as libc::c_short,
        },
    };
    if name.len() >= libc::IFNAMSIZ {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    // SAFETY: the descriptor is open, and `request` is the ifreq that TUNSETIFF reads and writes,
    // alive for the whole call.
    match unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) } {
        0 => Ok(file),
        _ => Err(io::Error::last_os_error()),
    }
}
