//! A GAC before it is deployed: held against the declared settings, with a place for everything that is wrong.
//!
//! No message and no line that is shown has a value in it: diagnostics point into a copy of the text in which every
//! character of every value is a star.

mod json;
mod schema;
mod values;

use std::collections::{BTreeMap, BTreeSet};

use super::{Roles, Templates};
use crate::diag::{Code, Diagnostic, Diagnostics, Severity, nearest};
use crate::secret::Secret;
use crate::settings::document;
use crate::settings::graph::Graph;
use crate::settings::layers::{Layer, Origin};
use crate::settings::spec::{Kind, Level, Settings, SourceSpec};
use crate::settings::{Problem, Resolved, resolve};
use crate::source::{Place, Source};
use json::Entry;

pub use schema::of_gac;

/// What a GAC is held against.
pub struct Check<'a> {
    /// The roles.
    pub roles: &'a Roles,
    /// Their templates.
    pub templates: &'a Templates,
    /// What the sources below the secret give, as far as they are here; the lowest first.
    pub below: Vec<Layer>,
    /// What the sources above it and the command line give.
    pub above: Vec<Layer>,
}

/// The places of a GAC's keys, in a text without values.
struct Gac {
    source: Source,
    entries: Vec<Entry>,
    /// Which entry counts for a key: the last one.
    last: BTreeMap<String, usize>,
}

impl Gac {
    /// The place of a key; the last one counts, as its value does.
    fn place(&self, name: &str) -> Option<Place> {
        let entry = self.entries.get(*self.last.get(name)?)?;
        Some(self.source.place(entry.key.clone()))
    }
}

/// Adds everything that is wrong with a GAC; `name` is the file's.
pub fn check(name: &str, text: &Secret, check: Check<'_>, diagnostics: &mut Diagnostics) {
    let settings = &check.roles.file.settings;
    let mut placeholders = settings
        .sources
        .iter()
        .rev()
        .filter_map(|source| match source {
            SourceSpec::Secret(source) => source.placeholder.as_ref()?.literal(),
            _ => None,
        });
    let placeholder = placeholders.next();
    let origin = Origin::SecretFile(name.to_owned());
    // serde_json tells lines by LF, as we do, and knows no byte order mark.
    let plain = text
        .expose()
        .strip_prefix('\u{feff}')
        .unwrap_or(text.expose());
    let layer = match document::secret(origin, text, placeholder) {
        Ok(found) => found.layer,
        Err(why) => {
            diagnostics.push(syntax(name, plain, &why));
            return;
        }
    };
    let entries = json::entries(plain);
    let gac = Gac {
        source: Source::new(name, json::masked(plain, &entries)),
        last: entries
            .iter()
            .enumerate()
            .map(|(at, e)| (e.name.clone(), at))
            .collect(),
        entries,
    };
    duplicates(&gac, diagnostics);
    unknown(&gac, settings, diagnostics);
    placeholders_left(&gac, &layer, settings, diagnostics);
    let graph = Graph::of(settings);
    let mut layers = check.below;
    layers.push(layer);
    layers.extend(check.above);
    let wanted: BTreeSet<String> = settings.keys.keys().cloned().collect();
    let (resolved, problems) = resolve(settings, &graph, &layers, &wanted);
    let elsewhere = given_elsewhere(check.roles);
    for problem in &problems {
        if let Some(diagnostic) = of_problem(check.roles, &gac, problem, &elsewhere) {
            diagnostics.push(diagnostic);
        }
    }
    values::check(check.roles, check.templates, &gac, &resolved, diagnostics);
}

/// A text that is no JSON object; nothing of it is shown.
fn syntax(name: &str, text: &str, why: &str) -> Diagnostic {
    let source = Source::new(name, json::masked(text, &[]));
    let error = serde_json::from_str::<serde_json::Value>(text).err();
    let at = error.map_or(0, |error| {
        let line = source.line(error.line().max(1));
        (line.start + error.column().saturating_sub(1)).min(line.end)
    });
    let message = match why.split_once(" (line") {
        Some((why, _)) => format!("{name}: {why}"),
        None => format!("{name}: {why}"),
    };
    Diagnostic::new(Code::GacSyntax, source.place(at..at + 1), message)
        .help("a GAC is one JSON object with a text under each key")
}

fn duplicates(gac: &Gac, diagnostics: &mut Diagnostics) {
    let mut first: BTreeMap<&str, &Entry> = BTreeMap::new();
    for entry in &gac.entries {
        match first.get(entry.name.as_str()) {
            None => {
                first.insert(&entry.name, entry);
            }
            Some(earlier) => {
                let message = format!("the key `{}` stands twice; the last one counts", entry.name);
                let place = gac.source.place(entry.key.clone());
                diagnostics.push(
                    Diagnostic::new(Code::GacDuplicate, place, message)
                        .related(gac.source.place(earlier.key.clone()), "not used"),
                );
            }
        }
    }
}

