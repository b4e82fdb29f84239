//! `--retry`: when to try again, and after which failures.

use std::time::Duration;

use dhtnet_cli::{ExitCode, Failure, Shutdown};

use crate::session::Session;

/// The first wait.
const FIRST: Duration = Duration::from_secs(1);

/// The longest wait: a peer that is back is found within half a minute.
const LONGEST: Duration = Duration::from_secs(30);

/// Each wait is longer by up to this part of it, by chance, so that those who lost the same peer
/// do not come back together.
const SPREAD: f64 = 0.2;

/// Waits that double.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// The next wait; `chance` is between 0 and 1.
    fn wait(&mut self, chance: f64) -> Duration {
        let wait = self.next.mul_f64(1.0 + SPREAD * chance);
        self.next = (self.next * 2).min(LONGEST);
        wait
    }

    /// Says what failed and waits; gives the exit code back if a signal comes meanwhile.
    pub async fn pause(
        &mut self,
        session: &Session,
        failure: &Failure,
        shutdown: &mut Shutdown,
    ) -> Result<(), ExitCode> {
        let wait = self.wait(chance());
        session.talk.warn(format_args!(
            "{failure}; trying again in {:.0} s",
            wait.as_secs_f64()
        ));
        tokio::select! {
            () = tokio::time::sleep(wait) => Ok(()),
            code = shutdown.requested() => Err(code),
        }
    }
}

/// Whether the same may work later without anyone changing a command, a key or a policy.
pub fn may_pass(failure: &Failure) -> bool {
    !matches!(
        failure.code(),
        ExitCode::Usage | ExitCode::Refused | ExitCode::Identity
    )
}

/// A number between 0 and 1 from the system; without one the waits are what they are.
fn chance() -> f64 {
    let mut bytes = [0; 4];
    match getrandom::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_half_a_minute_and_spread_by_a_fifth() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..7).map(|_| backoff.wait(0.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(backoff.wait(1.0), Duration::from_secs(36));
        assert!((0.0..=1.0).contains(&chance()));
    }

    #[test]
    fn what_a_person_has_to_change_is_not_tried_again() {
        for (code, again) in [
            (ExitCode::Failed, true),
            (ExitCode::Unreachable, true),
            (ExitCode::Target, true),
            (ExitCode::Usage, false),
            (ExitCode::Refused, false),
            (ExitCode::Identity, false),
        ] {
            assert_eq!(may_pass(&Failure::new(code, "x")), again, "{code:?}");
        }
    }
}
