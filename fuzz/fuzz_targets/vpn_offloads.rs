//! libFuzzer binary of the target `vpn_offloads`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dhtnet_fuzz::run("vpn_offloads", input));
