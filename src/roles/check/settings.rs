//! Settings: declarations, rings, names that come too early, names that nothing uses.

use std::collections::BTreeSet;

use super::Cx;
use crate::diag::{Code, Diagnostic, nearest};
use crate::settings::spec::SourceSpec;

/// Names that expressions have without a declaration.
pub const RESERVED: &[&str] = &["port", "replica", "runner"];

pub fn check(cx: &mut Cx<'_>) {
    declarations(cx);
    rings(cx);
    sources(cx);
    early(cx);
}

fn declarations(cx: &mut Cx<'_>) {
    for (name, key) in &cx.roles.file.settings.keys {
        let place = cx.roles.place(&["settings", "keys", name]);
        let identifier = !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !identifier || RESERVED.contains(&name.as_str()) {
            let message = if identifier {
                format!("`{name}` is a name that expressions have already")
            } else {
                format!("a setting's name has letters, digits and `_`, and `{name}` has more")
            };
            cx.diagnostics
                .push(Diagnostic::new(Code::BadName, place.clone(), message));
        }
        if key.kind().is_none() {
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
            format!("settings are derived from one another in a ring: {shown}"),
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
            if settings.keys.contains_key(name) {
                continue;
            }
            let diagnostic = Diagnostic::new(
                Code::UnknownSetting,
                cx.roles.place(&path),
                format!("the setting `{name}` is not declared"),
            );
            let known = settings.keys.keys().map(String::as_str);
            cx.diagnostics.push(match nearest(name, known) {
                Some(near) => diagnostic.label(format!("did you mean `{near}`?")),
                None => diagnostic.help("declare it under settings.keys"),
            });
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
    let names = cx.roles.uses.iter().filter(|used| {
        let path: Vec<&str> = used.path.iter().map(String::as_str).collect();
        !matches!(path.as_slice(), ["settings", "keys", ..])
    });
    let mut used: BTreeSet<String> = names
        .flat_map(|used| used.names().into_iter().map(|(name, _)| name))
        .collect();
    used.extend(super::templates::names(cx));
    let used = cx.graph.reach(used.iter().map(String::as_str));
    for name in cx.roles.file.settings.keys.keys() {
        if !used.contains(name) {
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
