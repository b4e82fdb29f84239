//! What arrives is what was sent.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use dhtnet_copy::{CopyError, Event, Options};
use proptest::prelude::*;

use crate::place::{KEEP, Place, TREE, WAYS, Way, chmod, link, names, noise, tree};

/// A tree with something of everything.
fn fill(place: &Place) {
    place.write("from/t/big", noise(3 << 20, 1));
    place.write("from/t/small", "hello");
    place.write("from/t/empty", "");
    chmod(&place.write("from/t/script", "#!/bin/sh\n"), 0o755);
    place.write("from/t/sub/deep/er/file", noise(300_000, 2));
    place.write("from/t/sub/z", "z");
    fs::create_dir_all(place.path("from/t/hollow/hollower")).unwrap();
    chmod(&place.path("from/t/hollow"), 0o750);
    chmod(&place.write("from/t/sub/read-only", "r"), 0o444);
    link("small", &place.path("from/t/link"));
    link("/nonexistent/far away", &place.path("from/t/sub/dangling"));
    link("sub", &place.path("from/t/link to folder"));
}

#[test]
fn a_tree_arrives_as_it_was_with_modes_and_times() {
    for way in WAYS {
        let place = Place::new();
        fill(&place);
        let seen = place.copy(way, &["from/t"], "to", KEEP);
        assert_eq!(seen.failures(), [""; 0]);
        let sum = seen.summary();
        assert_eq!(
            (sum.files, sum.directories, sum.links),
            (7, 6, 3),
            "{way:?}"
        );
        assert_eq!(
            tree(&place.path("from"), KEEP).get(&b"t/sub"[..]),
            tree(&place.path("to"), KEEP).get(&b"t/sub"[..])
        );
        assert_eq!(
            tree(&place.path("from/t"), KEEP),
            tree(&place.path("to/t"), KEEP)
        );
        assert_eq!(names(&place.path("to")), ["t"]);
    }
}

#[test]
fn without_them_files_get_the_modes_of_new_files_and_stay_executable() {
    for way in WAYS {
        let place = Place::new();
        fill(&place);
        place.copy(way, &["from/t"], "to", TREE).summary();
        assert_eq!(
            tree(&place.path("from/t"), TREE),
            tree(&place.path("to/t"), TREE)
        );
        let fresh = |path: &str| fs::metadata(place.write(path, "")).unwrap().mode() & 0o777;
        let mode = |path: &str| fs::metadata(place.path(path)).unwrap().mode() & 0o777;
        let usual = fresh("from/fresh");
        assert_eq!(mode("to/t/small"), usual);
        assert_eq!(mode("to/t/sub/read-only"), usual);
        assert_eq!(mode("to/t/script"), usual | (usual & 0o444) >> 2);
    }
}

#[test]
fn a_second_copy_moves_nothing() {
    for way in WAYS {
        for options in [
            KEEP,
            TREE,
            Options {
                checksum: true,
                ..KEEP
            },
        ] {
            let place = Place::new();
            fill(&place);
            let first = place.copy(way, &["from/t"], "to", options).summary();
            assert_eq!(first.unchanged, 0);
            let second = place.copy(way, &["from/t"], "to", options).summary();
            assert_eq!((second.files, second.bytes, second.links), (0, 0, 0));
            assert_eq!(second.unchanged, first.files + first.links, "{way:?}");
        }
    }
}

#[test]
fn a_change_that_time_and_size_hide_is_found_by_its_hash() {
    for way in WAYS {
        let place = Place::new();
        let file = place.write("from/f", noise(5000, 1));
        place.copy(way, &["from/f"], "to", KEEP).summary();
        let time = fs::metadata(&file).unwrap().modified().unwrap();
        fs::write(&file, noise(5000, 2)).unwrap();
        let opened = fs::File::options().write(true).open(&file).unwrap();
        opened.set_modified(time).unwrap();
        assert_eq!(
            place.copy(way, &["from/f"], "to", KEEP).summary().unchanged,
            1
        );
        let checked = Options {
            checksum: true,
            ..KEEP
        };
        assert_eq!(
            place.copy(way, &["from/f"], "to", checked).summary().files,
            1
        );
        assert_eq!(place.read("to/f"), noise(5000, 2));
    }
}

