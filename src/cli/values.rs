//! The commands that show values: render and explain. What is masked is shown only with `--reveal`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::rc::Rc;

use serde_json::json;
use similar::{ChangeTag, TextDiff};

use super::args::{Explain, Global, Render, Shown};
use super::live::{quietly, usable};
use super::load::{self, Loaded};
use super::{print, say};
use crate::diag::nearest;
use crate::engine::sources::{self, refused};
use crate::engine::steps::fault_error;
use crate::engine::world::World;
use crate::engine::{Ending, stopped_early};
use crate::outcome::{Exit, RunError};
use crate::plan::asserted;
use crate::roles::{Roles, Templates};
use crate::secret::Secret;
use crate::settings::layers::Origin;
use crate::settings::{Problem, Resolved, Setting};
use crate::template::Item;
use crate::template::file::{File, Rules};

/// What stands for a value that is not shown.
const MASK: &str = "***";

/// Prints a rendered template, or how it differs from a file.
pub fn render(global: &Global, options: &Render) -> ExitCode {
    quietly(global, async |world: &Rc<World>| {
        let loaded = usable(global)?;
        let roles = roles(&loaded)?;
        let (name, rules) = find(roles, &options.template)?;
        let source = match loaded.templates.get(&name) {
            Some(Ok(source)) => source.clone(),
            Some(Err(why)) => {
                return Err(RunError::new(
                    Exit::CONFIG,
                    format!("cannot read {name}"),
                    why.clone(),
                )
                .into());
            }
            None => load::read(name.as_ref()).map_err(|wrong| {
                RunError::new(Exit::CONFIG, format!("cannot read {name}"), wrong.message)
            })?,
        };
        let (file, faults) = File::parse(source.text(), rules);
        if let Some(fault) = faults.first() {
            return Err(fault_error(&source.place(fault.range.clone()).to_string(), fault).into());
        }
        let settings = &roles.file.settings;
        let mut wanted: BTreeSet<String> = file.names().map(|(name, _)| name.to_owned()).collect();
        wanted.extend(asserted(settings));
        let (resolved, problems) = sources::look(settings, &wanted, false, world).await?;
        let errors = errors(problems);
        if !errors.is_empty() {
            return Err(refused(&errors).into());
        }
        let text = |reveal| {
            let scope = |name: &str| item(world, &resolved, name, reveal);
            file.render(&scope)
                .map_err(|fault| fault_error(&format!("`{name}`"), &fault))
        };
        let shown = text(options.reveal)?;
        match &options.diff {
            None => {
                print(shown.expose());
                Ok(Exit::OK)
            }
            Some(path) => {
                let old = load::read(path).map_err(|wrong| {
                    RunError::new(Exit::CONFIG, "cannot compare", wrong.message)
                })?;
                Ok(differ(
                    old.text(),
                    &text(true)?,
                    &shown,
                    &path.display().to_string(),
                ))
            }
        }
    })
}

/// Errors without the warnings, which are said.
fn errors(problems: Vec<Problem>) -> Vec<Problem> {
    let (errors, warnings): (Vec<_>, Vec<_>) = problems.into_iter().partition(Problem::is_error);
    for warning in warnings {
        say(&format!("warning: {warning}\n"));
    }
    errors
}

fn roles(loaded: &Loaded) -> Result<&Roles, Ending> {
    // `usable` has refused a file without roles already.
    loaded.roles.as_ref().ok_or_else(|| {
        RunError::new(Exit::CONFIG, "cannot use roles.yaml", "it has no roles").into()
    })
}

/// The template that a render step writes to `name`, or reads from `name`; else `name` itself.
fn find(roles: &Roles, name: &str) -> Result<(String, Rules), RunError> {
    let all = roles.templates();
    let step = all
        .iter()
        .find(|(_, template)| template.destination.raw == name)
        .or_else(|| all.iter().find(|(_, template)| template.source.raw == name));
    if let Some((_, template)) = step {
        return match template.source.literal() {
            Some(path) => Ok((path.to_owned(), template.rules)),
            None => Err(RunError::new(
                Exit::CONFIG,
                format!("cannot render {name}"),
                format!(
                    "its template `{}` is known only when the role runs",
                    template.source.raw
                ),
            )),
        };
    }
    if std::path::Path::new(name).exists() {
        let ini = name.ends_with(".ini");
        return Ok((
            name.to_owned(),
            Rules {
                ini,
                omit_empty: false,
            },
        ));
    }
    let known: Vec<&str> = all
        .iter()
        .map(|(_, template)| template.destination.raw.as_str())
        .collect();
    let near = nearest(name, known.iter().copied());
    let near = near
        .map(|near| format!("did you mean `{near}`? "))
        .unwrap_or_default();
    let cause = "no step writes or reads it, and there is no such file";
    Err(
        RunError::new(Exit::USAGE, format!("cannot render {name}"), cause)
            .with_help(format!("{near}steps write: {}", known.join(", "))),
    )
}