fn unknown(gac: &Gac, settings: &Settings, diagnostics: &mut Diagnostics) {
    let mut seen = BTreeSet::new();
    let mut searches = 0;
    for entry in &gac.entries {
        let name = entry.name.as_str();
        if !seen.insert(name) {
            continue;
        }
        let place = gac.source.place(entry.key.clone());
        match settings.keys.get(name).map(|key| key.kind()) {
            None => {
                let message = format!("no setting `{name}` is declared, so nothing reads this");
                let diagnostic = Diagnostic::new(Code::GacUnknown, place, message);
                let free = settings.keys.keys().map(String::as_str);
                searches += 1;
                let free = free.filter(|key| searches < 100 && gac.place(key).is_none());
                diagnostics.push(match nearest(name, free) {
                    Some(near) => diagnostic.label(format!("did you mean `{near}`?")),
                    None => diagnostic,
                });
            }
            Some(Some(Kind::Value(_))) => {
                let message = format!("the setting `{name}` is derived, so nothing reads this");
                let diagnostic = Diagnostic::new(Code::GacUnknown, place, message);
                diagnostics.push(
                    match settings.keys.get_key_value(&format!("ENCODED_{name}")) {
                        Some((encoded, _)) => {
                            diagnostic.label(format!("did you mean `{encoded}`?"))
                        }
                        None => {
                            diagnostic.help("its `value:` in roles.yaml says what it is made of")
                        }
                    },
                );
            }
            Some(_) => {}
        }
    }
}

/// Placeholders under keys with a default: the default counts, which is seldom what was meant.
fn placeholders_left(gac: &Gac, layer: &Layer, settings: &Settings, diagnostics: &mut Diagnostics) {
    for name in &layer.placeholders {
        let kind = settings.keys.get(name).and_then(|key| key.kind());
        if let (Some(Kind::Default(_)), Some(place)) = (kind, gac.place(name)) {
            let message = format!("`{name}` still has the placeholder, so its default counts");
            let mut diagnostic = Diagnostic::new(Code::GacPlaceholder, place, message)
                .help("fill it in, or remove the key");
            diagnostic.severity = Severity::Warning;
            diagnostics.push(diagnostic);
        }
    }
}

/// Required settings that a GAC cannot or need not give: what finds it, and what a file or a program is named for.
fn given_elsewhere(roles: &Roles) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for used in &roles.uses {
        let path: Vec<&str> = used.path.iter().map(String::as_str).collect();
        if matches!(path.as_slice(), ["select"] | ["settings", "sources", ..]) {
            names.extend(used.names().into_iter().map(|(name, _)| name));
        }
    }
    for source in &roles.file.settings.sources {
        match source {
            SourceSpec::File(file) => names.extend(file.map.keys().cloned()),
            SourceSpec::Command(command) => {
                names.insert(command.key.clone());
            }
            SourceSpec::Environment | SourceSpec::Secret(_) => {}
        }
    }
    names
}

/// What one problem is at its place; nothing where it is told elsewhere.
fn of_problem(
    roles: &Roles,
    gac: &Gac,
    problem: &Problem,
    elsewhere: &BTreeSet<String>,
) -> Option<Diagnostic> {
    let declared = |name: &str| roles.place(&["settings", "keys", name]);
    match problem {
        Problem::Missing { name, .. } if elsewhere.contains(name) => None,
        Problem::Missing {
            name,
            description,
            found,
        } => {
            let described = match description {
                Some(description) => format!("`{name}` ({description})"),
                None => format!("`{name}`"),
            };
            let found = found.as_deref();
            Some(missing(gac, name, &described, found, declared(name)))
        }
        Problem::NotText { name, found, .. } => {
            let place = gac.place(name).unwrap_or_else(|| declared(name));
            let message = format!("`{name}` is {found}, and a setting is a text");
            Some(
                Diagnostic::new(Code::GacType, place, message)
                    .help("write it as a JSON text; what reads it can read JSON out of that"),
            )
        }
        // A name that is not declared is told where it stands.
        Problem::Expression { fault, .. } if fault.code == Code::UnknownSetting => None,
        Problem::Expression { name, fault } => {
            let why = &fault.message;
            let message = format!("`{name}` cannot be derived with this GAC: {why}");
            let mut diagnostic = Diagnostic::new(Code::GacValue, declared(name), message);
            diagnostic.severity = Severity::Error;
            diagnostic.help.clone_from(&fault.help);
            Some(diagnostic)
        }
        Problem::Assertion { at, message, level } => {
            let place = roles.value_place(&["settings", "assert", &at.to_string(), "that"]);
            let message = format!("this does not hold with this GAC: {message}");
            let mut diagnostic = Diagnostic::new(Code::Assertion, place, message);
            if *level == Level::Warning {
                diagnostic.severity = Severity::Warning;
            }
            Some(diagnostic)
        }
    }
}

/// A required setting without a value; `found` is what stands there instead.
fn missing(
    gac: &Gac,
    name: &str,
    described: &str,
    found: Option<&str>,
    declared: Place,
) -> Diagnostic {
    let placeholder = found.is_some_and(|found| found.contains("placeholder"));
    match gac.place(name) {
        Some(place) if placeholder => {
            let message = format!("{described} still has the placeholder");
            Diagnostic::new(Code::GacPlaceholder, place, message)
                .related(declared, "required here")
                .help("fill it in")
        }
        Some(place) => {
            let message = format!("{described} is required, and it is empty");
            Diagnostic::new(Code::GacMissing, place, message).related(declared, "required here")
        }
        None => {
            let file = gac.source.name();
            let message = format!("{described} is required, and {file} does not have it");
            Diagnostic::new(Code::GacMissing, declared, message).help(
                "add it to the GAC; if another source gives it, run this with `--set` or its variable",
            )
        }
    }
}

/// A resolved value's text, for looking at and never for showing.
fn value<'a>(resolved: &'a Resolved, name: &str) -> Option<&'a str> {
    Some(resolved.get(name)?.value.expose())
}
