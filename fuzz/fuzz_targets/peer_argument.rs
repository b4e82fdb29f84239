//! libFuzzer binary of the target `peer_argument`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dhtnet_fuzz::run("peer_argument", input));
