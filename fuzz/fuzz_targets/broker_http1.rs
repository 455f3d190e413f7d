#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sixgate::fuzzing::broker_http1(data));
