//! A request to end, from a signal or from a test.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Notify, watch};

use crate::ExitCode;

/// Told once that the tool is to end, and with which exit code. Clones hear the same request.
#[derive(Clone, Debug)]
pub struct Shutdown {
    requested: watch::Receiver<Option<ExitCode>>,
    diversion: Arc<Diversion>,
}

/// The side that asks.
#[derive(Debug)]
pub struct ShutdownTrigger {
    request: watch::Sender<Option<ExitCode>>,
    diversion: Arc<Diversion>,
}

/// Where interrupts go while a prompt takes them.
#[derive(Debug, Default)]
struct Diversion {
    is_active: AtomicBool,
    pressed: Notify,
}

/// While this lives, SIGINT ends the command that runs and not the tool.
#[derive(Debug)]
pub struct Interrupts {
    diversion: Arc<Diversion>,
}

impl Shutdown {
    /// A request that can be made once, and those who wait for it.
    pub fn pair() -> (ShutdownTrigger, Shutdown) {
        let (request, requested) = watch::channel(None);
        let diversion = Arc::<Diversion>::default();
        let trigger = ShutdownTrigger {
            request,
            diversion: diversion.clone(),
        };
        let shutdown = Shutdown {
            requested,
            diversion,
        };
        (trigger, shutdown)
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

    /// Takes interrupts for a prompt. One taker at a time: the first that is dropped ends it for
    /// all.
    #[must_use]
    pub fn divert_interrupts(&self) -> Interrupts {
        self.diversion.is_active.store(true, Ordering::Relaxed);
        Interrupts {
            diversion: self.diversion.clone(),
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

    /// Gives an interrupt to the prompt that takes them; whether there is one.
    pub fn divert_interrupt(&self) -> bool {
        let is_diverted = self.diversion.is_active.load(Ordering::Relaxed);
        if is_diverted {
            self.diversion.pressed.notify_waiters();
        }
        is_diverted
    }
}

impl Interrupts {
    /// Waits for the next interrupt; one that comes while nobody waits is lost. Cancel-safe.
    pub async fn next(&mut self) {
        self.diversion.pressed.notified().await;
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        self.diversion.is_active.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn block_on(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(test);
    }

    #[test]
    fn the_first_request_is_the_one_that_counts() {
        block_on(async {
            let (trigger, mut shutdown) = Shutdown::pair();
            assert!(!trigger.is_requested());
            trigger.request(ExitCode::Interrupted);
            trigger.request(ExitCode::Terminated);
            assert!(trigger.is_requested());
            assert_eq!(shutdown.requested().await, ExitCode::Interrupted);
            assert_eq!(shutdown.clone().requested().await, ExitCode::Interrupted);
        });
    }

    #[test]
    fn an_interrupt_goes_to_the_prompt_while_there_is_one() {
        block_on(async {
            let (trigger, shutdown) = Shutdown::pair();
            assert!(!trigger.divert_interrupt());
            let mut interrupts = shutdown.divert_interrupts();
            let (_, diverted) =
                tokio::join!(interrupts.next(), async { trigger.divert_interrupt() });
            assert!(diverted && !trigger.is_requested());
            drop(interrupts);
            assert!(!trigger.divert_interrupt());
        });
    }
}
