#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sixgate::fuzzing::trail(data));
