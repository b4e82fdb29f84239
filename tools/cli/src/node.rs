//! Opening a node as the flags say, and the words for connections that fail.

mod follow;
mod relays;

use dhtnet::dht::{Bootstrap, DhtSettings, Participation};
use dhtnet::{BuildError, ChannelError, ConnectError, ConnectStep, DeclineCode, DeclineReason};
use dhtnet::{EndReason, Node, NodeBuilder, Service};
use dhtnet_identity::policy::Policy;
use dhtnet_identity::{DeviceId, DeviceKey};

use crate::failure::chain;
use crate::flags::{DhtFlags, NetworkFlags, Seed};
use crate::{ExitCode, Failure, Home, Peer, credentials};

pub use follow::CredentialWatch;

/// What a node is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It waits for others, and takes part in the DHT.
    Listener,
    /// It calls one peer and is gone again: it only asks.
    Caller,
}

impl DhtFlags {
    /// The DHT node that the flags ask for; none for a caller that knows nobody to ask, and for
    /// `--bootstrap none` outside a private network: such a device answers no stranger at all.
    ///
    /// # Errors
    /// Exit code 2 if the flags contradict each other.
    pub fn settings(&self, home: &Home, role: Role) -> Result<Option<DhtSettings>, Failure> {
        let seeds = self.seeds()?;
        if seeds.is_empty() && (role == Role::Caller || self.network.is_none()) {
            return Ok(None);
        }
        let bootstrap = seeds.into_iter().map(|seed| match seed {
            Seed::Mainline => Bootstrap::Mainline,
            Seed::Host(host) => match host.parse() {
                Ok(address) => Bootstrap::Address(address),
                Err(_) => Bootstrap::Host(host),
            },
        });
        let mut settings = DhtSettings::default()
            .bootstrap(bootstrap)
            .node_cache(home.state().join(self.cache_file_name()));
        if role == Role::Caller {
            settings = settings.participation(Participation::ReadOnly);
        }
        if let Some(name) = &self.network {
            settings = settings.network(name.as_str());
        }
        Ok(Some(settings))
    }
}

impl NetworkFlags {
    /// A node for the device with this key. `services` are those that it looks for; as the first it is
    /// found if it listens ([`NetworkFlags::services`]).
    ///
    /// # Errors
    /// Exit code 1, 2 if the address of `--bind` cannot be used, 5 if a certificate or a capability
    /// of this device cannot.
    pub async fn open_node(
        &self,
        key: DeviceKey,
        policy: Policy,
        place: (&Home, Role, &[Service]),
    ) -> Result<Node, Failure> {
        self.open_node_with(key, policy, place, |node| node).await
    }

    /// As [`NetworkFlags::open_node`], with settings of the tool's own.
    ///
    /// # Errors
    /// As [`NetworkFlags::open_node`].
    pub async fn open_node_with(
        &self,
        key: DeviceKey,
        policy: Policy,
        (home, role, services): (&Home, Role, &[Service]),
        settle: impl FnOnce(NodeBuilder) -> NodeBuilder,
    ) -> Result<Node, Failure> {
        let credentials = credentials::load(&self.certificate, home, &key.id())?;
        let mut node = Node::builder(key)
            .bind(self.dht.bind)
            .credentials(credentials)
            .policy(policy)
            .mdns(!self.no_mdns)
            .port_mapping(!self.no_portmap)
            .path(self.relays.preference())
            .service(services.first().cloned().unwrap_or_default())
            .look_for(services.iter().cloned())
            .other_services(self.other_services());
        for server in self.relays.turn.servers()? {
            node = node.turn(server);
        }
        for server in &self.relays.stun {
            node = node.stun(server.as_str());
        }
        if let Some(settings) = self.dht.settings(home, role)? {
            node = node.dht(settings);
        }
        settle(node).build().await.map_err(|error| {
            let failure = Failure::failed(format!("cannot start: {}", chain(&error)));
            match error {
                BuildError::Bind { .. } => failure.advise("try another --bind ADDR:PORT"),
                _ => failure,
            }
        })
    }
}

