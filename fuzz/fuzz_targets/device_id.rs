//! libFuzzer binary of the target `device_id`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dhtnet_fuzz::run("device_id", input));
