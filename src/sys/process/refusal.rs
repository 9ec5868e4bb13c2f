//! Why a child could not be started, in words that an operator can act on.
//!
//! The forked child can only hand one number back. [`Refusal`] packs the place, the candidate of PATH and the errno
//! into it; the parent unpacks it and looks at the file to say more.

use super::{Launch, candidates, search_path};
use crate::outcome::{Exit, RunError};
use crate::sys::errno_text;
use std::fmt;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Why a child could not be started; its text is the end of "cannot start …: ".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpawnError {
    /// There is no such program; `searched` is the PATH, where one was searched.
    NotFound {
        program: String,
        searched: Option<String>,
    },
    /// The file is there, but the kernel does not execute it.
    NotExecutable { path: PathBuf, why: String },
    /// The working directory cannot be entered.
    WorkingDir { dir: PathBuf, errno: i32 },
    /// The change to another user failed in `call`; `own_uid` is whom we run as.
    User {
        user: String,
        call: &'static str,
        errno: i32,
        own_uid: u32,
    },
    /// The limit of processes, descriptors or memory is reached.
    Exhausted { errno: i32 },
    /// A name, argument or variable that no process can have.
    Unusable(String),
    /// Anything else that the kernel refuses.
    Other { errno: i32 },
}

impl SpawnError {
    /// What `run` exits with because of it.
    pub fn exit(&self) -> Exit {
        match self {
            SpawnError::NotFound { .. } => Exit::NOT_FOUND,
            SpawnError::NotExecutable { .. } | SpawnError::Other { .. } => Exit::NOT_EXECUTABLE,
            SpawnError::WorkingDir {
                errno: libc::EACCES | libc::EPERM,
                ..
            }
            | SpawnError::User { .. } => Exit::NOPERM,
            SpawnError::WorkingDir { .. } | SpawnError::Unusable(_) => Exit::CONFIG,
            SpawnError::Exhausted { .. } => Exit::UNAVAILABLE,
        }
    }

    /// The operator's error; `doing` is "cannot start service `nginx`".
    pub fn into_run_error(self, doing: impl Into<String>) -> RunError {
        let error = RunError::new(self.exit(), doing, self.to_string());
        match &self {
            SpawnError::NotFound { .. } => error.with_help("is it installed in this image?"),
            SpawnError::User { own_uid: 0, .. } => {
                error.with_help("the container needs the capabilities CAP_SETUID and CAP_SETGID")
            }
            SpawnError::User { .. } => {
                error.with_help("start the container as root, or leave out `user`")
            }
            SpawnError::Exhausted {
                errno: libc::EAGAIN,
            } => error.with_help("see the pids limit of the container and `ulimit -u`"),
            SpawnError::Exhausted {
                errno: libc::EMFILE,
            } => error.with_help("see `ulimit -n`"),
            _ => error,
        }
    }
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpawnError::NotFound {
                program,
                searched: Some(path),
            } => write!(f, "no `{program}` in PATH ({path})"),
            SpawnError::NotFound {
                program,
                searched: None,
            } => write!(f, "there is no file `{program}`"),
            SpawnError::NotExecutable { path, why } => write!(f, "`{}` {why}", path.display()),
            SpawnError::WorkingDir { dir, errno } => {
                write!(
                    f,
                    "working directory `{}`: {}",
                    dir.display(),
                    errno_text(*errno)
                )
            }
            SpawnError::User { user, own_uid, .. } if *own_uid != 0 => {
                write!(
                    f,
                    "cannot run as user `{user}`: runner itself runs as uid {own_uid}, not root"
                )
            }
            SpawnError::User {
                user, call, errno, ..
            } => {
                write!(
                    f,
                    "cannot run as user `{user}`: {call}: {}",
                    errno_text(*errno)
                )
            }
            SpawnError::Exhausted { errno } => f.write_str(match *errno {
                libc::EAGAIN => "no more processes are allowed",
                libc::EMFILE | libc::ENFILE => "too many files are open",
                _ => "out of memory",
            }),
            SpawnError::Unusable(what) => f.write_str(what),
            SpawnError::Other { errno } => f.write_str(&errno_text(*errno)),
        }
    }
}

impl std::error::Error for SpawnError {}

/// Where a start failed; fits four bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In our own process: pipe, fork.
    Fork,
    SetGroups,
    SetGid,
    SetUid,
    Verify,
    NoNewPrivs,
    WorkingDir,
    /// No candidate is there.
    Search,
    /// A candidate is there, and cannot be executed.
    Execute,
}

const PLACES: [Place; 9] = [
    Place::Fork,
    Place::SetGroups,
    Place::SetGid,
    Place::SetUid,
    Place::Verify,
    Place::NoNewPrivs,
    Place::WorkingDir,
    Place::Search,
    Place::Execute,
];

/// One failed start, small enough to pass through the one number that a forked child can report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    pub place: Place,
    /// Which candidate of PATH.
    pub index: usize,
    pub errno: i32,
}

impl Refusal {
    /// The errno of the last call, at a place.
    pub fn here(place: Place) -> Self {
        Refusal {
            place,
            ..Refusal::of(&io::Error::last_os_error())
        }
    }

    /// The same errno for a candidate, which is there or not.
    pub fn at(self, place: Place, index: usize, there: bool) -> Self {
        let missing = !there && matches!(self.errno, libc::ENOENT | libc::ENOTDIR | libc::EACCES);
        Refusal {
            place: if missing { Place::Search } else { place },
            index,
            ..self
        }
    }

