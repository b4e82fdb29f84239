//! A named session that runs: one task has its terminal, its screen and its viewers.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes};
use dhtnet::{DeclineCode, DeclineReason};
use dhtnet_shell_wire::request::{Size, Token};
use dhtnet_shell_wire::session::attach::{Attach, Part, Seen};
use dhtnet_shell_wire::session::{Attached, Line, ToViewer};
use dhtnet_terminal::Screen;
use rustix::process::Pid;
use rustix::termios::{LocalModes, tcgetattr};
use tokio::net::unix::pipe;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, sleep_until};

use super::recent::Recent;
use super::viewer::{MAX_SKIPPED_LINES, Outbox, Viewer, ViewerId};
use crate::server::Host;
use crate::server::recording::Recorder;
use crate::server::spawn::{Child, Streams, resize};
use crate::signals;
use crate::warden::end_session;

/// Clients that look without typing.
pub(super) const MAX_VIEWERS: usize = 8;

/// Bytes read from the terminal in one turn; the kernel gives 4 KiB at once.
const MAX_READ: usize = 32 * 1024;

/// How long a program may take to echo before its input counts as seen (mosh's figure).
const ECHO_TIME: Duration = Duration::from_millis(50);

/// How long what the terminal still holds may take to come out after its process has ended.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);

/// What a session is told.
pub(super) enum Order {
    Attach {
        id: ViewerId,
        attach: Box<Attach>,
        outbox: Arc<Outbox>,
    },
    Leave(ViewerId),
    Input {
        id: ViewerId,
        bytes: Bytes,
        room: OwnedSemaphorePermit,
    },
    Resize {
        id: ViewerId,
        size: Size,
    },
    Taken {
        id: ViewerId,
        bytes: u64,
    },
}

/// What the list of sessions says of one.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) attached: bool,
    pub(super) viewers: usize,
    pub(super) size: (u16, u16),
    pub(super) lines: u64,
    pub(super) title: Option<String>,
}

/// Who types.
struct Owner {
    viewer: Viewer,
    line: Option<Line>,
}

/// A session with its process and terminal.
pub(super) struct Life {
    process: tokio::process::Child,
    leader: Pid,
    reader: pipe::Receiver,
    writer: pipe::Sender,
    state: State,
}

/// Everything of a session but what is waited for.
struct State {
    control: OwnedFd,
    screen: Screen,
    recent: Recent,
    recorder: Option<Recorder>,
    incarnation: u64,
    owner: Option<Owner>,
    viewers: Vec<Viewer>,
    input: VecDeque<(Bytes, Option<OwnedSemaphorePermit>)>,
    typist: Typist,
    facts: Arc<Mutex<Facts>>,
}

/// How much of whose input the program has had.
struct Typist {
    token: Token,
    written: u64,
    /// When the owner is told, and of how much.
    tell: Option<(Instant, u64)>,
    is_new: bool,
}

/// How a life ended.
enum Ended {
    Process(ExitStatus),
    Recording(io::Error),
    Closing,
    Terminal(io::Error),
}

impl Life {
    pub(super) fn begin(attach: &Attach, child: Child, host: &Host) -> Result<Self, DeclineReason> {
        let failed = |what: String| DeclineReason::new(DeclineCode::TargetFailed, what);
        let Child {
            process,
            leader,
            streams,
        } = child;
        let (Streams::Terminal(pty), Some(terminal)) = (streams, &attach.request.terminal) else {
            return Err(failed("a session needs a terminal".to_owned()));
        };
        let size = terminal.size.or_usual();
        let mut number = [0; 8];
        getrandom::fill(&mut number).map_err(|error| failed(error.to_string()))?;
        let recorder = host
            .recorder(terminal, attach.request.command.as_deref())
            .map_err(|error| failed(format!("it cannot be recorded: {error}")))?;
        let state = State {
            control: pty.control,
            screen: Screen::new(size.columns, size.rows),
            recent: Recent::default(),
            recorder,
            incarnation: u64::from_be_bytes(number),
            owner: None,
            viewers: Vec::new(),
            input: VecDeque::new(),
            typist: Typist {
                token: attach.request.token,
                written: 0,
                tell: None,
                is_new: true,
            },
            facts: Arc::default(),
        };
        state.note();
        Ok(Self {
            process,
            leader,
            reader: pty.reader,
            writer: pty.writer,
            state,
        })
    }

