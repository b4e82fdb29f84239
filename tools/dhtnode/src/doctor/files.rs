//! Whether the home and the identity in it can be used. Nothing is made or changed.

use std::io;
use std::path::Path;

use dhtnet::doctor::{HomeFacts, IdentityFacts};
use dhtnet_cli::failure::chain;
use dhtnet_identity::key_file::{self, KeyFileError};
use rustix::fs::{Access, access};

use crate::session::Place;

/// What the library has to know about the user's files.
pub(super) fn look(place: &Place) -> HomeFacts {
    let home = &place.home;
    let path = place.flags.identity_path(home);
    let identity = match key_file::load(&path) {
        Ok(key) => IdentityFacts::Usable(key.id().to_string()),
        Err(KeyFileError::WidePermissions { .. }) => {
            IdentityFacts::Exposed(format!("chmod 600 {}", path.display()))
        }
        Err(KeyFileError::NotFound { .. }) if place.flags.identity.is_none() => {
            IdentityFacts::Missing
        }
        Err(error) => IdentityFacts::Unusable(chain(&error)),
    };
    let folders = [home.config(), home.state()];
    let faults = folders.into_iter().find_map(|folder| {
        let error = writable(folder).err()?;
        Some(format!("{}: {error}", folder.display()))
    });
    HomeFacts {
        directory: home.config().display().to_string(),
        unusable: faults,
        identity,
    }
}

/// Whether files can be made in a folder, or the folder itself where it is missing.
fn writable(folder: &Path) -> io::Result<()> {
    for place in folder.ancestors() {
        let place = if place.as_os_str().is_empty() {
            Path::new(".")
        } else {
            place
        };
        match std::fs::metadata(place) {
            Ok(found) if found.is_dir() => {
                return Ok(access(place, Access::WRITE_OK | Access::EXEC_OK)?);
            }
            Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use super::*;

    #[test]
    fn a_missing_folder_is_as_good_as_the_one_above_it() {
        let dir = tempfile::tempdir().unwrap();
        assert!(writable(&dir.path().join("a/b")).is_ok());
        assert!(!dir.path().join("a").exists(), "nothing is made");
        std::fs::write(dir.path().join("file"), "").unwrap();
        let below = writable(&dir.path().join("file/b")).unwrap_err();
        assert_eq!(below.kind(), io::ErrorKind::NotADirectory);
    }
}
