//! What both sides say about themselves inside the handshake: version, process instance, and
//! whether credentials are wanted or at hand; and how old the program is.

use std::time::Duration;

/// Tells the processes apart that use one key: 16 random bytes, told in the handshake.
pub(crate) type Instance = [u8; 16];

/// Version of everything above the transport. A peer with another one is refused.
const VERSION: u8 = 1;

/// Flag: the policy here could give more to a peer that shows credentials.
const WANTS: u8 = 1;

/// Where the age stands: behind version, instance and flags.
const AGE_AT: usize = 18;

/// Flag: this device has credentials, and shows them if they are wanted.
const SHOWS: u8 = 2;

/// The application part of both handshake messages: `version (1) ‖ instance (16) ‖ flags (1)`.
/// Without the flags all are unset. Behind them the driver's node appends the age of its program
/// (4), see [`Hello::encode_with_age`]. Later versions may append; what follows is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) instance: Instance,
    /// Whether the sender's policy could give more to a peer that shows credentials.
    pub(crate) wants: bool,
    /// Whether the sender has credentials to show.
    pub(crate) shows: bool,
}

impl Hello {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.instance);
        bytes.push((u8::from(self.wants) * WANTS) | (u8::from(self.shows) * SHOWS));
        bytes
    }

    /// The same, and for how long the program has run: milliseconds, at most 49 days.
    pub(crate) fn encode_with_age(self, age: Duration) -> Vec<u8> {
        let mut bytes = self.encode();
        let age = u32::try_from(age.as_millis()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&age.to_be_bytes());
        bytes
    }

    /// `None` when it is too short or of another version.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&version, rest) = bytes.split_first()?;
        let (instance, rest) = rest.split_first_chunk()?;
        let flags = rest.first().copied().unwrap_or(0);
        (version == VERSION).then_some(Self {
            instance: *instance,
            wants: flags & WANTS != 0,
            shows: flags & SHOWS != 0,
        })
    }
}

/// For how long a peer's program has run, as its hello says; at least, where that is the most that
/// can be said.
pub(crate) fn age_in(bytes: &[u8]) -> Option<Duration> {
    Hello::decode(bytes)?;
    let age = bytes.get(AGE_AT..)?.first_chunk()?;
    Some(Duration::from_millis(u32::from_be_bytes(*age).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(wants: bool, shows: bool) -> Hello {
        Hello {
            instance: *b"0123456789abcdef",
            wants,
            shows,
        }
    }

    #[test]
    fn a_hello_survives_the_wire_and_its_truncation_does_not() {
        for (wants, shows, flags) in [
            (false, false, 0),
            (true, false, 1),
            (false, true, 2),
            (true, true, 3),
        ] {
            let bytes = hello(wants, shows).encode();
            assert_eq!(bytes[..17], *b"\x010123456789abcdef");
            assert_eq!(bytes[17..], [flags]);
            assert_eq!(Hello::decode(&bytes), Some(hello(wants, shows)));
            for len in 0..bytes.len() - 1 {
                assert_eq!(Hello::decode(&bytes[..len]), None);
            }
        }
    }

    #[test]
    fn a_hello_without_flags_wants_and_shows_nothing() {
        let bytes = hello(true, true).encode();
        assert_eq!(
            Hello::decode(&bytes[..bytes.len() - 1]),
            Some(hello(false, false))
        );
    }

    #[test]
    fn the_age_stands_behind_all_else_and_may_be_missing() {
        let hello = hello(true, true);
        let bytes = hello.encode_with_age(Duration::from_millis(0x0102_0304));
        assert_eq!(bytes[..18], hello.encode());
        assert_eq!(bytes[18..], [1, 2, 3, 4]);
        assert_eq!(Hello::decode(&bytes), Some(hello));
        assert_eq!(age_in(&bytes), Some(Duration::from_millis(0x0102_0304)));
        for len in 0..bytes.len() {
            assert_eq!(age_in(&bytes[..len]), None);
        }
        let long = hello.encode_with_age(Duration::from_secs(50 * 86_400));
        assert_eq!(long[18..], [0xff; 4]);
    }

    #[test]
    fn what_follows_is_ignored_and_another_version_is_not_understood() {
        let mut bytes = hello(true, false).encode();
        bytes.push(1);
        assert_eq!(Hello::decode(&bytes), Some(hello(true, false)));
        bytes[17] |= 0xf0;
        assert_eq!(Hello::decode(&bytes), Some(hello(true, false)));
        bytes[0] = 2;
        assert_eq!(Hello::decode(&bytes), None);
    }
}
