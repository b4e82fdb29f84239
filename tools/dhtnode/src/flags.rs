//! The command line of `dhtnode`, and that of its prompt: both have the same commands.

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use dhtnet::Service;
use dhtnet_cli::flags::{DhtFlags, HomeFlags, HostPort, OutputFlags, Switch, TurnFlags};
use dhtnet_cli::pages::Pages;
use dhtnet_identity::PeerArgument;

use crate::dht::Wanted;
use crate::key::Key;
use crate::relay::RelayFlags;

/// Those of dhtnode's own flags that the table [dhtnode] of the configuration file may hold.
pub(crate) const CONFIGURABLE: [&str; 2] = ["blocklist", "read-only"];

/// Nodes in one process. Each has sockets and a file of its own; this many fit the usual hard
/// limit of 4,096 open files.
const MAX_CLUSTER: i64 = 500;

const AFTER_HELP: &str = "\
Without a command: a prompt with the same commands; without a terminal, commands from stdin.

KEY, ID and HASH: 40 hexadecimal digits are taken as they are, any other text by its SHA-1.

Examples:
  dhtnode put 'hello world'              store it; prints the key to get it by
  dhtnode get e5f96f6f38320f0f33959cb4d3d656452117aadb
  dhtnode genkey notes.pem               a key for items that can be changed
  dhtnode put --key notes.pem --salt today 'new text'
  dhtnode put --at 'my topic' --ttl 600 hello
  dhtnode listen 'my topic'              what others put there, as it comes
  dhtnode --network lab -b 10.0.0.1:4000 run --stats

Exit codes: 0 done, 1 failed or stored nowhere, 2 usage or configuration, 3 not found or nobody
reachable, 5 key problem, 130/143 ended by SIGINT/SIGTERM.";

const DOCTOR_HELP: &str = "\
Each line: a status (ok, weak, broken, unknown), a name, what was found; below it, what to do next.
The first line, connection, is the sum. Nothing is changed: no port is mapped, nothing is stored.

Exit codes: 0 a connection by key can work from here, 1 it cannot, 2 usage or configuration.";

/// The DHT by hand: a node with a prompt, a daemon, and one-shot commands
#[derive(Parser, Debug)]
#[command(
    name = "dhtnode",
    version,
    after_help = AFTER_HELP,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub(crate) struct Flags {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    #[command(flatten)]
    pub(crate) how: HowFlags,

    /// Keep serving the DHT when the command is done, until Ctrl-C
    #[arg(long, global = true)]
    pub(crate) wait: bool,

    /// Addresses that are neither asked nor answered: PeerGuardian text, NAME:FROM-TO a line
    /// [default: none]
    #[arg(
        long,
        value_name = "FILE",
        env = "DHTNET_BLOCKLIST",
        global = true,
        help_heading = "Network"
    )]
    pub(crate) blocklist: Option<PathBuf>,

    /// Only ask, never answer (BEP 43) [default: answer once reachable]
    #[arg(
        long,
        env = "DHTNET_READ_ONLY",
        global = true,
        help_heading = "Network",
        switch = "false",
        hide_default_value = true
    )]
    pub(crate) read_only: bool,

    #[command(flatten)]
    pub(crate) dht: DhtFlags,

    #[command(flatten)]
    pub(crate) home: HomeFlags,

    #[command(flatten)]
    pub(crate) output: OutputFlags,
}

/// How a command is carried out.
#[derive(Args, Clone, Debug)]
pub(crate) struct HowFlags {
    /// Print JSON, one object a line
    #[arg(long, global = true, help_heading = "Output")]
    pub(crate) json: bool,

    /// Ask this node only
    #[arg(long, value_name = "ADDR", global = true, help_heading = "Network")]
    pub(crate) remote: Option<HostPort>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Be a node until told to end: for a server, or as a system service
    Run(RunFlags),

    #[command(flatten)]
    Verb(Verb),

    #[command(flatten)]
    Pages(Pages),
}

/// `dhtnode run`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RunFlags {
    /// Nodes in this process; a port given with --bind is the first one's, the others count on
    #[arg(
        long,
        value_name = "N",
        default_value = "1",
        value_parser = clap::value_parser!(u16).range(1..=MAX_CLUSTER)
    )]
    pub(crate) cluster: u16,

    /// Print a line of counters each 10 s, or each SECS
    #[arg(
        long,
        value_name = "SECS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "10",
        value_parser = parse_interval
    )]
    pub(crate) stats: Option<Duration>,

    #[command(flatten)]
    pub(crate) relay: RelayFlags,
}

