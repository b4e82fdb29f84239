//! The log, on stderr, for those who ask for it.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::Verbosity;

/// These crates print addresses at every level. A filter that names them overrules this.
const FOREIGN: &str =
    "turn_client_proto=off,turn_server_proto=off,turn_types=off,stun_proto=off,stun_types=off";

/// Sends the log of all crates to stderr. Only the first call of a process has an effect.
///
/// `filter` has the syntax of `RUST_LOG` and is checked by [`parse_filter`]; without one the
/// verbosity decides: warnings of the network layers are part of `-v`, their debugging lines of
/// `-vv`.
pub fn start(filter: Option<&str>, verbosity: Verbosity) {
    let directives = filter.unwrap_or(match verbosity {
        Verbosity::Quiet => "off",
        // What the user must know is said by the tool itself, in its own words; only of a state
        // file that cannot be used, and of a relay, it knows nothing.
        Verbosity::Normal => "error,dhtnet::dht::saving=warn,dhtnet::relays=warn,mdns_sd=off",
        Verbosity::Verbose => "warn,dhtnet=info,mdns_sd=off",
        Verbosity::Debug => {
            "info,dhtnet=debug,dhtnet_dht_core=debug,dhtnet_secure_transport=debug,\
             dhtnet_channel_mux=debug,dnc=debug,dhtnode=debug"
        }
    });
    let directives = format!("{FOREIGN},{directives}");
    let Ok(filter) = parse_filter(&directives) else {
        return;
    };
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .compact()
        .try_init();
}

/// Checks a filter in the syntax of `RUST_LOG`.
///
/// # Errors
/// The part that is no directive.
pub fn parse_filter(text: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().parse(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_is_no_directive_is_named() {
        assert!(parse_filter("dhtnet=debug,warn").is_ok());
        assert!(parse_filter("dhtnet=loud").is_err());
    }
}
