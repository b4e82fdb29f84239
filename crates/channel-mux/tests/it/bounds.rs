//! Every bound, at the bound and one past it.

use dhtnet_channel_mux::codec::{ControlFrame, RequestFrame, encode_control, encode_request};
use dhtnet_channel_mux::limits::{
    LARGE_REQUEST, MAX_CONTROL_BACKLOG, MAX_CONTROL_FRAME, MAX_LARGE_REQUESTS, MAX_METADATA,
    MAX_NAME, MAX_NOTE, MAX_NOTES, MAX_PINGS, MIN_PENDING_REQUESTS,
};
use dhtnet_channel_mux::{
    ChannelRequest, DeclineCode, Event, Fault, InvalidRequest, Limits, Link, NoteError, OpenError,
    PingError, StreamId,
};

use crate::link::Settings;
use crate::pair::Pair;

fn try_open(pair: &mut Pair, request: ChannelRequest) -> Result<(), OpenError> {
    pair.a
        .mux
        .open(&mut pair.a.link, pair.a.now, request)
        .map(|_| ())
}

fn with_limits(limits: &Limits) -> Pair {
    Pair::with(&Settings::default(), limits, 1)
}

#[test]
fn a_name_of_255_bytes_is_carried_and_one_of_256_is_not() {
    let mut pair = Pair::new();
    try_open(&mut pair, ChannelRequest::stream("n".repeat(MAX_NAME))).unwrap();
    pair.run();
    assert_eq!(pair.b.incoming().1.name.len(), MAX_NAME);
    let past = try_open(&mut pair, ChannelRequest::stream("n".repeat(MAX_NAME + 1)));
    let length = MAX_NAME + 1;
    assert_eq!(
        past,
        Err(OpenError::InvalidRequest(InvalidRequest::NameTooLong {
            length
        }))
    );
    let empty = try_open(&mut pair, ChannelRequest::stream(""));
    assert_eq!(
        empty,
        Err(OpenError::InvalidRequest(InvalidRequest::EmptyName))
    );
    let control = try_open(&mut pair, ChannelRequest::stream("a\x1b[2J"));
    assert_eq!(
        control,
        Err(OpenError::InvalidRequest(InvalidRequest::ControlCharacter))
    );
}

#[test]
fn metadata_of_56_kib_is_carried_and_one_byte_more_is_not() {
    let mut pair = Pair::new();
    try_open(
        &mut pair,
        ChannelRequest::stream("m").metadata(vec![1; MAX_METADATA]),
    )
    .unwrap();
    pair.run();
    assert_eq!(pair.b.incoming().1.metadata.len(), MAX_METADATA);
    let past = try_open(
        &mut pair,
        ChannelRequest::stream("m").metadata(vec![1; MAX_METADATA + 1]),
    );
    let length = MAX_METADATA + 1;
    assert_eq!(
        past,
        Err(OpenError::InvalidRequest(InvalidRequest::MetadataTooLong {
            length
        }))
    );
}

#[test]
fn own_opens_stop_at_the_number_of_channels() {
    let mut pair = with_limits(&Limits::default().max_channels(3));
    for _ in 0..3 {
        try_open(&mut pair, ChannelRequest::stream("test")).unwrap();
    }
    let past = try_open(&mut pair, ChannelRequest::stream("test"));
    assert_eq!(past, Err(OpenError::TooManyChannels { max: 3 }));
}

#[test]
fn the_peer_s_channels_stop_at_the_number_of_channels_and_the_next_is_busy() {
    let mut pair = Pair::with_responder(&Settings::default(), &Limits::default().max_channels(3));
    for _ in 0..2 {
        pair.stream();
    }
    pair.b.open(ChannelRequest::stream("own"));
    let a = pair.a.open(ChannelRequest::stream("one past"));
    pair.run();
    assert_eq!(pair.a.declined(a).code(), DeclineCode::Busy);
    assert_eq!(
        (pair.b.mux.stats().refused, pair.b.mux.stats().channels),
        (1, 3)
    );
    assert_eq!(pair.a.closed(a), 1);
}

#[test]
fn a_refusal_that_finds_no_window_still_says_busy() {
    let settings = Settings {
        window: 3,
        ..Settings::default()
    };
    let mut pair = Pair::with_responder(&settings, &Limits::default().max_channels(1));
    pair.b.open(ChannelRequest::stream("own"));
    let a = pair.a.open(ChannelRequest::stream("one past"));
    pair.run();
    assert_eq!(pair.a.declined(a).code(), DeclineCode::Busy);
    assert_eq!(pair.b.mux.stats().channels, 1);
}

#[test]
fn opens_past_the_queue_are_refused() {
    let settings = Settings {
        streams: 1,
        ..Settings::default()
    };
    let mut pair = Pair::with(&settings, &Limits::default().max_queued_opens(2), 1);
    for _ in 0..2 {
        try_open(&mut pair, ChannelRequest::stream("test")).unwrap();
    }
    assert_eq!(
        pair.a.mux.stats().queued_opens,
        2,
        "the control stream has the only stream"
    );
    let past = try_open(&mut pair, ChannelRequest::stream("test"));
    assert_eq!(past, Err(OpenError::QueueFull { max: 2 }));
}

