//! libFuzzer binary of the target `dht_node`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dhtnet_fuzz::run("dht_node", input));
