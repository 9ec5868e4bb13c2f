//! The rules of the house that no compiler holds: who may import what, how large things get, where secrets leave.
//!
//! The sources are read as text; rustfmt's layout makes that exact enough. Modules that only tests have are left out,
//! and so is what stands in a file behind `#[cfg(test)] mod tests {`.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a test reads the sources"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A shipped file: its path under src, and its code without tests and comments.
struct Code {
    path: String,
    whole: String,
    lines: Vec<String>,
}

fn sources() -> Vec<Code> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&src, &mut files);
    let text = |path: &PathBuf| fs::read_to_string(path).expect("a source is readable");
    let tests: Vec<PathBuf> = files
        .iter()
        .flat_map(|path| test_modules(path, &text(path)))
        .collect();
    files.sort();
    files
        .into_iter()
        .filter(|path| {
            !tests
                .iter()
                .any(|test| path.starts_with(test) || *path == test.with_extension("rs"))
        })
        .map(|path| {
            let whole = text(&path);
            let lines = shipped(&whole);
            let path = path.strip_prefix(&src).expect("it is under src");
            Code {
                path: path.to_string_lossy().into_owned(),
                whole,
                lines,
            }
        })
        .collect()
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("src is readable").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
}

/// `#[cfg(test)] mod x;`: the module's path, without `.rs`.
fn test_modules(path: &Path, text: &str) -> Vec<PathBuf> {
    let name = path.file_stem().expect("a file has a name");
    let children = match name.to_str() {
        Some("lib" | "main" | "mod") => path.parent().expect("it is in src").to_path_buf(),
        _ => path.with_extension(""),
    };
    let lines: Vec<&str> = text.lines().collect();
    lines
        .windows(2)
        .filter(|pair| pair[0] == "#[cfg(test)]")
        .filter_map(|pair| pair[1].strip_prefix("mod ")?.strip_suffix(';'))
        .map(|module| children.join(module))
        .collect()
}

/// The lines before the tests, without comments.
fn shipped(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines
        .windows(2)
        .position(|pair| pair[0] == "#[cfg(test)]" && pair[1] == "mod tests {");
    lines[..tests.unwrap_or(lines.len())]
        .iter()
        .map(|line| match line.trim_start().starts_with("//") {
            true => String::new(),
            false => (*line).to_owned(),
        })
        .collect()
}

impl Code {
    /// Whether the file is one of these modules or below one.
    fn is_in(&self, modules: &[&str]) -> bool {
        let path = self.path.trim_end_matches(".rs");
        modules.iter().any(|module| {
            path == *module
                || path
                    .strip_prefix(module)
                    .is_some_and(|rest| rest.starts_with('/'))
        })
    }

    /// Every path that the code names: those of `use`, groups taken apart, and those written out.
    fn names(&self) -> BTreeSet<String> {
        let text = self.lines.join("\n");
        let mut names = BTreeSet::new();
        for statement in text.split(';') {
            if let Some(at) = statement.rfind("use ")
                && (at == 0 || statement[..at].ends_with(['\n', ' ']))
            {
                let tree: String = statement[at + 4..].split_whitespace().collect();
                names.extend(apart(&tree));
            }
        }
        let mut word = String::new();
        for c in text.chars().chain([' ']) {
            if c.is_alphanumeric() || c == '_' || c == ':' {
                word.push(c);
            } else {
                let name = std::mem::take(&mut word);
                if name.contains("::") {
                    names.insert(name.trim_matches(':').to_owned());
                }
            }
        }
        names
    }

    /// Whether the code names something at or below a path.
    fn uses(&self, path: &str) -> bool {
        let names = self.names();
        names.iter().any(|name| {
            name == path
                || name
                    .strip_prefix(path)
                    .is_some_and(|rest| rest.starts_with("::"))
        })
    }

    /// The functions with their numbers of lines.
    fn functions(&self) -> Vec<(String, usize)> {
        let mut all = Vec::new();
        for (start, line) in self.lines.iter().enumerate() {
            let blank = line.len() - line.trim_start().len();
            let Some(name) = function(line.trim_start()) else {
                continue;
            };
            let close = format!("{}}}", " ".repeat(blank));
            let semicolon = |line: &String| line.ends_with(';') && !line.contains('{');
            let rest = &self.lines[start..];
            let end = rest.iter().position(|line| *line == close);
            let declared = rest.iter().position(semicolon);
            // A declaration in a trait ends with `;` before any body begins.
            let body = rest.iter().position(|line| line.ends_with('{'));
            if let (Some(end), Some(body)) = (end, body)
                && declared.is_none_or(|declared| body < declared)
            {
                all.push((name.to_owned(), end + 1));
            }
        }
        all
    }
}

