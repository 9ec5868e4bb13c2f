//! What a change of roles.yaml means, in words: role by role, member by member.

use serde_json::Value as Json;

use super::Plan;

/// One role's change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It was not there.
    Added(String),
    /// It is gone.
    Removed(String),
    /// It does the same.
    Same(String),
    /// It does something else: a sentence each.
    Changed(String, Vec<String>),
}

/// The changes from `old` to `new`, in the order of `new`, those that are gone last.
pub fn changes(old: &[Plan], new: &[Plan]) -> Vec<Change> {
    let mut changes: Vec<Change> = new
        .iter()
        .map(
            |plan| match old.iter().find(|other| other.role == plan.role) {
                None => Change::Added(plan.role.clone()),
                Some(other) => role(other, plan),
            },
        )
        .collect();
    let gone = old
        .iter()
        .filter(|plan| new.iter().all(|other| other.role != plan.role));
    changes.extend(gone.map(|plan| Change::Removed(plan.role.clone())));
    changes
}

/// The changes as people read them.
pub fn text(changes: &[Change]) -> String {
    let mut out = String::new();
    for change in changes {
        match change {
            Change::Added(role) => out.push_str(&format!("role {role} is new\n")),
            Change::Removed(role) => {
                out.push_str(&format!(
                    "role {role} is gone: containers that ask for it will not start\n"
                ));
            }
            Change::Same(role) => {
                out.push_str(&format!(
                    "role {role} does the same; its containers may stay\n"
                ));
            }
            Change::Changed(role, sentences) => {
                out.push_str(&format!(
                    "role {role} changes; its containers have to be replaced\n"
                ));
                for sentence in sentences {
                    out.push_str(&format!("  {sentence}\n"));
                }
            }
        }
    }
    out
}

fn role(old: &Plan, new: &Plan) -> Change {
    let mut sentences = Vec::new();
    let (before, after) = (as_json(old), as_json(new));
    for (part, what) in [
        ("description", ""),
        ("stop_timeout", ""),
        ("sources", "settings"),
        ("stop_waves", ""),
    ] {
        compare(what, part, &before[part], &after[part], &mut sentences);
    }
    named(
        "setting",
        &before["settings"],
        &after["settings"],
        &mut sentences,
    );
    steps("", &before["steps"], &after["steps"], &mut sentences);
    named(
        "member",
        &before["members"],
        &after["members"],
        &mut sentences,
    );
    for (path, file) in &new.templates {
        if old.templates.get(path).is_some_and(|other| other != file) {
            sentences.push(format!("template {path}: its text changes"));
        }
    }
    match sentences.is_empty() {
        true => Change::Same(new.role.clone()),
        false => Change::Changed(new.role.clone(), sentences),
    }
}

fn as_json(plan: &Plan) -> Json {
    serde_json::to_value(plan).unwrap_or_default()
}

/// Entries of two mappings, by name.
fn named(what: &str, old: &Json, new: &Json, sentences: &mut Vec<String>) {
    let empty = serde_json::Map::new();
    let (old, new) = (
        old.as_object().unwrap_or(&empty),
        new.as_object().unwrap_or(&empty),
    );
    for (name, after) in new {
        // A member says itself what it is.
        let kind = after["kind"]
            .as_str()
            .filter(|_| what == "member")
            .unwrap_or(what);
        match old.get(name) {
            None => sentences.push(format!("{kind} {name} is new")),
            Some(before) => entry(&format!("{kind} {name}"), before, after, sentences),
        }
    }
    for (name, before) in old.iter().filter(|(name, _)| !new.contains_key(*name)) {
        let kind = before["kind"]
            .as_str()
            .filter(|_| what == "member")
            .unwrap_or(what);
        sentences.push(format!("{kind} {name} is gone"));
    }
}

/// The keys of one entry.
fn entry(who: &str, old: &Json, new: &Json, sentences: &mut Vec<String>) {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else {
        return compare(who, "", old, new, sentences);
    };
    for key in new
        .keys()
        .chain(old.keys().filter(|key| !new.contains_key(*key)))
    {
        let (before, after) = (
            old.get(key).unwrap_or(&Json::Null),
            new.get(key).unwrap_or(&Json::Null),
        );
        match key.as_str() {
            "steps" => steps(&format!("{who}: "), before, after, sentences),
            _ if before.is_object() && after.is_object() => {
                entry(&format!("{who}: {key}"), before, after, sentences);
            }
            _ => compare(who, key, before, after, sentences),
        }
    }
}

