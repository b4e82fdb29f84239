//! libFuzzer binary of the target `handshake_message1`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dhtnet_fuzz::run("handshake_message1", input));