    /// Unpacks; an errno that nobody packed comes from our own side of the fork.
    pub fn of(error: &io::Error) -> Self {
        let word = error.raw_os_error().unwrap_or(libc::EINVAL);
        Refusal {
            place: PLACES
                .get((word >> 27) as usize)
                .copied()
                .unwrap_or(Place::Fork),
            index: (word >> 12 & 0x7fff) as usize,
            errno: word & 0xfff,
        }
    }

    /// Packs into the error that std carries over: 4 bits place, 15 bits candidate, 12 bits errno.
    pub fn pack(self) -> io::Error {
        io::Error::from_raw_os_error(
            (self.place as i32) << 27 | (self.index.min(0x7fff) as i32) << 12 | self.errno,
        )
    }

    /// Says what the number means; looks at the files that are named.
    pub fn explain(self, launch: &Launch) -> SpawnError {
        let errno = self.errno;
        let call = match self.place {
            Place::Fork => {
                return match errno {
                    libc::EAGAIN | libc::EMFILE | libc::ENFILE | libc::ENOMEM => {
                        SpawnError::Exhausted { errno }
                    }
                    _ => SpawnError::Other { errno },
                };
            }
            Place::WorkingDir => {
                return SpawnError::WorkingDir {
                    dir: launch.working_dir.clone().unwrap_or_default(),
                    errno,
                };
            }
            Place::Search => return not_found(launch, errno),
            Place::Execute => return not_executable(launch, self.index, errno),
            Place::SetGroups => "setgroups",
            Place::SetGid => "setresgid",
            Place::SetUid => "setresuid",
            Place::Verify => "the ids did not change",
            Place::NoNewPrivs => "no_new_privs",
        };
        SpawnError::User {
            user: launch
                .user
                .as_ref()
                .map(|user| user.written.clone())
                .unwrap_or_default(),
            call,
            errno,
            // SAFETY: no arguments, cannot fail.
            own_uid: unsafe { libc::geteuid() },
        }
    }
}

fn not_found(launch: &Launch, errno: i32) -> SpawnError {
    let program = launch.program.to_string_lossy().into_owned();
    let is_path = launch.program.is_empty() || launch.program.as_bytes().contains(&b'/');
    if is_path && errno == libc::EACCES {
        let why = "cannot be reached: permission denied for one of its directories".into();
        return SpawnError::NotExecutable {
            path: program.into(),
            why,
        };
    }
    let searched = (!is_path).then(|| search_path(launch).to_string_lossy().into_owned());
    SpawnError::NotFound { program, searched }
}

fn not_executable(launch: &Launch, index: usize, errno: i32) -> SpawnError {
    let path = candidates(launch)
        .into_iter()
        .nth(index)
        .unwrap_or_default();
    let place = launch
        .working_dir
        .as_deref()
        .unwrap_or(Path::new(""))
        .join(&path);
    let why = match errno {
        libc::ENOMEM | libc::EAGAIN => return SpawnError::Exhausted { errno },
        libc::EACCES => denied(&place, launch),
        libc::ENOENT => match interpreter(&place) {
            Some(program) => format!("names an interpreter that is missing: {program}"),
            None => {
                "cannot be executed: its dynamic loader is missing (built for another libc?)".into()
            }
        },
        libc::ENOEXEC if starts_as_elf(&place) => {
            "cannot be executed: it is built for another machine".into()
        }
        libc::ENOEXEC => {
            "cannot be executed: it is no program, and a script must begin with #!".into()
        }
        libc::E2BIG => "cannot be executed: its arguments and environment are too large".into(),
        libc::ETXTBSY => "cannot be executed while it is open for writing".into(),
        errno => format!("cannot be executed: {}", errno_text(errno)),
    };
    SpawnError::NotExecutable { path, why }
}

/// Why a file that is there gives "permission denied".
fn denied(place: &Path, launch: &Launch) -> String {
    let Ok(metadata) = std::fs::metadata(place) else {
        return "cannot be executed: permission denied".into();
    };
    let mode = metadata.permissions().mode() & 0o7777;
    if metadata.is_dir() {
        return "is a directory".into();
    }
    if mode & 0o111 == 0 {
        return format!("cannot be executed: permission denied (mode {mode:04o}, no execute bit)");
    }
    let user = launch
        .user
        .as_ref()
        .map(|user| format!(" for user `{}`", user.written))
        .unwrap_or_default();
    let through = interpreter(place)
        .map(|program| format!(", or its interpreter {program} may not be executed"));
    format!(
        "cannot be executed: permission denied{user} (mode {mode:04o}{})",
        through.unwrap_or_default()
    )
}

fn head(place: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A device or a pipe could block for ever.
    if std::fs::metadata(place).is_ok_and(|metadata| metadata.is_file())
        && let Ok(file) = std::fs::File::open(place)
    {
        let _ = file.take(256).read_to_end(&mut bytes);
    }
    bytes
}

fn starts_as_elf(place: &Path) -> bool {
    head(place).starts_with(b"\x7fELF")
}

/// What the first line of a script names after `#!`.
fn interpreter(place: &Path) -> Option<String> {
    let head = head(place);
    let line = head
        .strip_prefix(b"#!")?
        .split(|byte| *byte == b'\n')
        .next()?;
    let text = String::from_utf8_lossy(line);
    let program = text.trim_matches([' ', '\t']).split([' ', '\t']).next()?;
    let windows = if program.ends_with('\r') {
        " (its lines end with CR LF)"
    } else {
        ""
    };
    Some(format!("`{}`{windows}", program.trim_end()))
}
