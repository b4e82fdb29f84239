//! The side that has the files.
//!
//! Three things go on at once on one stream: entries are announced ahead, up to [`WINDOW`] of them;
//! the receiver's verdicts come in on a thread of their own; and the content of what it wants goes
//! out in the order in which it asked. No file waits for a round trip of its own.

mod active;
mod verdicts;

use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::Duration;

use self::active::{Active, Step};
use self::verdicts::{Told, Verdict};
use crate::bounds::{MAX_BLOCK, WINDOW};
use crate::frame::{Ending, Frame, Have, Options};
use crate::report::{Event, Report, Summary};
use crate::stream::{FrameReader, FrameWriter};
use crate::walk::{Item, Opener, Place, Sources, Walk};
use crate::{CopyError, name};

/// Entries announced between two blocks of content.
const BATCH: usize = 64;

/// How long is waited for the peer's last words when it has hung up.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// An entry that was announced and has not come to its end.
enum InFlight {
    Directory,
    Link,
    File { place: Place, size: u64 },
    Wanted { size: u64, resumed: u64 },
}

struct Want {
    id: u64,
    place: Place,
    size: u64,
    have: Option<Have>,
}

struct Sending<'a, W: Write> {
    out: FrameWriter<W>,
    told: Receiver<Told>,
    sources: Sources,
    /// `None` when all is announced.
    walk: Option<Walk>,
    opener: Opener,
    next_id: u64,
    in_flight: HashMap<u64, InFlight>,
    wanted: VecDeque<Want>,
    active: Option<Active>,
    block: Vec<u8>,
    report: Report<'a>,
}

/// Sends everything below `sources` to whoever is at the other end.
pub(crate) fn send<R: Read + Send + 'static, W: Write>(
    input: FrameReader<R>,
    out: FrameWriter<W>,
    (sources, options): (Sources, Options),
    report: Report<'_>,
) -> Result<Summary, CopyError> {
    // Two verdicts for each entry in flight; a peer that says more waits.
    let (tell, told) = sync_channel(2 * WINDOW + 16);
    if options.totals {
        let (sources, tell) = (sources.clone(), tell.clone());
        std::thread::spawn(move || {
            let (files, bytes) = crate::walk::count(sources);
            let _ = tell.send(Told::Total { files, bytes });
        });
    }
    std::thread::spawn(move || verdicts::listen(input, &tell));
    let mut sending = Sending {
        out,
        told,
        walk: Some(Walk::new(sources.clone())),
        opener: Opener::new(sources.clone()),
        sources,
        next_id: 0,
        in_flight: HashMap::new(),
        wanted: VecDeque::new(),
        active: None,
        block: vec![0; MAX_BLOCK],
        report,
    };
    match sending.run() {
        Ok(()) => Ok(sending.report.summary),
        Err(error) => {
            let error = sending.last_words(error);
            sending.out.abort(&error);
            Err(error)
        }
    }
}

