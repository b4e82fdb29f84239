//! What every command works with.

use std::fmt;
use std::time::SystemTime;

use dhtnet_cli::failure::chain;
use dhtnet_cli::flags::HomeFlags;
use dhtnet_cli::own_identity::{load_contacts, resolve_peer};
use dhtnet_cli::{ExitCode, Failure, Home, Talk};
use dhtnet_identity::certificate::CertificateFileError;
use dhtnet_identity::key_file::KeyFileError;
use dhtnet_identity::{DeviceId, DeviceKey, PeerArgument};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use zeroize::Zeroizing;

/// The device at hand, and where its user is spoken to.
pub(crate) struct Desk<'a> {
    pub(crate) flags: &'a HomeFlags,
    pub(crate) home: &'a Home,
    pub(crate) talk: &'a Talk,
    /// The wall time of the whole command.
    pub(crate) now: SystemTime,
}

impl Desk<'_> {
    /// The id of a peer that was named as the tools take it.
    pub(crate) fn peer(&self, named: &PeerArgument) -> Result<DeviceId, Failure> {
        let contacts = load_contacts(self.home)?;
        Ok(resolve_peer(&contacts, named)?.address.id)
    }

    /// The device key, which must be there.
    pub(crate) fn key(&self) -> Result<DeviceKey, Failure> {
        self.flags.load_key(self.home)?.ok_or_else(|| {
            let path = self.flags.identity_path(self.home);
            identity(format!("there is no identity in {}", path.display()))
                .advise("make it with: crtmgr init")
        })
    }
}

/// A generator seeded by the system.
pub(crate) fn generator() -> Result<ChaCha20Rng, Failure> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut())
        .map_err(|error| identity(format!("the system gives no random bytes: {error}")))?;
    Ok(ChaCha20Rng::from_seed(*seed))
}

/// Exit code 5.
pub(crate) fn identity(line: impl Into<String>) -> Failure {
    Failure::new(ExitCode::Identity, line)
}

/// A failure of a step: "cannot …: why".
pub(crate) fn cannot(
    step: impl fmt::Display,
    error: &(dyn std::error::Error + 'static),
) -> Failure {
    Failure::new(code_of(error), format!("cannot {step}: {}", chain(error)))
}

/// The system's refusal to write is no fault of a certificate.
fn code_of(error: &(dyn std::error::Error + 'static)) -> ExitCode {
    let key = match error.downcast_ref::<CertificateFileError>() {
        Some(CertificateFileError::Write { .. }) => return ExitCode::Failed,
        Some(CertificateFileError::Key(key)) => Some(key),
        _ => error.downcast_ref::<KeyFileError>(),
    };
    match key {
        Some(KeyFileError::Io { .. }) => ExitCode::Failed,
        _ => ExitCode::Identity,
    }
}
