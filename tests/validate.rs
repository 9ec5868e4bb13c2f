//! `runner validate` on whole files: tests/roles/ok is clean, tests/roles/err/X.yaml prints exactly X.out.
//!
//! `UPDATE=1 cargo nextest run` writes what is printed now; the diff is then read by a person. A first line
//! `# args: …` gives further arguments.

#![allow(clippy::disallowed_methods)] // A test reads and writes files, and waits for the binary itself.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use runner::diag::Code;

/// Codes whose mistake is in no roles.yaml that a repository can hold: tests/validate_files.rs makes their files.
const NEEDS_FILES: [Code; 3] = [Code::FileUnreadable, Code::FileTooLarge, Code::FileNotUtf8];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/roles")
        .join(name)
}

/// The roles.yaml files of a folder, sorted.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} has no files", folder.display());
    files
}

/// Runs `validate` in the file's own folder, as a person would.
fn validate(file: &Path) -> Output {
    let text = fs::read(file).expect("the file is there");
    let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let first = String::from_utf8_lossy(first).into_owned();
    let args = first.strip_prefix("# args: ").unwrap_or_default();
    Command::new(env!("CARGO_BIN_EXE_runner"))
        .current_dir(file.parent().expect("a folder"))
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .args(["validate", "--deny-warnings", "--config"])
        .arg(file.file_name().expect("a name"))
        .args(args.split_whitespace())
        .output()
        .expect("the binary runs")
}

