//! The types of the language that are not its own: what may be absent, lists, mappings of names, words, booleans.

use indexmap::IndexMap;
use serde_json::{Value as Json, json};

use super::super::tree::{Key, Node, Value};
use super::{Definitions, Reader, Shape};
use crate::diag::{Code, Diagnostic, nearest};
use crate::source::Place;

/// Says that a value is none of a closed set of words.
pub fn not_a_word(node: &Node, words: &[&str], reader: &mut Reader<'_>) {
    let list = words.join(", ");
    match node.scalar() {
        Some(found) if words.len() == 1 => {
            let message = format!("`{found}` is not `{list}`, the only one that there is");
            reader.bad(node, Code::BadValue, message);
        }
        None => reader.wrong_type(node, &format!("one of {list}")),
        Some(found) => {
            let diagnostic = Diagnostic::new(
                Code::BadValue,
                node.place.clone(),
                format!("`{found}` is not one of {list}"),
            );
            let elsewhere = || {
                let same = |(other, _): &&(&str, &str)| other.eq_ignore_ascii_case(found);
                let ours = ELSEWHERE.iter().filter(same).map(|(_, ours)| *ours);
                ours.into_iter().find(|word| words.contains(word))
            };
            let near = nearest(found, words.iter().copied()).or_else(elsewhere);
            reader.diagnostics.push(match near {
                Some(word) => diagnostic.label(format!("did you mean `{word}`?")),
                None => diagnostic,
            });
        }
    }
}

/// What Compose, Kubernetes and systemd call a word that is ours.
const ELSEWHERE: &[(&str, &str)] = &[
    ("completed", "succeeded"),
    ("exited", "succeeded"),
    ("false", "never"),
    ("healthy", "ready"),
    ("no", "never"),
    ("OnFailure", "on-failure"),
    ("running", "started"),
    ("service_completed_successfully", "succeeded"),
    ("service_healthy", "ready"),
    ("service_started", "started"),
    ("successful", "succeeded"),
    ("true", "always"),
    ("unless-stopped", "always"),
    ("yes", "always"),
];

/// The schema of a closed set of words; one that is written as a number may be one.
pub fn words_schema(words: &[&str]) -> Json {
    let numbers = words.iter().filter_map(|word| word.parse::<u64>().ok());
    let all: Vec<Json> = numbers
        .map(Json::from)
        .chain(words.iter().map(|word| Json::from(*word)))
        .collect();
    json!({ "enum": all })
}

impl<T: Shape> Shape for Option<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        T::read(node, reader).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn schema(defs: &mut Definitions) -> Json {
        T::schema(defs)
    }
}

/// What is large, and mostly not there.
impl<T: Shape> Shape for Box<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        T::read(node, reader).map(Self::new)
    }

    fn absent() -> Option<Self> {
        T::absent().map(Self::new)
    }

    fn stand_in(place: &Place) -> Option<Self> {
        T::stand_in(place).map(Self::new)
    }

    fn schema(defs: &mut Definitions) -> Json {
        T::schema(defs)
    }
}

impl<T: Shape> Shape for Vec<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::List(items) => Some(
                items
                    .iter()
                    .enumerate()
                    .filter_map(|(at, item)| {
                        reader.under(at, &item.place, |reader| T::read(item, reader))
                    })
                    .collect(),
            ),
            Value::Null => Some(Vec::new()),
            _ => {
                let help = match node.scalar() {
                    Some(scalar) if scalar.len() <= 40 => format!("write [{scalar}]"),
                    _ => "begin each entry of the list with `- `".to_owned(),
                };
                reader.wrong_type_help(node, "a list", Some(help));
                None
            }
        }
    }

    fn stand_in(_: &Place) -> Option<Self> {
        Some(Vec::new())
    }

    fn schema(defs: &mut Definitions) -> Json {
        json!({ "type": "array", "items": T::schema(defs) })
    }
}

