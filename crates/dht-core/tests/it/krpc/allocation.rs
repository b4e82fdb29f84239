//! Reading allocates nothing, and writing into a buffer that is large enough does not either.
#![allow(
    unsafe_code,
    reason = "an allocator that counts has to be an allocator"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use dhtnet_dht_core::krpc::{MAX_MESSAGE_LEN, Message};

use super::vectors;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The allocator of the system; it counts what each thread asks for.
struct Counting;

fn count() {
    // A thread that is ending has no counter any more, and nobody who would read it.
    let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
}

// SAFETY: every call goes to `System` as it is, and counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: what the caller promises is what `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: `pointer` came from `System` with this layout.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations(of: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    of();
    ALLOCATIONS.get() - before
}

#[test]
fn no_message_costs_an_allocation() {
    assert_eq!(allocations(|| drop(Vec::<u8>::with_capacity(10))), 1);
    let mut out = Vec::with_capacity(MAX_MESSAGE_LEN);
    for (name, bytes) in vectors() {
        let count = allocations(|| {
            let message = Message::decode(&bytes).unwrap();
            out.clear();
            message.encode(&mut out);
        });
        assert_eq!(count, 0, "{name}");
        assert_eq!(out, bytes, "{name}");
    }
}

#[test]
fn no_refusal_costs_an_allocation() {
    let deep = vec![b'l'; 4096];
    let refused: [&[u8]; 5] = [
        b"",
        b"d1:ade1:q4:ping1:t2:aa1:y1:qe",
        b"d1:rde1:t2:aa1:y1:re",
        b"d1:y1:qe",
        &deep,
    ];
    for bytes in refused {
        let count = allocations(|| assert!(Message::decode(bytes).is_err()));
        assert_eq!(count, 0, "{}", bytes.escape_ascii());
    }
}