/// What to tell the user when connecting failed. `own` is this device, which the peer's user may
/// have to allow; `asked` is what was asked for, in the user's words.
pub fn connect_failure(peer: &Peer, own: DeviceId, asked: &str, error: &ConnectError) -> Failure {
    let unreachable = || {
        Failure::new(
            ExitCode::Unreachable,
            format!("cannot reach {peer}: {}", chain(error)),
        )
    };
    match error {
        ConnectError::SelfConnect => {
            Failure::usage(format!("cannot connect to {peer}: {error}")).advise("name another peer")
        }
        ConnectError::NotFound { relays, .. } | ConnectError::Unreachable { relays, .. }
            if !relays.is_empty() =>
        {
            unreachable().advise(relays[0].error.next_step())
        }
        ConnectError::NotFound { others, .. } | ConnectError::Unreachable { others, .. }
            if !others.is_empty() =>
        {
            unreachable().advise(
                "the device is running, but not what is asked for: start that there (-l), with the \
                 same --service if one is named",
            )
        }
        ConnectError::NotFound { .. } => unreachable().advise(
            "check that it is running and in the same DHT (--bootstrap, --network), or give \
                 its address: PEER@IP:PORT",
        ),
        ConnectError::Unreachable { .. } => {
            unreachable().advise("check its address and its id, and that UDP is let through to it")
        }
        ConnectError::TimedOut {
            step: ConnectStep::Open,
            ..
        } => unreachable().advise("it is connected but does not answer; try again, or a longer -w"),
        ConnectError::TimedOut { .. } => unreachable().advise("try again, or a longer -w"),
        ConnectError::Refused { .. } => refused(peer, own),
        ConnectError::Declined { reason, .. } => decline_failure(peer, own, asked, reason),
        ConnectError::Handshake { .. } => Failure::new(
            ExitCode::Identity,
            format!("cannot connect to {peer}: {}", chain(error)),
        )
        .advise("check that both sides run a current version"),
        ConnectError::Lost { reason, .. } => end_failure(peer, own, reason),
        _ => Failure::failed(format!("cannot connect to {peer}: {}", chain(error))),
    }
}

/// What to tell the user when a channel that was open failed.
pub fn channel_failure(peer: &Peer, own: DeviceId, asked: &str, error: &std::io::Error) -> Failure {
    match ChannelError::from_io(error) {
        // What was given and is taken back has no message.
        Some(ChannelError::Declined(reason))
            if reason.code() == DeclineCode::Policy && reason.message().is_empty() =>
        {
            let what = format!("{peer} ended {asked}: its policy no longer allows that");
            Failure::new(ExitCode::Refused, what)
                .advise(format!("ask its owner to allow {own} again"))
        }
        Some(ChannelError::Declined(reason)) => decline_failure(peer, own, asked, reason),
        Some(ChannelError::ConnectionLost(reason)) => end_failure(peer, own, reason),
        _ => Failure::failed(format!("the channel to {peer} failed: {error}")),
    }
}

/// What to tell the user when the peer declined a channel.
pub fn decline_failure(peer: &Peer, own: DeviceId, asked: &str, reason: &DeclineReason) -> Failure {
    let words = match reason.message() {
        "" => reason.code().to_string(),
        message => message.to_owned(),
    };
    match reason.code() {
        DeclineCode::Policy => Failure::new(
            ExitCode::Refused,
            // The message of a refusal names the action.
            match reason.message() {
                "" => format!("{peer} refused {asked}: its policy does not allow that"),
                action => format!("{peer} refused {asked}: {action} by its policy"),
            },
        )
        .advise(format!("ask its owner to allow {own}")),
        DeclineCode::TargetFailed => Failure::new(
            ExitCode::Target,
            format!("the target behind {peer} failed: {words}"),
        )
        .advise("check the target there"),
        DeclineCode::NoListener => Failure::failed(format!(
            "{peer} is running, but nothing there listens for this"
        ))
        .advise("start the listening side there (-l)"),
        DeclineCode::Busy => {
            Failure::failed(format!("{peer} is busy: {words}")).advise("try again later")
        }
        DeclineCode::ShuttingDown => {
            Failure::failed(format!("{peer} is shutting down")).advise("start it again there")
        }
        _ => Failure::failed(format!("{peer} declined: {words}"))
            .advise("check that both sides run a current version"),
    }
}

fn end_failure(peer: &Peer, own: DeviceId, reason: &EndReason) -> Failure {
    match reason {
        EndReason::Refused => refused(peer, own),
        EndReason::NoLongerAllowed => Failure::failed(format!(
            "the policy here no longer allows what {peer} was given"
        ))
        .advise("the connection was cut; see policy.toml"),
        EndReason::Busy => Failure::failed(format!("cannot talk to {peer}: {reason}"))
            .advise("try again in a few seconds"),
        EndReason::Version => Failure::failed(format!("cannot talk to {peer}: {reason}"))
            .advise("update the older one"),
        _ => Failure::failed(format!("lost the connection to {peer}: {reason}"))
            .advise("check that it is still running"),
    }
}

