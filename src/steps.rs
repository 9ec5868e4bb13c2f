//! Steps: one file a kind, and one line here.
//!
//! A kind is a [`Record`] whose fields are its own key and the keys beside it, with a line for the plan and the way
//! it is carried out. The keys that all kinds have are read once, here.

pub mod command;
pub mod http;
pub mod random;
pub mod render;
pub mod wait;

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::diag::{Code, Diagnostic};
use crate::engine::steps::Cx;
use crate::outcome::RunError;
use crate::roles::scalar::Text;
use crate::roles::shape::{Definitions, Fields, Reader, Record, Shape};
use crate::roles::spec::StepCommon;
use crate::roles::tree::Node;
use crate::template::file::Rules;

/// A step of a role or of a loop's run.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// What all kinds have.
    #[serde(flatten)]
    pub common: StepCommon,
    /// What it does.
    #[serde(flatten)]
    pub kind: Kind,
    /// Its number in the list as written, from 0; those that could not be read count.
    #[serde(skip)]
    pub number: usize,
}

impl PartialEq for Step {
    fn eq(&self, other: &Self) -> bool {
        self.common == other.common && self.kind == other.kind
    }
}

/// A template file that a step renders.
#[derive(Debug, Clone, PartialEq)]
pub struct TemplateUse<'a> {
    /// The template's path.
    pub source: &'a Text,
    /// Where it goes.
    pub destination: &'a Text,
    /// How it is rendered.
    pub rules: Rules,
}

/// A kind of step.
pub trait StepKind: Record {
    /// The key that tells the kind.
    const KEY: &'static str;

    /// The step in one line for the plan: what is done to what.
    fn line(&self) -> String;

    /// The template that the step renders, if it renders one.
    fn template(&self) -> Option<TemplateUse<'_>> {
        None
    }

    /// The file that the step writes, if it writes one.
    fn destination(&self) -> Option<&Text> {
        None
    }

    /// One try, which may take `limit`.
    fn exec(&self, cx: &Cx, limit: Option<Duration>) -> impl Future<Output = Result<(), Failure>>;
}

/// Why a step is not done.
#[derive(Debug)]
pub enum Failure {
    /// It failed.
    Failed(RunError),
    /// The role stops.
    Stopped,
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        Failure::Failed(error)
    }
}

macro_rules! step_kinds {
    ($($module:ident::$Kind:ident),* $(,)?) => {
        /// What a step does.
        #[derive(Debug, Clone, PartialEq, Serialize)]
        #[serde(untagged)]
        pub enum Kind {
            $( #[doc = concat!("See [`", stringify!($module), "`].")] $Kind($module::$Kind), )*
        }

        impl Kind {
            /// The key of each kind.
            pub const KEYS: &'static [&'static str] = &[$($module::$Kind::KEY),*];

            fn take(key: &str, fields: &mut Fields<'_>, reader: &mut Reader<'_>) -> Option<Self> {
                match key {
                    $( $module::$Kind::KEY => $module::$Kind::take(fields, reader).map(Self::$Kind), )*
                    _ => None,
                }
            }

            /// "a command step": how messages call the kind.
            fn what(key: &str) -> &'static str {
                match key {
                    $( $module::$Kind::KEY => $module::$Kind::WHAT, )*
                    _ => "a step",
                }
            }

            fn properties(defs: &mut Definitions) -> serde_json::Map<String, Json> {
                let mut map = serde_json::Map::new();
                // A key that two kinds have means the same in both; the first kind tells.
                $( for (key, schema) in $module::$Kind::properties(defs) {
                    map.entry(key).or_insert(schema);
                } )*
                map
            }

            /// The step in one line.
            pub fn line(&self) -> String {
                match self { $( Self::$Kind(kind) => kind.line(), )* }
            }

            /// The template that the step renders, if it renders one.
            pub fn template(&self) -> Option<TemplateUse<'_>> {
                match self { $( Self::$Kind(kind) => kind.template(), )* }
            }

            /// One try, which may take `limit`.
            pub async fn exec(&self, cx: &Cx, limit: Option<Duration>) -> Result<(), Failure> {
                match self { $( Self::$Kind(kind) => kind.exec(cx, limit).await, )* }
            }

            /// The file that the step writes, if it writes one.
            pub fn destination(&self) -> Option<&Text> {
                match self { $( Self::$Kind(kind) => kind.destination(), )* }
            }
        }
    };
}

step_kinds! {
    command::Command,
    command::Shell,
    render::Render,
    random::Random,
    http::Http,
    wait::Wait,
}

impl Step {
    /// How plan and log call the step: its name, or what it does.
    pub fn title(&self) -> String {
        match &self.common.name {
            Some(name) => name.raw.clone(),
            None => self.kind.line(),
        }
    }
}

impl Shape for Step {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if node.scalar().is_some() {
            let help = format!("write `command: {}`", node.place.text());
            reader.wrong_type_help(node, "a step (a mapping)", Some(help));
            return None;
        }
        let mut fields = Fields::of(node, "a step", reader)?;
        let common = StepCommon::take(&mut fields, reader);
        let present: Vec<_> = Kind::KEYS.iter().filter(|key| fields.has(key)).collect();
        let kind = match present.as_slice() {
            [key] => Kind::take(key, &mut fields, reader),
            [] => {
                no_kind(node, reader);
                // Its other keys belong to a kind that we do not know: one mistake, one diagnostic.
                return None;
            }
            [first, second, ..] => {
                let place = node.entry(second).map(|(key, _)| key.place.clone());
                let diagnostic = Diagnostic::new(
                    Code::StepKind,
                    place,
                    format!("a step does one thing, this one has `{first}` and `{second}`"),
                );
                reader
                    .diagnostics
                    .push(diagnostic.help("make two steps of it"));
                return None;
            }
        };
        fields.finish(Kind::what(present[0]), reader);
        Some(Self {
            common: common?,
            kind: kind?,
            number: reader.key().parse().unwrap_or_default(),
        })
    }

    fn schema(defs: &mut Definitions) -> Json {
        defs.reference("Step", |defs| {
            let mut properties = StepCommon::properties(defs);
            properties.extend(Kind::properties(defs));
            let kinds: Vec<Json> = Kind::KEYS
                .iter()
                .map(|key| json!({ "required": [key] }))
                .collect();
            json!({
                "description": format!("A step. It has one of: {}.", Kind::KEYS.join(", ")),
                "type": "object",
                "properties": properties,
                "additionalProperties": false,
                "oneOf": kinds,
            })
        })
    }
}

fn no_kind(node: &Node, reader: &mut Reader<'_>) {
    let kinds = Kind::KEYS.join(", ");
    let common = ["name", "if", "timeout", "retry", "continue_on_error"];
    let strange = node
        .entries()
        .iter()
        .find(|(key, _)| !common.contains(&key.name.as_str()));
    let diagnostic = match strange {
        Some((key, _)) => {
            let diagnostic = Diagnostic::new(
                Code::StepKind,
                key.place.clone(),
                format!("there is no kind of step `{}`", key.name),
            );
            match reader.meant(key, Kind::KEYS) {
                Some(kind) => diagnostic.label(format!("did you mean `{kind}`?")),
                None => diagnostic,
            }
        }
        None => Diagnostic::new(Code::StepKind, node.place.clone(), "this step does nothing"),
    };
    reader
        .diagnostics
        .push(diagnostic.help(format!("a step has one of: {kinds}")));
}
