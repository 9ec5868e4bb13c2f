//! schema/roles.schema.json is what the program says, takes what `validate` takes, and refuses what has another shape.
//!
//! `UPDATE=1 cargo nextest run` writes the file anew.

#![allow(clippy::disallowed_methods)] // A test reads and writes files, and waits for the binary itself.

use std::fs;
use std::path::{Path, PathBuf};

use runner::diag::Diagnostics;
use runner::roles::schema::of_roles;
use runner::roles::tree;
use runner::source::Source;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The YAML files of a folder as JSON, those left out that are not YAML.
fn files(folder: &str) -> Vec<(PathBuf, serde_json::Value)> {
    let entries = fs::read_dir(root().join("tests/roles").join(folder)).expect("the folder");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "yaml"));
    files.sort();
    files
        .into_iter()
        .filter_map(|path| {
            let text = fs::read_to_string(&path).expect("UTF-8");
            let tree = tree::parse(&Source::new("roles.yaml", text), &mut Diagnostics::new())?;
            Some((path, tree.to_json()))
        })
        .collect()
}

#[test]
fn the_checked_in_schema_is_the_program_s() {
    let path = root().join("schema/roles.schema.json");
    let mut text = serde_json::to_string_pretty(&of_roles()).expect("JSON");
    text.push('\n');
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &text).expect("the schema can be written");
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == text,
        "schema/roles.schema.json is old: run with UPDATE=1"
    );
}

#[test]
fn every_good_file_fits_the_schema() {
    let schema = jsonschema::validator_for(&of_roles()).expect("a schema");
    for (path, json) in files("ok") {
        let errors: Vec<_> = schema
            .iter_errors(&json)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", path.display());
    }
}

#[test]
fn a_file_of_another_shape_is_refused_by_the_schema_too() {
    let schema = jsonschema::validator_for(&of_roles()).expect("a schema");
    let codes = [
        "unknown-key",
        "wrong-type",
        "step-kind",
        "bad-duration",
        "bad-mode",
        "error[missing-key]: the key",
    ];
    let mut refused = 0;
    for (path, json) in files("err") {
        let out = fs::read_to_string(path.with_extension("out")).expect("an expectation");
        if codes.iter().any(|code| out.contains(code)) {
            // What YAML alone knows: keys that are no texts, a tag, and what only files show.
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            if ["keys-not-texts"].contains(&name.as_ref()) {
                continue;
            }
            assert!(
                !schema.is_valid(&json),
                "{} passes the schema",
                path.display()
            );
            refused += 1;
        }
    }
    assert!(refused > 12, "{refused}");
}

/// Every place of the good files that a schema can judge, made wrong in one way at a time.
#[test]
fn one_wrong_key_or_type_anywhere_is_refused_by_both() {
    let text = fs::read_to_string(root().join("tests/roles/ok/everything.yaml")).expect("the file");
    let tree = tree::parse(&Source::new("r", text), &mut Diagnostics::new()).expect("YAML");
    let good = tree.to_json();
    let schema = jsonschema::validator_for(&of_roles()).expect("a schema");
    assert!(schema.is_valid(&good) && is_read(&good));
    let mut pointers = Vec::new();
    collect(&good, String::new(), &mut pointers);
    let mut seen = 0;
    for pointer in pointers {
        // What roles.yaml does not interpret takes anything.
        if pointer.contains("message_schema") || pointer.contains("/http/json") {
            continue;
        }
        for wrong in [
            serde_json::json!([[1]]),
            serde_json::json!({ "no such key": 1 }),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(&pointer).expect("the place") = wrong;
            let (ours, theirs) = (is_read(&bad), schema.is_valid(&bad));
            assert!(
                !ours && !theirs,
                "{pointer}: read {ours}, schema {theirs}\n{bad:#}"
            );
            seen += 1;
        }
    }
    assert!(seen > 300, "{seen}");
}

/// Whether reading finds nothing wrong with the shape.
fn is_read(json: &serde_json::Value) -> bool {
    let mut found = Diagnostics::new();
    let source = Source::new("roles.yaml", json.to_string());
    runner::roles::read(&source, &mut found);
    found.is_empty()
}

fn collect(json: &serde_json::Value, pointer: String, all: &mut Vec<String>) {
    match json {
        serde_json::Value::Object(map) => {
            for (key, value) in map {
                collect(value, format!("{pointer}/{}", key.replace('/', "~1")), all);
            }
        }
        serde_json::Value::Array(items) => {
            for (at, value) in items.iter().enumerate() {
                collect(value, format!("{pointer}/{at}"), all);
            }
        }
        _ => {}
    }
    if !pointer.is_empty() {
        all.push(pointer);
    }
}
