//! The one owner of wait(2): starts children, learns of every end, and ends what is left.
//!
//! One loop asks the kernel for any ended child. A known one wakes whoever waits for it; a stranger is an orphan that
//! came to us, and is counted. Spawn and registration have no await between them, so no end is missed; a signal goes
//! only to what is not yet reaped, so no number is ever another process's. Nothing else in the program may wait for a
//! child.

use super::init::Mode;
use super::process::{self, Launch, Leftovers, Pipes, SpawnError};
use super::{reason, signals};
use crate::outcome::{Exit, RunError};
use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;

/// How a process ended: by itself with `code`, or by `signal`. Both are missing where somebody else took its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Ended {
    /// What it exited with, 0 to 255.
    pub code: Option<i32>,
    /// The signal that killed it.
    pub signal: Option<i32>,
}

impl Ended {
    fn of(status: i32) -> Self {
        Self {
            code: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
            signal: libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)),
        }
    }

    /// The child's own code, or 128 + n.
    pub fn exit(&self) -> Exit {
        match (self.code, self.signal) {
            (Some(code), _) => Exit(code as u8),
            (None, Some(signal)) => Exit::of_signal(signal),
            (None, None) => Exit::SOFTWARE,
        }
    }

    /// Whether it exited with 0.
    pub fn is_success(&self) -> bool {
        self.code == Some(0)
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "exited with {code}"),
            (None, Some(signal)) => write!(f, "was killed by {} ({signal})", signals::name(signal)),
            (None, None) => f.write_str("ended, and its exit status is lost"),
        }
    }
}

/// A child of ours: its number, its end, and the way to signal it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Process {
    pid: i32,
    ended: watch::Receiver<Option<Ended>>,
}

impl Process {
    /// Its number, which is also its process group's.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// How it ended, where it has.
    pub fn ended(&self) -> Option<Ended> {
        *self.ended.borrow()
    }

    /// Waits for its end; may be dropped and called again, by several at a time.
    pub async fn wait(&self) -> Ended {
        let mut ended = self.ended.clone();
        let seen = ended.wait_for(Option::is_some).await.map(|end| *end);
        match seen {
            Ok(Some(end)) => end,
            // The registry is gone, and with it whoever could know.
            _ => std::future::pending().await,
        }
    }

    /// Sends a signal to the main process only; false when it has ended.
    ///
    /// # Errors
    /// EPERM where it runs as another user and we are not root.
    pub fn signal(&self, signal: i32) -> io::Result<bool> {
        self.send(self.pid, signal)
    }

    /// Sends a signal to its whole process group; false when the main process has ended.
    ///
    /// # Errors
    /// As [`Process::signal`].
    pub fn kill_group(&self, signal: i32) -> io::Result<bool> {
        self.send(-self.pid, signal)
    }

    fn send(&self, target: i32, signal: i32) -> io::Result<bool> {
        // An ended child that is not reaped keeps its number; one that is reaped may have lost it to another.
        if self.ended.borrow().is_some() || self.ended.has_changed().is_err() {
            return Ok(false);
        }
        kill(target, signal)
    }
}

/// A child just started.
#[derive(Debug)]
pub struct Spawned {
    /// The child.
    pub process: Process,
    /// Our ends of its pipes, blocking as made; only ours, so the readers may make them non-blocking.
    pub pipes: Pipes,
}

/// The children of this process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Processes(Rc<Registry>);

#[derive(Debug)]
struct Registry {
    mode: Mode,
    known: RefCell<HashMap<i32, Known>>,
    orphans: watch::Sender<u64>,
    /// Children that we had before we started, inherited over exec: none of our business unless we are PID 1.
    inherited: RefCell<Vec<i32>>,
}

#[derive(Debug)]
struct Known {
    leftovers: Leftovers,
    ended: watch::Sender<Option<Ended>>,
}

/// The loop that reaps; to be spawned before the first child.
#[derive(Debug)]
pub struct Reaper {
    processes: Processes,
    sigchld: Signal,
}

