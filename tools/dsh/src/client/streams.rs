//! The bytes of a session, and what a person and the system say meanwhile.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use bytes::Bytes;
use dhtnet::{Channel, ChannelError, Listener, RecvHalf, SendHalf};
use dhtnet_cli::{ExitCode, Peer, Shutdown};
use dhtnet_forward::give_up::GiveUp;
use dhtnet_forward::join::{Sink, Source};
use dhtnet_forward::stdio::{AtEnd, Stdin, Stdout};
use dhtnet_forward::{Session, paths};
use dhtnet_shell_wire::control::{ToClient, ToServer};
use dhtnet_shell_wire::request::Token;
use rustix::process::{Signal as SignalNumber, getpid, kill_process};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::escape::{EscapeCharacter, Escapes, Wish};
use super::raw::{self, LocalTerminal};
use super::{End, SETTLE_LIMIT, status_of_code};
use crate::frames::Frames;

/// Blocks taken from the peer at once.
const MAX_BLOCKS: usize = 64;

/// Wishes that wait; a person types no faster.
const MAX_WISHES: usize = 16;

/// How long the exit status may take after the output has ended.
const STATUS_LIMIT: Duration = Duration::from_secs(30);

/// Exit status for SIGHUP.
const HUNG_UP: u8 = 128 + 1;

/// A session on its way.
pub(super) struct Link<'s> {
    pub(super) session: &'s Session,
    pub(super) peer: &'s Peer,
    /// In raw mode.
    pub(super) terminal: Option<LocalTerminal>,
    pub(super) token: Token,
    pub(super) escape: EscapeCharacter,
}

/// Signals that the session answers itself.
struct Signals {
    window: Signal,
    resumed: Signal,
    hung_up: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let resumed = SignalKind::from_raw(SignalNumber::CONT.as_raw());
        Ok(Self {
            window: signal(SignalKind::window_change())?,
            resumed: signal(resumed)?,
            hung_up: signal(SignalKind::hangup())?,
        })
    }
}

/// How far a session has come.
#[derive(Default)]
struct Progress {
    input_ended: bool,
    output_ended: bool,
    side_ended: bool,
    end: Option<End>,
    /// When an exit status is no longer waited for.
    status_by: Option<Instant>,
    interrupts: u32,
}

