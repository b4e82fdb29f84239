//! libFuzzer binary of the target `publication`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dhtnet_fuzz::run("publication", input));
