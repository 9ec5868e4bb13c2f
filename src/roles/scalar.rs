//! The scalars of the language: texts with expressions, conditions, durations, modes, signals, commands, numbers.
//!
//! Each keeps what the author wrote and is compared and printed by it, not by its place.

use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::{Value as Json, json};

use super::shape::{Definitions, Reader, Shape, Written};
use super::tree::{Node, Value};
use super::words;
use crate::diag::{Code, Diagnostic, nearest};
use crate::signal;
use crate::source::Place;
use crate::template;

/// A text with `${ }`.
#[derive(Debug, Clone)]
pub struct Text {
    /// As written.
    pub raw: String,
    /// Parsed.
    pub template: template::Template,
    /// Where it stands.
    pub place: Place,
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.raw)
    }
}

impl Text {
    /// The text itself where it has no expression.
    pub fn literal(&self) -> Option<&str> {
        self.template.literal()
    }

    /// Whether it only stands for a text that is not there or could not be read, which is told already.
    pub fn is_stand_in(&self) -> bool {
        self.raw.is_empty() && !matches!(self.place.text(), "\"\"" | "''")
    }
}

impl Shape for Text {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Some(raw) = node.scalar() else {
            reader.not_a_text(node);
            return None;
        };
        Some(Self {
            raw: raw.to_owned(),
            template: reader.template(&node.place, raw),
            place: node.place.clone(),
        })
    }

    fn stand_in(place: &Place) -> Option<Self> {
        Some(Self {
            raw: String::new(),
            template: template::Template::parse("").0,
            place: place.clone(),
        })
    }

    fn schema(_: &mut Definitions) -> Json {
        json!({ "type": ["string", "number", "boolean"] })
    }
}

/// A bare expression that holds or does not.
#[derive(Debug, Clone)]
pub struct Condition {
    /// Parsed.
    pub condition: template::Condition,
    /// Where it stands.
    pub place: Place,
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.condition.source() == other.condition.source()
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.condition.source())
    }
}

impl Shape for Condition {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Some(raw) = node.scalar() else {
            match tag_before(node) {
                Some(tag) => {
                    let name = &tag.text()[1..];
                    let message = format!("YAML reads `!{name}` as a tag, and no value is left");
                    let help = format!("write `not {name}`");
                    reader
                        .diagnostics
                        .push(Diagnostic::new(Code::WrongType, tag, message).help(help));
                }
                None => {
                    let help =
                        "write an expression, such as INITIAL_DEPLOYMENT or \"DATA_SET == 'prod'\"";
                    reader.wrong_type_help(node, "a condition", Some(help.to_owned()));
                }
            }
            return None;
        };
        Some(Self {
            condition: reader.condition(node, raw)?,
            place: node.place.clone(),
        })
    }

    fn schema(_: &mut Definitions) -> Json {
        json!({ "type": ["string", "boolean"] })
    }
}

/// The `!X` directly before a value that is not there.
fn tag_before(node: &Node) -> Option<Place> {
    let source = &node.place.source;
    let line = source.line(node.place.start().0);
    let before = source.text()[line.start..node.place.range.start.max(line.start)].trim_end();
    let tag = before
        .rfind(['!', ' '])
        .filter(|at| before[*at..].starts_with('!'))?;
    let named = before.len() > tag + 1 && matches!(node.value, Value::Null);
    named.then(|| source.place(line.start + tag..line.start + before.len()))
}

/// A duration with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

impl Period {
    /// `500ms`, `30s`, `5m`, `1h`, `7d`, and sums such as `1m30s`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = text.trim();
        let mut total = Duration::ZERO;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
            let number: f64 = rest[..digits].parse().ok()?;
            rest = &rest[digits..];
            let unit = rest
                .find(|c: char| !c.is_ascii_alphabetic())
                .unwrap_or(rest.len());
            let seconds = match &rest[..unit] {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86400.0,
                _ => return None,
            };
            rest = &rest[unit..];
            total += Duration::try_from_secs_f64(number * seconds).ok()?;
        }
        (!text.trim().is_empty()).then_some(Self(total))
    }
}

impl std::fmt::Display for Period {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let millis = self.0.as_millis();
        match millis {
            0 => f.write_str("0s"),
            m if m % 86_400_000 == 0 => write!(f, "{}d", m / 86_400_000),
            m if m % 3_600_000 == 0 => write!(f, "{}h", m / 3_600_000),
            m if m % 60_000 == 0 => write!(f, "{}m", m / 60_000),
            m if m % 1000 == 0 => write!(f, "{}s", m / 1000),
            m => write!(f, "{m}ms"),
        }
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Shape for Period {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let period = node.scalar().and_then(Self::parse);
        if period.is_none() {
            let Some(found) = node.scalar() else {
                let help = "write a number with a unit: 500ms, 30s, 5m, 1h".to_owned();
                reader.wrong_type_help(node, "a duration", Some(help));
                return None;
            };
            let diagnostic = Diagnostic::new(
                Code::BadDuration,
                node.place.clone(),
                format!("`{found}` is not a duration"),
            );
            reader.diagnostics.push(if found.parse::<f64>().is_ok() {
                diagnostic.label("without a unit").help(format!(
                    "write `{found}s` for seconds, `{found}ms` for milliseconds"
                ))
            } else {
                diagnostic.help("write a number with a unit: 500ms, 30s, 5m, 1h")
            });
        }
        period
    }

