//! The messages of SOCKS 5 (RFC 1928): bytes to values and back, without a socket.
//!
//! A decoder is given what has come so far. When that is not all it says how many bytes are
//! missing at least, so that nothing is read that belongs to what follows the handshake.

use std::net::{IpAddr, SocketAddr};

use dhtnet_identity::target::{ParseTargetError, Target};

const VERSION: u8 = 5;

/// No authentication (section 3).
const NO_AUTHENTICATION: u8 = 0;

/// Bytes of the longest message of a client: a request with a name of 255 bytes.
pub(crate) const MAX_MESSAGE: usize = 4 + 1 + 255 + 2;

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    /// So many more bytes are needed.
    #[error("the message is not complete ({0} bytes are missing)")]
    Needs(usize),
    /// Another version, or no SOCKS at all.
    #[error("this is not SOCKS version 5")]
    Version,
    /// A type of address that the standard does not have.
    #[error("the type of the address is not known")]
    AddressType,
    /// A part of a larger datagram.
    #[error("fragments of datagrams are not supported")]
    Fragment,
}

/// A place to connect with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Address {
    Ip(SocketAddr),
    /// A name as the client gave it, and a port.
    Name(Vec<u8>, u16),
}

/// How a datagram or a stream gets to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

impl Address {
    /// The target; a name is looked up by the peer.
    ///
    /// # Errors
    /// Port 0, and names that are none.
    pub(crate) fn target(&self, transport: Transport) -> Result<Target, ParseTargetError> {
        let scheme = match transport {
            Transport::Tcp => "",
            Transport::Udp => "udp:",
        };
        let text = match self {
            Self::Ip(address) => address.to_string(),
            Self::Name(name, port) => {
                let name = String::from_utf8_lossy(name);
                // Some clients send address literals as names.
                match name.parse::<IpAddr>() {
                    Ok(ip) => SocketAddr::new(ip, *port).to_string(),
                    // No scheme of ours is a name.
                    Err(_) if name.contains(':') => return Err(ParseTargetError::MissingHost),
                    Err(_) => format!("{name}:{port}"),
                }
            }
        };
        format!("{scheme}{text}").parse()
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        let port = match self {
            Self::Ip(address) => {
                match address.ip() {
                    IpAddr::V4(ip) => {
                        bytes.push(1);
                        bytes.extend(ip.octets());
                    }
                    IpAddr::V6(ip) => {
                        bytes.push(4);
                        bytes.extend(ip.octets());
                    }
                }
                address.port()
            }
            Self::Name(name, port) => {
                // One came with a length byte, so one goes with it.
                let len = name.len().min(255);
                bytes.push(3);
                bytes.push(len as u8);
                bytes.extend(&name[..len]);
                *port
            }
        };
        bytes.extend(port.to_be_bytes());
    }

    /// The address at the front, and how long it is.
    fn decode(bytes: &[u8]) -> Result<(Self, usize), DecodeError> {
        let [kind, rest @ ..] = bytes else {
            return Err(DecodeError::Needs(1));
        };
        let (start, len) = match kind {
            1 => (0, 4),
            4 => (0, 16),
            3 => match rest.first() {
                Some(len) => (1, usize::from(*len)),
                None => return Err(DecodeError::Needs(1)),
            },
            _ => return Err(DecodeError::AddressType),
        };
        let end = start + len;
        let Some(port) = rest.get(end..end + 2) else {
            return Err(DecodeError::Needs(end + 2 - rest.len()));
        };
        let port = u16::from_be_bytes([port[0], port[1]]);
        let host = &rest[start..end];
        let address = match (kind, ip_of(host)) {
            (1 | 4, Some(ip)) => Self::Ip(SocketAddr::new(ip, port)),
            _ => Self::Name(host.to_vec(), port),
        };
        Ok((address, 1 + end + 2))
    }
}

fn ip_of(octets: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from))
        .ok()
}

