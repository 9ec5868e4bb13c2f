//! Queues: their handler, their times, their dead letters, their endpoint, the schema of their messages.

use std::time::Duration;

use super::Cx;
use super::members::{check_target, exactly_one};
use crate::diag::{Code, Diagnostic};
use crate::roles::scalar::Text;
use crate::roles::spec::{Api, Queue};
use crate::target::Target;

/// The longest that SQS hides a message, counted from its receive.
const SQS_LIMIT: Duration = Duration::from_secs(12 * 3600);

/// The longest that SQS waits for a message in one receive.
const SQS_WAIT: Duration = Duration::from_secs(20);

/// The shortest visibility that a heartbeat can keep.
const SHORTEST: Duration = Duration::from_secs(2);

pub fn check(cx: &mut Cx<'_>) {
    let roles = cx.roles;
    for (name, role) in &roles.file.roles {
        for (member, spec) in &role.queues {
            check_queue(cx, &["roles", name, "queues", member], spec);
        }
    }
}

fn check_queue(cx: &mut Cx<'_>, path: &[&str], spec: &Queue) {
    let kinds = ["command", "worker", "http"];
    exactly_one(cx, &[path, &["handler"]].concat(), "a handler", &kinds);
    for text in [&spec.handler.http, &spec.endpoint].into_iter().flatten() {
        check_target(cx, text, Target::parse_http);
    }
    if let Some(api) = &spec.api {
        check_api(cx, api);
    }
    times(cx, path, spec);
    dead_letters(cx, path, spec);
}

fn times(cx: &mut Cx<'_>, path: &[&str], spec: &Queue) {
    let handler = spec.handler.timeout.map_or(Duration::ZERO, |time| time.0);
    let visibility = spec.visibility_timeout.0;
    let limits: [(Duration, Duration, &[&str], &str); 3] = [
        (visibility, SQS_LIMIT, &["visibility_timeout"], "12h"),
        (handler, SQS_LIMIT, &["handler", "timeout"], "12h"),
        (spec.wait_time.0, SQS_WAIT, &["wait_time"], "20s"),
    ];
    let mut wrong = |key: &[&str], message: String| {
        let place = cx.roles.value_place(&[path, key].concat());
        cx.diagnostics
            .push(Diagnostic::new(Code::BadValue, place, message));
    };
    for (value, limit, key, shown) in limits {
        if value > limit {
            wrong(key, format!("SQS allows at most {shown} here"));
        }
    }
    if visibility < SHORTEST {
        let message = "a heartbeat cannot keep a visibility of less than 2s";
        wrong(&["visibility_timeout"], message.to_owned());
    }
}

fn dead_letters(cx: &mut Cx<'_>, path: &[&str], spec: &Queue) {
    if let Some(dead) = &spec.dead_letter {
        if dead.raw == spec.queue.raw && !dead.raw.is_empty() {
            let message = "a queue cannot be its own dead-letter queue";
            let queue = cx.roles.value_place(&[path, &["queue"]].concat());
            cx.diagnostics.push(
                Diagnostic::new(Code::BadValue, dead.place.clone(), message)
                    .related(queue, "the queue"),
            );
        }
        kinds_agree(cx, &spec.queue, dead);
    }
    if cx
        .roles
        .tree
        .at(&[path, &["dead_letter"]].concat())
        .is_none()
    {
        let message =
            "a handler can reject a message, and this queue has no `dead_letter` to put it in";
        cx.diagnostics.push(
            Diagnostic::new(Code::NoDeadLetter, cx.roles.place(path), message).help(
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

/// SQS demands that the dead-letter queue of a FIFO queue is FIFO, and that of a standard queue standard.
fn kinds_agree(cx: &mut Cx<'_>, queue: &Text, dead: &Text) {
    let (message, help) = match (is_fifo(queue), is_fifo(dead)) {
        (Some(true), Some(false)) => (
            "the queue is FIFO and its dead-letter queue is not",
            "SQS demands one of its own kind: a name that ends in `.fifo`",
        ),
        (Some(false), Some(true)) => (
            "the dead-letter queue is FIFO and the queue is not",
            "SQS demands one of its own kind: a name that does not end in `.fifo`",
        ),
        _ => return,
    };
    cx.diagnostics.push(
        Diagnostic::new(Code::FifoMismatch, dead.place.clone(), message)
            .related(queue.place.clone(), "the queue")
            .help(help),
    );
}

/// Whether a queue's name or URL ends in `.fifo`; none where an expression decides that.
fn is_fifo(text: &Text) -> Option<bool> {
    const ENDING: &str = ".fifo";
    let end = text.template.literal_end();
    match text.literal() {
        _ if text.is_stand_in() => None,
        None if !end.ends_with(ENDING) && ENDING.ends_with(end) => None,
        _ => Some(end.ends_with(ENDING)),
    }
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
