//! Addresses that came with the id: `ID@192.0.2.1:4433`. No look-up at all.

use dhtnet_identity::PeerAddress;
use futures_util::StreamExt;

use super::{Announcement, Discovery, Lookup};

/// The hints in a [`PeerAddress`].
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Hints;

impl Discovery for Hints {
    fn name(&self) -> &'static str {
        "the address hints"
    }

    fn lookup(&self, peer: &PeerAddress) -> Lookup {
        futures_util::stream::iter(peer.hints.clone()).boxed()
    }

    fn announce(&self, _: &Announcement) {}

    fn close(&self) {}
}
