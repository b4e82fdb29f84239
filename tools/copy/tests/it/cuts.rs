//! A connection that breaks anywhere costs nothing but a second copy.

use std::fs;
use std::path::Path;

use dhtnet_copy::CopyError;

use crate::place::{KEEP, Place, Seen, TREE, WAYS, link, noise, tree};

fn small_tree() -> Place {
    let place = Place::new();
    place.write("from/t/a", noise(150, 1));
    place.write("from/t/b/c", noise(90, 2));
    place.write("from/t/b/empty", "");
    link("a", &place.path("from/t/link"));
    place
}

fn start_again(place: &Place) {
    let _ = fs::remove_dir_all(place.path("to"));
    fs::create_dir(place.path("to")).unwrap();
}

/// Every file under its own name is whole.
fn nothing_is_half(place: &Place) {
    if !place.path("to/t").exists() {
        return;
    }
    let whole = tree(&place.path("from/t"), TREE);
    for (path, entry) in tree(&place.path("to/t"), TREE) {
        if !path.ends_with(b".dsh-part") {
            assert_eq!(Some(&entry), whole.get(&path), "{path:?}");
        }
    }
}

/// Copies a tree over connections that `limits` cuts after ever more bytes, each time again, and what
/// came is looked at.
fn cut_everywhere(limits: impl Fn(usize) -> (usize, usize), check: impl Fn(&Seen)) {
    for way in WAYS {
        let place = small_tree();
        for bytes in 1.. {
            start_again(&place);
            let (client, server) = limits(bytes);
            let seen = place.copy_cut(way, &["from/t"], "to", (KEEP, client, server));
            if seen.result.is_ok() {
                assert!(bytes > 50, "the whole copy took {bytes} bytes");
                break;
            }
            check(&seen);
            nothing_is_half(&place);
            place.copy(way, &["from/t"], "to", KEEP).summary();
            assert_eq!(
                tree(&place.path("from/t"), KEEP),
                tree(&place.path("to/t"), KEEP)
            );
        }
    }
}

#[test]
fn cut_at_every_byte_of_the_client_and_copied_again_it_is_the_same() {
    cut_everywhere(
        |bytes| (bytes, usize::MAX),
        |seen| {
            let result = &seen.result;
            assert!(
                matches!(result, Err(CopyError::Cut | CopyError::Stream(_))),
                "{result:?}"
            );
        },
    );
}

#[test]
fn cut_at_every_byte_of_the_server_and_copied_again_it_is_the_same() {
    cut_everywhere(|bytes| (usize::MAX, bytes), |_| ());
}

#[test]
fn a_large_file_goes_on_where_it_was_cut() {
    const SIZE: usize = 5 << 20;
    for way in WAYS {
        for cut in [300_000, 1 << 20, (2 << 20) + 77, SIZE - 5] {
            let place = Place::new();
            place.write("from/big", noise(SIZE, 3));
            let budget = match way {
                crate::place::Way::Push => (TREE, cut, usize::MAX),
                crate::place::Way::Pull => (TREE, usize::MAX, cut),
            };
            assert!(
                place
                    .copy_cut(way, &["from/big"], "to", budget)
                    .result
                    .is_err()
            );
            let part = place.path("to/.big.dsh-part");
            let kept = fs::metadata(&part).unwrap().len();
            assert!(kept > 0 && !place.path("to/big").exists(), "{kept}");
            assert_eq!(mode(&part), 0o600);
            let sum = place.copy(way, &["from/big"], "to", TREE).summary();
            assert_eq!((sum.resumed, sum.bytes), (kept, SIZE as u64 - kept));
            assert_eq!(place.read("to/big"), noise(SIZE, 3));
            assert!(!part.exists());
        }
    }
}

fn mode(path: &Path) -> u32 {
    std::os::unix::fs::MetadataExt::mode(&fs::metadata(path).unwrap()) & 0o777
}
