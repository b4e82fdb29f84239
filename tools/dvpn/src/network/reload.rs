//! Taking up a changed configuration while the network is up.

use std::sync::Arc;

use dhtnet_cli::own_identity::load_contacts;
use dhtnet_cli::policy::{LivePolicy, Place};
use dhtnet_cli::{Failure, Home};
use dhtnet_identity::Contacts;

use super::{UpNetwork, demand_somebody, part, policy};
use crate::configuration::{Configured, configured};
use crate::flags::Flags;

/// What reading the configuration again takes.
pub(super) struct Reload {
    pub(super) typed: Flags,
    pub(super) home: Home,
    pub(super) role: &'static str,
}

impl UpNetwork {
    /// Reads the configuration again. What cannot be changed while it is up is told; with a mistake,
    /// or when the system cannot be made so, everything stays as it is.
    ///
    /// # Errors
    /// The network is up no more.
    pub(super) fn reload(&mut self) -> Result<(), Failure> {
        let read = || -> Result<(Configured, LivePolicy, Contacts), Failure> {
            let home = &self.reload.home;
            let contacts = load_contacts(home)?;
            let configured = configured(&self.reload.typed, &contacts)?;
            let part = part(&configured.flags, &contacts)?;
            demand_somebody(&configured.flags, &part, &configured.settings, home)?;
            let own = self.session.node.id();
            let policy = policy(
                &configured.flags,
                &configured.settings,
                &Place { home, own },
            )?;
            Ok((configured, policy, contacts))
        };
        let talk = self.session.talk.clone();
        let stays = |failure: &Failure| {
            talk.warn(format_args!("the configuration stays as it was: {failure}"));
        };
        let (configured, policy, contacts) = match read() {
            Ok(read) => read,
            Err(failure) => {
                stays(&failure);
                return Ok(());
            }
        };
        let mut settings = configured.settings;
        let former = (self.session.settings(), self.session.contacts());
        if !settings.is_reachable_from(&former.0) {
            talk.warn(
                "the interface, its mtu, the network, the pool and fixed addresses stay until dvpn \
                 down and up",
            );
            settings.keep_fixed_of(&former.0);
        }
        let settings = Arc::new(settings);
        let set_policy = policy.policy();
        self.session.want(settings.clone(), former.1.clone());
        if self.instance.is_none()
            && let Err(failure) = self.settle()
        {
            self.session.want(former.0, former.1);
            if !self.is_up() {
                return Err(failure);
            }
            stays(&failure);
            return Ok(());
        }
        self.session.node.set_policy(set_policy);
        self.policy = policy.watch(&self.session.node, &talk);
        self.session.engine.set_between(settings.between);
        // With the new policy in force: a server asks it about each client again.
        self.session.want(settings, Arc::new(contacts));
        talk.note("took the configuration up anew");
        Ok(())
    }
}
