//! The ways in which one secret value may stand in a log.
//!
//! A value is looked for as it is, without its surrounding blanks, line by line (a PEM key is printed so),
//! with LF and with CR LF, and, where it is a JSON object or array, leaf by leaf. Each of these also as
//! base64 (alone and inside a longer text: `user:password`), percent-encoded and JSON-escaped. What is shorter
//! than [`SHORTEST`] bytes is left out: masking every `1` would blank the log. Other encodings (hex,
//! compression, a value cut in two by the program itself) are not recognised.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use std::collections::BTreeSet;

/// The length in bytes from which a value is masked.
pub const SHORTEST: usize = 8;

/// Adds every spelling of `value` to `into`.
pub fn collect(value: &str, into: &mut BTreeSet<Vec<u8>>) {
    let unix = value.replace("\r\n", "\n");
    let dos = unix.replace('\n', "\r\n");
    for whole in [value, unix.as_str(), dos.as_str()] {
        encoded(whole, into);
        encoded(whole.trim(), into);
    }
    if unix.contains('\n') {
        for line in unix.lines() {
            let line = line.trim();
            add(line.as_bytes(), into);
            escaped(line, into);
        }
    }
    if value.trim_start().starts_with(['{', '['])
        && let Ok(json) = serde_json::from_str(value)
    {
        leaves(&json, into);
    }
}

/// Every text and number inside a JSON value; a text may be JSON once more.
fn leaves(json: &serde_json::Value, into: &mut BTreeSet<Vec<u8>>) {
    use serde_json::Value;
    match json {
        Value::Null | Value::Bool(_) => {}
        Value::Number(number) => add(number.to_string().as_bytes(), into),
        Value::String(text) => collect(text, into),
        Value::Array(list) => list.iter().for_each(|item| leaves(item, into)),
        Value::Object(map) => map.values().for_each(|item| leaves(item, into)),
    }
}

fn add(spelling: &[u8], into: &mut BTreeSet<Vec<u8>>) {
    if spelling.len() >= SHORTEST {
        into.insert(spelling.to_vec());
    }
}

/// A text as it is and in each encoding.
fn encoded(text: &str, into: &mut BTreeSet<Vec<u8>>) {
    if text.len() < SHORTEST {
        return;
    }
    add(text.as_bytes(), into);
    base64(text.as_bytes(), into);
    // `encodeURIComponent` and RFC 3986, then Python's `quote`, then HTML forms.
    percent(text, b"-._~", into);
    percent(text, b"-._~!*'()", into);
    percent(text, b"-._~/", into);
    let form = text.split(' ').map(|part| percent_text(part, b"-._~"));
    add(form.collect::<Vec<_>>().join("+").as_bytes(), into);
    escaped(text, into);
}

/// Base64 of the text alone, and that part of it which is the same wherever the text stands in a longer one.
fn base64(text: &[u8], into: &mut BTreeSet<Vec<u8>>) {
    let both = |code: &str, into: &mut BTreeSet<Vec<u8>>| {
        add(code.as_bytes(), into);
        add(code.replace('+', "-").replace('/', "_").as_bytes(), into);
    };
    both(&STANDARD_NO_PAD.encode(text), into);
    // Behind `shift` bytes, the first characters depend on those bytes; the last may depend on what follows.
    for (shift, foreign) in [(0, 0), (1, 2), (2, 3)] {
        let mut bytes = vec![0; shift];
        bytes.extend_from_slice(text);
        let own = bytes.len() * 8 / 6;
        both(&STANDARD_NO_PAD.encode(&bytes)[foreign..own], into);
    }
}

fn percent(text: &str, plain: &[u8], into: &mut BTreeSet<Vec<u8>>) {
    let code = percent_text(text, plain);
    add(code.as_bytes(), into);
}

fn percent_text(text: &str, plain: &[u8]) -> String {
    let mut code = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || plain.contains(&byte) {
            code.push(char::from(byte));
        } else {
            code.push_str(&format!("%{byte:02X}"));
        }
    }
    code
}

/// As inside a JSON string: with unicode as it is, and as Python's `json.dumps` writes it.
fn escaped(text: &str, into: &mut BTreeSet<Vec<u8>>) {
    let quoted = serde_json::Value::from(text).to_string();
    let inner = &quoted[1..quoted.len() - 1];
    add(inner.as_bytes(), into);
    let mut ascii = String::with_capacity(inner.len());
    for c in inner.chars() {
        if c.is_ascii() {
            ascii.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                ascii.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    add(ascii.as_bytes(), into);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str) -> BTreeSet<String> {
        let mut set = BTreeSet::new();
        collect(value, &mut set);
        set.into_iter()
            .map(|s| String::from_utf8(s).unwrap())
            .collect()
    }

    #[test]
    fn short_values_have_no_spelling() {
        for value in ["", "1", "admin", "1234567", "\n\n", "[]", "{\"a\": 1}x"] {
            assert!(value.len() >= SHORTEST || of(value).is_empty(), "{value}");
        }
        assert!(!of("12345678").is_empty());
    }

    #[test]
    fn encodings_are_those_that_programs_print() {
        let set = of("p@ss w/rd\"é");
        for wanted in [
            "p@ss w/rd\"é",
            "p%40ss%20w%2Frd%22%C3%A9",
            "p%40ss%20w/rd%22%C3%A9",
            "p%40ss+w%2Frd%22%C3%A9",
            "p@ss w/rd\\\"é",
            "p@ss w/rd\\\"\\u00e9",
            "cEBzcyB3L3JkIsOp",
        ] {
            assert!(set.contains(wanted), "{wanted} is not in {set:?}");
        }
        assert!(of("??>>??>>??").contains("Pz8-Pj8_Pj4_Pw"));
    }

    #[test]
    fn base64_is_known_at_every_place_in_a_longer_text() {
        let set = of("hunter22!");
        for before in ["", "u", "us", "use", "user:"] {
            for behind in ["", "1", "12", "123"] {
                let code = STANDARD_NO_PAD.encode(format!("{before}hunter22!{behind}"));
                assert!(
                    set.iter().any(|s| code.contains(s.as_str())),
                    "{before}…{behind}"
                );
            }
        }
    }

    #[test]
    fn json_is_taken_apart_and_keys_and_short_leaves_are_not_secrets() {
        let set = of(
            r#"{"password_key": "hunter22!", "deep": [{"n": 12345678901, "x": "1"}], "in": "[\"nested-one\"]"}"#,
        );
        for wanted in ["hunter22!", "12345678901", "nested-one"] {
            assert!(set.contains(wanted), "{wanted}");
        }
        assert!(!set.contains("password_key"));
    }

    #[test]
    fn a_pem_is_known_whole_and_line_by_line_with_any_line_end() {
        let set = of("-----BEGIN KEY-----\r\nMIIEvQIBADANBg\r\nshort\r\n");
        for wanted in [
            "-----BEGIN KEY-----",
            "MIIEvQIBADANBg",
            "-----BEGIN KEY-----\nMIIEvQIBADANBg\nshort",
            "-----BEGIN KEY-----\\nMIIEvQIBADANBg\\nshort\\n",
        ] {
            assert!(set.contains(wanted), "{wanted}");
        }
        assert!(!set.contains("short"));
    }
}
