//! libFuzzer binary of the target `target_pattern`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dhtnet_fuzz::run("target_pattern", input));
