//! libFuzzer binary of the target `stun_message`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dhtnet_fuzz::run("stun_message", input));
