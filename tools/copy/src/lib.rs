//! Copies files and trees over a pair of byte streams, whatever carries them.
//!
//! One side is the client and says what is to be copied ([`Push`], [`Pull`]); the other one is the
//! server ([`serve`]), a process of the user whose files it may touch. Either of them may be the
//! sender.
//!
//! ```text
//! sender                                        receiver
//!   Source 0, Directory d, File a, File b …  ─▶   looks what is there
//!                                            ◀─   Want a (has 5 MiB, hash …), Done b (unchanged)
//!   Start a at 5 MiB, Data …, Finish hash    ─▶   verifies, renames into place
//!                                            ◀─   Done a
//!   End                                      ─▶
//!                                            ◀─   Bye
//! ```
//! - **No round trip per file.** Up to [`WINDOW`](bounds::WINDOW) entries are announced ahead, and the content of wanted
//!   files follows without a pause.
//! - **A cut copy goes on.** An incomplete file stays as `.NAME.dsh-part`; the next copy sends its
//!   hash, and only what is missing travels. What is the same already does not travel at all.
//! - **Every file is verified** by a BLAKE3 hash over all its content before it takes its name.
//! - **Nothing leaves the destination.** Names travel one component at a time, and the receiver
//!   walks down from its directory one step at a time and follows no link ([`Name`]).
//! - **One file's failure is that file's.** It is an [`Event`]; the rest goes on.
//!
//! Left out: owners and groups, hard links as such, extended attributes and ACLs; the differences
//! within a changed file (it is sent anew). The protocol is described in docs/wire-format/copy.md.
//!
//! The engine blocks on files and has a thread of its own; `start` and `on_a_thread` join it to
//! asynchronous streams (feature `async`, on by default).

pub mod bounds;
mod content;
mod error;
pub mod frame;
pub mod hash;
mod name;
mod place;
#[cfg(feature = "async")]
mod pump;
mod receive;
mod report;
mod send;
mod stream;
mod walk;

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::bounds::{MAX_PATH, MAX_REQUEST, MAX_SOURCES};
pub use crate::error::CopyError;
use crate::frame::Frame;
pub use crate::frame::Options;
pub use crate::name::{Name, NameError, shown};
#[cfg(feature = "async")]
pub use crate::pump::{FromCopy, Outcome, StreamIn, StreamOut, ToCopy, on_a_thread, start};
use crate::receive::Landing;
use crate::report::Report;
pub use crate::report::{Event, Observer, Summary};
use crate::stream::{FrameReader, FrameWriter};
use crate::walk::Sources;

/// A copy of local files to the other side.
#[derive(Clone, Debug)]
pub struct Push {
    /// What is copied. A source that is a link is followed.
    pub sources: Vec<PathBuf>,
    /// Where to, as the other side understands it: relative to the home, `~/` is the home.
    pub destination: Vec<u8>,
    /// How.
    pub options: Options,
}

/// A copy of the other side's files to here.
#[derive(Clone, Debug)]
pub struct Pull {
    /// What is copied, as the other side understands it.
    pub sources: Vec<Vec<u8>>,
    /// A directory that takes the sources, or the new name of the only one.
    pub destination: PathBuf,
    /// How.
    pub options: Options,
}

impl Push {
    /// Copies, and returns when everything has arrived and the other side has said so.
    ///
    /// # Errors
    /// [`CopyError`] when the copy as a whole cannot be made or finished. Files that failed are
    /// events, and counted in the summary.
    pub fn run<R: Read + Send + 'static, W: Write>(
        self,
        input: R,
        output: W,
        observer: &mut dyn Observer,
    ) -> Result<Summary, CopyError> {
        let names = names_of(self.sources.iter().map(|path| path.as_os_str().as_bytes()))?;
        let mut out = FrameWriter::new(output);
        out.send(&Frame::Push {
            options: self.options,
            destination: &self.destination,
            names: names
                .iter()
                .map(|name| name.as_ref().map_or(&b""[..], Name::as_bytes))
                .collect(),
        })?;
        let sources = Sources {
            paths: self.sources.into(),
            is_recursive: self.options.recursive,
        };
        let input = FrameReader::new(input);
        send::send(input, out, (sources, self.options), Report::new(observer))
    }

    /// Whether this can be asked for at all: without a connection.
    ///
    /// # Errors
    /// Two sources of one name; too many of them; paths that are too long.
    pub fn check(&self) -> Result<(), CopyError> {
        check_length(&self.destination)?;
        let names = names_of(self.sources.iter().map(|path| path.as_os_str().as_bytes()))?;
        let mut seen = std::collections::BTreeSet::new();
        match names.iter().flatten().find(|name| !seen.insert(*name)) {
            Some(twice) => Err(CopyError::SameName(shown(twice.as_bytes()))),
            None => Ok(()),
        }
    }
}

