//! What happens to routers while devices talk through them.

use std::time::Duration;

use super::NatRouter;
use crate::home_router::{RouterError, load};

/// Longest that a program on the router may take.
const LIMIT: Duration = Duration::from_secs(10);

impl NatRouter {
    /// Forgets every connection, as after a loss of power, and gives other ports from now on.
    ///
    /// # Errors
    /// [`RouterError::Missing`] without conntrack.
    pub fn restart(&self) -> Result<(), RouterError> {
        let rules = "flush chain inet upnp postrouting\n\
                     add rule inet upnp postrouting meta nfproto ipv4 oifname \"wan\" \
                     meta l4proto udp masquerade to :20000-29999\n\
                     add rule inet upnp postrouting meta nfproto ipv4 oifname \"wan\" masquerade\n";
        load(self.host(), rules)?;
        self.forget()
    }

    /// Forgets every connection.
    ///
    /// # Errors
    /// As [`NatRouter::restart`].
    pub fn forget(&self) -> Result<(), RouterError> {
        crate::ssh::find("conntrack").ok_or(RouterError::Missing("conntrack"))?;
        self.run("conntrack", &["-F"])
    }

    /// Lets so many megabits a second through in each direction, with a queue of 50 ms.
    ///
    /// # Errors
    /// [`RouterError::Rules`] with what `tc` said.
    pub fn set_rate(&self, megabits: u32) -> Result<(), RouterError> {
        let rate = format!("{megabits}mbit");
        for interface in ["wan", "home"] {
            let place = ["qdisc", "replace", "dev", interface, "root", "tbf"];
            let shape = ["rate", &rate, "burst", "256kb", "latency", "50ms"];
            self.run("tc", &[&place[..], &shape[..]].concat())?;
        }
        Ok(())
    }

    /// Lets nothing through between the outside and this address there, until it is called again
    /// with nothing.
    ///
    /// # Errors
    /// [`RouterError::Rules`].
    pub fn cut_off(&self, remotes: &[std::net::IpAddr]) -> Result<(), RouterError> {
        let drops = remotes
            .iter()
            .map(|remote| format!(" ip saddr {remote} drop\n ip daddr {remote} drop\n"));
        let drops: String = drops.collect();
        let rules = format!(
            "table ip cut {{\n}}\ndelete table ip cut\ntable ip cut {{\n chain forward {{\n \
             type filter hook forward priority -10\n{drops} }}\n}}\n"
        );
        load(self.host(), &rules)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<(), RouterError> {
        let command = self.host().command(program).args(arguments);
        let done = command.start()?.finish(LIMIT)?;
        match done.code() {
            Some(0) => Ok(()),
            _ => Err(RouterError::Rules(done.stderr)),
        }
    }
}
