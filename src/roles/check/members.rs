//! Members by themselves: exactly one of what excludes another, addresses, ports, times.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Cx;
use crate::diag::{Code, Diagnostic};
use crate::roles::scalar::Text;
use crate::roles::shape::meant;
use crate::roles::spec::{Api, Handler, Loop, Probe, Queue, Role};
use crate::roles::tree::{Key, Node, Value};
use crate::source::Place;
use crate::steps::{Kind, Step};
use crate::target::Target;

/// The longest that SQS hides a message, counted from its receive.
const SQS_LIMIT: Duration = Duration::from_secs(12 * 3600);

/// The longest that SQS waits for a message in one receive.
const SQS_WAIT: Duration = Duration::from_secs(20);

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
                    check_probe(cx, &[&path[..], &[key]].concat(), probe);
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
        for (member, spec) in &role.queues {
            check_queue(cx, &["roles", name, "queues", member], spec);
        }
    }
}

/// Says what is wrong when the mapping at a path has not exactly one of some keys.
fn exactly_one(cx: &mut Cx<'_>, path: &[&str], what: &str, keys: &[&str]) {
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
            // A key that was meant for one of them is an unknown key, and that mistake is told already.
            let meant = |key: &Key| meant(&key.name, keys).is_some();
            if readable && !node.entries().iter().any(|(key, _)| meant(key)) {
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
fn check_target(
    cx: &mut Cx<'_>,
    text: &Text,
    parse: fn(&str) -> Result<Target, crate::target::TargetError>,
) {
    if text.is_stand_in() {
        return;
    }
    // The host and the scheme can be judged where only later parts have expressions: a number stands for them.
    let standing = match text.literal() {
        Some(literal) => literal.to_owned(),
        None if text.template.literal_start().is_empty() => return,
        None => match text
            .template
            .render(&|_| Some(crate::template::Item::Number(1)))
        {
            Ok(text) => text.expose().to_owned(),
            Err(_) => return,
        },
    };
    if let Err(error) = parse(&standing) {
        let message = match text.literal() {
            Some(_) => error.message,
            None => error.message.replace(
                &crate::target::redact(&standing),
                &crate::target::redact(&text.raw),
            ),
        };
        cx.diagnostics
            .push(Diagnostic::new(Code::BadTarget, text.place.clone(), message).help(error.help));
    }
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

fn check_probe(cx: &mut Cx<'_>, path: &[&str], probe: &Probe) {
    exactly_one(cx, path, "a probe", &["http", "tcp", "exec"]);
    if let Some(text) = &probe.http {
        check_target(cx, text, Target::parse_http);
    }
    if let Some(text) = &probe.tcp {
        check_target(cx, text, Target::parse_tcp);
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

fn check_queue(cx: &mut Cx<'_>, path: &[&str], spec: &Queue) {
    let handler: &Handler = &spec.handler;
    let handler_path = [path, &["handler"]].concat();
    exactly_one(
        cx,
        &handler_path,
        "a handler",
        &["command", "worker", "http"],
    );
    if let Some(text) = &handler.http {
        check_target(cx, text, Target::parse_http);
    }
    if let Some(text) = &spec.endpoint {
        check_target(cx, text, Target::parse_http);
    }
    if let Some(api) = &spec.api {
        check_api(cx, api);
    }
    let limits = [
        (
            spec.visibility_timeout.0,
            SQS_LIMIT,
            "visibility_timeout",
            "12h",
        ),
        (
            handler.timeout.map_or(Duration::ZERO, |t| t.0),
            SQS_LIMIT,
            "timeout",
            "12h",
        ),
        (spec.wait_time.0, SQS_WAIT, "wait_time", "20s"),
    ];
    for (value, limit, key, shown) in limits {
        if value > limit {
            let mut path = path.to_vec();
            if key == "timeout" {
                path.push("handler");
            }
            path.push(key);
            let message = format!("SQS allows at most {shown} here");
            cx.diagnostics.push(Diagnostic::new(
                Code::BadValue,
                cx.roles.value_place(&path),
                message,
            ));
        }
    }
    if spec.visibility_timeout.0 < Duration::from_secs(2) {
        let place = cx
            .roles
            .value_place(&[path, &["visibility_timeout"]].concat());
        let message = "a heartbeat cannot keep a visibility of less than 2s";
        cx.diagnostics
            .push(Diagnostic::new(Code::BadValue, place, message));
    }
    let dead_letter = [path, &["dead_letter"]].concat();
    if let Some(text) = &spec.dead_letter
        && text.raw == spec.queue.raw
        && !text.raw.is_empty()
    {
        let message = "a queue cannot be its own dead-letter queue";
        let queue = cx.roles.value_place(&[path, &["queue"]].concat());
        cx.diagnostics.push(
            Diagnostic::new(Code::BadValue, text.place.clone(), message)
                .related(queue, "the queue"),
        );
    }
    if cx.roles.tree.at(&dead_letter).is_none() {
        let place = cx.roles.place(path);
        let message =
            "a handler can reject a message, and this queue has no `dead_letter` to put it in";
        cx.diagnostics.push(
            Diagnostic::new(Code::NoDeadLetter, place, message).help(
                "without one a rejected message is retried until the queue's own policy acts",
            ),
        );
    }
}

fn check_api(cx: &mut Cx<'_>, api: &Api) {
    check_target(cx, &api.listen, Target::parse_tcp);
    if api.token.literal().is_some() && !api.token.is_stand_in() {
        let message = "a token that stands here is known to everybody who reads this file";
        let place = api.token.place.clone();
        cx.diagnostics.push(
            Diagnostic::new(Code::SecretWritten, place, message)
                .help("name a setting that is `secret: true`, such as ${QUEUE_TOKEN}"),
        );
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

/// The schemas of messages. They cost more than all other checks together, so `run` leaves them to the queue that
/// compiles its own.
pub fn schemas(cx: &mut Cx<'_>) {
    let roles = cx.roles;
    for (role, spec) in &roles.file.roles {
        for (member, spec) in &spec.queues {
            message_schema(cx, &["roles", role, "queues", member], spec);
        }
    }
}

fn message_schema(cx: &mut Cx<'_>, path: &[&str], spec: &Queue) {
    if let Some(schema) = &spec.message_schema
        && let Err((at, message)) = crate::roles::schema::is_schema(&schema.0)
    {
        let mut schema = [path, &["message_schema"]].concat();
        schema.extend(at.iter().map(String::as_str));
        let place = cx.roles.value_place(&schema);
        cx.diagnostics
            .push(Diagnostic::new(Code::MessageSchema, place, message));
    }
}
