//! libFuzzer binary of the target `shell_control`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dhtnet_fuzz::run("shell_control", input));