/// A name's value, or the mask.
fn item(world: &World, resolved: &Resolved, name: &str, reveal: bool) -> Option<Item> {
    if name == "runner" {
        return Some(Item::Text(Secret::new(world.program.to_string_lossy())));
    }
    let setting = resolved.get(name)?;
    let shown = reveal || !setting.masked || setting.value.is_empty();
    Some(Item::Text(if shown {
        setting.value.clone()
    } else {
        Secret::new(MASK)
    }))
}

/// Prints a line diff. Whether lines differ is judged by the real text; what is printed of the new one is the masked
/// text, and of the old one no line that could be a masked line with another value.
fn differ(old: &str, new: &Secret, shown: &Secret, path: &str) -> Exit {
    if old == new.expose() {
        return Exit::OK;
    }
    let mut out = format!("--- {path}\n+++ rendered\n");
    let lines: Vec<&str> = new.expose().lines().collect();
    let shown: Vec<&str> = shown.expose().lines().collect();
    if lines.len() != shown.len() {
        out.push_str(
            "they differ; a masked value has a line break, so that only --reveal can say where\n",
        );
        print(&out);
        return Exit::FAILED;
    }
    let pairs = lines.iter().zip(&shown);
    let masked: Vec<&str> = pairs
        .filter(|(real, shown)| real != shown)
        .map(|(_, shown)| *shown)
        .collect();
    let old: Vec<&str> = old.lines().collect();
    let diff = TextDiff::from_slices(&old, &lines);
    for group in diff.grouped_ops(3) {
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let sign = match change.tag() {
                ChangeTag::Equal => ' ',
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
            };
            let hidden = || {
                masked
                    .iter()
                    .find(|masked| could_be(change.value(), masked))
            };
            let line = match change.new_index() {
                Some(at) => shown[at].to_owned(),
                None => hidden().map_or(change.value().to_owned(), |masked| {
                    format!("{}{MASK}", before_mask(masked))
                }),
            };
            let _ = writeln!(out, "{sign}{line}");
        }
    }
    print(&out);
    Exit::FAILED
}

/// Whether an old line may hold a value that is masked in this new one: it begins as that line does before its
/// first mask, or has the same key.
fn could_be(line: &str, masked: &str) -> bool {
    let same_key = line.contains('=') && masked.contains('=') && key(line) == key(masked);
    same_key || line.starts_with(before_mask(masked))
}

fn before_mask(line: &str) -> &str {
    line.split(MASK).next().unwrap_or(line)
}

/// What stands before a line's `=`.
fn key(line: &str) -> &str {
    line.split('=').next().unwrap_or(line).trim()
}

/// Says where values come from.
pub fn explain(global: &Global, options: &Explain) -> ExitCode {
    quietly(global, async |world: &Rc<World>| {
        let loaded = usable(global)?;
        let roles = roles(&loaded)?;
        let settings = &roles.file.settings;
        let names: Vec<&str> = match &options.key {
            None => settings.keys.keys().map(String::as_str).collect(),
            Some(key) if settings.keys.contains_key(key) => vec![key],
            Some(key) => {
                let known = settings.keys.keys().map(String::as_str);
                let near = nearest(key, known)
                    .map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                let doing = format!("cannot explain {key}");
                let cause = format!("the setting is not declared{near}");
                return Err(RunError::new(Exit::USAGE, doing, cause).into());
            }
        };
        let mut wanted: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        wanted.extend(asserted(settings));
        let (resolved, problems) = sources::look(settings, &wanted, options.offline, world).await?;
        let users = |name: &str| users(roles, &loaded.templates, name);
        match options.format {
            Shown::Json => {
                let all: Vec<_> = names
                    .iter()
                    .map(|name| as_json(roles, &resolved, name, &users(name)))
                    .collect();
                let value = if options.key.is_some() {
                    all[0].clone()
                } else {
                    json!(all)
                };
                print(&format!("{value:#}\n"));
            }
            Shown::Text => {
                let texts: Vec<_> = names
                    .iter()
                    .map(|name| as_text(roles, &resolved, name, &users(name)))
                    .collect();
                print(&texts.join(if options.key.is_some() { "" } else { "\n" }));
            }
        }
        let about_these = |problem: &Problem| match problem {
            Problem::Missing { name, .. }
            | Problem::NotText { name, .. }
            | Problem::Expression { name, .. } => {
                !options.offline || names.len() == 1 && names[0] == name
            }
            Problem::Assertion { .. } => true,
        };
        let mut errors = errors(problems);
        errors.retain(about_these);
        match errors.is_empty() || options.offline {
            true => Ok(Exit::OK),
            false => Err(refused(&errors).into()),
        }
    })
}

