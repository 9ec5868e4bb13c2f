//! Values that are texts, and break the place where they are used.

use std::collections::BTreeSet;

use super::{Gac, value};
use crate::diag::{Code, Diagnostic, Diagnostics, Severity};
use crate::roles::shape::Used;
use crate::roles::{Roles, Templates};
use crate::settings::Resolved;
use crate::source::{Place, Source};
use crate::template::file::File;

/// Adds what a role with these values would stumble over.
pub fn check(
    roles: &Roles,
    templates: &Templates,
    gac: &Gac,
    resolved: &Resolved,
    diagnostics: &mut Diagnostics,
) {
    for (_, template) in roles.templates() {
        let source = template
            .source
            .literal()
            .and_then(|path| templates.get(path));
        if let Some(Ok(source)) = source {
            let (file, _) = File::parse(source.text(), template.rules);
            in_template(
                gac,
                resolved,
                source,
                &file,
                template.rules.ini,
                diagnostics,
            );
        }
    }
    for used in &roles.uses {
        let Used::Condition(condition) = &used.text else {
            continue;
        };
        let known = condition
            .names()
            .all(|(name, _)| resolved.get(name).is_some());
        if let (true, Err(fault)) = (known, condition.holds(&|name| resolved.item(name))) {
            let mut diagnostic = Diagnostic::new(Code::GacValue, used.place.clone(), fault.message);
            diagnostic.severity = Severity::Error;
            diagnostic.help = fault.help;
            diagnostics.push(diagnostic);
        }
    }
}

fn in_template(
    gac: &Gac,
    resolved: &Resolved,
    source: &Source,
    file: &File,
    ini: bool,
    diagnostics: &mut Diagnostics,
) {
    let mut told = BTreeSet::new();
    for (name, range) in file.names() {
        let Some(text) = value(resolved, name) else {
            continue;
        };
        let place = source.place(range.clone());
        if ini && text.contains(['\r', '\n']) && !text.trim().is_empty() && told.insert((name, 0)) {
            let message = format!("`{name}` has a line break, which could add keys to the file");
            let mut diagnostic = at(gac, name, place.clone(), message);
            diagnostic.severity = Severity::Error;
            diagnostics.push(diagnostic);
        } else if ini && text.trim() != text && !text.trim().is_empty() && told.insert((name, 1)) {
            let message =
                format!("`{name}` begins or ends with a blank, which an ini file does not keep");
            diagnostics.push(at(gac, name, place.clone(), message));
        }
        let reserved = |c: char| !(c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=".contains(c));
        if in_user_info(source.text(), &range) && text.contains(reserved) && told.insert((name, 2))
        {
            let message =
                format!("`{name}` has a character that means something else inside a URL");
            let help = format!("write ${{{name}|urlencode}} in the template");
            diagnostics.push(at(gac, name, place, message).help(help));
        }
    }
}

/// At the GAC's key where it has one, else where the value is used.
fn at(gac: &Gac, name: &str, place: Place, message: String) -> Diagnostic {
    match gac.place(name) {
        Some(key) => Diagnostic::new(Code::GacValue, key, message).related(place, "used here"),
        None => Diagnostic::new(Code::GacValue, place, message),
    }
}

/// Whether a name is by itself the whole `${ }` between a URL's `://` and its `@`.
fn in_user_info(text: &str, range: &std::ops::Range<usize>) -> bool {
    let before = text[..range.start].strip_suffix("${");
    let after = text[range.end..].strip_prefix('}');
    let (Some(before), Some(after)) = (before, after) else {
        return false;
    };
    let line = before.rsplit('\n').next().unwrap_or("");
    let Some((_, user)) = line.rsplit_once("://") else {
        return false;
    };
    let ends = |c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#');
    let rest = after.split(ends).next().unwrap_or("");
    !user.contains(ends) && !user.contains('@') && rest.contains('@')
}
