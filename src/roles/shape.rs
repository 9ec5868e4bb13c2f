//! How a piece of the language is declared once, and from that is read, described and documented.
//!
//! A type of the language implements [`Shape`]: it reads itself from a [`Node`], collecting what is wrong, and
//! gives its JSON Schema. The [`record!`] macro does both for a mapping with named keys, with the doc comments as
//! descriptions and defaults written as they would stand in roles.yaml.
//!
//! Reading goes on after a mistake: a value that cannot be read falls back to its default, and only what has no
//! default is left out, so that one run shows every mistake and none twice.

use indexmap::IndexMap;
use serde_json::{Value as Json, json};

use super::tree::{Key, Node, Value};
use crate::diag::{Code, Diagnostic, Diagnostics, nearest};
use crate::source::Place;
use crate::template::{Condition, Template};

/// A type that stands in roles.yaml.
pub trait Shape: Sized {
    /// The value; none when it cannot be read, which is then among the diagnostics.
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self>;

    /// The value where the key is not there and no default is declared; none where it must be there.
    fn absent() -> Option<Self> {
        None
    }

    /// The JSON Schema of the value, for editors.
    fn schema(defs: &mut Definitions) -> Json;
}

/// A mapping with named keys.
pub trait Record: Sized {
    /// "a service": how messages call it.
    const WHAT: &'static str;
    /// Its name among the schema's definitions.
    const NAME: &'static str;

    /// Takes its keys out of a mapping.
    fn take(fields: &mut Fields<'_>, reader: &mut Reader<'_>) -> Option<Self>;

    /// Each key with its schema.
    fn properties(defs: &mut Definitions) -> serde_json::Map<String, Json>;

    /// The keys that must be there.
    fn required() -> Vec<&'static str>;

    /// What the mapping is for.
    fn about() -> &'static str;
}

/// The schemas of the records, by name.
#[derive(Debug, Default)]
pub struct Definitions {
    /// In the order of first use.
    pub schemas: IndexMap<String, Json>,
}

impl Definitions {
    /// A reference to a record's schema, which is made on first use.
    pub fn reference(&mut self, name: &str, make: impl FnOnce(&mut Self) -> Json) -> Json {
        if !self.schemas.contains_key(name) {
            // Entered before it is made, so that a record may hold itself.
            self.schemas.insert(name.to_owned(), Json::Null);
            let schema = make(self);
            self.schemas.insert(name.to_owned(), schema);
        }
        json!({ "$ref": format!("#/$defs/{name}") })
    }
}

/// A text with expressions, and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Use {
    /// Keys and indexes from the top of the file.
    pub path: Vec<String>,
    /// The text's place.
    pub place: Place,
    /// The text as the author wrote it.
    pub raw: String,
    /// What it is.
    pub text: Used,
}

/// What kind of text a [`Use`] is.
#[derive(Debug, Clone, PartialEq)]
pub enum Used {
    /// With `${ }`.
    Template(Template),
    /// A bare expression.
    Condition(Condition),
}

impl Use {
    /// Each name that it uses, with the place.
    pub fn names(&self) -> Vec<(String, Place)> {
        let at = |(name, range): (&str, std::ops::Range<usize>)| {
            (name.to_owned(), inside(&self.place, &self.raw, range))
        };
        match &self.text {
            Used::Template(template) => template.names().map(at).collect(),
            Used::Condition(condition) => condition.names().map(at).collect(),
        }
    }
}

/// What reading collects.
pub struct Reader<'a> {
    /// What is wrong.
    pub diagnostics: &'a mut Diagnostics,
    /// Every text with expressions.
    pub uses: Vec<Use>,
    path: Vec<String>,
}

impl<'a> Reader<'a> {
    /// A reader at the top of the file.
    pub fn new(diagnostics: &'a mut Diagnostics) -> Self {
        Self {
            diagnostics,
            uses: Vec::new(),
            path: Vec::new(),
        }
    }

    /// Reads something that stands under `step`.
    pub fn under<T>(&mut self, step: impl Into<String>, read: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(step.into());
        let value = read(self);
        self.path.pop();
        value
    }

    /// Says that a value is of another type than expected.
    pub fn wrong_type(&mut self, node: &Node, expected: &str) {
        let message = format!("expected {expected}, found {}", node.kind());
        self.diagnostics.push(Diagnostic::new(
            Code::WrongType,
            node.place.clone(),
            message,
        ));
    }

