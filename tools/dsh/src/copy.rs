//! `dsh cp`: files to a peer and from it.
//!
//! The protocol and what is done with files is `dhtnet-copy`'s. Here is its channel, which has the
//! priority of bulk so that a terminal beside it stays quick, and the words for people.

pub(crate) mod flags;
mod place;
mod progress;

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use dhtnet::{Channel, ChannelRequest, ConnectOptions, Priority};
use dhtnet_cli::node::{channel_failure, connect_failure};
use dhtnet_cli::{ExitCode, Failure, Peer, Shutdown};
use dhtnet_copy::{CopyError, FromCopy, Options, Outcome, Pull, Push, Summary, ToCopy};
use dhtnet_forward::Session;
use dhtnet_forward::join::{Ending, JoinError, Sink, Source, join};
use dhtnet_shell_wire::copy::{COPY_CHANNEL, encode};

use self::place::Remote;
use self::progress::Progress;

/// A copy that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    remote: Remote,
    direction: Direction,
    options: Options,
    json: bool,
}

/// Which way.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Direction {
    Push {
        sources: Vec<PathBuf>,
        path: Vec<u8>,
    },
    Pull {
        sources: Vec<Vec<u8>>,
        destination: PathBuf,
    },
}

/// A copy that can be run.
enum Job {
    Push(Push),
    Pull(Pull),
}

type Copied = Result<Summary, CopyError>;

/// Copies, tells what failed, and says how it went.
pub(crate) async fn copy(
    session: &Arc<Session>,
    wanted: Wanted,
    stdout: File,
    shutdown: &mut Shutdown,
) -> Result<ExitCode, Failure> {
    let peer = session.resolve(&wanted.remote.peer)?;
    let progress = Progress::new(&session.talk, &peer);
    let options = Options {
        totals: progress.is_seen(),
        ..wanted.options
    };
    let job = Job::new(wanted.direction, options);
    // What cannot be is told before anybody is called.
    job.check()
        .map_err(|error| Failure::usage(error.to_string()))?;
    let user = wanted.remote.user.as_deref();
    let carried = tokio::select! {
        carried = carry(session, &peer, (user, job), &progress) => carried,
        code = shutdown.requested() => {
            progress.clear();
            session.talk.note("what has been copied stays; the same command goes on from here");
            return Ok(code);
        }
    };
    progress.clear();
    let sum = carried?;
    if wanted.json {
        let mut stdout = stdout;
        writeln!(stdout, "{}", progress.json(&sum))
            .map_err(|error| Failure::failed(format!("cannot write to stdout: {error}")))?;
    }
    session.talk.note(progress::words(&sum));
    Ok(if sum.failed == 0 {
        ExitCode::Done
    } else {
        ExitCode::Failed
    })
}

/// Opens the channel and runs the copy on it.
async fn carry(
    session: &Arc<Session>,
    peer: &Peer,
    (user, job): (Option<&str>, Job),
    progress: &Progress,
) -> Result<Summary, Failure> {
    let asked = ChannelRequest::stream(COPY_CHANNEL)
        .metadata(encode(user))
        .priority(Priority::Bulk);
    let options = ConnectOptions::default().timeout(session.connect_limit);
    let begun = Instant::now();
    let connecting = session.node.connect_with(&peer.address, asked, options);
    let channel = connecting
        .await
        .map_err(|error| connect_failure(peer, session.node.id(), "a copy", &error))?;
    session.tell_path(peer, channel.connection().as_ref(), begun.elapsed());
    let mut observer = progress.clone();
    let started = dhtnet_copy::start(move |input, output| job.run(input, output, &mut observer));
    let (input, output, outcome) =
        started.map_err(|error| Failure::failed(format!("cannot start a thread: {error}")))?;
    let (copied, joined) = pump(channel, (input, output), outcome).await;
    let copied = copied.map_err(|error| Failure::failed(error.to_string()))?;
    copied.map_err(|error| failure(session, peer, &error, joined))
}

/// Carries the bytes until the copy is over, and then a good-bye.
async fn pump(
    channel: Channel,
    (input, output): (ToCopy, FromCopy),
    outcome: Outcome<Copied>,
) -> (io::Result<Copied>, Result<(), JoinError>) {
    let (mut send, mut recv) = channel.split();
    let joined = async {
        let (mut source, mut sink) = (Blocks(output), Parts(Some(input)));
        let ending = Ending::Both;
        let joined = join(&mut source, &mut sink, &mut send, &mut recv, ending).await;
        joined.map(drop)
    };
    let (copied, joined) = tokio::join!(outcome.wait(), joined);
    (copied, joined)
}

/// What a copy says, for the channel.
struct Blocks(FromCopy);

impl Source for Blocks {
    async fn next_block(&mut self) -> io::Result<Option<Bytes>> {
        Ok(self.0.next().await)
    }
}

/// What the channel says, for a copy; nothing any more when it has ended.
struct Parts(Option<ToCopy>);

impl Sink for Parts {
    /// A copy that reads no more is over, and what comes after its end is for nobody.
    async fn write_blocks(&mut self, blocks: &mut [Bytes]) -> io::Result<()> {
        if let Some(copy) = &self.0 {
            let blocks = blocks.iter_mut().map(std::mem::take).collect();
            if !copy.give(blocks).await {
                self.0 = None;
            }
        }
        Ok(())
    }

    async fn finish(&mut self) -> io::Result<()> {
        self.0 = None;
        Ok(())
    }
}

impl Job {
    fn new(direction: Direction, options: Options) -> Self {
        match direction {
            Direction::Push { sources, path } => Self::Push(Push {
                sources,
                destination: path,
                options,
            }),
            Direction::Pull {
                sources,
                destination,
            } => Self::Pull(Pull {
                sources,
                destination,
                options,
            }),
        }
    }

    fn check(&self) -> Result<(), CopyError> {
        match self {
            Self::Push(push) => push.check(),
            Self::Pull(pull) => pull.check(),
        }
    }

    fn run(
        self,
        input: dhtnet_copy::StreamIn,
        output: dhtnet_copy::StreamOut,
        progress: &mut Progress,
    ) -> Copied {
        match self {
            Self::Push(push) => push.run(input, output, progress),
            Self::Pull(pull) => pull.run(input, output, progress),
        }
    }
}

/// The words for a copy that has not come to its end.
fn failure(
    session: &Session,
    peer: &Peer,
    error: &CopyError,
    joined: Result<(), JoinError>,
) -> Failure {
    const GO_ON: &str = "what has been copied stays; the same command goes on from here";
    match (error, joined) {
        (CopyError::Cut | CopyError::Stream(_), Err(JoinError::Channel(cause))) => {
            channel_failure(peer, session.node.id(), "a copy", &cause).advise(GO_ON)
        }
        (CopyError::Cut | CopyError::Stream(_), _) => {
            Failure::failed(format!("{peer} ended before the copy was complete")).advise(GO_ON)
        }
        (CopyError::Aborted(reason), _) => Failure::failed(format!("{peer}: {reason}")),
        (error, _) => Failure::failed(dhtnet_cli::failure::chain(error)),
    }
}