#[test]
fn an_opener_asks_no_more_at_once_than_the_peer_takes() {
    let max = MIN_PENDING_REQUESTS;
    let mut pair = with_limits(&Limits::default().max_pending_requests(max));
    for _ in 0..max + 1 {
        pair.a.open(ChannelRequest::stream("test"));
    }
    pair.run();
    assert_eq!(pair.b.mux.stats().pending_requests, max);
    assert_eq!(
        (
            pair.a.mux.stats().awaiting_answer,
            pair.a.mux.stats().queued_opens
        ),
        (max, 1)
    );
    let (b, _) = pair.b.incoming();
    pair.b.accept(b);
    pair.run();
    assert_eq!(
        (
            pair.a.mux.stats().awaiting_answer,
            pair.a.mux.stats().queued_opens
        ),
        (max, 0)
    );
    assert_eq!(pair.b.mux.stats().refused, 0);
}

#[test]
fn a_peer_that_asks_more_at_once_than_it_was_told_is_busied() {
    let max = MIN_PENDING_REQUESTS;
    let mut pair = with_limits(&Limits::default().max_pending_requests(max));
    pair.a.mute = true;
    let mut streams: Vec<StreamId> = Vec::new();
    for _ in 0..max + 1 {
        let stream = pair.a.link.open_stream().unwrap();
        pair.a.raw(stream, &[0]);
        pair.run();
        streams.push(stream);
    }
    assert_eq!(
        (
            pair.b.mux.stats().pending_requests,
            pair.b.mux.stats().refused
        ),
        (max, 1)
    );
    assert!(
        pair.a.link.read(streams[max - 1], 9).is_err(),
        "the last in waits"
    );
    assert!(
        pair.a.link.read(streams[max], 9).is_ok(),
        "the one past has its answer"
    );
    assert_eq!(pair.b.mux.stats().buffered_bytes, max, "one byte each");
}

#[test]
fn sixteen_large_requests_wait_and_the_next_is_busied() {
    let mut pair = Pair::new();
    let large = || ChannelRequest::stream("test").metadata(vec![1; LARGE_REQUEST + 1]);
    for _ in 0..MAX_LARGE_REQUESTS {
        pair.a.open(large());
    }
    pair.run();
    assert_eq!(pair.b.mux.stats().pending_requests, MAX_LARGE_REQUESTS);
    assert_eq!(pair.b.mux.stats().declined, 0);
    pair.a.open(large());
    pair.a
        .open(ChannelRequest::stream("test").metadata(vec![1; LARGE_REQUEST]));
    pair.run();
    assert_eq!(pair.b.mux.stats().declined, 1, "one past the bound");
    assert_eq!(pair.b.mux.stats().pending_requests, MAX_LARGE_REQUESTS + 1);
    // An answer makes room.
    let (first, _) = pair.b.incoming();
    pair.b.accept(first);
    pair.a.open(large());
    pair.run();
    assert_eq!(pair.b.mux.stats().declined, 1);
}

#[test]
fn a_large_request_that_only_begins_counts_too() {
    let mut pair = Pair::new();
    pair.a.mute = true;
    for _ in 0..=MAX_LARGE_REQUESTS {
        let stream = pair.a.link.open_stream().unwrap();
        pair.a
            .raw(stream, &((LARGE_REQUEST + 1) as u16).to_be_bytes());
        pair.run();
    }
    assert_eq!(pair.b.mux.stats().declined, 1);
    assert_eq!(pair.b.mux.stats().pending_requests, MAX_LARGE_REQUESTS);
}

#[test]
fn the_ninth_ping_without_a_pong_is_refused() {
    let mut pair = Pair::new();
    for _ in 0..MAX_PINGS {
        pair.a.mux.ping(&mut pair.a.link, pair.a.now).unwrap();
    }
    let past = pair.a.mux.ping(&mut pair.a.link, pair.a.now);
    assert_eq!(past, Err(PingError::TooManyPings { max: MAX_PINGS }));
    pair.run();
    assert_eq!(pair.a.events.len(), MAX_PINGS);
    assert!(pair.a.mux.ping(&mut pair.a.link, pair.a.now).is_ok());
}

#[test]
fn a_control_frame_at_its_bound_is_skipped_if_unknown_and_one_past_it_is_a_fault() {
    let mut frame = encode_control(&ControlFrame::Unknown(99)).to_vec();
    frame.resize(2 + MAX_CONTROL_FRAME, 0);
    frame[..2].copy_from_slice(&(MAX_CONTROL_FRAME as u16).to_be_bytes());
    let mut pair = Pair::new();
    pair.a.mute = true;
    pair.a.raw(StreamId(0), &frame);
    pair.run();
    assert_eq!(pair.b.mux.stats().control_unknown, 1);
    assert!(pair.b.events.is_empty());

    let length = MAX_CONTROL_FRAME + 1;
    pair.a.raw(StreamId(0), &(length as u16).to_be_bytes());
    pair.run();
    assert_eq!(
        pair.b.events,
        [Event::Fault {
            fault: Fault::FrameTooLong { length }
        }]
    );
}