impl<W: Write> Sending<'_, W> {
    fn run(&mut self) -> Result<(), CopyError> {
        loop {
            self.hear_all()?;
            if self.in_flight.len() < WINDOW && self.walk.is_some() {
                self.announce()?;
                if self.wanted.is_empty() && self.active.is_none() {
                    continue;
                }
            }
            if self.active.is_some() {
                self.step()?;
            } else if let Some(want) = self.wanted.pop_front() {
                self.start(want)?;
            } else if self.walk.is_none() && self.in_flight.is_empty() {
                break;
            } else {
                self.out.flush()?;
                let told = self.told.recv().map_err(|_| CopyError::Cut)?;
                self.hear(told)?;
            }
        }
        self.out.send(&Frame::End)?;
        self.out.flush()?;
        loop {
            match self.told.recv().map_err(|_| CopyError::Cut)? {
                Told::Verdict(Verdict::Bye) => return Ok(()),
                Told::Ended(error) => return Err(error),
                Told::Total { .. } => {}
                Told::Verdict(_) => return Err(CopyError::Violation("a word after the end")),
            }
        }
    }

    fn hear_all(&mut self) -> Result<(), CopyError> {
        loop {
            match self.told.try_recv() {
                Ok(told) => self.hear(told)?,
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(CopyError::Cut),
            }
        }
    }

    fn hear(&mut self, told: Told) -> Result<(), CopyError> {
        match told {
            Told::Ended(error) => Err(error),
            Told::Total { files, bytes } => {
                self.report.on(Event::Expected { files, bytes });
                Ok(self.out.send(&Frame::Total { files, bytes })?)
            }
            Told::Verdict(verdict) => self.on_verdict(verdict),
        }
    }

    fn on_verdict(&mut self, verdict: Verdict) -> Result<(), CopyError> {
        const UNKNOWN: CopyError = CopyError::Violation("a verdict on what was not announced");
        match verdict {
            Verdict::Want { id, have } => {
                let Some(InFlight::File { place, size }) = self.in_flight.remove(&id) else {
                    return Err(UNKNOWN);
                };
                if have.is_some_and(|have| have.length > size) {
                    return Err(CopyError::Violation("it has more of a file than there is"));
                }
                let resumed = 0;
                self.in_flight
                    .insert(id, InFlight::Wanted { size, resumed });
                self.wanted.push_back(Want {
                    id,
                    place,
                    size,
                    have,
                });
            }
            Verdict::Done { id, ending } => {
                let entry = self.in_flight.remove(&id).ok_or(UNKNOWN)?;
                self.on_done(&entry, ending)?;
            }
            Verdict::Failed { id, path, reason } => {
                self.in_flight.remove(&id).ok_or(UNKNOWN)?;
                self.report.on(Event::Failed {
                    path,
                    reason,
                    is_at_peer: true,
                });
                if let Some(active) = &mut self.active {
                    active.reject(id);
                }
            }
            Verdict::Waiting { path } => self.report.on(Event::Waiting { path }),
            Verdict::Bye => return Err(CopyError::Violation("a good-bye before the end")),
        }
        Ok(())
    }

    fn on_done(&mut self, entry: &InFlight, ending: Ending) -> Result<(), CopyError> {
        match (entry, ending) {
            (_, Ending::Dropped) => {}
            (InFlight::Directory, _) => self.report.summary.directories += 1,
            (InFlight::Link, Ending::Stored) => self.report.summary.links += 1,
            (InFlight::Link, Ending::Unchanged) => self.report.summary.unchanged += 1,
            (InFlight::Wanted { resumed, .. }, Ending::Stored) => {
                self.report.on(Event::Stored { resumed: *resumed });
            }
            (InFlight::File { size, .. } | InFlight::Wanted { size, .. }, Ending::Unchanged) => {
                self.report.on(Event::Unchanged { size: *size });
            }
            (InFlight::File { .. }, Ending::Stored) => {
                return Err(CopyError::Violation("it has stored what it was not sent"));
            }
        }
        Ok(())
    }

    /// Announces a batch.
    fn announce(&mut self) -> Result<(), CopyError> {
        for _ in 0..BATCH {
            let Some(item) = self.walk.as_mut().and_then(Walk::next_item) else {
                self.walk = None;
                return Ok(());
            };
            self.announce_item(item)?;
        }
        Ok(())
    }

    fn announce_item(&mut self, item: Item) -> Result<(), CopyError> {
        match item {
            Item::Source(index) => {
                let index = u16::try_from(index).unwrap_or(u16::MAX);
                self.out.send(&Frame::Source { index })?;
            }
            Item::Leave => self.out.send(&Frame::Leave)?,
            Item::Directory { place, meta } => {
                let name = bytes_of(&place);
                self.out.send(&Frame::Directory { name, meta })?;
                self.add(InFlight::Directory);
            }
            Item::File { place, size, meta } => {
                let name = bytes_of(&place);
                self.out.send(&Frame::File { name, size, meta })?;
                self.add(InFlight::File { place, size });
            }
            Item::Link {
                place,
                target,
                meta,
            } => {
                self.out.send(&Frame::Link {
                    name: bytes_of(&place),
                    target: &target,
                    meta,
                })?;
                self.add(InFlight::Link);
            }
            Item::Failed { path, reason } => {
                self.missing(&path, &reason, Fault::Failure)?;
                let is_at_peer = false;
                self.report.on(Event::Failed {
                    path,
                    reason,
                    is_at_peer,
                });
            }
            Item::Skipped { path, reason } => {
                self.missing(&path, &reason, Fault::None)?;
                self.report.on(Event::Skipped { path, reason });
            }
        }
        Ok(())
    }

    fn missing(&mut self, path: &str, reason: &str, fault: Fault) -> Result<(), CopyError> {
        Ok(self.out.send(&Frame::Missing {
            path: path.as_bytes(),
            reason: reason.as_bytes(),
            is_failure: matches!(fault, Fault::Failure),
        })?)
    }

    fn add(&mut self, entry: InFlight) {
        self.in_flight.insert(self.next_id, entry);
        self.next_id += 1;
    }

    /// Begins with a file that the receiver wants.
    fn start(&mut self, want: Want) -> Result<(), CopyError> {
        let id = want.id;
        let Some(entry) = self.in_flight.get_mut(&id) else {
            // The receiver has given it up meanwhile, and was told of.
            return Ok(self.out.send(&Frame::given_up(id))?);
        };
        let path = self.sources.shown(&want.place);
        let report = &mut self.report;
        let opened = Active::open(&mut self.opener, want, |bytes| {
            report.on(Event::Verified(bytes));
        });
        match opened {
            Ok(active) => {
                let (offset, size) = (active.position(), active.size());
                *entry = InFlight::Wanted {
                    size,
                    resumed: offset,
                };
                self.out.send(&Frame::Start { id, offset })?;
                if offset < size {
                    self.report.on(Event::Begun {
                        path,
                        size,
                        resumed: offset,
                    });
                }
                self.active = Some(active);
                Ok(())
            }
            Err(reason) => self.broken(id, path, reason),
        }
    }

    /// Sends one piece of the file that was begun.
    fn step(&mut self) -> Result<(), CopyError> {
        let Some(active) = &mut self.active else {
            return Ok(());
        };
        let id = active.id();
        let sent = match active.step(&mut self.block) {
            Step::Data(bytes) => {
                self.out.send(&Frame::Data(bytes))?;
                bytes.len() as u64
            }
            Step::Hole(length) => {
                self.out.send(&Frame::Hole { length })?;
                length
            }
            Step::End(digest) => {
                self.out.send(&Frame::Finish { digest })?;
                self.active = None;
                return Ok(());
            }
            Step::Rejected => {
                self.out.send(&Frame::given_up(id))?;
                self.active = None;
                return Ok(());
            }
            Step::Broken(reason) => {
                let path = self.sources.shown(active.place());
                self.active = None;
                return self.broken(id, path, reason);
            }
        };
        self.report.on(Event::Advanced(sent));
        Ok(())
    }

    fn broken(&mut self, id: u64, path: String, reason: String) -> Result<(), CopyError> {
        self.out.send(&Frame::Broken {
            id,
            path: path.as_bytes(),
            reason: reason.as_bytes(),
        })?;
        self.report.on(Event::Failed {
            path,
            reason,
            is_at_peer: false,
        });
        Ok(())
    }

    /// Who hangs up has said why, perhaps: that tells more than the broken stream.
    fn last_words(&self, error: CopyError) -> CopyError {
        if matches!(error, CopyError::Cut | CopyError::Stream(_)) {
            while let Ok(told) = self.told.recv_timeout(LAST_WORDS) {
                if let Told::Ended(last @ CopyError::Aborted(_)) = told {
                    return last;
                }
            }
        }
        error
    }
}

#[derive(Clone, Copy)]
enum Fault {
    Failure,
    None,
}

fn bytes_of(place: &Place) -> &[u8] {
    place.name.as_ref().map_or(b"", name::Name::as_bytes)
}
