//! Asks the routers of the local network to let others in: PCP, NAT-PMP and UPnP IGD, all at
//! once, in the background, waited for by nobody.
//!
//! [`plan`] decides what to ask when; [`question`] and [`igd`] ask; [`ground`] knows where we
//! stand. The mappings that are there stand in a watched list. When the node ends they are taken
//! back, within [`RELEASE_LIMIT`].

mod claims;
mod ground;
mod igd;
mod mapper;
mod plan;
mod question;
mod report;

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

#[cfg(test)]
pub(crate) use self::claims::LIMIT as CLAIMS_LIMIT;
pub(crate) use self::claims::claims;
use self::mapper::Mapper;
pub use self::report::{MappingProtocol, PortMapping};
use crate::driver::Mark;
use crate::interfaces::Changes;

/// How long taking all mappings back may take when the node ends.
pub(crate) const RELEASE_LIMIT: Duration = Duration::from_secs(1);

/// The mappings of this moment, the preferred first.
pub(crate) type Mappings = watch::Receiver<Vec<PortMapping>>;

/// The mappings of one node: none until it is started, taken back when it is closed or dropped.
#[derive(Debug)]
pub(crate) struct PortMapper {
    bound: (Vec<SocketAddr>, Mark),
    changes: Changes,
    list: watch::Sender<Vec<PortMapping>>,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Idle,
    Running {
        /// Ends the task when it is used or dropped.
        stop: oneshot::Sender<()>,
        task: JoinHandle<()>,
    },
    Closed,
}

impl PortMapper {
    /// For sockets with these addresses, and this mark on what they send; `changes` tells when to
    /// look again. Does nothing yet.
    pub(crate) fn new(bound: (Vec<SocketAddr>, Mark), changes: Changes) -> Self {
        Self {
            bound,
            changes,
            list: watch::Sender::default(),
            state: Mutex::new(State::Idle),
        }
    }

    /// The list, as it changes.
    pub(crate) fn watch(&self) -> Mappings {
        self.list.subscribe()
    }

    /// Begins to ask, unless it has begun or was closed. Must be called inside a runtime.
    pub(crate) fn start(&self) {
        let mut state = self.lock();
        if !matches!(*state, State::Idle) {
            return;
        }
        let (stop, stopped) = oneshot::channel();
        let mapper = Mapper::new(self.bound.clone(), self.changes.clone(), self.list.clone());
        *state = match mapper {
            Ok(mapper) => State::Running {
                stop,
                task: tokio::spawn(mapper.run(stopped)),
            },
            Err(error) => {
                tracing::warn!(%error, "no port mappings: no randomness");
                State::Closed
            }
        };
    }

    /// Takes all mappings back, within [`RELEASE_LIMIT`]. Dropping the future leaves that to the
    /// background.
    pub(crate) async fn close(&self) {
        let before = std::mem::replace(&mut *self.lock(), State::Closed);
        if let State::Running { stop, task } = before {
            drop(stop);
            // The task keeps to the limit itself; one that panicked has reported that.
            let _ = task.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The addresses that others can use, of those in the list.
pub(crate) fn public_addresses(list: &[PortMapping]) -> impl Iterator<Item = SocketAddr> {
    let public = list.iter().filter(|mapping| mapping.is_public());
    public.map(|mapping| mapping.external)
}
