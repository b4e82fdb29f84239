//! libFuzzer binary of the target `blocklist`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dhtnet_fuzz::run("blocklist", input));
