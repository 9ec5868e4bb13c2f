//! Diagnostics as SARIF 2.1.0, for GitHub code scanning and other collectors of findings.
//!
//! One run of one tool with every code as a rule, used or not. Regions count Unicode code points (`columnKind`), from
//! 1 with an exclusive end, and paths are percent-encoded: relative ones stay relative to where the program ran.
//! Source: OASIS Standard "Static Analysis Results Interchange Format (SARIF) Version 2.1.0".

use serde_json::{Map, Value, json};

use super::{Code, Diagnostic, Diagnostics};
use crate::source::Place;

/// All diagnostics as one indented SARIF log with a line end; a clean run is a log with no results.
pub fn render(diagnostics: &Diagnostics) -> String {
    let results: Vec<_> = diagnostics.sorted().into_iter().map(result).collect();
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {
                "driver": {
                    "name": "runner",
                    "version": env!("CARGO_PKG_VERSION"),
                    "rules": Code::ALL.iter().map(|code| rule(*code)).collect::<Vec<_>>(),
                },
            },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    format!("{log:#}\n")
}

fn rule(code: Code) -> Value {
    json!({
        "id": code.name(),
        "shortDescription": { "text": code.about() },
        "help": { "text": format!("Explained, with an example and the cure, in {}.", code.docs()) },
        "defaultConfiguration": { "level": code.severity().name() },
    })
}

fn result(diagnostic: &Diagnostic) -> Value {
    let mut result = json!({
        "ruleId": diagnostic.code.name(),
        "ruleIndex": Code::ALL.iter().position(|code| *code == diagnostic.code),
        "level": diagnostic.severity.name(),
        "message": { "text": message(diagnostic) },
        "locations": diagnostic.place.iter().map(|place| location(place, &diagnostic.label)).collect::<Vec<_>>(),
    });
    if !diagnostic.related.is_empty() {
        let related = diagnostic.related.iter();
        result["relatedLocations"] = related
            .map(|(place, label)| location(place, label))
            .collect();
    }
    result
}

