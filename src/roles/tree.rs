//! A YAML text as a tree in which every key and value knows its place. The only importer of the YAML crate.
//!
//! Scalars keep their source text, so `00123`, `1.10` and `5432` stay as written. A duplicate key is a
//! diagnostic here, with the place of the first one; the tree keeps the first. Aliases and merge keys are expanded;
//! a bomb of them, or a file that is too deep, ends in one diagnostic.

mod syntax;

use std::collections::HashMap;
use std::fmt;
use std::sync::OnceLock;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::Spanned;
use serde_yaml::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};

use crate::diag::{Code, Diagnostic, Diagnostics};
use crate::source::{Place, Source};

/// The largest input file, in bytes.
pub const MAX_BYTES: usize = 4 << 20;

/// Values that one file may have, aliases expanded. A 4 MiB file of the shortest entries has fewer.
const MAX_NODES: usize = 3_000_000;

/// Deeper than any file that a person writes, and well inside the stack.
const MAX_DEPTH: usize = 32;

/// One value of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// Where it is used; for a mapping or a list, where it begins.
    pub place: Place,
    index: Index,
}

/// Where the keys of a long mapping are; made when first asked, and a part of no comparison.
#[derive(Default)]
struct Index(OnceLock<HashMap<String, usize>>);

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Index")
    }
}

impl Clone for Index {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Index {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// From so many keys on an index is faster than looking at each.
const LONG: usize = 16;

/// What a [`Node`] is.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing, `null` or `~`.
    Null,
    /// A scalar that YAML reads as a text.
    Text(String),
    /// A scalar that YAML reads as a number, as it was written.
    Number(String),
    /// `true` or `false`.
    Bool(bool),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the file's order.
    Map(Vec<(Key, Node)>),
}

/// A mapping's key.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// Its text.
    pub name: String,
    /// Where it stands.
    pub place: Place,
}

impl Node {
    /// "a mapping", "a number": for messages.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Text(_) => "a text",
            Value::Number(_) => "a number",
            Value::Bool(_) => "true or false",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// Whether it is a list.
    pub fn is_list(&self) -> bool {
        matches!(self.value, Value::List(_))
    }

    /// The entries of a mapping; none of anything else.
    pub fn entries(&self) -> &[(Key, Node)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The value under `key`, if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|(_, node)| node)
    }

    /// Key and value under `key`, if this is a mapping that has it.
    pub fn entry(&self, key: &str) -> Option<&(Key, Node)> {
        let entries = self.entries();
        if entries.len() < LONG {
            return entries.iter().find(|(k, _)| k.name == key);
        }
        let index = self.index.0.get_or_init(|| {
            let places = entries.iter().enumerate();
            places
                .map(|(at, (key, _))| (key.name.clone(), at))
                .collect()
        });
        entries.get(*index.get(key)?)
    }

    /// The node at a path of keys and list indexes.
    pub fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, step| match &node.value {
            Value::List(items) => items.get(step.parse::<usize>().ok()?),
            _ => node.get(step),
        })
    }

    /// The place of the key that a path ends in, or of the value where it ends in a list index.
    pub fn place_of(&self, path: &[&str]) -> Option<Place> {
        let (last, parent) = path.split_last()?;
        let parent = self.at(parent)?;
        match parent.entry(last) {
            Some((key, _)) => Some(key.place.clone()),
            None => self.at(path).map(|node| node.place.clone()),
        }
    }

    /// The scalar's text as written; none for null, lists and mappings.
    pub fn scalar(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) | Value::Number(text) => Some(text),
            Value::Bool(true) => Some("true"),
            Value::Bool(false) => Some("false"),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The same value as JSON: for message schemas, which roles.yaml does not interpret.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Text(text) => Json::String(text.clone()),
            Value::Number(text) => {
                serde_json::from_str(text).unwrap_or_else(|_| Json::String(text.clone()))
            }
            Value::List(items) => items.iter().map(Node::to_json).collect(),
            Value::Map(entries) => entries
                .iter()
                .map(|(key, node)| (key.name.clone(), node.to_json()))
                .collect(),
        }
    }

    /// A tree of JSON, every node at `place`: how the defaults of the language become values.
    pub fn from_json(json: &serde_json::Value, place: &Place) -> Node {
        use serde_json::Value as Json;
        let value = match json {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => Value::Number(number.to_string()),
            Json::String(text) => Value::Text(text.clone()),
            Json::Array(items) => {
                Value::List(items.iter().map(|i| Node::from_json(i, place)).collect())
            }
            Json::Object(map) => Value::Map(
                map.iter()
                    .map(|(name, json)| {
                        let key = Key {
                            name: name.clone(),
                            place: place.clone(),
                        };
                        (key, Node::from_json(json, place))
                    })
                    .collect(),
            ),
        };
        Node {
            value,
            place: place.clone(),
            index: Index::default(),
        }
    }
}

