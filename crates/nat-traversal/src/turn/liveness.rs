//! Whether the server still lives and has the allocation, by what comes from it.

use std::time::{Duration, Instant};

use super::{GIVE_UP, KEEPALIVE, SILENCE};

/// When a question is repeated, counted from the first: RTO 500 ms, then one second each
/// (compare RFC 8489 section 6.2.1).
const REPEATS: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_millis(1500),
    Duration::from_millis(2500),
];

/// What is to be done now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    Ask,
    Dead,
}

#[derive(Debug)]
pub(super) struct Liveness {
    heard: Instant,
    /// When something was sent for the first time since.
    sent: Option<Instant>,
    /// When the question was asked, and how often.
    asked: Option<(Instant, usize)>,
}

impl Liveness {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            heard: now,
            sent: None,
            asked: None,
        }
    }

    pub(super) fn on_heard(&mut self, now: Instant) {
        *self = Self::new(now);
    }

    pub(super) fn on_sent(&mut self, now: Instant) {
        self.sent.get_or_insert(now);
    }

    /// Whether it left a question and its repetition without an answer.
    pub(super) fn is_doubtful(&self) -> bool {
        self.asked.is_some_and(|(_, times)| times >= 2)
    }

    pub(super) fn due(&self) -> Instant {
        match self.asked {
            Some((first, times)) => first + REPEATS.get(times - 1).copied().unwrap_or(GIVE_UP),
            None => {
                let idle = self.heard + KEEPALIVE;
                self.sent.map_or(idle, |sent| idle.min(sent + SILENCE))
            }
        }
    }

    /// On a stream it is the same, though nothing is lost there: a question that waits in a full
    /// buffer is late as well.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Due {
        if now < self.due() {
            return Due::Nothing;
        }
        let (first, times) = self.asked.unwrap_or((now, 0));
        if times > REPEATS.len() {
            return Due::Dead;
        }
        self.asked = Some((first, times + 1));
        Due::Ask
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods)] // An instant to count from.

    use super::*;

    /// When it asks and when it gives up, in milliseconds.
    fn run(mut liveness: Liveness, begin: Instant) -> (Vec<u128>, u128) {
        let mut asked = Vec::new();
        loop {
            let now = liveness.due();
            match liveness.handle_timeout(now) {
                Due::Ask => asked.push((now - begin).as_millis()),
                Due::Dead => return (asked, (now - begin).as_millis()),
                Due::Nothing => panic!("it was due"),
            }
        }
    }

    #[test]
    fn an_idle_server_is_asked_by_the_keepalive() {
        let begin = Instant::now();
        let found = run(Liveness::new(begin), begin);
        assert_eq!(found, (vec![15_000, 15_500, 16_500, 17_500], 18_500));
    }

    #[test]
    fn a_server_that_is_sent_to_is_asked_after_a_second_of_silence() {
        let begin = Instant::now();
        let mut liveness = Liveness::new(begin);
        liveness.on_sent(begin);
        liveness.on_sent(begin + Duration::from_millis(900));
        let found = run(liveness, begin);
        assert_eq!(found, (vec![1000, 1500, 2500, 3500], 4500));
    }

    #[test]
    fn a_server_that_did_not_answer_twice_is_doubtful_until_it_does() {
        let begin = Instant::now();
        let mut liveness = Liveness::new(begin);
        liveness.on_sent(begin);
        assert_eq!(liveness.handle_timeout(begin + SILENCE), Due::Ask);
        assert!(!liveness.is_doubtful());
        let again = begin + SILENCE + Duration::from_millis(500);
        assert_eq!(liveness.handle_timeout(again), Due::Ask);
        assert!(liveness.is_doubtful());
        liveness.on_heard(again);
        assert!(!liveness.is_doubtful());
    }

    #[test]
    fn any_packet_is_a_sign_of_life() {
        let begin = Instant::now();
        let mut liveness = Liveness::new(begin);
        liveness.on_sent(begin);
        assert_eq!(liveness.handle_timeout(begin + SILENCE), Due::Ask);
        liveness.on_heard(begin + Duration::from_secs(2));
        assert_eq!(liveness.due(), begin + Duration::from_secs(17));
    }
}
