//! Lists of random operations on both ends, against a model that knows only what was written, what
//! was read, and that every channel ends once.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use dhtnet_channel_mux::{
    AnswerError, ChannelId, ChannelKind, ChannelReadError, ChannelRequest, ChannelWriteError,
    CloseCode, DeclineCode, Event, Limits,
};
use proptest::prelude::*;

use crate::link::Settings;
use crate::pair::{Pair, Who};

#[derive(Debug, Clone)]
enum Op {
    Open { datagrams: bool, early: u16 },
    Answer { accept: bool },
    Write { channel: usize, bytes: u16 },
    Read { channel: usize, max: u16 },
    Finish { channel: usize },
    Reset { channel: usize },
    Stop { channel: usize },
    Abandon { channel: usize },
    Ping,
    Close,
    Deliver { packets: u8 },
    Wait { seconds: u8 },
}

fn op() -> impl Strategy<Value = (bool, Op)> {
    let channel = 0..40usize;
    let op = prop_oneof![
        6 => (any::<bool>(), 0..300u16).prop_map(|(datagrams, early)| Op::Open { datagrams, early }),
        6 => prop::bool::weighted(0.8).prop_map(|accept| Op::Answer { accept }),
        9 => (channel.clone(), 0..400u16).prop_map(|(channel, bytes)| Op::Write { channel, bytes }),
        9 => (channel.clone(), 1..400u16).prop_map(|(channel, max)| Op::Read { channel, max }),
        3 => channel.clone().prop_map(|channel| Op::Finish { channel }),
        1 => channel.clone().prop_map(|channel| Op::Reset { channel }),
        1 => channel.clone().prop_map(|channel| Op::Stop { channel }),
        1 => channel.prop_map(|channel| Op::Abandon { channel }),
        1 => Just(Op::Ping),
        1 => prop::bool::weighted(0.1).prop_map(|close| if close { Op::Close } else { Op::Ping }),
        14 => (1..30u8).prop_map(|packets| Op::Deliver { packets }),
        1 => (0..40u8).prop_map(|seconds| Op::Wait { seconds }),
    ];
    (any::<bool>(), op)
}

/// What the model knows of one end of one channel.
#[derive(Debug)]
struct Known {
    /// The same at both ends.
    tag: u64,
    opener: bool,
    kind: ChannelKind,
    written: u64,
    read: u64,
    finished: bool,
    read_to_end: bool,
    answered: bool,
    closed: bool,
}

#[derive(Default)]
struct Model {
    /// By end and channel, in the order of the ids.
    known: [BTreeMap<ChannelId, Known>; 2],
    next_tag: u64,
    pongs_awaited: [usize; 2],
    drained: [usize; 2],
}

/// The byte at a place of a direction of a channel, so that nothing has to be remembered.
fn byte_at(tag: u64, opener: bool, at: u64) -> u8 {
    (tag.wrapping_mul(31) + u64::from(opener) * 17 + at.wrapping_mul(7)) as u8
}

fn payload(tag: u64, opener: bool, from: u64, length: u64) -> Vec<u8> {
    (from..from + length)
        .map(|at| byte_at(tag, opener, at))
        .collect()
}

impl Model {
    /// The n-th channel of an end that is not closed, round robin.
    fn choose(&self, who: Who, n: usize) -> Option<ChannelId> {
        let open: Vec<_> = self.known[who as usize]
            .iter()
            .filter(|(_, k)| !k.closed)
            .collect();
        (!open.is_empty()).then(|| *open[n % open.len()].0)
    }

    fn apply(&mut self, pair: &mut Pair, who: Who, op: &Op) {
        match *op {
            Op::Open { datagrams, early } => self.open(pair, who, datagrams, early),
            Op::Answer { accept } => self.answer(pair, who, accept),
            Op::Write { channel, bytes } => {
                if let Some(id) = self.choose(who, channel) {
                    self.write(pair, who, id, bytes);
                }
            }
            Op::Read { channel, max } => {
                if let Some(id) = self.choose(who, channel) {
                    self.read(pair, who, id, usize::from(max));
                }
            }
            Op::Finish { channel } => {
                if let Some(id) = self.choose(who, channel) {
                    let end = pair.end(who);
                    let finished = end.mux.finish(&mut end.link, end.now, id);
                    let known = self.known[who as usize].get_mut(&id).unwrap();
                    known.finished |= finished.is_ok();
                    let refused = finished == Err(ChannelWriteError::NotAccepted);
                    assert!(!refused || !known.answered);
                }
            }
            Op::Reset { channel } => {
                if let Some(id) = self.choose(who, channel) {
                    let end = pair.end(who);
                    let reset = end.mux.reset(&mut end.link, end.now, id, 1);
                    self.known[who as usize].get_mut(&id).unwrap().finished |= reset.is_ok();
                }
            }
            Op::Stop { channel } => {
                if let Some(id) = self.choose(who, channel) {
                    let end = pair.end(who);
                    let _ = end.mux.stop(&mut end.link, end.now, id, 2);
                }
            }
            Op::Abandon { channel } => {
                if let Some(id) = self.choose(who, channel) {
                    pair.end(who).abandon(id, 3);
                }
            }
            Op::Ping => {
                let end = pair.end(who);
                if end.mux.ping(&mut end.link, end.now).is_ok() {
                    self.pongs_awaited[who as usize] += 1;
                }
            }
            Op::Close => pair.end(who).close(CloseCode::Shutdown),
            Op::Deliver { packets } => {
                for _ in 0..packets {
                    pair.step();
                }
            }
            Op::Wait { seconds } => {
                // Time passes when nothing is on the wire, or the Hello would be late.
                pair.run();
                pair.advance(Duration::from_secs(u64::from(seconds)));
            }
        }
        self.absorb(pair);
    }

