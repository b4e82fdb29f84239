//! libFuzzer binary of the target `hello`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dhtnet_fuzz::run("hello", input));