    /// Says that a value cannot be used.
    pub fn bad(&mut self, node: &Node, code: Code, message: impl Into<String>) -> &mut Diagnostics {
        self.diagnostics
            .push(Diagnostic::new(code, node.place.clone(), message));
        self.diagnostics
    }

    /// A text with `${ }`; syntax faults are reported.
    pub fn template(&mut self, node: &Node, raw: &str) -> Template {
        let (template, faults) = Template::parse(raw);
        let broken = !faults.is_empty();
        for fault in faults {
            let place = inside(&node.place, raw, fault.range);
            let mut diagnostic = Diagnostic::new(fault.code, place, fault.message);
            diagnostic.help = fault.help;
            if comment_cut(&node.place) {
                diagnostic.help =
                    Some("` #` begins a comment in YAML; put the whole value in quotes".to_owned());
            }
            self.diagnostics.push(diagnostic);
        }
        if !broken {
            self.used(node, raw, Used::Template(template.clone()));
        }
        template
    }

    /// A bare expression; syntax faults are reported.
    pub fn condition(&mut self, node: &Node, raw: &str) -> Option<Condition> {
        match Condition::parse(raw) {
            Ok(condition) => {
                self.used(node, raw, Used::Condition(condition.clone()));
                Some(condition)
            }
            Err(fault) => {
                let place = inside(&node.place, raw, fault.range);
                let mut diagnostic = Diagnostic::new(fault.code, place, fault.message);
                diagnostic.help = fault.help;
                if raw.trim_start().starts_with("${") {
                    diagnostic.help = Some("write the expression alone, without ${ }".to_owned());
                }
                self.diagnostics.push(diagnostic);
                None
            }
        }
    }

    fn used(&mut self, node: &Node, raw: &str, text: Used) {
        self.uses.push(Use {
            path: self.path.clone(),
            place: node.place.clone(),
            raw: raw.to_owned(),
            text,
        });
    }
}

/// The place of `range` of a scalar's value: exact where the file has the value verbatim.
pub fn inside(place: &Place, raw: &str, range: std::ops::Range<usize>) -> Place {
    match place.text().find(raw) {
        Some(at) if !raw.is_empty() => place.part(range.start + at..range.end + at),
        _ => place.clone(),
    }
}

/// Whether a comment follows a plain scalar on its line: `${X # y}` was cut by YAML.
fn comment_cut(place: &Place) -> bool {
    let rest = place.source.text().get(place.range.end..).unwrap_or("");
    let line = rest.lines().next().unwrap_or("");
    line.trim_start().starts_with('#') && line.contains('}')
}

/// The entries of one mapping, taken out one by one.
pub struct Fields<'a> {
    entries: &'a [(Key, Node)],
    taken: Vec<&'static str>,
    place: Place,
}

impl<'a> Fields<'a> {
    /// The entries of `node`; none, and a diagnostic, when it is not a mapping. Nothing counts as an empty one.
    pub fn of(node: &'a Node, what: &str, reader: &mut Reader<'_>) -> Option<Self> {
        let entries = match &node.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Null => &[],
            _ => {
                reader.wrong_type(node, &format!("{what} (a mapping)"));
                return None;
            }
        };
        Some(Self {
            entries,
            taken: Vec::new(),
            place: node.place.clone(),
        })
    }

    /// Where the mapping begins.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Whether the mapping has the key.
    pub fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(k, _)| k.name == key)
    }

    /// Takes a key out, if it is there.
    pub fn entry(&mut self, key: &'static str) -> Option<&'a (Key, Node)> {
        self.taken.push(key);
        self.entries.iter().find(|(k, _)| k.name == key)
    }

    /// Reads a key, which must be there unless its type may be absent.
    pub fn read<T: Shape>(&mut self, key: &'static str, reader: &mut Reader<'_>) -> Option<T> {
        match self.entry(key) {
            Some((_, node)) => reader
                .under(key, |reader| T::read(node, reader))
                .or_else(T::absent),
            None => T::absent().or_else(|| {
                let place = self.place.clone();
                reader.diagnostics.push(Diagnostic::new(
                    Code::MissingKey,
                    place,
                    format!("the key `{key}` is missing here"),
                ));
                None
            }),
        }
    }

    /// Reads a key; where it is not there, or wrong, `default` counts as if it stood in the file.
    pub fn read_or<T: Shape>(
        &mut self,
        key: &'static str,
        default: &Json,
        reader: &mut Reader<'_>,
    ) -> Option<T> {
        let given = self
            .entry(key)
            .and_then(|(_, node)| reader.under(key, |reader| T::read(node, reader)));
        given.or_else(|| {
            let mut unheard = Diagnostics::new();
            let mut reader = Reader::new(&mut unheard);
            T::read(&Node::from_json(default, &self.place), &mut reader)
        })
    }

    /// Says which keys nobody took, with the nearest one that there is.
    pub fn finish(self, what: &str, reader: &mut Reader<'_>) {
        for (key, _) in self.entries {
            if self.taken.contains(&key.name.as_str()) {
                continue;
            }
            let diagnostic = Diagnostic::new(
                Code::UnknownKey,
                key.place.clone(),
                format!("unknown key `{}` in {what}", key.name),
            );
            let free = self.taken.iter().copied().filter(|name| !self.has(name));
            reader.diagnostics.push(match nearest(&key.name, free) {
                Some(name) => diagnostic
                    .label(format!("did you mean `{name}`?"))
                    .help(format!("{what} has: {}", self.taken.join(", "))),
                None => diagnostic.help(format!("{what} has: {}", self.taken.join(", "))),
            });
        }
    }
}

