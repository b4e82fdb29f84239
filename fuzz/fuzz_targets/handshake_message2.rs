//! libFuzzer binary of the target `handshake_message2`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dhtnet_fuzz::run("handshake_message2", input));
