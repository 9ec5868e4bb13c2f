//! Any text as roles.yaml: read, checked, planned, and its diagnostics drawn.
#![no_main]

#[allow(dead_code, reason = "each target takes its part")]
#[path = "../../tests/common/arithmetic.rs"]
mod arithmetic;

libfuzzer_sys::fuzz_target!(|text: &str| {
    arithmetic::drawn(&arithmetic::validate(text));
});
