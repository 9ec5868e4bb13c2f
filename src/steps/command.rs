//! `command`: runs a program. `shell`: runs a script with `/bin/sh`.

use std::time::Duration;

use indexmap::IndexMap;

use super::{Failure, StepKind};
use crate::engine::child::{self, Run};
use crate::engine::event::shown;
use crate::engine::steps::Cx;
use crate::outcome::{Exit, RunError};
use crate::roles::scalar::{Command as Words, Text};
use crate::roles::shape::record;
use crate::sys::process::Launch;
use crate::template::Template;

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

    async fn exec(&self, cx: &Cx, limit: Option<Duration>) -> Result<(), Failure> {
        let (dir, user) = (self.working_dir.as_ref(), self.user.as_ref());
        let launch = cx.launch(&self.command, &self.environment, dir, user)?;
        let program = launch.program.to_string_lossy().into_owned();
        to_its_end(launch, &program, &self.success_exit_codes, cx, limit).await
    }
}

impl StepKind for Shell {
    const KEY: &'static str = "shell";

    fn line(&self) -> String {
        let first = self.shell.raw.trim().lines().next().unwrap_or_default();
        format!("run the script `{first}`")
    }

    async fn exec(&self, cx: &Cx, limit: Option<Duration>) -> Result<(), Failure> {
        let word = |raw: &str| Text {
            raw: raw.to_owned(),
            template: Template::parse(raw).0,
            place: self.shell.place.clone(),
        };
        let command = Words(vec![word("/bin/sh"), word("-euc"), self.shell.clone()]);
        let (dir, user) = (self.working_dir.as_ref(), self.user.as_ref());
        let launch = cx.launch(&command, &self.environment, dir, user)?;
        to_its_end(launch, "sh", &self.success_exit_codes, cx, limit).await
    }
}

/// Runs a program and judges its end.
async fn to_its_end(
    launch: Launch,
    program: &str,
    success: &[u8],
    cx: &Cx,
    limit: Option<Duration>,
) -> Result<(), Failure> {
    match child::run(&cx.world, launch, &cx.label(program), limit, &cx.shutdown).await? {
        Run::Stopped => Err(Failure::Stopped),
        Run::TimedOut => {
            let limit = shown(limit.unwrap_or_default());
            let cause = format!("it took longer than {limit}");
            Err(RunError::new(Exit::TIMEOUT, format!("`{program}` was stopped"), cause).into())
        }
        Run::Ended(ended) => {
            let code = ended.code.and_then(|code| u8::try_from(code).ok());
            if code.is_some_and(|code| success.contains(&code)) {
                return Ok(());
            }
            Err(child::end_error(program, &ended).into())
        }
    }
}
