//! The request for a copy: who to be there.

use crate::user::is_user_name;

/// The channel of a copy, and the action that the policy is asked about.
pub const COPY_CHANNEL: &str = "dsh.cp";

/// Version of it.
const VERSION: u8 = 1;

/// A version byte and the name of the user; nobody named is whom the policy says.
#[must_use]
pub fn encode(user: Option<&str>) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(user.unwrap_or_default().as_bytes());
    bytes
}

/// The user.
///
/// # Errors
/// In words for the peer.
pub fn decode(bytes: &[u8]) -> Result<Option<String>, String> {
    match bytes {
        [VERSION] => Ok(None),
        [VERSION, user @ ..] => match std::str::from_utf8(user) {
            Ok(user) if is_user_name(user) => Ok(Some(user.to_owned())),
            _ => Err("that is no name of a user".to_owned()),
        },
        [version, ..] => Err(format!("version {version} of the request is not known")),
        [] => Err("the request cannot be understood".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_comes_back_and_anything_else_is_refused() {
        for user in [None, Some("alice")] {
            assert_eq!(decode(&encode(user)), Ok(user.map(str::to_owned)));
        }
        assert_eq!(encode(Some("al")), *b"\x01al");
        let long = [&[1][..], &[b'x'; 256]].concat();
        for bytes in [&b""[..], b"\x02", b"\x01../x", b"\x01\xff", &long] {
            assert!(decode(bytes).is_err(), "{bytes:?}");
        }
    }
}
