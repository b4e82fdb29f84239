//! Trials side by side: as many at work as the machine can bear, more that only wait.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc};

use super::{GridError, Measured, Trial};
use crate::device::Tools;

/// Trials at work at the same time: times are taken.
const AT_WORK: usize = 2;

/// Trials that have begun and not ended, each with a dozen processes: some wait until their nodes
/// know each other, some for packets that ought not to come.
const BEGUN: usize = 6;

/// A number of places, and who waits for one.
#[derive(Debug)]
pub struct Places {
    free: Mutex<usize>,
    freed: Condvar,
}

/// One of [`Places`]. Free again when it is dropped.
#[derive(Debug)]
pub struct Place<'a>(&'a Places);

impl Places {
    fn new(free: usize) -> Self {
        Self {
            free: Mutex::new(free),
            freed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place.
    pub fn take(&self) -> Place<'_> {
        let free = self.freed.wait_while(self.lock(), |free| *free == 0);
        *free.unwrap_or_else(PoisonError::into_inner) -= 1;
        Place(self)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.0.lock() += 1;
        self.0.freed.notify_one();
    }
}

/// Runs all trials, two at a time, and hands over what came of each as it comes, with its number in
/// `trials`.
pub fn run(
    trials: &[Trial],
    tools: &Tools,
    mut done: impl FnMut(usize, Result<Measured, GridError>) + Send,
) {
    let (begun, at_work) = (Places::new(BEGUN), Places::new(AT_WORK));
    let (begun, at_work) = (&begun, &at_work);
    let (results, came) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for (at, result) in came {
                done(at, result);
            }
        });
        for (at, trial) in trials.iter().enumerate() {
            let (place, results) = (begun.take(), results.clone());
            scope.spawn(move || {
                let _ = results.send((at, trial.run(tools, at_work)));
                drop(place);
            });
        }
        drop(results);
    });
}
