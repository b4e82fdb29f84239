//! `dnc PEER [HOST:PORT]` and `dnc -l`: stdin and stdout joined to one peer.

use std::future::Future;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dhtnet::{Channel, ChannelRequest, DeclineCode, DeclineReason, Listener, RecvHalf, SendHalf};
use dhtnet_cli::{ExitCode, Failure, Io, Peer, Shutdown, Talk};
use dhtnet_forward::forward::Persistence;
use dhtnet_forward::give_up::GiveUp;
use dhtnet_forward::join::{Ending, JoinError, Sink, Source, Totals, join};
use dhtnet_forward::retry::{Backoff, may_pass};
use dhtnet_forward::session::{Session, asked};
use dhtnet_forward::stdio::{AtEnd, Stdin, Stdout};
use dhtnet_identity::PeerArgument;
use dhtnet_identity::target::Target;

use tokio::time::timeout;

use crate::PIPE_CHANNEL;
use crate::progress::Progress;

/// How long a peer may take to confirm that it was told why the transfer ends.
const SETTLE_LIMIT: Duration = Duration::from_secs(1);

/// stdin and stdout, which several peers may have one after the other.
pub(crate) struct Stdio {
    stdin: Stdin,
    stdout: Stdout,
    progress: Progress,
    ending: Ending,
    broken: bool,
}

impl Stdio {
    pub(crate) fn new(io: Io, talk: &Talk, half_close: bool, at_end: AtEnd) -> Self {
        let progress = Progress::new(&io, talk.verbosity());
        // A terminal whose user sent the output elsewhere is not going to answer: without this,
        // `dnc -l > file` would wait for a Ctrl-D after the file has come.
        let nobody_answers = io.stdin.is_terminal() && !io.stdout.is_terminal();
        let ending = match (half_close, nobody_answers) {
            (false, _) => Ending::Either,
            (true, true) => Ending::PeersDirection,
            (true, false) => Ending::Both,
        };
        Self {
            stdin: Stdin::new(io.stdin),
            stdout: Stdout::new(io.stdout, at_end),
            progress,
            ending,
            broken: false,
        }
    }

    async fn join(
        &mut self,
        send: &mut SendHalf,
        recv: &mut RecvHalf,
    ) -> Result<Totals, JoinError> {
        let mut source = Counted(&mut self.stdin, &self.progress);
        let mut sink = Counted(&mut self.stdout, &self.progress);
        let joined = join(&mut source, &mut sink, send, recv, self.ending).await;
        self.progress.clear();
        self.broken |= matches!(joined, Err(JoinError::Input(_) | JoinError::Output(_)));
        if matches!(joined, Err(JoinError::Input(_) | JoinError::Channel(_))) {
            // What did arrive is written out; that it is not all is told by the exit code.
            let _ = self.stdout.finish().await;
        }
        joined
    }

    /// Whether anything was read from stdin or received, which cannot be done a second time.
    fn is_begun(&self) -> bool {
        self.stdin.is_begun() || self.stdout.is_begun()
    }

    /// Whether stdin or stdout failed, so that no further peer can be served.
    fn is_broken(&self) -> bool {
        self.broken
    }
}

/// A stream whose bytes are shown as progress.
struct Counted<'s, S>(&'s mut S, &'s Progress);

impl<S: Source> Source for Counted<'_, S> {
    async fn next_block(&mut self) -> io::Result<Option<Bytes>> {
        let block = self.0.next_block().await;
        if let Ok(Some(block)) = &block {
            self.1.sent(block.len());
        }
        block
    }
}

impl<S: Sink> Sink for Counted<'_, S> {
    async fn write_blocks(&mut self, blocks: &mut [Bytes]) -> io::Result<()> {
        self.1.received(blocks.iter().map(Bytes::len).sum());
        self.0.write_blocks(blocks).await
    }

    async fn finish(&mut self) -> io::Result<()> {
        self.0.finish().await
    }
}

/// Connects, joins, and waits for the end. With [`Persistence::ForEver`] it begins again after a
/// failure, as long as nothing was read from stdin or received: half a stream cannot be resumed.
pub(crate) async fn connect(
    session: &Session,
    (peer, target): (&PeerArgument, Option<&Target>),
    persistence: Persistence,
    mut stdio: Stdio,
    shutdown: &mut Shutdown,
) -> Result<ExitCode, Failure> {
    let peer = session.resolve(peer)?;
    let mut backoff = Backoff::default();
    loop {
        let ended = connect_once(session, (&peer, target), &mut stdio, shutdown).await;
        let failure = match ended {
            Err(failure) if persistence == Persistence::ForEver && may_pass(&failure) => failure,
            ended => return ended,
        };
        if stdio.is_begun() {
            let words = "a transfer that has begun cannot be resumed, so it is not tried again";
            return Err(failure.advise(words));
        }
        if let Err(code) = backoff.pause(session, &failure, shutdown).await {
            return Ok(code);
        }
    }
}

