//! What the flags ask for, as plain data. Contradictions end here.

use std::time::Duration;

use dhtnet_cli::Failure;
use dhtnet_cli::node::Role;
use dhtnet_identity::PeerArgument;
use dhtnet_identity::target::{Target, TargetPattern};

use crate::flags::Flags;
use crate::local_forward::LocalForward;

/// What dnc is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Join stdin and stdout to a peer's `dnc -l`, or to a target behind the peer.
    Connect {
        peer: PeerArgument,
        target: Option<Target>,
    },
    /// Join stdin and stdout to the peer that comes.
    Listen {
        keep_open: bool,
        wait: Option<Duration>,
    },
    /// Serve targets to the peers that come.
    Serve { targets: Vec<TargetPattern> },
    /// Lead local ports to targets behind the peer.
    Forward {
        peer: PeerArgument,
        forwards: Vec<LocalForward>,
    },
    /// Try to connect, and say how that went.
    Probe {
        peer: PeerArgument,
        target: Option<Target>,
    },
}

impl Plan {
    /// Whether others call this node.
    pub(crate) fn role(&self) -> Role {
        match self {
            Self::Listen { .. } | Self::Serve { .. } => Role::Listener,
            _ => Role::Caller,
        }
    }
}

/// Which flags stood on the command line itself, so that they must make sense there; the same
/// value from the environment or the file may be meant for another time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Typed {
    pub(crate) policy: bool,
    pub(crate) allow_target: bool,
    pub(crate) timeout: bool,
}

/// Resolves the flags.
///
/// # Errors
/// Exit code 2, naming the flags that contradict each other.
pub(crate) fn plan(flags: &Flags, typed: Typed) -> Result<Plan, Failure> {
    let plan = if flags.listen {
        plan_listener(flags, typed)
    } else {
        plan_client(flags, typed)
    }?;
    let stdout_is_payload = matches!(plan, Plan::Connect { .. } | Plan::Listen { .. });
    if flags.json && stdout_is_payload {
        return Err(Failure::usage(
            "--json needs -z, -L or --allow-target: otherwise stdout is the payload",
        ));
    }
    Ok(plan)
}

fn plan_listener(flags: &Flags, typed: Typed) -> Result<Plan, Failure> {
    let client_flags = [
        (flags.peer.is_some(), "a PEER"),
        (flags.host.is_some() || flags.port.is_some(), "-i and -P"),
        (!flags.forwards.is_empty(), "-L"),
        (flags.probe, "-z"),
    ];
    for (given, name) in client_flags {
        if given {
            return Err(
                Failure::usage(format!("-l waits for peers and does not go with {name}"))
                    .advise("name the peers that may connect with --allow PEER"),
            );
        }
    }
    if !flags.allow_target.is_empty() {
        if flags
            .allow_target
            .iter()
            .any(|target| matches!(target, TargetPattern::Udp { .. }))
        {
            return Err(only_streams());
        }
        return Ok(Plan::Serve {
            targets: flags.allow_target.clone(),
        });
    }
    if flags.no_stdio {
        return Err(Failure::usage("-l with -N has nothing to serve")
            .advise("name targets with --allow-target HOST:PORT"));
    }
    let wait = flags.network.dht.timeout.filter(|_| typed.timeout);
    Ok(Plan::Listen {
        keep_open: flags.keep_open,
        wait,
    })
}

fn plan_client(flags: &Flags, typed: Typed) -> Result<Plan, Failure> {
    let listener_flags = [
        (flags.keep_open, "-k"),
        (typed.policy, "--allow and -a"),
        (typed.allow_target, "--allow-target"),
    ];
    for (given, name) in listener_flags {
        if given {
            return Err(Failure::usage(format!("{name} needs -l")));
        }
    }
    let Some(peer) = flags.peer.clone() else {
        return Err(Failure::usage("a PEER is missing")
            .advise("name one, or wait for one with -l; see dnc --help"));
    };
    let target = target(flags)?;
    if flags.forwards.is_empty() {
        return match (flags.probe, flags.no_stdio) {
            (true, _) => Ok(Plan::Probe { peer, target }),
            (false, true) => Err(Failure::usage("-N has nothing to do without -L")),
            (false, false) => Ok(Plan::Connect { peer, target }),
        };
    }
    if flags.probe || target.is_some() {
        let other = if flags.probe {
            "-z"
        } else {
            "a target for stdin and stdout"
        };
        return Err(Failure::usage(format!("-L does not go with {other}")));
    }
    Ok(Plan::Forward {
        peer,
        forwards: flags.forwards.clone(),
    })
}

