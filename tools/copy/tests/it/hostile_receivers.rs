//! Receivers that ask for what there is not, and sources that change under a sender's hands.

use std::fs;

use dhtnet_copy::frame::{Ending, Frame, Have, Options};
use dhtnet_copy::hash::Digest;

use crate::place::Place;
use crate::script::Script;

/// A client that is sent `from/t`.
fn pull(place: &Place) -> Script {
    let mut script = Script::new();
    let path = place.path("from/t");
    script.say(&Frame::Pull {
        options: Options::default(),
        sources: vec![path.as_os_str().as_encoded_bytes()],
    });
    script
}

/// A client that has heard of the one file, of five bytes.
fn announced(place: &Place) -> Script {
    place.write("from/t", "12345");
    let mut script = pull(place);
    script.hear(|frame| assert_eq!(frame, Frame::Source { index: 0 }));
    script.hear(|frame| assert!(matches!(frame, Frame::File { size: 5, .. })));
    script
}

const WANT: Frame<'static> = Frame::Want { id: 0, have: None };

#[test]
fn a_verdict_on_what_was_not_announced_ends_the_copy() {
    let have = Some(Have {
        length: 6,
        digest: Digest([0; 32]),
    });
    let ending = Ending::Stored;
    for (frames, reason) in [
        (
            vec![Frame::Want { id: 1, have: None }],
            "a verdict on what was not announced",
        ),
        (vec![WANT, WANT], "a verdict on what was not announced"),
        (
            vec![Frame::Done { id: 7, ending }],
            "a verdict on what was not announced",
        ),
        (
            vec![Frame::Done { id: 0, ending }],
            "it has stored what it was not sent",
        ),
        (
            vec![Frame::Want { id: 0, have }],
            "it has more of a file than there is",
        ),
        (vec![Frame::Bye], "a good-bye before the end"),
        (vec![Frame::End], "a receiver that speaks as a sender"),
    ] {
        let place = Place::new();
        let mut script = announced(&place);
        frames.iter().for_each(|frame| script.say(frame));
        assert!(script.abort().ends_with(reason), "{reason}");
        assert!(script.end().is_err());
    }
}

#[test]
fn who_has_something_else_gets_all_of_it() {
    let place = Place::new();
    let mut script = announced(&place);
    let digest = Digest([0; 32]);
    let have = Some(Have { length: 4, digest });
    script.say(&Frame::Want { id: 0, have });
    script.hear(|frame| assert_eq!(frame, Frame::Start { id: 0, offset: 0 }));
    script.hear(|frame| assert_eq!(frame, Frame::Data(b"12345")));
}

#[test]
fn a_source_that_vanishes_shrinks_or_becomes_a_pipe_is_told() {
    type Change = fn(&std::path::Path);
    let changes: [(Change, &str); 3] = [
        (
            |path| fs::remove_file(path).unwrap(),
            "no such file or directory",
        ),
        (
            |path| fs::write(path, "123").unwrap(),
            "it became shorter while it was copied",
        ),
        (
            |path| {
                fs::remove_file(path).unwrap();
                let mode = rustix::fs::Mode::RUSR;
                let kind = rustix::fs::FileType::Fifo;
                rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).unwrap();
            },
            "it is no file any more",
        ),
    ];
    for (change, expected) in changes {
        let place = Place::new();
        let mut script = announced(&place);
        change(&place.path("from/t"));
        script.say(&WANT);
        let reason = script.hear(|frame| match frame {
            Frame::Broken { id: 0, reason, .. } => String::from_utf8(reason.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        });
        assert_eq!(reason.unwrap(), expected);
        let ending = Ending::Dropped;
        script.say(&Frame::Done { id: 0, ending });
        script.hear(|frame| assert_eq!(frame, Frame::End));
        script.say(&Frame::Bye);
        assert_eq!(script.end().unwrap().failed, 1);
    }
}

#[test]
fn a_source_that_grows_is_sent_as_long_as_it_was() {
    let place = Place::new();
    let mut script = announced(&place);
    fs::write(place.path("from/t"), "123456789").unwrap();
    script.say(&WANT);
    script.hear(|frame| assert_eq!(frame, Frame::Start { id: 0, offset: 0 }));
    script.hear(|frame| assert_eq!(frame, Frame::Data(b"12345")));
    script.hear(|frame| assert!(matches!(frame, Frame::Finish { .. })));
}

#[test]
fn a_file_that_failed_at_the_receiver_is_not_sent_to_its_end() {
    let place = Place::new();
    place.write("from/t", vec![7; 8 << 20]);
    let mut script = pull(&place);
    script.hear(|_| ());
    script.hear(|_| ());
    script.say(&WANT);
    script.hear(|frame| assert!(matches!(frame, Frame::Start { .. })));
    script.say(&Frame::Failed {
        id: 0,
        path: b"t",
        reason: b"no space left on device",
    });
    let mut blocks = 0;
    loop {
        let is_broken = script.hear(|frame| match frame {
            Frame::Data(_) => false,
            Frame::Broken { id: 0, .. } => true,
            other => panic!("{other:?}"),
        });
        if is_broken.unwrap() {
            break;
        }
        blocks += 1;
    }
    assert!(blocks < 32, "{blocks} blocks of 256 KiB");
    script.hear(|frame| assert_eq!(frame, Frame::End));
    script.say(&Frame::Bye);
    assert_eq!(script.end().unwrap().failed, 1);
}