/// Whether a client's greeting (section 3) offers to go without authentication.
pub(crate) fn decode_greeting(bytes: &[u8]) -> Result<bool, DecodeError> {
    match bytes {
        [] => Err(DecodeError::Needs(2)),
        [VERSION] => Err(DecodeError::Needs(1)),
        [VERSION, count, methods @ ..] => {
            let count = usize::from(*count);
            match methods.get(..count) {
                Some(methods) => Ok(methods.contains(&NO_AUTHENTICATION)),
                None => Err(DecodeError::Needs(count - methods.len())),
            }
        }
        _ => Err(DecodeError::Version),
    }
}

/// The answer to a greeting: no authentication, or none of what was offered.
pub(crate) fn encode_choice(acceptable: bool) -> [u8; 2] {
    [VERSION, if acceptable { NO_AUTHENTICATION } else { 0xff }]
}

/// What a client asks for (section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Connect,
    UdpAssociate,
    /// BIND, or a number without a meaning.
    Other(u8),
}

/// Decodes a request.
pub(crate) fn decode_request(bytes: &[u8]) -> Result<(Command, Address), DecodeError> {
    match bytes {
        [] => Err(DecodeError::Needs(4)),
        [version, ..] if *version != VERSION => Err(DecodeError::Version),
        [_, command, _, address @ ..] => {
            let (address, _) = Address::decode(address)?;
            let command = match command {
                1 => Command::Connect,
                3 => Command::UdpAssociate,
                other => Command::Other(*other),
            };
            Ok((command, address))
        }
        short => Err(DecodeError::Needs(4 - short.len())),
    }
}

/// How a request ended (section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Reply {
    Done = 0,
    Failed = 1,
    NotAllowed = 2,
    NetworkUnreachable = 3,
    HostUnreachable = 4,
    Refused = 5,
    CommandNotSupported = 7,
    AddressNotSupported = 8,
}

/// A reply with the address that belongs to it.
pub(crate) fn encode_reply(reply: Reply, address: SocketAddr) -> Vec<u8> {
    let mut bytes = vec![VERSION, reply as u8, 0];
    Address::Ip(address).encode(&mut bytes);
    bytes
}

/// The header of a datagram (section 7) from or to this address.
pub(crate) fn encode_datagram_header(address: &Address) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0];
    address.encode(&mut bytes);
    bytes
}

