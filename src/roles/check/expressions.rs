//! Expressions: every name must be known where it stands, and a secret must not stand where it can be seen.

use super::Cx;
use super::settings::RESERVED;
use crate::diag::{Code, Diagnostic, nearest};
use crate::roles::shape::{Use, Used, Written};
use crate::settings::Problem;
use crate::settings::spec::Kind;
use crate::source::Place;

pub fn check(cx: &mut Cx<'_>) {
    let roles = cx.roles;
    for used in &roles.uses {
        let path: Vec<&str> = used.path.iter().map(String::as_str).collect();
        for (name, place) in used.names() {
            known(cx, &path, &name, place.clone());
            visible(cx, &path, &name, place.clone());
            script(cx, &path, &name, place);
        }
        constant(cx, used);
        if !path.contains(&"shell") {
            dollars(cx, used);
        }
    }
    select(cx);
}

fn known(cx: &mut Cx<'_>, path: &[&str], name: &str, place: Place) {
    if cx.declared(name) {
        return;
    }
    let service = service(path);
    let diagnostic = match (name, service) {
        ("replica", Some(_)) => return,
        ("port", Some((role, service))) => {
            // A port that could not be read has its own diagnostic.
            let path = ["roles", role, "services", service, "port"];
            if cx.roles.tree.at(&path).is_some() {
                return;
            }
            Diagnostic::new(
                Code::UnknownSetting,
                place,
                format!("the service `{service}` has no port"),
            )
            .help("give the service a `port:`")
        }
        ("replica" | "port", None) => Diagnostic::new(
            Code::UnknownSetting,
            place,
            format!("`{name}` is known only inside a service"),
        )
        .help("it stands in a service's command, environment, working_dir and probes"),
        _ => return cx.undeclared(name, place, RESERVED),
    };
    cx.diagnostics.push(diagnostic);
}

/// The role and the service in whose own texts a path lies.
fn service<'a>(path: &[&'a str]) -> Option<(&'a str, &'a str)> {
    match path {
        ["roles", role, "services", service, key, ..]
            if matches!(
                *key,
                "command" | "environment" | "working_dir" | "readiness" | "liveness"
            ) =>
        {
            Some((role, service))
        }
        _ => None,
    }
}

/// Where everybody could read what stands at a path; none where nobody can.
fn seen(path: &[&str]) -> Option<&'static str> {
    let inside = |key: &str| path.contains(&key);
    if matches!(path, ["settings", "keys", ..]) || inside("environment") || inside("headers") {
        return None;
    }
    if inside("command") || inside("worker") || inside("exec") || inside("shell") {
        return Some("in an argument, which every process of the container can read");
    }
    match path.last() {
        Some(&("url" | "http" | "tcp" | "queue" | "endpoint" | "dead_letter" | "listen")) => {
            Some("in an address, which logs on both sides show")
        }
        Some(
            &("name" | "destination" | "source" | "file" | "working_dir" | "user" | "owner"
            | "group" | "region" | "secret" | "select"),
        ) => Some("in the log"),
        _ => None,
    }
}

fn visible(cx: &mut Cx<'_>, path: &[&str], name: &str, place: Place) {
    if let Some(seen) = seen(path)
        && cx.graph.is_tainted(name)
    {
        let keys = &cx.roles.file.settings.keys;
        let declared = |name: &str| keys.get(name).is_some_and(|key| key.secret == Some(true));
        let root = cx
            .graph
            .reach([name])
            .into_iter()
            .find(|name| declared(name));
        let message = match root.filter(|_| !declared(name)) {
            Some(root) => format!("`{name}`, made of the secret `{root}`, would be seen {seen}"),
            None => format!("the secret `{name}` would be seen {seen}"),
        };
        cx.diagnostics.push(
            Diagnostic::new(Code::SecretVisible, place, message)
                .help("hand it over in `environment:`, in a header, or in a rendered file"),
        );
    }
}

/// A condition that is made of constants alone, `value:` settings without a source among them.
fn constant(cx: &mut Cx<'_>, used: &Use) {
    let Used::Condition(condition) = &used.text else {
        return;
    };
    let names: Vec<String> = condition.names().map(|(name, _)| name.to_owned()).collect();
    let settings = &cx.roles.file.settings;
    let reached = cx.graph.reach(names.iter().map(String::as_str));
    let fixed = |name: &String| {
        let key = settings.keys.get(name);
        key.is_some_and(|key| matches!(key.kind(), Some(Kind::Value(_))))
    };
    if !reached.iter().all(fixed) || names.iter().any(|name| !settings.keys.contains_key(name)) {
        return;
    }
    // No layer gives anything: every value is the file's own.
    let (values, problems) = crate::settings::resolve(settings, &cx.graph, &[], &reached);
    if problems
        .iter()
        .any(|problem| matches!(problem, Problem::Expression { .. }))
    {
        return;
    }
    if let Ok(holds) = condition.holds(&|name| values.item(name)) {
        let always = if holds { "always" } else { "never" };
        let help = if names.is_empty() {
            "name a setting in it, or remove it"
        } else {
            "no source can give what it is made of: `value:` settings are derived; `default:` can be given"
        };
        cx.diagnostics.push(
            Diagnostic::new(
                Code::ConstantCondition,
                used.place.clone(),
                format!("this condition {always} holds"),
            )
            .help(help),
        );
    }
}

/// A setting in a shell script is a part of the script, whatever stands in it.
fn script(cx: &mut Cx<'_>, path: &[&str], name: &str, place: Place) {
    let inside = path.last() == Some(&"shell") && !RESERVED.contains(&name);
    if inside && cx.declared(name) && !cx.graph.is_tainted(name) {
        let message = format!("what `{name}` holds becomes a part of the script, as code");
        let help = format!(
            "hand it over: `environment: {{ {name}: \"${{{name}}}\" }}`, and write \"$${{{name}}}\" in the script"
        );
        cx.diagnostics
            .push(Diagnostic::new(Code::ShellInjection, place, message).help(help));
    }
}

fn dollars(cx: &mut Cx<'_>, used: &Use) {
    if !matches!(used.text, Used::Template(_)) {
        return;
    }
    let written = Written::new(&used.place, &used.raw);
    for range in crate::template::bare_dollars(&used.raw) {
        let name = &used.raw[range.clone()];
        if !cx.roles.file.settings.keys.contains_key(&name[1..]) {
            continue;
        }
        let message = format!("`{name}` without braces is text here");
        let cure = format!("write ${{{}}} for the setting", &name[1..]);
        cx.diagnostics
            .push(Diagnostic::new(Code::BareDollar, written.part(range), message).help(cure));
    }
}

/// A role that `select` names outright must be there.
fn select(cx: &mut Cx<'_>) {
    let Some(text) = &cx.roles.file.select else {
        return;
    };
    // `$ROLE` of a setting is told as what it is.
    let dollar = |name: &str| name.strip_prefix('$').is_some_and(|name| cx.declared(name));
    if let Some(name) = text.literal()
        && cx.roles.role(name).is_none()
        && !dollar(name)
    {
        let diagnostic = Diagnostic::new(
            Code::UnknownRole,
            text.place.clone(),
            format!("there is no role `{name}`"),
        );
        cx.diagnostics
            .push(match nearest(name, cx.roles.role_names()) {
                Some(near) => diagnostic.label(format!("did you mean `{near}`?")),
                None => diagnostic.help(match name.strip_prefix('$') {
                    Some(setting) => format!("write ${{{setting}}} for the setting"),
                    None => "write ${application_type}, or a role's name".to_owned(),
                }),
            });
    }
}
