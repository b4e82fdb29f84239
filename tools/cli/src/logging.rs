//! The log, on stderr or in the journal of systemd, for those who ask for it.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::Verbosity;

/// These crates print addresses at every level. A filter that names them overrules this.
const FOREIGN: &str =
    "turn_client_proto=off,turn_server_proto=off,turn_types=off,stun_proto=off,stun_types=off";

/// Where the service manager says which stream is the journal, see systemd.exec(5).
const JOURNAL_STREAM: &str = "JOURNAL_STREAM";

/// What fields of ours are called in the journal, before their names: `DHTNET_PEER`.
const JOURNAL_PREFIX: &str = "DHTNET";

/// How a line of the log looks, and where it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// To the journal if stderr is joined to it, as in a service; else text.
    #[default]
    Auto,
    /// For people, on stderr.
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
/// `-v`, debugging lines of `-vv`. In the journal, which keeps them apart by their fields, the
/// decisions are always.
pub fn start(filter: Option<&str>, verbosity: Verbosity, format: LogFormat) {
    let format = match format {
        LogFormat::Auto if is_journal(io::stderr()) => LogFormat::Journald,
        LogFormat::Auto => LogFormat::Text,
        format => format,
    };
    let directives = filter.unwrap_or(match verbosity {
        Verbosity::Quiet => "off",
        Verbosity::Normal if format == LogFormat::Journald => {
            "error,dhtnet::policy=info,dhtnet::dht::saving=warn,dhtnet::relays=warn,\
             dhtnet_cli=warn,mdns_sd=off"
        }
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
        LogFormat::Journald => {
            let prefix = Some(JOURNAL_PREFIX.to_owned());
            Some(tracing_journald::layer().map(|layer| layer.with_field_prefix(prefix)))
        }
        LogFormat::Auto | LogFormat::Text | LogFormat::Json => None,
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

/// Whether this stream is the journal's, as the service manager says. A program that has another
/// stream there, or inherits the variable, writes to that.
fn is_journal(stream: impl AsFd) -> bool {
    let named = std::env::var(JOURNAL_STREAM).unwrap_or_default();
    let found = rustix::fs::fstat(stream);
    found.is_ok_and(|found| names_stream(&named, (found.st_dev, found.st_ino)))
}

/// Whether `device:inode`, in decimal, names this stream.
fn names_stream(named: &str, (device, inode): (u64, u64)) -> bool {
    let parts = named.split_once(':');
    let numbers = parts.and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    numbers == Some((device, inode))
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
    fn the_journal_is_the_stream_that_the_service_manager_names_and_no_other() {
        assert!(names_stream("8:4711", (8, 4711)));
        for other in [
            "8:4712", "9:4711", "8", "", ":", "8:4711:", "x:4711", "-8:4711",
        ] {
            assert!(!names_stream(other, (8, 4711)), "{other}");
        }
    }

    #[test]
    fn a_filter_that_is_no_directive_is_named() {
        assert!(parse_filter("dhtnet=debug,warn").is_ok());
        assert!(parse_filter("dhtnet=loud").is_err());
    }
}
