//! How a run ends: the one table of exit codes, and the error an operator reads.

use std::fmt;

/// An exit code of `runner`, from the one table below.
///
/// The numbers 64 to 78 are those of BSD `sysexits.h`; 124, 126 and 127 are the shell's and `timeout`'s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Exit(pub u8);

macro_rules! exit_codes {
    ($($name:ident = $code:literal, $text:literal;)*) => {
        impl Exit {
            $(#[doc = $text] pub const $name: Exit = Exit($code);)*
            /// Every reserved code with its meaning, for `--help` and the docs.
            pub const TABLE: &'static [(u8, &'static str)] = &[$(($code, $text)),*];
        }
    };
}

exit_codes! {
    OK = 0, "all steps done, or the members stopped as told";
    FAILED = 1, "an essential member ended by itself with 0, or a check found something";
    USAGE = 64, "the command line is wrong, or names an unknown role";
    UNAVAILABLE = 69, "something outside cannot be reached";
    SOFTWARE = 70, "a bug of runner's own";
    IO = 74, "a file cannot be written or read";
    NOPERM = 77, "permission was refused";
    CONFIG = 78, "roles.yaml, a template or a setting is wrong";
    TIMEOUT = 124, "a step or the stop took too long";
    NOT_EXECUTABLE = 126, "a program is there but cannot be executed";
    NOT_FOUND = 127, "a program is not there";
}

impl Exit {
    /// `validate` has three answers of its own: clean, findings, and a command line that is wrong.
    pub const VALIDATE_USAGE: Exit = Exit(2);

    /// The code for something that signal `signal` ended: 128 + n, as shells have it.
    pub const fn of_signal(signal: i32) -> Exit {
        Exit((128 + signal) as u8)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What an operator reads when something could not be done.
///
/// The text begins with what could not be done and names the object; each cause stands once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunError {
    /// "cannot start service `nginx`"
    pub doing: String,
    /// "permission denied (/usr/sbin/nginx)"; empty where `doing` says all.
    pub cause: String,
    /// What to do next, where we know it.
    pub help: Option<String>,
    /// What `run` exits with because of it.
    pub exit: Exit,
}

impl RunError {
    /// An error without advice.
    pub fn new(exit: Exit, doing: impl Into<String>, cause: impl Into<String>) -> Self {
        Self {
            doing: doing.into(),
            cause: cause.into(),
            help: None,
            exit,
        }
    }

    /// The same error with advice.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.doing)?;
        if !self.cause.is_empty() {
            write!(f, ": {}", self.cause)?;
        }
        if let Some(help) = &self.help {
            write!(f, " ({help})")?;
        }
        Ok(())
    }
}

/// How a role ended: the exit code and the sentence that says why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What the process exits with.
    pub exit: Exit,
    /// One sentence for the last line of the log; it fits ECS's `stoppedReason`.
    pub why: String,
}
