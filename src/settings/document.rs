//! Documents that give values: JSON, TOML and YAML files, and the JSON of a secret.
//!
//! A scalar becomes its source text; JSON `null` hides lower layers; lists and objects are noted with their kind.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value as Json;
use serde_json::value::RawValue;

use super::layers::{Layer, Origin};
use crate::diag::Diagnostics;
use crate::roles::tree::{self, Node};
use crate::secret::Secret;
use crate::source::Source;

/// How a file is written, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `.json`
    Json,
    /// `.toml`
    Toml,
    /// `.yaml` or `.yml`
    Yaml,
}

impl Format {
    /// The format that a path's ending tells.
    pub fn of(path: &str) -> Option<Self> {
        match path.rsplit_once('.')?.1 {
            "json" => Some(Self::Json),
            "toml" => Some(Self::Toml),
            "yaml" | "yml" => Some(Self::Yaml),
            _ => None,
        }
    }
}

/// The layer that a file gives: the keys in `map` from their paths, or all keys at the top.
///
/// The error says why the text cannot be read; it never quotes it.
pub fn layer(
    origin: Origin,
    text: &str,
    format: Format,
    map: &indexmap::IndexMap<String, String>,
) -> Result<Layer, String> {
    let document = match format {
        Format::Json => Document::Json(serde_json::from_str(text).map_err(|e| json_error(&e))?),
        Format::Toml => {
            let value: toml::Value = toml::from_str(text).map_err(|error| {
                let line = error
                    .span()
                    .map_or(1, |span| text[..span.start].matches('\n').count() + 1);
                format!("it is not TOML (line {line})")
            })?;
            Document::Json(serde_json::to_value(value).map_err(|e| json_error(&e))?)
        }
        Format::Yaml => {
            let mut found = Diagnostics::new();
            let tree = tree::parse(&Source::new("", text), &mut found);
            match (tree, found.sorted().first()) {
                (Some(tree), None) => Document::Yaml(tree),
                (_, Some(first)) => {
                    let line = first.place.as_ref().map_or(1, |place| place.start().0);
                    return Err(format!("line {line}: {}", first.message));
                }
                (None, None) => return Err("it is not YAML".to_owned()),
            }
        }
    };
    let mut layer = Layer::new(origin);
    if map.is_empty() {
        for key in document
            .keys()
            .ok_or("it is not a mapping of keys to values")?
        {
            if let Some(found) = document.at(&[key.as_str()]) {
                layer.put(&key, found);
            }
        }
    }
    for (key, path) in map {
        let path: Vec<&str> = path.split('.').collect();
        if let Some(found) = document.at(&path) {
            layer.put(key, found);
        }
    }
    Ok(layer)
}

enum Document {
    Json(Json),
    Yaml(Node),
}

/// What stands under a key.
enum Found {
    Text(String),
    Null,
    Nested(&'static str),
}

impl Document {
    fn keys(&self) -> Option<Vec<String>> {
        match self {
            Document::Json(Json::Object(map)) => Some(map.keys().cloned().collect()),
            Document::Json(_) => None,
            Document::Yaml(node) => match &node.value {
                tree::Value::Map(entries) => {
                    Some(entries.iter().map(|(key, _)| key.name.clone()).collect())
                }
                _ => None,
            },
        }
    }

