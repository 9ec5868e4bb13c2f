//! Stage 1: a text becomes a tree, the tree becomes specs, the specs are checked.
//!
//! [`read`] gives [`Roles`] whenever the text is YAML, with everything that is wrong among the diagnostics; nothing
//! but a text goes in, so the same code serves `run`, `validate` and an editor. Template files are read by the
//! caller, who gets their paths from [`Roles::templates`].

pub mod allow;
pub mod check;
pub mod gac;
pub mod scalar;
pub mod schema;
pub mod shape;
pub mod spec;
pub mod tree;
mod words;

use std::collections::BTreeMap;

use crate::diag::{Code, Diagnostic, Diagnostics};
use crate::source::{Place, Source};
use crate::steps::{Step, TemplateUse};
use shape::{Reader, Use};
use spec::{File, Role};
use tree::Node;

/// A text that is YAML, and what could be read of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Roles {
    /// The specs.
    pub file: File,
    /// The tree that they were read from; it knows places.
    pub tree: Node,
    /// Every text with expressions.
    pub uses: Vec<Use>,
}

/// What stands at each template's path; an error says why it cannot be read.
pub type Templates = BTreeMap<String, Result<Source, String>>;

/// Reads roles.yaml; none where it is not YAML, or not a mapping with roles.
pub fn read(source: &Source, diagnostics: &mut Diagnostics) -> Option<Roles> {
    let mut tree = tree::parse(source, diagnostics)?;
    if !matches!(tree.value, tree::Value::Map(_)) {
        diagnostics.push(not_roles(&tree));
        return None;
    }
    // A misspelt key is told, and read as the key that was meant: what stands below it is looked at in this run, and
    // nobody misses what it gives.
    let mut told = Diagnostics::new();
    loop {
        let mut found = Diagnostics::new();
        let mut reader = Reader::new(&mut found);
        let file = <File as shape::Shape>::read(&tree, &mut reader);
        let (uses, misspelt) = (reader.uses, reader.misspelt);
        if misspelt.is_empty() {
            told.append(found);
            diagnostics.append(told);
            return Some(Roles {
                file: file?,
                tree,
                uses,
            });
        }
        found.retain(|diagnostic| {
            let place = diagnostic.place.as_ref();
            let is_key = |place: &Place| misspelt.contains_key(place);
            matches!(diagnostic.code, Code::UnknownKey | Code::StepKind)
                && place.is_some_and(is_key)
        });
        told.append(found);
        tree.rename(&misspelt);
    }
}

/// The diagnostic of a file that has no keys at all.
fn not_roles(tree: &Node) -> Diagnostic {
    const START: &str =
        "begin with `version: 1` and `roles:`; `runner schema` gives the rest to an editor";
    match tree.value {
        tree::Value::Null => {
            let start = tree.place.source.place(0..0);
            let message = format!("{} is empty", start.source.name());
            Diagnostic::new(Code::MissingKey, start, message).help(START)
        }
        _ => {
            let message = format!("roles.yaml is a mapping, and this is {}", tree.kind());
            Diagnostic::new(Code::WrongType, tree.place.clone(), message).help(START)
        }
    }
}

impl Roles {
    /// A role by its name.
    pub fn role(&self, name: &str) -> Option<&Role> {
        self.file.roles.get(name)
    }

    /// The names of all roles, in the file's order.
    pub fn role_names(&self) -> impl Iterator<Item = &str> {
        self.file.roles.keys().map(String::as_str)
    }

    /// The place of a key by its path; the file's start for what is not written.
    pub fn place(&self, path: &[&str]) -> Place {
        (0..=path.len())
            .rev()
            .find_map(|len| self.tree.place_of(&path[..len]))
            .unwrap_or_else(|| self.tree.place.clone())
    }

    /// The place of the value at a path where it is a scalar, else of its key.
    pub fn value_place(&self, path: &[&str]) -> Place {
        match self.tree.at(path) {
            Some(node) if node.scalar().is_some() => node.place.clone(),
            _ => self.place(path),
        }
    }

    /// Every step of the file with its path.
    pub fn steps(&self) -> Vec<(Vec<String>, &Step)> {
        let mut all = Vec::new();
        let mut extend = |path: &[&str], steps| {
            for step in <[Step]>::iter(steps) {
                let mut path: Vec<String> = path.iter().map(|s| (*s).to_owned()).collect();
                path.push(step.number.to_string());
                all.push((path, step));
            }
        };
        extend(&["startup"], self.file.startup.as_slice());
        for (name, role) in &self.file.roles {
            extend(&["roles", name, "startup"], &role.startup);
            for (member, spec) in &role.loops {
                extend(&["roles", name, "loops", member, "steps"], &spec.steps);
            }
        }
        all
    }

    /// Every template that a step renders, with the step's path.
    pub fn templates(&self) -> Vec<(Vec<String>, TemplateUse<'_>)> {
        self.steps()
            .into_iter()
            .filter_map(|(path, step)| step.kind.template().map(|template| (path, template)))
            .collect()
    }
}
