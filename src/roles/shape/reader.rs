//! What reading a file collects: the mistakes, and every text with expressions.

use std::collections::HashMap;
use std::fmt::{Display, Write as _};

use super::super::tree::{Key, Node, Value};
use super::Written;
use super::fields::elsewhere;
use crate::diag::{Code, Diagnostic, Diagnostics, nearest};
use crate::source::Place;
use crate::template::{Condition, Template};

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
        // Looked for once: a text may have a hundred thousand names.
        let written = Written::new(&self.place, &self.raw);
        let at = |(name, range): (&str, _)| (name.to_owned(), written.part(range));
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
    /// Keys that are no keys, and those that were meant: they differ by a letter or two.
    pub misspelt: HashMap<Place, &'static str>,
    /// The path's steps, one behind the other, and where each begins.
    path: String,
    steps: Vec<usize>,
    /// The places of the path's keys.
    places: Vec<Place>,
}

impl<'a> Reader<'a> {
    /// A reader at the top of the file.
    pub fn new(diagnostics: &'a mut Diagnostics) -> Self {
        Self {
            diagnostics,
            uses: Vec::new(),
            misspelt: HashMap::new(),
            path: String::new(),
            steps: Vec::new(),
            places: Vec::new(),
        }
    }

    /// Reads something that stands under `step`, whose key (or list item) is at `place`.
    pub fn under<T>(
        &mut self,
        step: impl Display,
        place: &Place,
        read: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let start = self.path.len();
        // A text takes whatever is written to it.
        let _ = write!(self.path, "{step}");
        self.steps.push(start);
        self.places.push(place.clone());
        let value = read(self);
        self.places.pop();
        self.steps.pop();
        self.path.truncate(start);
        value
    }

    /// The key that is being read; none at the top.
    pub fn place(&self) -> Option<Place> {
        self.places.last().cloned()
    }

    /// The name of the key that is being read; empty at the top.
    pub fn key(&self) -> &str {
        self.steps.last().map_or("", |start| &self.path[*start..])
    }

    /// Whether the key belongs to a step, which has a `shell:` beside its `command:`.
    pub fn is_in_step(&self) -> bool {
        // …, the list, the step's number, `command`
        let [.., list, number, _] = self.steps[..] else {
            return false;
        };
        self.key() == "command" && matches!(&self.path[list..number], "startup" | "steps")
    }

    /// Says that a value is of another type than expected.
    pub fn wrong_type(&mut self, node: &Node, expected: &str) {
        self.wrong_type_help(node, expected, None);
    }

    /// The same with advice.
    pub fn wrong_type_help(&mut self, node: &Node, expected: &str, help: Option<String>) {
        let message = format!("expected {expected}, found {}", found(node));
        let mut diagnostic = Diagnostic::new(Code::WrongType, node.place.clone(), message);
        diagnostic.help = help;
        self.diagnostics.push(diagnostic);
    }

    /// Says that a value is no text.
    pub fn not_a_text(&mut self, node: &Node) {
        let help = match (&node.value, node.place.text()) {
            (Value::Null, word @ ("null" | "Null" | "NULL" | "~")) => Some(format!(
                "write \"{word}\" for the word, \"\" for an empty text"
            )),
            (Value::Null, _) => Some("write \"\" for an empty text".to_owned()),
            _ => None,
        };
        self.wrong_type_help(node, "a text", help);
    }

    /// The key of `free` that was meant by one that is none; one that is only misspelt is remembered.
    pub fn meant(&mut self, key: &Key, free: &[&'static str]) -> Option<&'static str> {
        let near = nearest(&key.name, free.iter().copied());
        // An alias has one place for all the keys that it copies.
        if let Some(name) = near
            && !key.place.text().starts_with('*')
        {
            self.misspelt.insert(key.place.clone(), name);
        }
        near.or_else(|| elsewhere(&key.name, free))
    }

    /// Says that a value cannot be used.
    pub fn bad(&mut self, node: &Node, code: Code, message: impl Into<String>) -> &mut Diagnostics {
        self.diagnostics
            .push(Diagnostic::new(code, node.place.clone(), message));
        self.diagnostics
    }

    /// Says that a value ends before it is whole.
    pub fn unclosed(&mut self, node: &Node, message: &str) {
        let mut diagnostic = Diagnostic::new(Code::BadValue, node.place.clone(), message);
        diagnostic.help = comment_cut(&node.place);
        self.diagnostics.push(diagnostic);
    }

    /// A text with `${ }`; syntax faults are reported.
    pub fn template(&mut self, place: &Place, raw: &str) -> Template {
        let (template, faults) = Template::parse(raw);
        let broken = !faults.is_empty();
        let written = Written::new(place, if broken { raw } else { "" });
        for fault in faults {
            let at = written.part(fault.range);
            let mut diagnostic = Diagnostic::new(fault.code, at, fault.message);
            diagnostic.help = comment_cut(place).or(fault.help);
            self.diagnostics.push(diagnostic);
        }
        // A text without a dollar has nothing that anybody asks for.
        if !broken && raw.as_bytes().contains(&b'$') {
            self.used(place, raw, Used::Template(template.clone()));
        }
        template
    }

    /// A bare expression; syntax faults are reported.
    pub fn condition(&mut self, node: &Node, raw: &str) -> Option<Condition> {
        match Condition::parse(raw) {
            Ok(condition) => {
                self.used(&node.place, raw, Used::Condition(condition.clone()));
                Some(condition)
            }
            Err(fault) => {
                let place = Written::new(&node.place, raw).part(fault.range);
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

    fn used(&mut self, place: &Place, raw: &str, text: Used) {
        let ends = self.steps.iter().skip(1).copied().chain([self.path.len()]);
        let path = self.steps.iter().zip(ends);
        self.uses.push(Use {
            path: path
                .map(|(start, end)| self.path[*start..end].to_owned())
                .collect(),
            place: place.clone(),
            raw: raw.to_owned(),
            text,
        });
    }
}
/// A value for a message: "a list", "the text `five`".
fn found(node: &Node) -> String {
    match (&node.value, node.scalar()) {
        (Value::Bool(_), Some(text)) => format!("`{text}`"),
        (_, Some(text)) if text.chars().count() <= 40 && !text.contains('\n') => {
            let kind = node.kind().trim_start_matches("a ");
            format!("the {kind} `{text}`")
        }
        _ => node.kind().to_owned(),
    }
}

/// Whether a comment follows a plain scalar on its line: `${X # y}` was cut by YAML.
fn comment_cut(place: &Place) -> Option<String> {
    let rest = place.source.text().get(place.range.end..).unwrap_or("");
    let line = rest.lines().next().unwrap_or("");
    let cut = line.trim_start().starts_with('#') && line.contains('}');
    cut.then(|| "` #` begins a comment in YAML; put the whole value in quotes".to_owned())
}
