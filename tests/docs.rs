//! docs/diagnostics.md shows exactly what the program prints; docs/roles.md says exactly what the schema says.
//!
//! `UPDATE=1 cargo nextest run` writes both anew; the diff is then read by a person.

#![allow(clippy::disallowed_methods)] // A test reads and writes files, and waits for the binary itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use runner::diag::Code;

/// Codes whose file no document can hold; tests/validate.rs makes them.
const WITHOUT_EXAMPLE: [Code; 2] = [Code::FileTooLarge, Code::FileNotUtf8];

fn document(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(name)
}

/// A fenced block of a section: its info string and its text.
struct Block<'a> {
    info: &'a str,
    text: &'a str,
}

fn blocks(section: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut rest = section;
    while let Some(start) = rest.find("```") {
        let after = &rest[start + 3..];
        let (info, text) = after.split_once('\n').expect("a line");
        let end = text.find("```").expect("a closing fence");
        blocks.push(Block {
            info,
            text: &text[..end],
        });
        rest = &text[end + 3..];
    }
    blocks
}

/// Runs a section's example in a folder of its own; the command is the first line of its console block.
fn run(code: &str, blocks: &[Block<'_>]) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("docs")
        .join(code);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    let mut args = Vec::new();
    for block in blocks {
        match block.info.split_once(' ') {
            None if block.info == "yaml" => {
                fs::write(folder.join("roles.yaml"), block.text).expect("written");
            }
            None if block.info == "console" => {
                let line = block.text.lines().next().unwrap_or_default();
                let line = line.strip_prefix("$ runner ").expect("a command");
                args = line.split_whitespace().collect();
            }
            Some((_, name)) => fs::write(folder.join(name), block.text).expect("written"),
            None => panic!("a block of {code} is `{}`", block.info),
        }
    }
    let output = Command::new(env!("CARGO_BIN_EXE_runner"))
        .current_dir(&folder)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .args(&args)
        .output()
        .expect("the binary runs");
    assert!(output.stderr.is_empty(), "{code}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn every_code_is_documented_with_what_its_example_prints() {
    let path = document("diagnostics.md");
    let text = fs::read_to_string(&path).expect("the document");
    let mut new = String::new();
    let mut sections = text.split("\n## ");
    new.push_str(sections.next().unwrap_or_default());
    let mut documented = Vec::new();
    for section in sections {
        let (name, body) = section.split_once('\n').expect("a heading");
        let code = Code::ALL.iter().find(|code| code.name() == name);
        let code = *code.unwrap_or_else(|| panic!("there is no code {name}"));
        documented.push(code);
        let severity = match code.severity().name() {
            "error" => "Error",
            _ => "Warning",
        };
        let about = format!("\n{severity}. {}\n", code.about());
        assert!(
            body.starts_with(&about),
            "{name} says something else than the program"
        );
        assert!(body.contains("\n**Cure:** "), "{name} has no cure");
        new.push_str(&format!("\n## {name}\n"));
        let blocks = blocks(body);
        match blocks.iter().find(|block| block.info == "console") {
            None => {
                assert!(WITHOUT_EXAMPLE.contains(&code), "{name} has no example");
                new.push_str(body);
            }
            Some(console) => {
                let printed = run(name, &blocks);
                assert!(
                    printed.contains(&format!("[{name}]: ")),
                    "{name}: {printed}"
                );
                let command = console.text.lines().next().unwrap_or_default();
                let now = format!("{command}\n{printed}");
                new.push_str(&body.replace(
                    &format!("```console\n{}```", console.text),
                    &format!("```console\n{now}```"),
                ));
            }
        }
    }
    assert_eq!(
        documented,
        Code::ALL,
        "the order of the codes is the order of the docs"
    );
    settle(&path, &text, &new);
}

/// The document is as it should be, or is written so.
fn settle(path: &Path, found: &str, expected: &str) {
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path, expected).expect("written");
    } else if found != expected {
        let pair = found.lines().zip(expected.lines()).find(|(a, b)| a != b);
        panic!("{} is old: run with UPDATE=1\n{pair:#?}", path.display());
    }
}

#[test]
fn the_reference_is_made_from_the_schema() {
    let path = document("roles.md");
    let found = fs::read_to_string(&path).unwrap_or_default();
    settle(&path, &found, &reference());
}

