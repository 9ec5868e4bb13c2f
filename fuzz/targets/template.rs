//! Any text as a template, with and without the rules of ini files.
#![no_main]

#[allow(dead_code, reason = "each target takes its part")]
#[path = "../../tests/common/arithmetic.rs"]
mod arithmetic;

libfuzzer_sys::fuzz_target!(|text: &str| {
    arithmetic::template(text);
});