#[test]
fn odd_names_arrive() {
    let long = "n".repeat(255);
    let long_bytes = [b'\xfe'; 255];
    let odd: [&[u8]; 12] = [
        b"-rf",
        b"--",
        b" ",
        b"a\nb",
        b"\xff\xfe",
        b"...",
        b"~",
        b"*",
        b"a:b",
        b"\x1b[2J",
        long.as_bytes(),
        &long_bytes,
    ];
    for way in WAYS {
        let place = Place::new();
        for name in odd {
            place.write("from/t/x", "");
            let path = place.path("from/t").join(OsStr::from_bytes(name));
            fs::write(path, name).unwrap();
        }
        let seen = place.copy(way, &["from/t"], "to", TREE);
        assert_eq!(seen.failures(), [""; 0]);
        assert_eq!(
            tree(&place.path("from/t"), TREE),
            tree(&place.path("to/t"), TREE)
        );
    }
}

#[test]
fn holes_stay_holes() {
    const GIB: u64 = 1 << 30;
    for way in WAYS {
        let place = Place::new();
        let path = place.write("from/disk", "begin");
        let file = fs::File::options().write(true).open(&path).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"middle", GIB).unwrap();
        file.set_len(3 * GIB).unwrap();
        let sum = place.copy(way, &["from/disk"], "to", KEEP).summary();
        assert_eq!((sum.files, sum.bytes), (1, 3 * GIB));
        let (from, to) = (
            fs::metadata(&path).unwrap(),
            fs::metadata(place.path("to/disk")).unwrap(),
        );
        assert_eq!(to.len(), from.len());
        assert!(to.blocks() <= from.blocks() + 8, "{} blocks", to.blocks());
        let copy = fs::File::open(place.path("to/disk")).unwrap();
        let mut bytes = [0; 6];
        std::os::unix::fs::FileExt::read_exact_at(&copy, &mut bytes, GIB).unwrap();
        assert_eq!(&bytes, b"middle");
        // And is known to be the same without being read in full.
        let again = Options {
            checksum: true,
            ..KEEP
        };
        assert_eq!(
            place
                .copy(way, &["from/disk"], "to", again)
                .summary()
                .unchanged,
            1
        );
    }
}

#[test]
fn several_sources_go_into_a_directory_and_one_may_get_a_new_name() {
    for way in WAYS {
        let place = Place::new();
        place.write("from/a", "a");
        place.write("from/b/c", "c");
        place.copy(way, &["from/a", "from/b"], "to", TREE).summary();
        assert_eq!(place.read("to/a"), b"a");
        assert_eq!(place.read("to/b/c"), b"c");
        place.copy(way, &["from/a"], "to/new", TREE).summary();
        assert_eq!(place.read("to/new"), b"a");
        place.copy(way, &["from/b"], "to/folder/", TREE).summary();
        assert_eq!(place.read("to/folder/c"), b"c");
        place.copy(way, &["from/b/."], "to", TREE).summary();
        assert_eq!(place.read("to/c"), b"c");
    }
}

#[test]
fn two_sources_that_become_the_same_file_do_not_wait_for_each_other() {
    for way in WAYS {
        let place = Place::new();
        place.write("from/a/f", noise(700_000, 1));
        place.write("from/b/f", noise(700_000, 2));
        place.write("to/.f.dsh-part", &noise(700_000, 1)[..1000]);
        let seen = place.copy(way, &["from/a/.", "from/b/."], "to", TREE);
        assert!(
            !seen
                .events
                .iter()
                .any(|event| matches!(event, Event::Waiting { .. }))
        );
        assert_eq!(seen.summary().files, 2);
        assert_eq!(place.read("to/f"), noise(700_000, 2));
    }
}