/// `a::{b, c::{d}}` is `a::b`, `a::c::d`.
fn apart(tree: &str) -> Vec<String> {
    let Some(open) = tree.find('{') else {
        return vec![tree.to_owned()];
    };
    let (head, mut depth, mut part) = (&tree[..open], 0, String::new());
    let mut all = Vec::new();
    for c in tree[open + 1..].chars() {
        match c {
            ',' | '}' if depth == 0 => {
                let part = std::mem::take(&mut part);
                all.extend(apart(&part).into_iter().map(|rest| format!("{head}{rest}")));
                if c == '}' {
                    break;
                }
                continue;
            }
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        part.push(c);
    }
    all
}

/// The name in `pub(super) const async unsafe fn name<…`.
fn function(line: &str) -> Option<&str> {
    let (before, rest) = line.split_once("fn ")?;
    let known = [
        "pub",
        "pub(crate)",
        "pub(super)",
        "const",
        "async",
        "unsafe",
        "extern",
        "\"C\"",
    ];
    if !before.split_whitespace().all(|word| known.contains(&word)) {
        return None;
    }
    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_'))?;
    Some(&rest[..end])
}

/// What is arithmetic on values: it opens no socket, reads no file and starts no program.
const ARITHMETIC: &[&str] = &[
    "diag", "order", "outcome", "plan", "roles", "secret", "settings", "signal", "source",
    "target", "template",
];

/// Who may never name what.
const NEVER: &[(&[&str], &[&str])] = &[
    (
        ARITHMETIC,
        &[
            "tokio",
            "crate::sys",
            "crate::engine",
            "crate::cli",
            "crate::queue_server",
            "crate::telemetry",
            "std::fs",
            "std::env",
            "std::process",
            "std::net",
            "std::thread",
            "tracing",
            "reqwest",
            "hyper",
        ],
    ),
    (
        &["sys"],
        &[
            "crate::roles",
            "crate::settings",
            "crate::plan",
            "crate::engine",
            "crate::steps",
            "crate::cli",
        ],
    ),
    (
        &["queue_server"],
        &[
            "crate::roles",
            "crate::settings",
            "crate::plan",
            "crate::engine",
            "crate::steps",
            "crate::cli",
            "crate::template",
            // Of the world it needs sockets alone; its journal is its own.
            "crate::sys::aws",
            "crate::sys::files",
            "crate::sys::http",
            "crate::sys::process",
            "crate::sys::queue",
            "crate::sys::reaper",
            "crate::sys::vault",
        ],
    ),
    (
        &["steps", "engine", "telemetry"],
        &["crate::cli", "crate::queue_server", "std::env"],
    ),
    // The engine tells events; one place turns them into tracing.
    (&["engine", "steps", "sys"], &["tracing"]),
];

#[test]
fn imports_go_down_the_street_only() {
    let mut wrong = Vec::new();
    for code in sources() {
        for (who, never) in NEVER {
            if code.is_in(who) {
                let found = never.iter().filter(|path| code.uses(path));
                wrong.extend(found.map(|path| format!("{} names {path}", code.path)));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// Crates that few may know, so that they can be replaced, and their errors and `Debug` be kept from people.
const IMPORTERS: &[(&str, &[&str])] = &[
    ("cgap_yaml", &["roles/tree"]),
    ("serde_yaml", &["roles/tree"]),
    ("figment", &["settings/layers"]),
    ("minijinja", &["template/expression"]),
    ("jsonschema", &["roles/schema", "engine/message"]),
    ("annotate_snippets", &["diag/text"]),
    ("toml", &["settings/document"]),
    ("reqwest", &["sys/http"]),
    ("hyper", &["sys"]),
    ("rustls", &["sys"]),
    ("aws_config", &["sys"]),
    ("aws_credential_types", &["sys"]),
    ("aws_sdk_secretsmanager", &["sys/vault"]),
    ("aws_sdk_sqs", &["sys/queue"]),
    ("aws_smithy_http_client", &["sys"]),
    ("aws_smithy_runtime_api", &["sys"]),
    ("aws_types", &["sys"]),
    ("tracing", &["telemetry", "queue_server"]),
    ("tracing_subscriber", &["telemetry"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
];

#[test]
fn a_crate_is_known_to_few() {
    let sources = sources();
    for (name, allowed) in IMPORTERS {
        let users: Vec<&str> = sources
            .iter()
            .filter(|code| code.uses(name) && !code.is_in(allowed))
            .map(|code| code.path.as_str())
            .collect();
        assert_eq!(users, Vec::<&str>::new(), "they import {name}");
    }
    let reader = sources
        .iter()
        .find(|code| code.path == "roles/tree/read.rs");
    assert!(
        reader.expect("it is there").uses("cgap_yaml"),
        "the reading works"
    );
}

/// Where a secret's text is taken out, and why.
const EXPOSE: &[(&str, &str)] = &[
    (
        "engine/sources.rs",
        "a text that may use only what is not secret",
    ),
    (
        "engine/steps.rs",
        "texts that validate lets no secret stand in; variables of a child",
    ),
    ("roles/gac.rs", "a GAC is checked, and never quoted"),
    (
        "roles/gac.rs",
        "a GAC is read and looked at, and shown as stars",
    ),
    (
        "roles/check/members.rs",
        "a text in which stand-ins stand for settings",
    ),
    ("settings.rs", "a message, with *** for what is masked"),
    ("settings/document.rs", "the JSON of a secret is read"),
    ("settings/layers.rs", "figment is given the texts"),
    ("steps/http.rs", "headers and body of a request"),
    ("steps/render.rs", "the rendered file"),
    (
        "sys/relay/redact.rs",
        "what is to be masked has to be known",
    ),
    ("template/expression.rs", "an expression is evaluated"),
];

#[test]
fn secrets_are_taken_out_in_few_places() {
    let users: Vec<String> = sources()
        .into_iter()
        .filter(|code| {
            code.lines
                .iter()
                .any(|line| line.contains(".expose()") || line.contains("Secret::expose"))
        })
        .map(|code| code.path)
        .collect();
    let known: BTreeMap<&str, &str> = EXPOSE.iter().copied().collect();
    // A command of cli that is asked to show (`render --reveal`) does.
    let strange: Vec<&String> = users
        .iter()
        .filter(|path| !known.contains_key(path.as_str()) && !path.starts_with("cli"))
        .collect();
    assert_eq!(strange, Vec::<&String>::new(), "they call expose()");
}

#[test]
fn a_secret_cannot_be_printed() {
    let sources = sources();
    let secret = sources.iter().find(|code| code.path == "secret.rs");
    let code = secret.expect("it is there").lines.join("\n");
    for forbidden in [
        "Display",
        "Serialize",
        "PartialEq",
        "Deref",
        "AsRef",
        "Hash",
    ] {
        assert!(!code.contains(forbidden), "Secret is {forbidden}");
    }
}

#[test]
fn only_the_command_line_prints() {
    let printing = [
        "println!",
        "eprintln!",
        "print!(",
        "eprint!(",
        "dbg!(",
        "stdout()",
        "stderr()",
    ];
    for code in sources() {
        // The relay's writer owns both streams.
        if code.is_in(&["cli", "sys/relay/writer"]) {
            continue;
        }
        for line in &code.lines {
            let found = printing
                .iter()
                .find(|word| line.contains(*word) && !line.contains("use_stderr()"));
            assert_eq!(found, None, "{}: {line}", code.path);
        }
    }
}

#[test]
fn one_place_waits_for_children_and_one_forks() {
    for code in sources() {
        for (word, owner) in [
            ("libc::waitpid(", "sys/reaper.rs"),
            ("libc::waitid(", "sys/reaper.rs"),
            ("process::Command", "sys/process.rs"),
            ("libc::fork(", "nobody"),
        ] {
            let uses = code.lines.iter().any(|line| line.contains(word));
            assert!(!uses || code.path == owner, "{} has {word}", code.path);
        }
    }
}

#[test]
fn no_file_is_large_and_each_says_what_it_is_for() {
    for code in sources() {
        assert!(
            code.whole.starts_with("//! "),
            "{} does not begin with //!",
            code.path
        );
        let lines = code.lines.len();
        assert!(lines <= 600, "{} has {lines} lines", code.path);
    }
}

/// Functions that are longer than they should be. The first three are one flat match each, a line or two an event.
const LONG: &[(&str, &str)] = &[
    ("engine/event.rs", "line"),
    ("engine/event.rs", "fact_line"),
    ("engine/poll/fact.rs", "line"),
    ("sys/queue.rs", "of"),
    ("sys/queue/refusal.rs", "refused"),
    ("roles/allow.rs", "apply"),
    ("roles/allow.rs", "read"),
    ("roles/check/settings.rs", "declarations"),
    ("roles/gac.rs", "of_problem"),
    ("roles/tree/syntax.rs", "grammar"),
    ("roles/check/dependencies.rs", "dependency_fits"),
    ("roles/check/stop.rs", "check"),
];

#[test]
fn no_function_is_long() {
    let mut long = Vec::new();
    let mut count = 0;
    for code in sources() {
        for (name, lines) in code.functions() {
            count += 1;
            let known = LONG.contains(&(code.path.as_str(), name.as_str()));
            if lines >= 60 && !known {
                long.push(format!("{} {name}: {lines} lines", code.path));
            }
        }
    }
    assert_eq!(long, Vec::<String>::new());
    assert!(
        count > 300,
        "only {count} functions found: the reading is wrong"
    );
}

#[test]
fn no_names_that_say_nothing() {
    let empty = ["manager", "helper", "util", "utils", "common", "misc"];
    for code in sources() {
        let path = code.path.trim_end_matches(".rs");
        let named = path.split('/').find(|part| empty.contains(part));
        assert_eq!(named, None, "{}", code.path);
        for line in &code.lines {
            let named = line.trim_start().trim_start_matches("pub ");
            let types = ["struct ", "enum ", "trait "];
            let name = types.iter().find_map(|kind| named.strip_prefix(kind));
            let strange =
                name.is_some_and(|name| name.contains("Manager") || name.contains("Helper"));
            assert!(!strange, "{}: {line}", code.path);
        }
    }
}
