//! libFuzzer binary of the target `mux_datagram`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dhtnet_fuzz::run("mux_datagram", input));
