//! The relay of children's output: pipe, redaction, frame, writer.
//!
//! A child's stdout goes to our stdout and its stderr to our stderr, line by line, with who said it before each line
//! ([`frame`]) and every secret masked ([`redact`]). Nothing is lost while the role runs: when nobody reads us,
//! the pipes are read no further and the children pause ([`writer`], `lane`). A line is delivered when it ends, when
//! it has grown very long, when the stream ends, or when nothing followed its beginning for [`PAUSE`] (a
//! prompt); only in the last case is a timer set, so an idle relay wakes nobody.

pub mod frame;
mod lane;
pub mod redact;
pub mod spellings;
pub mod writer;

use frame::{Format, Framer, Label, Stream};
use lane::{Author, Lane};
use redact::{Redaction, Until, Wash};
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::net::unix::pipe;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use writer::Writer;

/// How long the beginning of a line waits for its rest before it is shown without it.
pub const PAUSE: Duration = Duration::from_secs(1);

/// The most bytes of one read; a pipe holds as many by default.
const READ: usize = 64 * 1024;

/// How many bytes of records are handed to the writer at once.
const BATCH: usize = 32 * 1024;

/// How many bytes are still read from a pipe that is let go: as much as any pipe holds without privileges.
const LAST_LOOK: usize = 1024 * 1024;

/// Where output goes and in which form: one for the whole run, copied to everybody who prints.
#[derive(Debug, Clone)]
pub struct Outlet {
    /// Our stdout and stderr.
    pub writer: Writer,
    /// The secrets to mask; empty until the settings are resolved.
    pub redaction: Redaction,
    /// Text or JSON.
    pub format: Format,
}

impl Outlet {
    /// A `Write` for our own log: each call is a whole number of lines, redacted and queued without waiting.
    pub fn log(&self) -> Log {
        Log(self.clone())
    }

    /// One stream of one process, ready for [`Voice::say`].
    pub fn voice(&self, label: &Label, stream: Stream) -> Voice {
        Voice {
            framer: Framer::new(self.format, label, stream),
            lane: self.writer.lane(stream).clone(),
            redaction: self.redaction.clone(),
            clean: Vec::new(),
            framed: 0,
            ended: false,
            out: Vec::new(),
        }
    }
}

/// Our own log, for tracing's `MakeWriter`.
#[derive(Debug, Clone)]
pub struct Log(Outlet);

impl io::Write for Log {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.0.writer.log(&self.0.redaction.get().redact(lines));
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One stream of one process on its way to the writer.
#[derive(Debug)]
pub struct Voice {
    framer: Framer,
    lane: Arc<Lane>,
    redaction: Redaction,
    /// Redacted, not framed yet from `framed` on.
    clean: Vec<u8>,
    framed: usize,
    ended: bool,
    out: Vec<u8>,
}

impl Voice {
    /// Takes whole lines that did not come through a pipe of ours (a worker's, say); [`Voice::deliver`] relays them.
    pub fn take(&mut self, lines: &[u8]) {
        let redactor = self.redaction.get();
        self.clean.extend_from_slice(&redactor.redact(lines));
        if self.clean.last().is_some_and(|&last| last != b'\n') {
            self.clean.push(b'\n');
        }
    }

    /// Hands everything clean to the writer, waiting for room. May be dropped at any wait and called again.
    pub async fn deliver(&mut self) {
        while self.framed < self.clean.len() {
            self.lane.room().await;
            self.frame_some();
            self.lane.push(&self.out, Author::Child);
        }
    }

    /// The same without waiting: what finds no room is dropped and counted.
    fn deliver_now(&mut self) {
        while self.framed < self.clean.len() {
            self.frame_some();
            self.lane.push_if_room(&self.out);
        }
    }

