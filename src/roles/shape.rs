//! How a piece of the language is declared once, and from that is read, described and documented.
//!
//! A type of the language implements [`Shape`]: it reads itself from a [`Node`], collecting what is wrong, and
//! gives its JSON Schema. The [`record!`] macro does both for a mapping with named keys, with the doc comments as
//! descriptions and defaults written as they would stand in roles.yaml.
//!
//! Reading goes on after a mistake: a value that cannot be read falls back to its default, and only what has no
//! default is left out, so that one run shows every mistake and none twice.

mod basic;
mod fields;
mod reader;
mod written;

use indexmap::IndexMap;
use serde_json::{Value as Json, json};

use super::tree::Node;
use crate::source::Place;

pub use basic::{not_a_word, words_schema};
pub use fields::{Fields, default_value, empty_record, read_record};
pub use reader::{Reader, Use, Used};
pub use written::Written;

/// A type that stands in roles.yaml.
pub trait Shape: Sized {
    /// Its keys, where it is a mapping that has some.
    const OWN_KEYS: &'static [&'static str] = &[];

    /// The value; none when it cannot be read, which is then among the diagnostics.
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self>;

    /// The value where the key is not there and no default is declared; none where it must be there.
    fn absent() -> Option<Self> {
        None
    }

    /// What stands for a value that must be there and is not, so that the rest of its record is checked all the
    /// same. Nothing runs with it, as its absence is among the diagnostics.
    fn stand_in(_place: &Place) -> Option<Self> {
        None
    }

    /// The JSON Schema of the value, for editors.
    fn schema(defs: &mut Definitions) -> Json;
}

/// A mapping with named keys.
pub trait Record: Sized {
    /// "a service": how messages call it.
    const WHAT: &'static str;
    /// Its path in this program, from which comes its name among the schema's definitions.
    const NAME: &'static str;

    /// Its keys, in the order of the language.
    const KEYS: &'static [&'static str];

    /// The key for which a lone value would stand, if any.
    const SHORT: Option<&'static str>;

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
/// `Service` for a record of its own name, `RenderSpec` for the `Spec` of the module `render`.
fn definition_name(path: &str) -> String {
    let mut steps = path.rsplit("::");
    let (name, module) = (steps.next().unwrap_or(path), steps.next().unwrap_or(""));
    if name != "Spec" {
        return name.to_owned();
    }
    let (first, rest) = module.split_at(module.len().min(1));
    format!("{}{rest}{name}", first.to_uppercase())
}

/// The schema of a whole record, by reference.
pub fn record_schema<R: Record>(defs: &mut Definitions) -> Json {
    defs.reference(&definition_name(R::NAME), |defs| {
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
        $vis:vis struct $Name:ident as $what:literal $(short $short:literal)? {
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
            const NAME: &'static str = concat!(module_path!(), "::", stringify!($Name));
            const KEYS: &'static [&'static str] = &[$(record!(@name $field)),*];
            const SHORT: Option<&'static str> = record!(@option_str $($short)?);

            fn take(
                fields: &mut $crate::roles::shape::Fields<'_>,
                reader: &mut $crate::roles::shape::Reader<'_>,
            ) -> Option<Self> {
                $( let $field = record!(@read fields, reader, $field: $Type $(= $default)?); )*
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
            const OWN_KEYS: &'static [&'static str] = <Self as $crate::roles::shape::Record>::KEYS;

            fn read(
                node: &$crate::roles::tree::Node,
                reader: &mut $crate::roles::shape::Reader<'_>,
            ) -> Option<Self> {
                $crate::roles::shape::read_record(node, reader)
            }

            fn stand_in(place: &$crate::source::Place) -> Option<Self> {
                $crate::roles::shape::empty_record(place)
            }

            fn schema(defs: &mut $crate::roles::shape::Definitions) -> serde_json::Value {
                $crate::roles::shape::record_schema::<Self>(defs)
            }
        }
    };

    (@name r#if) => { "if" };
    (@name $field:ident) => { stringify!($field) };
    (@option_str) => { None };
    (@option_str $short:literal) => { Some($short) };
    (@read $fields:ident, $reader:ident, $field:ident: $Type:ty) => {
        $fields.read(record!(@name $field), $reader)
    };
    (@read $fields:ident, $reader:ident, $field:ident: $Type:ty = $default:tt) => {{
        // Made once: a file of a hundred thousand services has a million defaults.
        thread_local! {
            static DEFAULT: Option<$Type> =
                $crate::roles::shape::default_value(&serde_json::json!($default));
        }
        $fields.read_or(record!(@name $field), $reader, || DEFAULT.with(Clone::clone))
    }};
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

            fn stand_in(_: &$crate::source::Place) -> Option<Self> {
                [$(Self::$Variant),*].first().copied()
            }

            fn schema(_: &mut $crate::roles::shape::Definitions) -> serde_json::Value {
                $crate::roles::shape::words_schema(Self::WORDS)
            }
        }
    };
}
pub(crate) use words;
