//! `[USER@]PEER`.

use std::net::SocketAddr;
use std::str::FromStr;

use dhtnet_identity::{DeviceId, PeerArgument};
use dhtnet_shell_wire::user::is_user_name;

/// Whom to connect to, and who to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Destination {
    /// `None`: whom the peer's policy says.
    pub(crate) user: Option<String>,
    pub(crate) peer: PeerArgument,
}

impl FromStr for Destination {
    type Err = String;

    /// What stands before an `@` is a user, unless it is a device id: then addresses follow.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some((user, peer)) = text.split_once('@') {
            let is_id = user.parse::<DeviceId>().is_ok() || is_place(peer);
            if !is_id && !user.is_empty() {
                if !is_user_name(user) {
                    return Err(format!("{user:?} is no name of a user"));
                }
                let peer = peer.parse().map_err(|error| format!("{error}"))?;
                let user = Some(user.to_owned());
                return Ok(Self { user, peer });
            }
        }
        let peer = text.parse().map_err(|error| format!("{error}"))?;
        Ok(Self { user: None, peer })
    }
}

/// Whether an address hint begins here: then a device id stands before it.
fn is_place(text: &str) -> bool {
    let first = text.split(',').next();
    first.is_some_and(|first| first.parse::<SocketAddr>().is_ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    use super::*;

    #[test]
    fn a_user_stands_before_the_peer_and_an_address_behind_it() {
        let id = dhtnet_identity::DeviceKey::from_seed(&[1; 32]).id();
        let parsed = |text: &str| text.parse::<Destination>();
        let destination = parsed("alice@home").unwrap();
        assert_eq!(destination.user.as_deref(), Some("alice"));
        assert_eq!(destination.peer, "home".parse().unwrap());
        assert_eq!(parsed("home").unwrap().user, None);

        let place = format!("{id}@127.0.0.1:7");
        assert_eq!(parsed(&place).unwrap().user, None);
        let both = parsed(&format!("bob@{place}")).unwrap();
        assert_eq!(both.user.as_deref(), Some("bob"));
        assert_eq!(both.peer, place.parse().unwrap());
        for wrong in ["@home", "a b@home", "-x@home", "alice@", "al/ice@home"] {
            parsed(wrong).unwrap_err();
        }
    }
}
