//! What this device shows for itself to peers that ask for it: certificates and capabilities.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use dhtnet_identity::DeviceId;
use dhtnet_identity::capability::{Capability, MAX_CAPABILITY_LEN};
use dhtnet_identity::certificate::{Certificate, MAX_PEM_LEN, RENEWAL_WARNING};
use dhtnet_identity::policy::{MAX_PRESENTED_CAPABILITIES, Presented};

use crate::failure::chain;
use crate::{ExitCode, Failure, Home};

/// The ending of files with a capability.
pub const CAPABILITY_ENDING: &str = "cap";

/// Bytes of the longest file with a capability: in base64, wrapped after each character.
const MAX_CAPABILITY_FILE_LEN: usize = 4 * MAX_CAPABILITY_LEN;

/// The certificates in the files that were `named`, else that of the home, and the capabilities of
/// the home, for the device `own`. What is near its end is told in the log; capabilities that have
/// ended are left out.
///
/// # Errors
/// Exit code 2 if a file that was named is not there; 5 if one cannot be used, or is for another
/// device.
pub fn load(named: &[PathBuf], home: &Home, own: &DeviceId) -> Result<Presented, Failure> {
    let (presented, notices) = load_quietly(named, home, own)?;
    for notice in notices {
        tracing::warn!("{notice}");
    }
    Ok(presented)
}

/// The same with what the user should know, instead of telling it.
pub(crate) fn load_quietly(
    named: &[PathBuf],
    home: &Home,
    own: &DeviceId,
) -> Result<(Presented, Vec<String>), Failure> {
    let mut notices = Vec::new();
    let mut about = (SystemTime::now(), &mut notices);
    let mut chains = Vec::new();
    for path in named {
        let missing = || Failure::usage(format!("--certificate: {} is not there", path.display()));
        chains.push(load_chain(path, own, &mut about)?.ok_or_else(missing)?);
    }
    if named.is_empty() {
        chains.extend(load_chain(&home.certificate_file(), own, &mut about)?);
    }
    let capabilities = load_capabilities(&home.capabilities_folder(), own, &mut about)?;
    let presented = Presented::new(chains, capabilities).map_err(|error| {
        Failure::new(
            ExitCode::Identity,
            format!("the credentials of this device cannot be shown: {error}"),
        )
    })?;
    Ok((presented, notices))
}

/// The present, and what the user should know.
type About<'n> = (SystemTime, &'n mut Vec<String>);

fn load_chain(
    path: &Path,
    own: &DeviceId,
    (now, notices): &mut About<'_>,
) -> Result<Option<Vec<Certificate>>, Failure> {
    let Some(text) = read(path, MAX_PEM_LEN)? else {
        return Ok(None);
    };
    let certificates =
        Certificate::chain_from_pem(&text).map_err(|error| unusable(path, chain(&error)))?;
    let Some(first) = certificates.first().filter(|first| first.key() == own) else {
        let whose = "it is not for this device";
        return Err(unusable(path, whose).advise("see whose it is with: crtmgr show"));
    };
    if first.not_after() <= *now {
        notices.push(format!("the certificate {} has ended", path.display()));
    } else if first.expires_within(RENEWAL_WARNING, *now) {
        let days = first.not_after().duration_since(*now).unwrap_or_default();
        let days = days.as_secs() / 86_400;
        notices.push(format!(
            "the certificate {} ends in {days} days",
            path.display()
        ));
    }
    Ok(Some(certificates))
}

/// Those in the folder that have not ended, in the order of their names.
fn load_capabilities(
    folder: &Path,
    own: &DeviceId,
    (now, notices): &mut About<'_>,
) -> Result<Vec<Capability>, Failure> {
    let mut paths = Vec::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unusable(folder, error)),
    };
    for entry in entries {
        let path = entry.map_err(|error| unusable(folder, error))?.path();
        if path
            .extension()
            .is_some_and(|ending| ending == CAPABILITY_ENDING)
        {
            paths.push(path);
        }
    }
    paths.sort();
    let mut capabilities = Vec::new();
    for path in paths {
        let Some(text) = read(&path, MAX_CAPABILITY_FILE_LEN)? else {
            continue;
        };
        let capability: Capability = text
            .parse()
            .map_err(|error| unusable(&path, chain(&error)))?;
        if capability.holder() != own {
            let whose = "another device holds it";
            return Err(unusable(&path, whose).advise("see who does with: crtmgr show"));
        }
        if capability.until() <= *now {
            continue;
        }
        if capabilities.len() == MAX_PRESENTED_CAPABILITIES {
            notices.push(format!(
                "only the first {MAX_PRESENTED_CAPABILITIES} capabilities in {} are shown",
                folder.display()
            ));
            break;
        }
        capabilities.push(capability);
    }
    Ok(capabilities)
}

