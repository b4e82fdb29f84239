//! libFuzzer binary of the target `forward_request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dhtnet_fuzz::run("forward_request", input));
