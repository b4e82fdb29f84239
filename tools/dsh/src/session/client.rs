//! `dsh -S NAME PEER`: attaching to a named session, and coming back to it when the connection
//! is lost.

mod display;
mod typing;

use std::fs::File;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dhtnet::{
    Channel, ChannelError, ChannelRequest, ConnectError, ConnectOptions, DeclineCode, Priority,
    SendHalf,
};
use dhtnet_cli::failure::one_line;
use dhtnet_cli::node::{channel_failure, connect_failure};
use dhtnet_cli::{ExitCode, Failure, Io, Peer, Shutdown};
use dhtnet_forward::join::Source;
use dhtnet_forward::retry::may_pass;
use dhtnet_forward::stdio::{AtEnd, Stdin, Stdout};
use dhtnet_forward::{Session, paths};
use dhtnet_shell_wire::request::Request;
use dhtnet_shell_wire::session::attach::{Attach, Part, Seen};
use dhtnet_shell_wire::session::name::SessionName;
use dhtnet_shell_wire::session::{SESSION_CHANNEL, ToSession, ToViewer};
use dhtnet_terminal::Prediction;
use rustix::process::{Signal as SignalNumber, getpid, kill_process};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, timeout};

use self::display::Display;
use self::typing::Typing;
use crate::Status;
use crate::client::escape::{Escapes, Wish};
use crate::client::raw::{self, LocalTerminal};
use crate::client::{declined, request as new_request, what};
use crate::frames::Frames;
use crate::plan::Job;
use crate::signals;

/// Waits between two attempts to come back: the first, and the longest.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How often the round trip is looked at.
const LOOK_AT_ROUND_TRIP: Duration = Duration::from_secs(1);

/// Output after which the server is told that it was shown; an eighth of what it sends ahead.
const TELL_TAKEN: u64 = 16 * 1024;

/// How long a peer may take to confirm that this side leaves.
const LEAVE_LIMIT: Duration = Duration::from_millis(500);

/// Exit status for SIGHUP.
const HUNG_UP: u8 = 128 + 1;

/// What `-S` and its flags ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) name: SessionName,
    pub(crate) part: Part,
    pub(crate) comeback: Comeback,
    pub(crate) prediction: Prediction,
}

/// What a lost connection leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comeback {
    /// Try again until it works or the user has had enough.
    Retry,
    /// End.
    GiveUp,
}

/// How an attachment ended.
enum Outcome {
    Exited(u8),
    Killed(String),
    Failed(String),
    /// Another client has attached.
    TakenOver,
    /// `~d`
    Detached,
    /// `~.`
    Disconnected,
    /// A signal ended this side; the exit status.
    Signalled(u8),
    Lost(io::Error),
}

/// The user at the terminal, across all attachments.
struct Desk<'s> {
    session: &'s Session,
    peer: &'s Peer,
    named: &'s Named,
    terminal: &'s LocalTerminal,
    display: Display,
    typing: Typing,
    stdin: Stdin,
    escapes: Escapes,
    window: Signal,
    resumed: Signal,
    hung_up: Signal,
    seen: Option<Seen>,
}

