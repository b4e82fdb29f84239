//! What an earlier copy has left is used if it is right, and only then.

use std::fs;

use dhtnet_copy::Event;

use crate::place::{Place, TREE, WAYS, link, names, noise};

const SIZE: usize = 700_000;

#[test]
fn a_part_that_is_the_beginning_is_kept() {
    for way in WAYS {
        let place = Place::new();
        place.write("from/f", noise(SIZE, 1));
        place.write("to/.f.dsh-part", &noise(SIZE, 1)[..500_000]);
        let sum = place.copy(way, &["from/f"], "to", TREE).summary();
        assert_eq!((sum.resumed, sum.bytes), (500_000, 200_000));
        assert_eq!(place.read("to/f"), noise(SIZE, 1));
        assert_eq!(names(&place.path("to")), ["f"]);
    }
}

#[test]
fn a_part_that_is_complete_needs_no_byte() {
    for way in WAYS {
        let place = Place::new();
        place.write("from/f", noise(SIZE, 1));
        place.write("to/.f.dsh-part", noise(SIZE, 1));
        let sum = place.copy(way, &["from/f"], "to", TREE).summary();
        assert_eq!((sum.files, sum.resumed, sum.bytes), (1, SIZE as u64, 0));
        assert_eq!(place.read("to/f"), noise(SIZE, 1));
    }
}

#[test]
fn a_source_that_has_changed_starts_again() {
    for way in WAYS {
        let place = Place::new();
        let mut changed = noise(SIZE, 1);
        changed[499_999] ^= 1;
        place.write("from/f", &changed);
        place.write("to/.f.dsh-part", &noise(SIZE, 1)[..500_000]);
        let sum = place.copy(way, &["from/f"], "to", TREE).summary();
        assert_eq!((sum.resumed, sum.bytes), (0, SIZE as u64));
        assert_eq!(place.read("to/f"), changed);
        assert_eq!(names(&place.path("to")), ["f"]);
    }
}

#[test]
fn a_part_that_is_too_long_or_not_ours_is_replaced() {
    for way in WAYS {
        let place = Place::new();
        place.write("from/long", "short");
        place.write("to/.long.dsh-part", "longer than short");
        place.write("from/linked", "new");
        place.write("outside", "old");
        link("../outside", &place.path("to/.linked.dsh-part"));
        place.write("from/hard", "new");
        fs::hard_link(place.path("outside"), place.path("to/.hard.dsh-part")).unwrap();
        let sources = ["from/long", "from/linked", "from/hard"];
        let sum = place.copy(way, &sources, "to", TREE).summary();
        assert_eq!((sum.files, sum.resumed), (3, 0));
        assert_eq!(names(&place.path("to")), ["hard", "linked", "long"]);
        assert_eq!(place.read("outside"), b"old");
        assert_eq!(place.read("to/linked"), b"new");
    }
}

#[test]
fn more_parts_than_are_held_open_start_again() {
    for way in WAYS {
        let place = Place::new();
        let sources: Vec<String> = (0..20).map(|number| format!("from/{number:02}")).collect();
        for (number, source) in sources.iter().enumerate() {
            place.write(source, noise(1000, number as u64));
            let part = &noise(1000, number as u64)[..400];
            place.write(&format!("to/.{number:02}.dsh-part"), part);
        }
        let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
        let sum = place.copy(way, &sources, "to", TREE).summary();
        assert_eq!((sum.files, sum.failed), (20, 0));
        let held = dhtnet_copy::bounds::MAX_RESUMED as u64;
        assert!(sum.resumed >= held * 400, "{}", sum.resumed);
        for (number, source) in sources.iter().enumerate() {
            assert_eq!(
                place.read(&source.replace("from", "to")),
                noise(1000, number as u64)
            );
        }
    }
}

#[test]
fn who_waits_for_another_copy_says_so_and_goes_on_where_that_ended() {
    for way in WAYS {
        let place = Place::new();
        place.write("from/f", noise(SIZE, 1));
        let part = place.write("to/.f.dsh-part", &noise(SIZE, 1)[..1000]);
        let held = fs::File::open(part).unwrap();
        held.lock().unwrap();
        // The other copy ends when this one has begun to wait.
        let asked = (way, &["from/f"][..], "to");
        let seen = place.copy_watched(asked, (TREE, usize::MAX, usize::MAX), |event| {
            if matches!(event, Event::Waiting { path } if path.ends_with("to/f")) {
                held.unlock().unwrap();
            }
        });
        let sum = seen.summary();
        assert_eq!((sum.files, sum.resumed), (1, 1000), "{way:?}");
        assert_eq!(place.read("to/f"), noise(SIZE, 1));
    }
}

#[test]
fn two_copies_of_one_file_take_turns() {
    let place = Place::new();
    place.write("from/f", noise(3 << 20, 1));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            for way in WAYS {
                let place = &place;
                scope.spawn(move || {
                    let seen = place.copy(way, &["from/f"], "to", TREE);
                    assert_eq!(seen.failures(), [""; 0]);
                    seen.summary();
                });
            }
        }
    });
    assert_eq!(place.read("to/f"), noise(3 << 20, 1));
    assert_eq!(names(&place.path("to")), ["f"]);
}
