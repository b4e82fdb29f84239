//! The file that is being sent.

use std::os::fd::OwnedFd;

use rustix::fs::{FileType, fstat};

use super::Want;
use crate::content::{Content, Piece, Sparse, hash_prefix};
use crate::error::plain;
use crate::hash::{Digest, FileHash};
use crate::walk::{Opener, Place};

const SHORTER: &str = "it became shorter while it was copied";

pub(super) struct Active {
    id: u64,
    place: Place,
    file: OwnedFd,
    size: u64,
    start: u64,
    content: Content,
    hash: FileHash,
    is_rejected: bool,
}

/// What is to be said next.
pub(super) enum Step<'a> {
    Data(&'a [u8]),
    Hole(u64),
    End(Digest),
    Rejected,
    Broken(String),
}

impl Active {
    /// Opens the file, and finds out whether what the receiver has is its beginning.
    pub(super) fn open(
        opener: &mut Opener,
        want: Want,
        on_verified: impl FnMut(u64),
    ) -> Result<Self, String> {
        let file = opener.open(&want.place).map_err(|error| plain(&error))?;
        let stat = fstat(&file).map_err(|error| plain(&error.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err("it is no file any more".to_owned());
        }
        // One that has grown is sent as long as it was announced.
        if u64::try_from(stat.st_size).unwrap_or(0) < want.size {
            return Err(SHORTER.to_owned());
        }
        let sparse = Sparse::of(&stat);
        let (mut start, mut hash) = (0, FileHash::default());
        if let Some(have) = want.have {
            let own = hash_prefix(&file, have.length, sparse, on_verified)
                .map_err(|error| plain(&error))?
                .ok_or(SHORTER)?;
            if own.digest() == have.digest {
                (start, hash) = (have.length, own);
            }
        }
        Ok(Self {
            id: want.id,
            place: want.place,
            file,
            size: want.size,
            start,
            content: Content::new(start, want.size, sparse),
            hash,
            is_rejected: false,
        })
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Where sending began.
    pub(super) fn position(&self) -> u64 {
        self.start
    }

    /// The receiver has no use for the rest of this file.
    pub(super) fn reject(&mut self, id: u64) {
        self.is_rejected |= id == self.id;
    }

    pub(super) fn step<'a>(&mut self, block: &'a mut [u8]) -> Step<'a> {
        if self.is_rejected {
            return Step::Rejected;
        }
        if self.content.is_at_end() {
            return Step::End(self.hash.digest());
        }
        match self.content.next(&self.file, block) {
            Ok(Piece::Data(bytes)) => {
                self.hash.update(bytes);
                Step::Data(bytes)
            }
            Ok(Piece::Hole(length)) => {
                self.hash.zeros(length);
                Step::Hole(length)
            }
            Ok(Piece::Shorter) => Step::Broken(SHORTER.to_owned()),
            Err(error) => Step::Broken(plain(&error)),
        }
    }
}
