//! libFuzzer binary of the target `krpc`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dhtnet_fuzz::run("krpc", input));
