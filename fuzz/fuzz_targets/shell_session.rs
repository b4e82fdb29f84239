//! libFuzzer binary of the target `shell_session`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dhtnet_fuzz::run("shell_session", input));
