//! Showing what the files of this device hold now: a renewed certificate, a capability that came.

use std::path::PathBuf;
use std::time::Duration;

use dhtnet::Node;
use dhtnet_identity::policy::Presented;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::flags::NetworkFlags;
use crate::{Home, Talk, credentials};

/// Time between two looks at the files. A renewal comes days before the end of what it renews.
const LOOK: Duration = Duration::from_secs(3);

/// Shows other credentials when the files change, until it is dropped.
#[derive(Debug)]
pub struct CredentialWatch(JoinHandle<()>);

impl Drop for CredentialWatch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl NetworkFlags {
    /// Keeps what `node` shows at what the files of [`NetworkFlags::open_node`] hold. Files that
    /// cannot be used change nothing and are told once. Must be called inside a runtime.
    #[must_use = "the files are watched as long as this lives"]
    pub fn follow_credentials(&self, node: &Node, home: &Home, talk: &Talk) -> CredentialWatch {
        let own = node.id();
        let shown = credentials::load_quietly(&self.certificate, home, &own);
        let (shown, notices) = shown.unwrap_or_default();
        let following = Following {
            named: self.certificate.clone(),
            home: home.clone(),
            node: node.clone(),
            talk: talk.clone(),
            shown,
            notices,
            trouble: Trouble::default(),
        };
        CredentialWatch(tokio::spawn(following.run()))
    }
}

struct Following {
    named: Vec<PathBuf>,
    home: Home,
    node: Node,
    talk: Talk,
    shown: Presented,
    /// What was told about what is shown: of an end that comes near, once a day.
    notices: Vec<String>,
    trouble: Trouble,
}

/// Files that cannot be used, at the last look, and as they were told.
#[derive(Default)]
struct Trouble {
    seen: Option<String>,
    told: Option<String>,
}

impl Following {
    async fn run(mut self) {
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look();
        }
    }

    fn look(&mut self) {
        match credentials::load_quietly(&self.named, &self.home, &self.node.id()) {
            Ok((shown, notices)) => {
                self.trouble = Trouble::default();
                for notice in notices.iter().filter(|one| !self.notices.contains(one)) {
                    self.talk.warn(notice);
                }
                self.notices = notices;
                if shown == self.shown {
                    return;
                }
                self.node.set_credentials(&shown);
                self.shown = shown;
                self.talk
                    .detail("the credentials of this device were read again");
            }
            Err(failure) => {
                let trouble = Some(failure.to_string());
                // Once it stands still: a file may be half written.
                if trouble == self.trouble.seen && trouble != self.trouble.told {
                    self.talk.warn(format_args!(
                        "the credentials of before are shown on: {failure}"
                    ));
                    self.trouble.told.clone_from(&trouble);
                }
                self.trouble.seen = trouble;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.

    use std::fs;
    use std::time::SystemTime;

    use dhtnet_identity::DeviceKey;
    use dhtnet_identity::capability::{Capability, Terms};
    use dhtnet_identity::certificate::{Authority, Order};
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::Verbosity;
    use crate::talk::Captured;

    #[tokio::test]
    async fn a_certificate_whose_end_comes_near_meanwhile_is_told_once_a_day() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::in_folder(dir.path());
        let (key, rng) = (
            DeviceKey::from_seed(&[1; 32]),
            &mut ChaCha20Rng::from_seed([8; 32]),
        );
        let (name, now) = ("Home".parse().unwrap(), SystemTime::now());
        let day = Duration::from_secs(86_400);
        let ca = DeviceKey::from_seed(&[9; 32]);
        let ca = Authority::create(ca, &name, day * 365, (now, &mut *rng)).unwrap();
        let order = Order {
            device: key.id(),
            name,
            groups: Vec::new(),
            lifetime: day * 3 + day / 2,
        };
        let certificate = ca.issue(&order, now, rng).unwrap();
        fs::write(home.certificate_file(), certificate.to_pem()).unwrap();
        let node = Node::builder(key).bind("127.0.0.1:0".parse().unwrap());
        let node = node.mdns(false).build().await.unwrap();
        let said = Captured::default();
        let mut following = Following {
            named: Vec::new(),
            home,
            node,
            talk: Talk::new("dnc", Box::new(said.clone())),
            shown: Presented::new(vec![vec![certificate]], Vec::new()).unwrap(),
            // As of a day before.
            notices: vec!["ends in 4 days".to_owned()],
            trouble: Trouble::default(),
        };
        following.look();
        following.look();
        let said = said.text();
        assert!(
            said.lines().count() == 1 && said.contains("ends in 3 days"),
            "{said}"
        );
    }

    #[tokio::test]
    async fn a_capability_that_comes_is_shown_and_a_broken_one_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::in_folder(dir.path());
        let key = DeviceKey::from_seed(&[1; 32]);
        let node = Node::builder(key.clone())
            .bind("127.0.0.1:0".parse().unwrap())
            .mdns(false)
            .build()
            .await
            .unwrap();
        let said = Captured::default();
        let talk = Talk::new("dnc", Box::new(said.clone())).with_verbosity(Verbosity::Verbose);
        let mut following = Following {
            named: Vec::new(),
            home: home.clone(),
            node,
            talk,
            shown: Presented::default(),
            notices: Vec::new(),
            trouble: Trouble::default(),
        };
        following.look();
        assert_eq!(said.text(), "");

        let terms = Terms {
            permissions: vec!["test".parse().unwrap()],
            until: SystemTime::now() + Duration::from_secs(3_600),
            delegable: 0,
        };
        let rng = &mut ChaCha20Rng::from_seed([8; 32]);
        let capability = Capability::grant(&key, key.id(), &terms, rng).unwrap();
        let file = home.capabilities_folder().join("one.cap");
        fs::create_dir(home.capabilities_folder()).unwrap();
        fs::write(&file, capability.to_string()).unwrap();
        following.look();
        following.look();
        assert_eq!(following.shown.capabilities().len(), 1);
        assert_eq!(said.text().lines().count(), 1);

        fs::write(&file, "cap1").unwrap();
        following.look();
        assert_eq!(said.text().lines().count(), 1, "it may be half written");
        following.look();
        following.look();
        let said = said.text();
        assert_eq!(said.lines().count(), 2, "{said}");
        assert!(said.lines().last().unwrap().contains("one.cap"), "{said}");
        assert_eq!(following.shown.capabilities().len(), 1);
    }
}
