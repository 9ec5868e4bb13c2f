//! Settings: declarations, rings, names that come too early, names that nothing uses.

use std::collections::BTreeSet;

use super::Cx;
use crate::diag::{Code, Diagnostic};
use crate::settings::spec::SourceSpec;
use crate::source::Place;

/// Names that expressions have without a declaration.
pub const RESERVED: &[&str] = &["port", "replica", "runner"];

pub fn check(cx: &mut Cx<'_>) {
    declarations(cx);
    rings(cx);
    sources(cx);
    early(cx);
}

/// A name that cannot be a setting's.
fn bad_name(name: &str, identifier: bool, place: Place) -> Diagnostic {
    if identifier {
        let message = format!("`{name}` is a name that expressions have already");
        return Diagnostic::new(Code::BadName, place, message);
    }
    let free: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    let digit = free.starts_with(|c: char| c.is_ascii_digit());
    let free = if digit { format!("_{free}") } else { free };
    let message =
        format!("`{name}` cannot be a setting's name: it could not stand in an expression");
    Diagnostic::new(Code::BadName, place, message).label(format!("write `{free}`"))
}

fn declarations(cx: &mut Cx<'_>) {
    for (name, key) in &cx.roles.file.settings.keys {
        let place = cx.roles.place(&["settings", "keys", name]);
        let identifier = !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !identifier || RESERVED.contains(&name.as_str()) {
            cx.diagnostics
                .push(bad_name(name, identifier, place.clone()));
        }
        let readable = cx
            .roles
            .tree
            .at(&["settings", "keys", name])
            .is_none_or(|node| {
                (key.required.is_some() || node.get("required").is_none())
                    && (key.default.is_some() || node.get("default").is_none())
                    && (key.value.is_some() || node.get("value").is_none())
            });
        if key.kind().is_none() && readable {
            let given: Vec<_> = [
                ("required", key.required == Some(true)),
                ("default", key.default.is_some()),
                ("value", key.value.is_some()),
            ]
            .into_iter()
            .filter_map(|(name, given)| given.then_some(name))
            .collect();
            let message = match given.as_slice() {
                [] => format!(
                    "the setting `{name}` has neither `required: true` nor `default` nor `value`"
                ),
                _ => format!("the setting `{name}` has {}", given.join(" and ")),
            };
            cx.diagnostics.push(
                Diagnostic::new(Code::SettingKind, place, message).help(
                    "a setting is exactly one of `required: true`, `default: …` or `value: …`",
                ),
            );
        }
    }
}

fn rings(cx: &mut Cx<'_>) {
    for ring in cx.graph.rings() {
        let place = cx.roles.place(&["settings", "keys", &ring[0]]);
        let shown = ring
            .iter()
            .chain(ring.first())
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(" → ");
        let mut diagnostic = Diagnostic::new(
            Code::SettingCycle,
            place,
            match ring.as_slice() {
                [alone] => format!("the setting `{alone}` is derived from itself"),
                _ => format!("settings are derived from one another in a ring: {shown}"),
            },
        );
        for name in &ring[1..] {
            let place = cx.roles.place(&["settings", "keys", name]);
            diagnostic = diagnostic.related(place, "in the ring");
        }
        cx.diagnostics.push(diagnostic);
    }
}

/// Keys that a source names must be declared, and not derived.
fn sources(cx: &mut Cx<'_>) {
    let settings = &cx.roles.file.settings;
    for (at, source) in settings.sources.iter().enumerate() {
        let at = at.to_string();
        let names: Vec<(&str, Vec<&str>)> = match source {
            SourceSpec::File(file) => file
                .map
                .keys()
                .map(|key| (key.as_str(), vec!["settings", "sources", &at, "map", key]))
                .collect(),
            SourceSpec::Command(command) => {
                vec![(
                    command.key.as_str(),
                    vec!["settings", "sources", &at, "key"],
                )]
            }
            SourceSpec::Environment | SourceSpec::Secret(_) => Vec::new(),
        };
        for (name, path) in names {
            if !cx.declared(name) {
                let place = match source {
                    SourceSpec::Command(_) => cx.roles.value_place(&path),
                    _ => cx.roles.place(&path),
                };
                cx.undeclared(name, place, &[]);
            }
        }
    }
}

/// `select` and the sources are read before the secret is.
fn early(cx: &mut Cx<'_>) {
    for used in &cx.roles.uses {
        let path: Vec<&str> = used.path.iter().map(String::as_str).collect();
        if !matches!(path.as_slice(), ["select"] | ["settings", "sources", ..]) {
            continue;
        }
        for (name, place) in used.names() {
            let declared = cx.roles.file.settings.keys.contains_key(&name);
            if declared && !cx.graph.is_early(&name) {
                cx.diagnostics.push(
                    Diagnostic::new(
                        Code::SecretTooEarly,
                        place,
                        format!("`{name}` comes from the secret alone, and is needed before the secret is read"),
                    )
                    .help("give it a default, or add the source `environment`"),
                );
            }
        }
    }
}

/// Declared settings that nothing uses.
pub fn unused(cx: &mut Cx<'_>) {
    let texts = cx.roles.uses.iter().filter(|used| {
        let path: Vec<&str> = used.path.iter().map(String::as_str).collect();
        !matches!(path.as_slice(), ["settings", "keys", ..])
    });
    let mut used: BTreeSet<String> = texts
        .flat_map(|used| used.names().into_iter().map(|(name, _)| name))
        .collect();
    used.extend(super::templates::names(cx));
    used.extend(cx.offered.iter().cloned());
    let templates = cx.templates.values();
    if templates.clone().any(Result::is_err) {
        // What a template that cannot be read uses, nobody knows.
        return;
    }
    if cx.diagnostics.has_errors() {
        // A text with a mistake, or below one, was not read: what it may use is not called unused.
        let sources = templates.flatten().chain([&cx.roles.tree.place.source]);
        let mut seen = BTreeSet::new();
        let mut twice = BTreeSet::new();
        for word in sources.flat_map(|source| words(source.text())) {
            if !seen.insert(word) {
                twice.insert(word);
            }
        }
        used.extend(twice.into_iter().map(str::to_owned));
    }
    let used = cx.graph.reach(used.iter().map(String::as_str));
    let file = &cx.roles.file;
    for name in file.settings.keys.keys() {
        let named = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && !RESERVED.contains(&name.as_str())
            && words(name).eq([name.as_str()]);
        if named && !used.contains(name) {
            let place = cx.roles.place(&["settings", "keys", name]);
            cx.diagnostics.push(
                Diagnostic::new(
                    Code::SettingUnused,
                    place,
                    format!("nothing uses the setting `{name}`"),
                )
                .help("remove it, or use it in a step, a member or a template"),
            );
        }
    }
}

/// The words of a text, as names are made.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
}
