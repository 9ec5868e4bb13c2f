//! Stage 3: what a role will do, as a value.
//!
//! A [`Plan`] is made of texts alone, so `validate` and `plan` need neither the image nor AWS; the engine carries out
//! the same value, so that a dry run and a real one cannot differ. It is immutable, equal to another that does the
//! same, and printable as text and JSON.

pub mod diff;
pub mod graph;
pub mod show;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use indexmap::IndexMap;
use serde::Serialize;

use crate::order::Order;

use crate::roles::scalar::{Period, Text};
use crate::roles::shape::Use;
use crate::roles::spec::{Dependency, Loop, Queue, Role, STOP_RESERVE, Service};
use crate::roles::{Roles, Templates};
use crate::settings::graph::Graph;
use crate::settings::spec::{Kind, Settings, SourceSpec};
use crate::steps::Step;
use crate::template::file::File;

/// What one role will do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The role's name.
    pub role: String,
    /// What it is for.
    pub description: Option<String>,
    /// The whole budget of a stop.
    pub stop_timeout: Period,
    /// Where values come from, lowest precedence first.
    pub sources: Vec<SourceSpec>,
    /// The settings that the role needs, by name.
    pub settings: BTreeMap<String, PlannedSetting>,
    /// Steps in their order: the file's, then the role's.
    pub steps: Vec<Step>,
    /// Members by name, each after what it depends on.
    pub members: IndexMap<String, Member>,
    /// Which members stop at once, wave after wave.
    pub stop_waves: Vec<Vec<String>>,
    /// Parsed templates by path.
    #[serde(skip)]
    pub templates: BTreeMap<String, File>,
    /// The declaration of all settings, for resolving them.
    #[serde(skip)]
    pub declared: Settings,
    /// Which setting needs which.
    #[serde(skip)]
    pub graph: Graph,
}

/// A setting that the role needs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedSetting {
    /// `required`, `default` or `value`.
    pub kind: &'static str,
    /// The text of `default` or `value`.
    pub text: Option<String>,
    /// Whether it is secret, or derived from one that is.
    pub secret: bool,
    /// What it is for.
    pub description: Option<String>,
    /// The settings that it is made of.
    pub made_of: Vec<String>,
}

/// A member of a role.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Member {
    /// A program that is kept running.
    Service(Box<Service>),
    /// Steps that are run again and again.
    Loop(Box<Loop>),
    /// A queue whose messages are handled.
    Queue(Box<Queue>),
}

impl Member {
    /// What must have come far enough before it starts.
    pub fn depends_on(&self) -> &IndexMap<String, Dependency> {
        match self {
            Member::Service(service) => &service.depends_on,
            Member::Loop(spec) => &spec.depends_on,
            Member::Queue(queue) => &queue.depends_on,
        }
    }

    /// How long its stop may take.
    pub fn stops_within(&self) -> Duration {
        match self {
            Member::Service(service) => service.stop_timeout.0 + service.drain_delay.0,
            Member::Loop(_) | Member::Queue(_) => Duration::ZERO,
        }
    }
}

impl Plan {
    /// The plan of one role; none when there is no such role, or its members wait in a ring.
    pub fn of(roles: &Roles, role: &str, templates: &Templates) -> Option<Plan> {
        let spec = roles.role(role)?;
        let settings = &roles.file.settings;
        let graph = Graph::of(settings);
        let steps: Vec<Step> = roles
            .file
            .startup
            .iter()
            .chain(&spec.startup)
            .cloned()
            .collect();
        let templates = parsed(&steps, spec, templates);
        let names = names(roles, role, &templates);
        let members = members(spec);
        let edges: Vec<(&str, &str)> = edges(&members);
        let order = Order::new(members.keys().map(String::as_str), edges.iter().copied()).ok()?;
        let stop_waves = order.stop_waves();
        let stop_waves = stop_waves
            .into_iter()
            .map(|wave| wave.into_iter().map(str::to_owned).collect())
            .collect();
        let ordered = order
            .start_order()
            .map(|name| (name.to_owned(), members[name].clone()))
            .collect();
        let reached = graph.reach(names.iter().map(String::as_str));
        Some(Plan {
            role: role.to_owned(),
            description: spec.description.clone(),
            stop_timeout: spec
                .stop_timeout
                .unwrap_or(roles.file.platform.stop_timeout),
            sources: settings.sources.clone(),
            settings: reached
                .into_iter()
                .map(|name| (name.clone(), planned(settings, &graph, &name)))
                .collect(),
            steps,
            members: ordered,
            stop_waves,
            templates,
            declared: settings.clone(),
            graph,
        })
    }

