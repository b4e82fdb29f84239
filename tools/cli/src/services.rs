//! The services as which the tools are found, and that each is there once: who calls a device reaches
//! one of its listeners, so two that are found alike would shadow each other.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dhtnet::{PathPreference, Service};
use dhtnet_identity::{DeviceId, atomic_file};
use rustix::fs::{FlockOperation, flock};

use crate::flags::{NetworkFlags, ServiceName};
use crate::node::Role;
use crate::{Failure, Home};

/// `dnc -l` that serves targets and places.
pub const DNC: &str = "dnc";

/// `dnc -l` that joins its streams to a peer.
pub const DNC_PIPE: &str = "dnc.pipe";

/// `dsh -l`.
pub const DSH: &str = "dsh";

/// `dvpn`, server or member.
pub const DVPN: &str = "dvpn";

/// All that a device may be found as, likely ones first.
pub const ALL: [&str; 4] = [DNC, DSH, DVPN, DNC_PIPE];

/// How long a listener may take to end after it was told to, its good-byes included.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often is looked whether it has.
const LOOK: Duration = Duration::from_millis(100);

impl NetworkFlags {
    /// These services of a tool, under the name of `--service` if one was given.
    pub fn services(&self, tool: &[&str]) -> Vec<Service> {
        let named = |tool: &&str| named(tool, self.service.as_ref().map(ServiceName::as_str));
        tool.iter().filter_map(named).collect()
    }

    /// What else may show that a device is there.
    pub(crate) fn other_services(&self) -> Vec<Service> {
        let mut all = all();
        if self.service.is_some() {
            all.extend(self.services(&ALL));
        }
        all
    }

    /// Makes sure that no other process listens as `service` with this identity; holds as long as what
    /// it returns lives. A listener that is announced nowhere shadows nobody. One that is about to end
    /// is waited for.
    ///
    /// # Errors
    /// Exit code 2 if there is one.
    pub async fn claim(
        &self,
        service: Option<&Service>,
        own: &DeviceId,
        (home, role): (&Home, Role),
    ) -> Result<Claim, Failure> {
        let is_announced = (!self.no_mdns && self.relays.preference() != PathPreference::Relay)
            || self.dht.settings(home, role)?.is_some();
        let (Role::Listener, true, Some(service)) = (role, is_announced, service) else {
            return Ok(Claim::default());
        };
        let path = lock_path(home, own, service);
        let until = Instant::now() + PATIENCE;
        loop {
            match claim(&path) {
                Ok(Claimed::Ours(lock)) => return Ok(Claim { lock: Some(lock) }),
                Ok(Claimed::Theirs(process)) if Instant::now() >= until => {
                    return Err(taken(service, process));
                }
                Ok(Claimed::Theirs(_)) => tokio::time::sleep(LOOK).await,
                Err(error) => {
                    let path = path.display();
                    tracing::warn!(%path, %error, "cannot tell whether something else listens as this");
                    return Ok(Claim::default());
                }
            }
        }
    }
}

/// All services that the tools have when none was given a name.
pub fn all() -> Vec<Service> {
    let all = ALL.iter();
    all.filter_map(|tool| Service::new(*tool).ok()).collect()
}

/// A service of a tool, with the name that tells it from others of the same tool. `None` for what is
/// no name.
pub fn named(tool: &str, name: Option<&str>) -> Option<Service> {
    let service = match name {
        None => Service::new(tool),
        Some(name) => Service::new(format!("{tool}/{name}")),
    };
    service.ok()
}

/// Keeps others from listening as the same service.
#[derive(Debug, Default)]
pub struct Claim {
    lock: Option<File>,
}

impl Claim {
    /// Whether there was something to claim: a listener that others can find.
    pub fn is_held(&self) -> bool {
        self.lock.is_some()
    }
}

enum Claimed {
    Ours(File),
    /// By the process with this number, if it could be read.
    Theirs(Option<u32>),
}

fn lock_path(home: &Home, own: &DeviceId, service: &Service) -> PathBuf {
    let service = service.as_str().replace('/', "+");
    home.state().join(format!("listening-{own}-{service}.lock"))
}

/// The lock ends with its process, however that ends; the file stays.
fn claim(path: &Path) -> io::Result<Claimed> {
    atomic_file::create_private_parent(path)?;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            // The number is for the words of a refusal; without it the lock is as good.
            let _ = note_process(&mut file);
            Ok(Claimed::Ours(file))
        }
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut text = String::new();
            // Ten digits at most.
            let read = file.take(16).read_to_string(&mut text);
            let process = read.ok().and_then(|_| text.trim().parse().ok());
            Ok(Claimed::Theirs(process))
        }
        Err(error) => Err(error.into()),
    }
}

