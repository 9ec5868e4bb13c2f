//! The commands that need neither AWS nor the image: validate, plan, schema, completions.

use std::path::Path;

use clap::CommandFactory;

use super::args::{
    Args, Drawing, Findings, Global, Graph, Plan as PlanOptions, Schema, Shown, Validate,
};
use super::load;
use super::{print, say, stderr_style, stdout_style};
use crate::diag::{Diagnostics, Severity, github, json, nearest, sarif, text};
use crate::outcome::Exit;
use crate::plan::{Plan, diff, graph, show};
use crate::roles::check::Depth;
use crate::roles::gac::of_gac;
use crate::roles::schema::of_roles;

/// Every problem at once: 0 clean, 1 findings.
pub fn validate(global: &Global, options: &Validate) -> Exit {
    let mut loaded = load::load(&global.config, Depth::Whole);
    if options.check_commands {
        load::check_commands(&mut loaded);
    }
    if let Some(gac) = &options.gac {
        load::check_gac(&mut loaded, gac, &global.set);
    }
    let found = &loaded.diagnostics;
    print(&match options.format {
        Findings::Text => text::render(found, &stdout_style()),
        Findings::Json => json::render(found),
        Findings::Github => github::render(found),
        Findings::Sarif => sarif::render(found),
    });
    let warnings = options.deny_warnings && found.count(Severity::Warning) > 0;
    let exit = if found.has_errors() || warnings {
        Exit::FAILED
    } else {
        Exit::OK
    };
    if options.format == Findings::Text && found.is_empty() {
        let config = global.config.display();
        print(&match options.gac.as_deref() {
            None => format!("{config} is clean\n"),
            Some("-") => format!("{config} and the GAC on stdin are clean\n"),
            Some(gac) => format!("{config} and {gac} are clean\n"),
        });
    }
    // The process ends here: to give back a million small pieces first would be a tenth of all the work.
    std::mem::forget(loaded);
    exit
}

/// What a role, or each role, will do; or what a change of it means.
pub fn plan(global: &Global, options: &PlanOptions) -> Exit {
    answer(|| {
        let role = options.role.as_deref();
        let plans = plans(&global.config, role)?;
        if let Some(other) = &options.diff {
            let old = plans_of_older(other, role)?;
            print(&diff::text(&diff::changes(&old, &plans)));
            return Ok(());
        }
        match (options.format, plans.as_slice()) {
            (Shown::Text, plans) => {
                let texts: Vec<String> = plans.iter().map(show::text).collect();
                print(&texts.join("\n"));
            }
            (Shown::Json, [plan]) if role.is_some() => print(&pretty(plan)),
            (Shown::Json, plans) => print(&pretty(plans)),
        }
        Ok(())
    })
}

/// A role as a picture.
pub fn graph(global: &Global, options: &Graph) -> Exit {
    answer(|| {
        for plan in plans(&global.config, Some(&options.role))? {
            print(&match options.format {
                Drawing::Mermaid => graph::mermaid(&plan),
                Drawing::Svg => graph::svg(&plan),
            });
        }
        Ok(())
    })
}

/// Does what can end early with a code of its own.
fn answer(work: impl FnOnce() -> Result<(), Exit>) -> Exit {
    work().err().unwrap_or(Exit::OK)
}

/// The plan of one role, or of each; what is wrong has been said.
fn plans(config: &Path, role: Option<&str>) -> Result<Vec<Plan>, Exit> {
    let loaded = load::load(config, Depth::Plan);
    let usable = loaded
        .roles
        .as_ref()
        .filter(|_| !loaded.diagnostics.has_errors());
    let Some(roles) = usable else {
        return Err(refuse(&loaded.diagnostics));
    };
    let names: Vec<&str> = match role {
        Some(role) => vec![role],
        None => roles.role_names().collect(),
    };
    names
        .into_iter()
        .map(|name| {
            Plan::of(roles, name, &loaded.templates).ok_or_else(|| {
                say(&unknown_role(name, roles.role_names()));
                Exit::USAGE
            })
        })
        .collect()
}

/// The plans of an older file, in which a role may not be there yet.
fn plans_of_older(config: &Path, role: Option<&str>) -> Result<Vec<Plan>, Exit> {
    let mut plans = plans(config, None)?;
    plans.retain(|plan| role.is_none_or(|role| plan.role == role));
    Ok(plans)
}

/// The JSON Schema of roles.yaml, or of the GAC that it declares.
pub fn schema(global: &Global, options: &Schema) -> Exit {
    if !options.gac {
        print(&pretty(&of_roles()));
        return Exit::OK;
    }
    let loaded = load::load(&global.config, Depth::Plan);
    match &loaded.roles {
        Some(roles) if !loaded.diagnostics.has_errors() => {
            print(&pretty(&of_gac(roles)));
            Exit::OK
        }
        _ => refuse(&loaded.diagnostics),
    }
}

/// Completions for a shell.
pub fn completions(shell: clap_complete::Shell) -> Exit {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "runner", &mut out);
    print(&String::from_utf8_lossy(&out));
    Exit::OK
}

/// Shows why a file cannot be used.
pub fn refuse(diagnostics: &Diagnostics) -> Exit {
    say(&text::render(diagnostics, &stderr_style()));
    Exit::CONFIG
}

/// The sentence for a role that is not there.
pub fn unknown_role<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.collect();
    let near = match nearest(name, known.iter().copied()) {
        Some(near) => format!("; did you mean `{near}`?"),
        None => String::new(),
    };
    format!(
        "there is no role `{name}`{near} (roles: {})\n",
        known.join(", ")
    )
}

fn pretty(value: &(impl serde::Serialize + ?Sized)) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}
