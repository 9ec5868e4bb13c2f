//! The Python side, and what is skipped where it is not there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::ROOT;

/// The interpreter of `.venv`, with the packages of tests/requirements.txt.
pub struct Python(PathBuf);

impl Python {
    /// A script of this directory.
    pub fn command(&self, script: &str) -> Command {
        let mut command = Command::new(&self.0);
        command.arg(Path::new(ROOT).join("tests/oracle").join(script));
        command
    }

    /// Runs a script to its end; its standard output.
    pub fn run(&self, script: &str, args: &[&Path]) -> String {
        let output = self
            .command(script)
            .args(args)
            .output()
            .expect("python can be run");
        assert!(
            output.status.success(),
            "{script} {args:?}: {}",
            text(&output.stderr)
        );
        text(&output.stdout)
    }
}

/// The interpreter, or none and a line that says so.
pub fn python(test: &str) -> Option<Python> {
    let python = Path::new(ROOT).join(".venv/bin/python");
    if python.exists() {
        return Some(Python(python));
    }
    skip(test, "no .venv/bin/python; `make venv` makes it", true)
}

/// The original template and the shared cases, or none and a line that says so.
pub fn shared(test: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("RUNNER_SHARED")
        .map_or_else(|| Path::new(ROOT).join("../shared"), PathBuf::from);
    if shared.join("oracle/cases").is_dir() {
        return Some(shared);
    }
    skip(
        test,
        &format!("no {}; RUNNER_SHARED may say where it is", shared.display()),
        false,
    )
}

/// Says what is not tested; where it must be there and CI=true, that is a failure.
fn skip<T>(test: &str, why: &str, needed_in_ci: bool) -> Option<T> {
    let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(!(needed_in_ci && ci), "{test} cannot run: {why}");
    println!("skipped: {test}: {why}");
    None
}

/// An empty directory of this test's own.
pub fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("oracle")
        .join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("the target directory is writable");
    dir
}

/// A text file that has to be there.
pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What a process wrote.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