impl Pull {
    /// Copies, and returns when everything is there.
    ///
    /// # Errors
    /// As [`Push::run`].
    pub fn run<R: Read, W: Write>(
        self,
        input: R,
        output: W,
        observer: &mut dyn Observer,
    ) -> Result<Summary, CopyError> {
        let landing = self.landing()?;
        let mut out = FrameWriter::new(output);
        out.send(&Frame::Pull {
            options: self.options,
            sources: self.sources.iter().map(Vec::as_slice).collect(),
        })?;
        let input = FrameReader::new(input);
        receive::receive(input, out, (landing, self.options), Report::new(observer))
    }

    /// Whether this can be asked for at all: without a connection.
    ///
    /// # Errors
    /// As [`Push::check`]; also when the destination cannot take it.
    pub fn check(&self) -> Result<(), CopyError> {
        self.landing().map(drop)
    }

    fn landing(&self) -> Result<Landing, CopyError> {
        let names = names_of(self.sources.iter().map(Vec::as_slice))?;
        Landing::new(&self.destination, names)
    }
}

/// Tells a client that there will be no copy.
pub fn refuse(output: impl Write, reason: &str) {
    FrameWriter::new(output).abort(&CopyError::Destination {
        path: "it".to_owned(),
        reason: reason.to_owned(),
    });
}

/// Serves one copy: reads what the client wants and does it, with the rights and in the working
/// directory of this process.
///
/// # Errors
/// [`CopyError`]; the client was told, unless it is gone.
pub fn serve<R: Read + Send + 'static, W: Write>(
    input: R,
    output: W,
) -> Result<Summary, CopyError> {
    let mut input = FrameReader::new(input);
    let mut out = FrameWriter::new(output);
    let mut silent = |_: Event| {};
    let asked = asked(&mut input).inspect_err(|error| out.abort(error))?;
    let report = Report::new(&mut silent);
    match asked {
        Asked::Receive { landing, options } => {
            receive::receive(input, out, (landing, options), report)
        }
        Asked::Send { sources, options } => send::send(input, out, (sources, options), report),
    }
}

enum Asked {
    Receive { landing: Landing, options: Options },
    Send { sources: Sources, options: Options },
}

fn asked<R: Read>(input: &mut FrameReader<R>) -> Result<Asked, CopyError> {
    match input.next_frame()? {
        Frame::Push {
            options,
            destination,
            names,
        } => {
            let names = names.into_iter().map(|name| match name {
                b"" => Ok(None),
                name => Name::new(name).map(Some),
            });
            let names = names.collect::<Result<_, _>>();
            let names = names.map_err(|_| CopyError::Violation("a name that is none"))?;
            let landing = Landing::new(&local_path(destination), names)?;
            Ok(Asked::Receive { landing, options })
        }
        Frame::Pull { options, sources } => {
            let paths = sources.into_iter().map(local_path).collect();
            let is_recursive = options.recursive;
            let sources = Sources {
                paths,
                is_recursive,
            };
            Ok(Asked::Send { sources, options })
        }
        _ => Err(CopyError::Violation("it begins without a request")),
    }
}

/// What a client calls a path: nothing is the directory of this process, which is the user's home,
/// and so is `~`.
fn local_path(asked: &[u8]) -> PathBuf {
    let path = match asked {
        b"" | b"~" | b"~/" => b".",
        [b'~', b'/', rest @ ..] => rest,
        other => other,
    };
    PathBuf::from(OsStr::from_bytes(path))
}

/// What each source is called at its destination.
fn names_of<'a>(
    sources: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
) -> Result<Vec<Option<Name>>, CopyError> {
    if sources.len() > MAX_SOURCES {
        return Err(CopyError::TooMany(sources.len()));
    }
    let mut total = 2 * MAX_PATH;
    let mut names = Vec::new();
    for path in sources {
        check_length(path)?;
        total += path.len() + 2;
        if total > MAX_REQUEST {
            return Err(CopyError::TooLong("all sources together".to_owned()));
        }
        let name = receive::base_name(path).map_err(|_| CopyError::TooLong(shown(path)))?;
        names.push(name);
    }
    Ok(names)
}

fn check_length(path: &[u8]) -> Result<(), CopyError> {
    if path.len() > MAX_PATH {
        return Err(CopyError::TooLong(shown(path)));
    }
    Ok(())
}
