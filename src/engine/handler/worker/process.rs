//! A worker's process with its pipes: lines in, lines out.

use std::time::Duration;

use tokio::net::unix::pipe;
use tokio::time::Instant;

use crate::engine::world::World;
use crate::outcome::{Exit, RunError};
use crate::sys;
use crate::sys::reaper::{Ended, Process, Spawned};
use crate::sys::relay::frame::{Label, Stream};
use crate::sys::relay::{Relay, Relaying, Voice};

/// The longest line that is kept whole.
const LONGEST: usize = 1024 * 1024;

/// What stands for a longer one: its parts could hold the parts of a secret.
const TOO_LONG: &[u8] = b"(a line of over 1 MiB is left out)";

/// How long output is still read after the worker's end.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A process and its pipes.
pub(super) struct Worker {
    pub(super) process: Process,
    stdin: Option<pipe::Sender>,
    stdout: Lines,
    voice: Voice,
    errors: Option<Relaying>,
}

/// The lines of a pipe.
struct Lines {
    pipe: pipe::Receiver,
    buffer: Vec<u8>,
    /// Up to where there is no line break.
    searched: usize,
    /// In the middle of a line that is left out.
    skipping: bool,
    ended: bool,
}

impl Worker {
    pub(super) fn new(spawned: Spawned, label: &Label, world: &World) -> Result<Self, RunError> {
        let cannot = |error: std::io::Error| {
            RunError::new(Exit::SOFTWARE, "cannot talk to a worker", error.to_string())
        };
        let missing = || cannot(std::io::Error::from(std::io::ErrorKind::NotFound));
        let pipes = spawned.pipes;
        let stdin =
            pipe::Sender::from_owned_fd(pipes.stdin.ok_or_else(missing)?).map_err(cannot)?;
        let stdout =
            pipe::Receiver::from_owned_fd(pipes.stdout.ok_or_else(missing)?).map_err(cannot)?;
        let errors = pipes.stderr.and_then(|pipe| {
            Relay::new(pipe, label, Stream::Stderr, &world.outlet)
                .ok()
                .map(Relay::spawn)
        });
        Ok(Self {
            process: spawned.process,
            stdin: Some(stdin),
            stdout: Lines {
                pipe: stdout,
                buffer: Vec::new(),
                searched: 0,
                skipping: false,
                ended: false,
            },
            voice: world.outlet.voice(label, Stream::Stdout),
            errors,
        })
    }

    /// The next line of its stdout; none when that has ended, or the process has and nothing more comes.
    pub(super) async fn line(&mut self) -> Option<Vec<u8>> {
        self.voice.deliver().await;
        line(&self.process, &mut self.stdout).await
    }

    /// Listens, and writes what it will take of `rest` meanwhile. Where its output finds no room it waits here, so that
    /// its stop and its time can still come first.
    pub(super) async fn turn(&mut self, rest: &[u8]) -> Turn {
        self.voice.deliver().await;
        tokio::select! {
            biased;
            line = line(&self.process, &mut self.stdout) => Turn::Said(line),
            count = write(self.stdin.as_ref(), rest), if !rest.is_empty() => Turn::Took(count),
        }
    }

    /// Relays a line as output, before the next one is read.
    pub(super) fn say(&mut self, line: &[u8]) {
        self.voice.take(line);
    }

    /// How many bytes we wrote that it never read.
    pub(super) fn unread(&self) -> usize {
        self.stdin.as_ref().map_or(0, sys::pipe::unread)
    }

    /// Ends it and its group now.
    pub(super) async fn kill(&mut self) -> Ended {
        // A worker that closed its stdout on its way out has a moment to end by itself, with its own code.
        if self.stdout.ended && self.process.ended().is_none() {
            let _ = tokio::time::timeout(LAST_WORDS, self.process.wait()).await;
        }
        let _ = self.process.kill_group(libc::SIGKILL);
        let ended = self.process.wait().await;
        let _ = tokio::time::timeout(LAST_WORDS, self.voice.deliver()).await;
        if let Some(errors) = self.errors.take() {
            errors.finish(LAST_WORDS).await;
        }
        ended
    }

    /// No more messages: its stdin is closed, then SIGTERM, then SIGKILL, a grace between each.
    pub(super) async fn farewell(mut self, grace: Duration) {
        self.stdin = None;
        for signal in [Some(libc::SIGTERM), None] {
            let over = Instant::now() + grace;
            loop {
                tokio::select! {
                    biased;
                    line = self.line() => match line {
                        Some(line) => self.say(&line),
                        None => break,
                    },
                    () = tokio::time::sleep_until(over) => break,
                }
            }
            match signal {
                Some(signal) if self.process.ended().is_none() => _ = self.process.signal(signal),
                _ => break,
            }
        }
        self.kill().await;
    }
}

/// What came first.
pub(super) enum Turn {
    /// A line, or the end of all lines.
    Said(Option<Vec<u8>>),
    /// So many bytes were written.
    Took(usize),
}

async fn line(process: &Process, stdout: &mut Lines) -> Option<Vec<u8>> {
    let over = async {
        process.wait().await;
        // Something else may hold the pipe open; what was written before is in it by now.
        tokio::time::sleep(LAST_WORDS).await;
    };
    tokio::select! {
        biased;
        line = stdout.next() => line,
        () = over => None,
    }
}

/// Writes some bytes; how many. Where nobody reads any more it waits for ever: the end is noticed elsewhere.
async fn write(stdin: Option<&pipe::Sender>, bytes: &[u8]) -> usize {
    let Some(stdin) = stdin else {
        return std::future::pending().await;
    };
    loop {
        if stdin.writable().await.is_err() {
            return std::future::pending().await;
        }
        match stdin.try_write(bytes) {
            Ok(count) => return count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return std::future::pending().await,
        }
    }
}

impl Lines {
    /// May be dropped at any wait.
    async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(line) = self.take() {
                return Some(line);
            }
            if self.ended {
                return None;
            }
            self.buffer.reserve(16 * 1024);
            match self.pipe.try_read_buf(&mut self.buffer) {
                Ok(0) => self.ended = true,
                Ok(_) => tokio::task::yield_now().await,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    if self.pipe.readable().await.is_err() {
                        self.ended = true;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => self.ended = true,
            }
        }
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        loop {
            match memchr::memchr(b'\n', &self.buffer[self.searched..]) {
                Some(at) => {
                    let end = self.searched + at;
                    let line: Vec<u8> = self.buffer.drain(..=end).take(end).collect();
                    self.searched = 0;
                    if !std::mem::take(&mut self.skipping) {
                        return Some(line);
                    }
                }
                None if self.buffer.len() > LONGEST => {
                    self.buffer.clear();
                    self.searched = 0;
                    if !std::mem::replace(&mut self.skipping, true) {
                        return Some(TOO_LONG.to_vec());
                    }
                }
                // A last line without its break counts once nothing more can come.
                None if self.ended && !self.buffer.is_empty() => {
                    self.searched = 0;
                    let line = std::mem::take(&mut self.buffer);
                    if !std::mem::take(&mut self.skipping) {
                        return Some(line);
                    }
                }
                None => {
                    self.searched = self.buffer.len();
                    return None;
                }
            }
        }
    }
}
