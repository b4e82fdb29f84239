//! A session that runs: bytes between its process and its client, until one of them is gone.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use dhtnet::{
    Channel, ChannelError, ChannelRequest, ConnectOptions, EndReason, Priority, RecvHalf, SendHalf,
};
use dhtnet_forward::give_up::GiveUp;
use dhtnet_forward::join::{Sink, Source};
use dhtnet_forward::stream::{StreamSink, StreamSource};
use dhtnet_shell_wire::control::{ToClient, ToServer};
use dhtnet_shell_wire::frame::{Frame, MAX_BODY};
use dhtnet_shell_wire::request::{CONTROL_CHANNEL, Request};
use rustix::process::{Pid, Signal, kill_process_group};
use rustix::termios::{LocalModes, SpecialCodeIndex, tcgetattr, tcgetpgrp};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::process::ChildStderr;
use tokio::time::{Instant, sleep_until, timeout};

use super::Host;
use super::recording::Recorder;
use super::spawn::{Child, Pty, Streams, resize};
use crate::frames::Frames;
use crate::signals;
use crate::warden::end_session;

/// Blocks taken from the client at once.
const MAX_BLOCKS: usize = 64;

/// How long what a terminal still holds may take to come out after its process has ended.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);

/// How long a client may take to take the last bytes and the exit status.
const LAST_BYTES_LIMIT: Duration = Duration::from_secs(30);

/// How long it may take to hear why its session is cut off.
const CUT_LIMIT: Duration = Duration::from_secs(1);

/// Why a session ended before its process did.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cut {
    /// The client, or the connection to it.
    #[error("its client is gone: {0}")]
    Gone(#[source] io::Error),
    /// The policy has taken it back. The client was told.
    #[error("the policy here no longer allows it")]
    NotAllowed,
    /// What must be recorded cannot be.
    #[error("it cannot be recorded: {0}")]
    Recording(#[source] io::Error),
    /// The server ends.
    #[error("the server ends")]
    Closing,
}

impl From<io::Error> for Cut {
    fn from(error: io::Error) -> Self {
        match ChannelError::from_io(&error) {
            Some(ChannelError::ConnectionLost(EndReason::NoLongerAllowed)) => Self::NotAllowed,
            _ => Self::Gone(error),
        }
    }
}

/// A session with its process and its channel.
pub(super) struct Running<'h> {
    host: &'h Host,
    channel: Channel,
    child: Child,
}

/// The process's side of a session.
struct Ends<R, W> {
    output: R,
    input: W,
    /// Apart from the output, unless both are a terminal.
    errors: Option<ChildStderr>,
    terminal: Option<OwnedFd>,
}

/// How far a session has come.
#[derive(Default)]
struct Progress {
    input_ended: bool,
    output_ended: bool,
    errors_ended: bool,
    status: Option<ExitStatus>,
    /// When a terminal whose process has ended is given up.
    drained_by: Option<Instant>,
}

impl<'h> Running<'h> {
    pub(super) fn new(host: &'h Host, channel: Channel, child: Child) -> Self {
        Self {
            host,
            channel,
            child,
        }
    }

    /// Runs to the end, and leaves nothing behind of a session that was cut off. Says how it
    /// ended.
    pub(super) async fn run(self, request: &Request, priority: Priority) -> Result<String, Cut> {
        let Self {
            host,
            channel,
            child,
        } = self;
        let Child {
            mut process,
            leader,
            streams,
        } = child;
        let session = Live {
            host,
            leader,
            request,
            priority,
        };
        let ended = match streams {
            Streams::Terminal(pty) => {
                let Pty {
                    reader,
                    writer,
                    control,
                } = pty;
                let ends = Ends {
                    output: reader,
                    input: writer,
                    errors: None,
                    terminal: Some(control),
                };
                session.carry(channel, &mut process, ends).await
            }
            Streams::Pipes {
                stdin,
                stdout,
                stderr,
            } => {
                let ends = Ends {
                    output: stdout,
                    input: stdin,
                    errors: Some(stderr),
                    terminal: None,
                };
                session.carry(channel, &mut process, ends).await
            }
        };
        if ended.is_err() {
            end_session(leader).await;
            let _ = process.wait().await;
        }
        if let Ok(warden) = host.warden().await {
            warden.forget(leader).await;
        }
        ended.map(words)
    }
}

/// What a running session needs besides its streams.
struct Live<'s> {
    host: &'s Host,
    leader: Pid,
    request: &'s Request,
    priority: Priority,
}

