//! `runner run` with the portal's role, and its log as it comes.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::http::PATIENCE;
use crate::place::{Place, ROOT};

/// How often something is asked for that cannot be waited for.
pub const POLL: Duration = Duration::from_millis(5);

/// A running portal.
pub struct Portal {
    child: Child,
    log: Arc<Log>,
    /// Read both streams to their end.
    readers: Vec<JoinHandle<()>>,
}

/// The binary, as a place has it.
pub fn runner(place: &Place) -> Command {
    let mut path = Path::new(ROOT).join(".venv/bin").into_os_string();
    path.push(":/usr/sbin:/usr/bin:/sbin:/bin");
    let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
    command
        .current_dir(&place.dir)
        .env_clear()
        .env("PATH", path)
        .env("application_type", "portal")
        .env("IDENTITY", "file:gac.json")
        .env("RUNNER_SOCKET", "/tmp/runner.sock")
        .env("RUNNER_LOG_FORMAT", "json")
        .env("PYTHONPATH", Path::new(ROOT).join("tests/portal_app"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONWARNINGS", "ignore")
        .env("PORTAL_HOLD", &place.hold)
        .stdin(Stdio::null());
    command
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<Value>>,
    grown: Condvar,
}

impl Portal {
    /// Starts the role that `application_type` names.
    pub fn start(place: &Place) -> Self {
        let mut child = runner(place)
            .arg("run")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary can be run");
        let log = Arc::new(Log::default());
        let readers = vec![
            follow(child.stdout.take().expect("it is piped"), &log),
            follow(child.stderr.take().expect("it is piped"), &log),
        ];
        Self {
            child,
            log,
            readers,
        }
    }

    /// The first line of the log from `after` on that `is_it` says yes to, waited for, and the place behind it.
    pub fn wait_for(
        &self,
        after: usize,
        what: &str,
        is_it: impl Fn(&Line) -> bool,
    ) -> (Line, usize) {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.log.lines.lock().expect("nobody panics with it");
        loop {
            let found = (after..lines.len()).find(|&at| is_it(&Line(lines[at].clone())));
            if let Some(at) = found {
                return (Line(lines[at].clone()), at + 1);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {what} in the log:\n{}", shown(&lines));
            lines = self
                .log
                .grown
                .wait_timeout(lines, left)
                .expect("nobody panics with it")
                .0;
        }
    }

    /// An event of a member's replica, waited for.
    pub fn event(
        &self,
        after: usize,
        event: &str,
        member: &str,
        replica: Option<u64>,
    ) -> (Line, usize) {
        self.wait_for(
            after,
            &format!("`{event}` of {member} {replica:?}"),
            |line| {
                line.event() == event
                    && line.member() == member
                    && (replica.is_none() || line.replica() == replica)
            },
        )
    }

    /// All lines by now.
    pub fn lines(&self) -> Vec<Line> {
        let lines = self.log.lines.lock().expect("nobody panics with it");
        lines.iter().cloned().map(Line).collect()
    }

    /// Sends runner a signal.
    pub fn signal(&self, signal: libc::c_int) {
        let pid = libc::pid_t::try_from(self.child.id()).expect("a pid");
        // SAFETY: integers only; the child is not waited for yet, so the number is its own.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0, "runner is there");
    }

    /// Waits for the end and for the last line of the log.
    pub fn end(mut self) -> (ExitStatus, Vec<Line>) {
        let (_, _) = self.wait_for(0, "last line", |line| line.event() == "ended");
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().expect("it is our child") {
                Some(status) => break status,
                None => assert!(
                    Instant::now() < deadline,
                    "runner said its last line and goes on"
                ),
            }
            std::thread::park_timeout(POLL);
        };
        // What the last line was said on is one of two streams.
        for reader in self.readers.drain(..) {
            reader.join().expect("a reader does not panic");
        }
        (status, self.lines())
    }
}

impl Drop for Portal {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            // A failed test: a second signal kills at once, its processes too.
            self.signal(libc::SIGTERM);
            self.signal(libc::SIGTERM);
            let _ = self.child.wait();
        }
    }
}

/// A line of the log: an event of runner's, or a relayed line.
pub struct Line(pub Value);

impl Line {
    fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap_or_default()
    }

    /// The event's name; empty for a relayed line.
    pub fn event(&self) -> &str {
        self.text("event")
    }

    pub fn member(&self) -> &str {
        self.text("member")
    }

    pub fn replica(&self) -> Option<u64> {
        self.0["replica"].as_u64()
    }

    pub fn message(&self) -> &str {
        self.text("message")
    }

    /// When it was said, in milliseconds of the day.
    pub fn clock(&self) -> u64 {
        let time = self.text("time");
        let part = |from: usize, to: usize| time[from..to].parse::<u64>().expect("a time");
        ((part(11, 13) * 60 + part(14, 16)) * 60 + part(17, 19)) * 1000 + part(20, 23)
    }

    /// The process that the event is about.
    pub fn pid(&self) -> libc::pid_t {
        let after = self.message().split("pid ").nth(1).unwrap_or_default();
        let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
        digits
            .parse()
            .unwrap_or_else(|_| panic!("no pid in `{}`", self.message()))
    }
}

fn follow(stream: impl Read + Send + 'static, log: &Arc<Log>) -> JoinHandle<()> {
    let log = log.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
            log.lines.lock().expect("nobody panics with it").push(value);
            log.grown.notify_all();
        }
    })
}

fn shown(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}