/// Where a datagram goes, and where its payload begins.
pub(crate) fn decode_datagram(bytes: &[u8]) -> Result<(Address, usize), DecodeError> {
    match bytes {
        [_, _, 0, address @ ..] => {
            let (address, len) = Address::decode(address)?;
            Ok((address, 3 + len))
        }
        [_, _, _, ..] => Err(DecodeError::Fragment),
        short => Err(DecodeError::Needs(4 - short.len())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    use super::*;

    const CONNECT_NAME: &[u8] = b"\x05\x01\x00\x03\x09localhost\x00\x50";

    #[test]
    fn messages_are_as_in_the_standard() {
        assert_eq!(decode_greeting(&[5, 1, 0]), Ok(true));
        assert_eq!(decode_greeting(&[5, 2, 2, 1]), Ok(false));
        assert_eq!(decode_greeting(&[5, 0]), Ok(false));
        assert_eq!(decode_greeting(&[4, 1]), Err(DecodeError::Version));
        assert_eq!(
            (encode_choice(true), encode_choice(false)),
            ([5, 0], [5, 255])
        );
        let name = Address::Name(b"localhost".to_vec(), 80);
        assert_eq!(decode_request(CONNECT_NAME), Ok((Command::Connect, name)));
        let four = [5, 3, 0, 1, 127, 0, 0, 1, 0, 53];
        let address = Address::Ip("127.0.0.1:53".parse().unwrap());
        assert_eq!(decode_request(&four), Ok((Command::UdpAssociate, address)));
        let mut six = vec![5, 2, 0, 4];
        six.extend([0; 15]);
        six.extend([1, 1, 187]);
        let address = Address::Ip("[::1]:443".parse().unwrap());
        assert_eq!(decode_request(&six), Ok((Command::Other(2), address)));
        assert_eq!(decode_request(&[5, 1, 0, 2]), Err(DecodeError::AddressType));
        assert_eq!(
            encode_reply(Reply::Refused, "0.0.0.0:0".parse().unwrap()),
            [5, 5, 0, 1, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(decode_datagram(&[0, 0, 1, 1]), Err(DecodeError::Fragment));
    }

    #[test]
    fn a_message_cut_anywhere_says_how_much_is_missing() {
        let check = |whole: &[u8], decode: fn(&[u8]) -> Result<(), DecodeError>| {
            assert_eq!(decode(whole), Ok(()));
            for len in 0..whole.len() {
                let Err(DecodeError::Needs(more)) = decode(&whole[..len]) else {
                    panic!("{len} bytes of {whole:?} are a message");
                };
                assert!(more > 0 && len + more <= whole.len(), "{len} {more}");
            }
        };
        check(&[5, 3, 0, 1, 2], |bytes| decode_greeting(bytes).map(drop));
        check(CONNECT_NAME, |bytes| decode_request(bytes).map(drop));
    }

    #[test]
    fn a_datagram_header_comes_back_as_it_went() {
        for address in [
            Address::Ip("192.0.2.1:53".parse().unwrap()),
            Address::Ip("[2001:db8::1]:53".parse().unwrap()),
            Address::Name(b"name.example".to_vec(), 53),
            Address::Name(vec![b'a'; 255], 1),
        ] {
            let mut bytes = encode_datagram_header(&address);
            let len = bytes.len();
            bytes.extend(b"payload");
            assert_eq!(decode_datagram(&bytes), Ok((address, len)));
            for cut in 0..len {
                assert!(matches!(
                    decode_datagram(&bytes[..cut]),
                    Err(DecodeError::Needs(_))
                ));
            }
        }
    }

    #[test]
    fn any_bytes_are_a_message_or_an_error() {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..200_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let mut bytes = state.to_le_bytes().to_vec();
            bytes.extend((state.rotate_left(17)).to_le_bytes());
            bytes[0] = if state.is_multiple_of(3) { bytes[0] } else { 5 };
            bytes[3] %= 6;
            bytes.truncate((state >> 60) as usize + 1);
            let _ = decode_greeting(&bytes);
            if let Ok((_, address)) = decode_request(&bytes) {
                let _ = address.target(Transport::Tcp);
                let mut again = bytes[..3].to_vec();
                address.encode(&mut again);
                assert!(bytes.starts_with(&again));
            }
            if let Ok((_, at)) = decode_datagram(&bytes) {
                assert!(at <= bytes.len());
            }
        }
    }

    #[test]
    fn an_address_becomes_a_target_and_a_name_stays_one() {
        let target = |address: Address, transport| {
            address.target(transport).map(|target| target.to_string())
        };
        let name = |text: &str, port| Address::Name(text.as_bytes().to_vec(), port);
        for (address, transport, expected) in [
            (name("Host.Example", 80), Transport::Tcp, "host.example:80"),
            (name("::1", 53), Transport::Udp, "udp:[::1]:53"),
            (name("127.0.0.1", 1), Transport::Tcp, "127.0.0.1:1"),
            (
                Address::Ip("[::1]:80".parse().unwrap()),
                Transport::Tcp,
                "[::1]:80",
            ),
        ] {
            assert_eq!(target(address, transport).unwrap(), expected);
        }
        for wrong in [
            name("h", 0),
            name("", 1),
            name("a b", 1),
            name("unix:/x", 1),
        ] {
            assert!(target(wrong, Transport::Tcp).is_err());
        }
    }
}