    pub(super) fn facts(&self) -> Arc<Mutex<Facts>> {
        self.state.facts.clone()
    }

    /// Runs to the end of its process, and leaves nothing of it behind. Says how it ended.
    pub(super) async fn run(mut self, host: &Host, mut orders: mpsc::Receiver<Order>) -> String {
        let ended = self.live(host, &mut orders).await;
        // From now on the name is free.
        drop(orders);
        let (last, how) = match ended {
            Ended::Process(status) => last_words(status),
            Ended::Recording(error) => failed(format!("it cannot be recorded: {error}")),
            Ended::Closing => failed("the server ends, and its sessions with it".to_owned()),
            Ended::Terminal(error) => failed(format!("its terminal failed: {error}")),
        };
        self.state.tell_all(&last);
        self.state.owner = None;
        self.state.viewers.clear();
        // What was started in it and is still there has lost its terminal.
        end_session(self.leader).await;
        let _ = self.process.wait().await;
        host.forget(self.leader).await;
        how
    }

    async fn live(&mut self, host: &Host, orders: &mut mpsc::Receiver<Order>) -> Ended {
        let mut closing = host.closing();
        let mut status = None;
        let mut drained_by = None;
        loop {
            if let (Some(status), Some(by)) = (status, drained_by)
                && Instant::now() >= by
            {
                return Ended::Process(status);
            }
            let state = &mut self.state;
            let tell = state.typist.tell.map(|(at, _)| at);
            tokio::select! {
                ready = self.reader.readable() => {
                    let ended = match ready {
                        Ok(()) => match state.read(&self.reader) {
                            Ok(more) => !more,
                            Err(error) => return Ended::Recording(error),
                        },
                        Err(_) => true,
                    };
                    if ended {
                        // The last of those who had the terminal open is gone.
                        return match status {
                            Some(status) => Ended::Process(status),
                            None => self.wait_for_end().await,
                        };
                    }
                }
                ready = self.writer.writable(), if !state.input.is_empty() => {
                    if ready.is_ok() {
                        state.write(&self.writer);
                    }
                }
                Some(order) = orders.recv() => state.obey(order),
                ended = self.process.wait(), if status.is_none() => match ended {
                    Ok(ended) => {
                        status = Some(ended);
                        drained_by = Some(Instant::now() + DRAIN_LIMIT);
                    }
                    Err(error) => return Ended::Terminal(error),
                },
                () = sleep_until(tell.unwrap_or_else(Instant::now)), if tell.is_some() => {
                    state.tell_seen();
                }
                () = sleep_until(drained_by.unwrap_or_else(Instant::now)),
                    if drained_by.is_some() => {}
                _ = closing.changed() => return Ended::Closing,
            }
        }
    }

    async fn wait_for_end(&mut self) -> Ended {
        let ended = tokio::time::timeout(DRAIN_LIMIT, self.process.wait()).await;
        match ended {
            Ok(Ok(status)) => Ended::Process(status),
            Ok(Err(error)) => Ended::Terminal(error),
            Err(_) => Ended::Terminal(io::Error::other("its program runs on without it")),
        }
    }
}

impl State {
    /// Takes what the terminal has; whether more may come. Fails when it cannot be recorded.
    fn read(&mut self, reader: &pipe::Receiver) -> io::Result<bool> {
        let mut output = Vec::with_capacity(MAX_READ);
        let mut more = true;
        while output.len() < MAX_READ {
            let before = output.len();
            output.resize(MAX_READ, 0);
            let read = reader.try_read(&mut output[before..]);
            output.truncate(before + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => more = false,
                Ok(_) => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // A terminal that has hung up gives an error instead of an end.
                Err(_) => more = false,
            }
            break;
        }
        if !output.is_empty() {
            self.show(output)?;
        }
        Ok(more)
    }