    fn open(&mut self, pair: &mut Pair, who: Who, datagrams: bool, early: u16) {
        let tag = self.next_tag;
        self.next_tag += 1;
        let request = match datagrams {
            true => ChannelRequest::datagrams("model"),
            false => ChannelRequest::stream("model"),
        };
        let kind = request.kind;
        let end = pair.end(who);
        let request = request.metadata(tag.to_be_bytes().to_vec());
        let Ok(id) = end.mux.open(&mut end.link, end.now, request) else {
            return;
        };
        self.know(who, id, tag, kind, true);
        self.write(pair, who, id, early);
    }

    fn know(&mut self, who: Who, id: ChannelId, tag: u64, kind: ChannelKind, opener: bool) {
        let known = Known {
            tag,
            opener,
            kind,
            written: 0,
            read: 0,
            finished: false,
            read_to_end: false,
            answered: opener,
            closed: false,
        };
        assert!(
            self.known[who as usize].insert(id, known).is_none(),
            "an id came twice"
        );
    }

    fn answer(&mut self, pair: &mut Pair, who: Who, accept: bool) {
        let waiting = self.known[who as usize]
            .iter_mut()
            .find(|(_, k)| !k.answered && !k.closed);
        let Some((id, known)) = waiting else { return };
        known.answered = true;
        let end = pair.end(who);
        let answered = match accept {
            true => end.mux.accept(&mut end.link, end.now, *id),
            false => end
                .mux
                .decline(&mut end.link, end.now, *id, DeclineCode::Policy),
        };
        // The time for an answer may be over, as long as the opener does not know.
        assert!(
            matches!(answered, Ok(()) | Err(AnswerError::Gone)),
            "{answered:?}"
        );
        end.drain();
    }

    fn write(&mut self, pair: &mut Pair, who: Who, id: ChannelId, bytes: u16) {
        let known = self.known[who as usize].get_mut(&id).unwrap();
        let payload = payload(known.tag, known.opener, known.written, u64::from(bytes));
        let end = pair.end(who);
        let result = match known.kind {
            ChannelKind::Stream => end.try_write(id, &payload),
            _ => {
                // Each datagram stands alone: it begins at place 0.
                let whole = crate::model::payload(known.tag, known.opener, 0, u64::from(bytes));
                let sent = end.mux.send_datagram(&mut end.link, end.now, id, whole);
                sent.map(|()| 0).map_err(|_| ChannelWriteError::Blocked)
            }
        };
        match result {
            Ok(written) => {
                assert!(!known.finished, "wrote after the end");
                known.written += written as u64;
            }
            Err(ChannelWriteError::NotAccepted) => assert!(!known.answered),
            Err(ChannelWriteError::WrongKind) => panic!("of the wrong kind"),
            Err(_) => {}
        }
    }

    fn read(&mut self, pair: &mut Pair, who: Who, id: ChannelId, max: usize) {
        let known = self.known[who as usize].get_mut(&id).unwrap();
        let end = pair.end(who);
        let stream = known.kind == ChannelKind::Stream;
        let result = if stream {
            end.try_read(id, max)
        } else {
            end.recv_datagram(id)
        };
        match result {
            Ok(Some(bytes)) => {
                assert!(!known.read_to_end, "bytes after the end");
                let from = if stream { known.read } else { 0 };
                let expected = payload(known.tag, !known.opener, from, bytes.len() as u64);
                assert_eq!(bytes, Bytes::from(expected), "not what was written");
                if stream {
                    known.read += bytes.len() as u64;
                }
            }
            Ok(None) => known.read_to_end = true,
            Err(ChannelReadError::NotAccepted) => assert!(!known.answered),
            Err(ChannelReadError::WrongKind) => panic!("of the wrong kind"),
            Err(_) => {}
        }
    }

