//! libFuzzer binary of the target `split_joiner`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dhtnet_fuzz::run("split_joiner", input));
