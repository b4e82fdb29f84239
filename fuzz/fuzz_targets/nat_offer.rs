//! libFuzzer binary of the target `nat_offer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dhtnet_fuzz::run("nat_offer", input));
