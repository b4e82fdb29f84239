//! Tells when the addresses or the routes of this machine change, and when it was asleep.
//!
//! On Linux the kernel says so through a netlink socket; what it says is not read, only that it
//! says something, and then the addresses and routes are looked at: router advertisements repeat
//! themselves every few seconds and change nothing. Elsewhere they are looked at every
//! [`LOOK_EVERY`].

use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::routes;

/// A change comes as a burst of messages, and an address that goes is often followed by one that
/// comes; this long after the first message all is looked at together.
const SETTLE: Duration = Duration::from_millis(150);

/// How often the clocks are compared, and, where nothing tells of changes, all is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// Time that a machine was away for, at least, when it has slept. Clocks that are stepped by less
/// are none of our business.
const SLEPT: Duration = Duration::from_secs(5);

/// How many changes there were; receivers are woken by each.
pub(crate) type Changes = watch::Receiver<u64>;

/// Waits for the next change; for ever where nothing tells of any.
pub(crate) async fn next_change(changes: &mut Option<Changes>) {
    if let Some(changes) = changes
        && changes.changed().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

/// Watches until it is dropped.
#[derive(Debug)]
pub(crate) struct Watcher {
    changes: Changes,
    task: JoinHandle<()>,
}

impl Watcher {
    /// Starts to watch the network namespace that the runtime's threads are in. Must be called
    /// inside a runtime.
    pub(crate) fn start() -> Self {
        let (tell, changes) = watch::channel(0);
        let task = tokio::spawn(run(tell));
        Self { changes, task }
    }

    /// Woken by each change from now on.
    pub(crate) fn changes(&self) -> Changes {
        let mut changes = self.changes.clone();
        changes.mark_unchanged();
        changes
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(tell: watch::Sender<u64>) {
    let mut messages = Messages::open();
    let mut picture = Picture::take();
    let mut clocks = Clocks::read();
    loop {
        let told = tokio::select! {
            () = messages.next() => true,
            () = tokio::time::sleep(LOOK_EVERY) => false,
        };
        if told {
            tokio::time::sleep(SETTLE).await;
            messages.drain();
        }
        let clocks_now = Clocks::read();
        let slept = clocks.has_slept_until(&clocks_now);
        clocks = clocks_now;
        let mut changed = false;
        if told || slept || !messages.are_told() {
            let now = Picture::take();
            changed = now != picture;
            picture = now;
        }
        if changed || slept {
            tracing::debug!(slept, "the network changed");
            tell.send_modify(|count| *count += 1);
        }
    }
}

/// What a change is a change of.
#[derive(PartialEq, Eq)]
struct Picture {
    addresses: Vec<(String, IpAddr)>,
    routes: Vec<String>,
}

impl Picture {
    fn take() -> Self {
        let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
        let named = |one: if_addrs::Interface| (one.name.clone(), one.ip());
        let mut addresses: Vec<_> = interfaces.into_iter().map(named).collect();
        addresses.sort();
        Self {
            addresses,
            routes: routes::all(),
        }
    }
}

/// One clock that stands still while the machine sleeps, and one that does not.
struct Clocks {
    awake: Instant,
    all: Duration,
}

impl Clocks {
    fn read() -> Self {
        Self {
            awake: Instant::now(),
            all: whole_time(),
        }
    }

    fn has_slept_until(&self, later: &Self) -> bool {
        let awake = later.awake.saturating_duration_since(self.awake);
        later.all.saturating_sub(self.all).saturating_sub(awake) >= SLEPT
    }
}

#[cfg(target_os = "linux")]
fn whole_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::try_from(time).unwrap_or_else(|_| wall_time())
}

#[cfg(not(target_os = "linux"))]
fn whole_time() -> Duration {
    wall_time()
}

fn wall_time() -> Duration {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default()
}

/// The kernel's messages, as far as there are any.
struct Messages {
    #[cfg(target_os = "linux")]
    socket: Option<crate::driver::Readable<std::os::fd::OwnedFd>>,
}

#[cfg(target_os = "linux")]
mod kernel {
    use std::io;
    use std::os::fd::OwnedFd;
    use std::task::{Context, Poll};

    use rustix::net::netlink::SocketAddrNetlink;
    use rustix::net::{self, AddressFamily, RecvFlags, SocketFlags, SocketType};

    use super::Messages;
    use crate::driver::{More, Readable};

    /// Multicast groups of linux/rtnetlink.h: links (1), addresses (0x10, 0x100) and routes (0x40,
    /// 0x400) of both families.
    const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

    impl Messages {
        pub(super) fn open() -> Self {
            let socket = open().inspect_err(|error| {
                tracing::debug!(%error, "no messages from the kernel; looking now and then");
            });
            Self {
                socket: socket.ok(),
            }
        }

        /// Whether changes are told; if not, they have to be looked for.
        pub(super) fn are_told(&self) -> bool {
            self.socket.is_some()
        }

        /// Waits for a message.
        pub(super) async fn next(&mut self) {
            match &self.socket {
                Some(socket) => std::future::poll_fn(|cx| read(cx, socket)).await,
                None => std::future::pending().await,
            }
        }

        /// Forgets what came meanwhile.
        pub(super) fn drain(&mut self) {
            let Some(socket) = &self.socket else { return };
            while matches!(
                net::recv(socket.inner(), &mut [0; 1], RecvFlags::DONTWAIT),
                Ok(_) | Err(rustix::io::Errno::NOBUFS)
            ) {}
        }
    }

    fn read(cx: &mut Context<'_>, socket: &Readable<OwnedFd>) -> Poll<()> {
        // Messages that did not fit into the socket's buffer (ENOBUFS) are messages as well, and
        // a socket that fails in another way would only fail again: looking is never wrong.
        let one = |fd: &OwnedFd| match net::recv(fd, &mut [0; 1], RecvFlags::empty()) {
            Ok(_) | Err(rustix::io::Errno::NOBUFS) => Ok(((), More::Perhaps)),
            Err(error) => Err(io::Error::from(error)),
        };
        socket.poll_read(cx, one).map(drop)
    }

    fn open() -> io::Result<Readable<OwnedFd>> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // No protocol is number 0, NETLINK_ROUTE.
        let fd = net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        net::bind(&fd, &SocketAddrNetlink::new(0, GROUPS))?;
        Readable::new(fd)
    }
}

#[cfg(not(target_os = "linux"))]
impl Messages {
    fn open() -> Self {
        Self {}
    }

    fn are_told(&self) -> bool {
        false
    }

    async fn next(&mut self) {
        std::future::pending::<()>().await;
    }

    fn drain(&mut self) {}
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use super::*;

    #[test]
    fn a_machine_that_slept_is_noticed_and_a_slow_one_is_not() {
        let start = Clocks {
            awake: Instant::now(),
            all: Duration::from_secs(1_000),
        };
        let after = |awake: u64, all: u64| Clocks {
            awake: start.awake + Duration::from_secs(awake),
            all: start.all + Duration::from_secs(all),
        };
        assert!(!start.has_slept_until(&after(3, 3)));
        assert!(!start.has_slept_until(&after(90, 94)));
        assert!(start.has_slept_until(&after(90, 95)));
        assert!(start.has_slept_until(&after(3, 3_600)));
        // A clock that goes back is no sleep.
        assert!(!after(3, 9).has_slept_until(&start));
    }

    #[test]
    fn what_did_not_change_looks_the_same() {
        assert!(Picture::take() == Picture::take());
    }

    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn the_kernel_gives_a_socket_for_its_messages() {
        assert!(Messages::open().are_told());
    }
}