async fn connect_once(
    session: &Session,
    (peer, target): (&Peer, Option<&Target>),
    stdio: &mut Stdio,
    shutdown: &mut Shutdown,
) -> Result<ExitCode, Failure> {
    let request = target.map_or_else(
        || ChannelRequest::stream(PIPE_CHANNEL),
        |target| session.target_request(target),
    );
    let channel = tokio::select! {
        channel = session.connect(peer, request) => {
            channel.map_err(|error| session.connect_failure(peer, &asked(target), &error))?
        }
        code = shutdown.requested() => return Ok(code),
    };
    let nothing = std::future::pending();
    serve(session, peer, channel, (stdio, shutdown), nothing).await
}

/// Joins until the end, a signal, or an error. `meanwhile` runs beside it.
async fn serve(
    session: &Session,
    peer: &Peer,
    channel: Channel,
    (stdio, shutdown): (&mut Stdio, &mut Shutdown),
    meanwhile: impl Future<Output = std::convert::Infallible>,
) -> Result<ExitCode, Failure> {
    let begun = Instant::now();
    let (mut send, mut recv) = channel.split();
    let ended = tokio::select! {
        ended = stdio.join(&mut send, &mut recv) => Ok(ended),
        code = shutdown.requested() => Err(code),
        never = meanwhile => match never {},
    };
    if ended.is_err() {
        send.reset(GiveUp::Interrupted.code());
        recv.stop(GiveUp::Interrupted.code());
    }
    if !matches!(ended, Ok(Ok(_))) || stdio.ending == Ending::Either {
        // So that the peer hears the cause before the connection is closed. Without it the peer
        // would still notice, but not know why.
        let _ = timeout(SETTLE_LIMIT, session.node.ping(&peer.address.id)).await;
    }
    match ended {
        Ok(Ok(totals)) => {
            session.talk.detail(format_args!(
                "done with {peer}: {} bytes sent, {} received in {} ms",
                totals.sent,
                totals.received,
                begun.elapsed().as_millis()
            ));
            Ok(ExitCode::Done)
        }
        Ok(Err(error)) => Err(session.stdio_failure(peer, &error)),
        Err(code) => Ok(code),
    }
}

/// How `dnc -l` waits.
pub(crate) struct Waiting {
    /// Whether to go on after the first peer.
    pub(crate) keep_open: bool,
    /// How long to wait for the first peer.
    pub(crate) limit: Option<Duration>,
}

/// Waits for a peer, joins it, and with `keep_open` waits for the next.
pub(crate) async fn listen(
    session: &Session,
    waiting: &Waiting,
    mut stdio: Stdio,
    shutdown: &mut Shutdown,
) -> Result<ExitCode, Failure> {
    let mut listener = session
        .node
        .listen(PIPE_CHANNEL)
        .map_err(|error| Failure::failed(format!("cannot listen: {error}")))?;
    session.talk.bare(session.peer_command(""));
    session.talk.release();
    let mut limit = waiting.limit;
    loop {
        let incoming = tokio::select! {
            incoming = listener.accept() => incoming,
            code = shutdown.requested() => return Ok(code),
            limit = expired(limit) => {
                return Err(Failure::new(
                    ExitCode::Unreachable,
                    format!("no peer came within {} s", limit.as_secs_f32()),
                )
                .advise("wait longer with -w"));
            }
        };
        let Some(incoming) = incoming else {
            return Err(Failure::failed("the node ended while listening"));
        };
        limit = None;
        let peer = session.name(incoming.peer());
        let channel = incoming.accept();
        session.tell_path(&peer, channel.connection().as_ref(), Duration::ZERO);
        let others = decline_others(&mut listener);
        let served = serve(session, &peer, channel, (&mut stdio, shutdown), others).await;
        match served {
            Ok(ExitCode::Done) if waiting.keep_open => {}
            // The next peer may fare better, unless it is this side that is broken.
            Err(failure) if waiting.keep_open && !stdio.is_broken() => {
                session.talk.error(&failure);
            }
            other => return other,
        }
    }
}

/// Waits for the limit and gives it back; for ever without one.
async fn expired(limit: Option<Duration>) -> Duration {
    match limit {
        Some(limit) => {
            tokio::time::sleep(limit).await;
            limit
        }
        None => std::future::pending().await,
    }
}

/// One peer at a time: the others are told to come again.
async fn decline_others(listener: &mut Listener) -> std::convert::Infallible {
    loop {
        match listener.accept().await {
            Some(incoming) => incoming.decline(DeclineReason::new(
                DeclineCode::Busy,
                "it is joined to another peer",
            )),
            None => std::future::pending().await,
        }
    }
}