impl Live<'_> {
    async fn carry<R, W>(
        &self,
        channel: Channel,
        process: &mut tokio::process::Child,
        ends: Ends<R, W>,
    ) -> Result<ExitStatus, Cut>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let recording = self.recorder()?;
        let (mut send, recv) = channel.split();
        // Also while the client says nothing and the process prints nothing.
        let lost = send.lost();
        let control = ChannelRequest::stream(CONTROL_CHANNEL)
            .metadata(self.request.token.to_vec())
            .priority(self.priority);
        let options = ConnectOptions::default().early(true);
        let control = send.open_beside(&control, options).await;
        let (mut say, orders) = control.map_err(io::Error::other)?.split();
        let mut orders = Frames::new(orders);
        let terminal = ends.terminal.as_ref();
        let ended = {
            let input = copy_input(recv, ends.input, terminal);
            let output = copy_output(ends.output, &mut send, recording.as_ref());
            let errors = copy_errors(ends.errors, &mut say);
            tokio::pin!(input, output, errors, lost);
            let mut closing = self.host.closing.clone();
            let mut progress = Progress::default();
            loop {
                if let Some(status) = progress.is_over() {
                    break Ok(status);
                }
                let step = tokio::select! {
                    ended = &mut input, if !progress.input_ended => {
                        progress.input_ended = true;
                        ended.map_err(Cut::from)
                    }
                    ended = &mut output, if !progress.output_ended => {
                        progress.output_ended = true;
                        pass_over_stop(ended, terminal)
                    }
                    ended = &mut errors, if !progress.errors_ended => {
                        progress.errors_ended = true;
                        ended.map_err(Cut::from)
                    }
                    status = process.wait(), if progress.status.is_none() => {
                        progress.note_exit(status, terminal)
                    }
                    () = sleep_until(progress.drained_by.unwrap_or_else(Instant::now)),
                        if progress.drained_by.is_some() =>
                    {
                        progress.output_ended = true;
                        Ok(())
                    }
                    order = orders.next() => self.obey(order, terminal, recording.as_ref()),
                    error = &mut lost => Err(Cut::from(io::Error::from(error))),
                    _ = closing.changed() => Err(Cut::Closing),
                };
                if let Err(cut) = step {
                    break Err(cut);
                }
            }
        };
        self.tell_end(&ended, (&mut send, &mut say)).await;
        ended
    }

    /// Tells the client how it ended, after all that the process said.
    async fn tell_end(
        &self,
        ended: &Result<ExitStatus, Cut>,
        (send, say): (&mut SendHalf, &mut SendHalf),
    ) {
        let last = match ended {
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => ToClient::Exited(code.try_into().unwrap_or(u8::MAX)),
                (None, signal) => ToClient::Killed(signals::name_of(signal.unwrap_or(0))),
            },
            Err(Cut::Gone(_)) => return,
            Err(Cut::NotAllowed) => {
                // The end of its channel tells the client why, if this one does not end before.
                let told = timeout(CUT_LIMIT, say.stopped());
                let _ = tokio::join!(end_session(self.leader), told);
                return;
            }
            Err(cut) => ToClient::Failed(cut.to_string()),
        };
        let told = async {
            say.write_chunk(last.frame().encode()).await?;
            say.finish();
            send.finish();
            send.flushed().await?;
            say.flushed().await
        };
        let limit = match ended {
            Ok(_) => LAST_BYTES_LIMIT,
            Err(_) => CUT_LIMIT,
        };
        // A client that is gone needs no answer.
        let _ = timeout(limit, told).await;
    }

    fn recorder(&self) -> Result<Option<Mutex<Recorder>>, Cut> {
        let (Some(recordings), Some(terminal)) = (&self.host.recordings, &self.request.terminal)
        else {
            return Ok(None);
        };
        let recorder = recordings.begin(terminal, self.request.command.as_deref());
        Ok(Some(Mutex::new(recorder.map_err(Cut::Recording)?)))
    }

    /// Does what the client says beside the bytes.
    fn obey(
        &self,
        order: io::Result<Option<Frame>>,
        terminal: Option<&OwnedFd>,
        recording: Option<&Mutex<Recorder>>,
    ) -> Result<(), Cut> {
        let Some(frame) = order? else {
            return Err(Cut::Gone(io::ErrorKind::UnexpectedEof.into()));
        };
        match (ToServer::decode(&frame).map_err(io::Error::from)?, terminal) {
            (Some(ToServer::Resize(size)), Some(terminal)) if size.columns > 0 && size.rows > 0 => {
                // One that has hung up needs no size.
                let _ = resize(terminal, size);
                if let Some(recording) = recording {
                    let mut recording = recording.lock().unwrap_or_else(PoisonError::into_inner);
                    recording.resize(size).map_err(Cut::Recording)?;
                }
            }
            (Some(ToServer::Signal(name)), terminal) => {
                if let Some(signal) = signals::sendable(&name) {
                    self.signal(signal, terminal);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// To who is in the foreground, as if the terminal had sent it; to the command without one.
    fn signal(&self, signal: Signal, terminal: Option<&OwnedFd>) {
        let foreground = terminal.and_then(|terminal| tcgetpgrp(terminal).ok());
        // Who has gone hears nothing.
        let _ = kill_process_group(foreground.unwrap_or(self.leader), signal);
    }
}

impl Progress {
    fn note_exit(
        &mut self,
        status: io::Result<ExitStatus>,
        terminal: Option<&OwnedFd>,
    ) -> Result<(), Cut> {
        self.status = Some(status?);
        // What a background process might still write to a terminal is not waited for.
        self.drained_by = terminal.map(|_| Instant::now() + DRAIN_LIMIT);
        Ok(())
    }

    fn is_over(&self) -> Option<ExitStatus> {
        self.status
            .filter(|_| self.output_ended && self.errors_ended)
    }
}

/// A client that wants no more of the output of a command lets it run into a closed pipe; at a
/// terminal nobody is left.
fn pass_over_stop(ended: Result<(), Cut>, terminal: Option<&OwnedFd>) -> Result<(), Cut> {
    match ended {
        Err(Cut::Gone(error)) if terminal.is_none() && is_stopped(&error) => Ok(()),
        ended => ended,
    }
}

fn is_stopped(error: &io::Error) -> bool {
    matches!(ChannelError::from_io(error), Some(ChannelError::Stopped(_)))
}

/// From the client to the process, until one of them wants no more.
async fn copy_input(
    mut recv: RecvHalf,
    input: impl AsyncWrite + Unpin,
    terminal: Option<&OwnedFd>,
) -> io::Result<()> {
    let mut sink = StreamSink::new(input);
    let mut blocks = [const { Bytes::new() }; MAX_BLOCKS];
    while let Some(count) = recv.read_chunks(&mut blocks).await? {
        if sink.write_blocks(&mut blocks[..count]).await.is_err() {
            recv.stop(GiveUp::Done.code());
            return Ok(());
        }
    }
    // A pipe ends by being closed; at a terminal a character says so.
    if let Some(end) = terminal.and_then(end_of_input) {
        let _ = sink
            .write_blocks(&mut [Bytes::copy_from_slice(&[end])])
            .await;
        std::future::pending::<()>().await;
    }
    Ok(())
}

/// The character that ends the input of a terminal that reads lines.
fn end_of_input(terminal: &OwnedFd) -> Option<u8> {
    let termios = tcgetattr(terminal).ok()?;
    let reads_lines = termios.local_modes.contains(LocalModes::ICANON);
    reads_lines.then_some(termios.special_codes[SpecialCodeIndex::VEOF])
}

/// From the process to the client, until the process ends its output.
async fn copy_output(
    output: impl AsyncRead + Unpin,
    send: &mut SendHalf,
    recording: Option<&Mutex<Recorder>>,
) -> Result<(), Cut> {
    let mut source = StreamSource::new(output);
    // A terminal that has hung up gives an error instead of an end.
    while let Ok(Some(block)) = source.next_block().await {
        if let Some(recording) = recording {
            let mut recording = recording.lock().unwrap_or_else(PoisonError::into_inner);
            recording.output(&block).map_err(Cut::Recording)?;
        }
        send.write_chunk(block).await?;
    }
    Ok(())
}

async fn copy_errors(errors: Option<ChildStderr>, say: &mut SendHalf) -> io::Result<()> {
    let Some(errors) = errors else {
        return Ok(());
    };
    let mut source = StreamSource::new(errors);
    while let Ok(Some(mut block)) = source.next_block().await {
        while !block.is_empty() {
            let part = block.split_to(block.len().min(MAX_BODY));
            say.write_chunk(ToClient::Stderr(part).frame().encode())
                .await?;
        }
    }
    Ok(())
}

fn words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with status {code}"),
        (None, signal) => format!("was ended by SIG{}", signals::name_of(signal.unwrap_or(0))),
    }
}