/// Attaches to a session, or begins it, and stays until it ends or the user leaves.
pub(crate) async fn run(
    session: &Arc<Session>,
    peer: &Peer,
    (job, named): (&Job, &Named),
    io: Io,
    shutdown: &mut Shutdown,
) -> Result<Status, Failure> {
    let local = LocalTerminal::at(&io.stdin).ok_or_else(|| {
        Failure::usage("-S needs a terminal on stdin").advise("run it in a terminal")
    })?;
    let request = new_request(session, job, Some(&local))?;
    let mut channel = match open(session, peer, (job, named), (&request, None), shutdown).await {
        Ok(channel) => channel,
        Err(NotOpen::Declined(failure) | NotOpen::Failed(failure)) => return Err(failure),
        Err(NotOpen::Signalled(code)) => return Ok(code.into()),
    };
    // One Ctrl-C is for the session; in raw mode it is typed anyway.
    let mut interrupts = shutdown.divert_interrupts();
    local
        .make_raw()
        .map_err(|error| Failure::failed(format!("cannot use the terminal: {error}")))?;
    let mut desk = Desk::new(session, peer, (job, named, &local), (io.stdin, io.stdout))
        .map_err(|error| Failure::failed(format!("cannot use the terminal: {error}")))?;
    let outcome = loop {
        let outcome = desk.attached(channel, shutdown, &mut interrupts).await;
        let Outcome::Lost(error) = outcome else {
            break outcome;
        };
        if named.comeback == Comeback::GiveUp {
            break Outcome::Lost(error);
        }
        match desk.come_back((job, &request), shutdown).await {
            Ok(Ok(back)) => channel = back,
            Ok(Err(outcome)) => break outcome,
            Err(failure) => {
                desk.leave().await;
                return Err(failure);
            }
        }
    };
    desk.leave().await;
    status(session, (peer, named), outcome)
}

/// Why there is no channel to a session.
enum NotOpen {
    /// It is not there any more, or not for this device.
    Declined(Failure),
    Failed(Failure),
    Signalled(ExitCode),
}

/// Asks for the session.
async fn open(
    session: &Session,
    peer: &Peer,
    (job, named): (&Job, &Named),
    (request, seen): (&Request, Option<Seen>),
    shutdown: &mut Shutdown,
) -> Result<Channel, NotOpen> {
    let attach = Attach {
        name: named.name.clone(),
        part: named.part,
        seen,
        request: request.clone(),
    };
    let metadata = attach
        .encode()
        .map_err(|error| NotOpen::Failed(Failure::usage(error.to_string())))?;
    let asked = ChannelRequest::stream(SESSION_CHANNEL)
        .metadata(metadata)
        .priority(Priority::Interactive);
    let options = ConnectOptions::default().timeout(session.connect_limit);
    let connecting = session.node.connect_with(&peer.address, asked, options);
    tokio::select! {
        channel = connecting => {
            channel.map_err(|error| not_open(session, peer, job, &error))
        }
        code = shutdown.requested() => Err(NotOpen::Signalled(code)),
    }
}

/// The words for a session that is not given.
fn not_open(session: &Session, peer: &Peer, job: &Job, error: &ConnectError) -> NotOpen {
    match error {
        ConnectError::Declined { reason, .. } => {
            let failure = declined(session, peer, job, reason);
            match reason.code() {
                DeclineCode::Busy => NotOpen::Failed(failure),
                _ => NotOpen::Declined(failure),
            }
        }
        error => NotOpen::Failed(connect_failure(peer, session.node.id(), what(job), error)),
    }
}

impl<'s> Desk<'s> {
    fn new(
        session: &'s Session,
        peer: &'s Peer,
        (job, named, terminal): (&Job, &'s Named, &'s LocalTerminal),
        (stdin, stdout): (File, File),
    ) -> io::Result<Self> {
        let size = terminal.size();
        let prediction = match named.part {
            Part::Own => named.prediction,
            Part::View => Prediction::Never,
        };
        let resumed = SignalKind::from_raw(SignalNumber::CONT.as_raw());
        Ok(Self {
            session,
            peer,
            named,
            terminal,
            display: Display::new(
                (size.columns, size.rows),
                prediction,
                Stdout::new(stdout, AtEnd::StayOpen),
            ),
            typing: Typing::default(),
            stdin: Stdin::new(stdin),
            escapes: Escapes::new(job.escape).with_detach(),
            window: signal(SignalKind::window_change())?,
            resumed: signal(resumed)?,
            hung_up: signal(SignalKind::hangup())?,
            seen: None,
        })
    }

