//! What an author reads: a [`Diagnostic`] with a code, a place, the reason and the cure.
//!
//! The arithmetic stages collect diagnostics and go on, so that one run shows every mistake. A
//! diagnostic never holds a secret value: places point into files that people wrote, not into values.

pub mod code;
pub mod github;
pub mod json;
pub mod sarif;
pub mod text;

pub use code::Code;

use std::collections::HashSet;

use crate::source::Place;

/// How much a diagnostic matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used, and probably does not do what was meant.
    Warning,
}

impl Severity {
    /// The word that people, JSON, GitHub and SARIF all use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One mistake, at its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The stable kebab-case name, documented in docs/diagnostics.md.
    pub code: Code,
    /// Error or warning; the code's own unless the author set another (`assert` has a `level`).
    pub severity: Severity,
    /// What is wrong: "unknown key `comand` in a service".
    pub message: String,
    /// Where; none for what has no place, such as a file that is not there.
    pub place: Option<Place>,
    /// What is written beside the caret: "did you mean `command`?".
    pub label: String,
    /// Other places that explain this one: "first defined here".
    pub related: Vec<(Place, String)>,
    /// What was expected, or what to do.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A diagnostic at a place, with the code's own severity.
    pub fn new(code: Code, place: impl Into<Option<Place>>, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: code.severity(),
            message: message.into(),
            place: place.into(),
            label: String::new(),
            related: Vec::new(),
            help: None,
        }
    }

    /// The same, with a text beside the caret.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// The same, with a second place.
    #[must_use]
    pub fn related(mut self, place: Place, label: impl Into<String>) -> Self {
        self.related.push((place, label.into()));
        self
    }

    /// The same, with advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Everything that was found, in the order of the files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    /// What is in the list, so that a file with a hundred thousand mistakes takes no minute.
    known: HashSet<(Code, Place)>,
}

impl Diagnostics {
    /// Nothing found yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one; the same code at the same place is kept once, so that one mistake has one diagnostic.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        let new = match &diagnostic.place {
            Some(place) => self.known.insert((diagnostic.code, place.clone())),
            None => true,
        };
        if new {
            self.list.push(diagnostic);
        }
    }

    /// Whether one of this code is there for a place.
    pub fn has(&self, code: Code, place: &Place) -> bool {
        self.known.contains(&(code, place.clone()))
    }

    /// Adds all of another collection.
    pub fn append(&mut self, other: Diagnostics) {
        for diagnostic in other.list {
            self.push(diagnostic);
        }
    }

    /// Keeps those for which `keep` says so.
    pub fn retain(&mut self, keep: impl FnMut(&Diagnostic) -> bool) {
        self.list.retain(keep);
    }

    /// Whether anything makes the file unusable.
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// How many there are of one severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.list.iter().filter(|d| d.severity == severity).count()
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// By file and place, those without a place first.
    pub fn sorted(&self) -> Vec<&Diagnostic> {
        fn key(d: &Diagnostic) -> Option<(&str, usize)> {
            let place = d.place.as_ref()?;
            Some((place.source.name(), place.range.start))
        }
        let mut list: Vec<_> = self.list.iter().collect();
        list.sort_by(|a, b| key(a).cmp(&key(b)));
        list
    }
}

/// "did you mean `x`?" for the name nearest to `found`, if one is near.
pub fn nearest<'a>(found: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = match found.chars().count() {
        0..=3 => 1,
        4..=5 => 2,
        _ => 3,
    };
    let folded = fold(found);
    // A name much longer or shorter is not near, and that is cheap to see.
    let alike = |name: &&str| name.len().abs_diff(found.len()) <= 4 * limit;
    names
        .into_iter()
        .filter(alike)
        .map(|name| (strsim::damerau_levenshtein(&folded, &fold(name)), name))
        .filter(|(distance, name)| *distance <= limit && *distance < name.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// `depends-on`, `dependsOn` and `depends_on` are one name to a person.
fn fold(name: &str) -> String {
    name.chars()
        .filter(|c| !matches!(c, '-' | '_' | ' '))
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;

    #[test]
    fn the_same_code_at_the_same_place_is_kept_once() {
        let source = Source::new("roles.yaml", "a: 1\nb: 2\n");
        let mut found = Diagnostics::new();
        found.push(Diagnostic::new(
            Code::UnknownKey,
            source.place(5..6),
            "unknown key `b`",
        ));
        found.push(Diagnostic::new(
            Code::UnknownKey,
            source.place(5..6),
            "again",
        ));
        found.push(Diagnostic::new(
            Code::BadName,
            source.place(5..6),
            "bad name `b`",
        ));
        let mut other = Diagnostics::new();
        other.push(Diagnostic::new(
            Code::UnknownKey,
            source.place(0..1),
            "unknown key `a`",
        ));
        other.push(Diagnostic::new(
            Code::UnknownKey,
            source.place(5..6),
            "once more",
        ));
        other.push(Diagnostic::new(Code::FileUnreadable, None, "cannot read x"));
        other.push(Diagnostic::new(Code::FileUnreadable, None, "cannot read y"));
        found.append(other);
        let messages: Vec<_> = found.sorted().iter().map(|d| d.message.as_str()).collect();
        let expected = [
            "cannot read x",
            "cannot read y",
            "unknown key `a`",
            "unknown key `b`",
            "bad name `b`",
        ];
        assert_eq!(messages, expected);
        assert_eq!(
            (found.count(Severity::Error), found.count(Severity::Warning)),
            (5, 0)
        );
    }

    #[test]
    fn the_nearest_name_is_offered_and_a_far_one_is_not() {
        let names = ["command", "environment", "depends_on", "if"];
        assert_eq!(nearest("comand", names), Some("command"));
        assert_eq!(nearest("depends-on", names), Some("depends_on"));
        assert_eq!(nearest("dependsOn", names), Some("depends_on"));
        assert_eq!(nearest("zebra", names), None);
        assert_eq!(nearest("xy", ["if"]), None);
    }
}
