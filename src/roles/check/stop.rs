//! The stop: what members may take, one after the other, must fit the role's budget, and that the platform's.

use std::time::Duration;

use super::Cx;
use super::dependencies::members;
use crate::diag::{Code, Diagnostic};
use crate::order::Order;
use crate::roles::scalar::Period;
use crate::roles::spec::{Role, STOP_RESERVE, Service};

/// Fargate's largest `stopTimeout` (Amazon ECS API, `ContainerDefinition`).
const FARGATE_LIMIT: Period = Period(Duration::from_secs(120));

/// The longest that SQS waits for a message in one receive.
const SQS_WAIT: Period = Period(Duration::from_secs(20));

pub fn check(cx: &mut Cx<'_>) {
    let roles = cx.roles;
    let platform = roles.file.platform.stop_timeout;
    if platform > FARGATE_LIMIT {
        let place = roles.value_place(&["platform", "stop_timeout"]);
        let message = format!("Fargate grants at most {FARGATE_LIMIT} for a stop");
        cx.diagnostics
            .push(Diagnostic::new(Code::StopBudget, place, message));
    }
    for (role, spec) in &roles.file.roles {
        let budget = spec.stop_timeout.unwrap_or(platform);
        let place = || roles.value_place(&["roles", role, "stop_timeout"]);
        if budget > platform {
            let message = format!(
                "the role may take {budget} to stop, and the platform kills after {platform}"
            );
            cx.diagnostics.push(
                Diagnostic::new(Code::StopBudget, place(), message)
                    .related(
                        roles.value_place(&["platform", "stop_timeout"]),
                        "what the platform grants",
                    )
                    .help("raise platform.stop_timeout together with the platform's own setting"),
            );
            continue;
        }
        waits(cx, role, spec, budget);
        let times =
            |service: &Service| service.stop_timeout.0.saturating_add(service.drain_delay.0);
        let all = spec.services.values().map(times);
        if Period(all.fold(STOP_RESERVE, Duration::saturating_add)) <= budget {
            // No order of them takes longer.
            continue;
        }
        let members = members(spec);
        let names = members.iter().map(|(_, name, _)| *name);
        let edges = members
            .iter()
            .flat_map(|(_, name, needs)| needs.keys().map(move |needed| (*name, needed.as_str())));
        let Ok(order) = Order::new(names, edges) else {
            continue;
        };
        let (longest, chain) =
            order.longest_stop(|name| spec.services.get(name).map_or(Duration::ZERO, times));
        let needed = Period(longest + STOP_RESERVE);
        if !chain.is_empty() && needed > budget && longest > Duration::ZERO {
            let (message, label) = match chain.as_slice() {
                [alone] => (
                    format!(
                        "`{alone}` may take {} to stop, and the role has {budget}",
                        Period(longest)
                    ),
                    "what it may take",
                ),
                _ => (
                    format!(
                        "stopping {} one after the other may take {}, and the role has {budget}",
                        chain.join(", then "),
                        Period(longest),
                    ),
                    "the last of them",
                ),
            };
            let member = roles.value_place(&[
                "roles",
                role,
                "services",
                chain[chain.len() - 1],
                "stop_timeout",
            ]);
            cx.diagnostics.push(
                Diagnostic::new(Code::StopBudget, place(), message)
                    .related(member, label)
                    .help(format!(
                        "the budget must be at least {needed}: their times and 1s for runner itself; or give them a shorter stop_timeout"
                    )),
            );
        }
    }
}

/// A receive that has begun is not broken off, so a stop waits for it.
fn waits(cx: &mut Cx<'_>, role: &str, spec: &Role, budget: Period) {
    for (name, queue) in &spec.queues {
        let needed = Period(queue.wait_time.0 + STOP_RESERVE);
        // Longer than SQS allows is a mistake of its own.
        if needed < budget || queue.wait_time > SQS_WAIT {
            continue;
        }
        let path = ["roles", role, "queues", name, "wait_time"];
        let message = format!(
            "a stop waits for the receive under way, up to {}, and the role has {budget}",
            queue.wait_time
        );
        let help = "shorten wait_time: what a receive still gets when the budget ends is hidden until its visibility runs out";
        let place = cx.roles.place(&path);
        cx.diagnostics
            .push(Diagnostic::new(Code::QueueWait, place, message).help(help));
    }
}
