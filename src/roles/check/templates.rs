//! Template files: there, well-formed, with declared names; and no two steps write one file.

use std::collections::BTreeMap;

use super::Cx;
use crate::diag::{Code, Diagnostic, nearest};
use crate::source::Source;
use crate::template::file::File;

pub fn check(cx: &mut Cx<'_>) {
    let roles = cx.roles;
    for (path, template) in roles.templates() {
        let mut path: Vec<&str> = path.iter().map(String::as_str).collect();
        path.extend(["render", "source"]);
        let Some(name) = template.source.literal() else {
            continue;
        };
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
                    format!("the template `{name}` cannot be read: {why}"),
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
    let keys = &cx.roles.file.settings.keys;
    for (name, range) in file.names() {
        if keys.contains_key(name) || name == "runner" {
            continue;
        }
        let diagnostic = Diagnostic::new(
            Code::UnknownSetting,
            source.place(range),
            format!("the setting `{name}` is not declared"),
        );
        let near = nearest(name, keys.keys().map(String::as_str));
        cx.diagnostics.push(match near {
            Some(near) => diagnostic.label(format!("did you mean `{near}`?")),
            None => diagnostic.help("declare it under settings.keys in roles.yaml"),
        });
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

/// Within what one role runs, each file has one writer.
fn destinations(cx: &mut Cx<'_>) {
    let roles = cx.roles;
    for role in roles.role_names() {
        let mut written: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (path, step) in roles.steps() {
            let mine = path[0] == "startup" || path[1] == role;
            let Some(destination) = step.kind.destination().filter(|_| mine) else {
                continue;
            };
            if step.common.r#if.is_some() {
                // Two steps under opposite conditions may well write one file.
                continue;
            }
            match written.get(destination.raw.as_str()) {
                None => {
                    written.insert(&destination.raw, path);
                }
                Some(first) => {
                    let first: Vec<&str> = first.iter().map(String::as_str).collect();
                    let diagnostic = Diagnostic::new(
                        Code::DuplicateDestination,
                        destination.place.clone(),
                        format!("the role `{role}` writes `{}` twice", destination.raw),
                    );
                    cx.diagnostics
                        .push(diagnostic.related(roles.place(&first), "first written here"));
                }
            }
        }
    }
}
