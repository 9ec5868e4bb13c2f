//! Where the built binary answers the cases: a working directory, and a Secrets Manager on loopback.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use crate::case::Case;
use crate::python::Python;
use crate::{ROOT, TEMPLATE};

/// A working directory with the shipped roles.yaml, in which one case after the other is rendered.
pub struct Workplace(PathBuf);

impl Workplace {
    /// A fresh one under the scratch directory.
    pub fn new(scratch: &Path) -> Self {
        let dir = scratch.join("work");
        fs::create_dir_all(dir.join("ini-templates")).expect("scratch is writable");
        fs::copy(Path::new(ROOT).join("roles.yaml"), dir.join("roles.yaml"))
            .expect("roles.yaml is there");
        Self(dir)
    }

    /// `runner render production.ini --reveal` with the case's GAC, environment, versions and template.
    pub fn render(&self, case: &Case, endpoint: Option<&str>) -> Output {
        fs::write(self.0.join(TEMPLATE), &case.template).expect("scratch is writable");
        for file in ["gac.json", "versions.json"] {
            fs::copy(case.dir.join(file), self.0.join(file)).expect("scratch is writable");
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
        command
            .args(["render", "production.ini", "--reveal"])
            .current_dir(&self.0)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.0)
            .stdin(Stdio::null());
        if let Some(url) = endpoint {
            command.env("AWS_ENDPOINT_URL", url);
            command.env("AWS_ACCESS_KEY_ID", "testing");
            command.env("AWS_SECRET_ACCESS_KEY", "testing");
            command.env("AWS_EC2_METADATA_DISABLED", "true");
        }
        for (key, value) in &case.env {
            command.env(key, value.as_str().expect("an environment holds texts"));
        }
        command.output().expect("the binary can be run")
    }
}

/// moto's Secrets Manager on loopback, told over its standard input which secret to hold.
pub struct SecretsManager {
    child: Child,
    ask: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// Where it listens.
    pub url: String,
}

impl SecretsManager {
    /// Starts it and reads where it listens.
    pub fn start(python: &Python) -> Self {
        let mut child = python
            .command("secrets_manager.py")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("python can be run");
        let ask = child.stdin.take();
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut server = Self {
            child,
            ask,
            answers: BufReader::new(stdout),
            url: String::new(),
        };
        server.url = server.answer();
        assert!(
            server.url.starts_with("http://"),
            "secrets_manager.py did not start"
        );
        server
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers
            .read_line(&mut line)
            .expect("secrets_manager.py answers");
        line.trim_end().to_owned()
    }

    /// Makes the secret that the case names hold its GAC, or takes it away.
    pub fn put(&mut self, case: &Case) {
        let file = case.there.then(|| case.dir.join("gac.json"));
        let line = serde_json::json!({"name": case.identity(), "file": file});
        let ask = self.ask.as_mut().expect("open until dropped");
        writeln!(ask, "{line}").expect("secrets_manager.py listens");
        assert_eq!(self.answer(), "ok", "{}", case.about);
    }
}

impl Drop for SecretsManager {
    fn drop(&mut self) {
        self.ask = None; // its end of input is its sign to stop
        let _ = self.child.wait();
    }
}