    fn show(&mut self, output: Vec<u8>) -> io::Result<()> {
        if let Some(recorder) = &mut self.recorder {
            recorder.output(&output)?;
        }
        let lines = self.screen.lines_scrolled();
        self.screen.feed(&output);
        self.recent.push(&output, self.screen.lines_scrolled());
        let replies = self.screen.take_replies();
        if self.owner.is_none() && !replies.is_empty() {
            // Nobody's terminal answers the program.
            self.input.push_back((replies.into(), None));
        }
        let output = Bytes::from(output);
        for viewer in self.everyone() {
            viewer.output(&output, lines);
        }
        self.tell_line_mode();
        self.note();
        Ok(())
    }

    fn everyone(&mut self) -> impl Iterator<Item = &mut Viewer> {
        let owner = self.owner.as_mut().map(|owner| &mut owner.viewer);
        owner.into_iter().chain(&mut self.viewers)
    }

    fn tell_all(&mut self, frame: &ToViewer) {
        for viewer in self.everyone() {
            viewer.say(frame);
        }
    }

    /// Gives the program what it takes of the input.
    fn write(&mut self, writer: &pipe::Sender) {
        while let Some((bytes, room)) = self.input.front_mut() {
            let is_typed = room.is_some();
            match writer.try_write(bytes) {
                Ok(written) => {
                    bytes.advance(written);
                    if bytes.is_empty() {
                        self.input.pop_front();
                    }
                    if is_typed {
                        self.typist.written += written as u64;
                        let soon = Instant::now() + ECHO_TIME;
                        let at = self.typist.tell.map_or(soon, |(at, _)| at);
                        self.typist.tell = Some((at, self.typist.written));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // It has hung up, which reading tells.
                Err(_) => self.input.clear(),
            }
        }
        self.tell_line_mode();
    }

    fn tell_seen(&mut self) {
        if let Some((_, seen)) = self.typist.tell.take()
            && let Some(owner) = &self.owner
        {
            owner.viewer.say(&ToViewer::InputSeen(seen));
        }
    }

    /// Tells who types whether the line is silent now.
    fn tell_line_mode(&mut self) {
        let Some(owner) = &mut self.owner else {
            return;
        };
        let Ok(termios) = tcgetattr(&self.control) else {
            return;
        };
        let modes = termios.local_modes;
        let mode = match (
            modes.contains(LocalModes::ICANON),
            modes.contains(LocalModes::ECHO),
        ) {
            (true, true) => Line::Echoing,
            (true, false) => Line::Silent,
            (false, _) => Line::Raw,
        };
        if owner.line != Some(mode) {
            owner.line = Some(mode);
            owner.viewer.say(&ToViewer::Line(mode));
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Attach { id, attach, outbox } => {
                self.attach(&attach, (id, outbox));
            }
            Order::Leave(id) => {
                if self.is_owner(id) {
                    self.owner = None;
                }
                self.viewers.retain(|viewer| viewer.id != id);
            }
            Order::Input { id, bytes, room } if self.is_owner(id) => {
                self.input.push_back((bytes, Some(room)));
            }
            Order::Resize { id, size } if self.is_owner(id) => self.resize(size),
            Order::Input { .. } | Order::Resize { .. } => {}
            Order::Taken { id, bytes } => self.taken(id, bytes),
        }
        self.note();
    }

    fn is_owner(&self, id: ViewerId) -> bool {
        self.owner
            .as_ref()
            .is_some_and(|owner| owner.viewer.id == id)
    }

    fn attach(&mut self, attach: &Attach, (id, outbox): (ViewerId, Arc<Outbox>)) {
        let made = std::mem::take(&mut self.typist.is_new);
        let size = attach
            .request
            .terminal
            .as_ref()
            .map(|terminal| terminal.size);
        let is_same = self.typist.token == attach.request.token;
        let before = self.screen.size();
        if attach.part == Part::Own {
            if let Some(former) = self.owner.take() {
                former.viewer.say(&ToViewer::Detached);
            }
            if !is_same {
                self.typist.token = attach.request.token;
                self.typist.written = 0;
                // What the former typed and nobody has read is not this one's.
                self.input.clear();
            }
            self.typist.tell = None;
            self.resize(size.unwrap_or(Size::USUAL));
        }
        let (columns, rows) = self.screen.size();
        let mut viewer = Viewer::new(id, outbox, (columns, rows));
        if attach.part == Part::View && self.viewers.len() >= MAX_VIEWERS {
            let why = format!("{MAX_VIEWERS} others are looking already");
            return viewer.say(&ToViewer::Failed(why));
        }
        let input = match (attach.part, is_same) {
            (Part::Own, true) => self.pending_input(),
            _ => 0,
        };
        viewer.say(&ToViewer::Attached(Attached {
            incarnation: self.incarnation,
            made,
            input,
            columns,
            rows,
        }));
        let seen = attach
            .seen
            .filter(|seen| seen.incarnation == self.incarnation);
        self.catch_up(&mut viewer, seen, before == (columns, rows));
        match attach.part {
            Part::Own => {
                self.owner = Some(Owner { viewer, line: None });
                self.tell_line_mode();
            }
            Part::View => self.viewers.push(viewer),
        }
    }

    /// How much of the typist's input is here, given to the program or waiting for it.
    fn pending_input(&self) -> u64 {
        let waiting = self.input.iter().filter(|(_, room)| room.is_some());
        self.typist.written + waiting.map(|(bytes, _)| bytes.len() as u64).sum::<u64>()
    }

    /// Sends what was missed, or the whole screen with the lines that were missed.
    fn catch_up(&mut self, viewer: &mut Viewer, seen: Option<Seen>, same_size: bool) {
        let written = self.recent.written();
        let missed = seen
            .filter(|_| same_size)
            .and_then(|seen| self.recent.since(seen.output));
        if let Some(missed) = missed {
            let lines = self.screen.lines_scrolled();
            return viewer.output(&missed.into(), lines);
        }
        let since = seen.and_then(|seen| self.recent.lines_at(seen.output));
        let drawing = self.screen.restore(since.unwrap_or(0));
        viewer.redraw(drawing, self.screen.size(), written);
    }

    fn resize(&mut self, size: Size) {
        let size = size.or_usual();
        let before = self.screen.size();
        self.screen.resize(size.columns, size.rows);
        let (columns, rows) = self.screen.size();
        if (columns, rows) == before {
            return;
        }
        // One that has hung up needs no size.
        let _ = resize(
            &self.control,
            Size {
                columns,
                rows,
                ..size
            },
        );
        if let Some(recorder) = &mut self.recorder {
            // What is not recorded any more is told by the next output.
            let _ = recorder.resize(Size {
                columns,
                rows,
                ..size
            });
        }
        let drawing = self.screen.restore(u64::MAX);
        let (written, lines) = (self.recent.written(), self.screen.lines_scrolled());
        for viewer in self.everyone() {
            if viewer.wants_resized(lines) {
                viewer.redraw(drawing.clone(), (columns, rows), written);
            }
        }
    }

    fn taken(&mut self, id: ViewerId, bytes: u64) {
        let Some(viewer) = self.everyone().find(|viewer| viewer.id == id) else {
            return;
        };
        viewer.taken(bytes);
        let Some(since) = viewer.wants_redraw() else {
            return;
        };
        let oldest = self
            .screen
            .lines_scrolled()
            .saturating_sub(MAX_SKIPPED_LINES);
        let drawing = self.screen.restore(since.max(oldest));
        let (written, size) = (self.recent.written(), self.screen.size());
        if let Some(viewer) = self.everyone().find(|viewer| viewer.id == id) {
            viewer.redraw(drawing, size, written);
        }
    }

    fn note(&self) {
        let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        facts.attached = self.owner.is_some();
        facts.viewers = self.viewers.len();
        facts.size = self.screen.size();
        facts.lines = self.screen.lines_scrolled();
        if facts.title.as_deref() != self.screen.title() {
            facts.title = self.screen.title().map(str::to_owned);
        }
    }
}

fn failed(why: String) -> (ToViewer, String) {
    let how = format!("was ended: {why}");
    (ToViewer::Failed(why), how)
}

fn last_words(status: ExitStatus) -> (ToViewer, String) {
    match (status.code(), status.signal()) {
        (Some(code), _) => (
            ToViewer::Exited(code.try_into().unwrap_or(u8::MAX)),
            format!("ended with status {code}"),
        ),
        (None, signal) => {
            let name = signals::name_of(signal.unwrap_or(0));
            let how = format!("was ended by SIG{name}");
            (ToViewer::Killed(name), how)
        }
    }
}