    fn schema(_: &mut Definitions) -> Json {
        json!({ "type": "string", "pattern": "^([0-9]+(\\.[0-9]+)?(ms|s|m|h|d))+$" })
    }
}

/// A file's mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode(pub u32);

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:04o}", self.0))
    }
}

impl Shape for Mode {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Some(found) = node.scalar() else {
            let help = "write a quoted octal text, such as \"0600\"".to_owned();
            reader.wrong_type_help(node, "a file mode", Some(help));
            return None;
        };
        let mode = match &node.value {
            Value::Text(text) if text.len() <= 5 => u32::from_str_radix(text, 8).ok(),
            _ => None,
        };
        match mode {
            Some(mode) if mode <= 0o7777 => Some(Self(mode)),
            _ => {
                let digits = found.trim_start_matches("0o");
                let cure = match u32::from_str_radix(digits, 8) {
                    Ok(mode) if mode <= 0o7777 => format!("write it quoted: \"{mode:04o}\""),
                    _ => "write a quoted octal text, such as \"0600\"".to_owned(),
                };
                reader.diagnostics.push(
                    Diagnostic::new(
                        Code::BadMode,
                        node.place.clone(),
                        format!("`{found}` is not a file mode"),
                    )
                    .help(cure),
                );
                None
            }
        }
    }

    fn schema(_: &mut Definitions) -> Json {
        json!({ "type": "string", "pattern": "^0?[0-7]{3,4}$" })
    }
}

/// A signal's number, written by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal(pub i32);

impl Serialize for Signal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&signal::name(self.0))
    }
}

impl Shape for Signal {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Some(found) = node.scalar() else {
            let help = "write a name such as SIGTERM, SIGINT or SIGQUIT".to_owned();
            reader.wrong_type_help(node, "a signal", Some(help));
            return None;
        };
        let number = signal::parse(found);
        if number.is_none() {
            let diagnostic = Diagnostic::new(
                Code::UnknownSignal,
                node.place.clone(),
                format!("there is no signal `{found}`"),
            );
            reader
                .diagnostics
                .push(match nearest(found, signal::names()) {
                    Some(name) => diagnostic.label(format!("did you mean `{name}`?")),
                    None => diagnostic.help("write a name such as SIGTERM, SIGINT or SIGQUIT"),
                });
        }
        number.map(Self)
    }

    fn schema(_: &mut Definitions) -> Json {
        json!({ "type": "string", "pattern": "^(SIG)?[A-Z0-9+]+$" })
    }
}

/// A program and its arguments; a string is split into words as a shell would, with no shell.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Command(pub Vec<Text>);

impl Command {
    /// The command as a person would type it, expressions as written.
    pub fn line(&self) -> String {
        let words: Vec<_> = self.0.iter().map(|word| words::shown(&word.raw)).collect();
        words.join(" ")
    }
}

impl Shape for Command {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let words = match &node.value {
            Value::List(_) => {
                let list = Vec::<Text>::read(node, reader)?;
                let raw: Vec<&str> = list.iter().map(|word| word.raw.as_str()).collect();
                if let Some((at, operator)) = words::operator_of_list(&raw) {
                    no_shell(operator, list[at].place.clone(), words::line(&raw), reader);
                }
                list
            }
            Value::Null | Value::Map(_) => {
                reader.wrong_type(node, "a command: a list of words, or a text");
                return None;
            }
            _ => match words::split(node.scalar().unwrap_or_default()) {
                Ok(words) => {
                    let line = node.scalar().unwrap_or_default();
                    let written = Written::new(&node.place, line);
                    if let Some((at, operator)) = words::operator_of_line(&words) {
                        let place = written.part(words[at].range.clone());
                        no_shell(operator, place, line.to_owned(), reader);
                    }
                    let text = |word: words::Word| {
                        let place = written.part(word.range);
                        Text {
                            template: reader.template(&place, &word.text),
                            place,
                            raw: word.text,
                        }
                    };
                    words.into_iter().map(text).collect()
                }
                Err(message) => {
                    reader.unclosed(node, message);
                    return None;
                }
            },
        };
        if words.first().is_none_or(|word| word.raw.is_empty()) {
            reader.bad(node, Code::BadValue, "the command is empty");
            return None;
        }
        Some(Self(words))
    }

    fn stand_in(_: &Place) -> Option<Self> {
        Some(Self(Vec::new()))
    }

    fn schema(_: &mut Definitions) -> Json {
        json!({
            "type": ["string", "array"],
            "items": { "type": ["string", "number", "boolean"] },
            "minItems": 1,
        })
    }
}

