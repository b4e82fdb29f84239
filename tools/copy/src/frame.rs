//! What the two sides say to each other, one frame at a time.
//!
//! ```text
//! kind u8 | length u32, big-endian | body
//! ```
//! A decoded frame borrows from the bytes that it was read from. The layout of each body is in
//! docs/wire-format/copy.md.

mod fields;
mod kind;

use self::fields::{Fields, put_bytes, put_short};
use crate::bounds::{
    MAX_BLOCK, MAX_FRAME, MAX_NAME, MAX_PATH, MAX_REASON, MAX_REQUEST, MAX_SOURCES,
};
use crate::hash::Digest;

/// Version of the protocol; the first byte of a request.
pub const VERSION: u8 = 1;

/// Bytes before the body of a frame.
pub const HEADER_LEN: usize = 5;

/// How a copy is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Directories with all that is in them.
    pub recursive: bool,
    /// Modes and times as they are at the source.
    pub preserve: bool,
    /// Files of equal size and time are compared by hash too.
    pub checksum: bool,
    /// The sender counts everything first and says how much it is.
    pub totals: bool,
}

/// What is kept of an entry beside its content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Permission bits.
    pub mode: u16,
    /// Time of the last change, seconds since 1970.
    pub seconds: i64,
    /// And nanoseconds, below 1,000,000,000.
    pub nanoseconds: u32,
}

/// What a receiver has of a file already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Have {
    /// So many bytes, at least 1.
    pub length: u64,
    /// Their hash.
    pub digest: Digest,
}

