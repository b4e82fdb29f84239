//! libFuzzer binary of the target `capability`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dhtnet_fuzz::run("capability", input));