/// Reads a text; none, and one diagnostic, where it is not YAML.
pub fn parse(source: &Source, diagnostics: &mut Diagnostics) -> Option<Node> {
    if source.text().len() > MAX_BYTES {
        let found = source.text().len();
        diagnostics.push(
            Diagnostic::new(
                Code::FileTooLarge,
                source.place(0..0),
                format!("{} has {found} bytes", source.name()),
            )
            .help(format!("a file may have {MAX_BYTES} bytes (4 MiB)")),
        );
        return None;
    }
    match serde_yaml::from_str_with_options::<Spanned<Raw>>(source.text(), options()) {
        Ok(raw) => Some(node(raw, source, diagnostics)),
        Err(error) => {
            diagnostics.push(syntax::explain(source, error.without_snippet()));
            None
        }
    }
}

fn options() -> serde_yaml::Options {
    let mut options = serde_yaml::Options::default();
    if let Some(budget) = &mut options.budget {
        budget.max_events = MAX_NODES * 2;
        budget.max_nodes = MAX_NODES;
        budget.max_depth = MAX_DEPTH;
        budget.max_total_scalar_bytes = MAX_BYTES * 2;
    }
    // A file of roles has a handful of aliases; what is far beyond that is a bomb, found early.
    options.alias_limits.max_total_replayed_events = 100_000;
    options.duplicate_keys = DuplicateKeyPolicy::PassThrough;
    options.non_finite_float_policy = NonFiniteFloatPolicy::AsString;
    options.strict_booleans = true;
    options.leading_zero_numbers_as_strings = true;
    options.underscored_numbers_as_strings = true;
    options.with_snippet = false;
    options
}

/// What the parser hands over, before keys are checked and places are ours.
enum Raw {
    Null,
    Text(String),
    Number(String),
    Bool(bool),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<Raw>, Spanned<Raw>)>),
}

fn node(raw: Spanned<Raw>, source: &Source, diagnostics: &mut Diagnostics) -> Node {
    let place = place(source, &raw.referenced);
    let value = match raw.value {
        Raw::Null => Value::Null,
        Raw::Bool(value) => Value::Bool(value),
        Raw::Text(text) => Value::Text(text),
        // The number as it was written, not as it was parsed: `1.10` is not 1.1.
        Raw::Number(parsed) => Value::Number(written(source, &raw.defined, parsed)),
        Raw::List(items) => Value::List(
            items
                .into_iter()
                .map(|item| node(item, source, diagnostics))
                .collect(),
        ),
        Raw::Map(entries) => Value::Map(map(entries, source, diagnostics)),
    };
    Node {
        value,
        place,
        index: Index::default(),
    }
}

fn map(
    entries: Vec<(Spanned<Raw>, Spanned<Raw>)>,
    source: &Source,
    diagnostics: &mut Diagnostics,
) -> Vec<(Key, Node)> {
    let mut map: Vec<(Key, Node)> = Vec::with_capacity(entries.len());
    // Where the keys of a long mapping are; in a short one, as nearly all are, looking at each is faster.
    let mut index: Option<HashMap<String, usize>> = (entries.len() >= LONG).then(HashMap::new);
    for (key, value) in entries {
        let Some(key) = self::key(key, source, diagnostics) else {
            continue;
        };
        let value = node(value, source, diagnostics);
        let earlier = match &index {
            Some(index) => index.get(&key.name).copied(),
            None => map.iter().position(|(earlier, _)| earlier.name == key.name),
        };
        let Some(earlier) = earlier else {
            if let Some(index) = &mut index {
                index.insert(key.name.clone(), map.len());
            }
            map.push((key, value));
            continue;
        };
        diagnostics.push(
            Diagnostic::new(
                Code::DuplicateKey,
                key.place,
                format!("the key `{}` stands twice in this mapping", key.name),
            )
            .label("again here")
            .related(map[earlier].0.place.clone(), "first defined here"),
        );
    }
    map
}

fn key(raw: Spanned<Raw>, source: &Source, diagnostics: &mut Diagnostics) -> Option<Key> {
    let node = node(raw, source, diagnostics);
    let name = match node.value {
        Value::Text(name) | Value::Number(name) => name,
        Value::Bool(value) => value.to_string(),
        Value::Null | Value::List(_) | Value::Map(_) => {
            let message = format!("a key must be a text, this is {}", node.kind());
            diagnostics.push(Diagnostic::new(Code::WrongType, node.place, message));
            return None;
        }
    };
    Some(Key {
        name,
        place: node.place,
    })
}

