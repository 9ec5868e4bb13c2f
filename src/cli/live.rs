//! The world of the commands that touch it, and the two that play a role in it: run and exec.

use std::cell::Cell;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::LocalSet;
use tokio::time::Instant;

use super::args::{Exec, Global, LogFormat, LogLevel, Run};
use super::{code, load, offline, say, values};
use crate::engine::child::start_error;
use crate::engine::control::{self, Desk};
use crate::engine::event::{Event, Level};
use crate::engine::world::World;
use crate::engine::{self, Ending};
use crate::outcome::{Exit, Outcome, RunError};
use crate::roles::check::Depth;
use crate::shutdown;
use crate::sys::control::{Door, places};
use crate::sys::init::Mode;
use crate::sys::process::Launch;
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
        let loaded = load::load(&global.config, Depth::Run);
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
        control::serve(Door::open(&places(global.socket())), world);
        engine::run(roles, &loaded.templates, options.role.as_deref(), world).await
    })
}

/// Plays a role's steps, then becomes the command: its terminal, its signals and its exit code are its own.
pub fn exec(global: &Global, options: &Exec) -> ExitCode {
    let mut launch = Launch::new(options.command[0].clone());
    launch.args = options.command[1..].to_vec();
    quietly(global, async |world: &Rc<World>| {
        let loaded = usable(global)?;
        let Some(roles) = &loaded.roles else {
            return Ok(Exit::CONFIG);
        };
        engine::prepare(roles, &loaded.templates, Some(&options.role), world).await?;
        launch.environment = world.environment.clone();
        world.outlet.writer.close(Instant::now() + LAST_LINES).await;
        let error = crate::sys::process::replace(&launch);
        Err(start_error(&launch, &error).into())
    })
}

/// roles.yaml and its templates, without errors.
pub fn usable(global: &Global) -> Result<load::Loaded, Ending> {
    let loaded = load::load(&global.config, Depth::Run);
    if loaded.roles.is_none() || loaded.diagnostics.has_errors() {
        offline::refuse(&loaded.diagnostics);
        let doing = format!("cannot use {}", global.config.display());
        return Err(RunError::new(Exit::CONFIG, doing, "the mistakes stand above").into());
    }
    Ok(loaded)
}

/// Does `work` in a world whose log says warnings only; its result is on stdout.
pub fn quietly(
    global: &Global,
    work: impl AsyncFnOnce(&Rc<World>) -> Result<Exit, Ending>,
) -> ExitCode {
    let level = match global.log_level {
        LogLevel::Info => LogLevel::Warn,
        other => other,
    };
    in_world(global, level, async |world: &Rc<World>| {
        let exit = match work(world).await {
            Ok(exit) => exit,
            Err(ending) => values::ending(world, ending),
        };
        world
            .processes
            .kill_everything(Instant::now() + LAST_KILL)
            .await;
        world.outlet.writer.close(Instant::now() + LAST_LINES).await;
        exit
    })
}

/// Plays `work` as a role: with its log, and a last sentence that says why it ended.
fn in_runtime(global: &Global, work: impl AsyncFnOnce(&Rc<World>) -> Outcome) -> ExitCode {
    in_world(global, global.log_level, async |world: &Rc<World>| {
        finish(world, work(world).await).await
    })
}

/// Makes the world and does `work` in it.
fn in_world(
    global: &Global,
    level: LogLevel,
    work: impl AsyncFnOnce(&Rc<World>) -> Exit,
) -> ExitCode {
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
    let exit = LocalSet::new().block_on(&runtime, async {
        match world(global, level) {
            Ok(world) => work(&world).await,
            Err(error) => {
                say(&format!("{error}\n"));
                error.exit
            }
        }
    });
    // A name look-up or an fsync may still hang on a thread of its own; nothing waits for it.
    runtime.shutdown_background();
    code(exit)
}

/// The doors, opened: signals first, as the kernel drops what a PID 1 has no handler for.
fn world(global: &Global, log_level: LogLevel) -> Result<Rc<World>, RunError> {
    let (switch, shutdown) = shutdown::channel();
    let switch = Rc::new(switch);
    let signals = Rc::new(Signals::install(switch.clone())?);
    let running = signals.clone();
    tokio::task::spawn_local(async move { running.run().await });
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
    telemetry::start(&outlet, level(log_level));
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
        signals,
        desk: Desk::default(),
        protection: Rc::default(),
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
