//! libFuzzer binary of the target `turn_client`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dhtnet_fuzz::run("turn_client", input));
