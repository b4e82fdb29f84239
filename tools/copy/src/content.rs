//! Reading files with holes.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{SeekFrom, seek};
use rustix::io::{Errno, pread};

use crate::bounds::MAX_BLOCK;
use crate::hash::FileHash;

/// Bytes of a block of the file system in `st_blocks`.
const STAT_BLOCK: u64 = 512;

/// What comes next in a file.
pub(crate) enum Piece<'a> {
    Data(&'a [u8]),
    Hole(u64),
    /// The file is shorter than it was.
    Shorter,
}

/// Reads a file from one place to another.
pub(crate) struct Content {
    position: u64,
    end: u64,
    /// Up to here there is data; equal to `end` where holes are not looked for.
    data_until: u64,
}

impl Content {
    /// From `position` to `end`. `is_sparse` is [`is_sparse`]'s word: only then are holes looked for.
    pub(crate) fn new(position: u64, end: u64, sparse: Sparse) -> Self {
        let data_until = match sparse {
            Sparse::Perhaps => position,
            Sparse::No => end,
        };
        Self {
            position,
            end,
            data_until,
        }
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.position >= self.end
    }

    /// The next piece of `file`, read into `block`. Not at the end.
    pub(crate) fn next<'a>(
        &mut self,
        file: impl AsFd,
        block: &'a mut [u8],
    ) -> io::Result<Piece<'a>> {
        if self.position >= self.data_until {
            let data = match seek(&file, SeekFrom::Data(self.position)) {
                Ok(data) => data.min(self.end),
                Err(Errno::NXIO) => self.end, // No more data: a hole to the end.
                Err(Errno::INVAL) => self.position, // A file system without holes.
                Err(error) => return Err(error.into()),
            };
            self.data_until = match seek(&file, SeekFrom::Hole(data)) {
                Ok(hole) => hole.clamp(data, self.end),
                Err(_) => self.end,
            };
            if data > self.position {
                // A file that was cut short has no hole where its end was.
                if data == self.end && file_size(&file)? < self.end {
                    return Ok(Piece::Shorter);
                }
                let hole = data - self.position;
                self.position = data;
                return Ok(Piece::Hole(hole));
            }
            if self.data_until == self.position {
                self.data_until = self.end;
            }
        }
        let length = (self.data_until - self.position).min(block.len() as u64);
        let length = usize::try_from(length).unwrap_or(block.len());
        let read = loop {
            match pread(&file, &mut block[..length], self.position) {
                Err(Errno::INTR) => {}
                other => break other?,
            }
        };
        if read == 0 {
            return Ok(Piece::Shorter);
        }
        self.position += read as u64;
        Ok(Piece::Data(&block[..read]))
    }
}

fn file_size(file: impl AsFd) -> io::Result<u64> {
    Ok(u64::try_from(rustix::fs::fstat(file)?.st_size).unwrap_or(0))
}

/// Whether holes are worth looking for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sparse {
    Perhaps,
    No,
}

impl Sparse {
    /// A file with as many blocks as it has bytes has no holes.
    pub(crate) fn of(stat: &rustix::fs::Stat) -> Self {
        let stored = u64::try_from(stat.st_blocks).unwrap_or(0) * STAT_BLOCK;
        if stored < u64::try_from(stat.st_size).unwrap_or(0) {
            Self::Perhaps
        } else {
            Self::No
        }
    }
}

/// Hashes the first `length` bytes of `file`; `None` if it has fewer. Tells of each piece.
pub(crate) fn hash_prefix(
    file: impl AsFd,
    length: u64,
    sparse: Sparse,
    mut on_piece: impl FnMut(u64),
) -> io::Result<Option<FileHash>> {
    let mut hash = FileHash::default();
    let mut content = Content::new(0, length, sparse);
    let mut block = vec![0; MAX_BLOCK];
    while !content.is_at_end() {
        match content.next(&file, &mut block)? {
            Piece::Data(bytes) => {
                hash.update(bytes);
                on_piece(bytes.len() as u64);
            }
            Piece::Hole(zeros) => {
                hash.zeros(zeros);
                on_piece(zeros);
            }
            Piece::Shorter => return Ok(None),
        }
    }
    Ok(Some(hash))
}
