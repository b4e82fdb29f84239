//! Who looks at a session, and how much is on the way to them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::session::frames::{MAX_OUTPUT, ToViewer};

/// Bytes on the way to a client that have not been shown yet. When more would be, the client gets
/// the newest screen instead, once it has caught up: a second behind on a link of 1 Mbit/s.
pub(super) const MAX_AHEAD: u64 = 128 * 1024;

/// How far a client has caught up when it gets the newest screen.
const CAUGHT_UP: u64 = 16 * 1024;

/// Lines that are sent with a newest screen, of those that were skipped: so the output of
/// a build has no gap, and a flood is passed over.
pub(super) const MAX_SKIPPED_LINES: u64 = 1000;

/// Tells the clients of all sessions apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ViewerId(u64);

impl ViewerId {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Frames on their way from a session to a client. Its size is bounded by who puts frames in:
/// [`MAX_AHEAD`], and one screen.
#[derive(Default)]
pub(super) struct Outbox {
    frames: Mutex<(VecDeque<Bytes>, bool)>,
    changed: Notify,
}

impl Outbox {
    fn push(&self, frame: &ToViewer) {
        let encoded = frame.frame().encode();
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        frames.0.push_back(encoded);
        drop(frames);
        self.changed.notify_one();
    }

    /// No more frames come.
    fn close(&self) {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        self.changed.notify_one();
    }

    /// The next frame; `None` after the last.
    pub(super) async fn next(&self) -> Option<Bytes> {
        loop {
            {
                let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(frame) = frames.0.pop_front() {
                    return Some(frame);
                }
                if frames.1 {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }
}

/// A client as its session sees it. Dropping it closes its outbox.
pub(super) struct Viewer {
    pub(super) id: ViewerId,
    outbox: Arc<Outbox>,
    /// Bytes of output and drawing that were sent, and that the client has shown.
    sent: u64,
    taken: u64,
    /// Since how many lines it has been waiting for the newest screen.
    behind: Option<u64>,
}

impl Viewer {
    pub(super) fn new(id: ViewerId, outbox: Arc<Outbox>) -> Self {
        Self {
            id,
            outbox,
            sent: 0,
            taken: 0,
            behind: None,
        }
    }

    pub(super) fn say(&self, frame: &ToViewer) {
        self.outbox.push(frame);
    }

    /// Sends output, or notes that it is skipped. `lines` have left the screen before it.
    pub(super) fn output(&mut self, output: &Bytes, lines: u64) {
        if self.behind.is_some() {
            return;
        }
        if self.on_the_way() + output.len() as u64 > MAX_AHEAD {
            self.behind = Some(lines);
            return;
        }
        for start in (0..output.len()).step_by(MAX_OUTPUT) {
            let part = output.slice(start..output.len().min(start + MAX_OUTPUT));
            self.sent += part.len() as u64;
            self.say(&ToViewer::Output(part));
        }
    }

    /// Sends bytes that draw the screen as it is after `written` bytes of output.
    pub(super) fn redraw(&mut self, drawing: Vec<u8>, written: u64) {
        self.behind = None;
        self.say(&ToViewer::Redraw(written));
        let drawing = Bytes::from(drawing);
        for start in (0..drawing.len()).step_by(MAX_OUTPUT) {
            let part = drawing.slice(start..drawing.len().min(start + MAX_OUTPUT));
            self.sent += part.len() as u64;
            self.say(&ToViewer::Drawing(part));
        }
    }

    /// The client has shown so many bytes since it attached.
    pub(super) fn taken(&mut self, bytes: u64) {
        self.taken = self.taken.max(bytes.min(self.sent));
    }

    /// From which line on it wants the newest screen, if it has caught up with what was sent.
    pub(super) fn wants_redraw(&self) -> Option<u64> {
        self.behind.filter(|_| self.on_the_way() <= CAUGHT_UP)
    }

    fn on_the_way(&self) -> u64 {
        self.sent - self.taken
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.outbox.close();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use super::*;

    fn frames(outbox: &Outbox) -> usize {
        outbox.frames.lock().unwrap().0.len()
    }

    #[test]
    fn who_does_not_look_is_sent_a_bounded_number_of_bytes_and_then_the_newest_screen() {
        let outbox = Arc::new(Outbox::default());
        let mut viewer = Viewer::new(ViewerId::new(), outbox.clone());
        let block = Bytes::from(vec![b'x'; MAX_OUTPUT]);
        let fit = MAX_AHEAD / MAX_OUTPUT as u64;
        for lines in 0..fit {
            viewer.output(&block, lines);
            assert_eq!(viewer.behind, None);
        }
        assert_eq!(viewer.on_the_way(), MAX_AHEAD);
        viewer.output(&block, 77);
        assert_eq!(viewer.behind, Some(77), "one past the bound");
        for lines in 100..1000 {
            viewer.output(&block, lines);
        }
        assert_eq!(frames(&outbox) as u64, fit);
        viewer.taken(MAX_AHEAD / 2);
        assert_eq!(viewer.wants_redraw(), None);
        viewer.taken(u64::MAX);
        assert_eq!(viewer.wants_redraw(), Some(77));
        viewer.redraw(vec![b'y'; 10], 5);
        assert_eq!(viewer.wants_redraw(), None);
        viewer.output(&block, 2000);
        assert_eq!(viewer.behind, None);
    }

    #[tokio::test]
    async fn a_closed_outbox_gives_what_is_left() {
        let outbox = Arc::new(Outbox::default());
        let viewer = Viewer::new(ViewerId::new(), outbox.clone());
        viewer.say(&ToViewer::Detached);
        drop(viewer);
        assert!(outbox.next().await.is_some());
        assert!(outbox.next().await.is_none());
    }
}
