//! libFuzzer binary of the target `certificate_request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dhtnet_fuzz::run("certificate_request", input));