/// A line of the prompt.
#[derive(Parser, Debug)]
#[command(
    name = "",
    no_binary_name = true,
    disable_help_flag = true,
    disable_version_flag = true,
    max_term_width = 100,
    help_template = "Commands:\n{subcommands}\n\nhelp COMMAND tells more. --json and --remote ADDR go with \
                     each command. Quotes keep words together."
)]
pub(crate) struct Line {
    #[command(subcommand)]
    pub(crate) command: LineCommand,

    #[command(flatten)]
    pub(crate) how: HowFlags,

    /// Time limit of this command, in seconds
    #[arg(short = 'w', long, value_name = "SECS", global = true, value_parser = parse_interval)]
    pub(crate) timeout: Option<Duration>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum LineCommand {
    #[command(flatten)]
    Verb(Box<Verb>),

    /// Leave (also Ctrl-D)
    #[command(visible_aliases = ["quit", "q"])]
    Exit,
}

/// What can be done once, on the command line and in the prompt.
#[derive(Subcommand, Clone, Debug)]
pub(crate) enum Verb {
    /// Print what is stored under a key: an item, or values
    Get(GetFlags),
    /// Store a value
    Put(PutFlags),
    /// Take a value back that was put with --at
    Remove(RemoveFlags),
    /// Print values under a key as they come and go, until Ctrl-C
    Listen {
        /// The key
        #[arg(value_name = "KEY")]
        key: Key,
        /// Only values of which this is true: id = N, type = N, owner = DEVICE, seq >= N, joined by
        /// AND
        #[arg(long = "where", value_name = "CONDITIONS", value_parser = Wanted::parse)]
        wanted: Option<Wanted>,
    },
    /// Ask a node whether it is there
    Ping {
        /// HOST:PORT
        #[arg(value_name = "ADDR")]
        address: HostPort,
    },
    /// Print the nodes nearest to an id
    FindNode {
        /// The id
        #[arg(value_name = "ID")]
        id: Key,
    },
    /// Print the peers that announced themselves under a hash
    GetPeers {
        /// The hash
        #[arg(value_name = "HASH")]
        hash: Key,
    },
    /// Announce this host as a peer under a hash
    Announce(AnnounceFlags),
    /// Print the nodes nearest to an id, and what it took to find them
    Closest {
        /// The id
        #[arg(value_name = "ID")]
        id: Key,
    },
    /// Ask a node for a sample of the hashes that it stores (BEP 51)
    Sample {
        /// HOST:PORT
        #[arg(value_name = "ADDR")]
        address: HostPort,
        /// Where in the key space to go on from there [default: anywhere]
        #[arg(long, value_name = "ID")]
        target: Option<Key>,
    },
    /// Make a key for items: NAME holds it, NAME.pub the public half
    Genkey {
        /// File to write
        #[arg(value_name = "NAME")]
        name: PathBuf,
    },
    /// Sign a value as `put --key` would, without storing it
    Sign(SignFlags),
    /// Walk through the network and count its nodes
    Crawl(CrawlFlags),
    /// Say what works from here, and what to do where it does not; takes at most 5 s
    Doctor(DoctorFlags),
    /// Print the counters of this node
    Stats,
    /// Print the nodes that this node knows
    Nodes,
}

/// `dhtnode doctor`.
#[derive(Args, Clone, Debug)]
#[command(after_help = DOCTOR_HELP)]
pub(crate) struct DoctorFlags {
    /// STUN server to ask, repeatable: two tell what the NAT's ports depend on, one with two
    /// addresses (RFC 5780) the filtering too [default: none]
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "DHTNET_STUN",
        value_delimiter = ' '
    )]
    pub(crate) stun: Vec<HostPort>,

    #[command(flatten)]
    pub(crate) turn: TurnFlags,
}

/// `dhtnode get`.
#[derive(Args, Clone, Debug)]
pub(crate) struct GetFlags {
    /// The key
    #[arg(value_name = "KEY", required_unless_present = "of")]
    pub(crate) key: Option<Key>,

