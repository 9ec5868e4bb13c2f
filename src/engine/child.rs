//! One program, from its start to its end: its output relayed, its time limited, a stop passed on to it.

use std::ffi::OsString;
use std::time::Duration;

use tokio::time::Instant;

use super::world::World;
use crate::outcome::{Exit, RunError};
use crate::shutdown::{Shutdown, Stage};
use crate::sys::process::Launch;
use crate::sys::reaper::{Ended, Process, Spawned};
use crate::sys::relay::frame::{Label, Stream};
use crate::sys::relay::{Relay, Relaying};

/// How long a program that ran out of time may take to stop before its group is killed.
const GRACE: Duration = Duration::from_secs(10);

/// How long output is still read from a pipe that some process keeps open after the program's end.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How a program came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// By itself.
    Ended(Ended),
    /// Its time was up, and it was stopped.
    TimedOut,
    /// The role stops, and so did the program.
    Stopped,
}

/// Runs a program to its end.
pub async fn run(
    world: &World,
    launch: Launch,
    label: &Label,
    limit: Option<Duration>,
    shutdown: &Shutdown,
) -> Result<Run, RunError> {
    run_fed(world, launch, label, limit, shutdown, Vec::new()).await
}

/// The same for a program that is given a text on its stdin, where `launch` has a pipe there. A program that does not
/// read it, or not all of it, is as good as one that does.
pub async fn run_fed(
    world: &World,
    launch: Launch,
    label: &Label,
    limit: Option<Duration>,
    shutdown: &Shutdown,
    input: Vec<u8>,
) -> Result<Run, RunError> {
    if shutdown.is_requested() {
        return Ok(Run::Stopped);
    }
    let mut spawned = world
        .processes
        .spawn(&launch)
        .map_err(|error| start_error(&launch, &error))?;
    let feeding = tokio::task::spawn_local(feed(spawned.pipes.stdin.take(), input));
    let (process, relays) = relay(world, spawned, label);
    let run = guard(world, &process, limit, shutdown).await;
    feeding.abort();
    // Both streams share the time; who asked twice does not wait for a pipe that a stranger holds open.
    let until = match shutdown.stage() {
        Stage::Killing(_) => Instant::now(),
        Stage::Running | Stage::Stopping(_) => Instant::now() + LAST_WORDS,
    };
    for relay in relays {
        relay
            .finish(until.saturating_duration_since(Instant::now()))
            .await;
    }
    Ok(run)
}

/// Writes a text into a pipe and closes it.
async fn feed(pipe: Option<std::os::fd::OwnedFd>, input: Vec<u8>) {
    use tokio::io::AsyncWriteExt;
    let pipe = pipe.and_then(|pipe| tokio::net::unix::pipe::Sender::from_owned_fd(pipe).ok());
    if let Some(mut pipe) = pipe {
        // Nobody need read it.
        let _ = pipe.write_all(&input).await;
    }
}

/// Relays a new child's output; nothing to relay where it inherits ours.
pub fn relay(world: &World, spawned: Spawned, label: &Label) -> (Process, Vec<Relaying>) {
    let pipes = [
        (spawned.pipes.stdout, Stream::Stdout),
        (spawned.pipes.stderr, Stream::Stderr),
    ];
    let relays = pipes
        .into_iter()
        .filter_map(|(pipe, stream)| {
            // A pipe of ours can always be registered with the runtime.
            Relay::new(pipe?, label, stream, &world.outlet)
                .ok()
                .map(Relay::spawn)
        })
        .collect();
    (spawned.process, relays)
}