/// How an entry came to its end at the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It is there.
    Stored,
    /// It was there, the same.
    Unchanged,
    /// It was given up, and the reason is known: the sender's own, or the directory's above.
    Dropped,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Frame<'a> {
    /// Client to server, first: I send.
    Push {
        /// How.
        options: Options,
        /// Path of the destination.
        destination: &'a [u8],
        /// What each source is called there; empty for one whose content goes into the destination.
        names: Vec<&'a [u8]>,
    },
    /// Client to server, first: send me.
    Pull {
        /// How.
        options: Options,
        /// Paths.
        sources: Vec<&'a [u8]>,
    },
    /// Sender: what follows is the source of this number. Numbers rise.
    Source {
        /// From 0.
        index: u16,
    },
    /// Sender: a directory, and its entries until [`Frame::Leave`].
    Directory {
        /// Empty for a source.
        name: &'a [u8],
        /// Mode and time.
        meta: Meta,
    },
    /// Sender: all entries of the directory were announced.
    Leave,
    /// Sender: a regular file.
    File {
        /// Empty for a source.
        name: &'a [u8],
        /// Bytes that will come.
        size: u64,
        /// Mode and time.
        meta: Meta,
    },
    /// Sender: a symbolic link.
    Link {
        /// Empty for a source.
        name: &'a [u8],
        /// Where to.
        target: &'a [u8],
        /// Mode and time.
        meta: Meta,
    },
    /// Sender: something that will not come.
    Missing {
        /// Its path, for people.
        path: &'a [u8],
        /// Why.
        reason: &'a [u8],
        /// Whether it should have come.
        is_failure: bool,
    },
    /// Sender: how much there is in all sources.
    Total {
        /// Regular files.
        files: u64,
        /// Their sizes.
        bytes: u64,
    },
    /// Sender: the content of a wanted file begins.
    Start {
        /// Number of the entry.
        id: u64,
        /// Where: 0, or what the receiver has.
        offset: u64,
    },
    /// Sender: bytes of the file that was started.
    Data(&'a [u8]),
    /// Sender: zeros that are not stored.
    Hole {
        /// How many.
        length: u64,
    },
    /// Sender: the file ends here.
    Finish {
        /// Hash of the whole content, from byte 0.
        digest: Digest,
    },
    /// Sender: a wanted file is given up, begun or not.
    Broken {
        /// Number of the entry.
        id: u64,
        /// Its path at the sender, for people.
        path: &'a [u8],
        /// Why, for people.
        reason: &'a [u8],
    },
    /// Sender: everything was announced, and every entry has come to its end.
    End,
    /// Receiver: send me this file.
    Want {
        /// Number of the entry.
        id: u64,
        /// What is there of it.
        have: Option<Have>,
    },
    /// Receiver: this entry is finished.
    Done {
        /// Number of the entry.
        id: u64,
        /// How.
        ending: Ending,
    },
    /// Receiver: this entry failed.
    Failed {
        /// Number of the entry.
        id: u64,
        /// Its path at the receiver, for people.
        path: &'a [u8],
        /// Why.
        reason: &'a [u8],
    },
    /// Receiver: another copy holds this file; it is waited for.
    Waiting {
        /// Its path at the receiver, for people.
        path: &'a [u8],
    },
    /// Receiver: all is done.
    Bye,
    /// Either: I give up.
    Abort {
        /// Why, for people.
        reason: &'a [u8],
    },
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Of a later version, perhaps.
    #[error("a frame of an unknown kind, {0}")]
    Kind(u8),
    /// Longer than its kind may be.
    #[error("a frame of {0} bytes is too long")]
    TooLong(u32),
    /// The body ends early.
    #[error("a frame is shorter than what it says")]
    Short,
    /// Something stands behind the body.
    #[error("a frame is longer than what it says")]
    Trailing,
    /// A field has a value that it cannot have.
    #[error("a frame with a bad {0}")]
    Field(&'static str),
    /// Another version of the protocol.
    #[error("version {0} of the copy protocol; this side speaks version {VERSION}")]
    Version(u8),
}

/// Kind and length of the body that follows, out of a header.
///
/// # Errors
/// [`DecodeError`] before anything is allocated for a body that is too long.
pub fn decode_header(header: [u8; HEADER_LEN]) -> Result<(u8, usize), DecodeError> {
    let [kind, length @ ..] = header;
    let length = u32::from_be_bytes(length);
    let bound = match kind {
        kind::PUSH | kind::PULL => MAX_REQUEST,
        kind::DATA => MAX_BLOCK,
        kind::SOURCE..=kind::TOTAL
        | kind::START..=kind::END
        | kind::WANT..=kind::BYE
        | kind::ABORT => MAX_FRAME,
        _ => return Err(DecodeError::Kind(kind)),
    };
    match usize::try_from(length) {
        Ok(length) if length <= bound => Ok((kind, length)),
        _ => Err(DecodeError::TooLong(length)),
    }
}

impl<'a> Frame<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// [`DecodeError`] for anything that [`Frame::encode`] would not have written.
    pub fn decode(kind: u8, body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields::of(body);
        let frame = match kind {
            kind::PUSH | kind::PULL => decode_request(kind, &mut fields)?,
            kind::SOURCE..=kind::TOTAL => decode_announcement(kind, &mut fields)?,
            kind::START..=kind::END => decode_content(kind, &mut fields)?,
            kind::WANT..=kind::BYE => decode_verdict(kind, &mut fields)?,
            kind::ABORT => Self::Abort {
                reason: fields.bytes(MAX_REASON, "reason")?,
            },
            _ => return Err(DecodeError::Kind(kind)),
        };
        fields.end()?;
        Ok(frame)
    }

    /// Appends the header and the body, of a block the header alone: its bytes follow as they are.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[self.kind(), 0, 0, 0, 0]);
        self.encode_body(out);
        let length = match self {
            Self::Data(block) => block.len(),
            _ => out.len() - start - HEADER_LEN,
        };
        debug_assert!(
            length <= MAX_REQUEST,
            "who makes a frame keeps to its bounds"
        );
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        out[start + 1..start + HEADER_LEN].copy_from_slice(&length.to_be_bytes());
    }

    /// The end of a file that failed at the receiver, which knows why.
    pub(crate) fn given_up(id: u64) -> Self {
        Self::Broken {
            id,
            path: b"",
            reason: b"",
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Push { .. } => kind::PUSH,
            Self::Pull { .. } => kind::PULL,
            Self::Source { .. } => kind::SOURCE,
            Self::Directory { .. } => kind::DIRECTORY,
            Self::Leave => kind::LEAVE,
            Self::File { .. } => kind::FILE,
            Self::Link { .. } => kind::LINK,
            Self::Missing { .. } => kind::MISSING,
            Self::Total { .. } => kind::TOTAL,
            Self::Start { .. } => kind::START,
            Self::Data(_) => kind::DATA,
            Self::Hole { .. } => kind::HOLE,
            Self::Finish { .. } => kind::FINISH,
            Self::Broken { .. } => kind::BROKEN,
            Self::End => kind::END,
            Self::Want { .. } => kind::WANT,
            Self::Done { .. } => kind::DONE,
            Self::Failed { .. } => kind::FAILED,
            Self::Waiting { .. } => kind::WAITING,
            Self::Bye => kind::BYE,
            Self::Abort { .. } => kind::ABORT,
        }
    }

    fn encode_body(&self, out: &mut Vec<u8>) {
        match self {
            Self::Push {
                options,
                destination,
                names,
            } => {
                out.extend_from_slice(&[VERSION, options.bits()]);
                put_bytes(out, destination);
                put_count(out, names.len());
                names.iter().for_each(|name| put_short(out, name));
            }
            Self::Pull { options, sources } => {
                out.extend_from_slice(&[VERSION, options.bits()]);
                put_count(out, sources.len());
                sources.iter().for_each(|path| put_bytes(out, path));
            }
            Self::Source { index } => out.extend_from_slice(&index.to_be_bytes()),
            Self::Directory { name, meta } => {
                put_short(out, name);
                meta.put(out);
            }
            Self::File { name, size, meta } => {
                put_short(out, name);
                meta.put(out);
                out.extend_from_slice(&size.to_be_bytes());
            }
            Self::Link { name, target, meta } => {
                put_short(out, name);
                meta.put(out);
                put_bytes(out, target);
            }
            Self::Missing {
                path,
                reason,
                is_failure,
            } => {
                put_bytes(out, cut_front(path, MAX_PATH));
                put_bytes(out, cut(reason));
                out.push(u8::from(*is_failure));
            }
            Self::Total { files, bytes } => put_pair(out, *files, *bytes),
            Self::Start { id, offset } => put_pair(out, *id, *offset),
            Self::Hole { length } => out.extend_from_slice(&length.to_be_bytes()),
            Self::Finish { digest } => out.extend_from_slice(&digest.0),
            Self::Want { id, have } => {
                out.extend_from_slice(&id.to_be_bytes());
                if let Some(have) = have {
                    out.extend_from_slice(&have.length.to_be_bytes());
                    out.extend_from_slice(&have.digest.0);
                }
            }
            Self::Done { id, ending } => {
                out.extend_from_slice(&id.to_be_bytes());
                out.push(*ending as u8);
            }
            Self::Broken { id, path, reason } | Self::Failed { id, path, reason } => {
                out.extend_from_slice(&id.to_be_bytes());
                put_bytes(out, cut_front(path, MAX_PATH));
                put_bytes(out, cut(reason));
            }
            Self::Waiting { path } => put_bytes(out, cut_front(path, MAX_PATH)),
            Self::Abort { reason } => put_bytes(out, cut(reason)),
            Self::Leave | Self::Data(_) | Self::End | Self::Bye => {}
        }
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u16::try_from(count).unwrap_or(u16::MAX);
    out.extend_from_slice(&count.to_be_bytes());
}

