//! libFuzzer binary of the target `value_query_text`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| dhtnet_fuzz::run("value_query_text", input));
