//! Diagnostics for programs: one JSON object on standard output.
//!
//! ```json
//! {
//!   "diagnostics": [
//!     {
//!       "code": "unknown-key",
//!       "severity": "error",
//!       "message": "unknown key `comand` in a service",
//!       "file": "roles.yaml",
//!       "line": 12,
//!       "column": 9,
//!       "end_line": 12,
//!       "end_column": 15,
//!       "label": "did you mean `command`?",
//!       "help": null,
//!       "related": [
//!         { "file": "roles.yaml", "line": 3, "column": 5, "end_line": 3, "end_column": 8, "message": "first defined here" }
//!       ],
//!       "docs": "docs/diagnostics.md#unknown-key"
//!     }
//!   ],
//!   "errors": 1,
//!   "warnings": 0
//! }
//! ```
//!
//! Every key is always there, in this order; what a diagnostic does not have is null. `severity` is `error` or
//! `warning`. Lines and columns start at 1, columns count Unicode code points, and the end is exclusive: a place of
//! no length has its start as its end. The list is sorted by file and place, those without a place first.

use serde_json::{Value, json};

use super::{Diagnostic, Diagnostics, Severity};
use crate::source::Place;

/// All diagnostics as one indented JSON object, with a line end.
pub fn render(diagnostics: &Diagnostics) -> String {
    let list: Vec<_> = diagnostics.sorted().into_iter().map(one).collect();
    let all = json!({
        "diagnostics": list,
        "errors": diagnostics.count(Severity::Error),
        "warnings": diagnostics.count(Severity::Warning),
    });
    format!("{all:#}\n")
}

fn one(diagnostic: &Diagnostic) -> Value {
    let at = Ends::of(diagnostic.place.as_ref());
    json!({
        "code": diagnostic.code.name(),
        "severity": diagnostic.severity.name(),
        "message": diagnostic.message,
        "file": at.file,
        "line": at.start.map(|(line, _)| line),
        "column": at.start.map(|(_, column)| column),
        "end_line": at.end.map(|(line, _)| line),
        "end_column": at.end.map(|(_, column)| column),
        "label": Some(&diagnostic.label).filter(|label| !label.is_empty()),
        "help": diagnostic.help,
        "related": diagnostic.related.iter().map(related).collect::<Vec<_>>(),
        "docs": diagnostic.code.docs(),
    })
}

fn related((place, message): &(Place, String)) -> Value {
    let at = Ends::of(Some(place));
    json!({
        "file": at.file,
        "line": at.start.map(|(line, _)| line),
        "column": at.start.map(|(_, column)| column),
        "end_line": at.end.map(|(line, _)| line),
        "end_column": at.end.map(|(_, column)| column),
        "message": message,
    })
}

/// Where a place begins and ends, as line and column; nothing for no place.
struct Ends<'a> {
    file: Option<&'a str>,
    start: Option<(usize, usize)>,
    end: Option<(usize, usize)>,
}

impl<'a> Ends<'a> {
    fn of(place: Option<&'a Place>) -> Self {
        let trimmed = place.map(Place::trimmed);
        Self {
            file: place.map(|p| p.source.name()),
            start: trimmed.as_ref().map(Place::start),
            end: trimmed.as_ref().map(Place::end),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::Code;
    use crate::source::Source;

    #[test]
    fn nothing_found_is_a_whole_object() {
        assert_eq!(
            render(&Diagnostics::new()),
            "{\n  \"diagnostics\": [],\n  \"errors\": 0,\n  \"warnings\": 0\n}\n"
        );
    }

    #[test]
    fn the_documented_shape_is_the_shape() {
        let text = "1\n2\n    app:\n4\n5\n6\n7\n8\n9\n10\n11\n        comand: x\n";
        let source = Source::new("roles.yaml", text);
        let at = text.find("comand").unwrap_or_default();
        let mut found = Diagnostics::new();
        found.push(
            Diagnostic::new(
                Code::UnknownKey,
                source.place(at..at + 6),
                "unknown key `comand` in a service",
            )
            .label("did you mean `command`?")
            .related(source.place(8..11), "first defined here"),
        );
        let documented: String = include_str!("json.rs")
            .lines()
            .skip_while(|line| *line != "//! ```json")
            .skip(1)
            .take_while(|line| *line != "//! ```")
            .map(|line| line.trim_start_matches("//! "))
            .collect();
        let documented: Value = serde_json::from_str(&documented).expect("the documented JSON");
        assert_eq!(render(&found), format!("{documented:#}\n"));
    }

    #[test]
    fn what_is_not_there_is_null_and_counts_are_right() {
        let source = Source::new("é\"\n.yaml", "é: $HOME\nb:\n  c: 1\nd: 2\n");
        let mut found = Diagnostics::new();
        found.push(
            Diagnostic::new(Code::FileUnreadable, None, "cannot read \"x\"\u{1b}[31m").help("look"),
        );
        found.push(Diagnostic::new(
            Code::BareDollar,
            source.place(4..9),
            "bare",
        ));
        found.push(Diagnostic::new(
            Code::WrongType,
            source.place(10..20),
            "a block",
        ));
        let json: Value = serde_json::from_str(&render(&found)).expect("valid JSON");
        let keys = |v: &Value| {
            v.as_object()
                .map(|o| o.keys().cloned().collect::<Vec<_>>().join(" "))
        };
        assert_eq!((&json["errors"], &json["warnings"]), (&json!(2), &json!(1)));
        let list = &json["diagnostics"];
        let expected =
            "code severity message file line column end_line end_column label help related docs";
        assert_eq!(keys(&list[0]).as_deref(), Some(expected));
        assert_eq!(list[0]["message"], "cannot read \"x\"\u{1b}[31m");
        assert_eq!(
            (&list[0]["file"], &list[0]["line"], &list[0]["label"]),
            (&Value::Null, &Value::Null, &Value::Null)
        );
        assert_eq!(list[1]["file"], "é\"\n.yaml");
        assert_eq!(
            (&list[1]["column"], &list[1]["end_column"]),
            (&json!(4), &json!(9))
        );
        assert_eq!(
            (
                &list[2]["line"],
                &list[2]["end_line"],
                &list[2]["end_column"]
            ),
            (&json!(2), &json!(3), &json!(7))
        );
    }
}
