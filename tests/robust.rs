//! No text makes the arithmetic stages panic, hang or point outside of a file: arbitrary bytes, mutated good and bad
//! files, expressions made of the language's own pieces, and the long and deep ones that a quadratic step would feel.
//!
//! `PROPTEST_CASES=100000 cargo nextest run --test robust` runs as long as you like.

#![allow(clippy::disallowed_methods)] // A test reads and writes files, and waits for the binary itself.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

#[path = "common/arithmetic.rs"]
mod arithmetic;

use arithmetic::{drawn, validate};
use proptest::prelude::*;
use runner::diag::{Diagnostics, json, sarif, text};
use runner::roles::{self, Templates, gac};
use runner::secret::Secret;
use runner::source::Source;
use runner::template::Template;

/// The texts of the good and the bad files, and of their templates.
static CORPUS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/roles");
    let folders = ["ok", "err", "ok/templates", "err/templates"];
    let mut texts: Vec<String> = folders
        .iter()
        .flat_map(|folder| fs::read_dir(root.join(folder)).expect("the folder"))
        .filter_map(|entry| fs::read_to_string(entry.expect("an entry").path()).ok())
        .collect();
    texts.sort();
    texts
});

/// Pieces that a mutation puts in: what the language, YAML and Jinja find special.
const PIECES: &[&str] = &[
    "${",
    "}",
    "$${",
    "$",
    "{",
    "[",
    "]",
    ":",
    ": ",
    "- ",
    "#",
    " # runner: allow(",
    "'",
    "\"",
    "\\",
    "\n",
    "\r\n",
    "\t",
    "&a ",
    "*a",
    "<<: *a",
    "!X",
    "|",
    ">-",
    "? ",
    "%",
    "@",
    "`",
    "\u{0}",
    "\u{7}",
    "\u{feff}",
    "é",
    "😀",
    "~",
    "null",
    "true",
    "0",
    "-1",
    "1e999",
    "99999999999999999999",
    "0600",
    "600",
    "1h",
    "if",
    "value",
    "X",
    "or",
    "|upper",
    "== 1",
    "in",
    "is",
    "(",
    ")",
    "..",
    "---\n",
    "...\n",
    "depends_on",
    "replicas: 4294967295",
    "listed_in: [a]",
    "127.0.0.1:1",
    "port: 65535",
    "file:",
];

fn mutated() -> impl Strategy<Value = String> {
    let edit = (
        any::<prop::sample::Index>(),
        0usize..12,
        prop::sample::select(PIECES),
    );
    let base = any::<prop::sample::Index>();
    (base, prop::collection::vec(edit, 1..6)).prop_map(|(base, edits)| {
        let mut text = base.get(&CORPUS).clone();
        for (at, cut, piece) in edits {
            let start = text.floor_char_boundary(at.index(text.len() + 1));
            let end = text.ceil_char_boundary((start + cut).min(text.len()));
            text.replace_range(start..end, piece);
        }
        text
    })
}

fn expression() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(PIECES).prop_map(str::to_owned);
    let word = prop::sample::select(vec![
        "A",
        "B",
        "port",
        "and",
        "or",
        "not",
        "if",
        "else",
        "in",
        "is",
        "'a'",
        "\"b\"",
        "1",
        "2.5",
        "<",
        ">",
        "==",
        "!=",
        "+",
        "-",
        "~",
        "*",
        "/",
        "|int",
        "|split",
        "|replace('a','b')",
        "|join(',')",
        ".x",
        "[0]",
        "[1:2]",
        "['a', A]",
        "{'a': A}",
        "startingwith('a')",
        "range(9)",
        "true",
        "none",
        " ",
    ]);
    let part = prop_oneof![4 => word.prop_map(str::to_owned), 1 => piece, 1 => ".{0,3}"];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drawn(&validate(&String::from_utf8_lossy(&bytes)));
    }

    #[test]
    fn mutated_files_are_read_or_refused(text in mutated()) {
        drawn(&validate(&text));
    }

    #[test]
    fn expressions_are_read_or_refused(source in expression()) {
        arithmetic::expression(&source);
    }

    #[test]
    fn no_gac_shows_a_value(cut in any::<prop::sample::Index>(), piece in prop::sample::select(PIECES)) {
        let roles = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/roles/err/gac.yaml"))
            .expect("the file");
        let mut found = Diagnostics::new();
        let roles = roles::read(&Source::new("gac.yaml", roles), &mut found).expect("YAML");
        let mut gac = r#"{"ENCODED_BS_ENV": "canary", "ENV_NAME": ["canary"], "RDS_PASSWORD": "canary\n", "FLAG": "canary"}"#
            .to_owned();
        let at = gac.floor_char_boundary(cut.index(gac.len() + 1));
        gac.insert_str(at, piece);
        // A piece inside the marker, or before a key that then holds it, is a name and no value.
        let entries = gac.matches("\"canary").count();
        prop_assume!(entries == 4);
        let templates = Templates::new();
        let held = gac::Check { roles: &roles, templates: &templates, below: Vec::new(), above: Vec::new() };
        gac::check("gac.json", &Secret::new(gac.clone()), held, &mut found);
        drawn(&found);
        for shown in [text::render(&found, &text::Style::default()), json::render(&found), sarif::render(&found)] {
            let names = shown.replace("`canary", "");
            prop_assert!(!names.contains("canary"), "{}\n{}", gac, shown);
        }
    }
}

