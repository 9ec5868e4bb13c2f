//! Files written whole or not at all, small files read with a limit, and random bytes.
//!
//! The calls block, which is right for small files on the one thread; what may hang in fsync(2) while somebody asks
//! for a stop goes through [`aside`].

use super::{errno_text, reason};
use crate::outcome::{Exit, RunError};
use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// How large a file of ours to read may be, in bytes.
pub const LIMIT: u64 = 4 * 1024 * 1024;

/// Replaces `path` by a file of these bytes: whoever opens it finds the old file or the new one, whole.
///
/// The new file is written under a random name (`.runner-*.tmp`) in the same directory, belongs to nobody else before
/// its first byte, has exactly `mode` whatever the umask, reaches the disk, and is renamed. After a failure the old
/// file is as it was and no temporary file is left (a crash of the machine or SIGKILL may leave one).
///
/// A symbolic link at `path` is replaced, not followed: following would write where somebody else points to. A
/// directory, a device or a pipe there is refused.
///
/// Blocks while the disk does: where a stop must come through, run it in [`aside`].
///
/// # Errors
/// 77 where permission is refused, 74 for all that the disk refuses, 78 for a path that cannot be a file.
pub fn write_whole(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    owner: Option<u32>,
    group: Option<u32>,
) -> Result<(), RunError> {
    let refused = |doing: String, error: &io::Error| write_error(path, &doing, error);
    let directory = directory_of(path)?;
    let shown = directory.display();
    let name: String = random(8)?
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let mut temporary = Temporary {
        path: directory.join(format!(".runner-{name}.tmp")),
        is_ours: false,
    };
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary.path)
        .map_err(|error| refused(format!("no new file in directory `{shown}`"), &error))?;
    temporary.is_ours = true;
    fill(&file, bytes, mode, owner, group)
        .map_err(|(doing, error)| refused(format!("{doing} in directory `{shown}`"), &error))?;
    fs::rename(&temporary.path, path)
        .map_err(|error| refused("the old file stays".into(), &error))?;
    temporary.is_ours = false;
    // A directory that may be written and not read cannot be synced; EINVAL is a file system that has no such sync.
    match File::open(directory).and_then(|directory| directory.sync_all()) {
        Err(error)
            if !matches!(
                error.kind(),
                ErrorKind::PermissionDenied | ErrorKind::InvalidInput
            ) =>
        {
            Err(refused(format!("directory `{shown}`"), &error))
        }
        _ => Ok(()),
    }
}

/// Whether an ordinary file is there.
pub fn is_file(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file())
}

/// Gives the new file its owner, mode and bytes, and sees them onto the disk; says what failed.
fn fill(
    mut file: &File,
    bytes: &[u8],
    mode: u32,
    owner: Option<u32>,
    group: Option<u32>,
) -> Result<(), (String, io::Error)> {
    let set_mode = || {
        file.set_permissions(Permissions::from_mode(mode & 0o7777))
            .map_err(|error| (format!("mode {mode:04o}"), error))
    };
    // The owner first: changing it afterwards would clear a set-id bit of the mode.
    if owner.is_some() || group.is_some() {
        fchown(file, owner, group)
            .map_err(|error| (format!("owner {}", ids(owner, group)), error))?;
    }
    set_mode()?;
    let told = |error| (format!("{} bytes", bytes.len()), error);
    file.write_all(bytes).map_err(told)?;
    if mode & 0o6000 != 0 {
        // A write clears the set-id bits, unless root writes.
        set_mode()?;
    }
    file.sync_all().map_err(told)
}

/// Removes the temporary file where it did not become the file.
struct Temporary {
    path: PathBuf,
    is_ours: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.is_ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The directory of a file to write, once it is clear that a file may stand there.
fn directory_of(path: &Path) -> Result<&Path, RunError> {
    let impossible = |why: &str| Err(RunError::new(Exit::CONFIG, cannot("write", path), why));
    let bytes = path.as_os_str().as_bytes();
    if path.file_name().is_none() || bytes.ends_with(b"/") || bytes.contains(&0) {
        return impossible("this is not the name of a file");
    }
    if let Ok(there) = fs::symlink_metadata(path) {
        let kind = there.file_type();
        if kind.is_dir() {
            return impossible("it is a directory");
        } else if !kind.is_file() && !kind.is_symlink() {
            return impossible("it is a device, a pipe or a socket");
        }
    }
    Ok(path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new(".")))
}

fn cannot(what: &str, path: &Path) -> String {
    format!("cannot {what} `{}`", path.display())
}

fn ids(owner: Option<u32>, group: Option<u32>) -> String {
    let text = |id: Option<u32>| id.map(|id| id.to_string()).unwrap_or_default();
    format!("`{}:{}`", text(owner), text(group))
}