impl Reaper {
    /// Reaps whenever a child ends. Sleeps between, with no timer.
    pub async fn run(mut self) -> Infallible {
        loop {
            self.processes.drain();
            if self.sigchld.recv().await.is_none() {
                // The runtime's signal driver is gone, and all timers with it.
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Processes {
    /// Watches SIGCHLD and keeps every descriptor above 2 that we were started with from our children.
    ///
    /// Needs a running tokio runtime, and is made once in a process.
    ///
    /// # Errors
    /// Where the handler cannot be installed.
    pub fn new(mode: Mode) -> Result<(Self, Reaper), RunError> {
        let sigchld = signal(SignalKind::child()).map_err(|error| {
            RunError::new(
                Exit::SOFTWARE,
                "cannot watch for ended children",
                reason(&error),
            )
        })?;
        seal_descriptors();
        let inherited = match peek() {
            Peek::Ended(_) | Peek::Running if mode != Mode::Pid1 => living_children(),
            _ => Vec::new(),
        };
        let (orphans, _) = watch::channel(0);
        let processes = Self(Rc::new(Registry {
            mode,
            known: RefCell::default(),
            orphans,
            inherited: RefCell::new(inherited),
        }));
        Ok((processes.clone(), Reaper { processes, sigchld }))
    }

    /// Starts a child. Its end is known to [`Process::wait`] however soon it comes.
    ///
    /// # Errors
    /// What could not be done, from the missing program to the refused user.
    pub fn spawn(&self, launch: &Launch) -> Result<Spawned, SpawnError> {
        let started = process::start(launch)?;
        let (sender, ended) = watch::channel(None);
        let known = Known {
            leftovers: launch.leftovers,
            ended: sender,
        };
        self.0.known.borrow_mut().insert(started.pid, known);
        Ok(Spawned {
            process: Process {
                pid: started.pid,
                ended,
            },
            pipes: started.pipes,
        })
    }

    /// What we are among the processes.
    pub fn mode(&self) -> Mode {
        self.0.mode
    }

    /// How many orphans were reaped so far; can be waited on.
    pub fn orphans(&self) -> watch::Receiver<u64> {
        self.0.orphans.subscribe()
    }

    /// Reaps all that has ended. The reaper calls it; calling it more often does no harm.
    pub fn drain(&self) {
        loop {
            match peek() {
                Peek::Running => return,
                Peek::Childless => return self.give_up_lost(),
                Peek::Ended(pid) => self.reap(pid),
            }
        }
    }

    fn reap(&self, pid: i32) {
        let known = self.0.known.borrow_mut().remove(&pid);
        if known
            .as_ref()
            .is_some_and(|known| known.leftovers == Leftovers::Kill)
        {
            // The child not yet reaped still holds the group's number: now or never.
            let _ = kill(-pid, libc::SIGKILL);
        }
        let mut status = 0;
        // SAFETY: the kernel writes one int.
        let reaped = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) } == pid;
        let ended = if reaped {
            Ended::of(status)
        } else {
            Ended {
                code: None,
                signal: None,
            }
        };
        // Its number may come back as that of a child of ours.
        self.0.inherited.borrow_mut().retain(|old| *old != pid);
        match known {
            Some(known) => _ = known.ended.send_replace(Some(ended)),
            None => self.0.orphans.send_modify(|count| *count += 1),
        }
    }

    /// With no child left, whoever is still waited for was reaped by somebody else: better a strange end than none.
    fn give_up_lost(&self) {
        for (_, known) in self.0.known.borrow_mut().drain() {
            known.ended.send_replace(Some(Ended {
                code: None,
                signal: None,
            }));
        }
    }

    /// The orphans that carry `name=value` in their environment: what a service left behind by setsid(2) or a double
    /// fork. Empty in [`Mode::Plain`], where orphans do not come to us.
    ///
    /// Reading another user's environment takes CAP_SYS_PTRACE; what cannot be read is not listed.
    pub fn strays(&self, name: &str, value: &str) -> Vec<i32> {
        let wanted = format!("{name}={value}");
        let carries = |pid: &i32| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment
                .split(|byte| *byte == 0)
                .any(|entry| entry == wanted.as_bytes())
        };
        let known = self.0.known.borrow();
        self.own_children()
            .into_iter()
            .filter(|pid| !known.contains_key(pid))
            .filter(carries)
            .collect()
    }

    /// Kills the strays of [`Processes::strays`] and theirs, until none is left or `deadline`; returns those left.
    pub async fn end_strays(&self, name: &str, value: &str, deadline: Instant) -> Vec<i32> {
        let mut orphans = self.orphans();
        loop {
            // They are our children, and nobody reaps before the next await: their numbers are theirs.
            let strays = self.strays(name, value);
            if strays.is_empty() || Instant::now() >= deadline {
                return strays;
            }
            for pid in strays {
                let _ = kill(pid, libc::SIGKILL);
            }
            // One reaped orphan may free the next; the pause is for those that take their time to die.
            let _ = tokio::time::timeout_at(deadline.min(pause()), orphans.changed()).await;
        }
    }

    /// The very end: kills every process that is ours to kill and reaps until no child is left or `deadline`; returns
    /// those left.
    ///
    /// As PID 1 that is every process of the namespace. Otherwise our children's groups, and the orphans that came to
    /// us with whatever they left in turn; children that we were born with are spared.
    pub async fn kill_everything(&self, deadline: Instant) -> Vec<i32> {
        let mut sigchld = signal(SignalKind::child()).ok();
        loop {
            self.drain();
            if matches!(peek(), Peek::Childless) {
                return Vec::new();
            }
            self.kill_all();
            let left = self.own_children();
            let only_spared = left.is_empty() && !self.0.inherited.borrow().is_empty();
            if only_spared || Instant::now() >= deadline {
                self.drain();
                return left;
            }
            let _ = tokio::time::timeout_at(deadline.min(pause()), next_of(&mut sigchld)).await;
        }
    }

    fn kill_all(&self) {
        if self.0.mode == Mode::Pid1 && std::process::id() == 1 {
            let _ = kill(-1, libc::SIGKILL);
            return;
        }
        for pid in self.0.known.borrow().keys() {
            let _ = kill(-pid, libc::SIGKILL);
        }
        for pid in self.own_children() {
            let _ = kill(pid, libc::SIGKILL);
        }
    }

    /// Our living children: known ones and orphans.
    fn own_children(&self) -> Vec<i32> {
        let spared = self.0.inherited.borrow();
        living_children()
            .into_iter()
            .filter(|pid| !spared.contains(pid))
            .collect()
    }
}

/// The next signal of a stream; never, where there is none.
async fn next_of(stream: &mut Option<Signal>) {
    match stream {
        Some(stream) => _ = stream.recv().await,
        None => std::future::pending().await,
    }
}

/// When to look again, where no event would say so.
fn pause() -> Instant {
    Instant::now() + Duration::from_millis(20)
}

/// What wait(2) would find.
enum Peek {
    Ended(i32),
    Running,
    Childless,
}

/// Looks for an ended child and leaves it as it is.
fn peek() -> Peek {
    // SAFETY: siginfo_t is plain data, and the kernel writes it; si_pid is valid after waitid.
    unsafe {
        let mut found: libc::siginfo_t = std::mem::zeroed();
        let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        match libc::waitid(libc::P_ALL, 0, &raw mut found, options) {
            0 if found.si_pid() == 0 => Peek::Running,
            0 => Peek::Ended(found.si_pid()),
            _ if io::Error::last_os_error().raw_os_error() == Some(libc::ECHILD) => Peek::Childless,
            _ => Peek::Running,
        }
    }
}

/// kill(2); false where nobody is there.
fn kill(target: i32, signal: i32) -> io::Result<bool> {
    // SAFETY: integers only.
    if unsafe { libc::kill(target, signal) } == 0 {
        return Ok(true);
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ESRCH) => Ok(false),
        error => Err(error),
    }
}

