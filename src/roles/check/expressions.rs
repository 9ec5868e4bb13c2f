//! Expressions: every name must be known where it stands, and a secret must not stand where it can be seen.

use super::Cx;
use super::settings::RESERVED;
use crate::diag::{Code, Diagnostic, nearest};
use crate::roles::shape::{Use, Used};
use crate::source::Place;

pub fn check(cx: &mut Cx<'_>) {
    let roles = cx.roles;
    for used in &roles.uses {
        let path: Vec<&str> = used.path.iter().map(String::as_str).collect();
        for (name, place) in used.names() {
            known(cx, &path, &name, place.clone());
            visible(cx, &path, &name, place);
        }
        constant(cx, used);
        if !path.contains(&"shell") {
            dollars(cx, used);
        }
    }
    select(cx);
}

fn known(cx: &mut Cx<'_>, path: &[&str], name: &str, place: Place) {
    let keys = &cx.roles.file.settings.keys;
    if keys.contains_key(name) || name == "runner" {
        return;
    }
    let service = service(path);
    let diagnostic = match (name, service) {
        ("replica", Some(_)) => return,
        ("port", Some((role, service))) => {
            let spec = cx
                .roles
                .role(role)
                .and_then(|role| role.services.get(service));
            // A service that could not be read has its own diagnostic.
            if spec.is_none_or(|spec| spec.port.is_some()) {
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
        _ => {
            let diagnostic = Diagnostic::new(
                Code::UnknownSetting,
                place,
                format!("the setting `{name}` is not declared"),
            );
            let names = keys
                .keys()
                .map(String::as_str)
                .chain(RESERVED.iter().copied());
            match nearest(name, names) {
                Some(near) => diagnostic.label(format!("did you mean `{near}`?")),
                None => diagnostic.help("declare it under settings.keys"),
            }
        }
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
        Some(&("url" | "http" | "tcp" | "queue" | "endpoint" | "dead_letter")) => {
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
    if let Some(place_name) = seen(path)
        && cx.graph.is_tainted(name)
    {
        cx.diagnostics.push(
            Diagnostic::new(
                Code::SecretVisible,
                place,
                format!("the secret `{name}` would be seen {place_name}"),
            )
            .help("hand it over in `environment:`, in a header, or in a rendered file"),
        );
    }
}

fn constant(cx: &mut Cx<'_>, used: &Use) {
    if let Used::Condition(condition) = &used.text
        && condition.names().next().is_none()
        && let Ok(holds) = condition.holds(&|_| None)
    {
        let always = if holds { "always" } else { "never" };
        cx.diagnostics.push(
            Diagnostic::new(
                Code::ConstantCondition,
                used.place.clone(),
                format!("this condition {always} holds"),
            )
            .help("name a setting in it, or remove it"),
        );
    }
}

fn dollars(cx: &mut Cx<'_>, used: &Use) {
    if !matches!(used.text, Used::Template(_)) {
        return;
    }
    for range in crate::template::bare_dollars(&used.raw) {
        let name = &used.raw[range.clone()];
        if !cx.roles.file.settings.keys.contains_key(&name[1..]) {
            continue;
        }
        let message = format!("`{name}` without braces is text here");
        let cure = format!("write ${{{}}} for the setting", &name[1..]);
        cx.diagnostics.push(
            Diagnostic::new(
                Code::BareDollar,
                crate::roles::shape::inside(&used.place, &used.raw, range),
                message,
            )
            .help(cure),
        );
    }
}

/// A role that `select` names outright must be there.
fn select(cx: &mut Cx<'_>) {
    let Some(text) = &cx.roles.file.select else {
        return;
    };
    if let Some(name) = text.literal()
        && cx.roles.role(name).is_none()
    {
        let diagnostic = Diagnostic::new(
            Code::UnknownRole,
            text.place.clone(),
            format!("there is no role `{name}`"),
        );
        cx.diagnostics
            .push(match nearest(name, cx.roles.role_names()) {
                Some(near) => diagnostic.label(format!("did you mean `{near}`?")),
                None => diagnostic.help("write ${application_type}, or a role's name"),
            });
    }
}
