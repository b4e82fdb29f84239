//! libFuzzer binary of the target `mux_control`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dhtnet_fuzz::run("mux_control", input));