#[test]
fn good_files_are_clean() {
    let mut wrong = String::new();
    for file in files(&folder("ok")) {
        let output = validate(&file);
        let name = file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let stdout = String::from_utf8_lossy(&output.stdout);
        let clean = match name.as_str() {
            "gac.yaml" => "gac.yaml and gac.json are clean\n".to_owned(),
            _ => format!("{name} is clean\n"),
        };
        if output.status.code() != Some(0) || stdout != clean {
            wrong.push_str(&format!("── {name}\n{stdout}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn bad_files_print_exactly_what_is_expected() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = String::new();
    for file in files(&folder("err")) {
        let output = validate(&file);
        let found = String::from_utf8(output.stdout).expect("text");
        let expectation = file.with_extension("out");
        if update {
            fs::write(&expectation, &found).expect("the expectation can be written");
        }
        let expected = fs::read_to_string(&expectation).unwrap_or_default();
        if output.status.code() != Some(1) || !output.stderr.is_empty() || found != expected {
            let code = output.status;
            let name = file.display();
            wrong.push_str(&format!(
                "── {name}: {code}\n{found}── expected\n{expected}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// The codes that an expected output shows.
fn codes(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| {
            let rest = line
                .strip_prefix("error[")
                .or_else(|| line.strip_prefix("warning["))?;
            Some(rest.split_once(']')?.0.to_owned())
        })
        .collect()
}

#[test]
fn every_code_has_a_bad_file() {
    let shown: BTreeSet<String> = files(&folder("err"))
        .iter()
        .map(|file| fs::read_to_string(file.with_extension("out")).unwrap_or_default())
        .flat_map(|text| codes(&text))
        .collect();
    let missing: Vec<_> = Code::ALL
        .iter()
        .filter(|code| !NEEDS_FILES.contains(code) && !shown.contains(code.name()))
        .map(|code| code.name())
        .collect();
    assert!(missing.is_empty(), "no bad file shows {missing:?}");
}

/// What `--format json` says about a bad file.
fn json(name: &str, args: &[&str]) -> serde_json::Value {
    let output = Command::new(env!("CARGO_BIN_EXE_runner"))
        .current_dir(folder("err"))
        .env_clear()
        .args(["validate", "--format", "json", "--config", name])
        .args(args)
        .output()
        .expect("the binary runs");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn twenty_five_mistakes_are_twenty_five_diagnostics_each_at_its_place() {
    let found = json("twenty-five.yaml", &[]);
    let list = found["diagnostics"].as_array().expect("a list");
    let places: BTreeSet<_> = list
        .iter()
        .map(|d| (d["line"].as_u64(), d["column"].as_u64()))
        .collect();
    assert_eq!((list.len(), places.len()), (25, 25), "{found:#}");
    let kinds: BTreeSet<_> = list.iter().map(|d| d["code"].to_string()).collect();
    assert!(kinds.len() > 18, "{kinds:?}");
}

#[test]
fn no_format_shows_a_value_of_a_gac() {
    for (file, gac) in [
        ("gac.yaml", "gac/wrong.json"),
        ("gac-syntax.yaml", "gac/syntax.json"),
        ("gac-list.yaml", "gac/list.json"),
        ("gac-text.yaml", "gac/text.json"),
    ] {
        let text = fs::read_to_string(folder("err").join(gac)).expect("the GAC is there");
        assert!(text.contains("canary"));
        for format in ["text", "json", "github", "sarif"] {
            let output = Command::new(env!("CARGO_BIN_EXE_runner"))
                .current_dir(folder("err"))
                .env_clear()
                .args([
                    "validate", "--config", file, "--gac", gac, "--format", format,
                ])
                .output()
                .expect("the binary runs");
            assert_eq!(output.status.code(), Some(1), "{file} {format}");
            for stream in [output.stdout, output.stderr] {
                let shown = String::from_utf8(stream).expect("text");
                assert!(!shown.contains("canary"), "{file} {format}: {shown}");
            }
        }
    }
}

#[test]
fn files_that_no_repository_can_hold_are_one_diagnostic_each() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("validate");
    fs::create_dir_all(&folder).expect("a folder");
    let good = "version: 1\nroles: { a: { startup: [{ command: a }] } }\n";
    let large = format!("{good}{}", "# x\n".repeat(1 << 20));
    fs::write(folder.join("large.yaml"), large).expect("written");
    fs::write(folder.join("latin.yaml"), b"version: 1\n# caf\xe9\n").expect("written");
    let template = "version: 1\nroles: { a: { startup: [{ render: { source: latin.yaml, destination: b } }] } }\n";
    fs::write(folder.join("template.yaml"), template).expect("written");
    let cases = [
        (
            "nowhere.yaml",
            "error[file-unreadable]: nowhere.yaml: there is no such file\n\n1 error in nowhere.yaml\n",
        ),
        (
            ".",
            "error[file-unreadable]: .: it is a folder\n\n1 error in .\n",
        ),
        (
            "large.yaml",
            "error[file-too-large]: large.yaml is over 4 MiB (4194304 bytes)\n\n1 error in large.yaml\n",
        ),
        (
            "latin.yaml",
            "error[file-not-utf8]: latin.yaml is not UTF-8: line 2 has a byte that no character has\n --> latin.yaml:2:6\n  |\n2 | # caf\u{fffd}\n  |      ^\n  |\n  = help: save the file as UTF-8\n\n1 error in latin.yaml\n",
        ),
    ];
    let run = |name: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_runner"))
            .current_dir(&folder)
            .env_clear()
            .args(["validate", "--config", name])
            .output()
            .expect("the binary runs");
        assert_eq!(output.status.code(), Some(1), "{name}");
        String::from_utf8(output.stdout).expect("text")
    };
    for (name, expected) in cases {
        assert_eq!(run(name), expected, "{name}");
    }
    fs::write(folder.join("good.yaml"), good).expect("written");
    fs::write(folder.join("gac.json"), b"{\"A\": \"canary caf\xe9\"}").expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_runner"))
        .current_dir(&folder)
        .args(["validate", "--config", "good.yaml", "--gac", "gac.json"])
        .output()
        .expect("the binary runs");
    let shown = String::from_utf8(output.stdout).expect("text");
    let expected = "error[file-not-utf8]: gac.json is not UTF-8: line 1 has a byte that no character has\n |\n = help: save the file as UTF-8\n\n1 error in gac.json\n";
    assert_eq!(shown, expected);
    let found = run("template.yaml");
    assert!(
        found.starts_with("error[template-missing]: cannot read the template `latin.yaml`: "),
        "{found}"
    );
    assert!(found.ends_with("\n1 error in template.yaml\n"), "{found}");
}

#[test]
fn a_wrong_question_ends_with_2_and_a_wrong_command_with_64() {
    let asked = |args: &[&str]| {
        let ended = Command::new(env!("CARGO_BIN_EXE_runner"))
            .args(args)
            .output();
        ended.expect("it runs").status.code()
    };
    assert_eq!(asked(&["validate", "--format", "xml"]), Some(2));
    assert_eq!(asked(&["validate", "--help"]), Some(0));
    assert_eq!(asked(&["plan", "--format", "xml"]), Some(64));
}