/// Reads a whole record from a mapping.
pub fn read_record<R: Record>(node: &Node, reader: &mut Reader<'_>) -> Option<R> {
    let mut fields = Fields::of(node, R::WHAT, reader)?;
    let record = R::take(&mut fields, reader);
    fields.finish(R::WHAT, reader);
    record
}

/// The schema of a whole record, by reference.
pub fn record_schema<R: Record>(defs: &mut Definitions) -> Json {
    defs.reference(R::NAME, |defs| {
        let properties = R::properties(defs);
        let mut schema = json!({
            "type": "object",
            "description": R::about(),
            "properties": properties,
            "additionalProperties": false,
        });
        let required = R::required();
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        schema
    })
}

/// One key's schema with its description, default and example.
pub fn property(schema: Json, about: &str, default: Option<Json>, example: Option<Json>) -> Json {
    let mut property = match schema {
        Json::Object(map) => map,
        other => return other,
    };
    property.insert("description".to_owned(), json!(about.trim()));
    if let Some(default) = default {
        property.insert("default".to_owned(), default);
    }
    if let Some(example) = example {
        property.insert("examples".to_owned(), json!([example]));
    }
    Json::Object(property)
}

/// Declares a mapping of the language: a struct, how it is read, and its schema.
///
/// `key: Type = default => example`; a key without default must be there unless its type may be absent.
macro_rules! record {
    (
        $(#[doc = $about:literal])*
        $vis:vis struct $Name:ident as $what:literal {
            $( $(#[doc = $doc:literal])* $field:ident : $Type:ty $(= $default:tt)? $(=> $example:tt)? ),* $(,)?
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize)]
        $vis struct $Name {
            $( $(#[doc = $doc])* pub $field: $Type, )*
        }

        impl $crate::roles::shape::Record for $Name {
            const WHAT: &'static str = $what;
            const NAME: &'static str = stringify!($Name);

            fn take(
                fields: &mut $crate::roles::shape::Fields<'_>,
                reader: &mut $crate::roles::shape::Reader<'_>,
            ) -> Option<Self> {
                $( let $field = record!(@read fields, reader, $field $(= $default)?); )*
                Some(Self { $( $field: $field?, )* })
            }

            fn properties(
                defs: &mut $crate::roles::shape::Definitions,
            ) -> serde_json::Map<String, serde_json::Value> {
                let mut map = serde_json::Map::new();
                $( map.insert(
                    record!(@name $field).to_owned(),
                    $crate::roles::shape::property(
                        <$Type as $crate::roles::shape::Shape>::schema(defs),
                        concat!($($doc, "\n"),*),
                        record!(@option $($default)?),
                        record!(@option $($example)?),
                    ),
                ); )*
                map
            }

            fn required() -> Vec<&'static str> {
                let keys: &[Option<&'static str>] =
                    &[$( record!(@required $field, $Type $(= $default)?) ),*];
                keys.iter().copied().flatten().collect()
            }

            fn about() -> &'static str {
                concat!($($about, "\n"),*).trim()
            }
        }

        impl $crate::roles::shape::Shape for $Name {
            fn read(
                node: &$crate::roles::tree::Node,
                reader: &mut $crate::roles::shape::Reader<'_>,
            ) -> Option<Self> {
                $crate::roles::shape::read_record(node, reader)
            }

            fn schema(defs: &mut $crate::roles::shape::Definitions) -> serde_json::Value {
                $crate::roles::shape::record_schema::<Self>(defs)
            }
        }
    };

    (@name $field:ident) => {{
        let name = stringify!($field);
        name.strip_prefix("r#").unwrap_or(name)
    }};
    (@read $fields:ident, $reader:ident, $field:ident) => {
        $fields.read(record!(@name $field), $reader)
    };
    (@read $fields:ident, $reader:ident, $field:ident = $default:tt) => {
        $fields.read_or(record!(@name $field), &serde_json::json!($default), $reader)
    };
    (@option) => { None };
    (@option $value:tt) => { Some(serde_json::json!($value)) };
    (@required $field:ident, $Type:ty) => {
        <$Type as $crate::roles::shape::Shape>::absent()
            .is_none()
            .then_some(record!(@name $field))
    };
    (@required $field:ident, $Type:ty = $default:tt) => { None };
}
pub(crate) use record;

/// Declares a closed set of words.
macro_rules! words {
    (
        $(#[doc = $about:literal])*
        $vis:vis enum $Name:ident { $( $(#[doc = $doc:literal])* $Variant:ident = $word:literal ),* $(,)? }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
        $vis enum $Name {
            $( $(#[doc = $doc])* #[serde(rename = $word)] $Variant, )*
        }

        impl $Name {
            const WORDS: &'static [&'static str] = &[$($word),*];

            /// The word as it stands in roles.yaml.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$Variant => $word),* }
            }
        }

        impl $crate::roles::shape::Shape for $Name {
            fn read(
                node: &$crate::roles::tree::Node,
                reader: &mut $crate::roles::shape::Reader<'_>,
            ) -> Option<Self> {
                match node.scalar() {
                    $( Some($word) => return Some(Self::$Variant), )*
                    _ => $crate::roles::shape::not_a_word(node, Self::WORDS, reader),
                }
                None
            }

            fn schema(_: &mut $crate::roles::shape::Definitions) -> serde_json::Value {
                serde_json::json!({ "enum": Self::WORDS })
            }
        }
    };
}
pub(crate) use words;

/// Says that a value is none of a closed set of words.
pub fn not_a_word(node: &Node, words: &[&str], reader: &mut Reader<'_>) {
    let list = words.join(", ");
    match node.scalar() {
        None => reader.wrong_type(node, &format!("one of {list}")),
        Some(found) => {
            let diagnostic = Diagnostic::new(
                Code::BadValue,
                node.place.clone(),
                format!("`{found}` is not one of {list}"),
            );
            reader
                .diagnostics
                .push(match nearest(found, words.iter().copied()) {
                    Some(word) => diagnostic.label(format!("did you mean `{word}`?")),
                    None => diagnostic,
                });
        }
    }
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

impl<T: Shape> Shape for Vec<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::List(items) => Some(
                items
                    .iter()
                    .enumerate()
                    .filter_map(|(at, item)| {
                        reader.under(at.to_string(), |reader| T::read(item, reader))
                    })
                    .collect(),
            ),
            Value::Null => Some(Vec::new()),
            _ => {
                reader.wrong_type(node, "a list");
                None
            }
        }
    }

    fn schema(defs: &mut Definitions) -> Json {
        json!({ "type": "array", "items": T::schema(defs) })
    }
}

impl<T: Shape> Shape for IndexMap<String, T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if !matches!(node.value, Value::Map(_) | Value::Null) {
            reader.wrong_type(node, "a mapping of names");
            return None;
        }
        let mut map = IndexMap::new();
        for (key, node) in node.entries() {
            check_name(key, reader);
            if let Some(value) = reader.under(key.name.clone(), |reader| T::read(node, reader)) {
                map.insert(key.name.clone(), value);
            }
        }
        Some(map)
    }

    fn schema(defs: &mut Definitions) -> Json {
        json!({
            "type": "object",
            "propertyNames": { "pattern": "^[A-Za-z_][A-Za-z0-9_.-]*$" },
            "additionalProperties": T::schema(defs),
        })
    }
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
                reader.wrong_type(node, "true or false");
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
                reader.wrong_type(node, "a text");
                None
            }
        }
    }

    fn schema(_: &mut Definitions) -> Json {
        json!({ "type": "string" })
    }
}
