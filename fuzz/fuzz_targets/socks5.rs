//! libFuzzer binary of the target `socks5`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dhtnet_fuzz::run("socks5", input));
