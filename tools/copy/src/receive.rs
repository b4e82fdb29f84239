//! The side that gets the files.
//!
//! One thread reads frame after frame. An announced entry is answered at once: directories and links
//! are made, a file is wanted, or is there already. What is wanted comes later, in the order in which
//! it was asked for. Whatever a sender says, it is checked here: a name is one step down, names
//! rise within a directory, content fits what was announced.

mod announced;
mod contents;
mod directories;
mod landing;
mod part;

use std::collections::VecDeque;
use std::io::{Read, Write};

use self::contents::{Active, Wanted};
use self::directories::Directories;
pub(crate) use self::landing::{Landing, base_name};
use crate::CopyError;
use crate::error::plain;
use crate::frame::{Ending, Frame, Options};
use crate::name::{Name, shown, shown_at};
use crate::place::Cursor;
use crate::report::{Event, Report, Summary};
use crate::stream::{FrameReader, FrameWriter};

/// Receives everything that comes into `landing`.
pub(crate) fn receive<R: Read, W: Write>(
    mut input: FrameReader<R>,
    out: FrameWriter<W>,
    (landing, options): (Landing, Options),
    report: Report<'_>,
) -> Result<Summary, CopyError> {
    let mut receiving = Receiving::new(out, landing, options, report);
    match receiving.run(&mut input) {
        Ok(()) => Ok(receiving.report.summary),
        Err(error) => {
            let error = last_words(&mut input, error);
            receiving.out.abort(&error);
            Err(error)
        }
    }
}

/// A sender that hangs up has said why, perhaps, and what it said is still to be read.
fn last_words<R: Read>(input: &mut FrameReader<R>, error: CopyError) -> CopyError {
    if !matches!(error, CopyError::Cut | CopyError::Stream(_)) {
        return error;
    }
    loop {
        match input.next_frame() {
            Ok(_) => {}
            Err(last @ CopyError::Aborted(_)) => return last,
            Err(_) => return error,
        }
    }
}

/// Where an entry goes.
struct Spot {
    /// The directory around it; `None` for a source.
    parent: Option<u64>,
    trail: crate::name::Trail,
    name: Name,
}

impl Spot {
    fn is_at(&self, other: &Self) -> bool {
        self.name == other.name && self.trail == other.trail
    }
}

/// An open directory of the sender's walk.
struct Level {
    id: u64,
    last: Option<Name>,
}

struct Receiving<'a, W: Write> {
    out: FrameWriter<W>,
    options: Options,
    report: Report<'a>,
    landing: Landing,
    /// Permission bits that new files do not get.
    umask: u16,
    /// Where entries are announced, and where content is written: each goes through the tree in its
    /// order.
    announced: Cursor,
    written: Cursor,
    next_id: u64,
    /// The source whose entry is to come.
    source: Option<usize>,
    sources_begun: usize,
    levels: Vec<Level>,
    directories: Directories,
    wanted: VecDeque<Wanted>,
    /// How many of them have a partial file open.
    resumed: usize,
    active: Option<Active>,
}

impl<'a, W: Write> Receiving<'a, W> {
    fn new(
        out: FrameWriter<W>,
        mut landing: Landing,
        options: Options,
        report: Report<'a>,
    ) -> Self {
        let (announced, written) = landing.take_cursors();
        Self {
            out,
            options,
            report,
            landing,
            umask: part::umask(),
            announced,
            written,
            next_id: 0,
            source: None,
            sources_begun: 0,
            levels: Vec::new(),
            directories: Directories::default(),
            wanted: VecDeque::new(),
            resumed: 0,
            active: None,
        }
    }

    fn run<R: Read>(&mut self, input: &mut FrameReader<R>) -> Result<(), CopyError> {
        loop {
            // Before waiting, everything that the sender waits for.
            if !input.has_frame() {
                self.out.flush()?;
            }
            let frame = input.next_frame()?;
            if frame == Frame::End {
                return self.on_end();
            }
            self.handle(&frame)?;
        }
    }