    /// Carries keys and output until something ends it.
    async fn attached(
        &mut self,
        channel: Channel,
        shutdown: &mut Shutdown,
        interrupts: &mut dhtnet_cli::Interrupts,
    ) -> Outcome {
        let (mut send, recv) = channel.split();
        let mut frames = Frames::new(recv);
        let (mut taken, mut told) = (0, 0);
        self.typing.close();
        let mut look = tokio::time::interval(LOOK_AT_ROUND_TRIP);
        loop {
            let late = self.display.poll_timeout();
            let step = tokio::select! {
                frame = frames.next() => match frame {
                    Ok(Some(frame)) => match ToViewer::decode(&frame) {
                        Ok(Some(said)) => {
                            if let ToViewer::Output(bytes) | ToViewer::Drawing(bytes) = &said {
                                taken += bytes.len() as u64;
                            }
                            self.show(said, &mut send).await
                        }
                        Ok(None) => Ok(None),
                        Err(error) => Err(error.into()),
                    },
                    Ok(None) => Err(io::ErrorKind::UnexpectedEof.into()),
                    Err(error) => Err(error),
                },
                block = self.stdin.next_block(), if self.typing.has_room() => match block {
                    Ok(Some(block)) => self.typed(&block, Some(&mut send)).await,
                    Ok(None) | Err(_) => Ok(Some(Outcome::Disconnected)),
                },
                _ = self.window.recv() => self.resized(Some(&mut send)).await,
                _ = self.resumed.recv() => {
                    let _ = self.terminal.make_raw();
                    self.display.redraw_from_model().await;
                    self.resized(Some(&mut send)).await
                }
                _ = self.hung_up.recv() => Ok(Some(Outcome::Signalled(HUNG_UP))),
                () = interrupts.next() => self.typed(b"\x03", Some(&mut send)).await,
                code = shutdown.requested() => Ok(Some(Outcome::Signalled(code.number()))),
                _ = look.tick() => {
                    self.look_at_round_trip();
                    Ok(None)
                }
                () = tokio::time::sleep_until(late.unwrap_or_else(Instant::now).into()),
                    if late.is_some() =>
                {
                    self.display.handle_timeout(Instant::now()).await;
                    Ok(None)
                }
            };
            match step {
                Ok(None) => {}
                Ok(Some(outcome)) => {
                    self.say_good_bye(&mut send, &outcome).await;
                    return outcome;
                }
                Err(error) => return Outcome::Lost(error),
            }
            if taken >= told + TELL_TAKEN {
                told = taken;
                if let Err(error) = say(&mut send, &ToSession::Taken(taken)).await {
                    return Outcome::Lost(error);
                }
            }
        }
    }

    /// Does what the session says.
    async fn show(&mut self, said: ToViewer, send: &mut SendHalf) -> io::Result<Option<Outcome>> {
        match said {
            ToViewer::Attached(attached) => {
                let is_known = self
                    .seen
                    .is_some_and(|seen| seen.incarnation == attached.incarnation);
                self.display.begin((attached.columns, attached.rows)).await;
                if !is_known {
                    self.seen = Some(Seen {
                        incarnation: attached.incarnation,
                        output: 0,
                    });
                }
                self.typing.open(attached.input);
                self.send_typed(send).await?;
                self.display.count_from(self.typing.typed());
            }
            ToViewer::Output(bytes) => {
                if let Some(seen) = &mut self.seen {
                    seen.output += bytes.len() as u64;
                }
                self.display.output(Instant::now(), bytes).await;
            }
            ToViewer::Redraw(output) => {
                if let Some(seen) = &mut self.seen {
                    seen.output = output;
                }
                self.display.forget_guesses();
            }
            ToViewer::Drawing(bytes) => self.display.draw(bytes).await,
            ToViewer::InputSeen(bytes) => {
                self.typing.seen(bytes);
                self.send_typed(send).await?;
                self.display.acknowledged(Instant::now(), bytes).await;
            }
            ToViewer::Line(mode) => self.display.set_line_mode(mode).await,
            ToViewer::Size { columns, rows } => self.display.resize((columns, rows)),
            ToViewer::Exited(status) => return Ok(Some(Outcome::Exited(status))),
            ToViewer::Killed(signal) => return Ok(Some(Outcome::Killed(signal))),
            ToViewer::Failed(why) => return Ok(Some(Outcome::Failed(why))),
            ToViewer::Detached => return Ok(Some(Outcome::TakenOver)),
        }
        Ok(None)
    }

