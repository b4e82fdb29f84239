//! libFuzzer binary of the target `mutable_item`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dhtnet_fuzz::run("mutable_item", input));
