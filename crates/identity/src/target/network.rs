//! An IP network in CIDR notation (RFC 4632, section 3.1; RFC 4291, section 2.3).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::ParseTargetError;
use crate::peer_address::shorten;

/// A block of addresses that share their first bits. No address bit beyond the prefix is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    address: IpAddr,
    prefix_len: u8,
}

impl Network {
    /// The first address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Bits that all addresses share: 0 to 32, or 0 to 128.
    pub fn prefix_len(&self) -> u8 {
        self.prefix_len
    }

    /// Whether `address` lies in the network. An IPv4-mapped IPv6 address counts as IPv4, so
    /// `::/0` does not hold it and `0.0.0.0/0` does.
    pub fn contains(&self, address: IpAddr) -> bool {
        mask(address.to_canonical(), self.prefix_len) == self.address
    }

    /// Whether every address of `other` lies in this network.
    pub fn includes(&self, other: &Self) -> bool {
        self.prefix_len <= other.prefix_len
            && self.address.is_ipv4() == other.address.is_ipv4()
            && self.contains(other.address)
    }

    /// Reads `ADDRESS/LENGTH`. `bracketed` says that IPv6 is wanted, else IPv4. A network of
    /// IPv4-mapped addresses becomes the IPv4 network.
    pub(super) fn parse(text: &str, bracketed: bool) -> Result<Self, ParseTargetError> {
        let fault = || ParseTargetError::Network {
            found: shorten(text),
        };
        let (address, len) = text.split_once('/').ok_or_else(fault)?;
        let address: IpAddr = address.parse().map_err(|_| fault())?;
        let digits = !len.is_empty() && len.bytes().all(|byte| byte.is_ascii_digit());
        let len: u8 = len.parse().ok().filter(|_| digits).ok_or_else(fault)?;
        if address.is_ipv6() != bracketed || len > width(address) {
            return Err(fault());
        }
        let network = Self::without_mapping(mask(address, len), len);
        match mask(address, len) == address {
            true => Ok(network),
            false => Err(ParseTargetError::HostBits {
                found: shorten(text),
                network,
            }),
        }
    }

    fn without_mapping(address: IpAddr, prefix_len: u8) -> Self {
        const MAPPED_LEN: u8 = 96;
        match (address.to_canonical(), prefix_len.checked_sub(MAPPED_LEN)) {
            (v4 @ IpAddr::V4(_), Some(prefix_len)) if address.is_ipv6() => Self {
                address: v4,
                prefix_len,
            },
            _ => Self {
                address,
                prefix_len,
            },
        }
    }
}

impl FromStr for Network {
    type Err = ParseTargetError;

    /// Reads `ADDRESS/LENGTH` without brackets, or an address, which is a network of one.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<IpAddr>() {
            Ok(address) => {
                let address = address.to_canonical();
                let prefix_len = width(address);
                Ok(Self {
                    address,
                    prefix_len,
                })
            }
            Err(_) => Self::parse(text, text.contains(':')),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn mask(address: IpAddr, prefix_len: u8) -> IpAddr {
    let cleared = u32::from(width(address).saturating_sub(prefix_len));
    match address {
        IpAddr::V4(v4) => {
            let kept = u32::MAX.checked_shl(cleared).unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & kept).into()
        }
        IpAddr::V6(v6) => {
            let kept = u128::MAX.checked_shl(cleared).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & kept).into()
        }
    }
}