    /// Keys: escapes are obeyed, the rest is sent, or kept while there is no connection.
    async fn typed(
        &mut self,
        block: &[u8],
        send: Option<&mut SendHalf>,
    ) -> io::Result<Option<Outcome>> {
        let (passed, wishes) = self.escapes.sift(block);
        for wish in wishes {
            if let Some(outcome) = self.grant(wish).await {
                return Ok(Some(outcome));
            }
        }
        if passed.is_empty() || self.named.part == Part::View {
            return Ok(None);
        }
        let bytes = Bytes::from(passed);
        if !self.typing.keep(&bytes) {
            return Ok(None);
        }
        if let Some(send) = send {
            self.display.typed(Instant::now(), &bytes).await;
            self.send_typed(send).await?;
        }
        Ok(None)
    }

    /// Sends of what was typed as much as the session takes now.
    async fn send_typed(&mut self, send: &mut SendHalf) -> io::Result<()> {
        while let Some(bytes) = self.typing.next_piece() {
            say(send, &ToSession::Input(bytes)).await?;
        }
        Ok(())
    }

    async fn grant(&mut self, wish: Wish) -> Option<Outcome> {
        match wish {
            Wish::Disconnect => return Some(Outcome::Disconnected),
            Wish::Detach => return Some(Outcome::Detached),
            Wish::Help => {
                let help = self.escapes.help();
                self.display.tell(&help).await;
            }
            Wish::Status => {
                let id = &self.peer.address.id;
                let path = paths::connection_to(self.session, id).and_then(|c| c.path);
                let way = path.map_or_else(|| "no path".to_owned(), |path| paths::words(&path));
                let line = format!("dsh: connected to {} via {way}", self.peer);
                self.display.tell(&[line]).await;
            }
            Wish::Suspend => {
                self.display.step_aside().await;
                raw::restore();
                // Raw mode comes back with SIGCONT.
                let _ = kill_process(getpid(), SignalNumber::TSTP);
            }
        }
        None
    }

    async fn resized(&mut self, send: Option<&mut SendHalf>) -> io::Result<Option<Outcome>> {
        if self.named.part == Part::View {
            return Ok(None);
        }
        let size = self.terminal.size();
        self.display.resize((size.columns, size.rows));
        if let Some(send) = send {
            say(send, &ToSession::Resize(size)).await?;
        }
        Ok(None)
    }

    fn look_at_round_trip(&mut self) {
        let id = &self.peer.address.id;
        if let Some(connection) = paths::connection_to(self.session, id) {
            self.display.set_round_trip(connection.rtt);
        }
    }

