//! The built binary in a scratch folder of its own: what it is given, what it says, how it ends.
//!
//! Nothing here sleeps for a guessed time: a test waits for a line, an event or a file, with a deadline.

#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod moto;
#[path = "../../src/sys/scripted.rs"]
pub mod scripted;
pub mod server;

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, mpsc};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

/// How long a test waits for what must happen.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// The pause between two looks at something that gives no sign, such as a file.
const LOOK: Duration = Duration::from_millis(2);

/// A folder with a roles.yaml and what belongs to it; removed when dropped.
pub struct Place {
    dir: PathBuf,
    env: Vec<(String, String)>,
}

impl Place {
    /// A fresh folder that every user may enter.
    pub fn empty() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("runner-test-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).expect("the temporary directory is writable");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("it is ours");
        let path = ("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned());
        // Beside the folder, so that a test which lists it finds what it put there.
        let socket = dir.with_extension("sock").display().to_string();
        Self {
            dir,
            env: vec![path, ("RUNNER_SOCKET".to_owned(), socket)],
        }
    }

    /// One with this roles.yaml, behind `version: 1`.
    pub fn with(roles: &str) -> Self {
        Self::empty().file("roles.yaml", format!("version: 1\n{roles}"))
    }

    /// One whose only role `r` has these steps, each a line of YAML.
    pub fn steps(steps: &[&str]) -> Self {
        Self::with(&format!("roles:\n  r:\n    startup:\n{}", list(steps, 6)))
    }

    /// One whose only role `r` has the loop `l`: its keys, and its steps.
    pub fn looping(keys: &str, steps: &[&str]) -> Self {
        let steps = list(steps, 10);
        Self::with(&format!(
            "roles:\n  r:\n    loops:\n      l:\n        {keys}\n        steps:\n{steps}"
        ))
    }

    /// The same with one more file.
    #[must_use]
    pub fn file(self, name: &str, text: impl AsRef<[u8]>) -> Self {
        let path = self.dir.join(name);
        fs::create_dir_all(path.parent().expect("a file has a folder")).expect("it is ours");
        fs::write(path, text).expect("the folder is ours");
        self
    }

    /// The same with one more variable in the environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The text of a file in the folder.
    pub fn read(&self, name: &str) -> String {
        let path = self.dir.join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Whether something has this name.
    pub fn has(&self, name: &str) -> bool {
        self.dir.join(name).symlink_metadata().is_ok()
    }

    /// The names of the files in the folder, sorted.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.dir).expect("the folder is there");
        let mut names: Vec<String> = entries
            .map(|entry| {
                let name = entry.expect("readable").file_name();
                name.to_string_lossy().into_owned()
            })
            .collect();
        names.sort();
        names
    }

    /// Waits until a file has this many lines; its text.
    pub fn wait_lines(&self, name: &str, count: usize) -> String {
        let started = Instant::now();
        loop {
            let text = fs::read_to_string(self.dir.join(name)).unwrap_or_default();
            if text.matches('\n').count() >= count {
                return text;
            }
            assert!(
                started.elapsed() < DEADLINE,
                "{name} has not {count} lines: {text:?}"
            );
            std::thread::sleep(LOOK);
        }
    }

    /// The binary with these arguments, ready to start here.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
        command.args(args);
        self.prepare(&mut command);
        command
    }

    /// The role `r`, played by nobody (uid 65534), which takes root to become.
    pub fn play_as_nobody(&self) -> Ended {
        // The build's own folder may be closed to others. A copy made by this process could be "busy": a child that
        // another test forks meanwhile would hold it open for writing.
        let copy = self.path("runner");
        let copied = Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_runner"))
            .arg(&copy)
            .status();
        assert!(copied.is_ok_and(|status| status.success()));
        let mut command = Command::new(copy);
        command.args(["run", "r"]).uid(65534).gid(65534);
        self.prepare(&mut command);
        Running::start(command).wait()
    }

    /// Gives a command this folder and this environment.
    pub fn prepare(&self, command: &mut Command) {
        command
            .current_dir(&self.dir)
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
    }

    /// Starts the binary.
    pub fn start(&self, args: &[&str]) -> Running {
        Running::start(self.command(args))
    }

    /// Runs the binary to its end.
    pub fn run(&self, args: &[&str]) -> Ended {
        self.start(args).wait()
    }

    /// Plays the role `r` to its end.
    pub fn play(&self) -> Ended {
        self.run(&["run", "r"])
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
        let _ = fs::remove_file(self.dir.with_extension("sock"));
    }
}

