//! What a child is started with, and the start itself; [`super::reaper`] is the only caller.
//!
//! A child has a process group of its own, default signals, the environment given and no other, and no descriptor of
//! ours beyond 0, 1 and 2. Between fork and exec nothing allocates: all is made ready before.

mod refusal;

pub use refusal::SpawnError;

use super::user::User;
use refusal::{Place, Refusal};
use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// How large our pipes are made where the kernel lets us, in bytes; its default is 64 KiB.
const PIPE_BYTES: i32 = 256 * 1024;

/// Where programs are looked for when the environment has no PATH; what execvp(3) takes.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// A child to start.
#[derive(Clone)]
pub struct Launch {
    /// A path, or a name that is looked for in the PATH of `environment`.
    pub program: OsString,
    /// The arguments after the program's name.
    pub args: Vec<OsString>,
    /// The whole environment: nothing of ours is added.
    pub environment: Vec<(OsString, OsString)>,
    /// Where it runs; ours by default. Relative programs and PATH entries start here.
    pub working_dir: Option<PathBuf>,
    /// Whom it runs as; us by default. Also sets no_new_privs.
    pub user: Option<User>,
    /// Its stdin.
    pub input: Input,
    /// Its stdout and stderr.
    pub output: Output,
    /// What becomes of its process group when it ends.
    pub leftovers: Leftovers,
}

/// A child's stdin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// `/dev/null`.
    Null,
    /// A pipe that we write to.
    Pipe,
}

/// A child's stdout and stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Ours, untouched.
    Inherit,
    /// Two pipes that we read. They belong to the child's user, so that it can open `/dev/stdout` again.
    Pipe,
}

/// What becomes of the rest of a child's process group when the child itself ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leftovers {
    /// SIGKILL, before the child's end is told: then its ports and files are free for a successor.
    Kill,
    /// They go on, as orphans, until the very end.
    Keep,
}

impl Launch {
    /// A child with an empty environment, no input, our output, and nothing left over.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            environment: Vec::new(),
            working_dir: None,
            user: None,
            input: Input::Null,
            output: Output::Inherit,
            leftovers: Leftovers::Kill,
        }
    }
}

/// Arguments and environment may hold what must not be shown: only their number is.
impl fmt::Debug for Launch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Launch")
            .field("program", &self.program)
            .field("args", &self.args.len())
            .field("environment", &self.environment.len())
            .field("working_dir", &self.working_dir)
            .field("user", &self.user.as_ref().map(|user| &user.written))
            .finish_non_exhaustive()
    }
}

/// A child that runs, not yet known to the reaper.
pub(super) struct Started {
    pub pid: i32,
    pub pipes: Pipes,
}

/// Our ends of a child's pipes.
#[derive(Debug, Default)]
pub struct Pipes {
    /// Where to write its stdin.
    pub stdin: Option<OwnedFd>,
    /// Where to read its stdout.
    pub stdout: Option<OwnedFd>,
    /// Where to read its stderr.
    pub stderr: Option<OwnedFd>,
}

/// Forks and executes; returns once the program runs or could not be started.
pub(super) fn start(launch: &Launch) -> Result<Started, SpawnError> {
    let image = Image::prepare(launch)?;
    let refused = |error: io::Error| Refusal::of(&error).explain(launch);
    let mut command = Command::new(&launch.program);
    let pipes = connect(launch, &mut command).map_err(refused)?;
    command.process_group(0);
    // SAFETY: the closure only makes system calls on memory that was prepared before the fork.
    unsafe { command.pre_exec(move || Err(image.become_program())) };
    // The reaper waits: this handle is only a number. A child that could not exec is reaped inside `spawn`.
    #[expect(clippy::disallowed_methods, reason = "the one place that forks")]
    let child = command.spawn().map_err(refused)?;
    Ok(Started {
        pid: child.id().cast_signed(),
        pipes,
    })
}

/// Becomes another program: same number, same descriptors, default signals. Returns only when it could not.
///
/// Children of ours become the new program's; the caller has ended them.
pub fn replace(launch: &Launch) -> SpawnError {
    match Image::prepare(launch) {
        Ok(image) => Refusal::of(&image.become_program()).explain(launch),
        Err(error) => error,
    }
}