/// Kills every child and its group at once, and waits for nobody: for the moment after a bug of our own.
///
/// Children that were there before us are spared, unless we are PID 1, whose end the kernel makes everybody's.
pub fn abandon() {
    for pid in living_children() {
        // SAFETY: integers only; a child that is not reaped holds its number and its group's.
        let own_group = unsafe { libc::getpgid(pid) } == pid;
        let _ = kill(if own_group { -pid } else { pid }, libc::SIGKILL);
    }
}

/// The children of this process that have not ended, from /proc; empty where it is not mounted.
fn living_children() -> Vec<i32> {
    let parent = std::process::id().to_string();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &i32| {
        // proc(5): the name in parentheses may hold anything, then come state and parent.
        let stat = std::fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
        let stat = String::from_utf8_lossy(&stat);
        let mut fields = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace();
        let (state, ppid) = (fields.next(), fields.next());
        ppid == Some(&parent) && !matches!(state, Some("Z" | "X"))
    })
    .collect()
}

/// Marks what we inherited above stderr close-on-exec; all that we open ourselves is so from the start.
fn seal_descriptors() {
    // SAFETY: integers only.
    let sealed = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3u32,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if sealed == 0 {
        return;
    }
    // Before Linux 5.11, one by one.
    for entry in std::fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten()
    {
        if let Some(fd) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
            && fd > 2
        {
            // SAFETY: integers only; a number that is closed by now is refused.
            unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
}

#[cfg(test)]
mod tests;
