//! `command`: runs a program. `shell`: runs a script with `/bin/sh`.

use indexmap::IndexMap;

use super::StepKind;
use crate::roles::scalar::{Command as Words, Text};
use crate::roles::shape::record;

record! {
    /// Runs a program and waits for its end.
    pub struct Command as "a command step" {
        /// The program and its arguments: a list, or a text split into words with no shell.
        command: Words => ["create-mapping-on-deploy", "production.ini"],
        /// Variables for the program, above the container's own.
        environment: IndexMap<String, Text> = {} => {"LOG_LEVEL": "info"},
        /// The folder that the program starts in.
        working_dir: Option<Text> => "/srv/app",
        /// The user, and with `:` the group, that the program runs as.
        user: Option<Text> => "nginx",
        /// Codes that count as success.
        success_exit_codes: Vec<u8> = [0] => [0, 2],
    }
}

record! {
    /// Runs a script with `/bin/sh -euc` and waits for its end. `$${NAME}` is a variable of the shell.
    pub struct Shell as "a shell step" {
        /// The script.
        shell: Text => "date > started.txt",
        /// Variables for the script, above the container's own; the way to hand it a secret.
        environment: IndexMap<String, Text> = {} => {"LOG_LEVEL": "info"},
        /// The folder that the script starts in.
        working_dir: Option<Text> => "/srv/app",
        /// The user, and with `:` the group, that the script runs as.
        user: Option<Text> => "nginx",
        /// Codes that count as success.
        success_exit_codes: Vec<u8> = [0] => [0, 2],
    }
}

impl StepKind for Command {
    const KEY: &'static str = "command";

    fn line(&self) -> String {
        format!("run {}", self.command.line())
    }
}

impl StepKind for Shell {
    const KEY: &'static str = "shell";

    fn line(&self) -> String {
        let first = self.shell.raw.trim().lines().next().unwrap_or_default();
        format!("run the script `{first}`")
    }
}
