//! Whether a client may have what he asks for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use super::Config;
use super::address::may_relay_to;
use super::client::{Client, Full, Link};
use super::wire::{Parsed, code, method};

/// What becomes of a client's request.
pub(super) enum Verdict {
    /// The client's machine answers.
    Forward,
    /// This was the answer.
    Again(Vec<u8>),
    /// It is being worked on.
    Drop,
}

/// Where payloads may go.
pub(super) struct Reach<'a> {
    pub(super) config: &'a Config,
    pub(super) relayed: &'a BTreeMap<SocketAddr, Link>,
}

impl Reach<'_> {
    /// Own addresses may be permitted, for the sake of other clients' relayed addresses.
    fn may_permit(&self, peer: SocketAddr) -> bool {
        let ip = peer.ip().to_canonical();
        may_relay_to(self.config.peers, ip) || self.relayed.keys().any(|relayed| relayed.ip() == ip)
    }

    pub(super) fn may_send_to(&self, peer: SocketAddr) -> bool {
        let ip = peer.ip().to_canonical();
        if self.relayed.contains_key(&SocketAddr::new(ip, peer.port())) {
            return true;
        }
        // Where everybody may send, a client may send through us: a DHT node lives there too.
        let is_open = peer.port() == self.config.listen.port();
        let is_barred = self.config.own.contains(&ip) && !is_open;
        peer.port() != 0 && may_relay_to(self.config.peers, ip) && !is_barred
    }
}

/// Judges a request that is signed by the client, and counts what it asks for. An error is the
/// code of the refusal.
pub(super) fn judge(
    now: Instant,
    client: &mut Client,
    parsed: &Parsed<'_>,
    reach: &Reach<'_>,
) -> Result<Verdict, u16> {
    let limits = &reach.config.limits;
    match parsed.method {
        method::ALLOCATE => {
            if !client.asked.is_empty() {
                return Ok(Verdict::Drop);
            }
            if let Some((_, reply)) = client.reply.as_ref().filter(|(id, _)| *id == parsed.id) {
                return Ok(Verdict::Again(reply.clone()));
            }
            if let Some(code) = transport_reason(parsed) {
                return Err(code);
            }
            client.working_on = Some(parsed.id);
        }
        method::CREATE_PERMISSION => {
            let peers = parsed.peers().ok_or(code::BAD_REQUEST)?;
            if peers.iter().any(|peer| !reach.may_permit(*peer)) {
                return Err(code::FORBIDDEN);
            }
            client
                .note_permissions(now, &peers, limits)
                .map_err(|_| code::INSUFFICIENT_CAPACITY)?;
        }
        method::CHANNEL_BIND => bind(now, client, parsed, reach)?,
        method::REFRESH => {}
        _ => return Err(code::BAD_REQUEST),
    }
    Ok(Verdict::Forward)
}

fn bind(
    now: Instant,
    client: &mut Client,
    parsed: &Parsed<'_>,
    reach: &Reach<'_>,
) -> Result<(), u16> {
    let peers = parsed.peers().ok_or(code::BAD_REQUEST)?;
    let number = parsed.channel().ok_or(code::BAD_REQUEST)?;
    let &[peer] = peers.as_slice() else {
        return Err(code::BAD_REQUEST);
    };
    // RFC 8656 section 12; the demultiplexer knows no others.
    if !(0x4000..=0x4fff).contains(&number) {
        return Err(code::BAD_REQUEST);
    }
    if !reach.may_send_to(peer) {
        return Err(code::FORBIDDEN);
    }
    let noted = client.note_channel(now, (number, peer), &reach.config.limits);
    noted.map_err(|full| match full {
        Full::ChannelTaken => code::BAD_REQUEST,
        Full::Permissions | Full::Channels => code::INSUFFICIENT_CAPACITY,
    })
}

/// Why a request for an allocation asks for something else than UDP.
pub(super) fn transport_reason(parsed: &Parsed<'_>) -> Option<u16> {
    match parsed.asks_for_udp() {
        Some(true) => None,
        Some(false) => Some(code::UNSUPPORTED_TRANSPORT),
        None => Some(code::BAD_REQUEST),
    }
}