/// Waits for a program's end, within its time, and stops it when the role stops.
async fn guard(
    world: &World,
    process: &Process,
    limit: Option<Duration>,
    shutdown: &Shutdown,
) -> Run {
    let limit = limit.map(|limit| Instant::now() + limit);
    let run = tokio::select! {
        biased;
        ended = process.wait() => return Run::Ended(ended),
        () = shutdown.requested() => Run::Stopped,
        () = until(limit) => Run::TimedOut,
    };
    let _ = process.signal(libc::SIGTERM);
    let grace = Instant::now() + GRACE;
    loop {
        // A stop may begin while a program that timed out has its grace: the earlier end counts.
        let kill_at = world.stop_deadline().map_or(grace, |stop| match run {
            Run::TimedOut => stop.min(grace),
            Run::Ended(_) | Run::Stopped => stop,
        });
        tokio::select! {
            biased;
            _ = process.wait() => return run,
            () = shutdown.kill_requested() => break,
            () = tokio::time::sleep_until(kill_at) => break,
            () = shutdown.requested(), if run == Run::TimedOut && !shutdown.is_requested() => {}
        }
    }
    let _ = process.kill_group(libc::SIGKILL);
    process.wait().await;
    run
}

async fn until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

/// Why a program could not be started, as an operator reads it.
pub fn start_error(launch: &Launch, error: &crate::sys::process::SpawnError) -> RunError {
    let program = launch.program.to_string_lossy();
    error
        .clone()
        .into_run_error(format!("cannot start `{program}`"))
}

/// Adds variables to an environment; a later one replaces an earlier one of the same name.
pub fn with_variables(
    environment: &[(OsString, OsString)],
    more: impl IntoIterator<Item = (OsString, OsString)>,
) -> Vec<(OsString, OsString)> {
    let mut all = environment.to_vec();
    for (name, value) in more {
        match all.iter_mut().find(|(known, _)| *known == name) {
            Some(entry) => entry.1 = value,
            None => all.push((name, value)),
        }
    }
    all
}

/// The error of a program whose end is no success.
pub fn end_error(program: &str, ended: &Ended) -> RunError {
    let exit = match ended.exit() {
        Exit::OK => Exit::FAILED,
        other => other,
    };
    RunError::new(exit, format!("`{program}` {ended}"), "")
}

/// The most that is kept of a captured output.
const CAPTURED: usize = 64 * 1024;

/// Kills a program's group when the one who waits for it is dropped.
struct Leash(Process);

impl Drop for Leash {
    fn drop(&mut self) {
        let _ = self.0.kill_group(libc::SIGKILL);
    }
}

/// Runs a program to its end and gives the beginning of what it wrote to stdout; its stderr is not shown. Dropped
/// before, it kills the program.
pub async fn capture(
    world: &World,
    launch: Launch,
    limit: Option<Duration>,
    shutdown: &Shutdown,
) -> Result<(Run, Vec<u8>), RunError> {
    let spawned = world
        .processes
        .spawn(&launch)
        .map_err(|error| start_error(&launch, &error))?;
    let stdout = spawned.pipes.stdout;
    // Read, so that the program cannot block on it, and thrown away.
    let errors = tokio::task::spawn_local(read_all(spawned.pipes.stderr));
    let text = tokio::task::spawn_local(read_all(stdout));
    let leash = Leash(spawned.process);
    let run = guard(world, &leash.0, limit, shutdown).await;
    errors.abort();
    let text = tokio::time::timeout(LAST_WORDS, text).await;
    Ok((run, text.ok().and_then(Result::ok).unwrap_or_default()))
}

async fn read_all(pipe: Option<std::os::fd::OwnedFd>) -> Vec<u8> {
    use tokio::io::AsyncReadExt;
    let mut kept = Vec::new();
    let Some(mut pipe) =
        pipe.and_then(|pipe| tokio::net::unix::pipe::Receiver::from_owned_fd(pipe).ok())
    else {
        return kept;
    };
    let mut chunk = [0; 4096];
    while let Ok(length) = pipe.read(&mut chunk).await {
        if length == 0 {
            break;
        }
        let room = CAPTURED - kept.len();
        kept.extend_from_slice(&chunk[..length.min(room)]);
    }
    kept
}
