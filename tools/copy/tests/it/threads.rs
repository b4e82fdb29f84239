//! Copies over asynchronous streams.

use std::os::unix::ffi::OsStrExt;

use dhtnet_copy::{Event, Pull, Push, on_a_thread, serve};
use tokio::io::{AsyncWriteExt, duplex, split};

use crate::place::{KEEP, Place, noise, tree};

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread();
    { runtime }.enable_all().build().unwrap().block_on(work)
}

#[test]
fn a_tree_goes_there_and_back_over_a_narrow_stream() {
    let place = Place::new();
    place.write("from/t/big", noise(2_000_000, 1));
    for number in 0..300 {
        place.write(&format!("from/t/{number}"), noise(number, 2));
    }
    block_on(async {
        let (ours, theirs) = duplex(1000);
        let ((read, write), (their_read, their_write)) = (split(ours), split(theirs));
        let push = Push {
            sources: vec![place.path("from/t")],
            destination: place.path("to").as_os_str().as_bytes().to_vec(),
            options: KEEP,
        };
        let (sent, served) = tokio::join!(
            on_a_thread(read, write, move |input, output| push.run(
                input,
                output,
                &mut |_: Event| {}
            )),
            on_a_thread(their_read, their_write, serve),
        );
        assert_eq!(sent.unwrap().unwrap(), served.unwrap().unwrap());

        let (ours, theirs) = duplex(1 << 20);
        let ((read, write), (their_read, their_write)) = (split(ours), split(theirs));
        let pull = Pull {
            sources: vec![place.path("to/t").as_os_str().as_bytes().to_vec()],
            destination: place.path("back"),
            options: KEEP,
        };
        let (got, served) = tokio::join!(
            on_a_thread(read, write, move |input, output| pull.run(
                input,
                output,
                &mut |_: Event| {}
            )),
            on_a_thread(their_read, their_write, serve),
        );
        assert_eq!(got.unwrap().unwrap(), served.unwrap().unwrap());
    });
    assert_eq!(
        tree(&place.path("from/t"), KEEP),
        tree(&place.path("back"), KEEP)
    );
}

#[test]
fn a_stream_that_ends_ends_the_copy() {
    let place = Place::new();
    place.write("from/t", noise(2_000_000, 1));
    block_on(async {
        let (ours, mut theirs) = duplex(1000);
        let (read, write) = split(ours);
        let push = Push {
            sources: vec![place.path("from/t")],
            destination: Vec::new(),
            options: KEEP,
        };
        theirs.shutdown().await.unwrap();
        let sent = on_a_thread(read, write, move |input, output| {
            push.run(input, output, &mut |_: Event| {})
        });
        assert!(sent.await.unwrap().is_err());
    });
}
