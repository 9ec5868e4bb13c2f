//! Members by themselves: exactly one of what excludes another, addresses, ports, times.

use std::collections::BTreeMap;

use super::Cx;
use crate::diag::{Code, Diagnostic};
use crate::roles::scalar::Text;
use crate::roles::spec::{Loop, Probe, Role};
use crate::roles::tree::{Node, Value};
use crate::source::Place;
use crate::steps::{Kind, Step};
use crate::target::{Target, TargetError, redact};

pub fn check(cx: &mut Cx<'_>) {
    let roles = cx.roles;
    for (path, step) in roles.steps() {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        check_step(cx, &path, step);
    }
    for (name, role) in &roles.file.roles {
        ports(cx, name, role);
        for (member, spec) in &role.services {
            let path = ["roles", name, "services", member];
            for (key, probe) in [("readiness", &spec.readiness), ("liveness", &spec.liveness)] {
                if let Some(probe) = probe {
                    let port = spec.port.is_some();
                    check_probe(cx, &[&path[..], &[key]].concat(), probe, port);
                }
            }
            if spec.backoff.factor.0 < 1.0 {
                let place = roles.value_place(&[&path[..], &["backoff", "factor"]].concat());
                let message = "a factor below 1 would make the pauses shrink";
                cx.diagnostics
                    .push(Diagnostic::new(Code::BadValue, place, message));
            }
        }
        for (member, spec) in &role.loops {
            check_loop(cx, &["roles", name, "loops", member], spec);
        }
    }
}

/// Says what is wrong when the mapping at a path has not exactly one of some keys.
pub(super) fn exactly_one(cx: &mut Cx<'_>, path: &[&str], what: &str, keys: &[&str]) {
    let Some(node) = cx.roles.tree.at(path) else {
        return;
    };
    let given: Vec<&str> = keys
        .iter()
        .copied()
        .filter(|key| node.get(key).is_some())
        .collect();
    let all: Vec<_> = keys.iter().map(|key| format!("`{key}`")).collect();
    let help = format!("write exactly one of {}", all.join(", "));
    match given.as_slice() {
        [_] => {}
        [] => {
            let readable = matches!(node.value, Value::Map(_) | Value::Null);
            // An unknown key was meant for one of them, and that mistake is told already.
            let mut keys = node.entries().iter().map(|(key, _)| &key.place);
            let told = keys.any(|key| cx.diagnostics.has(Code::UnknownKey, key));
            if readable && !told {
                let message = format!("{what} has none of {}", all.join(", "));
                let place = cx.roles.place(path);
                cx.diagnostics
                    .push(Diagnostic::new(Code::MissingKey, place, message).help(help));
            }
        }
        [first, second, ..] => excluded(cx, path, what, [first, second], help),
    }
}

fn excluded(cx: &mut Cx<'_>, path: &[&str], what: &str, keys: [&str; 2], help: String) {
    let [first, second] = keys.map(|key| cx.roles.place(&[path, &[key]].concat()));
    let message = format!(
        "{what} has `{}` and `{}`, which exclude each other",
        keys[0], keys[1]
    );
    cx.diagnostics.push(
        Diagnostic::new(Code::BadValue, second, message)
            .related(first, "the other one")
            .help(help),
    );
}

/// A URL or address without expressions must be one.
pub(super) fn check_target(cx: &mut Cx<'_>, text: &Text, parse: ParseTarget) {
    if let Some(diagnostic) = wrong_target(text, parse) {
        cx.diagnostics.push(diagnostic);
    }
}

type ParseTarget = fn(&str) -> Result<Target, TargetError>;

fn wrong_target(text: &Text, parse: ParseTarget) -> Option<Diagnostic> {
    if text.is_stand_in() {
        return None;
    }
    // The host and the scheme can be judged where only later parts have expressions: a number stands for them.
    let numbers = || {
        let mut names = text.template.names();
        names.all(|(name, _)| matches!(name, "port" | "replica"))
    };
    let standing = match text.literal() {
        Some(literal) => literal.to_owned(),
        None if text.template.literal_start().is_empty() && !numbers() => return None,
        None => {
            let number = |_: &str| Some(crate::template::Item::Number(1));
            text.template.render(&number).ok()?.expose().to_owned()
        }
    };
    let error = parse(&standing).err()?;
    let message = match text.literal() {
        Some(_) => error.message,
        None => error.message.replacen(
            &format!("`{}`", redact(&standing)),
            &format!("`{}`", redact(&text.raw)),
            1,
        ),
    };
    Some(Diagnostic::new(Code::BadTarget, text.place.clone(), message).help(error.help))
}

