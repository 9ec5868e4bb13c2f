//! What the tests of these rooms share: one test at a time, forked processes of their own, and a short runtime.
//!
//! `waitpid(-1)`, signal dispositions and the umask belong to the whole process. nextest gives each test a process;
//! under `cargo test` [`alone`] keeps the tests that touch them one after the other.

use super::init::Mode;
use super::process::{Launch, Output};
use super::reaper::{Ended, Processes};
use std::ffi::CStr;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

static ALONE: Mutex<()> = Mutex::new(());

/// Holds every other test of this process back that asks for the same.
pub fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `body` on a current_thread runtime with a `LocalSet`, and fails after a minute.
pub fn on_runtime<F: Future<Output = ()>>(body: F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(Duration::from_secs(60), body)
            .await
            .expect("the test ends in time");
    });
}

/// [`on_runtime`] with a registry of processes whose reaper runs.
pub fn with_processes<F: Future<Output = ()>>(body: impl FnOnce(Processes) -> F) {
    on_runtime(async {
        let (processes, reaper) = Processes::new(Mode::detect()).expect("SIGCHLD can be watched");
        let reaping = tokio::task::spawn_local(reaper.run());
        body(processes.clone()).await;
        // The next test of this process is to find no child.
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        assert_eq!(processes.kill_everything(deadline).await, Vec::<i32>::new());
        reaping.abort();
    });
}

/// Whether the test runs as root; says by name what is skipped where it does not.
pub fn is_root(test: &str) -> bool {
    // SAFETY: no arguments.
    let root = unsafe { libc::geteuid() } == 0;
    if !root {
        eprintln!("skipped: {test} needs root");
    }
    root
}

/// Runs `body` in a forked process inside new namespaces (`CLONE_NEWPID`, `CLONE_NEWNS` …; 0 for none), and fails
/// where it panics. Says so and passes where the machine refuses the namespaces.
pub fn apart(namespaces: i32, body: impl FnOnce() + Send + 'static) {
    let _alone = alone();
    if is_among_others() {
        return by_itself();
    }
    // unshare(CLONE_NEWPID) holds for the calling thread's next children: a thread of its own leaves no trace.
    std::thread::spawn(move || {
        // SAFETY: unshare and fork take no pointers; the child runs on and ends by _exit.
        unsafe {
            if namespaces != 0 && libc::unshare(namespaces) != 0 {
                eprintln!(
                    "skipped: unshare is refused: {}",
                    io::Error::last_os_error()
                );
                return;
            }
            let pid = libc::fork();
            assert!(pid >= 0, "fork: {}", io::Error::last_os_error());
            if pid == 0 {
                std::panic::set_hook(Box::new(|panic| {
                    let text = format!("{panic}\n");
                    libc::write(2, text.as_ptr().cast(), text.len());
                }));
                let failed = catch_unwind(AssertUnwindSafe(body)).is_err();
                libc::_exit(failed.into());
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
            assert_eq!(status, 0, "the forked part of the test failed");
        }
    })
    .join()
    .expect("the forked part of the test passes");
}

/// Says to a test program that it runs one test alone.
const BY_ITSELF: &str = "RUNNER_TEST_BY_ITSELF";

/// Whether other tests may run in this process at the same time: then a forked one would hold their sockets open, and
/// locks that nobody ever releases. nextest gives each test a process, and a lone test thread is the main one.
fn is_among_others() -> bool {
    let is_set = |name| std::env::var_os(name).is_some();
    let is_main = std::thread::current().name() == Some("main");
    !is_set("NEXTEST") && !is_set(BY_ITSELF) && !is_main
}

/// Runs the test that calls this once more, in a process of its own.
#[expect(
    clippy::disallowed_methods,
    reason = "no reaper is at work: the caller is alone"
)]
fn by_itself() {
    let thread = std::thread::current();
    let test = thread.name().expect("a test's thread has its name");
    let program = std::env::current_exe().expect("a test program has a path");
    let status = std::process::Command::new(program)
        .args(["--exact", test, "--nocapture"])
        .env(BY_ITSELF, "1")
        .status()
        .expect("the test program starts");
    assert!(status.success(), "{test} by itself: {status}");
}

/// A child that runs `script` in sh(1), with a usual PATH and its output in pipes.
pub fn sh(script: &str) -> Launch {
    Launch {
        args: vec!["-c".into(), script.into()],
        environment: vec![("PATH".into(), "/usr/bin:/bin:/usr/sbin:/sbin".into())],
        output: Output::Pipe,
        ..Launch::new("/bin/sh")
    }
}

/// All that comes out of a pipe until its last writer is gone.
pub async fn read_all(pipe: Option<OwnedFd>) -> String {
    let mut text = String::new();
    let mut pipe = Receiver::from_owned_fd(pipe.expect("a pipe")).expect("a pipe to read");
    pipe.read_to_string(&mut text).await.expect("UTF-8");
    text
}

/// Runs a child to its end; what it wrote to stdout, and how it ended.
pub async fn output(processes: &Processes, launch: &Launch) -> (String, Ended) {
    let spawned = processes.spawn(launch).expect("it starts");
    let text = read_all(spawned.pipes.stdout).await;
    (text, spawned.process.wait().await)
}

/// Mounts a file system in a namespace made by [`apart`] with `CLONE_NEWNS`, unseen by the rest of the machine.
pub fn mount(kind: &CStr, target: &CStr, options: &CStr) {
    let none = std::ptr::null();
    // SAFETY: C strings, or null where mount(2) takes it.
    unsafe {
        let private = libc::mount(
            none,
            c"/".as_ptr(),
            none,
            libc::MS_REC | libc::MS_PRIVATE,
            none.cast(),
        );
        assert_eq!(private, 0, "{}", io::Error::last_os_error());
        let mounted = libc::mount(
            kind.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            0,
            options.as_ptr().cast(),
        );
        assert_eq!(mounted, 0, "{}", io::Error::last_os_error());
    }
}

/// Makes prctl(`option`) answer EPERM from now on, as a seccomp profile would.
pub fn refuse_prctl(option: i32) {
    let rule = |code: u32, jt, jf, k| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let (load, equal, answer) = (
        libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
        libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
        libc::BPF_RET | libc::BPF_K,
    );
    let mut rules = [
        rule(load, 0, 0, 0), // the call's number
        rule(equal, 0, 3, libc::SYS_prctl as u32),
        rule(load, 0, 0, 16), // its first argument, lower half
        rule(equal, 0, 1, option as u32),
        rule(answer, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        rule(answer, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: rules.len() as u16,
        filter: rules.as_mut_ptr(),
    };
    // SAFETY: the program outlives the call.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let set = libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        );
        assert_eq!(set, 0, "seccomp: {}", io::Error::last_os_error());
    }
}

/// A fresh empty directory that every user can enter, removed when dropped.
pub struct Folder(pub std::path::PathBuf);

impl Folder {
    pub fn new() -> Self {
        let name: String = super::files::random(8)
            .expect("random bytes")
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        let path = std::env::temp_dir().join(format!("runner-test-{name}"));
        std::fs::create_dir(&path).expect("a directory");
        Self(path)
    }

    /// Writes a file with this text and mode, and returns its path.
    pub fn file(&self, name: &str, text: &str, mode: u32) -> std::path::PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("its mode");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
