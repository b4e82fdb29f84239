//! libFuzzer binary of the target `permission`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dhtnet_fuzz::run("permission", input));
