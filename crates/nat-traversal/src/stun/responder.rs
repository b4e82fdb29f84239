//! What a STUN server with one address and one port answers (RFC 8489 section 6.3).

use std::net::SocketAddr;

use super::integrity::IntegrityKey;
use super::message::{BindingError, BindingRequest, BindingResponse, code};

/// Types of unknown attributes that one answer names: an answer must not be much longer than what
/// was asked, or forged senders would use us to flood others.
pub const MAX_UNKNOWN_REPORTED: usize = 4;

/// The type of CHANGE-REQUEST, which a server without another address does not understand.
const CHANGE_REQUEST: u16 = 0x0003;

/// The answer to a request that came from `source`: its address, or that something in it was not
/// understood. At most 52 bytes for IPv6 and 40 for IPv4. How often somebody is answered is for
/// the caller to bound.
#[must_use]
pub fn respond(request: &BindingRequest, source: SocketAddr) -> Vec<u8> {
    answer(request, source, None)
}

/// The same with MESSAGE-INTEGRITY, for a request that was checked with this key.
#[must_use]
pub fn respond_authenticated(
    request: &BindingRequest,
    source: SocketAddr,
    key: &IntegrityKey,
) -> Vec<u8> {
    answer(request, source, Some(key))
}

fn answer(request: &BindingRequest, source: SocketAddr, key: Option<&IntegrityKey>) -> Vec<u8> {
    let mut unknown = request.unknown.clone();
    if request.change.is_some() {
        unknown.insert(0, CHANGE_REQUEST);
    }
    if unknown.is_empty() {
        let source = SocketAddr::new(source.ip().to_canonical(), source.port());
        return BindingResponse::new(request.transaction_id, source).encode(key);
    }
    unknown.truncate(MAX_UNKNOWN_REPORTED);
    let mut error = BindingError::new(request.transaction_id, code::UNKNOWN_ATTRIBUTE);
    error.unknown = unknown;
    error.encode(key).expect("a code and four numbers fit")
}