#[test]
fn what_cannot_begin_is_refused_before_anything_is_copied() {
    for way in WAYS {
        let place = Place::new();
        place.write("from/a", "a");
        place.write("from/x/a", "a");
        place.write("to/file", "");
        for (sources, to) in [
            (&["from/a", "from/x"][..], "to/file"),
            (&["from/a", "from/x"], "to/nowhere"),
            (&["from/a", "from/x/a"], "to"),
            (&["from/a"], "to/no/where"),
            (&["from/a"], "to/file/"),
        ] {
            let seen = place.copy(way, sources, to, TREE);
            assert!(seen.result.is_err(), "{way:?} {sources:?} {to}");
            assert!(!matches!(seen.result, Err(CopyError::Cut)), "{to}");
        }
        assert_eq!(names(&place.path("to")), ["file"]);
    }
}

#[test]
fn one_failure_is_told_and_the_rest_goes_on() {
    for way in WAYS {
        let place = Place::new();
        place.write("from/t/a", "new");
        place.write("from/t/b/in b", "b");
        place.write("from/t/c", "c");
        place.write("to/t/a/in the way", "");
        place.write("to/t/b", "in the way");
        let seen = place.copy(way, &["from/t", "from/none"], "to", TREE);
        let mut failures = seen.failures();
        failures.sort();
        assert_eq!(
            failures,
            [
                "a: a directory is in the way",
                "b: a file is in the way",
                "none: no such file or directory"
            ]
        );
        let sum = seen.summary();
        assert_eq!((sum.files, sum.failed), (1, 3));
        assert_eq!(place.read("to/t/c"), b"c");
        assert_eq!(place.read("to/t/b"), b"in the way");
    }
}

#[test]
fn a_directory_needs_r_and_a_file_cannot_take_the_name_of_one() {
    for way in WAYS {
        let place = Place::new();
        place.write("from/d/f", "f");
        let flat = Options::default();
        let seen = place.copy(way, &["from/d"], "to", flat);
        assert_eq!(seen.failures(), ["d: a directory, and -r was not given"]);
        let seen = place.copy(way, &["from/d/f"], "to/new/", flat);
        assert_eq!(seen.failures(), ["new: no such directory"]);
        assert_eq!(names(&place.path("to")), [""; 0]);
    }
}

