//! From flags and files to a policy.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use dhtnet_identity::DeviceId;
use dhtnet_identity::certificate::{CertificateFileError, TrustedAuthority};
use dhtnet_identity::policy::file::Surroundings;
use dhtnet_identity::policy::{Grant, Policy, PolicyBuilder, Subject};

use super::Place;
use crate::failure::chain;
use crate::flags::PolicyFlags;
use crate::own_identity::{load_contacts, resolve_peer};
use crate::{ExitCode, Failure, Home};

/// What a policy is read from, again and again.
#[derive(Clone, Debug)]
pub(super) struct Source {
    flags: PolicyFlags,
    home: Home,
    own: DeviceId,
    grants: Vec<Grant>,
    /// What the tool itself grants to some.
    further: Vec<(Subject, Grant)>,
}

/// A policy that was read.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    pub(super) policy: Policy,
    pub(super) has_file: bool,
    pub(super) files: Vec<PathBuf>,
}

impl Source {
    pub(super) fn new(flags: &PolicyFlags, place: &Place<'_>, grants: &[Grant]) -> Self {
        Self {
            flags: flags.clone(),
            home: place.home.clone(),
            own: place.own,
            grants: grants.to_vec(),
            further: Vec::new(),
        }
    }

    pub(super) fn with(mut self, further: Vec<(Subject, Grant)>) -> Self {
        self.further = further;
        self
    }

    /// Reads `policy.toml`, if there is one, and adds what the flags and the tool say.
    pub(super) fn load(&self) -> Result<Loaded, Failure> {
        let contacts = load_contacts(&self.home)?;
        let file = self.policy_file();
        let mut files = vec![self.home.contacts_file(), file.clone()];
        let has_file = file.symlink_metadata().is_ok();
        let policy = match has_file {
            true => {
                let surroundings = Surroundings {
                    contacts: &contacts,
                    own: Some(self.own),
                };
                let loaded = Policy::load(&file, &surroundings)
                    .map_err(|error| Failure::usage(chain(&error)))?;
                files.extend(loaded.files);
                loaded.policy
            }
            false => Policy::deny_all(),
        };
        let mut builder = policy.into_builder();
        for argument in &self.flags.allow {
            let peer = resolve_peer(&contacts, argument)?;
            for grant in &self.grants {
                let grant = grant.clone().named(format!("--allow {peer}"));
                builder = builder.grant(Subject::Peer(peer.address.id), grant);
            }
        }
        for path in &self.flags.allow_ca {
            files.extend([path.clone(), TrustedAuthority::list_beside(path)]);
            builder = allow_authority(builder, path, &self.grants)?;
        }
        for grant in self.grants.iter().filter(|_| self.flags.anonymous) {
            builder = builder.grant(Subject::Anyone, grant.clone().named("--anonymous"));
        }
        for (subject, grant) in &self.further {
            builder = builder.grant(subject.clone(), grant.clone());
        }
        Ok(Loaded {
            policy: builder.build(),
            has_file,
            files,
        })
    }

    pub(super) fn policy_file(&self) -> PathBuf {
        self.home.policy_file()
    }
}

/// Gives `grants` to all members of the CA at `path`.
fn allow_authority(
    builder: PolicyBuilder,
    path: &Path,
    grants: &[Grant],
) -> Result<PolicyBuilder, Failure> {
    let named = TrustedAuthority::load(path).map_err(|error| ca_failure(&error))?;
    let policy = builder.build();
    let known = policy.authorities().iter();
    let mut known = known.filter(|known| known.certificate() == named.certificate());
    let authority = match known.next() {
        // Of two lists of one CA the later counts, wherever it is named.
        Some(known) => named
            .revocation_lists()
            .iter()
            .fold(known.clone(), |ca, list| {
                let with_list = ca.clone().with_revocation_list(list.clone());
                with_list.unwrap_or(ca)
            }),
        None => named,
    };
    let fingerprint = authority.fingerprint();
    let builder = policy.into_builder().authority(authority);
    let mut builder = builder.map_err(|error| Failure::usage(error.to_string()))?;
    for grant in grants {
        let grant = grant
            .clone()
            .named(format!("--allow-ca {}", path.display()));
        builder = builder.grant(Subject::Authority(fingerprint), grant);
    }
    Ok(builder)
}

/// A file that is not there is a wrong flag; one that is no good is a matter of certificates.
fn ca_failure(error: &CertificateFileError) -> Failure {
    let code = match error {
        CertificateFileError::Read { .. } => ExitCode::Usage,
        _ => ExitCode::Identity,
    };
    Failure::new(code, format!("--allow-ca: {}", chain(error)))
}