    fn at(&self, path: &[&str]) -> Option<Found> {
        match self {
            Document::Json(json) => {
                let value = path.iter().try_fold(json, |json, key| json.get(*key))?;
                Some(found(value))
            }
            Document::Yaml(node) => {
                let node = node.at(path)?;
                Some(match (&node.value, node.scalar()) {
                    (_, Some(text)) => Found::Text(text.to_owned()),
                    (tree::Value::Null, None) => Found::Null,
                    (tree::Value::List(_), None) => Found::Nested("a list"),
                    (_, None) => Found::Nested("an object"),
                })
            }
        }
    }
}

fn found(json: &Json) -> Found {
    match json {
        Json::Null => Found::Null,
        Json::Bool(value) => Found::Text(value.to_string()),
        Json::Number(number) => Found::Text(number.to_string()),
        Json::String(text) => Found::Text(text.clone()),
        Json::Array(_) => Found::Nested("a list"),
        Json::Object(_) => Found::Nested("an object"),
    }
}

impl Layer {
    fn put(&mut self, key: &str, found: Found) {
        match found {
            Found::Text(text) => {
                self.values.insert(key.to_owned(), Some(Secret::new(text)));
            }
            Found::Null => {
                self.values.insert(key.to_owned(), None);
            }
            Found::Nested(kind) => {
                self.nested.insert(key.to_owned(), kind);
            }
        }
    }
}

/// What a secret's JSON gives, and what is to be said about it.
#[derive(Debug)]
pub struct SecretLayer {
    /// The values, placeholders left out.
    pub layer: Layer,
    /// Keys that stand twice; the last one counts.
    pub duplicates: Vec<String>,
}

/// Reads the JSON of a secret; the error says what it is instead and never quotes it.
pub fn secret(
    origin: Origin,
    text: &Secret,
    placeholder: Option<&str>,
) -> Result<SecretLayer, String> {
    let text = text.expose();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let entries: Entries =
        serde_json::from_str(text).map_err(|error| match serde_json::from_str::<Json>(text) {
            Ok(Json::Array(_)) => "it is a JSON list, and must be a JSON object".to_owned(),
            Ok(Json::Object(_)) | Err(_) => json_error(&error),
            Ok(_) => "it is a single JSON value, and must be a JSON object".to_owned(),
        })?;
    let mut layer = Layer::new(origin);
    let mut duplicates = Vec::new();
    let mut last: BTreeMap<String, &RawValue> = BTreeMap::new();
    for (key, value) in entries.0 {
        if last.insert(key.clone(), value).is_some() {
            duplicates.push(key);
        }
    }
    for (key, value) in last {
        if key.is_empty() || key.contains('\0') {
            return Err("it has a key without a name, or with a NUL in it".to_owned());
        }
        match raw(value).ok_or_else(|| format!("the text under {key} is not Unicode"))? {
            Found::Text(text) if placeholder == Some(text.as_str()) => {
                layer.placeholders.insert(key);
            }
            found => layer.put(&key, found),
        }
    }
    Ok(SecretLayer { layer, duplicates })
}

/// Line and column only: serde_json's own text may quote what it found.
fn json_error(error: &serde_json::Error) -> String {
    use serde_json::error::Category;
    let what = match error.classify() {
        Category::Eof if error.line() <= 1 && error.column() == 0 => {
            return "it is empty".to_owned();
        }
        Category::Eof => "it ends too early",
        Category::Syntax | Category::Data | Category::Io => "it is not JSON",
    };
    format!("{what} (line {}, column {})", error.line(), error.column())
}

/// What a JSON text is: a number stays as it was written, `1e5` and `1.10` too.
///
/// None where a text has half a surrogate pair, which no UTF-8 can hold.
fn raw(value: &RawValue) -> Option<Found> {
    let text = value.get();
    Some(match text.as_bytes().first() {
        Some(b'"') => Found::Text(serde_json::from_str(text).ok()?),
        Some(b'[') => Found::Nested("a list"),
        Some(b'{') => Found::Nested("an object"),
        Some(b'n') => Found::Null,
        _ => Found::Text(text.to_owned()),
    })
}

/// The entries of a JSON object, duplicates included.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = access.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(layer: &Layer) -> Vec<(&str, Option<&str>)> {
        layer
            .values
            .iter()
            .map(|(key, text)| (key.as_str(), text.as_ref().map(Secret::expose)))
            .collect()
    }

    #[test]
    fn a_secret_gives_texts_and_says_what_it_is_not() {
        let read = |text: &str| {
            secret(
                Origin::SecretFile("g".into()),
                &Secret::new(text),
                Some("XXX: ENTER VALUE"),
            )
        };
        let found = read(r#"{"A":"x","N":1.10,"B":true,"Z":null,"L":[1],"P":"XXX: ENTER VALUE","A":"y","I":123456789012345678901234567890,"E":1e5}"#).unwrap();
        assert_eq!(
            texts(&found.layer),
            [
                ("A", Some("y")),
                ("B", Some("true")),
                ("E", Some("1e5")),
                ("I", Some("123456789012345678901234567890")),
                ("N", Some("1.10")),
                ("Z", None)
            ]
        );
        assert_eq!(found.duplicates, ["A"]);
        assert_eq!(found.layer.nested.get("L"), Some(&"a list"));
        assert!(found.layer.placeholders.contains("P"));
        for (text, expected) in [
            ("", "it is empty"),
            ("hunter2", "it is not JSON (line 1, column 1)"),
            (
                "[\"hunter2\"]",
                "it is a JSON list, and must be a JSON object",
            ),
            (
                "\"hunter2\"",
                "it is a single JSON value, and must be a JSON object",
            ),
            ("{\"a\": \"hunter2", "it ends too early (line 1, column 14)"),
            ("{\"a\": hunter2}", "it is not JSON (line 1, column 7)"),
            (
                "{\"\": \"hunter2\"}",
                "it has a key without a name, or with a NUL in it",
            ),
            (
                "{\"K\": \"hunter2\\ud800\"}",
                "the text under K is not Unicode",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), expected);
        }
    }

    #[test]
    fn files_of_three_formats_give_the_same_texts() {
        let empty = indexmap::IndexMap::new();
        for (format, text) in [
            (Format::Json, "{\"A\": \"x\", \"N\": 7, \"B\": true}"),
            (Format::Toml, "A = 'x'\nN = 7\nB = true\n"),
            (Format::Yaml, "A: x\nN: 7\nB: true\n"),
        ] {
            let layer = layer(Origin::Environment, text, format, &empty).unwrap();
            assert_eq!(
                texts(&layer),
                [("A", Some("x")), ("B", Some("true")), ("N", Some("7"))]
            );
        }
        let map = [("V".to_owned(), "tool.poetry.version".to_owned())]
            .into_iter()
            .collect();
        let text = "[tool.poetry]\nversion = '17.0.0'\n";
        let layer = layer(Origin::Environment, text, Format::Toml, &map).unwrap();
        assert_eq!(texts(&layer), [("V", Some("17.0.0"))]);
    }
}