fn refused(peer: &Peer, own: DeviceId) -> Failure {
    Failure::new(
        ExitCode::Refused,
        format!("{peer} refused: its policy does not allow this device"),
    )
    .advise(format!("on the peer, allow it with: --allow {own}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use dhtnet_identity::PeerAddress;

    use super::*;

    fn own() -> DeviceId {
        DeviceKey::from_seed(&[2; 32]).id()
    }

    fn peer() -> Peer {
        let id = DeviceKey::from_seed(&[1; 32]).id();
        Peer {
            address: PeerAddress::from(id),
            name: Some("home".to_owned()),
        }
    }

    /// The line with both ids shortened to names, and the exit code.
    fn worded(failure: &Failure) -> (u8, String) {
        let line = failure.to_string();
        let line = line.replace(&peer().address.id.short().to_string(), "HOME");
        (
            failure.code().number(),
            line.replace(&own().to_string(), "OWN"),
        )
    }

    #[test]
    fn every_error_of_connecting_has_its_exit_code_and_a_next_step() {
        let id = peer().address.id;
        let after = Duration::from_secs(5);
        let declined = |code, message: &str| ConnectError::Declined {
            peer: id,
            reason: DeclineReason::new(code, message),
        };
        let cases = [
            (
                ConnectError::SelfConnect,
                2,
                "cannot connect to home (HOME…): the id is this device's own; name another peer",
            ),
            (
                ConnectError::NotFound {
                    peer: id,
                    tried: vec!["hints", "mdns"],
                    others: Vec::new(),
                    relays: Vec::new(),
                },
                3,
                "cannot reach home (HOME…): no address of the peer was found (asked: hints, mdns); \
                 check that it is running and in the same DHT (--bootstrap, --network), or give \
                 its address: PEER@IP:PORT",
            ),
            (
                ConnectError::NotFound {
                    peer: id,
                    tried: vec!["mdns"],
                    others: vec![Service::new("dsh").unwrap(), Service::new("dvpn").unwrap()],
                    relays: Vec::new(),
                },
                3,
                "cannot reach home (HOME…): no address of the peer was found (asked: mdns); it is \
                 there as dsh, dvpn; the device is running, but not what is asked for: start that \
                 there (-l), with the same --service if one is named",
            ),
            (
                ConnectError::Unreachable {
                    peer: id,
                    addresses: vec!["10.0.0.2:4433".parse().unwrap()],
                    others: Vec::new(),
                    relays: Vec::new(),
                    after,
                },
                3,
                "cannot reach home (HOME…): no answer from 10.0.0.2:4433 within 5.0 s; \
                 check its address and its id, and that UDP is let through to it",
            ),
            (
                ConnectError::TimedOut {
                    peer: id,
                    step: ConnectStep::Open,
                    after,
                },
                3,
                "cannot reach home (HOME…): not connected within 5.0 s; the time ran out waiting \
                 for it to accept the channel; \
                 it is connected but does not answer; try again, or a longer -w",
            ),
            (
                ConnectError::Refused { peer: id },
                4,
                "home (HOME…) refused: its policy does not allow this device; \
                 on the peer, allow it with: --allow OWN",
            ),
            (
                declined(DeclineCode::Policy, ""),
                4,
                "home (HOME…) refused h:22: its policy does not allow that; \
                 ask its owner to allow OWN",
            ),
            (
                declined(DeclineCode::Policy, "dnc.target h:22 is not allowed"),
                4,
                "home (HOME…) refused h:22: dnc.target h:22 is not allowed by its policy; \
                 ask its owner to allow OWN",
            ),
            (
                declined(
                    DeclineCode::TargetFailed,
                    "127.0.0.1:22: connection refused",
                ),
                6,
                "the target behind home (HOME…) failed: 127.0.0.1:22: connection refused; \
                 check the target there",
            ),
            (
                declined(DeclineCode::NoListener, ""),
                1,
                "home (HOME…) is running, but nothing there listens for this; \
                 start the listening side there (-l)",
            ),
            (
                declined(DeclineCode::Busy, ""),
                1,
                "home (HOME…) is busy: the peer is busy; try again later",
            ),
            (
                ConnectError::Handshake {
                    peer: id,
                    reason: EndReason::Handshake("bad".into()),
                },
                5,
                "cannot connect to home (HOME…): the handshake failed: bad; \
                 check that both sides run a current version",
            ),
            (
                ConnectError::Lost {
                    peer: id,
                    reason: EndReason::TimedOut,
                },
                1,
                "lost the connection to home (HOME…): nothing was heard from the peer for too \
                 long; check that it is still running",
            ),
        ];
        for (error, code, line) in cases {
            let failure = connect_failure(&peer(), own(), "h:22", &error);
            assert_eq!(worded(&failure), (code, line.to_owned()));
        }
    }

    #[test]
    fn a_refusal_after_an_early_open_has_the_same_exit_codes() {
        let failure = |error: ChannelError| {
            channel_failure(&peer(), own(), "h:22", &std::io::Error::from(error))
                .code()
                .number()
        };
        let policy = DeclineReason::from(DeclineCode::Policy);
        let target = DeclineReason::from(DeclineCode::TargetFailed);
        assert_eq!(failure(ChannelError::Declined(policy)), 4);
        assert_eq!(failure(ChannelError::Declined(target)), 6);
        assert_eq!(failure(ChannelError::ConnectionLost(EndReason::Refused)), 4);
        assert_eq!(
            failure(ChannelError::ConnectionLost(EndReason::PortClosed)),
            1
        );
        assert_eq!(failure(ChannelError::Reset(7)), 1);
        let cut = ChannelError::Declined(DeclineReason::from(DeclineCode::Policy));
        let cut = channel_failure(&peer(), own(), "h:22", &std::io::Error::from(cut));
        let line = "home (HOME…) ended h:22: its policy no longer allows that; \
                    ask its owner to allow OWN again";
        assert_eq!(worded(&cut), (4, line.to_owned()));
    }
}