/// docs/roles.md: a table for each record, in the order of the schema.
fn reference() -> String {
    let schema = runner::roles::schema::of_roles();
    let mut text = String::from(
        "# roles.yaml, key by key\n\n\
         Made from the JSON Schema (`runner schema`, [schema/roles.schema.json](../schema/roles.schema.json)), which an\n\
         editor with the YAML language server shows while you type. A key in **bold** must be there.\n\n\
         Texts may have expressions: `${NAME}` is a setting, `${A or B}` a Jinja expression, `$${` a literal `${`. Durations\n\
         have a unit (`500ms`, `30s`, `5m`, `1h`, `7d`). A file mode is an octal text, best in quotes (`\"0600\"`): without\n\
         them `0600` is read the same and editors take it for a number; `600` is a number, and refused.\n",
    );
    table(&mut text, "roles.yaml", &schema);
    for (name, record) in schema["$defs"].as_object().expect("definitions") {
        table(&mut text, name, record);
    }
    text
}

fn table(text: &mut String, name: &str, record: &serde_json::Value) {
    let about = record["description"].as_str().unwrap_or_default();
    text.push_str(&format!("\n## {name}\n\n{}\n\n", one_line(about)));
    text.push_str("| key | value | default | example | |\n|---|---|---|---|---|\n");
    let required: Vec<&str> = record["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(serde_json::Value::as_str)
        .collect();
    for (key, property) in record["properties"].as_object().expect("properties") {
        let shown = if required.contains(&key.as_str()) {
            format!("**`{key}`**")
        } else {
            format!("`{key}`")
        };
        let default = property.get("default").map(code).unwrap_or_default();
        let example = property["examples"].get(0).map(code).unwrap_or_default();
        let about = property["description"].as_str().unwrap_or_default();
        let about = one_line(about);
        let kind = kind(property);
        text.push_str(&format!(
            "| {shown} | {kind} | {default} | {example} | {about} |\n"
        ));
    }
}

fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").replace('|', "\\|")
}

/// A value in a table's cell.
fn code(value: &serde_json::Value) -> String {
    let json = value.to_string();
    let text = value
        .as_str()
        .filter(|text| !text.is_empty())
        .unwrap_or(&json);
    format!("`{}`", text.replace('|', "\\|"))
}

/// What a key's value is, in words.
fn kind(property: &serde_json::Value) -> String {
    let list = |value: &serde_json::Value| value.as_str() == Some("array");
    if let Some(reference) = property["$ref"].as_str() {
        let name = reference.trim_start_matches("#/$defs/");
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(words) = property["enum"].as_array() {
        let words = words
            .iter()
            .filter(|word| word.is_string() || words.len() == 1);
        return words.map(code).collect::<Vec<_>>().join(", ");
    }
    if list(&property["type"]) {
        return format!("list: {}", kind(&property["items"]));
    }
    if property
        .get("additionalProperties")
        .is_some_and(serde_json::Value::is_object)
    {
        return format!("names: {}", kind(&property["additionalProperties"]));
    }
    match (property["pattern"].as_str(), &property["type"]) {
        (Some(pattern), _) if pattern.contains("ms|s|m|h|d") => "duration".to_owned(),
        (Some(pattern), _) if pattern.contains("[0-7]") => "file mode".to_owned(),
        (Some(pattern), _) if pattern.contains("SIG") => "signal".to_owned(),
        (_, serde_json::Value::Array(types)) if types.iter().any(list) => "text or list".to_owned(),
        (_, serde_json::Value::Array(_)) => "text".to_owned(),
        (_, serde_json::Value::String(name)) if name == "integer" => range(property),
        (_, serde_json::Value::String(name)) if name == "boolean" => "`true`, `false`".to_owned(),
        (_, serde_json::Value::String(name)) if name == "object" => "anything".to_owned(),
        (_, serde_json::Value::String(name)) => name.clone(),
        _ => String::new(),
    }
}

fn range(property: &serde_json::Value) -> String {
    let least = &property["minimum"];
    match property.get("maximum") {
        Some(most) => format!("{least} to {most}"),
        None => format!("whole number from {least}"),
    }
}
