//! What the core tells of its connections, and what QUIC tells it.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use dhtnet_channel_mux as mux;
use dhtnet_secure_transport::{ConnectionFault, PeerIdentity, peer_identity};
use quinn_proto::{Event as QuicEvent, VarInt};

use super::path::Change;
use super::{Connection, ConnectionKey, Phase};
use crate::error::EndReason;
use crate::hello::age_in;

/// What happened on a connection.
#[derive(Debug)]
pub(crate) enum CoreEvent {
    /// The handshake is done: both sides have proved their keys.
    Established {
        key: ConnectionKey,
        identity: PeerIdentity,
        initiated: bool,
    },
    /// The connection is over, before or after it was established.
    Ended {
        key: ConnectionKey,
        reason: EndReason,
    },
    /// Something about the paths.
    Path { key: ConnectionKey, change: Change },
    /// Something about the channels.
    Mux {
        key: ConnectionKey,
        event: mux::Event,
    },
}

/// Takes what QUIC tells of a connection.
pub(super) fn on_quic_event(
    connection: &mut Connection,
    now: Instant,
    event: QuicEvent,
    events: &mut VecDeque<CoreEvent>,
) {
    let key = connection.key;
    match event {
        QuicEvent::HandshakeDataReady => {}
        QuicEvent::Connected => match peer_identity(&connection.quic) {
            Some(identity) => {
                connection.on_established(now, identity.id);
                let age = age_in(&identity.application);
                connection.peer_began = age.and_then(|age| now.checked_sub(age));
                let initiated = connection.initiated;
                events.push_back(CoreEvent::Established {
                    key,
                    identity,
                    initiated,
                });
            }
            // A connection without a proved peer must not exist; treat it as a broken one.
            None => connection
                .quic
                .close(now, VarInt::from_u32(0), Bytes::new()),
        },
        QuicEvent::ConnectionLost { reason } => {
            if connection.phase != Phase::Ended {
                connection.phase = Phase::Ended;
                let reason = EndReason::from_fault(&ConnectionFault::from(reason));
                events.push_back(CoreEvent::Ended { key, reason });
            }
        }
        QuicEvent::Stream(event) => connection.on_stream_event(now, &event),
        QuicEvent::DatagramReceived => {
            connection.on_link_event(now, mux::LinkEvent::DatagramReceived);
        }
        QuicEvent::DatagramsUnblocked => {
            connection.on_link_event(now, mux::LinkEvent::DatagramsUnblocked);
        }
    }
}
