//! Storing at the nodes that a lookup found, and what each of them said.

use std::net::SocketAddr;

use crate::lookup::Asked;
use crate::node::event::Refusal;

/// How often a node is asked to store: once more when it takes long, for one datagram in a
/// hundred is lost.
const MAX_TRIES: u8 = 2;

#[derive(Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Asked,
    /// Asked as often as it will be; its answer is waited for only where few others have stored.
    GivenUp,
    Stored,
    Refused,
    Silent,
}

/// A node that is to store.
#[derive(Debug)]
struct Target {
    asked: Asked,
    token: Box<[u8]>,
    state: State,
    tries: u8,
    /// Tries whose answers nobody waits for any longer.
    given_up: u8,
}

/// The second half of an operation that stores.
#[derive(Debug, Default)]
pub(crate) struct Storing {
    targets: Vec<Target>,
    refused: Vec<Refusal>,
}

impl Storing {
    /// Adds a node, once.
    pub(crate) fn add(&mut self, asked: Asked, token: &[u8]) {
        let mut known = self.targets.iter();
        if known.any(|target| target.asked.address == asked.address) {
            return;
        }
        self.targets.push(Target {
            asked,
            token: token.into(),
            state: State::Waiting,
            tries: 0,
            given_up: 0,
        });
    }

    /// The node to be asked now: all at once, there are 8 of each family and those that come late.
    pub(crate) fn poll(&mut self) -> Option<(Asked, Box<[u8]>)> {
        let mut targets = self.targets.iter_mut();
        let target = targets.find(|target| target.state == State::Waiting)?;
        target.state = State::Asked;
        target.tries += 1;
        Some((target.asked, target.token.clone()))
    }

    /// Whether nobody is waited for. When less than half have stored, and the others are merely
    /// slow, it is this machine that was held up: then they are waited for until they expire.
    pub(crate) fn is_over(&self) -> bool {
        let open = |target: &Target| matches!(target.state, State::Waiting | State::Asked);
        let enough = self.acknowledged() * 2 >= self.targets.len();
        !self.targets.iter().any(open) && (enough || self.count(&State::GivenUp) == 0)
    }

    /// Whether every node has stored, refused or been silent for good.
    pub(crate) fn is_settled(&self) -> bool {
        let open = [State::Waiting, State::Asked, State::GivenUp];
        open.iter().all(|state| self.count(state) == 0)
    }

    /// A node takes long: it is asked once more.
    pub(crate) fn on_overdue(&mut self, address: SocketAddr) {
        if let Some(target) = self.open(address)
            && target.state == State::Asked
            && target.tries < MAX_TRIES
        {
            target.state = State::Waiting;
        }
    }

    /// A try has waited for too long. When all have, the node no longer holds the others up.
    pub(crate) fn on_given_up(&mut self, address: SocketAddr) {
        if let Some(target) = self.open(address) {
            target.given_up += 1;
            if target.given_up >= MAX_TRIES {
                target.state = State::GivenUp;
            }
        }
    }

    pub(crate) fn on_stored(&mut self, address: SocketAddr) {
        self.settle(address, State::Stored);
    }

    pub(crate) fn on_refused(&mut self, refusal: Refusal) {
        if self.settle(refusal.address, State::Refused) {
            self.refused.push(refusal);
        }
    }

    /// A node refused without having been asked to store.
    pub(crate) fn add_refusal(&mut self, refusal: Refusal) {
        self.refused.push(refusal);
    }

    pub(crate) fn on_silent(&mut self, address: SocketAddr) {
        self.settle(address, State::Silent);
    }

    fn settle(&mut self, address: SocketAddr, to: State) -> bool {
        match self.open(address) {
            Some(target) => {
                target.state = to;
                true
            }
            None => false,
        }
    }

    /// The node at `address`, if it was asked and has not answered.
    fn open(&mut self, address: SocketAddr) -> Option<&mut Target> {
        self.targets.iter_mut().find(|target| {
            target.asked.address == address && matches!(target.state, State::Asked | State::GivenUp)
        })
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.count(&State::Stored)
    }

    pub(crate) fn silent(&self) -> usize {
        self.count(&State::Silent) + self.count(&State::GivenUp)
    }

    fn count(&self, what: &State) -> usize {
        let mut count = 0;
        for target in &self.targets {
            count += usize::from(target.state == *what);
        }
        count
    }

    pub(crate) fn refused(&self) -> &[Refusal] {
        &self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, host], 6881))
    }

    fn storing(hosts: u8) -> Storing {
        let mut storing = Storing::default();
        for host in 0..hosts {
            let (address, id) = (address(host), None);
            storing.add(Asked { address, id }, b"token");
        }
        storing
    }

    fn asked(storing: &mut Storing) -> usize {
        std::iter::from_fn(|| storing.poll()).count()
    }

    #[test]
    fn a_slow_node_is_asked_once_more_and_not_waited_for_longer() {
        let mut storing = storing(3);
        assert_eq!(asked(&mut storing), 3);
        storing.on_stored(address(0));
        storing.on_overdue(address(0));
        storing.on_overdue(address(1));
        storing.on_overdue(address(2));
        assert_eq!(asked(&mut storing), 2);
        storing.on_given_up(address(1));
        storing.on_given_up(address(2));
        assert!(!storing.is_over());
        storing.on_overdue(address(1));
        assert_eq!(asked(&mut storing), 0, "twice is enough");
        // The answer to either try counts.
        storing.on_stored(address(1));
        storing.on_given_up(address(2));
        assert!(storing.is_over());
        assert_eq!((storing.acknowledged(), storing.silent()), (2, 1));
        storing.on_stored(address(1));
        assert_eq!(storing.acknowledged(), 2);
    }

    #[test]
    fn when_most_are_late_at_once_their_answers_still_count() {
        let mut storing = storing(4);
        assert_eq!(asked(&mut storing), 4);
        for host in 0..4 {
            storing.on_overdue(address(host));
        }
        assert_eq!(asked(&mut storing), 4);
        for host in [0, 1, 2, 3, 0, 1, 2, 3] {
            storing.on_given_up(address(host));
        }
        assert!(!storing.is_over());
        storing.on_stored(address(0));
        assert!(!storing.is_over());
        storing.on_stored(address(1));
        assert!(storing.is_over());
        assert_eq!((storing.acknowledged(), storing.silent()), (2, 2));
    }

    #[test]
    fn who_is_not_asked_again_is_waited_for_until_the_query_expires() {
        let mut storing = storing(1);
        assert_eq!(asked(&mut storing), 1);
        assert!(!storing.is_over());
        storing.on_silent(address(0));
        assert!(storing.is_over());
        assert_eq!(storing.silent(), 1);
    }
}
