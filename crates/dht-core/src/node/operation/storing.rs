//! Storing at the nodes that a lookup found, and what each of them said.

use std::net::SocketAddr;

use crate::lookup::Asked;
use crate::node::event::Refusal;

#[derive(Debug, PartialEq, Eq)]
enum Target {
    Waiting(Asked, Box<[u8]>),
    Asked(SocketAddr),
    Stored,
    Refused,
    Silent,
}

/// The second half of an operation that stores.
#[derive(Debug, Default)]
pub(crate) struct Storing {
    targets: Vec<Target>,
    refused: Vec<Refusal>,
}

impl Storing {
    pub(crate) fn add(&mut self, asked: Asked, token: &[u8]) {
        self.targets.push(Target::Waiting(asked, token.into()));
    }

    /// The node to be asked now: all at once, there are at most 8 of each family.
    pub(crate) fn poll(&mut self) -> Option<(Asked, Box<[u8]>)> {
        for target in &mut self.targets {
            if let Target::Waiting(asked, _) = target {
                let next = Target::Asked(asked.address);
                if let Target::Waiting(asked, token) = std::mem::replace(target, next) {
                    return Some((asked, token));
                }
            }
        }
        None
    }

    pub(crate) fn is_over(&self) -> bool {
        !self
            .targets
            .iter()
            .any(|target| matches!(target, Target::Waiting(..) | Target::Asked(_)))
    }

    pub(crate) fn on_stored(&mut self, address: SocketAddr) {
        self.settle(address, Target::Stored);
    }

    pub(crate) fn on_refused(&mut self, refusal: Refusal) {
        if self.settle(refusal.address, Target::Refused) {
            self.refused.push(refusal);
        }
    }

    /// A node refused without having been asked to store.
    pub(crate) fn add_refusal(&mut self, refusal: Refusal) {
        self.refused.push(refusal);
    }

    pub(crate) fn on_silent(&mut self, address: SocketAddr) {
        self.settle(address, Target::Silent);
    }

    fn settle(&mut self, address: SocketAddr, to: Target) -> bool {
        let asked = Target::Asked(address);
        match self.targets.iter_mut().find(|target| **target == asked) {
            Some(target) => {
                *target = to;
                true
            }
            None => false,
        }
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.count(&Target::Stored)
    }

    pub(crate) fn silent(&self) -> usize {
        self.count(&Target::Silent)
    }

    fn count(&self, what: &Target) -> usize {
        self.targets.iter().filter(|target| *target == what).count()
    }

    pub(crate) fn refused(&self) -> &[Refusal] {
        &self.refused
    }
}
