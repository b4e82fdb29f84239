//! The content of wanted files, one after the other.

use std::io::Write;

use super::announced::open;
use super::part::{Finish, Part, apply};
use super::{Receiving, Spot};
use crate::CopyError;
use crate::error::plain;
use crate::frame::{Ending, Frame, Meta};
use crate::hash::Digest;
use crate::name::shown;
use crate::report::Event;

/// A file that was asked for.
pub(super) struct Wanted {
    pub(super) id: u64,
    pub(super) spot: Spot,
    pub(super) size: u64,
    pub(super) meta: Meta,
    /// Permission bits of the file that it replaces.
    pub(super) existing_mode: Option<u16>,
    pub(super) basis: Basis,
}

/// What is there of it.
pub(super) enum Basis {
    Nothing,
    /// The beginning, from a copy that was cut short.
    Part(Box<Part>),
    /// A file of the same size.
    Whole(Digest),
}

/// The file whose content comes.
pub(super) struct Active {
    wanted: Wanted,
    /// Where the content began.
    start: u64,
    position: u64,
    state: State,
}

enum State {
    Writing(Box<Part>),
    /// The file that is there is the same; only its hash comes.
    Comparing(Digest),
    /// It failed here, and the sender was told: what still comes is not for us.
    Discarding,
}

const NO_FILE: CopyError = CopyError::Violation("content of no file");
const TOO_MUCH: CopyError = CopyError::Violation("more content than was announced");

