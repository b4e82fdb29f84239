//! libFuzzer binary of the target `relay`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dhtnet_fuzz::run("relay", input));
