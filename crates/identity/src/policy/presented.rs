//! What a peer shows for itself, as it travels inside an encrypted connection.
//!
//! ```text
//! presented  = version (1) ‖ chains (1) ‖ chain … ‖ capabilities (1) ‖ capability …
//! chain      = certificates (1) ‖ each: length (2, big-endian) ‖ DER
//! capability = length (2) ‖ as in the module capability
//! ```
//! It is no secret and proves nothing by itself: the peer proves its key by the handshake, and
//! what is shown is about that key.

use crate::bytes::{Reader, push_counted};
use crate::capability::{Capability, CapabilityError, MAX_CAPABILITY_LEN};
use crate::certificate::{Certificate, CertificateError, MAX_CERTIFICATE_LEN, MAX_CHAIN_LEN};

/// Chains that a peer may show: one for each CA that it belongs to.
pub const MAX_CHAINS: usize = 4;
/// Capabilities that a peer may show.
pub const MAX_PRESENTED_CAPABILITIES: usize = 16;
/// Bytes of all that a peer may show.
pub const MAX_PRESENTED_LEN: usize = 64 * 1024;

const VERSION: u8 = 1;

/// What a peer shows: read, and not judged. [`Policy::examine`](super::Policy::examine) judges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Presented {
    chains: Vec<Vec<Certificate>>,
    capabilities: Vec<Capability>,
}

impl Presented {
    /// These chains, each with the device's own certificate first, and these capabilities.
    ///
    /// # Errors
    /// [`PresentedError::TooMany`], [`PresentedError::TooLong`].
    pub fn new(
        chains: Vec<Vec<Certificate>>,
        capabilities: Vec<Capability>,
    ) -> Result<Self, PresentedError> {
        let chains_fit = chains.len() <= MAX_CHAINS
            && chains
                .iter()
                .all(|chain| (1..=MAX_CHAIN_LEN).contains(&chain.len()));
        if !chains_fit || capabilities.len() > MAX_PRESENTED_CAPABILITIES {
            return Err(PresentedError::TooMany);
        }
        let presented = Self {
            chains,
            capabilities,
        };
        match presented.encode().len() {
            0..=MAX_PRESENTED_LEN => Ok(presented),
            found => Err(PresentedError::TooLong { found }),
        }
    }

    /// The chains.
    pub fn chains(&self) -> &[Vec<Certificate>] {
        &self.chains
    }

    /// The capabilities.
    pub fn capabilities(&self) -> &[Capability] {
        &self.capabilities
    }

    /// Whether nothing is shown.
    pub fn is_empty(&self) -> bool {
        self.chains.is_empty() && self.capabilities.is_empty()
    }

    /// The binary form.
    pub fn encode(&self) -> Vec<u8> {
        let count = |length: usize| u8::try_from(length).expect("counts are bounded below 256");
        let mut bytes = vec![VERSION, count(self.chains.len())];
        for chain in &self.chains {
            bytes.push(count(chain.len()));
            for certificate in chain {
                push_counted(&mut bytes, certificate.as_der());
            }
        }
        bytes.push(count(self.capabilities.len()));
        for capability in &self.capabilities {
            push_counted(&mut bytes, capability.as_bytes());
        }
        bytes
    }

    /// Reads the binary form, all of it. Bounds are checked before anything is kept, and the
    /// signatures of capabilities are verified: at most five for each.
    ///
    /// # Errors
    /// [`PresentedError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, PresentedError> {
        if bytes.len() > MAX_PRESENTED_LEN {
            return Err(PresentedError::TooLong { found: bytes.len() });
        }
        let reader = &mut Reader::new(bytes);
        let version = reader.byte().ok_or(PresentedError::Malformed)?;
        if version != VERSION {
            return Err(PresentedError::Version { found: version });
        }
        let mut presented = Self::default();
        for _ in 0..count(reader, 0, MAX_CHAINS)? {
            let length = count(reader, 1, MAX_CHAIN_LEN)?;
            let chain = (0..length).map(|_| {
                let der = counted(reader, MAX_CERTIFICATE_LEN)?;
                Certificate::from_der(der).map_err(PresentedError::Certificate)
            });
            presented.chains.push(chain.collect::<Result<_, _>>()?);
        }
        for _ in 0..count(reader, 0, MAX_PRESENTED_CAPABILITIES)? {
            let capability = counted(reader, MAX_CAPABILITY_LEN)?;
            let capability = Capability::decode(capability).map_err(PresentedError::Capability)?;
            presented.capabilities.push(capability);
        }
        match reader.is_empty() {
            true => Ok(presented),
            false => Err(PresentedError::Malformed),
        }
    }
}

fn count(reader: &mut Reader<'_>, least: usize, most: usize) -> Result<usize, PresentedError> {
    let found = usize::from(reader.byte().ok_or(PresentedError::Malformed)?);
    match found {
        _ if found > most => Err(PresentedError::TooMany),
        _ if found < least => Err(PresentedError::Malformed),
        _ => Ok(found),
    }
}

fn counted<'b>(reader: &mut Reader<'b>, most: usize) -> Result<&'b [u8], PresentedError> {
    let counted = reader.counted().ok_or(PresentedError::Malformed)?;
    match counted.len() <= most {
        true => Ok(counted),
        false => Err(PresentedError::Malformed),
    }
}

/// Why what a peer shows cannot be read, or not be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PresentedError {
    /// Over [`MAX_PRESENTED_LEN`].
    #[error("at most {MAX_PRESENTED_LEN} bytes may be shown, not {found}")]
    TooLong {
        /// Bytes found.
        found: usize,
    },
    /// Over [`MAX_CHAINS`], [`MAX_CHAIN_LEN`] or [`MAX_PRESENTED_CAPABILITIES`].
    #[error(
        "at most {MAX_CHAINS} chains of 1 to {MAX_CHAIN_LEN} certificates and \
         {MAX_PRESENTED_CAPABILITIES} capabilities may be shown"
    )]
    TooMany,
    /// Of a later version.
    #[error("the credentials have version {found}; this program knows version {VERSION}")]
    Version {
        /// The version found.
        found: u8,
    },
    /// Cut off, too long, or with something behind it.
    #[error("the credentials are damaged")]
    Malformed,
    /// A bad certificate.
    #[error("a certificate in the credentials cannot be used")]
    Certificate(#[source] CertificateError),
    /// A bad capability.
    #[error("a capability in the credentials cannot be used")]
    Capability(#[source] CapabilityError),
}
