//! Bytes of frames, their bounds, and what is none.
#![allow(clippy::unwrap_used)] // A failed unwrap is a failed test.
use super::*;

const META: Meta = Meta {
    mode: 0o644,
    seconds: -2,
    nanoseconds: 999_999_999,
};

fn every_kind() -> Vec<Frame<'static>> {
    let options = Options {
        recursive: true,
        totals: true,
        ..Options::default()
    };
    let digest = Digest([7; 32]);
    vec![
        Frame::Push {
            options,
            destination: b"to/here",
            names: vec![b"a", b"", b"\xff\n"],
        },
        Frame::Pull {
            options,
            sources: vec![b"~/x", b""],
        },
        Frame::Source { index: 3 },
        Frame::Directory {
            name: b"dir",
            meta: META,
        },
        Frame::Leave,
        Frame::File {
            name: b"",
            size: 1 << 40,
            meta: META,
        },
        Frame::Link {
            name: b"l",
            target: b"../x",
            meta: META,
        },
        Frame::Missing {
            path: b"a/b",
            reason: b"permission denied",
            is_failure: true,
        },
        Frame::Total { files: 1, bytes: 2 },
        Frame::Start { id: 1, offset: 9 },
        Frame::Hole { length: 4096 },
        Frame::Finish { digest },
        Frame::Broken {
            id: 1,
            path: b"p",
            reason: b"it became shorter",
        },
        Frame::End,
        Frame::Want { id: 1, have: None },
        Frame::Want {
            id: 2,
            have: Some(Have { length: 5, digest }),
        },
        Frame::Done {
            id: 3,
            ending: Ending::Dropped,
        },
        Frame::Failed {
            id: 4,
            path: b"p",
            reason: b"r",
        },
        Frame::Waiting { path: b"p" },
        Frame::Bye,
        Frame::Abort { reason: b"why" },
    ]
}

fn encoded(frame: &Frame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    bytes
}

#[test]
fn every_frame_comes_back_and_no_shorter_or_longer_body_is_one() {
    for frame in every_kind() {
        let bytes = encoded(&frame);
        let (header, body) = bytes.split_first_chunk::<HEADER_LEN>().unwrap();
        let (kind, length) = decode_header(*header).unwrap();
        assert_eq!(length, body.len());
        assert_eq!(Frame::decode(kind, body).unwrap(), frame);
        for cut in 0..body.len() {
            let result = Frame::decode(kind, &body[..cut]);
            // A want without a hash is a want that has nothing.
            let is_want = matches!(result, Ok(Frame::Want { have: None, .. }));
            assert!(result.is_err() || is_want, "{frame:?} cut at {cut}");
        }
        let longer = [body, b"x"].concat();
        assert!(Frame::decode(kind, &longer).is_err(), "{frame:?}");
    }
}

#[test]
fn the_bytes_of_frames_are_those_of_the_book() {
    let hex = |frame: &Frame<'_>| {
        let bytes = encoded(frame);
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let file = Frame::File {
        name: b"a",
        size: 5,
        meta: Meta {
            mode: 0o644,
            seconds: 1,
            nanoseconds: 2,
        },
    };
    assert_eq!(
        hex(&file),
        "13000000180161\
         01a4000000000000000100000002\
         0000000000000005"
    );
    assert_eq!(
        hex(&Frame::Want { id: 1, have: None }),
        "30000000080000000000000001"
    );
    let pull = Frame::Pull {
        options: Options {
            recursive: true,
            ..Options::default()
        },
        sources: vec![b"d"],
    };
    assert_eq!(hex(&pull), "0200000007010100010001".to_owned() + "64");
}

#[test]
fn a_block_follows_its_header() {
    let bytes = encoded(&Frame::Data(b"12345"));
    assert_eq!(bytes, [0x21, 0, 0, 0, 5]);
    assert_eq!(Frame::decode(0x21, b"12345"), Ok(Frame::Data(b"12345")));
}

#[test]
fn a_body_is_taken_up_to_its_bound_and_not_one_byte_longer() {
    for (kind, bound) in [
        (kind::PUSH, MAX_REQUEST),
        (kind::PULL, MAX_REQUEST),
        (kind::DATA, MAX_BLOCK),
        (kind::FILE, MAX_FRAME),
        (kind::ABORT, MAX_FRAME),
    ] {
        let header = |length: usize| {
            let [a, b, c, d] = u32::try_from(length).unwrap().to_be_bytes();
            [kind, a, b, c, d]
        };
        assert_eq!(decode_header(header(bound)), Ok((kind, bound)));
        assert!(matches!(
            decode_header(header(bound + 1)),
            Err(DecodeError::TooLong(_))
        ));
    }
    assert_eq!(decode_header([0, 0, 0, 0, 0]), Err(DecodeError::Kind(0)));
    assert_eq!(
        decode_header([0xff, 0, 0, 0, 0]),
        Err(DecodeError::Kind(0xff))
    );
}

#[test]
fn the_number_of_sources_has_a_bound() {
    let request = |count: usize| {
        encoded(&Frame::Pull {
            options: Options::default(),
            sources: vec![b""; count],
        })
    };
    for (count, is_taken) in [(0, false), (MAX_SOURCES, true), (MAX_SOURCES + 1, false)] {
        let bytes = request(count);
        let decoded = Frame::decode(kind::PULL, &bytes[HEADER_LEN..]);
        assert_eq!(decoded.is_ok(), is_taken, "{count} sources");
    }
}

#[test]
fn a_path_a_reason_and_a_size_have_bounds() {
    let path = |length: usize| {
        let mut body = Vec::new();
        fields::put_bytes(&mut body, &vec![b'p'; length]);
        fields::put_bytes(&mut body, b"r");
        body.push(1);
        Frame::decode(kind::MISSING, &body).is_ok()
    };
    assert!(path(MAX_PATH) && !path(MAX_PATH + 1));
    let reason = |length: usize| {
        let mut body = Vec::new();
        fields::put_bytes(&mut body, &vec![b'p'; length]);
        Frame::decode(kind::ABORT, &body).is_ok()
    };
    assert!(reason(MAX_REASON) && !reason(MAX_REASON + 1));
    let size = |size| {
        let bytes = encoded(&Frame::File {
            name: b"f",
            size,
            meta: META,
        });
        Frame::decode(kind::FILE, &bytes[HEADER_LEN..]).is_ok()
    };
    assert!(size(i64::MAX as u64) && !size(i64::MAX as u64 + 1));
}

#[test]
fn a_long_reason_is_cut_and_of_a_long_path_the_end_stays() {
    let path = [b"/".repeat(MAX_PATH), b"end".to_vec()].concat();
    let bytes = encoded(&Frame::Failed {
        id: 1,
        path: &path,
        reason: &[b'r'; MAX_REASON + 9],
    });
    match Frame::decode(kind::FAILED, &bytes[HEADER_LEN..]).unwrap() {
        Frame::Failed { path, reason, .. } => {
            assert!(path.len() == MAX_PATH && path.ends_with(b"end"));
            assert_eq!(reason.len(), MAX_REASON);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn another_version_is_named() {
    assert_eq!(
        Frame::decode(kind::PULL, &[9, 0, 0, 0]),
        Err(DecodeError::Version(9))
    );
}
