//! What becomes of an allocation.

use std::time::Duration;

use super::entry::{Entry, Stage};
use super::{RelayError, Relays};

/// How an allocation ended.
#[derive(Debug, Clone)]
pub(super) struct Ending {
    number: u16,
    error: RelayError,
    /// For how long it could be used.
    life: Duration,
}

/// How one of the table ended, if it has.
pub(super) fn ending((number, entry): (&u16, &Entry)) -> Option<Ending> {
    let Stage::Ended(error) = &entry.stage else {
        return None;
    };
    Some(Ending {
        number: *number,
        error: error.clone(),
        life: entry.life,
    })
}

impl Relays {
    /// What became of an allocation: its end, or that it can be used; `None` while it is not there
    /// yet.
    fn state_of(&self, number: u16) -> Option<Result<(), Ending>> {
        let inner = self.lock();
        let Some(entry) = inner.entries.get(&number) else {
            let known = inner.past.iter().rfind(|past| past.number == number);
            return Some(Err(known.cloned().unwrap_or(Ending {
                number,
                error: RelayError::Closed,
                life: Duration::ZERO,
            })));
        };
        match ending((&number, entry)) {
            Some(ending) => Some(Err(ending)),
            None if entry.relayed().is_empty() => None,
            None => Some(Ok(())),
        }
    }

    /// The same without the life.
    pub(super) fn outcome(&self, number: u16) -> Option<Result<(), RelayError>> {
        let state = self.state_of(number)?;
        Some(state.map_err(|ending| ending.error))
    }

    /// Waits until an allocation can be used, or has failed.
    pub(crate) async fn settled(&self, number: u16) -> Result<(), RelayError> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(outcome) = self.outcome(number) {
                return outcome;
            }
            changed.await;
        }
    }

    /// Waits until an allocation has ended; for how long it could be used comes with the reason.
    pub(crate) async fn ended(&self, number: u16) -> (RelayError, Duration) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(Err(Ending { error, life, .. })) = self.state_of(number) {
                return (error, life);
            }
            changed.await;
        }
    }
}
