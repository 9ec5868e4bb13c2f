//! production.ini held against the original: its own rendering, and what PasteDeploy reads from ours.
//!
//! The Python side (this directory) makes the cases, says by which rule each differs on purpose, and asks the real
//! dcicutils; here the built binary answers the same cases. It needs `.venv`, which `make venv` makes: without it
//! the tests say that they are skipped, and fail where CI=true. What needs the original template and the shared
//! cases (`RUNNER_SHARED`, default ../shared) is skipped where they are not there.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a test runs real programs, writes its scratch files and prints what it skips"
)]

mod case;
mod python;
mod workplace;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use case::{Case, read_cases};
use python::{Python, python, read, scratch, shared, text};
use workplace::{SecretsManager, Workplace};

/// The project.
const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// The shipped template.
const TEMPLATE: &str = "ini-templates/cgap_any_alpha.ini";

#[test]
fn every_branch_renders_as_the_original_does() {
    let Some(python) = python("every_branch_renders_as_the_original_does") else {
        return;
    };
    let scratch = scratch("branches");
    let cases = scratch.join("cases");
    python.run(
        "cases.py",
        &["make".as_ref(), &cases, &Path::new(ROOT).join(TEMPLATE)],
    );
    python.run("original.py", &[&cases]);
    compare(&python, &scratch, &read_cases(&cases));
}

#[test]
fn shared_cases_render_as_the_original_does() {
    let name = "shared_cases_render_as_the_original_does";
    let (Some(python), Some(shared)) = (python(name), shared(name)) else {
        return;
    };
    for (which, template) in [
        ("original", shared.join("data/cgap_any_alpha.ini")),
        ("own", Path::new(ROOT).join(TEMPLATE)),
    ] {
        let scratch = scratch(&format!("shared-{which}"));
        let cases = scratch.join("cases");
        let from = shared.join("oracle/cases");
        python.run("cases.py", &["take".as_ref(), &cases, &template, &from]);
        python.run("original.py", &[&cases]);
        compare(&python, &scratch, &read_cases(&cases));
    }
}

/// The harness itself: asked the shared cases as they stand, it gives the answers that are stored with them.
#[test]
fn the_harness_gives_the_shared_answers() {
    let name = "the_harness_gives_the_shared_answers";
    let (Some(python), Some(shared)) = (python(name), shared(name)) else {
        return;
    };
    let cases = scratch("plain").join("cases");
    let (template, from) = (
        shared.join("data/cgap_any_alpha.ini"),
        shared.join("oracle/cases"),
    );
    python.run(
        "cases.py",
        &[
            "take".as_ref(),
            &cases,
            &template,
            &from,
            "--plain".as_ref(),
        ],
    );
    python.run("original.py", &[&cases]);
    let mut seen = 0;
    for case in read_cases(&cases) {
        let stored = from.join(case.about.split(':').next().unwrap_or_default());
        match (
            case.expected,
            fs::read_to_string(stored.join("expected.ini")),
        ) {
            (Some(ini), Ok(stored)) => assert!(ini == stored, "{}: another file", case.about),
            (None, Err(_)) => {
                let error = read(&case.dir.join("error.txt"));
                let stored = read(&stored.join("expected_error.txt"));
                assert!(stored.starts_with(&error), "{}: {error}", case.about);
            }
            (ini, _) => panic!("{}: rendered is {}", case.about, ini.is_some()),
        }
        seen += 1;
    }
    assert!(seen > 0, "no shared cases in {}", from.display());
}

/// The two templates say the same: PasteDeploy reads the same settings from the original's rendering of each.
#[test]
fn our_template_says_what_the_original_template_says() {
    let name = "our_template_says_what_the_original_template_says";
    let (Some(python), Some(shared)) = (python(name), shared(name)) else {
        return;
    };
    let scratch = scratch("templates");
    let from = shared.join("oracle/cases");
    let mut readings = Vec::new();
    for (which, template) in [
        ("original", shared.join("data/cgap_any_alpha.ini")),
        ("own", Path::new(ROOT).join(TEMPLATE)),
    ] {
        let cases = scratch.join(which);
        python.run("cases.py", &["take".as_ref(), &cases, &template, &from]);
        python.run("original.py", &[&cases]);
        let files: Vec<PathBuf> = read_cases(&cases)
            .into_iter()
            .filter(|case| case.expected.is_some())
            .map(|case| case.dir.join("expected.ini"))
            .collect();
        let paths: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
        let prefix = cases.display().to_string();
        readings.push(
            python
                .run("paste_read.py", &paths)
                .replace(&prefix, "CASES"),
        );
    }
    let [original, own] = &readings[..] else {
        panic!("two templates, {} readings", readings.len())
    };
    let original: BTreeMap<String, Value> = serde_json::from_str(original).expect("JSON");
    let own: BTreeMap<String, Value> = serde_json::from_str(own).expect("JSON");
    assert!(!original.is_empty(), "nothing rendered");
    for (file, settings) in &original {
        assert_eq!(own.get(file), Some(settings), "{file}");
    }
}