/// Every place that uses a setting.
fn users(roles: &Roles, templates: &Templates, name: &str) -> Vec<String> {
    let mut users: Vec<String> = Vec::new();
    for used in &roles.uses {
        if let Some((_, place)) = used.names().iter().find(|(used, _)| used == name) {
            users.push(format!("{} ({place})", used.path.join(".")));
        }
    }
    for (_, template) in roles.templates() {
        let Some(Ok(source)) = template
            .source
            .literal()
            .and_then(|path| templates.get(path))
        else {
            continue;
        };
        let (file, _) = File::parse(source.text(), template.rules);
        let places = file.names().filter(|(used, _)| *used == name);
        users.extend(places.map(|(_, range)| source.place(range).to_string()));
    }
    users.dedup();
    users
}

fn value(setting: &Setting) -> String {
    match (setting.masked, setting.value.is_empty()) {
        (_, true) => "(empty)".to_owned(),
        (true, false) => format!("{MASK} (masked)"),
        (false, false) => setting.value.expose().to_owned(),
    }
}

fn as_text(roles: &Roles, resolved: &Resolved, name: &str, users: &[String]) -> String {
    let key = &roles.file.settings.keys[name];
    let mut out = format!("{name}\n");
    if let Some(description) = &key.description {
        let _ = writeln!(out, "  what:  {description}");
    }
    match resolved.get(name) {
        Some(setting) => {
            let _ = writeln!(out, "  value: {}", value(setting));
            let from = match (&key.value, &key.default, &setting.origin) {
                (Some(text), _, _) => format!("derived: {}", text.raw),
                // The text of a secret's default is the secret.
                (_, Some(text), Origin::Default)
                    if setting.tainted && text.literal() != Some("") =>
                {
                    "default: ***".to_owned()
                }
                (_, Some(text), Origin::Default) => {
                    format!(
                        "default: {}",
                        if text.raw.is_empty() {
                            "(empty)"
                        } else {
                            &text.raw
                        }
                    )
                }
                (_, _, origin) => origin.to_string(),
            };
            let _ = writeln!(out, "  from:  {from}");
            for lost in &setting.overrode {
                let _ = writeln!(out, "  over:  {lost}");
            }
        }
        None => out.push_str("  value: not known\n"),
    }
    for user in users {
        let _ = writeln!(out, "  used:  {user}");
    }
    out
}

fn as_json(roles: &Roles, resolved: &Resolved, name: &str, users: &[String]) -> serde_json::Value {
    let key = &roles.file.settings.keys[name];
    let setting = resolved.get(name);
    let shown = setting
        .filter(|setting| !setting.masked)
        .map(|setting| setting.value.expose());
    json!({
        "name": name,
        "description": key.description,
        "value": shown,
        "masked": setting.map(|setting| setting.masked),
        "secret": setting.map(|setting| setting.tainted),
        "from": setting.map(|setting| setting.origin.to_string()),
        "over": setting.map(|setting| setting.overrode.iter().map(ToString::to_string).collect::<Vec<_>>()),
        "used": users,
    })
}

/// What a command that was stopped exits with.
pub fn ending(world: &World, ending: Ending) -> Exit {
    match ending {
        Ending::Failed(error) => {
            say(&format!("runner: {error}\n"));
            error.exit
        }
        Ending::Stopped => stopped_early(world).exit,
    }
}
