//! libFuzzer binary of the target `quic_gate`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dhtnet_fuzz::run("quic_gate", input));