#[test]
fn paste_deploy_reads_back_the_values() {
    let Some(python) = python("paste_deploy_reads_back_the_values") else {
        return;
    };
    let scratch = scratch("paste");
    let cases = scratch.join("cases");
    let own = Path::new(ROOT).join(TEMPLATE);
    python.run(
        "cases.py",
        &["make".as_ref(), &cases, &own, "--mixed=40".as_ref()],
    );
    let workplace = Workplace::new(&scratch);
    let template = read(&own);
    let mut files = BTreeMap::new();
    for case in read_cases(&cases) {
        if case.refused.is_some() || case.template != template || !case.in_a_file() {
            continue;
        }
        let output = workplace.render(&case, None);
        assert!(
            output.status.success(),
            "{}: {}",
            case.about,
            text(&output.stderr)
        );
        let file = case.dir.join("production.ini");
        fs::write(&file, &output.stdout).expect("scratch is writable");
        files.insert(file, case);
    }
    let paths: Vec<&Path> = files.keys().map(PathBuf::as_path).collect();
    let readings: Map<String, Value> =
        serde_json::from_str(&python.run("paste_read.py", &paths)).expect("JSON");
    let mut compared = 0;
    for (file, case) in &files {
        let settings = &readings[&file.display().to_string()]["settings"];
        assert!(
            settings.is_object(),
            "{}: {}",
            case.about,
            readings[&file.display().to_string()]
        );
        for (option, key) in READ_BACK {
            let Some(value) = case.value(key) else {
                continue;
            };
            // PasteDeploy strips blanks around a value; what is only blanks is left out of the file.
            if value.trim() == value {
                let expected = (!value.is_empty()).then_some(value);
                assert_eq!(
                    settings[*option].as_str(),
                    expected,
                    "{}: {option}",
                    case.about
                );
                compared += 1;
            }
        }
        if let Some(url) = case.database_url() {
            assert_eq!(
                settings["sqlalchemy.url"].as_str(),
                Some(url.as_str()),
                "{}",
                case.about
            );
        }
    }
    assert!(compared > 1000, "only {compared} values compared");
}

/// Options of `[app:app]` and the key whose value stands in them as it is given.
const READ_BACK: &[(&str, &str)] = &[
    ("auth0.domain", "ENCODED_AUTH0_DOMAIN"),
    ("auth0.client", "ENCODED_AUTH0_CLIENT"),
    ("auth0.secret", "ENCODED_AUTH0_SECRET"),
    (
        "auth0.allowed_connections",
        "ENCODED_AUTH0_ALLOWED_CONNECTIONS",
    ),
    ("sentry_dsn", "ENCODED_SENTRY_DSN"),
    ("s3_encrypt_key_id", "ENCODED_S3_ENCRYPT_KEY_ID"),
    ("mirror.env.name", "ENCODED_BS_MIRROR_ENV"),
    ("indexer.namespace", "ENCODED_ES_NAMESPACE"),
    ("elasticsearch.server", "ENCODED_ES_SERVER"),
    (
        "application_bucket_prefix",
        "ENCODED_APPLICATION_BUCKET_PREFIX",
    ),
    ("foursight_bucket_prefix", "ENCODED_FOURSIGHT_BUCKET_PREFIX"),
];

/// Runs every case and panics with all that differ; prints how many fell under which rule.
fn compare(python: &Python, scratch: &Path, cases: &[Case]) {
    assert!(!cases.is_empty(), "no cases in {}", scratch.display());
    let workplace = Workplace::new(scratch);
    let mut cloud = None;
    let mut counts = BTreeMap::<&str, usize>::new();
    let mut wrong = Vec::new();
    for case in cases {
        let url = (!case.in_a_file()).then(|| {
            let cloud = cloud.get_or_insert_with(|| SecretsManager::start(python));
            cloud.put(case);
            cloud.url.clone()
        });
        let output = workplace.render(case, url.as_deref());
        if let Err(why) = case.judge(&output) {
            wrong.push(format!("{} ({}): {why}", case.about, case.dir.display()));
        }
        if case.rules.is_empty() {
            *counts.entry("agreement").or_default() += 1;
        }
        for rule in &case.rules {
            *counts.entry(rule).or_default() += 1;
        }
    }
    for (rule, count) in &counts {
        println!("{count:5} {rule}");
    }
    assert!(
        wrong.is_empty(),
        "{} of {} cases differ:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}
