//! Notes of connected peers: what two nodes tell each other beside all channels.

use bytes::Bytes;
use dhtnet_identity::DeviceId;
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::State;
use crate::core::ConnectionKey;

/// Notes that wait to be read, of all peers. Those above are dropped; what matters is left in the
/// DHT as well when nobody answers.
pub(crate) const MAX_NOTES: usize = 64;

/// Hands notes to whoever reads them.
#[derive(Debug, Default)]
pub(crate) struct Notes(Option<Sender<(DeviceId, Bytes)>>);

impl Notes {
    /// From now on there is a reader.
    pub(crate) fn subscribe(&mut self) -> Receiver<(DeviceId, Bytes)> {
        let (sender, receiver) = mpsc::channel(MAX_NOTES);
        self.0 = Some(sender);
        receiver
    }
}

impl State {
    pub(super) fn on_note(&self, key: ConnectionKey, body: Bytes) {
        // Who still has to show what lets it in is not heard, and who was turned away.
        let admitted = self.showings.get(key).filter(|one| !one.is_stranger());
        let peer = self.core.get(key).and_then(|connection| connection.peer);
        let (Some(peer), Some(_), Notes(Some(reader))) = (peer, admitted, &self.notes) else {
            return;
        };
        if reader.try_send((peer, body)).is_err() {
            tracing::debug!(peer = %peer.short(), "a note is dropped: too many wait");
        }
    }

    /// Sends a note over the connection to a peer, if there is one that is heard. Returns whether
    /// it is on its way.
    pub(crate) fn send_note(&mut self, peer: &DeviceId, body: Bytes) -> bool {
        let Some(key) = self.heard(peer) else {
            return false;
        };
        let sent = self
            .core
            .with_mux(key, |mux, link| mux.note(link, body).is_ok());
        sent.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use dhtnet_identity::DeviceKey;

    use super::*;

    #[test]
    fn notes_that_nobody_reads_are_bounded() {
        let mut notes = Notes::default();
        let mut reader = notes.subscribe();
        let sender = notes.0.as_ref().unwrap();
        let peer = DeviceKey::from_seed(&[1; 32]).id();
        for _ in 0..MAX_NOTES {
            sender.try_send((peer, Bytes::new())).unwrap();
        }
        assert!(sender.try_send((peer, Bytes::new())).is_err());
        reader.try_recv().unwrap();
        assert!(sender.try_send((peer, Bytes::new())).is_ok());
    }
}