/// Makes the pipes and gives the child its ends.
fn connect(launch: &Launch, command: &mut Command) -> io::Result<Pipes> {
    let mut pipes = Pipes::default();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::inherit())
        .stderr(Stdio::inherit());
    if launch.input == Input::Pipe {
        let (theirs, ours) = io::pipe()?;
        hand_over(theirs.as_fd(), launch.user.as_ref());
        command.stdin(theirs);
        pipes.stdin = Some(ours.into());
    }
    if launch.output == Output::Pipe {
        let (ours, theirs) = io::pipe()?;
        hand_over(theirs.as_fd(), launch.user.as_ref());
        command.stdout(theirs);
        pipes.stdout = Some(ours.into());
        let (ours, theirs) = io::pipe()?;
        hand_over(theirs.as_fd(), launch.user.as_ref());
        command.stderr(theirs);
        pipes.stderr = Some(ours.into());
    }
    Ok(pipes)
}

/// Enlarges a pipe and gives it to the child's user. Both are best effort: a smaller pipe works too, and where the
/// owner cannot be set the switch of the user fails next and tells why.
fn hand_over(end: std::os::fd::BorrowedFd<'_>, user: Option<&User>) {
    // SAFETY: fcntl with an integer argument.
    unsafe { libc::fcntl(end.as_raw_fd(), libc::F_SETPIPE_SZ, PIPE_BYTES) };
    if let Some(user) = user {
        let _ = std::os::unix::fs::fchown(end, Some(user.uid), Some(user.gid));
    }
}

/// All that the forked child needs, in the form that the kernel takes.
struct Image {
    candidates: Vec<CString>,
    /// Keep what the pointers below point to.
    _argv: Vec<CString>,
    _envp: Vec<CString>,
    argv: Vec<*const libc::c_char>,
    envp: Vec<*const libc::c_char>,
    working_dir: Option<CString>,
    user: Option<Identity>,
}

/// The ids to take on.
struct Identity {
    uid: u32,
    gid: u32,
    /// `None` where we run as this user already and only no_new_privs is to be set.
    groups: Option<Vec<u32>>,
}

// SAFETY: the pointers lead into the strings beside them, which nobody changes; the forked child is alone with them.
unsafe impl Send for Image {}
// SAFETY: as above.
unsafe impl Sync for Image {}

impl Image {
    fn prepare(launch: &Launch) -> Result<Self, SpawnError> {
        let argv = std::iter::once((&launch.program, "the program's name".to_owned()))
            .chain(
                launch
                    .args
                    .iter()
                    .enumerate()
                    .map(|(at, arg)| (arg, format!("argument {}", at + 1))),
            )
            .map(|(text, what)| c_string(text.as_bytes(), &what))
            .collect::<Result<Vec<_>, _>>()?;
        let envp = launch
            .environment
            .iter()
            .map(|(name, value)| variable(name, value))
            .collect::<Result<Vec<_>, _>>()?;
        let candidates = candidates(launch)
            .into_iter()
            .map(|path| c_string(path.as_os_str().as_bytes(), "PATH"))
            .collect::<Result<Vec<_>, _>>()?;
        let working_dir = launch
            .working_dir
            .as_ref()
            .map(|dir| c_string(dir.as_os_str().as_bytes(), "the working directory's name"))
            .transpose()?;
        Ok(Self {
            candidates,
            argv: pointers(&argv),
            envp: pointers(&envp),
            _argv: argv,
            _envp: envp,
            working_dir,
            user: launch.user.as_ref().map(|user| Identity {
                uid: user.uid,
                gid: user.gid,
                groups: (!user.is_ours()).then(|| user.groups.clone()),
            }),
        })
    }

    /// Runs in the forked child, and returns only with what went wrong.
    fn become_program(&self) -> io::Error {
        default_signals();
        if let Some(refusal) = self.user.as_ref().and_then(|user| user.take_on().err()) {
            return refusal.pack();
        }
        if let Some(dir) = &self.working_dir {
            // SAFETY: a C string.
            if unsafe { libc::chdir(dir.as_ptr()) } != 0 {
                return Refusal::here(Place::WorkingDir).pack();
            }
        }
        self.execute().pack()
    }

    /// execvp(3) without its shell fallback, which would feed a program of another machine to /bin/sh.
    fn execute(&self) -> Refusal {
        let mut first = None;
        for (at, candidate) in self.candidates.iter().enumerate() {
            // SAFETY: C strings, and arrays of them that end with null.
            let there = unsafe {
                libc::execve(candidate.as_ptr(), self.argv.as_ptr(), self.envp.as_ptr());
                let errno = io::Error::last_os_error();
                let there = libc::access(candidate.as_ptr(), libc::F_OK) == 0;
                Refusal::of(&errno).at(Place::Execute, at, there)
            };
            match there.errno {
                libc::EACCES | libc::ENOENT if there.place == Place::Execute => {
                    _ = first.get_or_insert(there)
                }
                // A directory of PATH that is no directory, that we may not enter, or whose server is gone.
                libc::ENOENT
                | libc::ENOTDIR
                | libc::EACCES
                | libc::ESTALE
                | libc::ENODEV
                | libc::ETIMEDOUT
                    if self.candidates.len() > 1 => {}
                _ => return there,
            }
        }
        first.unwrap_or(Refusal {
            place: Place::Search,
            index: 0,
            errno: libc::ENOENT,
        })
    }
}

