//! What a copy tells whoever started it.

/// Something that happened. Paths are made for people: control characters are escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// All sources were counted.
    Expected {
        /// Regular files.
        files: u64,
        /// Their sizes, added up.
        bytes: u64,
    },
    /// The content of a file, or the rest of it, begins to travel.
    Begun {
        /// Which.
        path: String,
        /// Its size.
        size: u64,
        /// Bytes of it that are there already, and verified.
        resumed: u64,
    },
    /// So many more bytes of content have travelled, holes included.
    Advanced(u64),
    /// So many more bytes were read to find out whether they are the same.
    Verified(u64),
    /// A file is where it belongs, whole.
    Stored {
        /// So much of it was there already, from a copy that had been cut short.
        resumed: u64,
    },
    /// A file was there already, the same.
    Unchanged {
        /// Its size.
        size: u64,
    },
    /// Something is not copied, and need not be: a socket, a device.
    Skipped {
        /// Which.
        path: String,
        /// Why.
        reason: String,
    },
    /// Something could not be copied.
    Failed {
        /// Which.
        path: String,
        /// Why.
        reason: String,
        /// Whether the path is one of the other side.
        is_at_peer: bool,
    },
    /// Another copy is writing the same file; it is waited for.
    Waiting {
        /// Which.
        path: String,
    },
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Files that were copied and verified.
    pub files: u64,
    /// Bytes of content that travelled for them, holes included.
    pub bytes: u64,
    /// Bytes that were there already, from copies that had been cut short.
    pub resumed: u64,
    /// Files and links that were there already, the same.
    pub unchanged: u64,
    /// Directories, new or not.
    pub directories: u64,
    /// Symbolic links that were made.
    pub links: u64,
    /// What is neither file, directory nor link.
    pub skipped: u64,
    /// What could not be copied.
    pub failed: u64,
}

/// Takes events as they happen, on the thread of the copy.
pub trait Observer: Send {
    /// One of them.
    fn on_event(&mut self, event: Event);
}

impl<F: FnMut(Event) + Send> Observer for F {
    fn on_event(&mut self, event: Event) {
        self(event);
    }
}

/// Events and their sum.
pub(crate) struct Report<'a> {
    observer: &'a mut dyn Observer,
    pub(crate) summary: Summary,
}

impl<'a> Report<'a> {
    pub(crate) fn new(observer: &'a mut dyn Observer) -> Self {
        Self {
            observer,
            summary: Summary::default(),
        }
    }

    pub(crate) fn on(&mut self, event: Event) {
        let sum = &mut self.summary;
        match &event {
            Event::Advanced(bytes) => sum.bytes += bytes,
            Event::Stored { resumed } => {
                sum.files += 1;
                sum.resumed += resumed;
            }
            Event::Unchanged { .. } => sum.unchanged += 1,
            Event::Skipped { .. } => sum.skipped += 1,
            Event::Failed { .. } => sum.failed += 1,
            Event::Expected { .. }
            | Event::Begun { .. }
            | Event::Verified(_)
            | Event::Waiting { .. } => {}
        }
        self.observer.on_event(event);
    }
}