    /// Takes in the events of both ends.
    fn absorb(&mut self, pair: &mut Pair) {
        for who in [Who::A, Who::B] {
            for event in std::mem::take(&mut pair.end(who).events) {
                self.on_event(who, event);
            }
        }
    }

    fn on_event(&mut self, who: Who, event: Event) {
        match event {
            Event::Incoming { id, request } => {
                let tag = u64::from_be_bytes(request.metadata[..].try_into().unwrap());
                self.know(who, id, tag, request.kind, false);
            }
            Event::Accepted { id }
            | Event::Declined { id, .. }
            | Event::Readable { id }
            | Event::Writable { id }
            | Event::Finished { id }
            | Event::Stopped { id, .. }
            | Event::DatagramReadable { id } => {
                // `Writable` may come out of `open`, before the id is known here.
                let known = self.known[who as usize].get(&id);
                assert!(!known.is_some_and(|k| k.closed), "{event:?} after the end");
            }
            Event::Closed { id, stats } => {
                let known = self.known[who as usize].get_mut(&id).unwrap();
                assert!(!known.closed, "closed twice");
                known.closed = true;
                if known.kind == ChannelKind::Stream {
                    assert_eq!((stats.sent, stats.received), (known.written, known.read));
                }
            }
            Event::Pong { .. } => self.pongs_awaited[who as usize] -= 1,
            Event::Drained => {
                assert!(self.known[who as usize].values().all(|k| k.closed));
                self.drained[who as usize] += 1;
            }
            Event::GoAway { .. } => {}
            other => panic!("{other:?}"),
        }
    }

    /// Brings everything to its end, and asserts that there is nothing left.
    fn wind_up(&mut self, pair: &mut Pair) {
        // Everybody answers, finishes and reads until nothing moves any more.
        for _ in 0..200 {
            pair.run();
            self.absorb(pair);
            let mut live = 0;
            for who in [Who::A, Who::B] {
                self.answer(pair, who, true);
                let ids: Vec<ChannelId> = self.known[who as usize]
                    .iter()
                    .filter(|(_, k)| !k.closed)
                    .map(|(id, _)| *id)
                    .collect();
                live += ids.len();
                for id in ids {
                    let end = pair.end(who);
                    if end.mux.finish(&mut end.link, end.now, id).is_ok() {
                        self.known[who as usize].get_mut(&id).unwrap().finished = true;
                    }
                    for _ in 0..20 {
                        self.read(pair, who, id, usize::MAX);
                    }
                }
            }
            self.absorb(pair);
            if live == 0 {
                break;
            }
        }
        pair.run();
        self.absorb(pair);
        self.assert_over(pair);
    }

    fn assert_over(&mut self, pair: &mut Pair) {
        for who in [Who::A, Who::B] {
            assert!(
                self.known[who as usize].values().all(|k| k.closed),
                "{:?}",
                self.known
            );
            pair.end(who).assert_empty();
            assert_eq!(self.pongs_awaited[who as usize], 0);
        }
        // What one end read to the end is what the other wrote.
        for (reader, writer) in [(0, 1), (1, 0)] {
            for ours in self.known[reader]
                .values()
                .filter(|k| k.kind == ChannelKind::Stream)
            {
                let theirs = self.known[writer].values().find(|k| k.tag == ours.tag);
                let written = theirs.map_or(0, |k| k.written);
                assert!(ours.read <= written, "read what nobody wrote");
                assert!(
                    !ours.read_to_end || ours.read == written,
                    "the end came too early"
                );
            }
        }
        pair.a.close(CloseCode::Shutdown);
        pair.run();
        self.absorb(pair);
        assert_eq!(self.drained, [1, 1]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 250,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_list_of_operations_keeps_to_the_model(
        ops in prop::collection::vec(op(), 1..200),
        seed in any::<u64>(),
        window in prop_oneof![Just(5usize), Just(100), Just(10_000)],
        streams in prop_oneof![Just(3u64), Just(1000)],
    ) {
        let settings = Settings { window, streams, datagrams: 50, ..Settings::default() };
        let limits = Limits::default().max_channels(30).max_queued_opens(10).max_pending_requests(16);
        let mut pair = Pair::unconnected(&settings, &limits, seed);
        let mut model = Model::default();
        pair.connect();
        for (first, op) in &ops {
            model.apply(&mut pair, if *first { Who::A } else { Who::B }, op);
            let (a, b) = (pair.a.mux.stats(), pair.b.mux.stats());
            prop_assert!(a.channels <= 30 && b.channels <= 30);
            prop_assert!(a.pending_requests <= 16 && b.pending_requests <= 16);
        }
        model.wind_up(&mut pair);
    }
}