#[test]
fn pipes_and_sockets_and_leftovers_are_skipped() {
    for way in WAYS {
        let place = Place::new();
        place.write("from/t/a", "a");
        place.write("from/t/.a.dsh-part", "old");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            place.path("from/t/fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(place.path("from/t/s")).unwrap();
        let seen = place.copy(way, &["from/t"], "to", TREE);
        let skipped = seen.events.iter().filter_map(|event| match event {
            Event::Skipped { path, reason } => {
                Some(format!("{}: {reason}", path.rsplit('/').next().unwrap()))
            }
            _ => None,
        });
        let skipped: Vec<String> = skipped.collect();
        assert_eq!(
            skipped,
            [
                ".a.dsh-part: left by a copy that was cut short",
                "fifo: a pipe",
                "s: a socket"
            ]
        );
        assert_eq!(names(&place.path("to/t")), ["a"]);
        assert_eq!(seen.summary().failed, 0);
    }
}

#[test]
fn a_link_in_the_destination_is_replaced_and_never_followed() {
    for way in WAYS {
        let place = Place::new();
        place.write("from/t/file", "new");
        place.write("from/t/folder/inside", "new");
        place.write("outside/file", "old");
        fs::create_dir_all(place.path("to/t")).unwrap();
        link("../../outside/file", &place.path("to/t/file"));
        link("../../outside", &place.path("to/t/folder"));
        let seen = place.copy(way, &["from/t"], "to", TREE);
        assert_eq!(seen.failures(), ["folder: a symbolic link is in the way"]);
        assert_eq!(place.read("to/t/file"), b"new");
        assert_eq!(place.read("outside/file"), b"old");
        assert_eq!(names(&place.path("outside")), ["file"]);
    }
}

#[test]
fn set_user_id_does_not_travel_and_the_destination_keeps_its_own_mode() {
    for way in WAYS {
        let place = Place::new();
        chmod(&place.write("from/d/tool", "x"), 0o4755);
        chmod(&place.path("from/d"), 0o777);
        chmod(&place.path("to"), 0o700);
        place.copy(way, &["from/d/."], "to", KEEP).summary();
        let mode = |path: &str| fs::metadata(place.path(path)).unwrap().mode() & 0o7777;
        assert_eq!((mode("to/tool"), mode("to")), (0o755, 0o700));
    }
}

#[test]
fn totals_are_told_when_asked_for() {
    for way in WAYS {
        let place = Place::new();
        for number in 0..5000 {
            place.write(&format!("from/t/{}/{number}", number % 7), "12345");
        }
        let options = Options {
            totals: true,
            ..TREE
        };
        let seen = place.copy(way, &["from/t"], "to", options);
        let expected = seen.events.iter().any(|event| {
            *event
                == Event::Expected {
                    files: 5000,
                    bytes: 25000,
                }
        });
        // A count that comes after the last file is not told: nobody needs it then.
        let sum = seen.summary();
        assert_eq!((sum.files, sum.directories), (5000, 8));
        assert!(expected || sum.files == 5000);
        assert_eq!(
            tree(&place.path("from/t"), TREE),
            tree(&place.path("to/t"), TREE)
        );
    }
}

#[test]
fn the_deepest_tree_is_copied_and_a_deeper_one_is_told() {
    let place = Place::new();
    let mut path = String::from("from/t");
    for _ in 0..300 {
        path.push_str("/d");
    }
    place.write(&format!("{path}/f"), "f");
    let seen = place.copy(Way::Push, &["from/t"], "to", TREE);
    assert_eq!(
        seen.failures(),
        ["d: too many directories inside each other"]
    );
    assert_eq!(seen.summary().directories, 256);
}

#[derive(Clone, Debug)]
enum Change {
    Write(String, usize, u64),
    Link(String, String),
    Folder(String),
    Remove(String),
}

fn a_path() -> impl Strategy<Value = String> {
    proptest::collection::vec("[ab]{1,2}", 1..4).prop_map(|names| names.join("/"))
}

fn a_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (a_path(), 0..600_000_usize, any::<u64>())
            .prop_map(|(path, size, seed)| Change::Write(path, size, seed)),
        1 => (a_path(), a_path()).prop_map(|(path, to)| Change::Link(path, to)),
        1 => a_path().prop_map(Change::Folder),
        1 => a_path().prop_map(Change::Remove),
    ]
}

/// Changes a tree where it can be done.
fn apply(place: &Place, change: &Change) {
    let at = |path: &str| place.path("from/t").join(path);
    match change {
        Change::Write(path, size, seed) => {
            let _ = fs::create_dir_all(at(path).parent().unwrap());
            let _ = fs::write(at(path), noise(*size, *seed));
        }
        Change::Link(path, to) => {
            let _ = std::os::unix::fs::symlink(to, at(path));
        }
        Change::Folder(path) => {
            let _ = fs::create_dir_all(at(path));
        }
        Change::Remove(path) => {
            let _ = fs::remove_file(at(path));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_tree_arrives_and_any_change_of_it_follows(
        first in proptest::collection::vec(a_change(), 1..12),
        then in proptest::collection::vec(a_change(), 0..6),
        way in prop_oneof![Just(Way::Push), Just(Way::Pull)],
        options in prop_oneof![Just(TREE), Just(KEEP)],
    ) {
        let place = Place::new();
        fs::create_dir(place.path("from/t")).unwrap();
        first.iter().for_each(|change| apply(&place, change));
        place.copy(way, &["from/t"], "to", options).summary();
        prop_assert_eq!(
            tree(&place.path("from/t"), options),
            tree(&place.path("to/t"), options)
        );
        then.iter().for_each(|change| apply(&place, change));
        let seen = place.copy(way, &["from/t"], "to", options);
        // What was removed stays at the destination, and may be in the way there.
        if seen.failures().is_empty() {
            let copied = tree(&place.path("to/t"), TREE);
            for (path, entry) in tree(&place.path("from/t"), TREE) {
                prop_assert_eq!(copied.get(&path), Some(&entry));
            }
        }
    }
}