    /// What services get of the stop budget; the rest is for killing what is left and saying so.
    pub fn stop_budget(&self) -> Duration {
        self.stop_timeout.0.saturating_sub(STOP_RESERVE)
    }

    /// The order of the members.
    pub fn order(&self) -> Option<Order<'_>> {
        let edges = edges(&self.members);
        Order::new(self.members.keys().map(String::as_str), edges).ok()
    }

    /// The names of its services.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        self.members
            .iter()
            .filter(|(_, member)| matches!(member, Member::Service(_)))
            .map(|(name, _)| name.as_str())
    }

    /// The names of the settings that the role needs.
    pub fn wanted(&self) -> BTreeSet<String> {
        self.settings.keys().cloned().collect()
    }
}

fn members(spec: &Role) -> IndexMap<String, Member> {
    let services = spec.services.iter();
    let services = services.map(|(n, s)| (n.clone(), Member::Service(Box::new(s.clone()))));
    let loops = spec.loops.iter();
    let loops = loops.map(|(n, s)| (n.clone(), Member::Loop(Box::new(s.clone()))));
    let queues = spec.queues.iter();
    let queues = queues.map(|(n, s)| (n.clone(), Member::Queue(Box::new(s.clone()))));
    services.chain(loops).chain(queues).collect()
}

fn edges(members: &IndexMap<String, Member>) -> Vec<(&str, &str)> {
    members
        .iter()
        .flat_map(|(name, member)| {
            member
                .depends_on()
                .keys()
                .map(move |needed| (name.as_str(), needed.as_str()))
        })
        .collect()
}

/// The templates that the role's steps and loops render, parsed.
fn parsed(steps: &[Step], spec: &Role, templates: &Templates) -> BTreeMap<String, File> {
    steps
        .iter()
        .chain(spec.loops.values().flat_map(|spec| &spec.steps))
        .filter_map(|step| step.kind.template())
        .filter_map(|template| {
            let path = template.source.literal()?;
            let source = templates.get(path)?.as_ref().ok()?;
            let (file, _) = File::parse(source.text(), template.rules);
            Some((path.to_owned(), file))
        })
        .collect()
}

/// Every name that the role uses: in its texts, in its templates, and to find its secret.
fn names(roles: &Roles, role: &str, templates: &BTreeMap<String, File>) -> BTreeSet<String> {
    let mine = |used: &&Use| {
        let path: Vec<&str> = used.path.iter().map(String::as_str).collect();
        match path.as_slice() {
            ["startup", ..] | ["settings", "sources", ..] => true,
            ["roles", name, ..] => *name == role,
            _ => false,
        }
    };
    let texts = roles.uses.iter().filter(mine).flat_map(Use::names);
    let files = templates.values().flat_map(File::names);
    let all = texts
        .map(|(name, _)| name)
        .chain(files.map(|(name, _)| name.to_owned()));
    all.chain(asserted(&roles.file.settings)).collect()
}

/// What assertions speak of: asked for too, unless that would make a setting needed that nothing else needs.
pub fn asserted(settings: &Settings) -> Vec<String> {
    let optional = |name: &str| {
        let key = settings.keys.get(name);
        key.is_some_and(|key| !matches!(key.kind(), Some(Kind::Required) | None))
    };
    let mut names = Vec::new();
    for assertion in &settings.assert {
        let condition = assertion.that.condition.names();
        let message = assertion.message.template.names();
        names.extend(condition.chain(message).map(|(name, _)| name.to_owned()));
    }
    names.retain(|name| optional(name));
    names
}

fn planned(settings: &Settings, graph: &Graph, name: &str) -> PlannedSetting {
    let key = &settings.keys[name];
    let (kind, text): (_, Option<&Text>) = match key.kind() {
        Some(Kind::Required) | None => ("required", None),
        Some(Kind::Default(text)) => ("default", Some(text)),
        Some(Kind::Value(text)) => ("value", Some(text)),
    };
    PlannedSetting {
        kind,
        text: text.map(|text| text.raw.clone()),
        secret: graph.is_tainted(name),
        description: key.description.clone(),
        made_of: graph.needs(name).to_vec(),
    }
}
