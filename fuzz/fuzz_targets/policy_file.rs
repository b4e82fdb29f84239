//! libFuzzer binary of the target `policy_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dhtnet_fuzz::run("policy_file", input));
