//! Who looks at a session, and how much is on the way to them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use dhtnet_shell_wire::session::{MAX_OUTPUT, ToViewer};
use tokio::sync::Notify;

/// Bytes on the way to a client that have not been shown yet. When more would be, the client gets
/// the newest screen instead, once it has caught up: a second behind on a link of 1 Mbit/s.
pub(super) const MAX_AHEAD: u64 = 128 * 1024;

/// How far a client has caught up when it gets the newest screen.
const CAUGHT_UP: u64 = 16 * 1024;

/// Lines that are sent with a newest screen, of those that were skipped: so the output of
/// a build has no gap, and a flood is passed over.
pub(super) const MAX_SKIPPED_LINES: u64 = 1000;

/// Frames that wait for a client; one that lets more wait is cut off. Output and drawings have bounds of
/// their own; what else is said (20 times a second while somebody types) is small.
const MAX_WAITING: usize = 16 * 1024;

/// Tells the clients of all sessions apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ViewerId(u64);

impl ViewerId {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Frames on their way from a session to a client: at most [`MAX_WAITING`], and of their bytes
/// [`MAX_AHEAD`] of output, and a drawing with all lines when a client comes.
#[derive(Default)]
pub(super) struct Outbox {
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Default)]
struct Waiting {
    frames: VecDeque<Bytes>,
    is_closed: bool,
    /// There were too many.
    is_cut: bool,
}

impl Outbox {
    fn push(&self, frame: &ToViewer) {
        let mut waiting = self.lock();
        if waiting.is_closed {
            return;
        }
        if waiting.frames.len() < MAX_WAITING {
            waiting.frames.push_back(frame.frame().encode());
        } else {
            *waiting = Waiting {
                frames: VecDeque::new(),
                is_closed: true,
                is_cut: true,
            };
        }
        drop(waiting);
        self.changed.notify_one();
    }

    /// No more frames come.
    fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_one();
    }

    /// The next frame; `None` after the last.
    pub(super) async fn next(&self) -> Option<Bytes> {
        loop {
            {
                let mut waiting = self.lock();
                if let Some(frame) = waiting.frames.pop_front() {
                    return Some(frame);
                }
                if waiting.is_closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    /// Waits until no more frames come.
    pub(super) async fn closed(&self) {
        while !self.lock().is_closed {
            self.changed.notified().await;
        }
    }

    /// Whether frames are missing at the end, since too many waited.
    pub(super) fn is_cut(&self) -> bool {
        self.lock().is_cut
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
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
    /// The size of the session that it knows of.
    size: (u16, u16),
}

impl Viewer {
    /// A client that is told of this size by other means.
    pub(super) fn new(id: ViewerId, outbox: Arc<Outbox>, size: (u16, u16)) -> Self {
        Self {
            size,
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

    /// The screen has another size, with so many lines above it. Says whether the client can have a
    /// drawing of it now; else it gets the newest screen once it has caught up.
    pub(super) fn wants_resized(&mut self, lines: u64) -> bool {
        if self.behind.is_none() && self.on_the_way() > CAUGHT_UP {
            self.behind = Some(lines);
        }
        self.behind.is_none()
    }

    /// Sends bytes that draw a screen of this size as it is after `written` bytes of output.
    pub(super) fn redraw(&mut self, drawing: Vec<u8>, size: (u16, u16), written: u64) {
        self.behind = None;
        if self.size != size {
            self.size = size;
            let (columns, rows) = size;
            self.say(&ToViewer::Size { columns, rows });
        }
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
        outbox.lock().frames.len()
    }

    #[test]
    fn who_does_not_look_is_sent_a_bounded_number_of_bytes_and_then_the_newest_screen() {
        let outbox = Arc::new(Outbox::default());
        let mut viewer = Viewer::new(ViewerId::new(), outbox.clone(), (80, 24));
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
        viewer.redraw(vec![b'y'; 10], (80, 24), 5);
        assert_eq!(viewer.wants_redraw(), None);
        viewer.output(&block, 2000);
        assert_eq!(viewer.behind, None);
    }

    #[test]
    fn a_window_that_changes_while_nobody_looks_is_drawn_once() {
        let outbox = Arc::new(Outbox::default());
        let mut viewer = Viewer::new(ViewerId::new(), outbox.clone(), (80, 24));
        let drawing = vec![b'x'; 2 * CAUGHT_UP as usize];
        assert!(viewer.wants_resized(7));
        viewer.redraw(drawing.clone(), (81, 24), 5);
        let waiting = frames(&outbox);
        for _ in 0..1000 {
            assert!(!viewer.wants_resized(8), "more than it has caught up with");
        }
        assert_eq!(frames(&outbox), waiting);
        viewer.taken(u64::MAX);
        assert_eq!(viewer.wants_redraw(), Some(8));
        viewer.redraw(drawing, (82, 24), 6);
        assert_eq!(viewer.size, (82, 24));
    }

    #[tokio::test]
    async fn who_lets_too_many_frames_wait_is_cut_off() {
        let outbox = Arc::new(Outbox::default());
        let viewer = Viewer::new(ViewerId::new(), outbox.clone(), (80, 24));
        for seen in 0..MAX_WAITING as u64 {
            viewer.say(&ToViewer::InputSeen(seen));
        }
        assert_eq!((frames(&outbox), outbox.is_cut()), (MAX_WAITING, false));
        viewer.say(&ToViewer::InputSeen(0));
        assert_eq!((frames(&outbox), outbox.is_cut()), (0, true));
        viewer.say(&ToViewer::InputSeen(1));
        assert!(outbox.next().await.is_none());
        outbox.closed().await;
    }

    #[tokio::test]
    async fn a_closed_outbox_gives_what_is_left() {
        let outbox = Arc::new(Outbox::default());
        let viewer = Viewer::new(ViewerId::new(), outbox.clone(), (80, 24));
        viewer.say(&ToViewer::Detached);
        drop(viewer);
        assert!(outbox.next().await.is_some());
        assert!(outbox.next().await.is_none());
    }
}