    fn frame_some(&mut self) {
        self.out.clear();
        let rest = &self.clean[self.framed..];
        self.framed += self
            .framer
            .frame(rest, SystemTime::now(), self.ended, BATCH, &mut self.out);
        if self.framed == self.clean.len() {
            self.clean.clear();
            self.framed = 0;
        }
    }
}

/// How a relay ended.
#[derive(Debug)]
pub enum End {
    /// Every writer of the pipe closed it; all of it is delivered.
    Closed,
    /// It was let go while something still held the pipe open.
    LetGo,
    /// The pipe could not be read.
    Failed(io::Error),
}

/// The relay of one pipe.
#[derive(Debug)]
pub struct Relay {
    pipe: pipe::Receiver,
    wash: Wash,
    voice: Voice,
}

impl Relay {
    /// `pipe` is the reading end; it becomes non-blocking, which the child's end does not share.
    ///
    /// # Errors
    /// When it is not the reading end of a pipe, or cannot be registered with the runtime.
    pub fn new(pipe: OwnedFd, label: &Label, stream: Stream, outlet: &Outlet) -> io::Result<Self> {
        Ok(Self {
            pipe: pipe::Receiver::from_owned_fd(pipe)?,
            wash: Wash::default(),
            voice: outlet.voice(label, stream),
        })
    }

    /// Relays until the pipe is closed or `let_go` returns. A process that left its group may hold the pipe for
    /// ever, so a stop must not wait for the end of it: what is in the pipe by then is still taken, as far as the
    /// writer has room, and the pipe is closed.
    pub async fn run(mut self, let_go: impl Future<Output = ()>) -> End {
        let end = tokio::select! {
            biased;
            end = self.flow() => end,
            () = let_go => End::LetGo,
        };
        if !matches!(end, End::Closed) {
            self.take_the_rest();
        }
        end
    }

    /// Runs as a task of the current `LocalSet`.
    pub fn spawn(self) -> Relaying {
        let (let_go, asked) = oneshot::channel();
        let asked = async {
            // Without anybody who could ask, the task is aborted.
            if asked.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        Relaying {
            let_go: Some(let_go),
            task: tokio::task::spawn_local(self.run(asked)),
        }
    }

    /// May be dropped at any wait: what was read is in `self`.
    async fn flow(&mut self) -> End {
        loop {
            self.voice.deliver().await;
            if self.voice.ended {
                return End::Closed;
            }
            match self.read() {
                Ok(0) => {
                    self.voice.ended = true;
                    self.wash(Until::End);
                }
                Ok(_) => {
                    self.wash(Until::Line);
                    // A child that floods its pipe is not the only one on this thread.
                    tokio::task::yield_now().await;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if let Err(error) = self.wait().await {
                        return End::Failed(error);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return End::Failed(error),
            }
        }
    }

    fn read(&mut self) -> io::Result<usize> {
        let raw = self.wash.raw();
        raw.reserve(READ);
        self.pipe.try_read_buf(raw)
    }

    fn wash(&mut self, until: Until) {
        let redactor = self.voice.redaction.get();
        self.wash.wash(&redactor, until, &mut self.voice.clean);
    }

    /// Until there is something to read; shows the beginning of a line when its rest is long in coming.
    async fn wait(&mut self) -> io::Result<()> {
        if self.wash.is_pending() {
            match tokio::time::timeout(PAUSE, self.pipe.readable()).await {
                Ok(ready) => return ready,
                Err(_) => self.wash(Until::Pause),
            }
            self.voice.deliver().await;
        }
        self.pipe.readable().await
    }

    fn take_the_rest(&mut self) {
        let mut taken = 0;
        loop {
            self.voice.deliver_now();
            match self.read() {
                Ok(length) if length > 0 && taken < LAST_LOOK => taken += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => break,
            }
            self.wash(Until::Line);
        }
        self.voice.ended = true;
        self.wash(Until::End);
        self.voice.deliver_now();
    }
}

/// A relay at work; dropping it ends it at once, with what it holds.
#[derive(Debug)]
pub struct Relaying {
    let_go: Option<oneshot::Sender<()>>,
    task: JoinHandle<End>,
}

impl Relaying {
    /// Waits for the pipe to be closed, at most for `bound`; then lets it go.
    pub async fn finish(mut self, bound: Duration) -> End {
        if let Ok(ended) = tokio::time::timeout(bound, &mut self.task).await {
            return ended.unwrap_or(End::LetGo);
        }
        if let Some(let_go) = self.let_go.take() {
            // It may just have ended by itself.
            let _ = let_go.send(());
        }
        (&mut self.task).await.unwrap_or(End::LetGo)
    }
}

impl Drop for Relaying {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests;