impl Link<'_> {
    /// Carries bytes until the remote process has ended and everything has come, or until one
    /// side gives up.
    pub(super) async fn carry(
        &self,
        channel: Channel,
        (stdin, stdout): (File, File),
        listener: Listener,
        shutdown: &mut Shutdown,
    ) -> io::Result<End> {
        let mut signals = Signals::new()?;
        let mut interrupts = shutdown.divert_interrupts();
        let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        let (mut send, recv) = channel.split();
        let escape = match self.terminal {
            Some(_) => self.escape,
            None => EscapeCharacter::NONE,
        };
        let mut escapes = Escapes::new(escape);
        let help = escapes.help();
        let (wish, mut wishes) = mpsc::channel(MAX_WISHES);
        let (hand_over, mut handed_over) = oneshot::channel();
        let mut beside = Beside::default();
        let end = {
            let input = copy_input(Stdin::new(stdin), &mut send, &mut escapes, wish);
            let output = copy_output(recv, Stdout::new(stdout, AtEnd::Close));
            let side =
                self.listen_beside(listener, Stdout::new(stderr, AtEnd::StayOpen), hand_over);
            tokio::pin!(input, output, side);
            let mut progress = Progress::default();
            loop {
                if let Some(end) = progress.is_over() {
                    break end;
                }
                tokio::select! {
                    ended = &mut input, if !progress.input_ended => {
                        progress.input_ended = true;
                        ended?;
                    }
                    ended = &mut output, if !progress.output_ended => progress.note_output(ended)?,
                    ended = &mut side, if !progress.side_ended => progress.note_side(ended)?,
                    Ok(say) = &mut handed_over, if beside.is_missing() => beside.begin(say).await,
                    Some(wish) = wishes.recv() => match wish {
                        Wish::Disconnect => break End::Disconnected,
                        wish => self.grant(wish, &help),
                    },
                    _ = signals.window.recv() => self.tell_size(&mut beside).await,
                    _ = signals.resumed.recv() => {
                        self.take_terminal();
                        self.tell_size(&mut beside).await;
                    }
                    _ = signals.hung_up.recv() => break End::Signalled(HUNG_UP),
                    () = interrupts.next() => {
                        progress.interrupts += 1;
                        if progress.interrupts > 1 {
                            break End::Signalled(status_of_code(ExitCode::Interrupted));
                        }
                        beside.say(&ToServer::Signal("INT".to_owned())).await;
                    }
                    code = shutdown.requested() => break End::Signalled(status_of_code(code)),
                    () = sleep_until(progress.status_by.unwrap_or_else(Instant::now)),
                        if progress.status_by.is_some() =>
                    {
                        return Err(io::Error::other("it ended without an exit status"));
                    }
                }
            }
        };
        if matches!(end, End::Disconnected | End::Signalled(_)) {
            send.reset(GiveUp::Interrupted.code());
            beside.give_up();
            self.settle().await;
        }
        Ok(end)
    }

    /// Gives the terminal back, and waits until the peer has heard that this side leaves: before the
    /// connection is closed.
    async fn settle(&self) {
        raw::restore();
        let _ = timeout(SETTLE_LIMIT, self.session.node.ping(&self.peer.address.id)).await;
    }

    /// What comes beside the output: standard error, and how it ended.
    async fn listen_beside(
        &self,
        mut listener: Listener,
        mut stderr: Stdout,
        hand_over: oneshot::Sender<SendHalf>,
    ) -> io::Result<End> {
        let channel = loop {
            let Some(incoming) = listener.accept().await else {
                return std::future::pending().await;
            };
            let is_ours = incoming.peer() == self.peer.address.id
                && incoming.request().metadata.as_ref() == self.token.as_slice();
            if is_ours {
                break incoming.accept();
            }
        };
        let (say, recv) = channel.split();
        let _ = hand_over.send(say);
        let mut frames = Frames::new(recv);
        while let Some(frame) = frames.next().await? {
            let end = match ToClient::decode(&frame)? {
                Some(ToClient::Stderr(bytes)) => {
                    // Whoever closed it does not want it.
                    let _ = stderr.write_blocks(&mut [bytes]).await;
                    continue;
                }
                Some(ToClient::Exited(status)) => End::Exited(status),
                Some(ToClient::Killed(signal)) => End::Killed(signal),
                Some(ToClient::Failed(why)) => End::Failed(why),
                None => continue,
            };
            let _ = stderr.finish().await;
            return Ok(end);
        }
        Err(io::Error::other("it ended without an exit status"))
    }

    /// Does what the user typed an escape for.
    fn grant(&self, wish: Wish, help: &[String]) {
        match wish {
            Wish::Help => raw::tell(help),
            Wish::Status => {
                let id = &self.peer.address.id;
                let path = paths::connection_to(self.session, id).and_then(|c| c.path);
                let way = path.map_or_else(|| "no path".to_owned(), |path| paths::words(&path));
                raw::tell(&[format!("dsh: connected to {} via {way}", self.peer)]);
            }
            Wish::Suspend => {
                raw::restore();
                // Raw mode comes back with SIGCONT.
                let _ = kill_process(getpid(), SignalNumber::TSTP);
            }
            Wish::Disconnect | Wish::Detach => {}
        }
    }

    fn take_terminal(&self) {
        if let Some(terminal) = &self.terminal {
            // A terminal that is gone shows at the next read.
            let _ = terminal.make_raw();
        }
    }

    async fn tell_size(&self, beside: &mut Beside) {
        if let Some(terminal) = &self.terminal {
            beside.say(&ToServer::Resize(terminal.size())).await;
        }
    }
}