/// Lines of YAML as the entries of a list; a line break in one goes on at the entry's depth.
fn list(entries: &[&str], indent: usize) -> String {
    let blank = " ".repeat(indent);
    entries
        .iter()
        .map(|entry| {
            let entry = entry.replace('\n', &format!("\n{blank}  "));
            format!("{blank}- {entry}\n")
        })
        .collect()
}

/// What a stream has brought so far.
#[derive(Default)]
struct Stream {
    bytes: Mutex<(Vec<u8>, bool)>,
    more: Condvar,
}

impl Stream {
    fn follow(mut pipe: impl Read + Send + 'static) -> Arc<Self> {
        let stream = Arc::new(Self::default());
        let shared = Arc::clone(&stream);
        std::thread::spawn(move || {
            let mut chunk = [0; 16 * 1024];
            loop {
                let length = pipe.read(&mut chunk).unwrap_or(0);
                let mut bytes = shared.bytes.lock().expect("no panic");
                bytes.0.extend_from_slice(&chunk[..length]);
                bytes.1 = length == 0;
                shared.more.notify_all();
                if length == 0 {
                    return;
                }
            }
        });
        stream
    }

    /// Waits until `found` finds something in the text, or the stream ends, or the deadline.
    fn wait<T>(&self, found: impl Fn(&str) -> Option<T>) -> Result<T, String> {
        let deadline = Instant::now() + DEADLINE;
        let mut bytes: MutexGuard<'_, (Vec<u8>, bool)> = self.bytes.lock().expect("no panic");
        loop {
            let text = String::from_utf8_lossy(&bytes.0);
            if let Some(found) = found(&text) {
                return Ok(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if bytes.1 || left.is_zero() {
                return Err(text.into_owned());
            }
            bytes = self.more.wait_timeout(bytes, left).expect("no panic").0;
        }
    }

    /// All of it, once the stream has ended.
    fn whole(&self) -> String {
        let deadline = Instant::now() + DEADLINE;
        let mut bytes = self.bytes.lock().expect("no panic");
        while !bytes.1 {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "somebody still holds the stream open");
            bytes = self.more.wait_timeout(bytes, left).expect("no panic").0;
        }
        String::from_utf8_lossy(&bytes.0).into_owned()
    }
}

/// The binary while it runs. Dropped before its end, it is told twice to stop, and killed.
pub struct Running {
    pid: i32,
    started: Instant,
    stdout: Arc<Stream>,
    stderr: Arc<Stream>,
    end: mpsc::Receiver<(ExitStatus, Instant)>,
    ended: Option<(ExitStatus, Instant)>,
}

impl Running {
    /// Starts a command in a process group of its own, with its output followed.
    pub fn start(mut command: Command) -> Self {
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let started = Instant::now();
        let mut child = command.spawn().expect("it can be started");
        let stdout = Stream::follow(child.stdout.take().expect("piped"));
        let stderr = Stream::follow(child.stderr.take().expect("piped"));
        let pid = child.id().cast_signed();
        let (tell, end) = mpsc::channel();
        std::thread::spawn(move || {
            let status = child.wait().expect("it is our child");
            let _ = tell.send((status, Instant::now()));
        });
        Self {
            pid,
            started,
            stdout,
            stderr,
            end,
            ended: None,
        }
    }

    /// Its process's number.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: i32) {
        kill(self.pid, signal);
    }

    /// Waits for an event of its log; the line.
    pub fn wait_event(&self, event: &str) -> Json {
        let found = |text: &str| {
            json_lines(text)
                .into_iter()
                .find(|line| line["event"] == event)
        };
        match self.stderr.wait(found) {
            Ok(line) => line,
            Err(text) => panic!("no event `{event}` in\n{text}"),
        }
    }

    /// Waits until a text stands in its stdout.
    pub fn wait_stdout(&self, wanted: &str) {
        if let Err(text) = self.stdout.wait(|text| text.contains(wanted).then_some(())) {
            panic!("no `{wanted}` in\n{text}");
        }
    }

    /// Waits until a text stands in its stderr.
    pub fn wait_stderr(&self, wanted: &str) {
        if let Err(text) = self.stderr.wait(|text| text.contains(wanted).then_some(())) {
            panic!("no `{wanted}` in\n{text}");
        }
    }

    /// Sends SIGTERM and waits for the end.
    pub fn stop(self) -> Ended {
        self.signal(libc::SIGTERM);
        self.wait()
    }

