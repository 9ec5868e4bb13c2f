//! The `settings:` part of the language.

use indexmap::IndexMap;
use serde_json::{Value as Json, json};

use crate::diag::{Code, Diagnostic, nearest};
use crate::roles::scalar::{Command, Condition, Period, Text};
use crate::roles::shape::{Definitions, Reader, Record, Shape, record, words};
use crate::roles::tree::{Node, Value};

record! {
    /// Where values come from, and which there are.
    pub struct Settings as "settings" {
        /// The sources, lowest precedence first; `--set KEY=VALUE` is above them all.
        sources: Vec<SourceSpec> = ["environment"] => ["environment", {"secret": "${IDENTITY}"}],
        /// Every setting that there is, by name.
        keys: IndexMap<String, Key> = {} => {"RDS_PASSWORD": {"required": true, "secret": true}},
        /// What must hold among the settings, checked before any step runs.
        assert: Vec<Assertion> = [] => [{"that": "A == B", "message": "A and B disagree"}],
    }
}

/// One source of values.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceSpec {
    /// The container's environment, declared keys only.
    Environment,
    /// A JSON, TOML or YAML file.
    File(FileSource),
    /// A JSON secret.
    Secret(SecretSource),
    /// The output of a program.
    Command(CommandSource),
}

record! {
    /// A JSON, TOML or YAML file of values.
    pub struct FileSource as "a file source" {
        /// The path.
        file: Text => "versions.json",
        /// Whether the file may be missing.
        optional: bool = false => true,
        /// Where in the file each key stands, for files with another shape; by default at the top.
        map: IndexMap<String, String> = {} => {"PROJECT_VERSION": "tool.poetry.version"},
    }
}

record! {
    /// A JSON object in AWS Secrets Manager, or in a file.
    pub struct SecretSource as "a secret source" {
        /// The secret's name or ARN, or `file:PATH` for a JSON file.
        secret: Text => "${IDENTITY}",
        /// The secret's region; an ARN's own wins.
        region: Option<Text> => "us-east-1",
        /// A value that counts as missing.
        placeholder: Option<Text> => "XXX: ENTER VALUE",
        /// How long a connection may take.
        connect_timeout: Period = "3s",
        /// How long one try may take.
        attempt_timeout: Period = "8s",
        /// How long all tries for the secret together may take, by default 30s.
        timeout: Period = "30s",
    }
}

record! {
    /// The first line that a program prints, as one key's value.
    pub struct CommandSource as "a command source" {
        /// The program and its arguments.
        command: Command => ["git", "describe", "--dirty"],
        /// The key that gets the value.
        key: String => "APP_VERSION",
        /// Whether the program may be missing or fail.
        optional: bool = false => true,
        /// How long the program may take, by default 10s.
        timeout: Period = "10s",
    }
}

record! {
    /// A setting: exactly one of `required`, `default` or `value`.
    pub struct Key as "a setting" short "default" {
        /// A source must give it, and not an empty text.
        required: Option<bool> => true,
        /// What it is where no source gives it; expressions may stand in it.
        default: Option<Text> => "hms-dbmi.auth0.com",
        /// What it is, derived from other settings; no source is asked.
        value: Option<Text> => "${ENCODED_BS_ENV or ENV_NAME}",
        /// Whether it is secret: redacted from children's output, and not allowed where it could be seen. By
        /// default a value from a `secret` source is masked in runner's own output only; `false` shows it.
        secret: Option<bool> => true,
        /// What it is for, for people.
        description: Option<String> => "name of the GAC secret",
    }
}

record! {
    /// Something that must hold among the settings.
    pub struct Assertion as "an assertion" short "that" {
        /// A bare expression.
        that: Condition => "ENCODED_BS_ENV == ENV_NAME",
        /// What is wrong where it does not hold; what is masked shows as `***` in it.
        message: Text => "ENCODED_BS_ENV and ENV_NAME disagree",
        /// Whether that is an error or a warning.
        level: Level = "error" => "warning",
    }
}

words! {
    /// How much an assertion matters.
    pub enum Level {
        /// Nothing runs.
        Error = "error",
        /// It is said, and the role runs.
        Warning = "warning",
    }
}

const KINDS: &[&str] = &["file", "secret", "command"];

impl Shape for SourceSpec {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if node.scalar() == Some("environment") {
            return Some(Self::Environment);
        }
        let kind = match &node.value {
            Value::Map(_) => KINDS.iter().find(|kind| node.get(kind).is_some()),
            _ => None,
        };
        match kind {
            Some(&"file") => FileSource::read(node, reader).map(Self::File),
            Some(&"secret") => SecretSource::read(node, reader).map(Self::Secret),
            Some(&"command") => CommandSource::read(node, reader).map(Self::Command),
            _ => {
                let word = node.scalar().unwrap_or_default();
                let near =
                    nearest(word, ["environment"]).or((word == "env").then_some("environment"));
                let diagnostic =
                    Diagnostic::new(Code::BadValue, node.place.clone(), "this is not a source");
                reader.diagnostics.push(match near {
                    Some(name) => diagnostic.label(format!("did you mean `{name}`?")),
                    None => diagnostic.help("a source is `environment`, `file: PATH`, `secret: NAME` or `command: [PROGRAM]`"),
                });
                None
            }
        }
    }

    fn schema(defs: &mut Definitions) -> Json {
        defs.reference("Source", |defs| {
            let mut properties = FileSource::properties(defs);
            for (key, second) in SecretSource::properties(defs)
                .into_iter()
                .chain(CommandSource::properties(defs))
            {
                match properties.get_mut(&key) {
                    None => {
                        properties.insert(key, second);
                    }
                    Some(first) => both(first, &second),
                }
            }
            json!({
                "description": "A source of values: `environment`, or a mapping with `file`, `secret` or `command`.",
                "type": ["string", "object"],
                "pattern": "^environment$",
                "properties": properties,
                "additionalProperties": false,
                "minProperties": 1,
            })
        })
    }
}

/// A key that two kinds of source have: what it means for the one and for the other.
fn both(first: &mut Json, second: &Json) {
    let about = [&*first, second].map(|key| key["description"].as_str().unwrap_or_default());
    first["description"] = json!(about.join(" "));
    if first.get("default") != second.get("default")
        && let Json::Object(first) = first
    {
        first.remove("default");
    }
}

/// What a declared setting is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind<'a> {
    /// A source must give it.
    Required,
    /// Sources may give it.
    Default(&'a Text),
    /// Derived; no source is asked.
    Value(&'a Text),
}

impl Key {
    /// What the setting is; none where the declaration is not exactly one.
    pub fn kind(&self) -> Option<Kind<'_>> {
        match (self.required, &self.default, &self.value) {
            (Some(true), None, None) => Some(Kind::Required),
            (None | Some(false), Some(text), None) => Some(Kind::Default(text)),
            (None | Some(false), None, Some(text)) => Some(Kind::Value(text)),
            _ => None,
        }
    }
}