/// What the tests of the policy itself say, if they are not content.
pub(super) fn complaint(policy: &Policy) -> Option<String> {
    let failed = policy.run_tests(SystemTime::now()).len();
    (failed > 0).then(|| {
        format!(
            "{failed} of the {} tests in policy.toml fail; see: crtmgr policy check",
            policy.tests().len()
        )
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use std::fs;
    use std::time::Duration;

    use dhtnet_identity::DeviceKey;
    use dhtnet_identity::certificate::{Authority, AuthorityFiles, Order, Revocation};
    use dhtnet_identity::policy::{Action, Presented};
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn id(seed: u8) -> DeviceId {
        DeviceKey::from_seed(&[seed; 32]).id()
    }

    struct Device {
        dir: tempfile::TempDir,
        home: Home,
    }

    impl Device {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let home = Home::in_folder(dir.path());
            Self { dir, home }
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.dir.path().join(name);
            fs::write(&path, text).unwrap();
            path
        }

        fn load(&self, flags: &PolicyFlags) -> Result<Loaded, Failure> {
            let place = Place {
                home: &self.home,
                own: id(1),
            };
            Source::new(flags, &place, &[Grant::action("test")]).load()
        }

        fn policy(&self, flags: &PolicyFlags) -> Policy {
            self.load(flags).unwrap().policy
        }
    }

    fn decided(policy: &Policy, peer: DeviceId, action: &str) -> String {
        let action = Action::new(action);
        policy
            .evaluate(&peer, &action, SystemTime::now())
            .to_string()
    }

    #[test]
    fn without_flags_and_files_nobody_is_named() {
        let device = Device::new();
        assert!(!PolicyFlags::default().names_anybody(&device.home));
        assert_eq!(device.policy(&PolicyFlags::default()), Policy::deny_all());
    }

    #[test]
    fn flags_add_to_the_file_and_a_ban_in_the_file_beats_them() {
        let device = Device::new();
        let text = format!(
            "version = 1\n[[rule]]\nname = \"file\"\nwho = [\"{}\"]\nallow = [\"other\"]\n\
             [[ban]]\nname = \"out\"\nwho = [\"{}\"]\n",
            id(2),
            id(3)
        );
        device.write("policy.toml", &text);
        let flags = PolicyFlags {
            anonymous: true,
            ..PolicyFlags::default()
        };
        let loaded = device.load(&flags).unwrap();
        assert!(loaded.has_file && flags.names_anybody(&device.home));
        assert!(PolicyFlags::default().names_anybody(&device.home));
        let policy = &loaded.policy;
        for (peer, action, expected) in [
            (id(2), "other", "allowed by rule \"file\""),
            (id(2), "test", "allowed by --anonymous"),
            (id(3), "test", "denied by ban \"out\""),
        ] {
            let decision = decided(policy, peer, action);
            assert!(decision.starts_with(expected), "{decision}");
        }
    }

    #[test]
    fn a_file_that_is_not_in_order_is_exit_2_with_line_and_key() {
        let device = Device::new();
        device.write("policy.toml", "version = 1\n[[rule]]\nwhom = [\"x\"]\n");
        let failure = device.load(&PolicyFlags::default()).unwrap_err();
        assert_eq!(failure.code(), ExitCode::Usage);
        let line = failure.to_string();
        assert!(
            line.contains("policy.toml") && line.contains("whom"),
            "{line}"
        );
        assert!(line.contains('3'), "{line}");
    }

    #[test]
    fn a_ca_lets_its_members_in_and_the_list_beside_it_takes_them_out() {
        let (device, now) = (Device::new(), SystemTime::now());
        let rng = &mut ChaCha20Rng::from_seed([1; 32]);
        let name = "Home".parse().unwrap();
        let key = DeviceKey::from_seed(&[9; 32]);
        let authority = Authority::create(key, &name, 3650 * DAY, (now, rng)).unwrap();
        let folder = device.dir.path().join("ca");
        let files = AuthorityFiles::in_folder(&folder);
        let rng = &mut ChaCha20Rng::from_seed([2; 32]);
        files.create(&authority, None, rng).unwrap();
        let order = Order {
            device: id(2),
            name: "laptop".parse().unwrap(),
            groups: Vec::new(),
            lifetime: DAY,
        };
        let certificate = authority.issue(&order, now, rng).unwrap();
        let shown = Presented::new(vec![vec![certificate.clone()]], Vec::new()).unwrap();
        let flags = PolicyFlags {
            allow_ca: vec![files.certificate.clone()],
            ..PolicyFlags::default()
        };
        let asked = |policy: &Policy| {
            let credentials = policy.examine(&id(2), &shown, now);
            let decision = policy.decide(&credentials, &Action::new("test"), now);
            decision.is_allowed()
        };
        assert!(asked(&device.policy(&flags)));
        let revoked = Revocation {
            serial: certificate.serial().clone(),
            since: now,
        };
        let list = authority
            .revocation_list(&[revoked], 1, (now, DAY))
            .unwrap();
        list.replace_file(&files.revocation_list).unwrap();
        assert!(!asked(&device.policy(&flags)));
        // Also when policy.toml names the CA without its list.
        device.write(
            "policy.toml",
            "version = 1\n[[ca]]\nname = \"home\"\ncertificate = \"ca/ca.crt\"\n",
        );
        assert!(!asked(&device.policy(&flags)));
        let listed = "version = 1\n[[ca]]\nname = \"home\"\ncertificate = \"ca/ca.crt\"\n\
                      crl = \"list\"\n";
        device.write("policy.toml", listed);
        fs::rename(&files.revocation_list, device.dir.path().join("list")).unwrap();
        assert!(!asked(&device.policy(&flags)), "the list of the file stays");
    }

    #[test]
    fn a_ca_that_is_missing_is_exit_2_and_one_that_is_none_is_exit_5() {
        let device = Device::new();
        let code = |path: PathBuf| {
            let flags = PolicyFlags {
                allow_ca: vec![path],
                ..PolicyFlags::default()
            };
            device.load(&flags).unwrap_err().code()
        };
        assert_eq!(code(device.dir.path().join("none.crt")), ExitCode::Usage);
        assert_eq!(code(device.write("bad.crt", "nothing")), ExitCode::Identity);
    }

    #[test]
    fn tests_of_the_policy_that_fail_are_a_complaint() {
        let device = Device::new();
        let text = format!(
            "version = 1\n[[test]]\npeer = \"{}\"\naction = \"test\"\nexpect = \"allow\"\n",
            id(2)
        );
        device.write("policy.toml", &text);
        let policy = device.policy(&PolicyFlags::default());
        assert_eq!(
            complaint(&policy).as_deref(),
            Some("1 of the 1 tests in policy.toml fail; see: crtmgr policy check")
        );
        assert_eq!(complaint(&Policy::deny_all()), None);
    }
}
