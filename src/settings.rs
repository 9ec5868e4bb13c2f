//! Stage 2: settings, from their declaration to their values.
//!
//! [`resolve`] is arithmetic: layers of texts go in, values with their origins come out, and everything that is
//! wrong is collected. Reading the layers from the world is the engine's.

pub mod document;
pub mod graph;
pub mod layers;
pub mod spec;

use std::collections::{BTreeMap, BTreeSet};

use crate::roles::scalar::Text;
use crate::secret::Secret;
use crate::template::{Fault, Item};
use graph::Graph;
use layers::{Layer, Origin};
use spec::{Key, Kind, Level, Settings};

/// A setting with its value.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The value.
    pub value: Secret,
    /// Where it comes from.
    pub origin: Origin,
    /// Where else it was given, lower in precedence, highest first.
    pub overrode: Vec<Origin>,
    /// Secret by declaration or derivation: redacted, and refused where it could be seen.
    pub tainted: bool,
    /// Not shown in runner's own output.
    pub masked: bool,
}

/// Settings with their values.
#[derive(Debug, Clone, Default)]
pub struct Resolved {
    settings: BTreeMap<String, Setting>,
}

impl Resolved {
    /// A setting by its name.
    pub fn get(&self, name: &str) -> Option<&Setting> {
        self.settings.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.settings
            .iter()
            .map(|(name, setting)| (name.as_str(), setting))
    }

    /// A name's value for an expression.
    pub fn item(&self, name: &str) -> Option<Item> {
        self.get(name)
            .map(|setting| Item::Text(setting.value.clone()))
    }
}

/// Something that keeps settings from being used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// A required setting that no source gives.
    Missing {
        /// Its name.
        name: String,
        /// What it is for.
        description: Option<String>,
        /// What was found instead, such as a placeholder.
        found: Option<String>,
    },
    /// A list or an object where a text is needed.
    NotText {
        /// The setting's name.
        name: String,
        /// "a list".
        found: &'static str,
        /// Where.
        origin: String,
    },
    /// An expression that failed.
    Expression {
        /// The setting's name.
        name: String,
        /// Why.
        fault: Fault,
    },
    /// An assertion that does not hold.
    Assertion {
        /// Which one, from 0.
        at: usize,
        /// What roles.yaml says about it.
        message: String,
        /// Error or warning.
        level: Level,
    },
}

impl Problem {
    /// Whether the role must not run.
    pub fn is_error(&self) -> bool {
        !matches!(
            self,
            Problem::Assertion {
                level: Level::Warning,
                ..
            }
        )
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Problem::Missing {
                name,
                description,
                found,
            } => {
                write!(f, "{name} is missing")?;
                if let Some(found) = found {
                    write!(f, ": {found}")?;
                }
                match description {
                    Some(description) => write!(f, " ({description})"),
                    None => Ok(()),
                }
            }
            Problem::NotText {
                name,
                found,
                origin,
            } => {
                write!(f, "{name} is {found} in {origin}, and a setting is a text")
            }
            Problem::Expression { name, fault } => {
                write!(f, "{name} cannot be derived: {}", fault.message)?;
                match &fault.help {
                    Some(help) => write!(f, " ({help})"),
                    None => Ok(()),
                }
            }
            Problem::Assertion { message, .. } => f.write_str(message),
        }
    }
}

/// Values for `wanted` and all they are made of, from layers with the lowest precedence first.
///
/// Assertions whose names are all among the values are checked too.
pub fn resolve(
    settings: &Settings,
    graph: &Graph,
    layers: &[Layer],
    wanted: &BTreeSet<String>,
) -> (Resolved, Vec<Problem>) {
    let merged = layers::merge(layers);
    let mut resolved = Resolved::default();
    let mut problems = Vec::new();
    let wanted = graph.reach(wanted.iter().map(String::as_str));
    // What failed is reported once, not again by everything that is derived from it.
    let mut failed: BTreeSet<String> = BTreeSet::new();
    for name in graph.order(&wanted) {
        let key = &settings.keys[&name];
        let Some(kind) = key.kind() else { continue };
        let value = match (from_sources(&name, key, kind, layers, &merged), kind) {
            (Ok(None), Kind::Default(text) | Kind::Value(text)) => {
                if graph.needs(&name).iter().any(|need| failed.contains(need)) {
                    failed.insert(name);
                    continue;
                }
                let origin = match kind {
                    Kind::Value(_) => Origin::Derived,
                    Kind::Required | Kind::Default(_) => Origin::Default,
                };
                rendered(&name, text, &resolved, origin)
            }
            (Ok(None), Kind::Required) => Err(missing(&name, key, placeholder(&name, layers))),
            (Ok(Some(found)), _) => Ok(found),
            (Err(problem), _) => Err(problem),
        };
        let (value, origin) = match value {
            Ok(found) => found,
            Err(problem) => {
                problems.push(problem);
                failed.insert(name);
                continue;
            }
        };
        let setting = Setting {
            tainted: graph.is_tainted(&name),
            masked: key.secret != Some(false) && is_masked(&name, graph, &origin, &resolved),
            overrode: match kind {
                Kind::Value(_) => Vec::new(),
                Kind::Required | Kind::Default(_) => overrode(&name, layers, &origin),
            },
            value,
            origin,
        };
        resolved.settings.insert(name, setting);
    }
    problems.extend(assertions(settings, &resolved));
    (resolved, problems)
}