/// The target from `HOST:PORT`, or from `-i` and `-P`.
fn target(flags: &Flags) -> Result<Option<Target>, Failure> {
    let target = match (&flags.target, &flags.host, flags.port) {
        (None, None, None) => return Ok(None),
        (Some(target), None, None) => target.clone(),
        (None, Some(host), Some(port)) => {
            let host = if host.contains(':') && !host.starts_with('[') {
                format!("[{host}]")
            } else {
                host.clone()
            };
            format!("{host}:{port}")
                .parse()
                .map_err(|error| Failure::usage(format!("-i {host}: {error}")))?
        }
        (None, _, _) => return Err(Failure::usage("-i and -P belong together")),
        (Some(_), _, _) => {
            return Err(Failure::usage(
                "HOST:PORT and -i, -P say the same thing twice",
            ));
        }
    };
    if matches!(target, Target::Udp { .. }) {
        return Err(only_streams());
    }
    Ok(Some(target))
}

fn only_streams() -> Failure {
    Failure::usage("UDP targets cannot be reached through dnc").advise("name a TCP or unix: target")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;
    use dhtnet_cli::ExitCode;

    use super::*;

    fn planned(words: &str) -> Result<Plan, String> {
        let words = ["dnc"].into_iter().chain(words.split_whitespace());
        let flags = Flags::try_parse_from(words).unwrap();
        let typed = Typed {
            policy: flags.policy.anonymous || !flags.policy.allow.is_empty(),
            allow_target: !flags.allow_target.is_empty(),
            timeout: flags.network.dht.timeout.is_some(),
        };
        plan(&flags, typed).map_err(|failure| {
            assert_eq!(failure.code(), ExitCode::Usage);
            failure.to_string()
        })
    }

    fn home() -> PeerArgument {
        "home".parse().unwrap()
    }

    #[test]
    fn each_form_of_the_command_is_its_own_plan() {
        let ssh: Target = "127.0.0.1:22".parse().unwrap();
        let connect = |target| {
            Ok(Plan::Connect {
                peer: home(),
                target,
            })
        };
        assert_eq!(planned("home"), connect(None));
        assert_eq!(planned("home 127.0.0.1:22"), connect(Some(ssh.clone())));
        assert_eq!(
            planned("-i 127.0.0.1 -P 22 home"),
            connect(Some(ssh.clone()))
        );
        assert_eq!(
            planned("home -i ::1 -P 22"),
            connect(Some("[::1]:22".parse().unwrap()))
        );
        assert_eq!(
            planned("-z home"),
            Ok(Plan::Probe {
                peer: home(),
                target: None
            })
        );
        assert_eq!(
            planned("-z home 127.0.0.1:22"),
            Ok(Plan::Probe {
                peer: home(),
                target: Some(ssh)
            })
        );
        assert_eq!(
            planned("-la"),
            Ok(Plan::Listen {
                keep_open: false,
                wait: None
            })
        );
        assert_eq!(
            planned("-lk --allow home -w 5"),
            Ok(Plan::Listen {
                keep_open: true,
                wait: Some(Duration::from_secs(5))
            })
        );
        assert_eq!(
            planned("-l -N --allow home --allow-target 127.0.0.1:* --allow-target unix:/x"),
            Ok(Plan::Serve {
                targets: vec!["127.0.0.1:*".parse().unwrap(), "unix:/x".parse().unwrap()]
            })
        );
        assert_eq!(
            planned("-N -L 1:h:2 -L 3:h:4 home"),
            Ok(Plan::Forward {
                peer: home(),
                forwards: vec!["1:h:2".parse().unwrap(), "3:h:4".parse().unwrap()]
            })
        );
    }

    #[test]
    fn contradictions_are_named() {
        for (words, expected) in [
            (
                "",
                "a PEER is missing; name one, or wait for one with -l; see dnc --help",
            ),
            (
                "-l home",
                "-l waits for peers and does not go with a PEER; name the peers that may connect with --allow PEER",
            ),
            (
                "-l -z",
                "-l waits for peers and does not go with -z; name the peers that may connect with --allow PEER",
            ),
            (
                "-l -N",
                "-l with -N has nothing to serve; name targets with --allow-target HOST:PORT",
            ),
            ("-k home", "-k needs -l"),
            ("-a home", "--allow and -a needs -l"),
            ("--allow-target h:1 home", "--allow-target needs -l"),
            ("-N home", "-N has nothing to do without -L"),
            (
                "-L 1:h:2 home h:3",
                "-L does not go with a target for stdin and stdout",
            ),
            ("-z -L 1:h:2 home", "-L does not go with -z"),
            ("-i h home", "-i and -P belong together"),
            (
                "-i h -P 1 home h:1",
                "HOST:PORT and -i, -P say the same thing twice",
            ),
            (
                "home udp:h:53",
                "UDP targets cannot be reached through dnc; name a TCP or unix: target",
            ),
            (
                "-la --allow-target udp:h:53",
                "UDP targets cannot be reached through dnc; name a TCP or unix: target",
            ),
            (
                "--json home",
                "--json needs -z, -L or --allow-target: otherwise stdout is the payload",
            ),
        ] {
            assert_eq!(planned(words).unwrap_err(), expected, "dnc {words}");
        }
    }

    #[test]
    fn the_flag_definitions_are_consistent() {
        use clap::CommandFactory;
        Flags::command().debug_assert();
    }
}
