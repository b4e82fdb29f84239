//! Hosts of targets: names by the rules of DNS, and address literals in one spelling.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::ParseTargetError;
use crate::peer_address::shorten;

/// Bytes of the longest host name in text (RFC 1035, section 2.3.4).
pub const MAX_HOST_LEN: usize = 253;
/// Bytes of the longest label of a host name (RFC 1035, section 2.3.4).
const MAX_LABEL_LEN: usize = 63;

/// Checks a host and gives its one spelling. `bracketed` says that it stood in brackets, where
/// only an IPv6 literal may stand.
pub(super) fn normalise(host: &str, bracketed: bool) -> Result<String, ParseTargetError> {
    if bracketed {
        let address: Ipv6Addr = host.parse().map_err(|_| ParseTargetError::Ipv6 {
            found: shorten(host),
        })?;
        return Ok(IpAddr::V6(address).to_canonical().to_string());
    }
    if host.is_empty() {
        return Err(ParseTargetError::MissingHost);
    }
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Ok(address.to_string());
    }
    check_name(host)?;
    Ok(host.to_ascii_lowercase())
}

/// The address of a host that is a literal; `None` for names.
pub(super) fn literal(host: &str) -> Option<IpAddr> {
    host.parse::<IpAddr>()
        .ok()
        .map(|address| address.to_canonical())
}

fn check_name(host: &str) -> Result<(), ParseTargetError> {
    for (index, character) in host.chars().enumerate() {
        if !(character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.')) {
            return Err(ParseTargetError::HostAlphabet {
                position: index + 1,
                character,
            });
        }
    }
    // From here on the name is ASCII, so bytes are characters.
    let labels = host.strip_suffix('.').unwrap_or(host);
    if host.len() > MAX_HOST_LEN {
        return Err(ParseTargetError::HostLength);
    }
    let mut start = 0;
    for label in labels.split('.') {
        if label.is_empty() || label.len() > MAX_LABEL_LEN {
            return Err(ParseTargetError::HostLength);
        }
        // A leading dash would also be an option to a program that is handed the name.
        if label.starts_with('-') {
            return Err(ParseTargetError::HostAlphabet {
                position: start + 1,
                character: '-',
            });
        }
        if label.ends_with('-') {
            let position = start + label.len();
            return Err(ParseTargetError::HostAlphabet {
                position,
                character: '-',
            });
        }
        start += label.len() + 1;
    }
    match ends_in_number(labels) {
        true => Err(ParseTargetError::Ipv4 {
            found: shorten(host),
        }),
        false => Ok(()),
    }
}

/// Whether resolvers may read the name as an IPv4 address (`127.1`, `0x7f000001`): its last label
/// is a number, decimal or hexadecimal, as in the "ends in a number" rule of the URL standard.
fn ends_in_number(labels: &str) -> bool {
    let last = labels.rsplit('.').next().unwrap_or(labels);
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    match hex {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => last.bytes().all(|byte| byte.is_ascii_digit()),
    }
}