/// What is wrong and what to do: most viewers show only this.
fn message(diagnostic: &Diagnostic) -> String {
    let label = Some(diagnostic.label.as_str()).filter(|label| !label.is_empty());
    let parts = [
        Some(diagnostic.message.as_str()),
        label,
        diagnostic.help.as_deref(),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("\n")
}

fn location(place: &Place, text: &str) -> Value {
    let trimmed = place.trimmed();
    let ((line, column), (end_line, end_column)) = (trimmed.start(), trimmed.end());
    let physical = json!({
        "artifactLocation": { "uri": uri(place.source.name()) },
        "region": { "startLine": line, "startColumn": column, "endLine": end_line, "endColumn": end_column },
    });
    let mut location = Map::from_iter([("physicalLocation".to_owned(), physical)]);
    if !text.is_empty() {
        location.insert("message".to_owned(), json!({ "text": text }));
    }
    Value::Object(location)
}

/// A path as a URI reference (RFC 3986): absolute ones as `file://`, all else percent-encoded in place.
fn uri(path: &str) -> String {
    let path = path.strip_prefix("./").unwrap_or(path);
    let mut uri = String::from(if path.starts_with('/') { "file://" } else { "" });
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(byte))
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;

    /// What the OASIS schema itself (as the crate serde-sarif 0.8.0 ships it) says against a log.
    fn problems(log: &Value) -> Vec<String> {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/data/sarif-2.1.0.schema.json"
        );
        let schema = std::fs::read_to_string(path).expect("the SARIF schema");
        let mut schema: Value = serde_json::from_str(&schema).expect("a schema in JSON");
        // The pattern of a language has a `]` too many, which only a lenient JavaScript takes; we write no language.
        for owner in ["run", "toolComponent"] {
            schema["definitions"][owner]["properties"]["language"] = json!({});
        }
        let options = jsonschema::options().should_validate_formats(true);
        let schema = options.build(&schema).expect("a valid schema");
        schema
            .iter_errors(log)
            .map(|e| format!("{}: {e}", e.instance_path()))
            .collect()
    }

    fn checked(log: &str) -> Value {
        let log = serde_json::from_str(log).expect("a log in JSON");
        assert_eq!(problems(&log), Vec::<String>::new());
        log
    }

    #[test]
    fn a_clean_run_is_a_valid_log_with_every_rule_and_no_result() {
        let log = checked(&render(&Diagnostics::new()));
        let run = &log["runs"][0];
        assert_eq!(run["results"], json!([]));
        assert_eq!(run["columnKind"], "unicodeCodePoints");
        assert_eq!(
            run["tool"]["driver"]["rules"].as_array().map(Vec::len),
            Some(Code::ALL.len())
        );
        assert_eq!(
            run["tool"]["driver"]["rules"][7],
            json!({
                "id": "unknown-key",
                "shortDescription": { "text": "A key that the language does not have." },
                "help": { "text": "Explained, with an example and the cure, in docs/diagnostics.md#unknown-key." },
                "defaultConfiguration": { "level": "error" },
            })
        );
    }

    #[test]
    fn a_result_of_every_shape_is_valid() {
        let source = Source::new("./ini templates/é:1.ini", "é = $HOME\nb = 2\nc = 3\n");
        let gac = Source::new("/run/gac.json", "");
        let mut found = Diagnostics::new();
        found.push(Diagnostic::new(
            Code::FileUnreadable,
            None,
            "cannot read roles.yaml",
        ));
        found.push(
            Diagnostic::new(Code::BareDollar, source.place(5..10), "a bare `$HOME`")
                .label("stays as text")
                .related(source.place(11..23), "")
                .related(gac.place(0..0), "given here")
                .help("write `${HOME}`"),
        );
        let log = checked(&render(&found));
        let results = &log["runs"][0]["results"];
        assert_eq!(results[0]["locations"], json!([]));
        assert_eq!(results[0].get("relatedLocations"), None);
        let index = results[1]["ruleIndex"]
            .as_u64()
            .and_then(|n| usize::try_from(n).ok());
        assert_eq!(index.map(|n| Code::ALL[n]), Some(Code::BareDollar));
        assert_eq!(results[1]["level"], "warning");
        assert_eq!(
            results[1]["message"]["text"],
            "a bare `$HOME`\nstays as text\nwrite `${HOME}`"
        );
        let file = json!({ "uri": "ini%20templates/%C3%A9%3A1.ini" });
        assert_eq!(
            results[1]["locations"],
            json!([{
                "physicalLocation": {
                    "artifactLocation": file,
                    "region": { "startLine": 1, "startColumn": 5, "endLine": 1, "endColumn": 10 },
                },
                "message": { "text": "stays as text" },
            }])
        );
        assert_eq!(
            results[1]["relatedLocations"],
            json!([
                {
                    "physicalLocation": {
                        "artifactLocation": file,
                        "region": { "startLine": 2, "startColumn": 1, "endLine": 3, "endColumn": 6 },
                    },
                },
                {
                    "physicalLocation": {
                        "artifactLocation": { "uri": "file:///run/gac.json" },
                        "region": { "startLine": 1, "startColumn": 1, "endLine": 1, "endColumn": 1 },
                    },
                    "message": { "text": "given here" },
                },
            ])
        );
    }

    #[test]
    fn the_schema_would_catch_a_mistake() {
        let mut log = checked(&render(&Diagnostics::new()));
        log["runs"][0]["columnKind"] = json!("bytes");
        log["runs"][0]["results"] = json!([{ "message": { "text": "x" }, "locations": [{ "physicalLocation": {
            "artifactLocation": { "uri": "no uri %" }, "region": { "startColumn": 0 } } }] }]);
        let problems = problems(&log).join("\n");
        for part in ["columnKind", "uri", "startColumn"] {
            assert!(problems.contains(part), "{part}: {problems}");
        }
    }
}
