//! libFuzzer binary of the target `sealed`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dhtnet_fuzz::run("sealed", input));
