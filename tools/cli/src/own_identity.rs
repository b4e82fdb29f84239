//! The device's own key, and its contact book.

use std::path::PathBuf;

use dhtnet_identity::contacts::Contacts;
use dhtnet_identity::device_key::KeyPemError;
use dhtnet_identity::key_file::{self, KeyFileError};
use dhtnet_identity::{DeviceKey, PeerAddress, PeerArgument};
use zeroize::Zeroizing;

use crate::failure::chain;
use crate::flags::HomeFlags;
use crate::{ExitCode, Failure, Home, Peer, Talk};

/// A new device key from the randomness of the system.
///
/// # Errors
/// Exit code 5 if the system has none.
pub fn new_key() -> Result<DeviceKey, Failure> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut()).map_err(|error| {
        Failure::new(
            ExitCode::Identity,
            format!("the system gives no random bytes: {error}"),
        )
    })?;
    Ok(DeviceKey::from_seed(&seed))
}

impl HomeFlags {
    /// Where the key is.
    pub fn identity_path(&self, home: &Home) -> PathBuf {
        self.identity
            .clone()
            .unwrap_or_else(|| home.identity_file())
    }

    /// The device key; made, with one line on stderr, if the home has none yet. A key that was
    /// named with `--identity` must exist.
    ///
    /// # Errors
    /// Exit code 5 if the key cannot be read, is none, or cannot be written.
    pub fn load_or_create_key(&self, home: &Home, talk: &Talk) -> Result<DeviceKey, Failure> {
        match self.load_key(home)? {
            Some(key) => Ok(key),
            None if self.identity.is_some() => {
                let path = self.identity_path(home);
                Err(
                    identity_failure(&KeyFileError::NotFound { path: path.clone() }).advise(
                        format!("make it with: crtmgr --identity {} init", path.display()),
                    ),
                )
            }
            None => {
                home.prepare()?;
                let path = home.identity_file();
                let key = new_key()?;
                match key_file::create(&path, &key) {
                    Ok(()) => {
                        talk.note(format_args!("made a new identity: {}", key.id()));
                        Ok(key)
                    }
                    // Another tool was started at the same moment; its key is as good as ours.
                    Err(error) => match self.load_key(home)? {
                        Some(key) => Ok(key),
                        None => Err(identity_failure(&error)),
                    },
                }
            }
        }
    }

    /// The device key, or `None` if there is none yet.
    ///
    /// # Errors
    /// Exit code 5 if the file cannot be read, can be read by others, or holds no key.
    pub fn load_key(&self, home: &Home) -> Result<Option<DeviceKey>, Failure> {
        let path = self.identity_path(home);
        let loaded = match key_file::load(&path) {
            Err(KeyFileError::Garbage {
                source: KeyPemError::Encrypted,
                ..
            }) => key_file::load_protected(&path, &self.passphrase_of(&path)?),
            loaded => loaded,
        };
        match loaded {
            Ok(key) => Ok(Some(key)),
            Err(KeyFileError::NotFound { .. }) => Ok(None),
            Err(error @ KeyFileError::WidePermissions { .. }) => Err(identity_failure(&error)),
            Err(
                error @ KeyFileError::Garbage {
                    source: KeyPemError::WrongPassphrase,
                    ..
                },
            ) => Err(identity_failure(&error)),
            Err(error) => Err(identity_failure(&error)
                .advise("restore the file from a backup, or move it away to get a new identity")),
        }
    }
}

/// The contact book of this home; empty if there is none.
///
/// # Errors
/// Exit code 2 if the file is damaged.
pub fn load_contacts(home: &Home) -> Result<Contacts, Failure> {
    Contacts::load(home.contacts_file())
        .map_err(|error| Failure::usage(format!("cannot use the contacts: {}", chain(&error))))
}

/// Looks a PEER argument up in the contact book.
///
/// # Errors
/// Exit code 2 if it is a name that the book does not know.
pub fn resolve_peer(contacts: &Contacts, argument: &PeerArgument) -> Result<Peer, Failure> {
    let address: PeerAddress = contacts.resolve(argument).map_err(|error| {
        Failure::usage(error.to_string())
            .advise(format!("add it with: crtmgr peer add {argument} ID"))
    })?;
    let name = contacts.alias_of(&address.id).map(ToString::to_string);
    Ok(Peer { address, name })
}

fn identity_failure(error: &KeyFileError) -> Failure {
    Failure::new(
        ExitCode::Identity,
        format!("cannot use the identity: {}", chain(error)),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::talk::Captured;

    struct Place {
        dir: tempfile::TempDir,
        said: Captured,
        talk: Talk,
    }

    impl Place {
        fn new() -> Self {
            let said = Captured::default();
            let talk = Talk::new("dnc", Box::new(said.clone()));
            Self {
                dir: tempfile::tempdir().unwrap(),
                said,
                talk,
            }
        }

        fn home(&self) -> Home {
            Home::in_folder(&self.dir.path().join("home"))
        }
    }

    #[test]
    fn the_first_use_makes_a_key_and_says_its_id_once() {
        let place = Place::new();
        let flags = HomeFlags::default();
        let key = flags
            .load_or_create_key(&place.home(), &place.talk)
            .unwrap();
        let again = flags
            .load_or_create_key(&place.home(), &place.talk)
            .unwrap();
        assert_eq!(key.id(), again.id());
        assert_eq!(
            place.said.text(),
            format!("dnc: made a new identity: {}\n", key.id())
        );
        let mode = place
            .home()
            .identity_file()
            .metadata()
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_named_key_that_is_missing_is_not_made() {
        let place = Place::new();
        let flags = HomeFlags {
            identity: Some(place.dir.path().join("x.pem")),
            ..HomeFlags::default()
        };
        let failure = flags
            .load_or_create_key(&place.home(), &place.talk)
            .unwrap_err();
        assert_eq!(failure.code(), ExitCode::Identity);
        assert!(
            failure
                .to_string()
                .contains("make it with: crtmgr --identity")
        );
        assert!(!place.dir.path().join("x.pem").exists());
    }

    #[test]
    fn garbage_and_a_key_that_others_can_read_are_exit_code_5() {
        let place = Place::new();
        let home = place.home();
        let flags = HomeFlags::default();
        flags
            .load_or_create_key(&home, &Talk::new("dnc", Box::new(std::io::sink())))
            .unwrap();
        fs::set_permissions(home.identity_file(), Permissions::from_mode(0o644)).unwrap();
        let failure = flags.load_or_create_key(&home, &place.talk).unwrap_err();
        assert_eq!(failure.code(), ExitCode::Identity);
        assert!(failure.to_string().contains("(mode 0644)"), "{failure}");

        fs::set_permissions(home.identity_file(), Permissions::from_mode(0o600)).unwrap();
        fs::write(home.identity_file(), "no key at all").unwrap();
        let failure = flags.load_or_create_key(&home, &place.talk).unwrap_err();
        assert_eq!(failure.code(), ExitCode::Identity);
    }
}
