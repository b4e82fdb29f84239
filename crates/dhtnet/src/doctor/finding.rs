//! What is told to the user: a list of findings, each with a verdict and a next step.

use std::fmt;
use std::time::Duration;

/// What a finding is about. The names are stable: programs may rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Topic {
    /// Whether a connection by key can work from here: the sum of all.
    Connection,
    /// The directory with identity and state.
    Home,
    /// How many files and sockets this process may open.
    Descriptors,
    /// Whether the clock is right.
    Clock,
    /// The nodes by which the DHT is entered.
    Bootstrap,
    /// Datagrams out and back over IPv4.
    UdpIpv4,
    /// Datagrams out and back over IPv6.
    UdpIpv6,
    /// Whether this host has IPv6 at all.
    Ipv6,
    /// Whether the DHT answers, and how fast.
    Dht,
    /// The addresses under which others see this host.
    External,
    /// Whether the outside address depends on who is sent to (RFC 4787 section 4.1).
    Mapping,
    /// Which outside ports the NAT gives.
    Ports,
    /// Who may send to an outside address (RFC 4787 section 5).
    Filtering,
    /// Whether hosts behind the NAT reach each other by its outside address.
    Hairpin,
    /// Whether there is a second NAT behind the first.
    DoubleNat,
    /// Whether routers here map ports when asked.
    PortMapping,
    /// A TURN server of the command line or configuration.
    Relay,
    /// Relays that are announced in the DHT.
    Relays,
    /// Whether TCP port 443 gets out, for when UDP does not.
    Tcp443,
    /// The longest packet that gets through.
    Mtu,
}

impl Topic {
    /// The name in text and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Home => "home",
            Self::Descriptors => "descriptors",
            Self::Clock => "clock",
            Self::Bootstrap => "bootstrap",
            Self::UdpIpv4 => "udp-ipv4",
            Self::UdpIpv6 => "udp-ipv6",
            Self::Ipv6 => "ipv6",
            Self::Dht => "dht",
            Self::External => "external",
            Self::Mapping => "mapping",
            Self::Ports => "ports",
            Self::Filtering => "filtering",
            Self::Hairpin => "hairpin",
            Self::DoubleNat => "double-nat",
            Self::PortMapping => "port-mapping",
            Self::Relay => "relay",
            Self::Relays => "relays",
            Self::Tcp443 => "tcp-443",
            Self::Mtu => "mtu",
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How good or bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// As it should be, or not needed here.
    Ok,
    /// It works, at a price or not for everybody.
    Weak,
    /// It does not work.
    Broken,
    /// It cannot be said from here.
    Unknown,
}

impl Status {
    /// `ok`, `weak`, `broken` or `unknown`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Weak => "weak",
            Self::Broken => "broken",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What it is about.
    pub topic: Topic,
    /// The verdict.
    pub status: Status,
    /// What was found, in one line.
    pub found: String,
    /// What to do, in one line. There is one for every status but [`Status::Ok`].
    pub next: Option<String>,
    /// What programs may want to know of it without reading the text, by stable names.
    pub details: Vec<(&'static str, Detail)>,
}

/// A value of [`Finding::details`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Detail {
    /// A count, or milliseconds or bytes where the name says so.
    Number(u64),
    /// A word or an address.
    Text(String),
    /// Several of them.
    List(Vec<String>),
}

impl From<u64> for Detail {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Detail {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl Finding {
    pub(super) fn ok(topic: Topic, found: impl Into<String>) -> Self {
        Self {
            topic,
            status: Status::Ok,
            found: found.into(),
            next: None,
            details: Vec::new(),
        }
    }

    pub(super) fn weak(topic: Topic, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self::bad(topic, Status::Weak, found, next)
    }

    pub(super) fn broken(topic: Topic, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self::bad(topic, Status::Broken, found, next)
    }

    pub(super) fn unknown(topic: Topic, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self::bad(topic, Status::Unknown, found, next)
    }

    /// The same with a detail.
    pub(super) fn with(mut self, name: &'static str, detail: impl Into<Detail>) -> Self {
        self.details.push((name, detail.into()));
        self
    }

    /// The same with a list as a detail.
    pub(super) fn with_list(
        mut self,
        name: &'static str,
        items: impl IntoIterator<Item = impl fmt::Display>,
    ) -> Self {
        let items = items.into_iter().map(|item| item.to_string());
        self.details.push((name, Detail::List(items.collect())));
        self
    }

    fn bad(
        topic: Topic,
        status: Status,
        found: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self {
            topic,
            status,
            found: found.into(),
            next: Some(next.into()),
            details: Vec::new(),
        }
    }
}

/// Everything that was found, the sum first.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// One finding for each topic; of [`Topic::Relay`] one for each server.
    pub findings: Vec<Finding>,
    /// How long it took to look.
    pub elapsed: Duration,
}

impl Report {
    /// Whether a connection by key can work from here. Unless [`Status::Broken`], it can.
    #[must_use]
    pub fn connection(&self) -> Status {
        let finding = self.finding(Topic::Connection);
        finding.map_or(Status::Unknown, |finding| finding.status)
    }

    /// The finding about a topic, the first where there are several.
    #[must_use]
    pub fn finding(&self, topic: Topic) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.topic == topic)
    }
}