#[test]
fn a_peer_that_pings_and_never_reads_stalls_itself() {
    let mut pair = Pair::new();
    pair.a.mute = true;
    let ping = encode_control(&ControlFrame::Ping(u64::MAX));
    let mut sent = 0;
    loop {
        let mut chunks = [ping.clone()];
        if pair.a.link.write(StreamId(0), &mut chunks).is_err() {
            break;
        }
        sent += 1;
        pair.run();
        assert!(sent < 100_000, "the mux reads on for ever");
    }
    let buffered = pair.b.mux.stats().buffered_bytes;
    assert!(buffered > MAX_CONTROL_BACKLOG, "{buffered}");
    assert!(buffered <= MAX_CONTROL_BACKLOG + ping.len(), "{buffered}");
    // It goes on when the peer reads at last.
    while pair.a.link.read(StreamId(0), usize::MAX).is_ok() || pair.step() {}
    let partial = pair.b.mux.stats().buffered_bytes;
    assert!(
        partial < ping.len(),
        "more than the ping that the window cut: {partial}"
    );
    assert!(pair.b.events.is_empty());
}

#[test]
fn a_note_of_1020_bytes_is_carried_and_one_of_1021_is_not() {
    let mut pair = Pair::new();
    let mut note = |len: usize| {
        let body = vec![7; len].into();
        pair.a.mux.note(&mut pair.a.link, body)
    };
    assert_eq!(note(MAX_NOTE), Ok(()));
    let found = MAX_NOTE + 1;
    assert_eq!(note(found), Err(NoteError::TooLong { found }));
    pair.run();
    let body = vec![7; MAX_NOTE].into();
    assert_eq!(pair.b.events[..], [Event::Note { body }]);
}

#[test]
fn of_the_notes_that_come_at_once_sixteen_wait_and_the_next_is_dropped() {
    let mut pair = Pair::new();
    pair.a.mute = true;
    let note = encode_control(&ControlFrame::Note("x".into()));
    let all: Vec<u8> = note.repeat(MAX_NOTES + 1);
    let mut chunks = [all.into()];
    pair.a.link.write(StreamId(0), &mut chunks).unwrap();
    pair.run();
    assert_eq!(pair.b.events.len(), MAX_NOTES);
    assert_eq!(pair.b.mux.stats().notes_dropped, 1);
    // Those that were taken make room.
    let mut chunks = [note];
    pair.a.link.write(StreamId(0), &mut chunks).unwrap();
    pair.run();
    assert_eq!(pair.b.events.len(), MAX_NOTES + 1);
}

#[test]
fn notes_to_a_peer_that_reads_nothing_are_refused_at_a_bound() {
    let mut pair = Pair::new();
    pair.b.mute = true;
    let full = (0..10_000).find_map(|_| {
        let body = vec![7; MAX_NOTE].into();
        pair.a.mux.note(&mut pair.a.link, body).err()
    });
    assert_eq!(full, Some(NoteError::Blocked));
    assert!(pair.a.mux.stats().buffered_bytes <= MAX_CONTROL_BACKLOG);
}

#[test]
fn a_request_frame_past_its_bound_is_reset_before_it_is_held() {
    let mut pair = Pair::new();
    pair.a.mute = true;
    let stream = pair.a.link.open_stream().unwrap();
    let length = dhtnet_channel_mux::limits::MAX_REQUEST_FRAME + 1;
    pair.a.raw(stream, &(length as u16).to_be_bytes());
    pair.run();
    assert_eq!(
        (pair.b.mux.stats().malformed, pair.b.mux.stats().channels),
        (1, 0)
    );

    let stream = pair.a.link.open_stream().unwrap();
    pair.a.raw(stream, &((length - 1) as u16).to_be_bytes());
    pair.a.raw(stream, &vec![0; length - 2]);
    pair.run();
    let stats = pair.b.mux.stats();
    assert_eq!(
        (stats.malformed, stats.channels, stats.buffered_bytes),
        (1, 1, length)
    );
}

#[test]
fn limits_keep_to_their_range() {
    let least = Limits::default().max_channels(0).max_pending_requests(0);
    assert_eq!(
        least,
        Limits::default()
            .max_channels(1)
            .max_pending_requests(MIN_PENDING_REQUESTS)
    );
    let most = Limits::default()
        .max_channels(usize::MAX)
        .max_datagram_bytes(usize::MAX);
    let bound = Limits::default()
        .max_channels(dhtnet_channel_mux::limits::MAX_CHANNELS)
        .max_datagram_bytes(dhtnet_channel_mux::limits::MAX_DATAGRAM_BYTES);
    assert_eq!(most, bound);
}

#[test]
fn a_request_at_every_bound_fits_its_frame() {
    let request = ChannelRequest::datagrams("n".repeat(MAX_NAME)).metadata(vec![1; MAX_METADATA]);
    let frame = encode_request(&RequestFrame {
        request,
        number: Some((1 << 62) - 1),
    });
    assert!(frame.len() - 2 < dhtnet_channel_mux::limits::MAX_REQUEST_FRAME);
}