fn place(source: &Source, location: &serde_yaml::Location) -> Place {
    let span = location.span();
    match (span.byte_offset(), span.byte_len()) {
        (Some(offset), Some(len)) => {
            let range = offset as usize..(offset + len) as usize;
            let place = source.place(range);
            let trimmed = place.text().trim_end().len();
            place.part(0..trimmed)
        }
        _ => {
            let at = syntax::offset_of(source, location);
            source.place(at..at)
        }
    }
}

fn written(source: &Source, location: &serde_yaml::Location, parsed: String) -> String {
    match place(source, location).text() {
        "" => parsed,
        text => text.to_owned(),
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Number(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Text(value))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Raw, E> {
        Ok(Raw::Text(String::from_utf8_lossy(value).into_owned()))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<Node>, Vec<Diagnostic>) {
        let mut diagnostics = Diagnostics::new();
        let tree = parse(&Source::new("r.yaml", text), &mut diagnostics);
        let list = diagnostics.sorted().into_iter().cloned().collect();
        (tree, list)
    }

    #[test]
    fn scalars_stay_as_written() {
        let (tree, diagnostics) = read(
            "a: 00123\nb: 1.10\nc: yes\nd: 0o600\ne: 5432\nf: '7'\ng: 123456789012345678901234567890\nh: 1_000\n",
        );
        assert_eq!(diagnostics, []);
        let tree = tree.unwrap();
        let texts: Vec<_> = tree
            .entries()
            .iter()
            .map(|(_, n)| n.scalar().unwrap())
            .collect();
        assert_eq!(
            texts,
            [
                "00123",
                "1.10",
                "yes",
                "0o600",
                "5432",
                "7",
                "123456789012345678901234567890",
                "1_000"
            ]
        );
        assert!(matches!(tree.get("e").unwrap().value, Value::Number(_)));
        assert!(matches!(tree.get("f").unwrap().value, Value::Text(_)));
    }

    #[test]
    fn places_are_exact_for_keys_and_values() {
        let (tree, _) = read("é: x\nroles:\n  web: {port: 80}\n");
        let tree = tree.unwrap();
        let port = tree.at(&["roles", "web", "port"]).unwrap();
        assert_eq!(port.place.to_string(), "r.yaml:3:15");
        assert_eq!(port.place.text(), "80");
        assert_eq!(
            tree.place_of(&["roles", "web", "port"]).unwrap().text(),
            "port"
        );
    }

    #[test]
    fn every_duplicate_is_reported_with_the_first_one() {
        let (tree, diagnostics) = read("a: 1\nb: {x: 1, x: 2}\na: 3\n");
        assert_eq!(tree.unwrap().get("a").unwrap().scalar(), Some("1"));
        let found: Vec<_> = diagnostics
            .iter()
            .map(|d| {
                format!(
                    "{} {} {}",
                    d.code,
                    d.place.as_ref().unwrap(),
                    d.related[0].0
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                "duplicate-key r.yaml:2:11 r.yaml:2:5",
                "duplicate-key r.yaml:3:1 r.yaml:1:1"
            ]
        );
    }

    #[test]
    fn what_is_not_yaml_is_one_diagnostic_in_our_words() {
        let bomb: String = std::iter::once("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned())
            .chain((1..9).map(|i| {
                let p = format!("*a{}", i - 1);
                format!("a{i}: &a{i} [{}]\n", [p.as_str(); 10].join(","))
            }))
            .collect();
        let deep = "[".repeat(3000);
        let cases = [
            ("a:\n\t- x\n", "yaml-tab", "r.yaml:2:1"),
            ("a: \"x\n", "yaml-syntax", ""),
            ("a: 1\n---\nb: 2\n", "yaml-syntax", ""),
            (bomb.as_str(), "yaml-limit", ""),
            (deep.as_str(), "yaml-limit", ""),
            ("a: &a [*a]\n", "yaml-limit", ""),
        ];
        for (text, code, place) in cases {
            let (tree, diagnostics) = read(text);
            let start = &text[..text.len().min(20)];
            assert!(tree.is_none(), "{start}");
            assert_eq!(diagnostics.len(), 1, "{start}");
            assert_eq!(
                diagnostics[0].code.name(),
                code,
                "{start}: {}",
                diagnostics[0].message
            );
            let at = diagnostics[0].place.as_ref().unwrap().to_string();
            assert!(at.starts_with(place), "{start}: {at}");
        }
    }

    #[test]
    fn anchors_and_merge_keys_are_expanded() {
        let (tree, diagnostics) = read("d: &d {a: 1, b: 2}\ne: {<<: *d, b: 3}\n");
        assert_eq!(diagnostics, []);
        let tree = tree.unwrap();
        assert_eq!(tree.at(&["e", "a"]).unwrap().scalar(), Some("1"));
        assert_eq!(tree.at(&["e", "b"]).unwrap().scalar(), Some("3"));
    }
}
