//! What the flags ask for, as plain data. Contradictions end here.

use std::time::Duration;

use dhtnet_cli::node::Role;
use dhtnet_cli::{Failure, services};
use dhtnet_forward::flags::Carried;
use dhtnet_forward::forward::{Forwards, Persistence};
use dhtnet_forward::serve::Offered;
use dhtnet_identity::PeerArgument;
use dhtnet_identity::target::Target;

use crate::flags::{Command, Flags};
use crate::ping::{PingFlags, PingPlan};

/// What dnc is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Join stdin and stdout to a peer's `dnc -l`, or to a target behind the peer.
    Connect {
        peer: PeerArgument,
        target: Option<Target>,
        persistence: Persistence,
    },
    /// Join stdin and stdout to the peer that comes.
    Listen {
        keep_open: bool,
        wait: Option<Duration>,
    },
    /// Serve targets, and places to listen, to the peers that come.
    Serve(Offered),
    /// Lead ports of one side to targets on the other.
    Forward {
        peer: PeerArgument,
        forwards: Forwards,
        persistence: Persistence,
    },
    /// Try to connect, and say how that went.
    Probe {
        peer: PeerArgument,
        target: Option<Target>,
    },
    /// Measure round trips.
    Ping(PingPlan),
}

impl Plan {
    /// Whether others call this node.
    pub(crate) fn role(&self) -> Role {
        match self {
            Self::Listen { .. } | Self::Serve(_) => Role::Listener,
            _ => Role::Caller,
        }
    }

    /// What this is found as when it listens, and what it looks for when it calls: a pipe and targets
    /// may be there at the same time. To see whether a peer is there, anything of it will do.
    pub(crate) fn services(&self) -> &'static [&'static str] {
        match self {
            Self::Listen { .. } | Self::Connect { target: None, .. } => &[services::DNC_PIPE],
            Self::Probe { target: None, .. } => &[services::DNC, services::DNC_PIPE],
            Self::Ping(_) => &services::ALL,
            _ => &[services::DNC],
        }
    }
}

/// Which flags stood on the command line itself, so that they must make sense there; the same
/// value from the environment or the file may be meant for another time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Typed {
    pub(crate) policy: bool,
    pub(crate) allow_target: bool,
    pub(crate) allow_bind: bool,
    pub(crate) timeout: bool,
}

/// Resolves the flags.
///
/// # Errors
/// Exit code 2, naming the flags that contradict each other.
pub(crate) fn plan(flags: &Flags, typed: Typed) -> Result<Plan, Failure> {
    if let Some(Command::Ping(ping)) = &flags.command {
        return plan_ping(flags, ping, typed);
    }
    let plan = if flags.listen {
        plan_listener(flags, typed)
    } else {
        plan_client(flags, typed)
    }?;
    let stdout_is_payload = matches!(plan, Plan::Connect { .. } | Plan::Listen { .. });
    if flags.json && stdout_is_payload {
        return Err(Failure::usage(
            "--json needs ping, -z, -L, -R, -D, --allow-target or --allow-bind: otherwise stdout is \
             the payload",
        ));
    }
    Ok(plan)
}

fn plan_ping(flags: &Flags, ping: &PingFlags, typed: Typed) -> Result<Plan, Failure> {
    let others = [
        (flags.peer.is_some(), "another PEER"),
        (flags.listen, "-l"),
        (flags.keep_open, "-k"),
        (flags.no_stdio, "-N"),
        (flags.probe, "-z"),
        (flags.host.is_some() || flags.port.is_some(), "-i and -P"),
        (!flags.forwards.is_empty(), "-L, -R and -D"),
        (flags.retry, "--retry"),
        (typed.policy, "--allow, --allow-ca and -a"),
        (typed.allow_target, "--allow-target"),
        (typed.allow_bind, "--allow-bind"),
    ];
    if let Some((_, name)) = others.iter().find(|(given, _)| *given) {
        return Err(Failure::usage(format!("ping does not go with {name}"))
            .advise("a contact that is called ping comes after --: dnc -- ping"));
    }
    let wait = flags.network.dht.timeout.filter(|_| typed.timeout);
    Ok(Plan::Ping(PingPlan {
        peer: ping.peer.clone(),
        count: ping.count,
        interval: ping.interval,
        until_direct: ping.until_direct.then_some(wait),
        json: ping.json || flags.json,
    }))
}

