//! Any text as an expression: parsed, and evaluated where it is one.
#![no_main]

#[allow(dead_code, reason = "each target takes its part")]
#[path = "../../tests/common/arithmetic.rs"]
mod arithmetic;

libfuzzer_sys::fuzz_target!(|text: &str| {
    arithmetic::expression(text);
});
