//! Members by themselves: exactly one of what excludes another, addresses, ports, times.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Cx;
use crate::diag::{Code, Diagnostic};
use crate::roles::scalar::Text;
use crate::roles::spec::{Handler, Loop, Probe, Queue, Role};
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
                let place = roles.place(&[&path[..], &["backoff", "factor"]].concat());
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

/// Says what is wrong when not exactly one of some keys is given.
fn exactly_one(cx: &mut Cx<'_>, place: Place, what: &str, keys: &[(&str, bool)]) {
    let given: Vec<_> = keys
        .iter()
        .filter(|(_, given)| *given)
        .map(|(key, _)| *key)
        .collect();
    let all: Vec<_> = keys.iter().map(|(key, _)| format!("`{key}`")).collect();
    let message = match given.as_slice() {
        [_] => return,
        [] => format!("{what} has none of {}", all.join(", ")),
        _ => format!(
            "{what} has `{}`, which exclude each other",
            given.join("` and `")
        ),
    };
    let code = if given.is_empty() {
        Code::MissingKey
    } else {
        Code::BadValue
    };
    let help = format!("write exactly one of {}", all.join(", "));
    cx.diagnostics
        .push(Diagnostic::new(code, place, message).help(help));
}

/// A URL or address without expressions must be one.
fn check_target(
    cx: &mut Cx<'_>,
    text: &Text,
    parse: fn(&str) -> Result<Target, crate::target::TargetError>,
) {
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
        cx.diagnostics.push(
            Diagnostic::new(Code::BadTarget, text.place.clone(), error.message).help(error.help),
        );
    }
}

fn check_step(cx: &mut Cx<'_>, path: &[&str], step: &Step) {
    match &step.kind {
        Kind::Wait(step) => {
            let spec = &step.wait;
            let place = cx.roles.place(&[path, &["wait"]].concat());
            let keys = [
                ("tcp", spec.tcp.is_some()),
                ("http", spec.http.is_some()),
                ("file", spec.file.is_some()),
            ];
            exactly_one(cx, place, "a wait", &keys);
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
                let place = cx.roles.place(&[path, &["http"]].concat());
                let keys = [("body", true), ("json", true)];
                exactly_one(cx, place, "an http step", &keys);
            }
        }
        Kind::Command(_) | Kind::Shell(_) | Kind::Render(_) | Kind::Random(_) => {}
    }
}

fn check_probe(cx: &mut Cx<'_>, path: &[&str], probe: &Probe) {
    let keys = [
        ("http", probe.http.is_some()),
        ("tcp", probe.tcp.is_some()),
        ("exec", probe.exec.is_some()),
    ];
    exactly_one(cx, cx.roles.place(path), "a probe", &keys);
    if let Some(text) = &probe.http {
        check_target(cx, text, Target::parse_http);
    }
    if let Some(text) = &probe.tcp {
        check_target(cx, text, Target::parse_tcp);
    }
}

fn check_loop(cx: &mut Cx<'_>, path: &[&str], spec: &Loop) {
    let keys = [
        ("interval", spec.interval.is_some()),
        ("every", spec.every.is_some()),
    ];
    exactly_one(cx, cx.roles.place(path), "a loop", &keys);
    if spec.steps.is_empty()
        && cx.roles.tree.at(path).is_some_and(|node| {
            node.get("steps").is_some_and(
            |steps| !matches!(&steps.value, crate::roles::tree::Value::List(l) if !l.is_empty()),
        )
        })
    {
        let place = cx.roles.place(&[path, &["steps"]].concat());
        cx.diagnostics.push(Diagnostic::new(
            Code::BadValue,
            place,
            "a loop without steps does nothing",
        ));
    }
    if let Some(every) = spec.every {
        if every.0.is_zero() {
            let place = cx.roles.place(&[path, &["every"]].concat());
            cx.diagnostics.push(Diagnostic::new(
                Code::BadValue,
                place,
                "a beat of 0 would never pause",
            ));
        } else if let Some(timeout) = spec.timeout.filter(|timeout| *timeout > every) {
            let place = cx.roles.place(&[path, &["timeout"]].concat());
            let message = format!(
                "a run may take {timeout}, longer than the beat of {every}: ticks would be skipped"
            );
            cx.diagnostics.push(
                Diagnostic::new(Code::LoopTimeout, place, message)
                    .related(cx.roles.place(&[path, &["every"]].concat()), "the beat"),
            );
        }
    }
}

fn check_queue(cx: &mut Cx<'_>, path: &[&str], spec: &Queue) {
    let handler: &Handler = &spec.handler;
    let keys = [
        ("command", handler.command.is_some()),
        ("worker", handler.worker.is_some()),
        ("http", handler.http.is_some()),
    ];
    exactly_one(
        cx,
        cx.roles.place(&[path, &["handler"]].concat()),
        "a handler",
        &keys,
    );
    if let Some(text) = &handler.http {
        check_target(cx, text, Target::parse_http);
    }
    if let Some(text) = &spec.endpoint {
        check_target(cx, text, Target::parse_http);
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
                cx.roles.place(&path),
                message,
            ));
        }
    }
    if spec.visibility_timeout.0 < Duration::from_secs(2) {
        let place = cx.roles.place(&[path, &["visibility_timeout"]].concat());
        let message = "a heartbeat cannot keep a visibility of less than 2s";
        cx.diagnostics
            .push(Diagnostic::new(Code::BadValue, place, message));
    }
    if spec.dead_letter.is_none() {
        let place = cx.roles.place(path);
        let message =
            "this queue's handler can reject a message, and there is no `dead_letter` to put it in";
        cx.diagnostics.push(
            Diagnostic::new(Code::NoDeadLetter, place, message).help(
                "without one a rejected message is retried until the queue's own policy acts",
            ),
        );
    }
    if let Some(schema) = &spec.message_schema
        && let Err(message) = crate::roles::schema::is_schema(&schema.0)
    {
        let place = cx.roles.place(&[path, &["message_schema"]].concat());
        cx.diagnostics
            .push(Diagnostic::new(Code::MessageSchema, place, message));
    }
}

/// Every replica's port must exist and be its own.
fn ports(cx: &mut Cx<'_>, role: &str, spec: &Role) {
    let mut taken: BTreeMap<u32, (String, &str)> = BTreeMap::new();
    for (name, service) in &spec.services {
        let Some(port) = service.port else { continue };
        let place = cx.roles.place(&["roles", role, "services", name, "port"]);
        let last = u32::from(port.0) + service.replicas.0 - 1;
        if last > 65535 {
            let message = format!(
                "the last of {} replicas would have port {last}",
                service.replicas.0
            );
            cx.diagnostics
                .push(Diagnostic::new(Code::PortClash, place, message).help("ports end at 65535"));
            continue;
        }
        for number in u32::from(port.0)..=last {
            let replica = number - u32::from(port.0);
            let owner = if service.replicas.0 > 1 {
                format!("{name}/{replica}")
            } else {
                name.clone()
            };
            match taken.get(&number) {
                Some((first, first_name)) => {
                    let message = format!("port {number} belongs to both `{first}` and `{owner}`");
                    let first_place = cx
                        .roles
                        .place(&["roles", role, "services", first_name, "port"]);
                    cx.diagnostics.push(
                        Diagnostic::new(Code::PortClash, place.clone(), message)
                            .related(first_place, "the other port"),
                    );
                }
                None => {
                    taken.insert(number, (owner, name));
                }
            }
        }
    }
}