impl<T: Shape> Shape for IndexMap<String, T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if !matches!(node.value, Value::Map(_) | Value::Null) {
            let first = node.at(&["0"]).and_then(Node::scalar);
            let (expected, help) = match reader.key() {
                "environment" | "headers" => {
                    let (name, value) = first
                        .and_then(|f| f.split_once('='))
                        .unwrap_or(("NAME", "value"));
                    (
                        "names with their values",
                        format!("write `{name}: {value}`, one a line"),
                    )
                }
                "depends_on" => (
                    "members with their conditions",
                    format!(
                        "write `{}: {{ condition: started }}`, one a line",
                        first.unwrap_or("NAME")
                    ),
                ),
                _ => (
                    "a mapping of names",
                    "write each name as a key, `NAME:`, with what belongs to it below".to_owned(),
                ),
            };
            reader.wrong_type_help(node, expected, Some(help));
            return None;
        }
        let mut map = IndexMap::with_capacity(node.entries().len());
        let outside = too_far_left(node.entries(), T::OWN_KEYS, reader);
        for (at, (key, node)) in node.entries().iter().enumerate() {
            if outside.contains(&at) {
                continue;
            }
            check_name(key, reader);
            if let Some(value) = reader.under(&key.name, &key.place, |reader| T::read(node, reader))
            {
                map.insert(key.name.clone(), value);
            }
        }
        Some(map)
    }

    fn stand_in(_: &Place) -> Option<Self> {
        Some(IndexMap::new())
    }

    fn schema(defs: &mut Definitions) -> Json {
        json!({
            "type": "object",
            "propertyNames": { "pattern": "^[A-Za-z_][A-Za-z0-9_.-]*$" },
            "additionalProperties": T::schema(defs),
        })
    }
}

/// An empty entry and, beside it rather than in it, its own keys: told once, at the first.
fn too_far_left(
    entries: &[(Key, Node)],
    keys: &[&str],
    reader: &mut Reader<'_>,
) -> std::ops::Range<usize> {
    let is_own = |(key, node): &(Key, Node)| {
        keys.contains(&key.name.as_str()) && !matches!(node.value, Value::Map(_) | Value::Null)
    };
    let is_empty = |(_, node): &(Key, Node)| matches!(node.value, Value::Null);
    let pair = entries
        .windows(2)
        .position(|two| is_empty(&two[0]) && is_own(&two[1]));
    let Some(empty) = pair else { return 0..0 };
    let own = entries[empty + 1..]
        .iter()
        .take_while(|entry| is_own(entry));
    let (name, key) = (&entries[empty].0, &entries[empty + 1].0);
    let message = format!("`{}` stands where a name does", key.name);
    let help = format!("indent it, so that it belongs to `{}`", name.name);
    reader.diagnostics.push(
        Diagnostic::new(Code::UnknownKey, key.place.clone(), message)
            .help(help)
            .related(name.place.clone(), "nothing belongs to this"),
    );
    empty..empty + 1 + own.count()
}

/// Names of roles, members and settings: letters, digits, `_`, `-` and `.`.
fn check_name(key: &Key, reader: &mut Reader<'_>) {
    let mut chars = key.name.chars();
    let good = chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    if !good {
        reader.diagnostics.push(
            Diagnostic::new(
                Code::BadName,
                key.place.clone(),
                format!("`{}` is not a name", key.name),
            )
            .help("a name begins with a letter or `_` and has letters, digits, `_`, `-` and `.`"),
        );
    }
}

impl Shape for bool {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match node.value {
            Value::Bool(value) => Some(value),
            _ => {
                let word = node.scalar().unwrap_or_default().to_ascii_lowercase();
                let help = match word.as_str() {
                    "yes" | "on" | "y" | "1" => Some("write `true`"),
                    "no" | "off" | "n" | "0" => Some("write `false`"),
                    "true" | "false" => Some("write it without quotes, in small letters"),
                    _ => None,
                };
                reader.wrong_type_help(node, "true or false", help.map(str::to_owned));
                None
            }
        }
    }

    fn schema(_: &mut Definitions) -> Json {
        json!({ "type": "boolean" })
    }
}

/// A plain text: no expressions in it.
impl Shape for String {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match node.scalar() {
            Some(text) => Some(text.to_owned()),
            None => {
                reader.not_a_text(node);
                None
            }
        }
    }

    fn stand_in(_: &Place) -> Option<Self> {
        Some(String::new())
    }

    fn schema(_: &mut Definitions) -> Json {
        json!({ "type": ["string", "number", "boolean"] })
    }
}