    /// Waits for the end.
    pub fn wait(mut self) -> Ended {
        let (status, at) = self
            .ended_within(DEADLINE)
            .unwrap_or_else(|| panic!("it does not end; so far:\n{}", self.so_far()));
        Ended {
            code: status.code(),
            signal: status.signal(),
            stdout: self.stdout.whole(),
            stderr: self.stderr.whole(),
            took: at - self.started,
            at,
        }
    }

    fn so_far(&self) -> String {
        let bytes = self.stderr.bytes.lock().expect("no panic");
        String::from_utf8_lossy(&bytes.0).into_owned()
    }

    fn ended_within(&mut self, limit: Duration) -> Option<(ExitStatus, Instant)> {
        if self.ended.is_none() {
            self.ended = self.end.recv_timeout(limit).ok();
        }
        self.ended
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended_within(Duration::ZERO).is_some() {
            return;
        }
        self.signal(libc::SIGTERM);
        self.signal(libc::SIGINT);
        if self.ended_within(Duration::from_secs(5)).is_none() {
            kill(-self.pid, libc::SIGKILL);
            let _ = self.ended_within(Duration::from_secs(5));
        }
    }
}

/// How it ended, and all it said.
#[derive(Debug)]
pub struct Ended {
    /// What it exited with; none where a signal killed it.
    pub code: Option<i32>,
    /// The signal that killed it.
    pub signal: Option<i32>,
    /// Its stdout.
    pub stdout: String,
    /// Its stderr.
    pub stderr: String,
    /// From its start to its end.
    pub took: Duration,
    /// When it ended.
    pub at: Instant,
}

impl Ended {
    /// The lines of its log, children's stderr among them.
    pub fn log(&self) -> Vec<Json> {
        json_lines(&self.stderr)
    }

    /// The messages of one event.
    pub fn messages(&self, event: &str) -> Vec<String> {
        let log = self.log();
        let lines = log.iter().filter(|line| line["event"] == event);
        lines.map(|line| text(&line["message"])).collect()
    }

    /// What a child wrote to stdout, line by line.
    pub fn said(&self) -> Vec<String> {
        let lines = json_lines(&self.stdout);
        lines.iter().map(|line| text(&line["message"])).collect()
    }

    /// The last line of its log, which says why it ended.
    pub fn why(&self) -> String {
        let last = self.stderr.lines().last().unwrap_or_default();
        let last: Json = serde_json::from_str(last)
            .unwrap_or_else(|_| panic!("the last line is not of the log:\n{}", self.stderr));
        assert_eq!(last["event"], "ended", "{}", self.stderr);
        let message = text(&last["message"]);
        let code = self.code.unwrap_or(-1);
        let start = format!("exit {code}: ");
        match message.strip_prefix(&start) {
            Some(why) => why.to_owned(),
            None => panic!("`{message}` does not begin with `{start}`"),
        }
    }

    /// Ends with this code, and with a sentence that says this.
    #[track_caller]
    pub fn expect(&self, code: i32, why: &str) -> &Self {
        assert_eq!(
            self.code,
            Some(code),
            "signal {:?}, stderr:\n{}",
            self.signal,
            self.stderr
        );
        let found = self.why();
        assert!(found.contains(why), "no `{why}` in `{found}`");
        self
    }
}

fn text(json: &Json) -> String {
    json.as_str().unwrap_or_default().to_owned()
}

fn json_lines(text: &str) -> Vec<Json> {
    // The last line may be under way.
    text.split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// kill(2), which may find nobody.
pub fn kill(target: i32, signal: i32) {
    // SAFETY: integers only.
    unsafe { libc::kill(target, signal) };
}

/// Waits until nobody has this number, or only a zombie.
pub fn wait_gone(pid: i32) {
    let started = Instant::now();
    while lives(pid) {
        assert!(started.elapsed() < DEADLINE, "{pid} still lives");
        std::thread::sleep(LOOK);
    }
}

/// Whether a process runs.
pub fn lives(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(')')
        .next()
        .and_then(|rest| rest.split_whitespace().next());
    !matches!(state, None | Some("Z" | "X"))
}

/// Whether we are root; where not, says what is skipped, which in CI is a failure.
pub fn root(test: &str) -> bool {
    // SAFETY: no arguments.
    let root = unsafe { libc::geteuid() } == 0;
    root || skip(test, "it needs root")
}

/// Says what is not tested; false.
pub fn skip(test: &str, why: &str) -> bool {
    let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(!ci, "{test} cannot run: {why}");
    println!("skipped: {test}: {why}");
    false
}

/// The folder of the package.
pub fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