fn note_process(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn taken(service: &Service, process: Option<u32>) -> Failure {
    let process = process.map_or(String::new(), |number| format!(" (process {number})"));
    Failure::usage(format!(
        "another process{process} listens as {service} with this identity already; peers would reach \
         one of the two by chance"
    ))
    .advise("end it, let one of them serve both, or name this one: --service NAME, here and at the peers")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use clap::Parser;
    use dhtnet_identity::DeviceKey;

    use super::*;

    #[derive(Parser)]
    struct Tool {
        #[command(flatten)]
        network: NetworkFlags,
    }

    fn flags(words: &[&str]) -> NetworkFlags {
        let words = ["t"].iter().chain(words);
        Tool::try_parse_from(words).unwrap().network
    }

    fn names(services: &[Service]) -> Vec<&str> {
        services.iter().map(Service::as_str).collect()
    }

    #[test]
    fn a_name_is_put_behind_the_tool_and_others_without_one_are_known_too() {
        let (plain, named) = (flags(&[]), flags(&["--service", "backup"]));
        assert_eq!(names(&plain.services(&[DSH])), ["dsh"]);
        assert_eq!(
            names(&named.services(&[DNC, DNC_PIPE])),
            ["dnc/backup", "dnc.pipe/backup"]
        );
        assert_eq!(names(&plain.other_services()), ALL);
        assert_eq!(named.other_services().len(), 2 * ALL.len());
        for wrong in ["", "a/b", "a b", &"x".repeat(64)] {
            assert!(Tool::try_parse_from(["t", "--service", wrong]).is_err());
        }
    }

    #[test]
    fn a_service_is_claimed_once_for_each_identity_and_comes_free_with_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::in_folder(dir.path());
        let [one, two] = [1, 2].map(|seed| DeviceKey::from_seed(&[seed; 32]).id());
        let [dsh, named_dsh] = [None, Some("b")].map(|name| named(DSH, name).unwrap());
        let path = lock_path(&home, &one, &dsh);
        let Claimed::Ours(held) = claim(&path).unwrap() else {
            panic!("nobody has it");
        };
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        for other in [
            lock_path(&home, &two, &dsh),
            lock_path(&home, &one, &named_dsh),
        ] {
            assert!(matches!(claim(&other).unwrap(), Claimed::Ours(_)));
        }
        let Claimed::Theirs(process) = claim(&path).unwrap() else {
            panic!("it is held");
        };
        assert_eq!(process, Some(std::process::id()));
        let failure = taken(&dsh, process).to_string();
        assert!(failure.contains("listens as dsh") && failure.contains("--service NAME"));
        drop(held);
        assert!(matches!(claim(&path).unwrap(), Claimed::Ours(_)));
    }

    #[tokio::test]
    async fn the_second_listener_waits_for_the_first_to_end() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::in_folder(dir.path());
        let own = DeviceKey::from_seed(&[1; 32]).id();
        let flags = flags(&["--bootstrap", "none"]);
        let dsh = named(DSH, None).unwrap();
        let place = (&home, Role::Listener);
        let first = flags.claim(Some(&dsh), &own, place).await.unwrap();
        let caller = flags.claim(Some(&dsh), &own, (&home, Role::Caller)).await;
        assert!(!caller.unwrap().is_held());
        let second = async {
            let second = flags.claim(Some(&dsh), &own, place).await;
            assert!(second.unwrap().is_held());
        };
        // The second has looked once when this comes to run.
        let ends = async { drop(first) };
        tokio::join!(second, ends);
    }

    #[tokio::test]
    async fn a_listener_that_is_announced_nowhere_shadows_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::in_folder(dir.path());
        let own = DeviceKey::from_seed(&[1; 32]).id();
        let dsh = named(DSH, None).unwrap();
        let claims = async |words: &[&str]| {
            let flags = flags(words);
            let claim = flags.claim(Some(&dsh), &own, (&home, Role::Listener));
            claim.await.unwrap().is_held()
        };
        assert!(!claims(&["--bootstrap", "none", "--no-mdns"]).await);
        assert!(!claims(&["--bootstrap", "none", "--path", "relay"]).await);
        assert!(claims(&["--bootstrap", "none"]).await);
        assert!(claims(&["--bootstrap", "192.0.2.1:1", "--no-mdns"]).await);
        assert!(claims(&["--bootstrap", "none", "--network", "x", "--no-mdns"]).await);
    }
}
