//! libFuzzer binary of the target `contacts`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dhtnet_fuzz::run("contacts", input));
