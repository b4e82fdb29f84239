//! The log, on stderr, for those who ask for it.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::Verbosity;

/// These crates print addresses at every level. A filter that names them overrules this.
const FOREIGN: &str =
    "turn_client_proto=off,turn_server_proto=off,turn_types=off,stun_proto=off,stun_types=off";

/// How a line of the log looks, and where it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people, on stderr.
    #[default]
    Text,
    /// One JSON object a line, on stderr.
    Json,
    /// With its fields to the journal of systemd. Where there is none, text on stderr.
    Journald,
}

/// Sends the log of all crates to stderr, or to the journal. Only the first call of a process has
/// an effect.
///
/// `filter` has the syntax of `RUST_LOG` and is checked by [`parse_filter`]; without one the
/// verbosity decides: warnings of the network layers and the decisions of the policy are part of
/// `-v`, debugging lines of `-vv`.
pub fn start(filter: Option<&str>, verbosity: Verbosity, format: LogFormat) {
    let directives = filter.unwrap_or(match verbosity {
        Verbosity::Quiet => "off",
        // What the user must know is said by the tool itself, in its own words; only of a state
        // file that cannot be used, of a relay, and of a certificate near its end, it knows nothing.
        Verbosity::Normal => {
            "error,dhtnet::dht::saving=warn,dhtnet::relays=warn,dhtnet_cli=warn,\
             mdns_sd=off"
        }
        Verbosity::Verbose => "warn,dhtnet=info,mdns_sd=off",
        Verbosity::Debug => {
            "info,dhtnet=debug,dhtnet_dht_core=debug,dhtnet_secure_transport=debug,\
             dhtnet_channel_mux=debug,dnc=debug,dsh=debug,dvpn=debug,dhtnode=debug"
        }
    });
    let directives = format!("{FOREIGN},{directives}");
    let Ok(filter) = parse_filter(&directives) else {
        return;
    };
    let journal = match format {
        LogFormat::Journald => Some(tracing_journald::layer()),
        LogFormat::Text | LogFormat::Json => None,
    };
    let log = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let is_coloured = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let text = || {
        let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
        lines.with_ansi(is_coloured).compact()
    };
    // A second call of a process changes nothing.
    let _ = match (format, journal) {
        (LogFormat::Json, _) => log.with(lines.json().flatten_event(true)).try_init(),
        (_, Some(Ok(journal))) => log.with(journal).try_init(),
        (_, None) => log.with(text()).try_init(),
        (_, Some(Err(error))) => {
            let started = log.with(text()).try_init();
            tracing::error!(%error, "there is no journal to log to");
            started
        }
    };
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