impl Identity {
    /// Drops to these ids for good, and makes sure of it.
    fn take_on(&self) -> Result<(), Refusal> {
        let done = |place, result: libc::c_long| {
            if result == 0 {
                Ok(())
            } else {
                Err(Refusal::here(place))
            }
        };
        if let Some(groups) = &self.groups {
            let (uid, gid) = (self.uid, self.gid);
            let (mut uids, mut gids) = ([!uid; 3], [!gid; 3]);
            // SAFETY: raw calls, since libc's wrappers take locks to tell other threads, of which a fork has none;
            // the arrays have the sizes that are said or that the kernel writes.
            unsafe {
                done(
                    Place::SetGroups,
                    libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()),
                )?;
                done(
                    Place::SetGid,
                    libc::syscall(libc::SYS_setresgid, gid, gid, gid),
                )?;
                done(
                    Place::SetUid,
                    libc::syscall(libc::SYS_setresuid, uid, uid, uid),
                )?;
                let [real, effective, saved] = &mut uids;
                libc::getresuid(real, effective, saved);
                let [real, effective, saved] = &mut gids;
                libc::getresgid(real, effective, saved);
                let count = libc::getgroups(0, std::ptr::null_mut());
                if uids != [uid; 3] || gids != [gid; 3] || count as usize != groups.len() {
                    return Err(Refusal {
                        place: Place::Verify,
                        index: 0,
                        errno: libc::EPERM,
                    });
                }
            }
        }
        // SAFETY: integer arguments only.
        let set = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        done(Place::NoNewPrivs, set.into())
    }
}

/// Gives every signal its default disposition and unblocks it; runs in the forked child.
fn default_signals() {
    // A struct kernel_sigaction of zeros is SIG_DFL with no flags. libc's signal(3) leaves out 32 and 33, which it
    // keeps for its threads and which a parent can have ignored all the same.
    let default = [0u64; 8];
    // SAFETY: the array is larger than the kernel's struct, the set is initialised before use. What the kernel
    // refuses (SIGKILL, SIGSTOP) is as it should be anyway.
    unsafe {
        for number in 1..=libc::SIGRTMAX() {
            let old = std::ptr::null_mut::<u64>();
            libc::syscall(
                libc::SYS_rt_sigaction,
                number,
                default.as_ptr(),
                old,
                size_of::<u64>(),
            );
        }
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// The PATH that a child's program is looked for in.
fn search_path(launch: &Launch) -> &OsStr {
    let path = launch.environment.iter().find(|(name, _)| name == "PATH");
    path.map_or(OsStr::new(DEFAULT_PATH), |(_, path)| path)
}

/// The files that the program may be, in order. An empty entry of PATH is the working directory.
fn candidates(launch: &Launch) -> Vec<PathBuf> {
    let program = launch.program.as_bytes();
    if program.is_empty() || program.contains(&b'/') {
        return vec![PathBuf::from(&launch.program)];
    }
    let directories = search_path(launch).as_bytes().split(|byte| *byte == b':');
    directories
        .map(|directory| {
            PathBuf::from(OsString::from_vec(directory.to_vec())).join(&launch.program)
        })
        .collect()
}

/// `NAME=value`, refused where it would be read as something else.
fn variable(name: &OsStr, value: &OsStr) -> Result<CString, SpawnError> {
    let shown = name.to_string_lossy();
    if name.is_empty() || name.as_bytes().contains(&b'=') {
        return Err(SpawnError::Unusable(format!(
            "`{shown}` cannot be a name in the environment"
        )));
    }
    let joined = [name.as_bytes(), b"=", value.as_bytes()].concat();
    c_string(&joined, &format!("`{shown}` in the environment"))
}

fn c_string(bytes: &[u8], what: &str) -> Result<CString, SpawnError> {
    CString::new(bytes).map_err(|_| SpawnError::Unusable(format!("{what} contains a NUL byte")))
}

/// An array of C strings as exec takes it, with null at its end.
fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([std::ptr::null()])
        .collect()
}

#[cfg(test)]
mod tests;