fn check_step(cx: &mut Cx<'_>, path: &[&str], step: &Step) {
    match &step.kind {
        Kind::Wait(step) => {
            let spec = &step.wait;
            exactly_one(
                cx,
                &[path, &["wait"]].concat(),
                "a wait",
                &["tcp", "http", "file"],
            );
            if let Some(text) = &spec.tcp {
                check_target(cx, text, Target::parse_tcp);
            }
            if let Some(text) = &spec.http {
                check_target(cx, text, Target::parse_http);
            }
        }
        Kind::Http(step) => {
            check_target(cx, &step.http.url, Target::parse_http);
            if step.http.body.is_some() && step.http.json.is_some() {
                let path = [path, &["http"]].concat();
                exactly_one(cx, &path, "an http step", &["body", "json"]);
            }
        }
        Kind::Command(_) | Kind::Shell(_) | Kind::Render(_) | Kind::Random(_) => {}
    }
}

/// `port`: whether the service has one, which its probes most often mean.
fn check_probe(cx: &mut Cx<'_>, path: &[&str], probe: &Probe, port: bool) {
    const OWN: &str = "127.0.0.1:${port}";
    exactly_one(cx, path, "a probe", &["http", "tcp", "exec"]);
    if let Some(text) = &probe.http
        && let Some(mut diagnostic) = wrong_target(text, Target::parse_http)
    {
        let shown = redact(&text.raw);
        if port && shown.starts_with('/') && !shown.starts_with("//") {
            diagnostic.help = Some(format!("write http://{OWN}{shown}"));
        }
        cx.diagnostics.push(diagnostic);
    }
    if let Some(text) = &probe.tcp
        && let Some(mut diagnostic) = wrong_target(text, Target::parse_tcp)
    {
        if port {
            diagnostic.help = Some(format!("write {OWN}"));
        }
        cx.diagnostics.push(diagnostic);
    }
}

fn check_loop(cx: &mut Cx<'_>, path: &[&str], spec: &Loop) {
    exactly_one(cx, path, "a loop", &["interval", "every"]);
    let steps = [path, &["steps"]].concat();
    let none = |node: &Node| match &node.value {
        Value::List(steps) => steps.is_empty(),
        Value::Null => true,
        _ => false,
    };
    if cx.roles.tree.at(&steps).is_some_and(none) {
        let place = cx.roles.place(&steps);
        let message = "a loop without steps does nothing";
        cx.diagnostics
            .push(Diagnostic::new(Code::BadValue, place, message));
    }
    if let Some(every) = spec.every {
        if every.0.is_zero() {
            let place = cx.roles.value_place(&[path, &["every"]].concat());
            cx.diagnostics.push(Diagnostic::new(
                Code::BadValue,
                place,
                "a beat of 0 would never pause",
            ));
        } else if let Some(timeout) = spec.timeout.filter(|timeout| *timeout > every) {
            let place = cx.roles.value_place(&[path, &["timeout"]].concat());
            let message = format!(
                "a run may take {timeout}, longer than the beat of {every}: ticks would be skipped"
            );
            cx.diagnostics
                .push(Diagnostic::new(Code::LoopTimeout, place, message).related(
                    cx.roles.value_place(&[path, &["every"]].concat()),
                    "the beat",
                ));
        }
    }
}

/// Every port must exist and belong to one replica or endpoint alone.
fn ports(cx: &mut Cx<'_>, role: &str, spec: &Role) {
    let mut taken: BTreeMap<u32, (String, Place)> = BTreeMap::new();
    for (name, service) in &spec.services {
        let Some(port) = service.port else { continue };
        let path = ["roles", role, "services", name, "port"];
        let place = cx.roles.value_place(&path);
        let last = u32::from(port.0).saturating_add(service.replicas.0 - 1);
        if last > 65535 {
            let replicas = service.replicas.0;
            let message = format!("the last of {replicas} replicas would have port {last}");
            cx.diagnostics
                .push(Diagnostic::new(Code::PortClash, place, message).help("ports end at 65535"));
            continue;
        }
        for number in u32::from(port.0)..=last {
            let owner = match service.replicas.0 {
                1 => name.clone(),
                _ => format!("{name}/{}", number - u32::from(port.0)),
            };
            if !claim(cx, &mut taken, number, owner, &place) {
                break;
            }
        }
    }
    for (name, queue) in &spec.queues {
        let Some(api) = &queue.api else { continue };
        let target = api.listen.literal().map(Target::parse_tcp);
        if let Some(Ok(target)) = target {
            let owner = format!("the api of {name}");
            let place = cx
                .roles
                .value_place(&["roles", role, "queues", name, "api", "listen"]);
            claim(cx, &mut taken, target.port.into(), owner, &place);
        }
    }
}

/// Notes who has a port; false, and a diagnostic, where somebody has it already.
fn claim(
    cx: &mut Cx<'_>,
    taken: &mut BTreeMap<u32, (String, Place)>,
    number: u32,
    owner: String,
    place: &Place,
) -> bool {
    let Some((first, first_place)) = taken.get(&number) else {
        taken.insert(number, (owner, place.clone()));
        return true;
    };
    let message = format!("port {number} belongs to both `{first}` and `{owner}`");
    cx.diagnostics.push(
        Diagnostic::new(Code::PortClash, place.clone(), message)
            .related(first_place.clone(), "the other port"),
    );
    false
}
