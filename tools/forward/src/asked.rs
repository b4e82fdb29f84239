//! What the metadata of a request for a target, or for a place to listen, names.

use dhtnet_identity::target::{ParseTargetError, Target};

/// What the channel of a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carries {
    Stream,
    Datagrams,
}

/// Why a request names nothing. The texts are for the peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAsked {
    #[error("the target is not text")]
    NoText,
    #[error("{0}")]
    Target(#[from] ParseTargetError),
    #[error("the channel is of the wrong kind")]
    Kind,
}

/// A target, reached by a channel of its own kind.
pub(crate) fn target(metadata: &[u8], carries: Carries) -> Result<Target, NotAsked> {
    let target = named(metadata)?;
    let is_udp = matches!(target, Target::Udp { .. });
    if is_udp == (carries == Carries::Datagrams) {
        Ok(target)
    } else {
        Err(NotAsked::Kind)
    }
}

/// A place to listen: held by a stream, whatever it carries.
pub(crate) fn place(metadata: &[u8], carries: Carries) -> Result<Target, NotAsked> {
    match carries {
        Carries::Stream => named(metadata),
        Carries::Datagrams => Err(NotAsked::Kind),
    }
}

fn named(metadata: &[u8]) -> Result<Target, NotAsked> {
    let text = std::str::from_utf8(metadata).map_err(|_| NotAsked::NoText)?;
    Ok(text.parse()?)
}