impl<W: Write> Receiving<'_, W> {
    pub(super) fn on_start(&mut self, id: u64, offset: u64) -> Result<(), CopyError> {
        if self.active.is_some() {
            return Err(CopyError::Violation("two files at the same time"));
        }
        let wanted = self.wanted.pop_front().filter(|wanted| wanted.id == id);
        let mut wanted = wanted.ok_or(CopyError::Violation("a file that was not its turn"))?;
        let basis = std::mem::replace(&mut wanted.basis, Basis::Nothing);
        if matches!(basis, Basis::Part(_)) {
            self.resumed -= 1;
        }
        let path = self.shown(&wanted.spot.trail, Some(&wanted.spot.name));
        let state = match basis {
            Basis::Whole(digest) if offset == wanted.size => State::Comparing(digest),
            Basis::Part(part) if offset == part.length() => State::Writing(part),
            _ if offset != 0 => {
                return Err(CopyError::Violation(
                    "a file that begins where it should not",
                ));
            }
            Basis::Part(mut part) => match part.restart() {
                Ok(()) => State::Writing(part),
                Err(error) => self.give_up(&wanted, &plain(&error))?,
            },
            Basis::Nothing | Basis::Whole(_) => {
                let (report, out) = (&mut self.report, &mut self.out);
                let on_wait = || {
                    report.on(Event::Waiting { path: path.clone() });
                    let path = path.as_bytes();
                    // A stream that is broken is noticed by the next read.
                    let _ = out
                        .send(&Frame::Waiting { path })
                        .and_then(|()| out.flush());
                };
                let created = self
                    .written
                    .at(&wanted.spot.trail)
                    .and_then(|at| Part::create(at, &wanted.spot.name, on_wait));
                match created {
                    Ok(part) => State::Writing(Box::new(part)),
                    Err(error) => self.give_up(&wanted, &plain(&error))?,
                }
            }
        };
        if offset < wanted.size {
            self.report.on(Event::Begun {
                path,
                size: wanted.size,
                resumed: offset,
            });
        }
        self.active = Some(Active {
            wanted,
            start: offset,
            position: offset,
            state,
        });
        Ok(())
    }

    fn give_up(&mut self, wanted: &Wanted, reason: &str) -> Result<State, CopyError> {
        self.failed(wanted.id, &wanted.spot, reason)?;
        Ok(State::Discarding)
    }

    pub(super) fn on_data(&mut self, block: &[u8]) -> Result<(), CopyError> {
        let active = self.active.as_mut().ok_or(NO_FILE)?;
        active.advance(block.len() as u64)?;
        let State::Writing(part) = &mut active.state else {
            return Ok(());
        };
        if let Err(error) = part.write(block) {
            // A full disk gets its room back: other files may still fit.
            let (id, spot) = (active.wanted.id, &active.wanted.spot);
            let path = crate::name::shown_at(&self.landing.shown, &spot.trail, Some(&spot.name));
            if let State::Writing(part) = std::mem::replace(&mut active.state, State::Discarding)
                && let Ok(at) = self.written.at(&spot.trail)
            {
                part.remove(at);
            }
            self.failed_at(id, path, &plain(&error))?;
            // The sender should hear of it before it has sent the rest.
            return Ok(self.out.flush()?);
        }
        self.report.on(Event::Advanced(block.len() as u64));
        Ok(())
    }

    pub(super) fn on_hole(&mut self, length: u64) -> Result<(), CopyError> {
        let active = self.active.as_mut().ok_or(NO_FILE)?;
        active.advance(length)?;
        if let State::Writing(part) = &mut active.state {
            part.hole(length);
            self.report.on(Event::Advanced(length));
        }
        Ok(())
    }

    pub(super) fn on_finish(&mut self, digest: Digest) -> Result<(), CopyError> {
        let active = self.active.take().ok_or(NO_FILE)?;
        let Active {
            wanted,
            start,
            position,
            state,
        } = active;
        let is_whole = position == wanted.size;
        match state {
            State::Discarding => {}
            _ if !is_whole => return Err(CopyError::Violation("less content than was announced")),
            State::Comparing(own) if own == digest => self.on_same(&wanted)?,
            State::Comparing(_) => {
                return Err(CopyError::Violation("a file that is the same, and is not"));
            }
            State::Writing(part) => self.on_written(&wanted, *part, (digest, start))?,
        }
        self.entry_done(wanted.spot.parent)
    }

    fn on_same(&mut self, wanted: &Wanted) -> Result<(), CopyError> {
        let set = if self.options.preserve {
            self.written
                .at(&wanted.spot.trail)
                .and_then(|at| apply(open(at, &wanted.spot.name)?, &wanted.meta))
        } else {
            Ok(())
        };
        match set {
            Ok(()) => {
                self.report.on(Event::Unchanged { size: wanted.size });
                self.done(wanted.id, Ending::Unchanged)
            }
            Err(error) => self.failed(wanted.id, &wanted.spot, &plain(&error)),
        }
    }

    fn on_written(
        &mut self,
        wanted: &Wanted,
        part: Part,
        (digest, start): (Digest, u64),
    ) -> Result<(), CopyError> {
        let finish = self.finish_of(wanted);
        let is_right = part.digest() == digest;
        let spot = &wanted.spot;
        let placed = self.written.at(&spot.trail).and_then(|at| {
            if is_right {
                part.finish(at, &spot.name, &finish)
            } else {
                part.remove(at);
                let what = "what arrived is not what was sent (its hash differs); try again";
                Err(std::io::Error::other(what))
            }
        });
        match placed {
            Ok(()) => {
                self.report.on(Event::Stored { resumed: start });
                self.done(wanted.id, Ending::Stored)
            }
            Err(error) => self.failed(wanted.id, spot, &plain(&error)),
        }
    }

    /// Mode and time: those of the source if they are to be kept, else the mode of the file that was
    /// there, else that of a new file, executable if the source is.
    fn finish_of(&self, wanted: &Wanted) -> Finish {
        if self.options.preserve {
            return Finish {
                mode: wanted.meta.mode,
                time: Some(wanted.meta),
            };
        }
        let is_executable = wanted.meta.mode & 0o100 != 0;
        let fresh = if is_executable { 0o777 } else { 0o666 } & !self.umask;
        Finish {
            mode: wanted.existing_mode.unwrap_or(fresh),
            time: None,
        }
    }

    pub(super) fn on_broken(
        &mut self,
        id: u64,
        path: &[u8],
        reason: &[u8],
    ) -> Result<(), CopyError> {
        let (wanted, state) = match self.active.take() {
            Some(active) => (active.wanted, Some(active.state)),
            None => (self.wanted.pop_front().ok_or(NO_FILE)?, None),
        };
        if matches!(wanted.basis, Basis::Part(_)) {
            self.resumed -= 1;
        }
        if wanted.id != id {
            return Err(CopyError::Violation("a file that was not its turn"));
        }
        let is_failed_here = matches!(state, Some(State::Discarding));
        if let Some(State::Writing(part)) = state
            && let Ok(at) = self.written.at(&wanted.spot.trail)
        {
            part.remove(at);
        }
        if !is_failed_here {
            self.report.on(Event::Failed {
                path: shown(path),
                reason: shown(reason),
                is_at_peer: true,
            });
            self.done(id, Ending::Dropped)?;
        }
        self.entry_done(wanted.spot.parent)
    }
}

impl Active {
    pub(super) fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    fn advance(&mut self, length: u64) -> Result<(), CopyError> {
        let position = self.position.checked_add(length).ok_or(TOO_MUCH)?;
        if position > self.wanted.size {
            return Err(TOO_MUCH);
        }
        self.position = position;
        Ok(())
    }
}
