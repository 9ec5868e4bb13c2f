//! What is wrong in a file that could be read: one function a question, each adds to the diagnostics.
//!
//! No check stops another, and none looks at the world: template files come in as texts.

mod dependencies;
mod expressions;
mod members;
mod settings;
mod stop;
mod templates;

use super::{Roles, Templates};
use crate::diag::Diagnostics;
use crate::settings::graph::Graph;

/// What the checks look at.
struct Cx<'a> {
    roles: &'a Roles,
    graph: Graph,
    templates: &'a Templates,
    diagnostics: &'a mut Diagnostics,
}

/// Adds everything that is wrong in `roles` and its templates.
pub fn check(roles: &Roles, templates: &Templates, diagnostics: &mut Diagnostics) {
    let mut cx = Cx {
        roles,
        graph: Graph::of(&roles.file.settings),
        templates,
        diagnostics,
    };
    settings::check(&mut cx);
    expressions::check(&mut cx);
    templates::check(&mut cx);
    members::check(&mut cx);
    dependencies::check(&mut cx);
    stop::check(&mut cx);
    settings::unused(&mut cx);
}
