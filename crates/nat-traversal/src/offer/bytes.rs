//! The bytes of an offer.

use std::net::{IpAddr, SocketAddr};

use super::{DecodeError, NatProfile};
use crate::behavior::{Allocation, Filtering, Mapping};
use crate::candidate::{Candidate, CandidateKind};

/// Set in the kind of a candidate whose address is IPv6.
const IPV6: u8 = 0x80;

#[derive(Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn count(&mut self, count: usize) {
        self.0.push(count as u8);
    }

    pub(super) fn nat(&mut self, nat: &NatProfile) {
        let mapping = match nat.mapping {
            None => 0,
            Some(Mapping::EndpointIndependent) => 1,
            Some(Mapping::AddressDependent) => 2,
            Some(Mapping::AddressAndPortDependent) => 3,
        };
        let filtering = match nat.filtering {
            None => 0,
            Some(Filtering::EndpointIndependent) => 1,
            Some(Filtering::AddressDependent) => 2,
            Some(Filtering::AddressAndPortDependent) => 3,
        };
        let allocation = match nat.allocation {
            None => 0,
            Some(Allocation::Sequential { .. }) => 1,
            Some(Allocation::Block { .. }) => 2,
            Some(Allocation::Random) => 3,
        };
        self.0.push(mapping | filtering << 2 | allocation << 4);
        match nat.allocation {
            Some(Allocation::Sequential { step }) => self.bytes(&step.to_be_bytes()),
            Some(Allocation::Block { low, high }) => {
                self.bytes(&low.to_be_bytes());
                self.bytes(&high.to_be_bytes());
            }
            Some(Allocation::Random) | None => {}
        }
    }

    pub(super) fn candidate(&mut self, candidate: &Candidate) {
        let kind = match candidate.kind {
            CandidateKind::Host => 1,
            CandidateKind::Mapped => 2,
            CandidateKind::ServerReflexive => 3,
            CandidateKind::Relayed => 4,
            CandidateKind::PeerReflexive => 5,
        };
        match candidate.address.ip() {
            IpAddr::V4(ip) => {
                self.0.push(kind);
                self.bytes(&ip.octets());
            }
            IpAddr::V6(ip) => {
                self.0.push(kind | IPV6);
                self.bytes(&ip.octets());
            }
        }
        self.bytes(&candidate.address.port().to_be_bytes());
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(*head)
    }

    pub(super) fn byte(&mut self) -> Result<u8, DecodeError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub(super) fn count(&mut self, field: &'static str, most: usize) -> Result<u8, DecodeError> {
        let found = self.byte()?;
        if usize::from(found) > most {
            return Err(DecodeError::TooMany { field, found });
        }
        Ok(found)
    }

    pub(super) fn nat(&mut self) -> Result<NatProfile, DecodeError> {
        let value = self.byte()?;
        let mapping = match value & 3 {
            1 => Some(Mapping::EndpointIndependent),
            2 => Some(Mapping::AddressDependent),
            3 => Some(Mapping::AddressAndPortDependent),
            _ => None,
        };
        let filtering = match value >> 2 & 3 {
            1 => Some(Filtering::EndpointIndependent),
            2 => Some(Filtering::AddressDependent),
            3 => Some(Filtering::AddressAndPortDependent),
            _ => None,
        };
        let allocation = match value >> 4 {
            0 => None,
            1 => {
                let step = i16::from_be_bytes(self.array()?);
                Some(Allocation::Sequential { step })
            }
            2 => {
                let low = u16::from_be_bytes(self.array()?);
                let high = u16::from_be_bytes(self.array()?);
                let (low, high) = (low.min(high), low.max(high));
                Some(Allocation::Block { low, high })
            }
            3 => Some(Allocation::Random),
            value => {
                let field = "allocation";
                return Err(DecodeError::Unknown { field, value });
            }
        };
        Ok(NatProfile {
            mapping,
            filtering,
            allocation,
            samples: Vec::new(),
        })
    }

    pub(super) fn candidate(&mut self) -> Result<Candidate, DecodeError> {
        let value = self.byte()?;
        let kind = match value & !IPV6 {
            1 => CandidateKind::Host,
            2 => CandidateKind::Mapped,
            3 => CandidateKind::ServerReflexive,
            4 => CandidateKind::Relayed,
            5 => CandidateKind::PeerReflexive,
            value => {
                let field = "kind of candidate";
                return Err(DecodeError::Unknown { field, value });
            }
        };
        let ip = if value & IPV6 == 0 {
            IpAddr::from(self.array::<4>()?)
        } else {
            IpAddr::from(self.array::<16>()?)
        };
        let port = u16::from_be_bytes(self.array()?);
        Ok(Candidate::new(kind, SocketAddr::new(ip, port)))
    }
}