fn put_pair(out: &mut Vec<u8>, a: u64, b: u64) {
    out.extend_from_slice(&a.to_be_bytes());
    out.extend_from_slice(&b.to_be_bytes());
}

/// As much of a reason as may be sent.
fn cut(reason: &[u8]) -> &[u8] {
    &reason[..reason.len().min(MAX_REASON)]
}

/// The end of a path tells more than its beginning.
fn cut_front(path: &[u8], bound: usize) -> &[u8] {
    &path[path.len().saturating_sub(bound)..]
}

fn decode_request<'a>(kind: u8, fields: &mut Fields<'a>) -> Result<Frame<'a>, DecodeError> {
    let version = fields.u8()?;
    if version != VERSION {
        return Err(DecodeError::Version(version));
    }
    let options = Options::from_bits(fields.u8()?).ok_or(DecodeError::Field("option"))?;
    if kind == kind::PULL {
        let count = decode_count(fields)?;
        let sources = (0..count).map(|_| fields.bytes(MAX_PATH, "path"));
        let sources = sources.collect::<Result<_, _>>()?;
        return Ok(Frame::Pull { options, sources });
    }
    let destination = fields.bytes(MAX_PATH, "path")?;
    let count = decode_count(fields)?;
    let names = (0..count).map(|_| fields.short(MAX_NAME, "name"));
    Ok(Frame::Push {
        options,
        destination,
        names: names.collect::<Result<_, _>>()?,
    })
}

fn decode_count(fields: &mut Fields<'_>) -> Result<usize, DecodeError> {
    let count = usize::from(fields.u16()?);
    if count == 0 || count > MAX_SOURCES {
        return Err(DecodeError::Field("number of sources"));
    }
    Ok(count)
}

