//! What `dnc -l` serves, and the command to paste that makes use of it.

use std::sync::Arc;

use dhtnet_cli::{ExitCode, Failure, Shutdown};
use dhtnet_forward::Session;
use dhtnet_forward::join::Ending;
use dhtnet_forward::serve::{Offered, Server};
use dhtnet_identity::target::{HostPattern, PortPattern, TargetPattern};
use serde_json::json;

/// Serves until a signal comes.
pub(crate) async fn serve(
    session: Arc<Session>,
    offered: &Offered,
    ending: Ending,
    shutdown: &mut Shutdown,
) -> Result<ExitCode, Failure> {
    let server = Server::listen(&session, ending, offered)?;
    announce(&session, offered)?;
    server.run(shutdown).await
}

fn announce(session: &Session, offered: &Offered) -> Result<(), Failure> {
    let rest = example_words(offered);
    let command = session.peer_command(&rest);
    session.talk.bare(&command);
    session.talk.release();
    let texts =
        |patterns: &[TargetPattern]| patterns.iter().map(ToString::to_string).collect::<Vec<_>>();
    session.report.event(&json!({
        "event": "listening",
        "id": session.node.id().to_string(),
        "addresses": session.node.reachable_addresses(),
        "targets": texts(&offered.targets),
        "binds": texts(&offered.binds),
        "command": command,
    }))
}

/// The words after the peer's name in the command to paste.
fn example_words(offered: &Offered) -> String {
    let udp = |pattern: &TargetPattern| match pattern {
        TargetPattern::Udp { .. } => " -u",
        _ => "",
    };
    match (offered.targets.first(), offered.binds.first()) {
        (Some(target @ TargetPattern::Udp { .. }), _) => format!(" -u -L 0:{}", example(target)),
        (Some(target), _) => format!(" {}", example(target)),
        (None, Some(bind)) => format!("{} -R {}:HOST:PORT", udp(bind), example(bind)),
        (None, None) => String::new(),
    }
}

/// A target that the pattern allows, for the command to paste; what the user still has to choose
/// is in capitals.
fn example(pattern: &TargetPattern) -> String {
    match pattern {
        TargetPattern::Tcp { host, port } | TargetPattern::Udp { host, port } => {
            let host = match host {
                HostPattern::Name(name) => name.clone(),
                HostPattern::Address(std::net::IpAddr::V6(address)) => format!("[{address}]"),
                HostPattern::Address(address) => address.to_string(),
                _ => "HOST".to_owned(),
            };
            match port {
                PortPattern::Exactly(port) => format!("{host}:{port}"),
                _ => format!("{host}:PORT"),
            }
        }
        exact => exact.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_command_to_paste_names_a_target_that_is_allowed() {
        for (pattern, expected) in [
            ("127.0.0.1:22", "127.0.0.1:22"),
            ("[::1]:80", "[::1]:80"),
            ("db.internal:*", "db.internal:PORT"),
            ("10.0.0.0/8:22", "HOST:22"),
            ("unix:/run/app.sock", "unix:/run/app.sock"),
        ] {
            assert_eq!(example(&pattern.parse().unwrap()), expected);
        }
    }

    #[test]
    fn the_words_to_paste_fit_what_is_offered() {
        let words = |targets: &[&str], binds: &[&str]| {
            let parsed = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
            example_words(&Offered {
                targets: parsed(targets),
                binds: parsed(binds),
            })
        };
        assert_eq!(words(&["h:1"], &["127.0.0.1:*"]), " h:1");
        assert_eq!(words(&["udp:h:53"], &[]), " -u -L 0:h:53");
        assert_eq!(words(&[], &["127.0.0.1:*"]), " -R 127.0.0.1:PORT:HOST:PORT");
        assert_eq!(words(&[], &["udp:[::1]:53"]), " -u -R [::1]:53:HOST:PORT");
        assert_eq!(words(&[], &["unix:/s"]), " -R unix:/s:HOST:PORT");
    }
}
