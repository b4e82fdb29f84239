//! What both sides say about themselves inside the handshake: version and process instance.

use crate::peers::Instance;

/// Version of everything above the transport. A peer with another one is refused.
const VERSION: u8 = 1;

/// The application part of both handshake messages: `version (1) ‖ instance (16)`. Later versions
/// may append; what follows is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) instance: Instance,
}

impl Hello {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.instance);
        bytes
    }

    /// `None` when it is too short or of another version.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&version, rest) = bytes.split_first()?;
        let instance = *rest.first_chunk()?;
        (version == VERSION).then_some(Self { instance })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_survives_the_wire_and_its_truncation_does_not() {
        let hello = Hello {
            instance: *b"0123456789abcdef",
        };
        let bytes = hello.encode();
        assert_eq!(bytes, b"\x010123456789abcdef");
        assert_eq!(Hello::decode(&bytes), Some(hello));
        for len in 0..bytes.len() {
            assert_eq!(Hello::decode(&bytes[..len]), None);
        }
    }

    #[test]
    fn what_follows_is_ignored_and_another_version_is_not_understood() {
        let mut bytes = Hello { instance: [9; 16] }.encode();
        bytes.push(1);
        assert_eq!(Hello::decode(&bytes), Some(Hello { instance: [9; 16] }));
        bytes[0] = 2;
        assert_eq!(Hello::decode(&bytes), None);
    }
}
