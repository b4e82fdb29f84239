//! libFuzzer binary of the target `handshake_frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dhtnet_fuzz::run("handshake_frames", input));
