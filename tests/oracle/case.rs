//! One case: what runner is asked, and whether its answer is right.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Map, Value};

use crate::python::{read, text};

/// One case, as cases.py wrote it and original.py answered it.
pub struct Case {
    pub dir: PathBuf,
    pub about: String,
    pub rules: Vec<String>,
    /// The names that a refusal must show; none where the bytes must agree.
    pub refused: Option<Vec<String>>,
    /// What each key that is given comes to; empty where the case is refused.
    values: Map<String, Value>,
    pub env: Map<String, Value>,
    pub template: String,
    /// Whether the secret exists.
    pub there: bool,
    pub expected: Option<String>,
}

/// All cases of a directory, in order.
pub fn read_cases(dir: &Path) -> Vec<Case> {
    let mut dirs: Vec<PathBuf> = fs::read_dir(dir)
        .expect("cases.py made the directory")
        .map(|entry| entry.expect("a readable directory").path())
        .collect();
    dirs.sort();
    dirs.into_iter().map(read_case).collect()
}

fn read_case(dir: PathBuf) -> Case {
    let meta: Value = serde_json::from_str(&read(&dir.join("case.json"))).expect("JSON");
    let names = |value: &Value| -> Option<Vec<String>> {
        Some(
            value
                .as_array()?
                .iter()
                .filter_map(|name| name.as_str().map(str::to_owned))
                .collect(),
        )
    };
    let token = meta["token"].as_str().expect("a token");
    Case {
        about: meta["about"].as_str().unwrap_or_default().to_owned(),
        rules: names(&meta["rules"]).unwrap_or_default(),
        refused: names(&meta["refused"]),
        values: meta["values"].as_object().cloned().unwrap_or_default(),
        env: serde_json::from_str(&read(&dir.join("env.json"))).expect("JSON"),
        template: read(&dir.join("template.ini")),
        there: meta["there"] == true,
        expected: fs::read_to_string(dir.join("expected.ini"))
            .ok()
            .map(|ini| ini.replace(token, "$")),
        dir,
    }
}

impl Case {
    /// What the container is told as IDENTITY.
    pub fn identity(&self) -> &str {
        self.env
            .get("IDENTITY")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// Whether the GAC is read from a file; else it stands in the Secrets Manager.
    pub fn in_a_file(&self) -> bool {
        self.identity().starts_with("file:") || self.identity().is_empty()
    }

    /// The value that some source gives a key.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.values.get(key)?.as_str()
    }

    /// The database URL that PasteDeploy has to read; none where blanks at its ends would be lost.
    pub fn database_url(&self) -> Option<String> {
        let [user, password, host, port, name] = [
            "RDS_USERNAME",
            "RDS_PASSWORD",
            "RDS_HOSTNAME",
            "RDS_PORT",
            "RDS_DB_NAME",
        ]
        .map(|key| self.value(key));
        let url = format!(
            "postgresql://{}:{}@{}:{}/{}",
            user?, password?, host?, port?, name?
        );
        (url.trim() == url).then_some(url)
    }

    /// Why the answer is wrong.
    pub fn judge(&self, output: &Output) -> Result<(), String> {
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        if let Some(names) = &self.refused {
            if output.status.code() != Some(78) || !out.is_empty() {
                return Err(format!(
                    "must be refused with 78 ({:?}), is {}: {err}",
                    self.rules, output.status
                ));
            }
            return match names.iter().find(|name| !err.contains(name.as_str())) {
                Some(name) => Err(format!("the refusal does not name {name}: {err}")),
                None => Ok(()),
            };
        }
        let Some(expected) = &self.expected else {
            return Err(format!(
                "the original refuses: {}",
                read(&self.dir.join("error.txt"))
            ));
        };
        if !output.status.success() {
            return Err(format!(
                "must be rendered ({:?}), is {}: {err}",
                self.rules, output.status
            ));
        }
        if out == *expected {
            return Ok(());
        }
        let (ours, theirs): (Vec<_>, Vec<_>) =
            (out.split('\n').collect(), expected.split('\n').collect());
        let line = ours.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
        Err(format!(
            "line {}: {:?} must be {:?} ({:?})",
            line + 1,
            ours.get(line),
            theirs.get(line),
            self.rules
        ))
    }
}
