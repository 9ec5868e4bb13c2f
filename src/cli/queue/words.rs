//! Messages as a person gives them.

use std::io::Read;

use super::super::args::Send;
use crate::engine::tasks;
use crate::outcome::{Exit, RunError};

/// Every body that is to be sent, in the order of the options.
pub fn bodies(options: &Send) -> Result<Vec<String>, RunError> {
    let mut bodies = options.body.clone();
    for text in &options.json {
        let values = values("--json", text)?;
        if values.len() != 1 {
            let cause = format!("it holds {} JSON values", values.len());
            return Err(RunError::new(Exit::USAGE, "cannot use --json", cause)
                .with_help("give one each time"));
        }
        bodies.extend(values);
    }
    for path in &options.file {
        let name = path.display().to_string();
        let read = std::fs::read_to_string(path);
        let text = read.map_err(|error| unreadable(&name, &error))?;
        bodies.extend(values(&name, &text)?);
    }
    if options.stdin.is_some() {
        let mut text = String::new();
        let read = std::io::stdin().lock().read_to_string(&mut text);
        read.map_err(|error| unreadable("stdin", &error))?;
        bodies.extend(values("stdin", &text)?);
    }
    if bodies.is_empty() {
        let help = "give it with --json, --body or --file, or on stdin with `-`";
        return Err(
            RunError::new(Exit::USAGE, "cannot send", "there is no message").with_help(help),
        );
    }
    Ok(bodies)
}

fn unreadable(name: &str, error: &std::io::Error) -> RunError {
    RunError::new(
        Exit::IO,
        format!("cannot read {name}"),
        crate::sys::reason(error),
    )
}

fn values(name: &str, text: &str) -> Result<Vec<String>, RunError> {
    let doing = || format!("cannot send {name}");
    tasks::values(text).map_err(|cause| RunError::new(Exit::FAILED, doing(), cause))
}
