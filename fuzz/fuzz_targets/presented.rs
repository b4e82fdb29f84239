//! libFuzzer binary of the target `presented`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dhtnet_fuzz::run("presented", input));
