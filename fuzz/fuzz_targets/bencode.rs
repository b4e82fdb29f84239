//! libFuzzer binary of the target `bencode`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dhtnet_fuzz::run("bencode", input));
