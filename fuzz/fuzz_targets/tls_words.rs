#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| certd::fuzz::tls_words(bytes));
