//! A plan as people read it: what will happen, in order, with every default said.

use std::fmt::Write;

use super::{Member, Plan};
use crate::roles::spec::{Loop, OnMaxFailures, Queue, Restart, Retry, Service};
use crate::settings::spec::SourceSpec;
use crate::steps::Step;

/// The plan as text.
pub fn text(plan: &Plan) -> String {
    let mut out = String::new();
    let title = match &plan.description {
        Some(description) => format!("role {}: {description}\n", plan.role),
        None => format!("role {}\n", plan.role),
    };
    out.push_str(&title);
    settings(&mut out, plan);
    steps(&mut out, plan);
    members(&mut out, plan);
    stop(&mut out, plan);
    out
}

fn settings(out: &mut String, plan: &Plan) {
    if plan.settings.is_empty() {
        return;
    }
    out.push_str("\nsettings, each from the last of these that gives it\n");
    for source in &plan.sources {
        let line = match source {
            SourceSpec::Environment => "the environment".to_owned(),
            SourceSpec::File(file) if file.optional => {
                format!("the file {}, if it is there", file.file.raw)
            }
            SourceSpec::File(file) => format!("the file {}", file.file.raw),
            SourceSpec::Secret(secret) => format!("the secret {}", secret.secret.raw),
            SourceSpec::Command(command) => {
                format!(
                    "{} from the output of `{}`",
                    command.key,
                    command.command.line()
                )
            }
        };
        let _ = writeln!(out, "  - {line}");
    }
    let width = plan.settings.keys().map(String::len).max().unwrap_or(0);
    for (name, setting) in &plan.settings {
        let what = match (setting.kind, &setting.text) {
            ("required", _) => "required".to_owned(),
            ("default", Some(text)) if setting.secret && !text.is_empty() => {
                "a default unless given".to_owned()
            }
            ("default", Some(text)) if text.is_empty() => "empty unless given".to_owned(),
            ("default", Some(text)) => format!("{text} unless given"),
            (_, Some(text)) => format!("= {text}"),
            (kind, None) => kind.to_owned(),
        };
        let secret = if setting.secret { " (secret)" } else { "" };
        let _ = writeln!(out, "    {name:width$}  {what}{secret}");
    }
}

fn steps(out: &mut String, plan: &Plan) {
    if plan.steps.is_empty() {
        return;
    }
    out.push_str("\nsteps, in order; the first failure ends the role\n");
    for (at, step) in plan.steps.iter().enumerate() {
        let _ = writeln!(out, "  {}. {}", at + 1, self::step(step));
    }
}

fn step(step: &Step) -> String {
    let mut line = match &step.common.name {
        Some(name) => format!("{}: {}", name.raw, step.kind.line()),
        None => step.kind.line(),
    };
    if let Some(condition) = &step.common.r#if {
        let _ = write!(line, ", if {}", condition.condition.source());
    }
    if let Some(timeout) = step.common.timeout {
        let _ = write!(line, ", within {timeout}");
    }
    if let Some(Retry { attempts, .. }) = &step.common.retry {
        let _ = write!(line, ", up to {} tries", attempts.0);
    }
    if step.common.continue_on_error {
        line.push_str(", and go on if it fails");
    }
    line
}

fn members(out: &mut String, plan: &Plan) {
    if plan.members.is_empty() {
        out.push_str("\nthe role ends with its last step\n");
        return;
    }
    out.push_str("\nthen, side by side until it is told to stop\n");
    for (name, member) in &plan.members {
        match member {
            Member::Service(spec) => service(out, name, spec),
            Member::Loop(spec) => repeat(out, name, spec),
            Member::Queue(spec) => queue(out, name, spec),
        }
        for (needed, dependency) in member.depends_on() {
            let _ = writeln!(
                out,
                "      after {needed} is {}",
                dependency.condition.word()
            );
        }
    }
}

fn service(out: &mut String, name: &str, spec: &Service) {
    let copies = match (spec.replicas.0, spec.port) {
        (1, None) => String::new(),
        (1, Some(port)) => format!(" on port {}", port.0),
        (n, None) => format!(" × {n}"),
        (n, Some(port)) => format!(
            " × {n} on ports {} to {}",
            port.0,
            u32::from(port.0) + n - 1
        ),
    };
    let _ = writeln!(out, "  service {name}{copies}: {}", spec.command.line());
    let restart = match spec.restart {
        Restart::Always => "restarted whenever it ends",
        Restart::OnFailure => "restarted when it fails",
        Restart::Never => "not restarted",
    };
    let essential = if spec.essential {
        "the role stops when it ends for good"
    } else {
        "the role goes on when it ends for good"
    };
    let _ = writeln!(out, "      {restart}; {essential}");
    for (what, probe) in [("ready", &spec.readiness), ("alive", &spec.liveness)] {
        let Some(probe) = probe else { continue };
        let target = match (&probe.http, &probe.tcp, &probe.exec) {
            (Some(url), _, _) => url.raw.clone(),
            (_, Some(address), _) => address.raw.clone(),
            (_, _, Some(command)) => command.line(),
            (None, None, None) => String::new(),
        };
        let _ = writeln!(
            out,
            "      {what} when {target} answers, asked every {}",
            probe.interval
        );
    }
}

fn repeat(out: &mut String, name: &str, spec: &Loop) {
    let beat = match (spec.interval, spec.every) {
        (Some(interval), _) => format!("again {interval} after each end"),
        (None, Some(every)) => format!("every {every}"),
        (None, None) => String::new(),
    };
    let _ = writeln!(out, "  loop {name}, {beat}");
    for step in &spec.steps {
        let _ = writeln!(out, "      {}", self::step(step));
    }
    let failures = match (spec.max_failures, spec.on_max_failures) {
        (0, _) => "a failed run is logged and the loop goes on".to_owned(),
        (n, OnMaxFailures::Exit) => format!("{n} failed runs in a row end the role"),
        (n, OnMaxFailures::Unhealthy) => format!("{n} failed runs in a row make it unhealthy"),
    };
    let _ = writeln!(out, "      {failures}");
}

fn queue(out: &mut String, name: &str, spec: &Queue) {
    let handler = &spec.handler;
    let how = match (&handler.command, &handler.worker, &handler.http) {
        (Some(command), _, _) => format!("{}, once a message", command.line()),
        (_, Some(worker), _) => format!("the warm worker {}", worker.line()),
        (_, _, Some(url)) => format!("POST {}", url.raw),
        (None, None, None) => String::new(),
    };
    let _ = writeln!(
        out,
        "  queue {name}: messages of {} to {how}",
        spec.queue.raw
    );
    let _ = writeln!(
        out,
        "      {} at a time, each hidden for {} and extended while it is handled",
        spec.concurrency.0, spec.visibility_timeout
    );
    if let Some(api) = &spec.api {
        let listen = &api.listen.raw;
        let _ = writeln!(
            out,
            "      tasks can be added on http://{listen}, with a token"
        );
    }
}

fn stop(out: &mut String, plan: &Plan) {
    let _ = writeln!(out, "\ntold to stop, it has {}", plan.stop_timeout);
    for (at, wave) in plan.stop_waves.iter().enumerate() {
        let names: Vec<String> = wave
            .iter()
            .map(|name| match plan.members.get(name) {
                Some(Member::Service(service)) => {
                    let signal = crate::signal::name(service.stop_signal.0);
                    format!("{name} ({signal}, killed after {})", service.stop_timeout)
                }
                _ => name.clone(),
            })
            .collect();
        let _ = writeln!(out, "  {}. {}", at + 1, names.join(", "));
    }
}
