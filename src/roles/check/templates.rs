//! Template files: there, well-formed, with declared names; and no two steps write one file.

use std::collections::BTreeMap;

use super::Cx;
use crate::diag::{Code, Diagnostic};
use crate::roles::scalar::Text;
use crate::source::Source;
use crate::steps::Step;
use crate::template::file::File;

pub fn check(cx: &mut Cx<'_>) {
    let roles = cx.roles;
    for (_, template) in roles.templates() {
        let Some(name) = template.source.literal() else {
            continue;
        };
        if template.source.is_stand_in() {
            continue;
        }
        match cx.templates.get(name) {
            Some(Ok(source)) => {
                let (file, faults) = File::parse(source.text(), template.rules);
                for fault in faults {
                    let mut diagnostic =
                        Diagnostic::new(fault.code, source.place(fault.range), fault.message);
                    diagnostic.help = fault.help;
                    cx.diagnostics.push(diagnostic);
                }
                names_are_declared(cx, source, &file);
                dollars(cx, source);
            }
            Some(Err(why)) => cx.diagnostics.push(
                Diagnostic::new(
                    Code::TemplateMissing,
                    template.source.place.clone(),
                    format!("cannot read the template `{name}`: {why}"),
                )
                .help("a relative path counts from the folder that runner runs in"),
            ),
            None => {}
        }
    }
    destinations(cx);
}

/// Every name that a template uses.
pub fn names(cx: &Cx<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for (_, template) in cx.roles.templates() {
        if let Some(Ok(source)) = template
            .source
            .literal()
            .and_then(|name| cx.templates.get(name))
        {
            let (file, _) = File::parse(source.text(), template.rules);
            names.extend(file.names().map(|(name, _)| name.to_owned()));
        }
    }
    names
}

fn names_are_declared(cx: &mut Cx<'_>, source: &Source, file: &File) {
    for (name, range) in file.names() {
        if !cx.declared(name) {
            cx.undeclared(name, source.place(range), &[]);
        }
    }
}

fn dollars(cx: &mut Cx<'_>, source: &Source) {
    for range in crate::template::bare_dollars(source.text()) {
        let name = source.text()[range.start + 1..range.end].to_owned();
        cx.diagnostics.push(
            Diagnostic::new(
                Code::BareDollar,
                source.place(range),
                format!("`${name}` without braces is text here"),
            )
            .help(format!("write ${{{name}}} for the setting")),
        );
    }
}

/// Within what one role runs, each file has one writer, and no template is written over.
fn destinations(cx: &mut Cx<'_>) {
    let roles = cx.roles;
    let steps = roles.steps();
    for (_, template) in roles.templates() {
        if path(template.source) == path(template.destination) && !template.source.raw.is_empty() {
            cx.diagnostics.push(
                Diagnostic::new(
                    Code::DuplicateDestination,
                    template.destination.place.clone(),
                    format!(
                        "the template `{}` would be written over by itself",
                        template.source.raw
                    ),
                )
                .related(template.source.place.clone(), "the template"),
            );
        }
    }
    let mut of_role: BTreeMap<&str, Vec<&Step>> = BTreeMap::new();
    let mut shared = Vec::new();
    for (at, step) in &steps {
        match at[0].as_str() {
            "startup" => shared.push(*step),
            _ => of_role.entry(&at[1]).or_default().push(step),
        }
    }
    for role in roles.role_names() {
        let own = of_role.remove(role).unwrap_or_default();
        if own.is_empty() && Some(role) != roles.role_names().next() {
            // What the shared steps do to one another is told for the first role.
            continue;
        }
        let mut written: BTreeMap<String, &Text> = BTreeMap::new();
        for step in shared.iter().chain(&own) {
            let Some(destination) = step.kind.destination() else {
                continue;
            };
            if step.common.r#if.is_some() || destination.raw.is_empty() {
                // Two steps under opposite conditions may well write one file.
                continue;
            }
            match written.get(&path(destination)) {
                None => {
                    written.insert(path(destination), destination);
                }
                Some(first) => {
                    let diagnostic = Diagnostic::new(
                        Code::DuplicateDestination,
                        destination.place.clone(),
                        format!("the role `{role}` writes `{}` twice", destination.raw),
                    );
                    cx.diagnostics
                        .push(diagnostic.related(first.place.clone(), "first written here"));
                }
            }
        }
    }
}

/// A path without what does not change it: `./a//b` is `a/b`.
fn path(text: &Text) -> String {
    let steps = text.raw.split('/').enumerate();
    let kept = steps.filter(|(at, step)| *step != "." && (*at == 0 || !step.is_empty()));
    let kept: Vec<&str> = kept.map(|(_, step)| step).collect();
    kept.join("/")
}