fn plan_listener(flags: &Flags, typed: Typed) -> Result<Plan, Failure> {
    let client_flags = [
        (flags.peer.is_some(), "a PEER"),
        (flags.host.is_some() || flags.port.is_some(), "-i and -P"),
        (!flags.forwards.is_empty(), "-L, -R and -D"),
        (flags.probe, "-z"),
        (flags.retry, "--retry"),
        (flags.udp, "-u"),
    ];
    for (given, name) in client_flags {
        if given {
            return Err(
                Failure::usage(format!("-l waits for peers and does not go with {name}"))
                    .advise("name the peers that may connect with --allow PEER"),
            );
        }
    }
    if flags.pipe && (typed.allow_target || typed.allow_bind || flags.no_stdio) {
        return Err(Failure::usage(
            "--pipe does not go with --allow-target, --allow-bind and -N",
        ));
    }
    let offers = !flags.allow_target.is_empty() || !flags.allow_bind.is_empty();
    if flags.no_stdio || (offers && !flags.pipe) {
        return Ok(Plan::Serve(Offered {
            targets: flags.allow_target.clone(),
            binds: flags.allow_bind.clone(),
        }));
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
        (flags.pipe, "--pipe"),
        (typed.policy, "--allow, --allow-ca and -a"),
        (typed.allow_target, "--allow-target"),
        (typed.allow_bind, "--allow-bind"),
    ];
    for (given, name) in listener_flags {
        if given {
            let needs = if name.contains(" and ") {
                "need"
            } else {
                "needs"
            };
            return Err(Failure::usage(format!("{name} {needs} -l")));
        }
    }
    let Some(peer) = flags.peer.clone() else {
        return Err(Failure::usage("a PEER is missing")
            .advise("name one, or wait for one with -l; see dnc --help"));
    };
    let target = target(flags)?;
    let persistence = if flags.retry {
        Persistence::ForEver
    } else {
        Persistence::Once
    };
    if flags.forwards.is_empty() {
        return match (flags.probe, flags.no_stdio, flags.udp) {
            (_, _, true) => Err(Failure::usage("-u needs -L or -R")),
            (true, ..) if flags.retry => Err(Failure::usage("--retry does not go with -z")
                .advise("dnc ping waits until the peer is there")),
            (true, ..) => Ok(Plan::Probe { peer, target }),
            (false, true, _) => Err(Failure::usage("-N has nothing to do without -L, -R or -D")),
            (false, false, _) => Ok(Plan::Connect {
                peer,
                target,
                persistence,
            }),
        };
    }
    if flags.probe || target.is_some() {
        let other = if flags.probe {
            "-z"
        } else {
            "a target for stdin and stdout"
        };
        return Err(Failure::usage(format!(
            "-L, -R and -D do not go with {other}"
        )));
    }
    let carried = if flags.udp {
        Carried::Datagrams
    } else {
        Carried::AsNamed
    };
    Ok(Plan::Forward {
        peer,
        forwards: flags.forwards.wanted(carried)?,
        persistence,
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
        return Err(
            Failure::usage("stdin and stdout cannot be joined to a UDP target")
                .advise("lead a local port there with -L"),
        );
    }
    Ok(Some(target))
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
            policy: flags.policy.anonymous
                || !flags.policy.allow.is_empty()
                || !flags.policy.allow_ca.is_empty(),
            allow_target: !flags.allow_target.is_empty(),
            allow_bind: !flags.allow_bind.is_empty(),
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
    fn each_plan_is_found_as_or_looks_for_what_does_its_work() {
        for (words, services) in [
            ("-l", &["dnc.pipe"][..]),
            ("-l -k --pipe", &["dnc.pipe"]),
            ("-l --allow-target h:1", &["dnc"]),
            ("-l -N", &["dnc"]),
            ("home", &["dnc.pipe"]),
            ("home h:1", &["dnc"]),
            ("-L 1:h:1 home", &["dnc"]),
            ("-R 1:h:1 home", &["dnc"]),
            ("-z home h:1", &["dnc"]),
            ("-z home", &["dnc", "dnc.pipe"]),
            ("ping home", &["dnc", "dsh", "dvpn", "dnc.pipe"]),
        ] {
            assert_eq!(planned(words).unwrap().services(), services, "{words}");
        }
    }

    #[test]
    fn each_form_of_the_command_is_its_own_plan() {
        let ssh: Target = "127.0.0.1:22".parse().unwrap();
        let connect = |target| {
            Ok(Plan::Connect {
                peer: home(),
                target,
                persistence: Persistence::Once,
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
            planned("-l --pipe -a"),
            Ok(Plan::Listen {
                keep_open: false,
                wait: None
            })
        );
        assert_eq!(planned("-l -N"), Ok(Plan::Serve(Offered::default())));
        let patterns = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(
            planned("-l -N --allow home --allow-target 127.0.0.1:* --allow-target udp:h:53"),
            Ok(Plan::Serve(Offered {
                targets: patterns(&["127.0.0.1:*", "udp:h:53"]),
                binds: Vec::new(),
            }))
        );
        assert_eq!(
            planned("-la --allow-bind 127.0.0.1:*"),
            Ok(Plan::Serve(Offered {
                targets: Vec::new(),
                binds: patterns(&["127.0.0.1:*"]),
            }))
        );
    }

    #[test]
    fn forwards_of_all_kinds_go_together() {
        let forwards = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(
            planned("-N -L 1:h:2 -L 3:udp:h:4 -R 5:h:6 -D 7 home"),
            Ok(Plan::Forward {
                peer: home(),
                forwards: Forwards {
                    local: forwards(&["1:h:2", "3:udp:h:4"]),
                    reverse: forwards(&["5:h:6"]),
                    socks: vec!["127.0.0.1:7".parse().unwrap()],
                },
                persistence: Persistence::Once,
            })
        );
        assert_eq!(
            planned("-u --retry -L 1:h:2 -R 3:h:4 home"),
            Ok(Plan::Forward {
                peer: home(),
                forwards: Forwards {
                    local: forwards(&["1:udp:h:2"]),
                    reverse: forwards(&["3:udp:h:4"]),
                    socks: Vec::new(),
                },
                persistence: Persistence::ForEver,
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
                "-l -N --pipe",
                "--pipe does not go with --allow-target, --allow-bind and -N",
            ),
            (
                "-l --pipe --allow-target h:1",
                "--pipe does not go with --allow-target, --allow-bind and -N",
            ),
            ("-k home", "-k needs -l"),
            ("--pipe home", "--pipe needs -l"),
            ("-a home", "--allow, --allow-ca and -a need -l"),
            ("--allow-target h:1 home", "--allow-target needs -l"),
            ("-N home", "-N has nothing to do without -L, -R or -D"),
            ("-u home", "-u needs -L or -R"),
            ("-u -L 1:unix:/x home", "-u: a Unix socket cannot carry UDP"),
            ("--allow-bind 127.0.0.1:1 home", "--allow-bind needs -l"),
            (
                "-L 1:h:2 home h:3",
                "-L, -R and -D do not go with a target for stdin and stdout",
            ),
            ("-z -L 1:h:2 home", "-L, -R and -D do not go with -z"),
            ("-i h home", "-i and -P belong together"),
            (
                "-i h -P 1 home h:1",
                "HOST:PORT and -i, -P say the same thing twice",
            ),
            (
                "home udp:h:53",
                "stdin and stdout cannot be joined to a UDP target; lead a local port there with -L",
            ),
            (
                "-l ping home",
                "ping does not go with -l; a contact that is called ping comes after --: dnc -- ping",
            ),
            (
                "--json home",
                "--json needs ping, -z, -L, -R, -D, --allow-target or --allow-bind: otherwise stdout is the payload",
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