/// Texts on which a careless step takes for ever, or all of the stack.
#[test]
fn long_and_deep_texts_end_in_time() {
    let many =
        |count: usize, make: &dyn Fn(usize) -> String| -> String { (0..count).map(make).collect() };
    let expression = |text: String| {
        format!(
            "version: 1\nroles: {{ a: {{ startup: [{{ command: [a, \"${{{text}}}\"] }}] }} }}\n"
        )
    };
    let settings = |keys: String| {
        format!(
            "version: 1\nsettings:\n  keys:\n{keys}roles:\n  a: {{ startup: [{{ command: [a, \"${{A0}}\"] }}] }}\n"
        )
    };
    let n = 2000;
    let texts = [
        ("parentheses", expression("(".repeat(20_000))),
        ("brackets", expression("[".repeat(20_000))),
        ("minus", expression(format!("{}1", "-".repeat(20_000)))),
        ("not", expression(format!("{}A", "not ".repeat(20_000)))),
        ("dots", expression(format!("A{}", ".a".repeat(20_000)))),
        (
            "filters",
            expression(format!("A{}", "|upper".repeat(20_000))),
        ),
        ("sums", expression(format!("A{}", "~A".repeat(20_000)))),
        (
            "ifs",
            expression(format!("A{}", " if A else A".repeat(10_000))),
        ),
        (
            "dollars",
            format!("version: 1\nselect: \"{}\"\n", "$A${A}${".repeat(20_000)),
        ),
        (
            "escapes",
            format!("version: 1\nselect: \"\\u0041{}\"\n", "${A}".repeat(2 * n)),
        ),
        ("flow", format!("roles: {}", "{a: ".repeat(50_000))),
        (
            "indent",
            many(2000, &|at| format!("{}a:\n", " ".repeat(at))),
        ),
        ("quotes", "a: \"'".repeat(20_000)),
        (
            "comments",
            "# runner: allow(bad-name) because x\n".repeat(20_000),
        ),
        (
            "chain",
            settings(many(n, &|at| {
                format!("    A{at}: {{ value: \"${{A{}}}\" }}\n", at + 1)
            })),
        ),
        (
            "chain back",
            settings(many(n, &|at| {
                format!("    A{at}: {{ value: \"${{A{}}}\" }}\n", at.wrapping_sub(1))
            })),
        ),
        (
            "ring",
            settings(many(n, &|at| {
                format!("    A{at}: {{ value: \"${{A{}}}\" }}\n", (at + 1) % n)
            })),
        ),
        (
            "rings",
            settings(many(n, &|at| {
                format!("    A{at}: {{ value: \"${{A{at}}}\" }}\n")
            })),
        ),
        (
            "unknown",
            settings(many(n, &|at| {
                format!("    A{at:05}: {{ value: \"${{B{at:05}}}\" }}\n")
            })),
        ),
        (
            "unused",
            settings(many(n, &|at| {
                format!(
                    "    A{at}: {{ default: \"\" }} # runner: allow(setting-unused) because x\n"
                )
            })),
        ),
        (
            "members",
            format!(
                "version: 1\nroles:\n  a:\n    services:\n{}",
                many(n, &|at| {
                    format!("      s{at}: {{ command: a, depends_on: {{ t{at}: {{}} }} }}\n")
                })
            ),
        ),
        (
            "roles",
            format!(
                "version: 1\nroles:\n{}",
                many(n, &|at| {
                    format!("  r{at}: {{ startup: [{{ random: {{ destination: a }} }}] }}\n")
                })
            ),
        ),
        (
            "steps",
            format!(
                "version: 1\nstartup:\n{}roles: {{ a: {{}} }}\n",
                many(n, &|at| { format!("  - comand: [a{at}]\n") })
            ),
        ),
    ];
    for (name, text) in texts {
        let begin = Instant::now();
        let found = validate(&text);
        let took = begin.elapsed();
        // In a debug build on a busy machine; what is quadratic takes minutes.
        assert!(took < Duration::from_secs(20), "{name}: {took:?}");
        assert!(
            found.sorted().len() <= 2 * n + 2,
            "{name}: {}",
            found.sorted().len()
        );
    }
    let (_, faults) = Template::parse(&"${A".repeat(100_000));
    assert_eq!(faults.len(), 1);
}
