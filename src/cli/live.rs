//! The commands that touch the world: run, render, explain, exec.

use std::cell::Cell;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::LocalSet;
use tokio::time::Instant;

use super::args::{Global, LogFormat, LogLevel, Run};
use super::{code, load, offline, say};
use crate::engine::event::{Event, Level};
use crate::engine::world::World;
use crate::engine::{self};
use crate::outcome::{Exit, Outcome, RunError};
use crate::shutdown;
use crate::sys::init::Mode;
use crate::sys::reaper::Processes;
use crate::sys::relay::Outlet;
use crate::sys::relay::frame::Format;
use crate::sys::relay::writer::Writer;
use crate::sys::signals::Signals;
use crate::telemetry;

/// What is kept of the stop's budget for the last lines of the log.
const LAST_LINES: Duration = Duration::from_millis(500);

/// How long processes that are left at the very end are waited for after SIGKILL.
const LAST_KILL: Duration = Duration::from_secs(1);

/// Plays a role until its end.
pub fn run(global: &Global, options: &Run) -> ExitCode {
    in_runtime(global, async |world: &Rc<World>| {
        let loaded = load::load(&global.config);
        let usable = loaded
            .roles
            .as_ref()
            .filter(|_| !loaded.diagnostics.has_errors());
        let Some(roles) = usable else {
            offline::refuse(&loaded.diagnostics);
            return Outcome {
                exit: Exit::CONFIG,
                why: format!(
                    "{} cannot be used; the mistakes stand above",
                    global.config.display()
                ),
            };
        };
        engine::run(roles, &loaded.templates, options.role.as_deref(), world).await
    })
}

/// Makes the world, does `work` in it, ends what is left, and says why it ended.
pub fn in_runtime(global: &Global, work: impl AsyncFnOnce(&Rc<World>) -> Outcome) -> ExitCode {
    let built = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match built {
        Ok(runtime) => runtime,
        Err(error) => {
            say(&format!("cannot start: {error}\n"));
            return code(Exit::SOFTWARE);
        }
    };
    let outcome = LocalSet::new().block_on(&runtime, async {
        match world(global) {
            Ok(world) => finish(&world, work(&world).await).await,
            Err(error) => {
                say(&format!("{error}\n"));
                error.exit
            }
        }
    });
    // A name look-up or an fsync may still hang on a thread of its own; nothing waits for it.
    runtime.shutdown_background();
    code(outcome)
}

/// The doors, opened: signals first, as the kernel drops what a PID 1 has no handler for.
fn world(global: &Global) -> Result<Rc<World>, RunError> {
    let (switch, shutdown) = shutdown::channel();
    let switch = Rc::new(switch);
    let mut signals = Signals::install(switch.clone())?;
    tokio::task::spawn_local(async move {
        loop {
            signals.next().await;
        }
    });
    let (processes, reaper) = Processes::new(Mode::detect())?;
    tokio::task::spawn_local(reaper.run());
    let writer = Writer::standard().map_err(|error| {
        RunError::new(
            Exit::IO,
            "cannot write to stdout and stderr",
            error.to_string(),
        )
    })?;
    let outlet = Outlet {
        writer,
        redaction: Default::default(),
        format: format(global),
    };
    telemetry::start(&outlet, level(global.log_level));
    Ok(Rc::new(World {
        processes,
        outlet,
        shutdown,
        switch,
        environment: std::env::vars_os().collect(),
        set: global.set.clone(),
        program: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("runner")),
        started: Instant::now(),
        ear: Box::new(telemetry::hear),
        stop_timeout: Cell::new(DEFAULT_STOP),
    }))
}

/// The budget of a stop before a role is known: ECS's and Docker's smaller default.
const DEFAULT_STOP: Duration = Duration::from_secs(10);

fn format(global: &Global) -> Format {
    match global.log_format {
        Some(LogFormat::Text) => Format::Text,
        Some(LogFormat::Json) => Format::Json,
        None if std::io::stderr().is_terminal() => Format::Text,
        None => Format::Json,
    }
}

fn level(level: LogLevel) -> Level {
    match level {
        LogLevel::Error => Level::Error,
        LogLevel::Warn => Level::Warn,
        LogLevel::Info => Level::Info,
        LogLevel::Debug => Level::Debug,
    }
}

/// Ends every process that is left, says the last sentence, and lets the log out.
async fn finish(world: &World, outcome: Outcome) -> Exit {
    world
        .processes
        .kill_everything(Instant::now() + LAST_KILL)
        .await;
    world.tell(Event::Ended(outcome.clone()));
    world.outlet.writer.close(Instant::now() + LAST_LINES).await;
    outcome.exit
}