    fn handle(&mut self, frame: &Frame<'_>) -> Result<(), CopyError> {
        match *frame {
            Frame::Source { index } => self.on_source(index.into()),
            Frame::Directory { name, meta } => self.on_directory(name, meta),
            Frame::Leave => self.on_leave(),
            Frame::File { name, size, meta } => self.on_file(name, size, meta),
            Frame::Link { name, target, meta } => self.on_link(name, target, meta),
            Frame::Missing {
                path,
                reason,
                is_failure,
            } => {
                let (path, reason) = (shown(path), shown(reason));
                self.report.on(if is_failure {
                    let is_at_peer = true;
                    Event::Failed {
                        path,
                        reason,
                        is_at_peer,
                    }
                } else {
                    Event::Skipped { path, reason }
                });
                Ok(())
            }
            Frame::Total { files, bytes } => {
                self.report.on(Event::Expected { files, bytes });
                Ok(())
            }
            Frame::Start { id, offset } => self.on_start(id, offset),
            Frame::Data(block) => self.on_data(block),
            Frame::Hole { length } => self.on_hole(length),
            Frame::Finish { digest } => self.on_finish(digest),
            Frame::Broken { id, path, reason } => self.on_broken(id, path, reason),
            _ => Err(CopyError::Violation("a sender that speaks as a receiver")),
        }
    }

    fn on_source(&mut self, index: usize) -> Result<(), CopyError> {
        // A source whose entry never came has failed at the sender.
        if !self.levels.is_empty() {
            return Err(CopyError::Violation("a source inside a directory"));
        }
        if index < self.sources_begun {
            return Err(CopyError::Violation("a source comes twice"));
        }
        if index >= self.landing.len() {
            return Err(CopyError::Violation("a source that was not asked for"));
        }
        self.sources_begun = index + 1;
        self.source = Some(index);
        Ok(())
    }

    fn on_end(&mut self) -> Result<(), CopyError> {
        let is_open = !self.levels.is_empty() || !self.directories.is_empty();
        if is_open || !self.wanted.is_empty() || self.active.is_some() {
            return Err(CopyError::Violation("an end before the end"));
        }
        self.out.send(&Frame::Bye)?;
        Ok(self.out.flush()?)
    }

    fn take_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    fn done(&mut self, id: u64, ending: Ending) -> Result<(), CopyError> {
        Ok(self.out.send(&Frame::Done { id, ending })?)
    }

    /// This entry failed here; the copy goes on.
    fn failed(&mut self, id: u64, spot: &Spot, reason: &str) -> Result<(), CopyError> {
        let path = self.shown(&spot.trail, Some(&spot.name));
        self.failed_at(id, path, reason)
    }

    fn failed_at(&mut self, id: u64, path: String, reason: &str) -> Result<(), CopyError> {
        self.out.send(&Frame::Failed {
            id,
            path: path.as_bytes(),
            reason: reason.as_bytes(),
        })?;
        self.report.on(Event::Failed {
            path,
            reason: reason.to_owned(),
            is_at_peer: false,
        });
        Ok(())
    }

    fn shown(&self, trail: &[Name], name: Option<&Name>) -> String {
        shown_at(&self.landing.shown, trail, name)
    }

    /// An entry of this directory has come to its end; with it, perhaps, the directory.
    fn entry_done(&mut self, parent: Option<u64>) -> Result<(), CopyError> {
        let mut next = parent;
        while let Some(id) = next {
            let Some(directory) = self.directories.entry_done(id) else {
                return Ok(());
            };
            next = directory.parent;
            self.end_directory(id, &directory)?;
        }
        Ok(())
    }

    /// All of a directory is there: only now its mode and time can be set, since writing into it
    /// changes one and may need another of the other.
    fn end_directory(
        &mut self,
        id: u64,
        directory: &directories::Directory,
    ) -> Result<(), CopyError> {
        match &directory.state {
            directories::State::Failed => Ok(()),
            directories::State::Dropped => self.done(id, Ending::Dropped),
            directories::State::Open { wanted } => {
                let set = match wanted {
                    Some(meta) => self
                        .written
                        .at(&directory.trail)
                        .and_then(|at| part::apply(at, meta)),
                    None => Ok(()),
                };
                match set {
                    Ok(()) => {
                        self.report.summary.directories += 1;
                        self.done(id, Ending::Stored)
                    }
                    Err(error) => {
                        let path = self.shown(&directory.trail, None);
                        self.failed_at(id, path, &plain(&error))
                    }
                }
            }
        }
    }
}
