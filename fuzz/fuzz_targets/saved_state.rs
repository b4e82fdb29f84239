//! libFuzzer binary of the target `saved_state`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dhtnet_fuzz::run("saved_state", input));
