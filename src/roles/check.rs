//! What is wrong in a file that could be read: one function a question, each adds to the diagnostics.
//!
//! No check stops another, and none looks at the world: template files come in as texts. A check asks the tree, not
//! the specs, whether something is there: what could not be read has its diagnostic already.

pub mod commands;
mod dependencies;
mod expressions;
pub mod listed;
mod members;
mod names;
mod platform;
mod queues;
mod settings;
mod stop;
mod templates;

use std::collections::{BTreeSet, HashSet};

use super::{Roles, Templates};
use crate::diag::{Code, Diagnostic, Diagnostics};
use crate::settings::graph::Graph;
use crate::source::Place;

/// What the checks look at.
struct Cx<'a> {
    roles: &'a Roles,
    graph: Graph,
    templates: &'a Templates,
    diagnostics: &'a mut Diagnostics,
    /// Settings that were offered instead of names that are not declared: somebody meant them.
    offered: BTreeSet<String>,
    /// How many more names are looked for among names of the file.
    searches: u32,
}

impl Cx<'_> {
    /// Whether to look for the nearest name once more: a generated file may have as many wrong names as right ones.
    fn may_search(&mut self) -> bool {
        self.searches = self.searches.saturating_sub(1);
        self.searches > 0
    }
}

/// How much is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// What a role could be hurt by without its own parts noticing: the schemas of messages are left out.
    Run,
    /// Everything but files that no role reads by itself, those of `listed_in`: an image may have them elsewhere.
    Plan,
    /// Everything.
    Whole,
}

/// Adds everything that is wrong in `roles` and its templates.
pub fn check(roles: &Roles, templates: &Templates, depth: Depth, diagnostics: &mut Diagnostics) {
    let mut cx = Cx {
        roles,
        graph: Graph::of(&roles.file.settings),
        templates,
        diagnostics,
        offered: BTreeSet::new(),
        searches: 100,
    };
    roles_are_there(&mut cx);
    settings::check(&mut cx);
    expressions::check(&mut cx);
    templates::check(&mut cx);
    members::check(&mut cx);
    queues::check(&mut cx);
    if depth >= Depth::Plan {
        queues::schemas(&mut cx);
    }
    dependencies::check(&mut cx);
    stop::check(&mut cx);
    platform::check(&mut cx);
    settings::unused(&mut cx);
    copies(cx.diagnostics);
}

/// What is wrong where an anchor stands is wrong in every copy of it, and is told once.
fn copies(diagnostics: &mut Diagnostics) {
    let is_copy = |place: &Place| place.text().starts_with('*');
    let told = diagnostics.sorted().into_iter().filter_map(|diagnostic| {
        let place = diagnostic.place.as_ref()?;
        (!is_copy(place)).then(|| (diagnostic.code, diagnostic.message.clone()))
    });
    let told: HashSet<(Code, String)> = told.collect();
    diagnostics.retain(|diagnostic| {
        let copy = diagnostic.place.as_ref().is_some_and(is_copy);
        !copy || !told.contains(&(diagnostic.code, diagnostic.message.clone()))
    });
}

fn roles_are_there(cx: &mut Cx<'_>) {
    let given = cx.roles.tree.get("roles");
    if given
        .is_some_and(|node| node.entries().is_empty() && node.scalar().is_none() && !node.is_list())
    {
        let place = cx.roles.place(&["roles"]);
        cx.diagnostics.push(
            Diagnostic::new(Code::BadValue, place, "there is no role")
                .help("write the name of a role below, and what it does below that"),
        );
    }
}