fn write_error(path: &Path, doing: &str, error: &io::Error) -> RunError {
    let exit = match error.kind() {
        ErrorKind::PermissionDenied => Exit::NOPERM,
        _ => Exit::IO,
    };
    let refused = RunError::new(
        exit,
        cannot("write", path),
        format!("{doing}: {}", reason(error)),
    );
    match error.raw_os_error() {
        Some(libc::EROFS) => {
            refused.with_help("the file system is read-only: mount a writable volume there")
        }
        Some(libc::EBUSY) => refused
            .with_help("a file mounted there cannot be replaced: mount its directory instead"),
        Some(libc::ENOENT) => refused.with_help("create the directory first"),
        _ => refused,
    }
}

/// Why a file could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadError {
    /// The file as it was named.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: Unreadable,
}

/// What is wrong with a file to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// There is none.
    Missing,
    /// It is a directory.
    Directory,
    /// The byte at this offset (from 0) is not UTF-8.
    NotUtf8(usize),
    /// It has more than this many bytes.
    TooLarge(u64),
    /// Permission is refused.
    Denied,
    /// Anything else, an errno.
    Other(i32),
}

impl ReadError {
    /// Whether there is no such file.
    pub fn is_missing(&self) -> bool {
        self.why == Unreadable::Missing
    }

    /// What `run` exits with because of it.
    pub fn exit(&self) -> Exit {
        match self.why {
            Unreadable::Denied => Exit::NOPERM,
            Unreadable::Other(_) => Exit::IO,
            _ => Exit::CONFIG,
        }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreadable::Missing => f.write_str("there is no such file"),
            Unreadable::Directory => f.write_str("it is a directory"),
            Unreadable::NotUtf8(offset) => write!(f, "it is not UTF-8 (byte {offset})"),
            Unreadable::TooLarge(limit) => write!(f, "it is larger than {limit} bytes"),
            Unreadable::Denied => f.write_str("permission denied"),
            Unreadable::Other(errno) => f.write_str(&errno_text(*errno)),
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", cannot("read", &self.path), self.why)
    }
}

impl std::error::Error for ReadError {}

impl From<ReadError> for RunError {
    fn from(error: ReadError) -> Self {
        RunError::new(
            error.exit(),
            cannot("read", &error.path),
            error.why.to_string(),
        )
    }
}

/// Reads a whole text file of at most `limit` bytes, usually [`LIMIT`]. Blocks on a pipe that nobody writes.
///
/// # Errors
/// See [`Unreadable`].
pub fn read_limited(path: &Path, limit: u64) -> Result<String, ReadError> {
    read_text(path, limit).map_err(|why| ReadError {
        path: path.into(),
        why,
    })
}

fn read_text(path: &Path, limit: u64) -> Result<String, Unreadable> {
    let refused = |error: io::Error| match error.kind() {
        ErrorKind::NotFound => Unreadable::Missing,
        ErrorKind::PermissionDenied => Unreadable::Denied,
        ErrorKind::IsADirectory => Unreadable::Directory,
        _ => Unreadable::Other(error.raw_os_error().unwrap_or(libc::EINVAL)),
    };
    let mut bytes = Vec::new();
    // One byte more than allowed tells; the size that stat gives is 0 for pipes and /proc.
    File::open(path)
        .and_then(|file| file.take(limit.saturating_add(1)).read_to_end(&mut bytes))
        .map_err(refused)?;
    if bytes.len() as u64 > limit {
        return Err(Unreadable::TooLarge(limit));
    }
    String::from_utf8(bytes).map_err(|error| Unreadable::NotUtf8(error.utf8_error().valid_up_to()))
}

/// `count` bytes from the kernel's generator.
///
/// # Errors
/// Only where the kernel has no getrandom(2) or it is forbidden.
pub fn random(count: usize) -> Result<Vec<u8>, RunError> {
    let mut bytes = vec![0u8; count];
    let mut filled = 0;
    while filled < count {
        let rest = &mut bytes[filled..];
        // SAFETY: the kernel writes at most the length of `rest`.
        let got = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match usize::try_from(got) {
            Ok(more) => filled += more,
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != ErrorKind::Interrupted {
                    return Err(RunError::new(
                        Exit::SOFTWARE,
                        "cannot get random bytes",
                        reason(&error),
                    ));
                }
            }
        }
    }
    Ok(bytes)
}

/// Runs blocking work on a thread of its own, so that the caller can look at a stop meanwhile.
///
/// Dropping the future does not stop the work; the process may exit in the middle of it.
///
/// # Errors
/// Where no thread can be started, or the work panics.
pub async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, RunError> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("aside".into())
        .spawn(move || _ = sender.send(work()))
        .map_err(|error| {
            RunError::new(Exit::UNAVAILABLE, "cannot start a thread", reason(&error))
        })?;
    receiver.await.map_err(|_| {
        RunError::new(
            Exit::SOFTWARE,
            "cannot finish work on files",
            "its thread panicked",
        )
    })
}

#[cfg(test)]
mod tests;