/// Says that an operator is a mere word, and how a shell is asked for.
fn no_shell(operator: &str, place: Place, line: String, reader: &mut Reader<'_>) {
    let line = if line.chars().count() <= 60 && !line.contains(['"', '\\', '\n']) {
        line
    } else {
        format!("… {operator} …")
    };
    let help = if reader.is_in_step() {
        format!("let a shell run it: `shell: {line}`")
    } else {
        format!(
            "let a shell run it: `{}: [sh, -c, \"{line}\"]`",
            reader.key()
        )
    };
    let message = format!("`{operator}` is an ordinary word here, as no shell runs this command");
    reader
        .diagnostics
        .push(Diagnostic::new(Code::NoShell, place, message).help(help));
}

/// A value that roles.yaml does not interpret: a JSON Schema of messages.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Opaque(pub Json);

impl Shape for Opaque {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if node.entries().is_empty() {
            reader.wrong_type(node, "a JSON Schema (a mapping)");
            return None;
        }
        Some(Self(node.to_json()))
    }

    fn schema(_: &mut Definitions) -> Json {
        json!({ "type": "object" })
    }
}

/// The cure for a number in quotes, with a unit or in percent.
fn number_alone(node: &Node) -> Option<String> {
    let text = node.scalar()?.trim();
    if text.parse::<f64>().is_ok() {
        return Some("write it without quotes".to_owned());
    }
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let number: f64 = digits.parse().ok()?;
    Some(match text.ends_with('%') {
        true => format!("write {}", number / 100.0),
        false => "write the number alone, without a unit".to_owned(),
    })
}

macro_rules! number {
    ($Type:ty, $what:literal, $schema:tt) => {
        impl Shape for $Type {
            fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
                let number = match &node.value {
                    Value::Number(text) => text.parse().ok(),
                    _ => {
                        reader.wrong_type_help(node, $what, number_alone(node));
                        return None;
                    }
                };
                if number.is_none() {
                    let found = node.scalar().unwrap_or_default();
                    let message = match found.parse::<i64>() {
                        Ok(..0) => format!("`{found}` is less than 0"),
                        _ => format!("`{found}` is not {}", $what),
                    };
                    reader.bad(node, Code::BadValue, message);
                }
                number
            }

            fn schema(_: &mut Definitions) -> Json {
                json!($schema)
            }
        }
    };
}

number!(u8, "a number from 0 to 255", { "type": "integer", "minimum": 0, "maximum": 255 });
number!(u16, "a number from 0 to 65535", { "type": "integer", "minimum": 0, "maximum": 65535 });
number!(u32, "a whole number", { "type": "integer", "minimum": 0 });

/// A number of at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Count(pub u32);

impl Shape for Count {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match u32::read(node, reader)? {
            0 => {
                reader.bad(node, Code::BadValue, "at least 1 is needed here");
                None
            }
            count => Some(Self(count)),
        }
    }

    fn schema(_: &mut Definitions) -> Json {
        json!({ "type": "integer", "minimum": 1 })
    }
}

/// A fraction from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Fraction(pub f64);

impl Shape for Fraction {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let fraction = Decimal::read(node, reader)?.0;
        if fraction > 1.0 {
            reader.bad(
                node,
                Code::BadValue,
                "a fraction is between 0 and 1, such as 0.1",
            );
            return None;
        }
        Some(Self(fraction))
    }

    fn schema(_: &mut Definitions) -> Json {
        json!({ "type": "number", "minimum": 0, "maximum": 1 })
    }
}

/// A number that is not negative.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Decimal(pub f64);

impl Shape for Decimal {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::Number(text) = &node.value else {
            reader.wrong_type_help(node, "a number", number_alone(node));
            return None;
        };
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() && number >= 0.0 => Some(Self(number)),
            _ => {
                reader.bad(
                    node,
                    Code::BadValue,
                    format!("`{text}` is not a number of at least 0"),
                );
                None
            }
        }
    }

    fn schema(_: &mut Definitions) -> Json {
        json!({ "type": "number", "minimum": 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_print_as_written() {
        for text in ["500ms", "30s", "5m", "1h", "7d", "0s"] {
            assert_eq!(Period::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Period::parse("1m30s").unwrap().0, Duration::from_secs(90));
        assert_eq!(
            Period::parse("1.5s").unwrap().0,
            Duration::from_millis(1500)
        );
        for text in ["", "60", "5 m", "m", "-1s", "1y", "1e9999s"] {
            assert_eq!(Period::parse(text), None, "{text}");
        }
    }
}
