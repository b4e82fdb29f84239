//! A request to end, from a signal or from a test.

use tokio::sync::watch;

use crate::ExitCode;

/// Told once that the tool is to end, and with which exit code. Clones hear the same request.
#[derive(Clone, Debug)]
pub struct Shutdown {
    requested: watch::Receiver<Option<ExitCode>>,
}

/// The side that asks.
#[derive(Debug)]
pub struct ShutdownTrigger {
    request: watch::Sender<Option<ExitCode>>,
}

impl Shutdown {
    /// A request that can be made once, and those who wait for it.
    pub fn pair() -> (ShutdownTrigger, Shutdown) {
        let (request, requested) = watch::channel(None);
        (ShutdownTrigger { request }, Shutdown { requested })
    }

    /// Waits for the request; for ever if the trigger is gone. Cancel-safe.
    pub async fn requested(&mut self) -> ExitCode {
        match self
            .requested
            .wait_for(Option::is_some)
            .await
            .map(|code| *code)
        {
            Ok(Some(code)) => code,
            _ => std::future::pending().await,
        }
    }
}

impl ShutdownTrigger {
    /// Asks for an end with `code`. Only the first request counts.
    pub fn request(&self, code: ExitCode) {
        self.request.send_if_modified(|current| {
            let first = current.is_none();
            if first {
                *current = Some(code);
            }
            first
        });
    }

    /// Whether somebody asked before.
    pub fn is_requested(&self) -> bool {
        self.request.borrow().is_some()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_first_request_is_the_one_that_counts() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (trigger, mut shutdown) = Shutdown::pair();
            assert!(!trigger.is_requested());
            trigger.request(ExitCode::Interrupted);
            trigger.request(ExitCode::Terminated);
            assert!(trigger.is_requested());
            assert_eq!(shutdown.requested().await, ExitCode::Interrupted);
            assert_eq!(shutdown.clone().requested().await, ExitCode::Interrupted);
        });
    }
}