/// What the sources have for a setting; none where they have nothing that counts.
fn from_sources(
    name: &str,
    key: &Key,
    kind: Kind<'_>,
    layers: &[Layer],
    merged: &BTreeMap<String, layers::Merged>,
) -> Result<Option<(Secret, Origin)>, Problem> {
    if matches!(kind, Kind::Value(_)) {
        return Ok(None);
    }
    match given(name, layers, merged) {
        Given::Nothing => Ok(None),
        Given::Text(value, _) if value.is_empty() && matches!(kind, Kind::Required) => {
            Err(missing(name, key, Some("its value is empty".to_owned())))
        }
        Given::Text(value, origin) => Ok(Some((value, origin))),
        Given::Nested(found, origin) => Err(Problem::NotText {
            name: name.to_owned(),
            found,
            origin: origin.to_string(),
        }),
    }
}

fn missing(name: &str, key: &Key, found: Option<String>) -> Problem {
    Problem::Missing {
        name: name.to_owned(),
        description: key.description.clone(),
        found,
    }
}

/// A setting's own text with what it names.
fn rendered(
    name: &str,
    text: &Text,
    resolved: &Resolved,
    origin: Origin,
) -> Result<(Secret, Origin), Problem> {
    let value = text.template.render(&|name| resolved.item(name));
    value.map(|value| (value, origin)).map_err(|fault| {
        let name = name.to_owned();
        Problem::Expression { name, fault }
    })
}

/// Whether a value is not to be shown: it is a secret, comes from the secret source, or is made of such a one.
fn is_masked(name: &str, graph: &Graph, origin: &Origin, resolved: &Resolved) -> bool {
    let is_made_of_masked = || {
        let mut needs = graph.needs(name).iter();
        needs.any(|need| resolved.get(need).is_some_and(|setting| setting.masked))
    };
    graph.is_tainted(name)
        || origin.is_secret()
        || (matches!(origin, Origin::Derived | Origin::Default) && is_made_of_masked())
}

enum Given {
    Nothing,
    Text(Secret, Origin),
    Nested(&'static str, Origin),
}

fn given(name: &str, layers: &[Layer], merged: &BTreeMap<String, layers::Merged>) -> Given {
    // A list or an object above the text that would win.
    let winner = merged.get(name);
    let above = winner.map_or(0, |winner| winner.layer);
    for layer in layers[above..].iter().rev() {
        if let Some(found) = layer.nested.get(name) {
            return Given::Nested(found, layer.origin.clone());
        }
    }
    match winner {
        Some(layers::Merged {
            value: Some(value),
            layer,
        }) => Given::Text(value.clone(), layers[*layer].origin.clone()),
        Some(layers::Merged { value: None, .. }) | None => Given::Nothing,
    }
}

fn placeholder(name: &str, layers: &[Layer]) -> Option<String> {
    let layer = layers
        .iter()
        .rev()
        .find(|layer| layer.placeholders.contains(name))?;
    Some(format!("{} still has the placeholder", layer.origin))
}

/// The other layers that give a setting, highest first.
fn overrode(name: &str, layers: &[Layer], winner: &Origin) -> Vec<Origin> {
    layers
        .iter()
        .rev()
        .filter(|layer| layer.values.contains_key(name) && layer.origin != *winner)
        .map(|layer| layer.origin.clone())
        .collect()
}

fn assertions(settings: &Settings, resolved: &Resolved) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (at, assertion) in settings.assert.iter().enumerate() {
        let condition = &assertion.that.condition;
        if condition
            .names()
            .any(|(name, _)| resolved.get(name).is_none())
        {
            continue;
        }
        match condition.holds(&|name| resolved.item(name)) {
            Ok(true) => {}
            Ok(false) => problems.push(Problem::Assertion {
                at,
                message: shown(&assertion.message, resolved),
                level: assertion.level,
            }),
            Err(fault) => problems.push(Problem::Expression {
                name: format!("the assertion `{}`", condition.source()),
                fault,
            }),
        }
    }
    problems
}

/// A message, with `***` for what is masked and for what has no value.
fn shown(message: &Text, resolved: &Resolved) -> String {
    let scope = |name: &str| {
        let shown = resolved.get(name).filter(|setting| !setting.masked);
        let value = shown.map_or_else(|| Secret::new("***"), |setting| setting.value.clone());
        Some(Item::Text(value))
    };
    match message.template.render(&scope) {
        Ok(text) => text.expose().to_owned(),
        Err(_) => message.raw.clone(),
    }
}
