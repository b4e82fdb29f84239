//! What the receiver says, read on a thread of its own: a sender that waits for room on its way out
//! must go on hearing, or both would wait for each other.

use std::io::Read;
use std::sync::mpsc::SyncSender;

use crate::CopyError;
use crate::frame::{Ending, Frame, Have};
use crate::name::shown;
use crate::stream::FrameReader;

/// Something that a sender hears.
pub(super) enum Told {
    Verdict(Verdict),
    /// All sources were counted.
    Total {
        files: u64,
        bytes: u64,
    },
    /// Nothing more will come.
    Ended(CopyError),
}

/// The receiver's word on an entry.
pub(super) enum Verdict {
    Want {
        id: u64,
        have: Option<Have>,
    },
    Done {
        id: u64,
        ending: Ending,
    },
    Failed {
        id: u64,
        path: String,
        reason: String,
    },
    Waiting {
        path: String,
    },
    Bye,
}

/// Reads until the end.
pub(super) fn listen<R: Read>(mut input: FrameReader<R>, tell: &SyncSender<Told>) {
    loop {
        let told = match input.next_frame() {
            Ok(Frame::Want { id, have }) => Told::Verdict(Verdict::Want { id, have }),
            Ok(Frame::Done { id, ending }) => Told::Verdict(Verdict::Done { id, ending }),
            Ok(Frame::Failed { id, path, reason }) => Told::Verdict(Verdict::Failed {
                id,
                path: shown(path),
                reason: shown(reason),
            }),
            Ok(Frame::Waiting { path }) => Told::Verdict(Verdict::Waiting { path: shown(path) }),
            Ok(Frame::Bye) => Told::Verdict(Verdict::Bye),
            Ok(_) => Told::Ended(CopyError::Violation("a receiver that speaks as a sender")),
            Err(error) => Told::Ended(error),
        };
        let is_last = matches!(told, Told::Ended(_) | Told::Verdict(Verdict::Bye));
        if tell.send(told).is_err() || is_last {
            return;
        }
    }
}