    /// Instead of KEY: the item of this public key, as genkey prints it, or of a device id
    #[arg(
        long,
        value_name = "PUBLIC",
        conflicts_with_all = ["key", "wanted"],
        value_parser = crate::keys::parse_public
    )]
    pub(crate) of: Option<[u8; 32]>,

    /// The salt of the item that can be changed, without which its signature cannot be checked
    #[arg(
        long,
        value_name = "SALT",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) salt: String,

    /// With --of a device id: where the device says that this service of it is: dnc (targets), dnc.pipe,
    /// dsh, dvpn, each with /NAME behind it if it has a name
    #[arg(long, value_name = "SERVICE", requires = "of", conflicts_with = "salt")]
    pub(crate) service: Option<Service>,

    /// Print the sequence number before the value
    #[arg(long)]
    pub(crate) seq: bool,

    /// Print the item and all values, not the first alone
    #[arg(long)]
    pub(crate) all: bool,

    /// Only values of which this is true: id = N, type = N, owner = DEVICE, seq >= N, joined by AND
    #[arg(
        long = "where",
        value_name = "CONDITIONS",
        value_parser = Wanted::parse,
        conflicts_with = "salt"
    )]
    pub(crate) wanted: Option<Wanted>,
}

/// `dhtnode put`.
#[derive(Args, Clone, Debug)]
pub(crate) struct PutFlags {
    /// The value; several words are joined by spaces, - reads it from stdin
    #[arg(value_name = "VALUE", required = true, allow_negative_numbers = true)]
    pub(crate) value: Vec<String>,

    /// VALUE is bencoded already
    #[arg(long, conflicts_with = "at")]
    pub(crate) raw: bool,

    /// Sign with this key: the item can be changed by whoever has it
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,

    /// With --key: which of the key's items
    #[arg(long, value_name = "SALT", requires = "key", conflicts_with = "at")]
    pub(crate) salt: Option<String>,

    /// With --key or --sign: sequence number [default: one more than what is stored]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) seq: Option<i64>,

    /// With --key: only if this sequence number is stored now
    #[arg(
        long,
        value_name = "N",
        requires = "key",
        conflicts_with = "at",
        value_parser = clap::value_parser!(i64).range(0..)
    )]
    pub(crate) cas: Option<i64>,

    /// Store it again and again while this node runs, and remember it for the next start
    #[arg(long, conflicts_with = "cas")]
    pub(crate) permanent: bool,

    /// Add a value under this key, beside those of others
    #[arg(long, value_name = "KEY")]
    pub(crate) at: Option<Key>,

    /// With --at: for how many seconds [default: the type's]
    #[arg(long, value_name = "SECS", requires = "at", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) ttl: Option<u32>,

    /// With --at: number of the value's type
    #[arg(long = "type", value_name = "N", requires = "at", default_value = "0")]
    pub(crate) kind: u16,

    /// With --at: id of the value, as printed by put; the same id replaces the value
    /// [default: random]
    #[arg(long, value_name = "ID", requires = "at", value_parser = crate::key::parse_value_id)]
    pub(crate) id: Option<u64>,

    /// With --at: sign with the key of this device
    #[arg(long, requires = "at", conflicts_with = "key")]
    pub(crate) sign: bool,

    /// With --at: encrypt, so that only this peer can read it
    #[arg(long, value_name = "PEER", requires = "at")]
    pub(crate) encrypt_to: Option<PeerArgument>,
}

/// `dhtnode remove`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RemoveFlags {
    /// The key that it lies under
    #[arg(value_name = "KEY")]
    pub(crate) key: Key,

    /// Its id, as printed by put and get --json
    #[arg(value_name = "ID", value_parser = crate::key::parse_value_id)]
    pub(crate) id: u64,

    /// The key that it was signed with [default: that of this device]
    #[arg(long = "key", value_name = "FILE")]
    pub(crate) signer: Option<PathBuf>,
}

/// `dhtnode announce`.
#[derive(Args, Clone, Debug)]
pub(crate) struct AnnounceFlags {
    /// The hash
    #[arg(value_name = "HASH")]
    pub(crate) hash: Key,

    /// The peer's port [default: that of this node]
    #[arg(long, value_name = "N", conflicts_with = "implied")]
    pub(crate) port: Option<NonZeroU16>,

    /// The port that the datagram comes from, as the other side sees it
    #[arg(long)]
    pub(crate) implied: bool,

    /// Announce again and again while this node runs, and remember it for the next start
    #[arg(long)]
    pub(crate) permanent: bool,
}

/// `dhtnode sign`.
#[derive(Args, Clone, Debug)]
pub(crate) struct SignFlags {
    /// The value; several words are joined by spaces, - reads it from stdin
    #[arg(value_name = "VALUE", required = true, allow_negative_numbers = true)]
    pub(crate) value: Vec<String>,

