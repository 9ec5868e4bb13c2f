//! What a scalar is: YAML 1.2's core schema, strict enough that what looks like a code stays a text.
//!
//! `yes` and `no` are texts, and so are numbers with a leading zero or with underscores, and what no finite number is:
//! `0600`, `1_000`, `.inf`, `1e999`.

use std::borrow::Cow;

use cgap_yaml::{ScalarStyle, Tag};

use super::Value;

/// What a tag asks for; tags of nobody we know ask for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Null,
    Bool,
    Int,
    Float,
    Text,
    List,
    Map,
    /// Known to YAML 1.1, and nothing that we could hold.
    Foreign,
    /// `!` alone: a text, where it stands before a scalar.
    Plain,
    /// None, or one that only its author knows.
    Any,
}

impl Kind {
    /// `!!int` and its likes; `!int` is read so too.
    pub fn of(tag: Option<&Tag>) -> Self {
        let Some(tag) = tag else { return Self::Any };
        let name = tag
            .suffix_in_namespace("tag:yaml.org,2002:")
            .or_else(|| tag.suffix_in_namespace("!"));
        match name.as_deref().map(|name| name.trim_start_matches('!')) {
            Some("null") => Self::Null,
            Some("bool") => Self::Bool,
            Some("int") => Self::Int,
            Some("float") => Self::Float,
            Some("str") => Self::Text,
            Some("") => Self::Plain,
            Some("seq") => Self::List,
            Some("map") => Self::Map,
            Some("binary" | "timestamp") => Self::Foreign,
            _ => Self::Any,
        }
    }
}

/// The value of a scalar; none where it does not fit its tag.
pub fn value(text: Cow<'_, str>, style: ScalarStyle, kind: Kind) -> Option<Value> {
    if kind == Kind::Any && style == ScalarStyle::Plain {
        return Some(plain(text));
    }
    let trimmed = text.trim_matches([' ', '\t', '\r', '\n']);
    match kind {
        Kind::Any | Kind::Plain | Kind::Text => Some(Value::Text(text.into_owned())),
        Kind::Null => Some(Value::Null),
        Kind::Bool => boolean(trimmed).map(Value::Bool),
        Kind::Int => Some(trimmed.replace('_', ""))
            .filter(|digits| is_integer(digits))
            .map(Value::Number),
        Kind::Float if is_float(trimmed) => Some(Value::Number(trimmed.to_owned())),
        Kind::Float if is_infinite(trimmed) => Some(Value::Text(trimmed.to_owned())),
        Kind::Float | Kind::List | Kind::Map | Kind::Foreign => None,
    }
}

/// A scalar without quotes and without a tag.
fn plain(text: Cow<'_, str>) -> Value {
    // Nearly all texts are known by their first letter.
    match text.as_bytes().first() {
        None => Value::Null,
        Some(b'~' | b'n' | b'N') if matches!(&*text, "~" | "null" | "Null" | "NULL") => Value::Null,
        Some(b't' | b'T' | b'f' | b'F') => match boolean(&text) {
            Some(value) => Value::Bool(value),
            None => Value::Text(text.into_owned()),
        },
        Some(b'0'..=b'9' | b'+' | b'-' | b'.') if is_number(&text) => {
            Value::Number(text.into_owned())
        }
        Some(_) => Value::Text(text.into_owned()),
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

fn is_number(text: &str) -> bool {
    is_integer(text) || !is_padded(text) && is_float(text)
}

fn unsigned(text: &str) -> &str {
    text.strip_prefix(['+', '-']).unwrap_or(text)
}

/// `0127`: a code rather than a number.
fn is_padded(text: &str) -> bool {
    let digits = unsigned(text);
    digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit())
}

/// Decimal, or with `0x`, `0o` or `0b`, in 64 bits.
fn is_integer(text: &str) -> bool {
    let digits = unsigned(text);
    let radix = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => 16,
        [b'0', b'o' | b'O', ..] => 8,
        [b'0', b'b' | b'B', ..] => 2,
        _ => 10,
    };
    let digits = if radix == 10 { digits } else { &digits[2..] };
    let number = u64::from_str_radix(digits, radix).ok();
    let fits = number.is_some_and(|number| !text.starts_with('-') || number <= 1 << 63);
    fits && !digits.starts_with('+') && !is_padded(text)
}

fn is_float(text: &str) -> bool {
    text.parse::<f64>().is_ok_and(f64::is_finite)
}

/// `.inf` and `.nan`, and numbers beyond the largest.
fn is_infinite(text: &str) -> bool {
    let digits = unsigned(text);
    let named = matches!(digits, ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF");
    let number = digits.starts_with(|c: char| c.is_ascii_digit());
    named || number && text.parse::<f64>().is_ok_and(f64::is_infinite)
}
