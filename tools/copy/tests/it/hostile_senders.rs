//! Senders that want out of the destination, or too much.

use std::fs;

use dhtnet_copy::bounds::{MAX_DEPTH, MAX_IN_FLIGHT};
use dhtnet_copy::frame::{Ending, Frame, Have, Options};
use dhtnet_copy::hash::{Digest, FileHash};

use crate::place::{Place, link, names};
use crate::script::{META, Script};

fn file(name: &[u8], size: u64) -> Frame<'_> {
    Frame::File {
        name,
        size,
        meta: META,
    }
}

fn directory(name: &[u8]) -> Frame<'_> {
    Frame::Directory { name, meta: META }
}

fn hash(bytes: &[u8]) -> Digest {
    let mut hash = FileHash::default();
    hash.update(bytes);
    hash.digest()
}

const SOURCE: Frame<'static> = Frame::Source { index: 0 };

/// The words with which a receiver ends after these frames.
fn ended_by(frames: &[Frame<'_>]) -> String {
    let place = Place::new();
    let mut script = Script::push(&place.path("to"));
    for frame in frames {
        script.say(frame);
    }
    let reason = script.abort();
    assert!(script.end().is_err());
    assert_eq!(names(&place.path("")), ["from", "to"]);
    let reason = reason.strip_prefix("the peer broke the rules of the copy: ");
    reason.unwrap().to_owned()
}

#[test]
fn a_name_that_leads_elsewhere_ends_the_copy() {
    let names: [&[u8]; 7] = [b"..", b".", b"", b"/", b"a/b", b"../../x", b"a\0"];
    for name in names {
        let entries = [
            file(name, 1),
            directory(name),
            Frame::Link {
                name,
                target: b"x",
                meta: META,
            },
        ];
        for entry in entries {
            let frames = [SOURCE, directory(b""), entry];
            assert_eq!(ended_by(&frames), "a name that is none");
        }
    }
}

#[test]
fn a_source_gets_the_name_that_was_asked_for_and_no_other() {
    let frames = [SOURCE, file(b".bashrc", 1)];
    assert_eq!(ended_by(&frames), "a source with a name of its own");
    assert_eq!(ended_by(&[file(b"", 1)]), "an entry of no source");
    let frames = [SOURCE, file(b"", 1), file(b"", 1)];
    assert_eq!(ended_by(&frames), "an entry of no source");
    assert_eq!(ended_by(&[SOURCE, SOURCE]), "a source comes twice");
    let frames = [Frame::Source { index: 1 }];
    assert_eq!(ended_by(&frames), "a source that was not asked for");
    let frames = [SOURCE, directory(b""), SOURCE];
    assert_eq!(ended_by(&frames), "a source inside a directory");
}

#[test]
fn a_file_that_was_asked_for_is_neither_a_link_nor_a_folder() {
    let bait = Frame::Link {
        name: b"",
        target: b".ssh/authorized_keys",
        meta: META,
    };
    assert_eq!(ended_by(&[SOURCE, bait]), "a link in the place of a source");

    let place = Place::new();
    let mut script = Script::new();
    script.say(&Frame::Push {
        options: Options::default(),
        destination: place.path("to").as_os_str().as_encoded_bytes(),
        names: vec![b"t"],
    });
    script.say(&SOURCE);
    script.say(&directory(b""));
    assert!(
        script
            .abort()
            .ends_with("a directory that was not asked for")
    );
    assert_eq!(names(&place.path("to")), [""; 0]);
}

#[test]
fn a_name_comes_once_and_in_order() {
    for (first, second) in [(&b"a"[..], &b"a"[..]), (b"b", b"a")] {
        let frames = [SOURCE, directory(b""), file(first, 1), file(second, 1)];
        assert_eq!(ended_by(&frames), "a name twice, or out of order");
    }
    // What a link was cannot become a folder.
    let trick = [
        SOURCE,
        directory(b""),
        Frame::Link {
            name: b"d",
            target: b"/tmp",
            meta: META,
        },
        directory(b"d"),
    ];
    assert_eq!(ended_by(&trick), "a name twice, or out of order");
}

#[test]
fn content_fits_what_was_announced() {
    let start = Frame::Start { id: 0, offset: 0 };
    let one = [SOURCE, file(b"", 4), start.clone()];
    let with = |more: &[Frame<'static>]| ended_by(&[&one[..], more].concat());
    let too_much = "more content than was announced";
    assert_eq!(with(&[Frame::Data(b"12345")]), too_much);
    assert_eq!(with(&[Frame::Data(b"1234"), Frame::Data(b"5")]), too_much);
    assert_eq!(with(&[Frame::Hole { length: 5 }]), too_much);
    assert_eq!(with(&[Frame::Hole { length: u64::MAX }]), too_much);
    let digest = hash(b"123");
    assert_eq!(
        with(&[Frame::Data(b"123"), Frame::Finish { digest }]),
        "less content than was announced"
    );
    assert_eq!(with(&[start]), "two files at the same time");
    assert_eq!(with(&[Frame::End]), "an end before the end");
    assert_eq!(
        with(&[Frame::Broken {
            id: 1,
            path: b"",
            reason: b""
        }]),
        "a file that was not its turn"
    );
    assert_eq!(ended_by(&[Frame::Data(b"1")]), "content of no file");
    assert_eq!(ended_by(&[Frame::Hole { length: 1 }]), "content of no file");
    assert_eq!(ended_by(&[Frame::Finish { digest }]), "content of no file");
    assert_eq!(
        ended_by(&[Frame::Start { id: 0, offset: 0 }]),
        "a file that was not its turn"
    );
    let beyond = [SOURCE, file(b"", 4), Frame::Start { id: 0, offset: 3 }];
    assert_eq!(ended_by(&beyond), "a file that begins where it should not");
}

#[test]
fn who_leaves_where_he_never_entered_or_speaks_out_of_turn_is_sent_away() {
    assert_eq!(
        ended_by(&[Frame::Leave]),
        "it leaves where it never entered"
    );
    let frames = [SOURCE, directory(b""), Frame::End];
    assert_eq!(ended_by(&frames), "an end before the end");
    let frames = [Frame::Want { id: 0, have: None }];
    assert_eq!(ended_by(&frames), "a sender that speaks as a receiver");
    let mut script = Script::new();
    script.say(&Frame::End);
    assert!(script.abort().ends_with("it begins without a request"));
}

#[test]
fn directories_are_inside_each_other_up_to_the_bound_and_no_deeper() {
    let place = Place::new();
    let mut script = Script::push(&place.path("to"));
    script.say(&SOURCE);
    script.say(&directory(b""));
    // The source is a level too.
    for _ in 1..MAX_DEPTH {
        script.say(&directory(b"d"));
    }
    for _ in 0..MAX_DEPTH {
        script.say(&Frame::Leave);
    }
    script.say(&Frame::End);
    assert_eq!(script.end().unwrap().directories, MAX_DEPTH as u64);

    let mut deeper = vec![SOURCE, directory(b"")];
    deeper.extend((0..MAX_DEPTH).map(|_| directory(b"d")));
    assert_eq!(ended_by(&deeper), "too many directories inside each other");
}

#[test]
fn entries_are_announced_up_to_the_bound_and_no_further() {
    let name = |number: usize| format!("{number:05}").into_bytes();
    for (count, is_taken) in [(MAX_IN_FLIGHT, true), (MAX_IN_FLIGHT + 1, false)] {
        let place = Place::new();
        let mut script = Script::push(&place.path("to"));
        script.say(&SOURCE);
        script.say(&directory(b""));
        for number in 0..count {
            script.say(&file(&name(number), 1));
        }
        if is_taken {
            for id in 1..=count as u64 {
                script.say(&Frame::Start { id, offset: 0 });
                script.say(&Frame::Data(b"x"));
                script.say(&Frame::Finish { digest: hash(b"x") });
            }
            script.say(&Frame::Leave);
            script.say(&Frame::End);
            assert_eq!(script.end().unwrap().files, count as u64);
        } else {
            assert!(script.abort().ends_with("too many entries at a time"));
        }
    }
}

#[test]
fn content_with_another_hash_gets_no_name() {
    let place = Place::new();
    let mut script = Script::push(&place.path("to"));
    for frame in [
        SOURCE,
        file(b"", 4),
        Frame::Start { id: 0, offset: 0 },
        Frame::Data(b"1234"),
        Frame::Finish {
            digest: hash(b"1235"),
        },
    ] {
        script.say(&frame);
    }
    script.hear(|frame| assert_eq!(frame, Frame::Want { id: 0, have: None }));
    let failed = script.hear(|frame| matches!(frame, Frame::Failed { id: 0, .. }));
    assert_eq!(failed, Some(true));
    script.say(&Frame::End);
    assert_eq!(script.end().unwrap().failed, 1);
    assert_eq!(names(&place.path("to")), [""; 0]);
}

#[test]
fn the_name_of_a_partial_file_is_not_taken() {
    let place = Place::new();
    let mut script = Script::push(&place.path("to"));
    script.say(&SOURCE);
    script.say(&directory(b""));
    script.say(&file(b".x.dsh-part", 1));
    script.say(&Frame::Leave);
    script.say(&Frame::End);
    assert_eq!(script.end().unwrap().failed, 1);
    assert_eq!(names(&place.path("to/t")), [""; 0]);
}

#[test]
fn a_folder_that_becomes_a_link_while_it_is_written_leads_nowhere() {
    let place = Place::new();
    fs::create_dir(place.path("outside")).unwrap();
    let mut script = Script::push(&place.path("to"));
    for frame in [SOURCE, directory(b""), directory(b"d"), file(b"f", 3)] {
        script.say(&frame);
    }
    script.hear(|frame| assert_eq!(frame, Frame::Want { id: 2, have: None }));
    fs::remove_dir(place.path("to/t/d")).unwrap();
    link("../../outside", &place.path("to/t/d"));
    for frame in [
        Frame::Start { id: 2, offset: 0 },
        Frame::Data(b"bad"),
        Frame::Finish {
            digest: hash(b"bad"),
        },
        Frame::Leave,
        Frame::Leave,
        Frame::End,
    ] {
        script.say(&frame);
    }
    assert_eq!(script.end().unwrap().failed, 1);
    assert_eq!(names(&place.path("outside")), [""; 0]);
}

#[test]
fn the_content_of_a_file_is_not_told_to_who_does_not_have_it() {
    // Of a file that is there only its hash is said, and only where the size is the same.
    let place = Place::new();
    place.write("to/t", "secret");
    let mut script = Script::push(&place.path("to"));
    script.say(&SOURCE);
    script.say(&file(b"", 6));
    let have = Have {
        length: 6,
        digest: hash(b"secret"),
    };
    script.hear(|frame| {
        assert_eq!(
            frame,
            Frame::Want {
                id: 0,
                have: Some(have)
            }
        );
    });
    // A sender that says "the same" and gives another hash is no sender.
    script.say(&Frame::Start { id: 0, offset: 6 });
    script.say(&Frame::Finish { digest: hash(b"x") });
    assert!(
        script
            .abort()
            .ends_with("a file that is the same, and is not")
    );
    assert_eq!(place.read("to/t"), b"secret");
}

#[test]
fn a_file_that_the_sender_gives_up_leaves_nothing() {
    let place = Place::new();
    let mut script = Script::push(&place.path("to"));
    for frame in [
        SOURCE,
        file(b"", 4),
        Frame::Start { id: 0, offset: 0 },
        Frame::Data(b"12"),
        Frame::Broken {
            id: 0,
            path: b"t",
            reason: b"it became shorter",
        },
    ] {
        script.say(&frame);
    }
    script.hear(|frame| assert!(matches!(frame, Frame::Want { .. })));
    let ending = Ending::Dropped;
    script.hear(|frame| assert_eq!(frame, Frame::Done { id: 0, ending }));
    script.say(&Frame::End);
    assert_eq!(script.end().unwrap().failed, 1);
    assert_eq!(names(&place.path("to")), [""; 0]);
}
