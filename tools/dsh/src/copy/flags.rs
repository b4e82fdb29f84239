//! The command line of `dsh cp`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use dhtnet_cli::Failure;
use dhtnet_copy::Options;

use super::place::{Remote, Side};
use super::{Direction, Wanted};

const USAGE: &str =
    "dsh cp [OPTIONS] SRC... [USER@]PEER:DST\n       dsh cp [OPTIONS] [USER@]PEER:SRC... DST";

const AFTER_HELP: &str = "\
Examples:
  dsh cp notes.txt home:                   into the home of the user there
  dsh cp -rp photos home:/srv/backup       a folder, with modes and times
  dsh cp home:/var/log/syslog .            from there
  dsh cp alice@home:a alice@home:b dir     as this user; several files need a directory

SRC and DST are paths here, or [USER@]PEER:PATH; one side is the peer's. A path with a slash before
its first colon is one of this side: ./a:b. PATH is relative to the home there; no patterns.
What was cut short goes on with the same command; what is the same already is not sent again. Every
file is verified by its hash, and gets its name when it is whole.

Exit codes: 0 all is copied, 1 some files failed (each is named) or the copy was cut short, 2 usage
or configuration, 3 peer not reachable, 4 refused by its policy, 5 identity problem, 130/143 ended by
SIGINT/SIGTERM.";

/// `dsh cp`.
#[derive(Args, Clone, Debug)]
#[command(override_usage = USAGE, after_help = AFTER_HELP)]
pub(crate) struct CopyFlags {
    /// Directories with all that is in them; links are copied as links
    #[arg(short = 'r', long, short_alias = 'R')]
    recursive: bool,

    /// Keep modes and times [default: the modes of new files, executable if the source is]
    #[arg(short = 'p', long)]
    preserve: bool,

    /// Compare files of equal size and time by their hash too
    #[arg(short = 'c', long)]
    checksum: bool,

    /// Print a summary as JSON on stdout
    #[arg(long)]
    json: bool,

    /// What to copy, and last where to
    #[arg(value_name = "PATH", required = true, num_args = 2..)]
    places: Vec<OsString>,
}

impl CopyFlags {
    /// What is asked for.
    ///
    /// # Errors
    /// Exit code 2: no peer, two peers, or a copy that cannot be.
    pub(crate) fn wanted(&self) -> Result<Wanted, Failure> {
        let sides = self.places.iter().map(|place| Side::parse(place));
        let mut sides = sides.collect::<Result<Vec<_>, _>>()?;
        let destination = sides.pop();
        let destination = destination.ok_or_else(|| Failure::usage("a destination is missing"))?;
        let (remote, direction) = match destination {
            Side::Remote(remote, path) => {
                let sources = sides.into_iter().map(Side::local);
                let sources = sources.collect::<Option<Vec<PathBuf>>>();
                let sources = sources.ok_or_else(between_peers)?;
                (remote, Direction::Push { sources, path })
            }
            Side::Local(destination) => from_peer(sides, destination)?,
        };
        Ok(Wanted {
            remote,
            direction,
            options: Options {
                recursive: self.recursive,
                preserve: self.preserve,
                checksum: self.checksum,
                totals: false,
            },
            json: self.json,
        })
    }
}

fn from_peer(sides: Vec<Side>, destination: PathBuf) -> Result<(Remote, Direction), Failure> {
    let mut peer: Option<Remote> = None;
    let mut sources = Vec::new();
    let count = sides.len();
    for side in sides {
        let Side::Remote(remote, path) = side else {
            continue;
        };
        if peer.as_ref().is_some_and(|peer| *peer != remote) {
            return Err(Failure::usage("sources of two peers, or of two users")
                .advise("copy them one after the other"));
        }
        peer = Some(remote);
        sources.push(path);
    }
    let Some(remote) = peer else {
        return Err(Failure::usage("neither side is a peer's")
            .advise("write PEER:PATH for a path there; cp copies here"));
    };
    if sources.len() < count {
        return Err(Failure::usage("sources of both sides").advise("copy them one after the other"));
    }
    let direction = Direction::Pull {
        sources,
        destination,
    };
    Ok((remote, direction))
}

fn between_peers() -> Failure {
    Failure::usage("source and destination are both a peer's")
        .advise("copy to this device first, or run dsh cp on one of the peers")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Tool {
        #[command(flatten)]
        copy: CopyFlags,
    }

    fn wanted(words: &[&str]) -> Result<Wanted, String> {
        let tool = Tool::try_parse_from([&["cp"], words].concat()).unwrap();
        tool.copy.wanted().map_err(|failure| failure.to_string())
    }

    #[test]
    fn the_side_with_a_peer_says_which_way() {
        let push = wanted(&["-rp", "a", "b", "alice@home:dir"]).unwrap();
        assert_eq!(push.remote.user.as_deref(), Some("alice"));
        assert!(push.options.recursive && push.options.preserve && !push.options.checksum);
        assert!(matches!(
            push.direction,
            Direction::Push { sources, path } if sources.len() == 2 && path == b"dir"
        ));
        let pull = wanted(&["home:a", "home:", "."]).unwrap();
        assert!(matches!(
            pull.direction,
            Direction::Pull { sources, .. } if sources == [&b"a"[..], b""]
        ));
    }

    #[test]
    fn what_cannot_be_copied_at_once_is_named() {
        for (words, expected) in [
            (&["a", "b"][..], "neither side is a peer's; write PEER:PATH"),
            (
                &["home:a", "work:b"],
                "source and destination are both a peer's",
            ),
            (
                &["a", "home:b", "home:c"],
                "source and destination are both",
            ),
            (&["home:a", "work:b", "."], "sources of two peers"),
            (
                &["home:a", "al@home:b", "."],
                "sources of two peers, or of two users",
            ),
            (&["home:a", "b", "."], "sources of both sides"),
        ] {
            let failure = wanted(words).err().unwrap();
            assert!(failure.starts_with(expected), "{failure}");
        }
    }
}
