//! Who may do what on this device: the flags and `policy.toml` together, read again when a file
//! changes.
//!
//! ```text
//! flags.policy.live(&place, &grants)?       at the start; a broken file is exit code 2
//!      ├─ live.policy()                     for the node that is opened
//!      └─ live.watch(&node, &talk)          as long as the node lives
//! ```

mod source;
mod watch;

use std::path::PathBuf;

use dhtnet::Node;
use dhtnet_identity::DeviceId;
use dhtnet_identity::policy::{Grant, Policy, Subject};

use crate::flags::PolicyFlags;
use crate::{Failure, Home, Talk};
use source::{Loaded, Source};

pub use watch::PolicyWatch;

/// Whose policy it is.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The directories of the device, with its contacts and its `policy.toml`.
    pub home: &'a Home,
    /// The device: capabilities that it signed count, unless `policy.toml` says otherwise.
    pub own: DeviceId,
}

/// The policy that the flags and the files give, and what it was made of.
#[derive(Clone, Debug)]
pub struct LivePolicy {
    source: Source,
    loaded: Loaded,
}

impl PolicyFlags {
    /// Whether these flags, or a `policy.toml` in the home, say who may connect.
    pub fn names_anybody(&self, home: &Home) -> bool {
        let named = self.anonymous || !self.allow.is_empty() || !self.allow_ca.is_empty();
        named || home.policy_file().symlink_metadata().is_ok()
    }

    /// For a tool that serves only those who are named.
    ///
    /// # Errors
    /// Exit code 2 if nobody is.
    pub fn demand_somebody(&self, home: &Home) -> Result<(), Failure> {
        if self.names_anybody(home) {
            return Ok(());
        }
        Err(Failure::usage("nobody may connect").advise(
            "name who may with --allow PEER, --allow-ca FILE or policy.toml, or let anyone in with -a",
        ))
    }

    /// The policy of the home's `policy.toml`, with `grants` for everyone that these flags name.
    ///
    /// # Errors
    /// Exit code 2 for a file that is not in order (file, line and key are named) and for a
    /// contact that is unknown, 5 for a CA that cannot be trusted.
    pub fn live(&self, place: &Place<'_>, grants: &[Grant]) -> Result<LivePolicy, Failure> {
        let source = Source::new(self, place, grants);
        let loaded = source.load()?;
        Ok(LivePolicy { source, loaded })
    }

    /// As [`PolicyFlags::live`], with what the tool itself grants to some.
    ///
    /// # Errors
    /// As [`PolicyFlags::live`].
    pub fn live_with(
        &self,
        place: &Place<'_>,
        grants: &[Grant],
        own: Vec<(Subject, Grant)>,
    ) -> Result<LivePolicy, Failure> {
        let source = Source::new(self, place, grants).with(own);
        let loaded = source.load()?;
        Ok(LivePolicy { source, loaded })
    }
}

impl LivePolicy {
    /// The policy as it was read.
    pub fn policy(&self) -> Policy {
        self.loaded.policy.clone()
    }

    /// Whether there is a `policy.toml`.
    pub fn has_file(&self) -> bool {
        self.loaded.has_file
    }

    /// What is wrong with it although it is in order: tests of its own that fail.
    pub fn complaint(&self) -> Option<String> {
        source::complaint(&self.loaded.policy)
    }

    /// The files that it was made of, or would be if they were there.
    pub fn files(&self) -> &[PathBuf] {
        &self.loaded.files
    }

    /// Keeps `node` at the policy that the files say, until the answer is dropped: when one of them
    /// changes, and when the process gets SIGHUP. A file that is not in order changes nothing and
    /// is told once. Must be called inside a runtime.
    #[must_use = "the policy is watched as long as this lives"]
    pub fn watch(self, node: &Node, talk: &Talk) -> PolicyWatch {
        PolicyWatch::start(self, node.clone(), talk.clone())
    }
}