    /// Tries until the session is there again, while `~.` still ends it all.
    async fn come_back(
        &mut self,
        (job, request): (&Job, &Request),
        shutdown: &mut Shutdown,
    ) -> Result<Result<Channel, Outcome>, Failure> {
        let mut wait = FIRST_WAIT;
        loop {
            let line = "dsh: connection lost, trying again (~. to stop)";
            self.display.tell(&[line.to_owned()]).await;
            let mut request = request.clone();
            if let Some(terminal) = &mut request.terminal {
                terminal.size = self.terminal.size();
            }
            let (session, peer) = (self.session, self.peer);
            let (named, seen) = (self.named, self.seen);
            let mut for_opening = shutdown.clone();
            let opening = open(
                session,
                peer,
                (job, named),
                (&request, seen),
                &mut for_opening,
            );
            match self.meanwhile(opening).await {
                Ok(Ok(channel)) => {
                    self.display.redraw_from_model().await;
                    return Ok(Ok(channel));
                }
                Ok(Err(NotOpen::Declined(failure))) => return Err(failure),
                Ok(Err(NotOpen::Failed(failure))) if !may_pass(&failure) => return Err(failure),
                Ok(Err(NotOpen::Failed(_))) => {}
                Ok(Err(NotOpen::Signalled(code))) => {
                    return Ok(Err(Outcome::Signalled(code.number())));
                }
                Err(outcome) => return Ok(Err(outcome)),
            }
            let mut for_waiting = shutdown.clone();
            let waiting = async {
                tokio::select! {
                    () = sleep(wait) => None,
                    code = for_waiting.requested() => Some(code),
                }
            };
            match self.meanwhile(waiting).await {
                Ok(None) => {}
                Ok(Some(code)) => return Ok(Err(Outcome::Signalled(code.number()))),
                Err(outcome) => return Ok(Err(outcome)),
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Waits for something without a connection, listening to the keys.
    async fn meanwhile<T>(&mut self, awaited: impl Future<Output = T>) -> Result<T, Outcome> {
        tokio::pin!(awaited);
        loop {
            let step = tokio::select! {
                done = &mut awaited => return Ok(done),
                block = self.stdin.next_block() => match block {
                    Ok(Some(block)) => self.typed(&block, None).await,
                    Ok(None) | Err(_) => Ok(Some(Outcome::Disconnected)),
                },
                _ = self.window.recv() => self.resized(None).await,
                _ = self.hung_up.recv() => Ok(Some(Outcome::Signalled(HUNG_UP))),
                _ = self.resumed.recv() => {
                    let _ = self.terminal.make_raw();
                    Ok(None)
                }
            };
            if let Ok(Some(outcome)) = step {
                return Err(outcome);
            }
        }
    }

    /// Lets the peer know at once that nobody looks any more.
    async fn say_good_bye(&self, send: &mut SendHalf, outcome: &Outcome) {
        let leaves = matches!(
            outcome,
            Outcome::Detached | Outcome::Disconnected | Outcome::Signalled(_)
        );
        if leaves {
            send.finish();
            let _ = timeout(LEAVE_LIMIT, send.flushed()).await;
        }
    }

    /// Gives the terminal back.
    async fn leave(&mut self) {
        self.display.end().await;
        raw::restore();
    }
}

async fn say(send: &mut SendHalf, said: &ToSession) -> io::Result<()> {
    send.write_chunk(said.frame().encode()).await
}

/// The exit status for an end, and a line about it.
fn status(
    session: &Session,
    (peer, named): (&Peer, &Named),
    outcome: Outcome,
) -> Result<Status, Failure> {
    let name = &named.name;
    let back = peer.name.as_deref().unwrap_or("PEER");
    let goes_on = |what: &str| {
        format!("{what} session {name} on {peer}; dsh -S {name} {back} comes back to it")
    };
    match outcome {
        Outcome::Exited(code) => {
            session
                .talk
                .note(format_args!("session {name} on {peer} has ended"));
            Ok(Status(code))
        }
        Outcome::Killed(signal) => {
            session.talk.note(format_args!(
                "session {name} on {peer} was ended by SIG{signal}"
            ));
            Ok(Status(signals::status_of(&signal)))
        }
        Outcome::Failed(why) => Err(Failure::failed(format!(
            "{peer} ended session {name}: {}",
            one_line(&why)
        ))),
        Outcome::TakenOver => {
            let what = goes_on("another client has attached to");
            session.talk.note(what);
            Ok(Status::from(ExitCode::Done))
        }
        Outcome::Detached => {
            session.talk.note(goes_on("left"));
            Ok(Status::from(ExitCode::Done))
        }
        Outcome::Disconnected => Err(Failure::failed(goes_on("left"))),
        Outcome::Signalled(status) => Ok(Status(status)),
        Outcome::Lost(error) => {
            if let Some(ChannelError::Declined(_)) = ChannelError::from_io(&error) {
                let (own, asked) = (session.node.id(), format!("session {name}"));
                return Err(channel_failure(peer, own, &asked, &error));
            }
            let why = match ChannelError::from_io(&error) {
                Some(error) => error.to_string(),
                None => error.to_string(),
            };
            Err(
                Failure::failed(format!("the connection to {peer} was lost: {why}")).advise(
                    format!("the session goes on there; dsh -S {name} {back} attaches again"),
                ),
            )
        }
    }
}