fn decode_announcement<'a>(kind: u8, fields: &mut Fields<'a>) -> Result<Frame<'a>, DecodeError> {
    Ok(match kind {
        kind::SOURCE => Frame::Source {
            index: fields.u16()?,
        },
        kind::DIRECTORY => Frame::Directory {
            name: fields.short(MAX_NAME, "name")?,
            meta: Meta::take(fields)?,
        },
        kind::LEAVE => Frame::Leave,
        kind::FILE => Frame::File {
            name: fields.short(MAX_NAME, "name")?,
            meta: Meta::take(fields)?,
            size: match fields.u64()? {
                size if i64::try_from(size).is_ok() => size,
                _ => return Err(DecodeError::Field("size")),
            },
        },
        kind::LINK => Frame::Link {
            name: fields.short(MAX_NAME, "name")?,
            meta: Meta::take(fields)?,
            target: fields.bytes(MAX_PATH, "target of a link")?,
        },
        kind::MISSING => Frame::Missing {
            path: fields.bytes(MAX_PATH, "path")?,
            reason: fields.bytes(MAX_REASON, "reason")?,
            is_failure: match fields.u8()? {
                0 => false,
                1 => true,
                _ => return Err(DecodeError::Field("kind of miss")),
            },
        },
        _ => Frame::Total {
            files: fields.u64()?,
            bytes: fields.u64()?,
        },
    })
}

fn decode_content<'a>(kind: u8, fields: &mut Fields<'a>) -> Result<Frame<'a>, DecodeError> {
    Ok(match kind {
        kind::START => Frame::Start {
            id: fields.u64()?,
            offset: fields.u64()?,
        },
        kind::DATA => Frame::Data(fields.rest()),
        kind::HOLE => Frame::Hole {
            length: fields.u64()?,
        },
        kind::FINISH => Frame::Finish {
            digest: Digest(fields.array()?),
        },
        kind::BROKEN => Frame::Broken {
            id: fields.u64()?,
            path: fields.bytes(MAX_PATH, "path")?,
            reason: fields.bytes(MAX_REASON, "reason")?,
        },
        _ => Frame::End,
    })
}

fn decode_verdict<'a>(kind: u8, fields: &mut Fields<'a>) -> Result<Frame<'a>, DecodeError> {
    Ok(match kind {
        kind::WANT => {
            let id = fields.u64()?;
            let have = if fields.is_empty() {
                None
            } else {
                let length = fields.u64()?;
                if length == 0 {
                    return Err(DecodeError::Field("length"));
                }
                let digest = Digest(fields.array()?);
                Some(Have { length, digest })
            };
            Frame::Want { id, have }
        }
        kind::DONE => Frame::Done {
            id: fields.u64()?,
            ending: match fields.u8()? {
                0 => Ending::Stored,
                1 => Ending::Unchanged,
                2 => Ending::Dropped,
                _ => return Err(DecodeError::Field("ending")),
            },
        },
        kind::FAILED => Frame::Failed {
            id: fields.u64()?,
            path: fields.bytes(MAX_PATH, "path")?,
            reason: fields.bytes(MAX_REASON, "reason")?,
        },
        kind::WAITING => Frame::Waiting {
            path: fields.bytes(MAX_PATH, "path")?,
        },
        _ => Frame::Bye,
    })
}

impl Options {
    fn bits(self) -> u8 {
        let flags = [self.recursive, self.preserve, self.checksum, self.totals];
        (0..)
            .zip(flags)
            .map(|(bit, is_set)| u8::from(is_set) << bit)
            .sum()
    }

    fn from_bits(bits: u8) -> Option<Self> {
        (bits < 16).then_some(Self {
            recursive: bits & 1 != 0,
            preserve: bits & 2 != 0,
            checksum: bits & 4 != 0,
            totals: bits & 8 != 0,
        })
    }
}

impl Meta {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.mode.to_be_bytes());
        out.extend_from_slice(&self.seconds.to_be_bytes());
        out.extend_from_slice(&self.nanoseconds.to_be_bytes());
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let meta = Self {
            mode: fields.u16()?,
            seconds: i64::from_be_bytes(fields.array()?),
            nanoseconds: u32::from_be_bytes(fields.array()?),
        };
        if meta.mode > 0o7777 {
            return Err(DecodeError::Field("mode"));
        }
        if meta.nanoseconds >= 1_000_000_000 {
            return Err(DecodeError::Field("time"));
        }
        Ok(meta)
    }
}

#[cfg(test)]
mod tests;
