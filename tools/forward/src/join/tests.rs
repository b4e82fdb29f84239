//! The join against a scripted peer and in-memory streams.

#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use dhtnet::EndReason;
use tokio::sync::Notify;

use super::*;

/// What this side did to the peer.
#[derive(Default, Debug)]
struct Seen {
    sent: Vec<u8>,
    finished: bool,
    reset: Option<u32>,
    stop: Option<u32>,
}

#[derive(Clone, Default)]
struct Peer {
    seen: Arc<Mutex<Seen>>,
    changed: Arc<Notify>,
    /// The peer's code when it stops reading.
    stops_with: Option<u32>,
}

struct Up(Peer);

impl ToPeer for Up {
    async fn send(&mut self, block: Bytes) -> io::Result<()> {
        if let Some(code) = self.0.stops_with {
            return Err(ChannelError::Stopped(code).into());
        }
        self.0.seen.lock().unwrap().sent.extend_from_slice(&block);
        Ok(())
    }

    fn finish(&mut self) {
        self.0.seen.lock().unwrap().finished = true;
        self.0.changed.notify_one();
    }

    async fn delivered(&mut self) -> io::Result<()> {
        match self.0.stops_with {
            Some(code) => Err(ChannelError::Stopped(code).into()),
            None => Ok(()),
        }
    }

    async fn stopped(&mut self) -> io::Result<Option<u32>> {
        match self.0.stops_with {
            Some(code) => Ok(Some(code)),
            None => std::future::pending().await,
        }
    }

    fn reset(&mut self, code: u32) {
        self.0.seen.lock().unwrap().reset = Some(code);
    }
}

enum Step {
    Say(&'static str),
    /// Wait until the other side has finished.
    AwaitFinish,
    Fail(ChannelError),
    Silence,
}

struct Down(Peer, VecDeque<Step>);

impl FromPeer for Down {
    async fn receive(&mut self, blocks: &mut [Bytes]) -> io::Result<Option<usize>> {
        loop {
            match self.1.pop_front() {
                None => return Ok(None),
                Some(Step::Say(text)) => {
                    blocks[0] = Bytes::from(text);
                    return Ok(Some(1));
                }
                Some(Step::AwaitFinish) => {
                    while !self.0.seen.lock().unwrap().finished {
                        self.0.changed.notified().await;
                    }
                }
                Some(Step::Fail(error)) => return Err(error.into()),
                Some(Step::Silence) => std::future::pending().await,
            }
        }
    }

    fn stop(&mut self, code: u32) {
        self.0.seen.lock().unwrap().stop = Some(code);
    }
}

/// Input that gives its blocks and then ends, fails, or stays silent.
enum Input {
    Ends(Vec<&'static str>),
    Fails,
    Silent,
}

impl Source for Input {
    async fn next_block(&mut self) -> io::Result<Option<Bytes>> {
        match self {
            Self::Ends(blocks) if blocks.is_empty() => Ok(None),
            Self::Ends(blocks) => Ok(Some(Bytes::from(blocks.remove(0)))),
            Self::Fails => Err(io::ErrorKind::IsADirectory.into()),
            Self::Silent => std::future::pending().await,
        }
    }
}

#[derive(Default)]
struct Output {
    written: String,
    finished: bool,
    full: bool,
}

impl Sink for Output {
    async fn write_blocks(&mut self, blocks: &mut [Bytes]) -> io::Result<()> {
        if self.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        for block in blocks {
            self.written
                .push_str(std::str::from_utf8(&std::mem::take(block)).unwrap());
        }
        Ok(())
    }

