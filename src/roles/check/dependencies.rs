//! Who waits for whom: the other must be there, must be able to be ready, and must not wait back.

use std::collections::HashMap;

use indexmap::IndexMap;

use super::Cx;
use crate::diag::{Code, Diagnostic, nearest};
use crate::order::Order;
use crate::roles::spec::{Dependency, DependencyCondition, Restart, Role};

/// A member's kind, its name and what it depends on.
type Member<'a> = (&'static str, &'a str, &'a IndexMap<String, Dependency>);

pub fn check(cx: &mut Cx<'_>) {
    let roles = cx.roles;
    for (role, spec) in &roles.file.roles {
        let members = members(spec);
        names(cx, role, &members);
        for (kind, name, needs) in &members {
            for (needed, dependency) in *needs {
                let path = ["roles", role, kind, name, "depends_on", needed];
                dependency_fits(cx, spec, &path, dependency.condition);
            }
        }
        rings(cx, role, &members);
    }
}

/// Every member of a role.
pub fn members(role: &Role) -> Vec<Member<'_>> {
    let services = role
        .services
        .iter()
        .map(|(n, s)| ("services", n.as_str(), &s.depends_on));
    let loops = role
        .loops
        .iter()
        .map(|(n, s)| ("loops", n.as_str(), &s.depends_on));
    let queues = role
        .queues
        .iter()
        .map(|(n, s)| ("queues", n.as_str(), &s.depends_on));
    services.chain(loops).chain(queues).collect()
}

/// A role's members share one space of names: status, logs and `depends_on` know them by name alone.
fn names(cx: &mut Cx<'_>, role: &str, members: &[Member<'_>]) {
    if members.len() < 2 {
        return;
    }
    let mut seen: HashMap<&str, &str> = HashMap::new();
    for (kind, name, _) in members {
        if let Some(first) = seen.get(name) {
            cx.diagnostics.push(
                Diagnostic::new(
                    Code::DuplicateKey,
                    cx.roles.place(&["roles", role, kind, name]),
                    format!("the role `{role}` has two members `{name}`"),
                )
                .related(
                    cx.roles.place(&["roles", role, first, name]),
                    "first defined here",
                ),
            );
        } else {
            seen.insert(*name, *kind);
        }
    }
}

fn dependency_fits(cx: &mut Cx<'_>, role: &Role, path: &[&str; 6], condition: DependencyCondition) {
    let [_, role_name, _, _, _, needed] = *path;
    let place = cx.roles.place(path);
    // The tree, not the specs: a member that could not be read is still there.
    let at = |kind: &str| {
        cx.roles
            .tree
            .at(&["roles", role_name, kind, needed])
            .is_some()
    };
    if !["services", "loops", "queues"].into_iter().any(at) {
        let diagnostic = Diagnostic::new(
            Code::UnknownMember,
            place,
            format!("the role `{role_name}` has no member `{needed}`"),
        );
        let known = members(role).into_iter().map(|(_, name, _)| name);
        let near = cx.may_search().then(|| nearest(needed, known)).flatten();
        cx.diagnostics.push(match near {
            Some(near) => diagnostic.label(format!("did you mean `{near}`?")),
            None => diagnostic,
        });
        return;
    }
    let service = role.services.get(needed);
    let condition_place = cx.roles.value_place(&[&path[..], &["condition"]].concat());
    match condition {
        DependencyCondition::Started => {}
        DependencyCondition::Ready => {
            let readiness = ["roles", role_name, "services", needed, "readiness"];
            if service.is_some() && cx.roles.tree.at(&readiness).is_none() {
                cx.diagnostics.push(
                    Diagnostic::new(
                        Code::ReadinessMissing,
                        condition_place,
                        format!("`{needed}` has no readiness, so it is never ready"),
                    )
                    .related(
                        cx.roles.place(&["roles", role_name, "services", needed]),
                        "give this service a `readiness:`",
                    ),
                );
            } else if service.is_none() && !at("services") {
                never(
                    cx,
                    condition_place,
                    needed,
                    "a loop or a queue is never ready",
                );
            }
        }
        DependencyCondition::Succeeded => match service {
            Some(service) if service.restart == Restart::Always => never(
                cx,
                condition_place,
                needed,
                "with `restart: always` it never ends for good",
            ),
            Some(service) if service.essential => never(
                cx,
                condition_place,
                needed,
                "it is essential, so the role stops when it ends; write `essential: false`",
            ),
            None if !at("services") => {
                never(
                    cx,
                    condition_place,
                    needed,
                    "a loop or a queue never ends by itself",
                );
            }
            _ => {}
        },
    }
}

fn never(cx: &mut Cx<'_>, place: crate::source::Place, needed: &str, why: &str) {
    cx.diagnostics.push(Diagnostic::new(
        Code::DependencyNeverMet,
        place,
        format!("this is never met by `{needed}`: {why}"),
    ));
}

fn rings(cx: &mut Cx<'_>, role: &str, members: &[Member<'_>]) {
    if members.iter().all(|(_, _, needs)| needs.is_empty()) {
        return;
    }
    let names = members.iter().map(|(_, name, _)| *name);
    let edges = members
        .iter()
        .flat_map(|(_, name, needs)| needs.keys().map(move |needed| (*name, needed.as_str())));
    let Err(rings) = Order::new(names, edges) else {
        return;
    };
    for ring in rings {
        let kind = |name: &str| {
            members
                .iter()
                .find(|(_, n, _)| *n == name)
                .map_or("services", |m| m.0)
        };
        let edge = |at: usize| {
            let (from, to) = (ring.0[at], ring.0[(at + 1) % ring.0.len()]);
            cx.roles
                .place(&["roles", role, kind(from), from, "depends_on", to])
        };
        let mut diagnostic = Diagnostic::new(
            Code::DependencyCycle,
            edge(0),
            match ring.0.as_slice() {
                [alone] => format!("`{alone}` waits for itself"),
                _ => format!("members wait for one another in a ring: {ring}"),
            },
        );
        for at in 1..ring.0.len() {
            diagnostic = diagnostic.related(edge(at), "in the ring");
        }
        cx.diagnostics.push(diagnostic);
    }
}
