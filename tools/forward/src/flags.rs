//! `-L`, `-R` and `-D` on a command line.

use std::net::SocketAddr;

use clap::Args;
use dhtnet_cli::Failure;

use crate::forward::Forwards;
use crate::forward_spec::{Forward, parse_listen_address};

/// What is forwarded between this side and a peer.
#[derive(Args, Clone, Debug, Default)]
pub struct ForwardFlags {
    /// Lead a local port to a target behind the peer; repeatable. BIND is 127.0.0.1 unless given
    /// (* = all addresses); PORT 0 is chosen and told; unix:/PATH on either side; udp:HOST:PORT
    #[arg(short = 'L', long = "forward", value_name = "[BIND:]PORT:HOST:PORT")]
    pub forwards: Vec<Forward>,

    /// Lead a port of the peer to a target on this side; repeatable. The peer's policy must allow it
    /// (dnc: --allow-bind there)
    #[arg(short = 'R', long = "reverse", value_name = "[BIND:]PORT:HOST:PORT")]
    pub reverse: Vec<Forward>,

    // The help is apart: rustdoc takes its brackets for a link.
    #[arg(
        help = "Be a SOCKS5 server on this port, for targets behind the peer; names are looked up \
                there; repeatable",
        short = 'D',
        long = "socks",
        value_name = "[BIND:]PORT",
        value_parser = parse_listen_address
    )]
    #[allow(missing_docs, reason = "its help says what it is")]
    pub socks: Vec<SocketAddr>,
}

/// What the ports of `-L` and `-R` carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// What each of them says.
    AsNamed,
    /// UDP, all of them (`-u`).
    Datagrams,
}

impl ForwardFlags {
    /// Whether there is nothing to forward.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.forwards.is_empty() && self.reverse.is_empty() && self.socks.is_empty()
    }

    /// What is asked for.
    ///
    /// # Errors
    /// Exit code 2 for a Unix socket that was to carry UDP.
    pub fn wanted(&self, carried: Carried) -> Result<Forwards, Failure> {
        let over = |forwards: &[Forward]| -> Result<Vec<Forward>, Failure> {
            let all = forwards.iter().map(|forward| match carried {
                Carried::AsNamed => Ok(forward.clone()),
                Carried::Datagrams => forward.over_udp(),
            });
            all.collect::<Result<_, _>>()
                .map_err(|error| Failure::usage(format!("-u: {error}")))
        };
        Ok(Forwards {
            local: over(&self.forwards)?,
            reverse: over(&self.reverse)?,
            socks: self.socks.clone(),
        })
    }
}
