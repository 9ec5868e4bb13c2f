//! Where the entries of a JSON object stand in its text, and the text without its values.

use std::ops::Range;

/// One entry of the object.
pub struct Entry {
    /// The key.
    pub name: String,
    /// The key's bytes, quotes included.
    pub key: Range<usize>,
    /// The value's bytes.
    pub value: Range<usize>,
}

/// The entries of a text that is a JSON object; nothing of one that is not.
pub fn entries(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let Some(open) = text.find('{') else {
        return entries;
    };
    let mut at = open + 1;
    loop {
        at = next(text, at, |c| {
            !matches!(c, b' ' | b'\n' | b'\r' | b'\t' | b',')
        });
        if text.as_bytes().get(at) != Some(&b'"') {
            return entries;
        }
        let key = at..string_end(text, at);
        let colon = next(text, key.end, |c| c == b':');
        let start = next(text, colon + 1, |c| !c.is_ascii_whitespace());
        let end = value_end(text, start);
        let Ok(name) = serde_json::from_str(&text[key.clone()]) else {
            return entries;
        };
        entries.push(Entry {
            name,
            key,
            value: start..end,
        });
        at = end.max(start + 1);
    }
}

fn next(text: &str, from: usize, wanted: impl Fn(u8) -> bool) -> usize {
    let bytes = text.as_bytes();
    (from..bytes.len())
        .find(|at| wanted(bytes[*at]))
        .unwrap_or(bytes.len())
}

/// Just behind the string that begins at `from`.
fn string_end(text: &str, from: usize) -> usize {
    let bytes = text.as_bytes();
    let mut at = from + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Just behind the value that begins at `from`.
fn value_end(text: &str, from: usize) -> usize {
    let bytes = text.as_bytes();
    let mut depth = 0;
    let mut at = from;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at = string_end(text, at) - 1,
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return at,
            b'}' | b']' => depth -= 1,
            b',' | b' ' | b'\n' | b'\r' | b'\t' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
        if depth == 0 && matches!(bytes[at - 1], b'"' | b'}' | b']') {
            return at;
        }
    }
    bytes.len()
}

/// The text with a star for each character of each value: lines and columns stay, nothing can be read.
pub fn masked(text: &str, entries: &[Entry]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let stars = |text: &str, out: &mut String| {
        out.extend(
            text.chars()
                .map(|c| if matches!(c, '\n' | '\r') { c } else { '*' }),
        );
    };
    for entry in entries {
        out.push_str(&text[at..entry.value.start]);
        stars(&text[entry.value.clone()], &mut out);
        at = entry.value.end;
    }
    let rest = &text[at..];
    if rest.trim() == "}" {
        out.push_str(rest);
    } else {
        stars(rest, &mut out);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_have_their_places_and_values_are_masked() {
        let text = "{ \"A\" : \"x\\\"},é\", \"B\":[1,{\"C\":\"]\"}],\n\"D\\u0041\": -1.5e3 }\n";
        let found = entries(text);
        let shown: Vec<_> = found
            .iter()
            .map(|e| {
                (
                    e.name.as_str(),
                    &text[e.key.clone()],
                    &text[e.value.clone()],
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("A", "\"A\"", "\"x\\\"},é\""),
                ("B", "\"B\"", "[1,{\"C\":\"]\"}]"),
                ("DA", "\"D\\u0041\"", "-1.5e3")
            ]
        );
        let expected = "{ \"A\" : ********, \"B\":*************,\n\"D\\u0041\": ****** }\n";
        assert_eq!(masked(text, &found), expected);
        for text in [
            "",
            "[1]",
            "{",
            "{\"a",
            "{\"a\":",
            "{\"a\":\"\\",
            "{\"a\":[",
            "{,,,",
        ] {
            let found = entries(text);
            assert!(!masked(text, &found).contains(['1', '[']), "{text}");
        }
    }
}