/// The text of a file; `None` if there is no such file.
fn read(path: &Path, limit: usize) -> Result<Option<String>, Failure> {
    // Asked by name first: opening a pipe would wait for its writer.
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(unusable(path, "it is not a regular file"));
    }
    let mut text = String::new();
    let read = File::open(path).and_then(|file| {
        // The first byte too many is seen by the parser, as garbage or as too long.
        file.take(limit as u64 + 1).read_to_string(&mut text)
    });
    match read {
        Ok(len) if len > limit => Err(unusable(path, "it is too long")),
        Ok(_) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(path, error)),
    }
}

fn unusable(path: &Path, why: impl fmt::Display) -> Failure {
    Failure::new(
        ExitCode::Identity,
        format!("cannot use {}: {why}", path.display()),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use std::time::Duration;

    use dhtnet_identity::DeviceKey;
    use dhtnet_identity::capability::Terms;
    use dhtnet_identity::certificate::{Authority, Order};
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn key(seed: u8) -> DeviceKey {
        DeviceKey::from_seed(&[seed; 32])
    }

    fn certificate(device: u8) -> String {
        let rng = &mut ChaCha20Rng::from_seed([9; 32]);
        let (now, name) = (SystemTime::now(), "Home".parse().unwrap());
        let authority = Authority::create(key(9), &name, 365 * DAY, (now, &mut *rng)).unwrap();
        let order = Order {
            device: key(device).id(),
            name: "laptop".parse().unwrap(),
            groups: Vec::new(),
            lifetime: DAY,
        };
        authority.issue(&order, now, rng).unwrap().to_pem()
    }

    fn capability(holder: u8, until: SystemTime) -> String {
        let terms = Terms {
            permissions: vec!["test".parse().unwrap()],
            until,
            delegable: 0,
        };
        let rng = &mut ChaCha20Rng::from_seed([8; 32]);
        Capability::grant(&key(8), key(holder).id(), &terms, rng)
            .unwrap()
            .to_string()
    }

    struct Device {
        dir: tempfile::TempDir,
        home: Home,
    }

    impl Device {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let home = Home::in_folder(dir.path());
            fs::create_dir(home.capabilities_folder()).unwrap();
            Self { dir, home }
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.dir.path().join(name);
            fs::write(&path, text).unwrap();
            path
        }

        fn shown(&self, named: &[PathBuf]) -> Result<(usize, usize), Failure> {
            let shown = load(named, &self.home, &key(1).id())?;
            Ok((shown.chains().len(), shown.capabilities().len()))
        }
    }

    #[test]
    fn what_is_in_the_home_is_shown_and_what_is_named_instead_of_its_certificate() {
        let device = Device::new();
        assert_eq!(device.shown(&[]).unwrap(), (0, 0));
        device.write("device.crt", &certificate(1));
        let until = SystemTime::now() + DAY;
        device.write("capabilities/one.cap", &capability(1, until));
        device.write("capabilities/note.txt", "not a capability");
        let ended = SystemTime::now() - DAY;
        device.write("capabilities/old.cap", &capability(1, ended));
        assert_eq!(device.shown(&[]).unwrap(), (1, 1));
        let [a, b] = ["a.crt", "b.crt"].map(|name| device.write(name, &certificate(1)));
        assert_eq!(device.shown(&[a, b]).unwrap(), (2, 1));
    }

    #[test]
    fn a_certificate_near_its_end_is_told() {
        let device = Device::new();
        device.write("device.crt", &certificate(1));
        let (_, notices) = load_quietly(&[], &device.home, &key(1).id()).unwrap();
        assert!(
            notices.len() == 1 && notices[0].contains("device.crt ends in 0 days"),
            "{notices:?}"
        );
    }

    #[test]
    fn more_capabilities_than_can_be_shown_are_left_out() {
        let (device, until) = (Device::new(), SystemTime::now() + DAY);
        for n in 0..MAX_PRESENTED_CAPABILITIES + 1 {
            device.write(&format!("capabilities/{n}.cap"), &capability(1, until));
        }
        assert_eq!(device.shown(&[]).unwrap(), (0, MAX_PRESENTED_CAPABILITIES));
    }

    #[test]
    fn what_cannot_be_used_is_exit_5_and_a_missing_name_exit_2() {
        let device = Device::new();
        let until = SystemTime::now() + DAY;
        let fails = |named: &[PathBuf]| {
            let failure = device.shown(named).unwrap_err();
            (failure.code(), failure.to_string())
        };
        let (code, line) = fails(&[device.dir.path().join("none.crt")]);
        assert!(
            code == ExitCode::Usage && line.contains("none.crt"),
            "{line}"
        );
        for (name, text, word) in [
            ("device.crt", "nothing", "device.crt"),
            ("device.crt", &certificate(2), "not for this device"),
            ("device.crt", &"a".repeat(MAX_PEM_LEN + 1), "too long"),
            ("capabilities/a.cap", "cap1", "a.cap"),
            (
                "capabilities/a.cap",
                &capability(2, until),
                "another device",
            ),
        ] {
            let path = device.write(name, text);
            let (code, line) = fails(&[]);
            assert!(code == ExitCode::Identity && line.contains(word), "{line}");
            fs::remove_file(path).unwrap();
        }
    }
}