impl Progress {
    fn is_over(&mut self) -> Option<End> {
        match (&self.end, self.output_ended) {
            // What could not be gone on with may have no end of output.
            (Some(End::Failed(_)), _) | (Some(_), true) => self.end.take(),
            _ => None,
        }
    }

    fn note_output(&mut self, ended: io::Result<()>) -> io::Result<()> {
        ended?;
        self.output_ended = true;
        if self.end.is_none() {
            self.status_by = Some(Instant::now() + STATUS_LIMIT);
        }
        Ok(())
    }

    /// A failure there is a failure of the connection, which the output says better while it
    /// still comes.
    fn note_side(&mut self, ended: io::Result<End>) -> io::Result<()> {
        self.side_ended = true;
        match ended {
            Ok(end) => {
                self.end = Some(end);
                self.status_by = None;
                Ok(())
            }
            Err(error) if self.output_ended || !is_lost(&error) => Err(error),
            Err(_) => Ok(()),
        }
    }
}

fn is_lost(error: &io::Error) -> bool {
    matches!(
        ChannelError::from_io(error),
        Some(ChannelError::ConnectionLost(_))
    )
}

/// The direction to the peer of the control channel, which may not be there yet.
#[derive(Default)]
struct Beside {
    say: Option<SendHalf>,
    /// The latest of each kind that waits for it.
    waiting: Vec<ToServer>,
}

/// Messages that wait for the control channel: one of each kind.
const MAX_WAITING: usize = 2;

impl Beside {
    fn is_missing(&self) -> bool {
        self.say.is_none()
    }

    async fn begin(&mut self, say: SendHalf) {
        self.say = Some(say);
        for message in std::mem::take(&mut self.waiting) {
            self.say(&message).await;
        }
    }

    async fn say(&mut self, message: &ToServer) {
        match &mut self.say {
            // One that is gone shows where its answers are read.
            Some(say) => drop(say.write_chunk(message.frame().encode()).await),
            None => {
                let kind = std::mem::discriminant(message);
                self.waiting
                    .retain(|waiting| std::mem::discriminant(waiting) != kind);
                self.waiting.push(message.clone());
                debug_assert!(self.waiting.len() <= MAX_WAITING);
            }
        }
    }

    fn give_up(&mut self) {
        if let Some(say) = &mut self.say {
            say.reset(GiveUp::Interrupted.code());
        }
    }
}

/// From stdin to the peer, until either ends. Escapes are taken out.
async fn copy_input(
    mut stdin: Stdin,
    send: &mut SendHalf,
    escapes: &mut Escapes,
    wish: mpsc::Sender<Wish>,
) -> io::Result<()> {
    loop {
        let block = tokio::select! {
            block = stdin.next_block() => block,
            // The command reads no more; or the connection is gone, which the output tells.
            _ = send.stopped() => return Ok(()),
        };
        let block =
            block.map_err(|error| io::Error::other(format!("cannot read stdin: {error}")))?;
        let Some(block) = block else {
            send.finish();
            return Ok(());
        };
        let block = if escapes.is_off() {
            block
        } else {
            let (passed, wishes) = escapes.sift(&block);
            for wished in wishes {
                // Who no longer listens is ending anyway.
                let _ = wish.send(wished).await;
            }
            Bytes::from(passed)
        };
        if !block.is_empty() && send.write_chunk(block).await.is_err() {
            return Ok(());
        }
    }
}

/// From the peer to stdout, until the peer ends. A stdout that nobody reads ends it too.
async fn copy_output(mut recv: RecvHalf, mut stdout: Stdout) -> io::Result<()> {
    let mut blocks = [const { Bytes::new() }; MAX_BLOCKS];
    while let Some(count) = recv.read_chunks(&mut blocks).await? {
        if stdout.write_blocks(&mut blocks[..count]).await.is_err() {
            recv.stop(GiveUp::OutputFailed.code());
            return Ok(());
        }
    }
    let _ = stdout.finish().await;
    Ok(())
}
