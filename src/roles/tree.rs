//! A YAML text as a tree in which every key and value knows its place. The only importer of the YAML parser.
//!
//! Scalars keep their source text, so `00123`, `1.10` and `5432` stay as written. A duplicate key is a
//! diagnostic here, with the place of the first one; the tree keeps the first. Aliases and merge keys are expanded;
//! a bomb of them, or a file that is too deep, ends in one diagnostic.

mod read;
mod scalar;
mod syntax;
mod traps;

use std::cell::OnceCell;
use std::collections::HashMap;
use std::fmt;

use crate::diag::{Code, Diagnostic, Diagnostics};
use crate::source::{Place, Source};

/// The largest input file, in bytes.
pub const MAX_BYTES: usize = 4 << 20;

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
#[allow(clippy::box_collection, reason = "every node has one, and few use it")]
struct Index(OnceCell<Box<HashMap<String, usize>>>);

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
    fn new(value: Value, place: Place) -> Self {
        Self {
            value,
            place,
            index: Index::default(),
        }
    }

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
            Box::new(
                places
                    .map(|(at, (key, _))| (key.name.clone(), at))
                    .collect(),
            )
        });
        entries.get(*index.get(key)?)
    }

    /// Gives keys other names, by their places.
    pub fn rename(&mut self, names: &HashMap<Place, &'static str>) {
        self.index = Index::default();
        match &mut self.value {
            Value::List(items) => items.iter_mut().for_each(|item| item.rename(names)),
            Value::Map(entries) => {
                for (key, node) in entries {
                    if let Some(name) = names.get(&key.place) {
                        key.name = (*name).to_owned();
                    }
                    node.rename(names);
                }
            }
            Value::Null | Value::Text(_) | Value::Number(_) | Value::Bool(_) => {}
        }
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
            Value::Number(text) => number(text).unwrap_or_else(|| Json::String(text.clone())),
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
        Node::new(value, place.clone())
    }
}

/// A number as it was written, where JSON writes it so too; `.5` and `5.` by their value.
fn number(text: &str) -> Option<serde_json::Value> {
    let value = || serde_json::Number::from_f64(text.parse().ok()?);
    let written = serde_json::from_str(text).ok();
    written.or_else(|| Some(value()?.into()))
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
    match read::document(source) {
        Ok((tree, found)) => {
            for diagnostic in found {
                diagnostics.push(diagnostic);
            }
            Some(tree)
        }
        Err(stop) => {
            diagnostics.push(syntax::explain(source, &stop));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::ProptestConfig;

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

    #[test]
    fn an_alias_stands_where_it_is_written_and_costs_what_it_copies() {
        let (tree, _) = read("a: &a {x: [1]}\nb: *a\n");
        let tree = tree.unwrap();
        assert_eq!(tree.at(&["b", "x", "0"]).unwrap().place.text(), "*a");
        assert_eq!(tree.place_of(&["b", "x"]).unwrap().text(), "*a");
        let many = format!("a: &a x\nb: [{}]\n", "*a, ".repeat(5000));
        assert_eq!(read(&many).1, []);
        let text = "x".repeat(1 << 20);
        let large = format!("a: &a {text}\nb: [*a, *a, *a, *a]\n");
        assert_eq!(read(&large).1, []);
        let bomb = format!("a: &a {text}\nb: [*a, *a, *a, *a, *a]\n");
        assert_eq!(read(&bomb).1[0].code, Code::YamlLimit);
        let deep = format!("a: &a {}{}\n", "[".repeat(20), "]".repeat(20));
        assert_eq!(read(&format!("{deep}b: [[[[[*a]]]]]\n")).1, []);
        let deeper = format!("{deep}b: {}*a{}\n", "[".repeat(12), "]".repeat(12));
        assert_eq!(read(&deeper).1[0].code, Code::YamlLimit);
    }

    #[test]
    fn what_is_merged_replaces_no_key_and_a_duplicate_is_told_once() {
        let (tree, found) = read(
            "a: &a {x: 1, x: 2}\nb: {<<: [*a, {y: 3, x: 4}], z: 5}\nc: *a\n<<: {c: 1, d: 2}\n",
        );
        assert_eq!(found.len(), 1);
        let tree = tree.unwrap();
        assert_eq!(
            tree.to_json().to_string(),
            r#"{"a":{"x":1},"b":{"z":5,"x":1,"y":3},"c":{"x":1},"d":2}"#
        );
        assert_eq!(tree.place_of(&["b", "y"]).unwrap().text(), "y");
    }

    /// What a text holds, numbers without their value: we keep how they are written.
    fn shape(json: &serde_json::Value) -> String {
        use serde_json::Value as Json;
        match json {
            Json::Number(_) => "number".to_owned(),
            Json::Array(items) => format!("{:?}", items.iter().map(shape).collect::<Vec<_>>()),
            Json::Object(map) => {
                let entries: std::collections::BTreeMap<_, _> =
                    map.iter().map(|(key, value)| (key, shape(value))).collect();
                format!("{entries:?}")
            }
            scalar => scalar.to_string(),
        }
    }

    fn as_others_read(text: &str) -> Option<String> {
        let mut options = serde_yaml::Options::default();
        options.duplicate_keys = serde_yaml::options::DuplicateKeyPolicy::PassThrough;
        options.strict_booleans = true;
        options.leading_zero_numbers_as_strings = true;
        options.underscored_numbers_as_strings = true;
        let json = serde_yaml::from_str_with_options(text, options).ok()?;
        Some(shape(&json))
    }

    const PIECES: &[&str] = &[
        "a", "b", "k", ": ", ": ", ": ", "- ", "\n", "\n", "\n", "\n  ", "\n  ", "  ", "{", "}",
        "[", "]", ", ", "&x ", "*x", "<<: ", "'q'", "\"d\\n\"", "12", "007", "1_0", "-5.50", ".5",
        "true", "no", "null", "~", "!!int ", "!!str ", "!t ", "! ", "? ", "|\n", ">-\n", " #c",
        "---\n", "é", "\t", "a: ", "\nb: ", "\nk: ", "\n- ", "\r\n", "{a: ", "[1, ",
    ];

    proptest::proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

        #[test]
        fn a_text_means_what_others_read_in_it(
            pieces in proptest::collection::vec(proptest::sample::select(PIECES), 1..24),
        ) {
            let text = pieces.concat();
            let (tree, found) = read(&text);
            let others = as_others_read(&text);
            if let Some(tree) = tree && found.is_empty() {
                // The JSON of others has no keys with tags.
                if others.is_some() || !text.contains("!!") {
                    let json = tree.to_json();
                    proptest::prop_assert_eq!(Some(shape(&json)), others, "{:?}", text);
                }
            } else if found.iter().all(|d| d.code == Code::YamlSyntax) {
                proptest::prop_assert_eq!(None, others, "{:?}", text);
            }
        }
    }
}
