//! The command line: one function a command. The only module that prints, and that reads the environment.

#![expect(
    clippy::disallowed_methods,
    reason = "the command line is the edge: here the environment is read, once"
)]

mod args;
mod control;
mod live;
mod load;
mod offline;
mod queue;
mod status;
mod values;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::outcome::Exit;
use args::{Args, Command};

/// The whole program: reads the command line, does what it says, and gives the exit code.
pub fn main() -> ExitCode {
    std::panic::set_hook(Box::new(after_a_bug));
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let wanted_help = !error.use_stderr();
            let _ = error.print();
            let validates = std::env::args_os().skip(1).any(|word| word == "validate");
            return code(match (wanted_help, validates) {
                (true, _) => Exit::OK,
                (false, true) => Exit::VALIDATE_USAGE,
                (false, false) => Exit::USAGE,
            });
        }
    };
    code(match &args.command {
        Command::Run(options) => return live::run(&args.global, options),
        Command::Exec(options) => return live::exec(&args.global, options),
        Command::Render(options) => return values::render(&args.global, options),
        Command::Explain(options) => return values::explain(&args.global, options),
        Command::Validate(options) => offline::validate(&args.global, options),
        Command::Graph(options) => offline::graph(&args.global, options),
        Command::Plan(options) => offline::plan(&args.global, options),
        Command::Schema(options) => offline::schema(&args.global, options),
        Command::Health(options) => control::health(&args.global, options),
        Command::Status(options) => control::status(&args.global, options),
        Command::Restart(options) => control::restart(&args.global, options),
        Command::Stop(options) => control::stop(&args.global, options),
        Command::Queue(command) => return queue::run(&args.global, command),
        Command::Completions { shell } => offline::completions(*shell),
    })
}

/// A panic is a bug of ours: children must not outlive us, and the text of the panic, which may quote a value, is not
/// shown.
fn after_a_bug(panic: &std::panic::PanicHookInfo<'_>) {
    let place = panic
        .location()
        .map_or_else(String::new, |place| format!(" at {place}"));
    crate::sys::reaper::abandon();
    say(&format!(
        "runner: a bug of its own{place}; its children are killed. Please report this line.\n"
    ));
    crate::sys::exit_now(Exit::SOFTWARE)
}

fn code(exit: Exit) -> ExitCode {
    ExitCode::from(exit.0)
}

/// Writes a command's result; a reader that went away is not an error.
fn print(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// Writes what an operator or author reads beside the result.
fn say(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// How diagnostics are drawn on a stream: in colour on a terminal, unless `NO_COLOR` is set.
fn style(terminal: bool) -> crate::diag::text::Style {
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
    crate::diag::text::Style {
        colour: terminal && !no_colour,
        width: columns.filter(|_| terminal),
    }
}

fn stderr_style() -> crate::diag::text::Style {
    style(std::io::stderr().is_terminal())
}

fn stdout_style() -> crate::diag::text::Style {
    style(std::io::stdout().is_terminal())
}
