//! libFuzzer binary of the target `copy_frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dhtnet_fuzz::run("copy_frame", input));
