//! The most entries that were in the routers' tables at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::lab::Host;
use crate::nat_router::entries;

/// Between two looks. An entry lives for 30 s and more.
const INTERVAL: Duration = Duration::from_millis(20);

/// Looks at the routers until it is asked.
#[derive(Debug)]
pub(super) struct EntryMeter {
    most: Arc<AtomicU32>,
    ended: Arc<AtomicBool>,
    watching: Option<JoinHandle<()>>,
}

impl EntryMeter {
    /// Begins to look at the tables of these routers.
    pub(super) fn start(routers: Vec<Host>) -> io::Result<Self> {
        let (most, ended) = (
            Arc::new(AtomicU32::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (most_seen, told_to_end) = (most.clone(), ended.clone());
        let watching = std::thread::Builder::new()
            .name("entries".into())
            .spawn(move || {
                while !told_to_end.load(Ordering::Relaxed) {
                    for router in &routers {
                        most_seen.fetch_max(entries(router).unwrap_or(0), Ordering::Relaxed);
                    }
                    std::thread::sleep(INTERVAL);
                }
            })?;
        Ok(Self {
            most,
            ended,
            watching: Some(watching),
        })
    }

    /// The most that one router had at once so far.
    pub(super) fn most(&self) -> u32 {
        self.most.load(Ordering::Relaxed)
    }
}

impl Drop for EntryMeter {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(watching) = self.watching.take() {
            let _ = watching.join();
        }
    }
}
