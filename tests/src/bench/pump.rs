//! Source, sink and echo: both ends of what is sent through a forward.
//!
//! A connection starts with one byte that says what it is for. `U`: the server swallows all up to
//! the end and answers with the count, 8 bytes. `D`, 8 bytes length: the server sends so much and
//! closes. `E`: echoes blocks of [`ECHO_LEN`] bytes. `H`: answers one byte and holds the
//! connection open until the other side closes it.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::lab::Host;

/// Bytes of one request and of its answer.
pub(super) const ECHO_LEN: usize = 64;

/// Bytes moved in one call; larger gains nothing over a veth pair.
const BUFFER: usize = 256 * 1024;

/// Stack of a serving thread, bytes: there may be a thousand.
const STACK: usize = 64 * 1024;

/// Longest a pump waits for a byte before it calls the peer dead.
const PATIENCE: Duration = Duration::from_secs(60);

/// The far end, in a host, on every address.
#[derive(Debug)]
pub(super) struct PumpServer {
    stop: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
    acceptor: Option<JoinHandle<()>>,
}

impl PumpServer {
    /// Listens on `port` of `host`.
    ///
    /// # Errors
    /// When the port is taken.
    pub(super) fn start(host: &Host, port: u16) -> io::Result<Self> {
        let listener = host.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))??;
        listener.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let received = Arc::new(AtomicU64::new(0));
        let acceptor = {
            let (stop, received) = (Arc::clone(&stop), Arc::clone(&received));
            std::thread::spawn(move || accept_all(&listener, &stop, &received))
        };
        Ok(Self {
            stop,
            received,
            acceptor: Some(acceptor),
        })
    }

    /// Bytes swallowed since the start, over all connections.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

impl Drop for PumpServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn accept_all(listener: &TcpListener, stop: &AtomicBool, received: &Arc<AtomicU64>) {
    let tick = Timespec {
        tv_sec: 0,
        tv_nsec: 50_000_000,
    };
    while !stop.load(Ordering::Relaxed) {
        let mut fds = [PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)];
        let _ = poll(&mut fds, Some(&tick));
        while let Ok((stream, _)) = listener.accept() {
            let received = Arc::clone(received);
            let serving = std::thread::Builder::new().stack_size(STACK);
            let _ = serving.spawn(move || serve(stream, &received));
        }
    }
}

fn serve(mut stream: TcpStream, received: &AtomicU64) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    let mut purpose = [0];
    stream.read_exact(&mut purpose)?;
    match purpose[0] {
        b'U' => {
            let count = swallow(&mut stream, Some(received))?;
            stream.write_all(&count.to_le_bytes())
        }
        b'D' => {
            let mut len = [0; 8];
            stream.read_exact(&mut len)?;
            spout(&mut stream, u64::from_le_bytes(len), None).map(|_| ())
        }
        b'E' => {
            let mut block = [0; ECHO_LEN];
            while stream.read_exact(&mut block).is_ok() {
                stream.write_all(&block)?;
            }
            Ok(())
        }
        _ => {
            stream.write_all(b".")?;
            swallow(&mut stream, None).map(|_| ())
        }
    }
}

/// Reads to the end; returns the count.
pub(super) fn swallow(stream: &mut impl Read, counter: Option<&AtomicU64>) -> io::Result<u64> {
    let mut buffer = vec![0; BUFFER];
    let mut count = 0;
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(count),
            Ok(len) => {
                count += len as u64;
                if let Some(counter) = counter {
                    counter.fetch_add(len as u64, Ordering::Relaxed);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Writes `len` bytes, or fewer when the deadline passes; returns the count.
///
/// # Errors
/// When the other side does not take them.
pub(super) fn spout(
    stream: &mut impl Write,
    len: u64,
    deadline: Option<Instant>,
) -> io::Result<u64> {
    let buffer = vec![0x5a; BUFFER];
    let mut left = len;
    while left > 0 {
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            break;
        }
        let part = usize::try_from(left).map_or(BUFFER, |left| left.min(BUFFER));
        stream.write_all(&buffer[..part])?;
        left -= part as u64;
    }
    Ok(len - left)
}

/// Opens a connection from `host` for one purpose.
///
/// # Errors
/// When nothing listens there.
pub(super) fn connect(host: &Host, entry: SocketAddr, purpose: u8) -> io::Result<TcpStream> {
    let mut stream = host.run(|| TcpStream::connect(entry))??;
    prepare(&mut stream, purpose)?;
    Ok(stream)
}

fn prepare(stream: &mut TcpStream, purpose: u8) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&[purpose])
}

/// Time to send `len` bytes and have their count confirmed.
///
/// # Errors
/// When the connection breaks or the count is wrong.
pub(super) fn upload(host: &Host, entry: SocketAddr, len: u64) -> io::Result<Duration> {
    let mut stream = connect(host, entry, b'U')?;
    let started = Instant::now();
    spout(&mut stream, len, None)?;
    stream.shutdown(Shutdown::Write)?;
    let mut count = [0; 8];
    stream.read_exact(&mut count)?;
    match u64::from_le_bytes(count) {
        count if count == len => Ok(started.elapsed()),
        count => Err(io::Error::other(format!("{count} of {len} bytes arrived"))),
    }
}

/// Time to ask for `len` bytes and have them all.
///
/// # Errors
/// When the connection breaks or ends early.
pub(super) fn download(host: &Host, entry: SocketAddr, len: u64) -> io::Result<Duration> {
    let mut stream = connect(host, entry, b'D')?;
    let started = Instant::now();
    stream.write_all(&len.to_le_bytes())?;
    match swallow(&mut stream, None)? {
        count if count == len => Ok(started.elapsed()),
        count => Err(io::Error::other(format!("{count} of {len} bytes arrived"))),
    }
}

/// Round trips of `count` requests of [`ECHO_LEN`] bytes on one connection, microseconds each.
///
/// # Errors
/// When the connection breaks.
pub(super) fn echo(host: &Host, entry: SocketAddr, count: usize) -> io::Result<Vec<f64>> {
    let mut stream = connect(host, entry, b'E')?;
    let mut block = [7; ECHO_LEN];
    let mut samples = Vec::with_capacity(count);
    for _ in 0..count {
        let started = Instant::now();
        stream.write_all(&block)?;
        stream.read_exact(&mut block)?;
        samples.push(started.elapsed().as_secs_f64() * 1e6);
    }
    Ok(samples)
}

/// New connections a second, each with one request and its answer, `at_once` of them in parallel,
/// for `span`.
///
/// # Errors
/// When a connection fails.
pub(super) fn connections(
    host: &Host,
    entry: SocketAddr,
    at_once: usize,
    span: Duration,
) -> io::Result<f64> {
    let started = Instant::now();
    let deadline = started + span;
    let done = host.run(|| {
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..at_once)
                .map(|_| scope.spawn(|| connect_until(entry, deadline)))
                .collect();
            let broken = |_| io::Error::other("a worker ended");
            workers
                .into_iter()
                .map(|worker| worker.join().map_err(broken)?)
                .sum::<io::Result<u64>>()
        })
    })??;
    Ok(done as f64 / started.elapsed().as_secs_f64())
}

fn connect_until(entry: SocketAddr, deadline: Instant) -> io::Result<u64> {
    let mut done = 0;
    while Instant::now() < deadline {
        let mut stream = TcpStream::connect(entry)?;
        prepare(&mut stream, b'E')?;
        let mut block = [1; ECHO_LEN];
        stream.write_all(&block)?;
        stream.read_exact(&mut block)?;
        done += 1;
    }
    Ok(done)
}
