//! libFuzzer binary of the target `key_pem`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dhtnet_fuzz::run("key_pem", input));