    async fn finish(&mut self) -> io::Result<()> {
        self.finished = true;
        Ok(())
    }
}

struct Joined {
    result: Result<Totals, JoinError>,
    output: Output,
    seen: Seen,
}

async fn joined(
    mut input: Input,
    mut output: Output,
    peer: Peer,
    steps: impl IntoIterator<Item = Step>,
    ending: Ending,
) -> Joined {
    let (mut up, mut down) = (
        Up(peer.clone()),
        Down(peer.clone(), steps.into_iter().collect()),
    );
    let result = join(&mut input, &mut output, &mut up, &mut down, ending).await;
    let seen = std::mem::take(&mut *peer.seen.lock().unwrap());
    Joined {
        result,
        output,
        seen,
    }
}

#[tokio::test]
async fn an_answer_after_the_end_of_the_input_arrives_whole() {
    let steps = [Step::AwaitFinish, Step::Say("the "), Step::Say("answer")];
    let input = Input::Ends(vec!["the ", "question"]);
    let ended = joined(
        input,
        Output::default(),
        Peer::default(),
        steps,
        Ending::Both,
    )
    .await;
    assert_eq!(
        ended.result.unwrap(),
        Totals {
            sent: 12,
            received: 10
        }
    );
    assert_eq!(ended.seen.sent, b"the question");
    assert_eq!(ended.output.written, "the answer");
    assert!(ended.output.finished && ended.seen.finished);
    assert_eq!(ended.seen.reset, None);
}

#[tokio::test]
async fn an_input_that_is_still_open_goes_on_after_the_peers_end() {
    let peer = Peer::default();
    let (near, far) = tokio::io::duplex(64);
    let mut source = crate::stream::StreamSource::new(near);
    let (mut up, mut down) = (
        Up(peer.clone()),
        Down(peer.clone(), [Step::Say("x")].into()),
    );
    let mut output = Output::default();
    let writer = async {
        use tokio::io::AsyncWriteExt;
        let mut far = far;
        far.write_all(b"later").await.unwrap();
    };
    let (result, ()) = tokio::join!(
        join(&mut source, &mut output, &mut up, &mut down, Ending::Both),
        writer
    );
    assert_eq!(
        result.unwrap(),
        Totals {
            sent: 5,
            received: 1
        }
    );
}

#[tokio::test]
async fn a_full_disk_here_becomes_a_reset_there() {
    let output = Output {
        full: true,
        ..Output::default()
    };
    let steps = [Step::Say("too much"), Step::Silence];
    let ended = joined(Input::Silent, output, Peer::default(), steps, Ending::Both).await;
    assert!(matches!(ended.result, Err(JoinError::Output(_))));
    let code = Some(GiveUp::OutputFailed.code());
    assert_eq!((ended.seen.reset, ended.seen.stop), (code, code));
    assert!(!ended.seen.finished);
}

#[tokio::test]
async fn an_input_that_fails_is_a_reset_and_never_an_end() {
    let ended = joined(
        Input::Fails,
        Output::default(),
        Peer::default(),
        [Step::Silence],
        Ending::Both,
    )
    .await;
    assert!(matches!(ended.result, Err(JoinError::Input(_))));
    assert_eq!(ended.seen.reset, Some(GiveUp::InputFailed.code()));
    assert!(!ended.seen.finished);
}

#[tokio::test]
async fn a_connection_that_is_lost_ends_both_directions() {
    let lost = ChannelError::ConnectionLost(EndReason::TimedOut);
    let steps = [Step::Say("half"), Step::Fail(lost)];
    let ended = joined(
        Input::Silent,
        Output::default(),
        Peer::default(),
        steps,
        Ending::Both,
    )
    .await;
    assert!(matches!(ended.result, Err(JoinError::Channel(_))));
    assert_eq!(ended.output.written, "half");
    assert!(!ended.output.finished, "a part is not the whole");
}

#[tokio::test]
async fn what_the_peer_said_before_it_stopped_reading_is_still_received() {
    let peer = Peer {
        stops_with: Some(GiveUp::OutputFailed.code()),
        ..Peer::default()
    };
    let steps = [Step::Say("400 "), Step::Say("too long")];
    let ended = joined(
        Input::Ends(vec!["much"]),
        Output::default(),
        peer,
        steps,
        Ending::Both,
    )
    .await;
    assert!(matches!(ended.result, Err(JoinError::Channel(error)) if is_stopped(&error)));
    assert_eq!(ended.output.written, "400 too long");
}

#[tokio::test]
async fn why_the_peer_stopped_reading_says_more_than_that_it_is_gone() {
    let code = GiveUp::Interrupted.code();
    let peer = Peer {
        stops_with: Some(code),
        ..Peer::default()
    };
    let lost = ChannelError::ConnectionLost(EndReason::Closed);
    let steps = [Step::Say("half"), Step::Fail(lost)];
    let ended = joined(Input::Silent, Output::default(), peer, steps, Ending::Both).await;
    assert!(matches!(ended.result, Err(JoinError::Channel(error)) if is_stopped(&error)));
    assert_eq!(ended.output.written, "half");
}

#[tokio::test]
async fn a_peer_that_wants_no_more_is_a_good_end_while_nothing_waits() {
    let peer = Peer {
        stops_with: Some(GiveUp::Done.code()),
        ..Peer::default()
    };
    let ended = joined(
        Input::Silent,
        Output::default(),
        peer,
        [Step::Say("all")],
        Ending::Both,
    )
    .await;
    assert_eq!(
        ended.result.unwrap(),
        Totals {
            sent: 0,
            received: 3
        }
    );
}

#[tokio::test]
async fn without_half_close_either_end_ends_both() {
    let input = Input::Ends(vec!["out"]);
    let ended = joined(
        input,
        Output::default(),
        Peer::default(),
        [Step::Silence],
        Ending::Either,
    )
    .await;
    assert_eq!(ended.result.unwrap().sent, 3);
    assert_eq!(ended.seen.stop, Some(GiveUp::Done.code()));

    let steps = [Step::Say("in")];
    let ended = joined(
        Input::Silent,
        Output::default(),
        Peer::default(),
        steps,
        Ending::Either,
    )
    .await;
    assert_eq!(ended.result.unwrap().received, 2);
    assert!(ended.seen.finished);
}

#[tokio::test]
async fn the_peers_end_is_the_end_when_nobody_is_going_to_answer() {
    let steps = [Step::Say("file")];
    let ended = joined(
        Input::Silent,
        Output::default(),
        Peer::default(),
        steps,
        Ending::PeersDirection,
    )
    .await;
    assert_eq!(ended.result.unwrap().received, 4);
    assert!(ended.seen.finished && ended.output.finished);
    // Its own end is not.
    let steps = [Step::AwaitFinish, Step::Say("answer")];
    let input = Input::Ends(vec!["x"]);
    let ended = joined(
        input,
        Output::default(),
        Peer::default(),
        steps,
        Ending::PeersDirection,
    )
    .await;
    assert_eq!(ended.output.written, "answer");
}