    /// VALUE is bencoded already
    #[arg(long)]
    pub(crate) raw: bool,

    /// The key to sign with
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,

    /// Which of the key's items
    #[arg(
        long,
        value_name = "SALT",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) salt: String,

    /// Sequence number
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) seq: i64,
}

/// `dhtnode crawl`.
#[derive(Args, Clone, Debug)]
pub(crate) struct CrawlFlags {
    /// Stop after so many nodes
    #[arg(
        long,
        value_name = "N",
        default_value = "1000",
        value_parser = clap::value_parser!(u32).range(1..=1_000_000)
    )]
    pub(crate) limit: u32,

    /// Queries a second, at most
    #[arg(
        long,
        value_name = "N",
        default_value = "50",
        value_parser = clap::value_parser!(u32).range(1..=1_000)
    )]
    pub(crate) rate: u32,
}

/// Shortest interval and time limit in seconds, so that a slip of the finger is no busy loop.
const MIN_INTERVAL: f64 = 0.1;

/// Longest, in seconds: a day.
const MAX_INTERVAL: f64 = 86_400.0;

fn parse_interval(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "not a number of seconds".to_owned())?;
    if (MIN_INTERVAL..=MAX_INTERVAL).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(format!(
            "not between {MIN_INTERVAL} and {MAX_INTERVAL} seconds"
        ))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::CommandFactory;

    use super::*;

    fn verb(words: &[&str]) -> Result<Verb, String> {
        let words = ["dhtnode"].iter().chain(words);
        match Flags::try_parse_from(words)
            .map_err(|error| error.to_string())?
            .command
        {
            Some(Command::Verb(verb)) => Ok(verb),
            other => panic!("no verb: {other:?}"),
        }
    }

    #[test]
    fn the_flag_definitions_are_consistent() {
        Flags::command().debug_assert();
        Line::command().debug_assert();
    }

    #[test]
    fn flags_may_stand_before_and_after_the_command() {
        for words in [
            ["dhtnode", "--network", "lab", "--json", "stats"],
            ["dhtnode", "stats", "--json", "--network", "lab"],
        ] {
            let flags = Flags::try_parse_from(words).unwrap();
            assert!(flags.how.json);
            assert_eq!(flags.dht.network.unwrap().as_str(), "lab");
        }
    }

    #[test]
    fn values_may_look_like_numbers_and_hold_spaces() {
        let Ok(Verb::Put(put)) = verb(&["put", "-5"]) else {
            panic!()
        };
        assert_eq!(put.value, ["-5"]);
        let Ok(Verb::Put(put)) = verb(&["put", "--", "--flag and more"]) else {
            panic!()
        };
        assert_eq!(put.value, ["--flag and more"]);
    }

    #[test]
    fn flags_of_one_kind_of_put_do_not_go_with_another() {
        for words in [
            &["put", "x", "--salt", "s"][..],
            &["put", "x", "--cas", "1"],
            &["put", "x", "--ttl", "5"],
            &["put", "x", "--sign"],
            &["put", "x", "--at", "k", "--raw"],
            &["put", "x", "--at", "k", "--sign", "--key", "f"],
            &["put", "x", "--at", "k", "--key", "f", "--salt", "s"],
            &["put", "x", "--key", "f", "--seq", "-1"],
            &["announce", "h", "--port", "1", "--implied"],
            &["announce", "h", "--port", "0"],
        ] {
            assert!(verb(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn an_interval_and_a_cluster_have_bounds() {
        let run = |words: &[&str]| {
            let words = ["dhtnode", "run"].iter().chain(words);
            match Flags::try_parse_from(words).map(|flags| flags.command) {
                Ok(Some(Command::Run(run))) => Some((run.cluster, run.stats)),
                _ => None,
            }
        };
        let seconds = |s| Some(Duration::from_secs_f64(s));
        assert_eq!(run(&[]), Some((1, None)));
        assert_eq!(run(&["--stats"]), Some((1, seconds(10.0))));
        assert_eq!(
            run(&["--stats=0.1", "--cluster", "500"]),
            Some((500, seconds(0.1)))
        );
        assert_eq!(run(&["--stats=86400"]), Some((1, seconds(86_400.0))));
        for wrong in [
            &["--stats=0.09"][..],
            &["--stats=86401"],
            &["--stats=NaN"],
            &["--cluster", "0"],
            &["--cluster", "501"],
        ] {
            assert_eq!(run(wrong), None, "{wrong:?}");
        }
    }
}