/// Two lists of steps, each step known by its name or by what it does.
fn steps(who: &str, old: &Json, new: &Json, sentences: &mut Vec<String>) {
    let empty = Vec::new();
    let (old, new) = (
        old.as_array().unwrap_or(&empty),
        new.as_array().unwrap_or(&empty),
    );
    let find = |list: &[Json], title: &str| list.iter().position(|step| self::title(step) == title);
    for (at, step) in new.iter().enumerate() {
        let title = title(step);
        match find(old, &title) {
            None => sentences.push(format!("{who}step {} is new: {title}", at + 1)),
            Some(before) => {
                entry(&format!("{who}step {title}"), &old[before], step, sentences);
                if before != at && old.len() == new.len() {
                    sentences.push(format!("{who}step {title} is now step {}", at + 1));
                }
            }
        }
    }
    for step in old.iter().filter(|step| find(new, &title(step)).is_none()) {
        sentences.push(format!("{who}step {} is gone", title(step)));
    }
}

fn title(step: &Json) -> String {
    match step["name"].as_str() {
        Some(name) => name.to_owned(),
        None => {
            let kinds = crate::steps::Kind::KEYS
                .iter()
                .find(|kind| !step[**kind].is_null());
            kinds.map_or_else(String::new, |kind| shown(&step[*kind]))
        }
    }
}

fn compare(who: &str, key: &str, old: &Json, new: &Json, sentences: &mut Vec<String>) {
    if old == new {
        return;
    }
    let what = match (who, key) {
        ("", key) => key.to_owned(),
        (who, "") => who.to_owned(),
        (who, key) => format!("{who}: {key}"),
    };
    sentences.push(format!("{what} {} → {}", shown(old), shown(new)));
}

/// A value in one line, as it would stand in roles.yaml.
fn shown(value: &Json) -> String {
    match value {
        Json::Null => "(not given)".to_owned(),
        Json::String(text) if text.is_empty() => "\"\"".to_owned(),
        Json::String(text) => text.clone(),
        Json::Array(items) => format!(
            "[{}]",
            items.iter().map(shown).collect::<Vec<_>>().join(", ")
        ),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::Diagnostics;
    use crate::roles;
    use crate::source::Source;

    fn plans(text: &str) -> Vec<Plan> {
        let mut found = Diagnostics::new();
        let roles = roles::read(&Source::new("r.yaml", text), &mut found).unwrap();
        assert!(!found.has_errors(), "{found:?}");
        let names: Vec<&str> = roles.role_names().collect();
        names
            .into_iter()
            .map(|name| Plan::of(&roles, name, &Default::default()).unwrap())
            .collect()
    }

    #[test]
    fn a_change_is_told_in_words() {
        let old = plans(
            "version: 1\nroles:\n  a: {startup: [{name: x, command: [one]}, {command: [two]}]}\n  \
             i: {loops: {l: {interval: 1s, steps: [{command: [es]}]}}}\n  p: {services: {s: {command: [s], replicas: 5}}}\n  gone: {}\n",
        );
        let new = plans(
            "version: 1\nroles:\n  a: {startup: [{name: x, command: [one]}, {command: [two]}]}\n  \
             i: {loops: {l: {interval: 5s, steps: [{command: [es], timeout: 1m}]}}}\n  \
             p: {services: {s: {command: [s], replicas: 6}, n: {command: [n]}}}\n  fresh: {}\n",
        );
        assert_eq!(
            text(&changes(&old, &new)),
            "role a does the same; its containers may stay\n\
             role i changes; its containers have to be replaced\n  \
             loop l: interval 1s → 5s\n  \
             loop l: step [es]: timeout (not given) → 1m\n\
             role p changes; its containers have to be replaced\n  \
             stop_waves [[s]] → [[s, n]]\n  \
             service s: replicas 5 → 6\n  \
             service n is new\n\
             role fresh is new\n\
             role gone is gone: containers that ask for it will not start\n"
        );
        assert!(
            changes(&new, &new)
                .iter()
                .all(|change| matches!(change, Change::Same(_)))
        );
    }
}
