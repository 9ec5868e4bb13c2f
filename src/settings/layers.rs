//! Layers of texts, and which of them wins. The only importer of figment.
//!
//! figment guesses types and prints values in its errors; it is given texts through a provider of our own, and
//! neither it nor its errors are ever shown.

use std::collections::{BTreeMap, BTreeSet};

use figment::value::{Dict, Empty, Map, Tag, Value};
use figment::{Figment, Metadata, Profile, Provider};

use crate::secret::Secret;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// `default:` in roles.yaml.
    Default,
    /// `value:` in roles.yaml.
    Derived,
    /// A file, by its path.
    File(String),
    /// The output of a program.
    Command(String),
    /// The container's environment.
    Environment,
    /// A secret in Secrets Manager, by its name and version.
    Secret {
        /// The name or ARN.
        name: String,
        /// The version's id.
        version: Option<String>,
    },
    /// A secret's JSON in a file.
    SecretFile(String),
    /// `--set` on the command line.
    Set,
}

impl Origin {
    /// Whether values from here are masked.
    pub fn is_secret(&self) -> bool {
        matches!(self, Origin::Secret { .. } | Origin::SecretFile(_))
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::Derived => f.write_str("derived"),
            Origin::File(path) => write!(f, "the file {path}"),
            Origin::Command(line) => write!(f, "the output of `{line}`"),
            Origin::Environment => f.write_str("the environment"),
            Origin::Secret {
                name,
                version: None,
            } => write!(f, "the secret {name}"),
            Origin::Secret {
                name,
                version: Some(version),
            } => {
                write!(f, "the secret {name} (version {version})")
            }
            Origin::SecretFile(path) => write!(f, "the secret file {path}"),
            Origin::Set => f.write_str("--set"),
        }
    }
}

/// What one source gives.
#[derive(Debug, Clone)]
pub struct Layer {
    /// The source.
    pub origin: Origin,
    /// Texts by key; none hides what lower layers give.
    pub values: BTreeMap<String, Option<Secret>>,
    /// Keys with a list or an object, and which it is.
    pub nested: BTreeMap<String, &'static str>,
    /// Keys that nobody has filled in.
    pub placeholders: BTreeSet<String>,
}

impl Layer {
    /// A layer that gives nothing yet.
    pub fn new(origin: Origin) -> Self {
        Self {
            origin,
            values: BTreeMap::new(),
            nested: BTreeMap::new(),
            placeholders: BTreeSet::new(),
        }
    }
}

/// The winner for a key.
#[derive(Debug, Clone)]
pub struct Merged {
    /// The text; none where it is hidden.
    pub value: Option<Secret>,
    /// Which layer gave it, by its index.
    pub layer: usize,
}

/// The winner for each key; later layers win.
pub fn merge(layers: &[Layer]) -> BTreeMap<String, Merged> {
    let figment = layers
        .iter()
        .enumerate()
        .fold(Figment::new(), |figment, (at, layer)| {
            figment.merge(Flat { at, layer })
        });
    // Extraction of a flat map of any values cannot fail.
    let merged: BTreeMap<String, Value> = figment.extract().unwrap_or_default();
    merged
        .into_iter()
        .filter_map(|(key, value)| {
            let layer = figment.get_metadata(value.tag())?.name.parse().ok()?;
            let value = value.into_string().map(Secret::new);
            Some((key, Merged { value, layer }))
        })
        .collect()
}

/// A layer as figment sees it; its name is its index.
struct Flat<'a> {
    at: usize,
    layer: &'a Layer,
}

impl Provider for Flat<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.at.to_string())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let value = |text: &Option<Secret>| match text {
            Some(text) => Value::from(text.expose()),
            None => Value::Empty(Tag::Default, Empty::None),
        };
        let values = &self.layer.values;
        let dict: Dict = values
            .iter()
            .map(|(key, text)| (key.clone(), value(text)))
            .collect();
        Ok(Profile::Default.collect(dict))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(origin: Origin, values: &[(&str, Option<&str>)]) -> Layer {
        let mut layer = Layer::new(origin);
        layer.values = values
            .iter()
            .map(|(key, text)| ((*key).to_owned(), text.map(Secret::new)))
            .collect();
        layer
    }

    #[test]
    fn later_layers_win_null_hides_and_texts_stay_texts() {
        let layers = [
            layer(
                Origin::Environment,
                &[("a.b", Some("low")), ("N", Some("x")), ("P", Some("00123"))],
            ),
            layer(
                Origin::SecretFile("f".into()),
                &[("a.b", Some(" {a=1} ")), ("N", None), ("Q", Some(""))],
            ),
        ];
        let merged = merge(&layers);
        let found: Vec<_> = merged
            .iter()
            .map(|(k, m)| (k.as_str(), m.value.as_ref().map(Secret::expose), m.layer))
            .collect();
        assert_eq!(
            found,
            [
                ("N", None, 1),
                ("P", Some("00123"), 0),
                ("Q", Some(""), 1),
                ("a.b", Some(" {a=1} "), 1)
            ]
        );
    }
}
