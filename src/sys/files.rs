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
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary.path)
        .map_err(|error| refused(format!("no new file in directory `{shown}`"), &error))?;
    temporary.is_ours = true;
    // The owner first: changing it afterwards would clear a set-id bit of the mode.
    if owner.is_some() || group.is_some() {
        fchown(&file, owner, group)
            .map_err(|error| refused(format!("owner {}", ids(owner, group)), &error))?;
    }
    file.set_permissions(Permissions::from_mode(mode & 0o7777))
        .map_err(|error| refused(format!("mode {mode:04o}"), &error))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(|error| {
            refused(
                format!("{} bytes in directory `{shown}`", bytes.len()),
                &error,
            )
        })?;
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
    format!("{}:{}", text(owner), text(group))
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

/// Reads a whole text file of at most `limit` bytes, usually [`LIMIT`].
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
mod tests {
    use super::*;
    use crate::sys::trial::{self, Folder};

    /// The names in a folder.
    fn names(folder: &Folder) -> Vec<String> {
        let entries = fs::read_dir(&folder.0).expect("a directory").flatten();
        let mut names: Vec<_> = entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("a file").permissions().mode() & 0o7777
    }

    #[test]
    fn the_new_file_has_its_bytes_and_exactly_its_mode_whatever_the_umask() {
        trial::apart(0, || {
            let folder = Folder::new();
            for umask in [0o000, 0o022, 0o777] {
                for wanted in [0o600, 0o644, 0o400, 0o000, 0o4755, 0o777] {
                    let path = folder.0.join(format!("file-{umask:o}-{wanted:o}"));
                    // SAFETY: an integer.
                    unsafe { libc::umask(umask) };
                    write_whole(&path, b"first, and longer", wanted, None, None).expect("written");
                    write_whole(&path, b"second", wanted, None, None).expect("replaced");
                    // SAFETY: an integer.
                    unsafe { libc::umask(0o022) };
                    assert_eq!(mode(&path), wanted);
                    if trial::is_root("reading a file of mode 0000") {
                        assert_eq!(fs::read(&path).expect("readable"), b"second");
                    }
                }
            }
            assert!(names(&folder).iter().all(|name| name.starts_with("file-")));
        });
    }

    #[test]
    fn owner_and_group_are_set() {
        use std::os::unix::fs::MetadataExt;
        if !trial::is_root("owner_and_group_are_set") {
            return;
        }
        let folder = Folder::new();
        let path = folder.0.join("owned");
        write_whole(&path, b"x", 0o4750, Some(12), Some(34)).expect("written");
        let metadata = fs::metadata(&path).expect("a file");
        assert_eq!(
            (metadata.uid(), metadata.gid(), mode(&path)),
            (12, 34, 0o4750)
        );
    }

    #[test]
    fn a_link_is_replaced_and_its_target_left_alone() {
        let folder = Folder::new();
        let target = folder.file("target", "precious", 0o644);
        let link = folder.0.join("link");
        std::os::unix::fs::symlink(&target, &link).expect("a link");
        write_whole(&link, b"new", 0o600, None, None).expect("written");
        assert_eq!(fs::read_to_string(&target).expect("a file"), "precious");
        assert!(fs::symlink_metadata(&link).expect("a file").is_file());
        assert_eq!(fs::read_to_string(&link).expect("a file"), "new");
    }

    #[test]
    fn a_full_disk_leaves_the_old_file_whole_and_nothing_else() {
        trial::apart(libc::CLONE_NEWNS, || {
            let folder = Folder::new();
            let path = std::ffi::CString::new(folder.0.as_os_str().as_bytes()).expect("a path");
            trial::mount(c"tmpfs", &path, c"size=64k");
            let file = folder.0.join("production.ini");
            write_whole(&file, b"old", 0o600, None, None).expect("it fits");
            let error = write_whole(&file, &vec![b'x'; 200_000], 0o600, None, None)
                .expect_err("it does not fit");
            assert_eq!(
                error.to_string(),
                format!(
                    "cannot write `{}`: 200000 bytes in directory `{}`: no space left on device",
                    file.display(),
                    folder.0.display()
                )
            );
            assert_eq!(error.exit, Exit::IO);
            assert_eq!(fs::read_to_string(&file).expect("a file"), "old");
            assert_eq!(names(&folder), ["production.ini"]);
            write_whole(&file, &vec![b'y'; 30_000], 0o600, None, None)
                .expect("the space is free again");
            // SAFETY: a C string.
            unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
        });
    }

    #[test]
    fn a_file_size_limit_is_an_error_where_the_handlers_stand() {
        trial::apart(0, || {
            trial::on_runtime(async {
                let (switch, _shutdown) = crate::shutdown::channel();
                let _signals = crate::sys::signals::Signals::install(std::rc::Rc::new(switch))
                    .expect("handlers");
                let folder = Folder::new();
                let file = folder.file("file", "old", 0o600);
                let limit = libc::rlimit {
                    rlim_cur: 1000,
                    rlim_max: libc::RLIM_INFINITY,
                };
                // SAFETY: the limit outlives the call.
                assert_eq!(
                    unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) },
                    0
                );
                let error = write_whole(&file, &[b'x'; 5000], 0o600, None, None)
                    .expect_err("over the limit");
                assert!(error.to_string().ends_with("file too large"), "{error}");
                assert_eq!(
                    (
                        error.exit,
                        fs::read_to_string(&file).expect("a file").as_str()
                    ),
                    (Exit::IO, "old")
                );
                assert_eq!(names(&folder), ["file"]);
            });
        });
    }

    #[test]
    fn refusals_say_which_path_and_what() {
        let folder = Folder::new();
        let inside = |name: &str| folder.0.join(name);
        let write = |path: &Path| write_whole(path, b"x", 0o600, None, None).expect_err("refused");
        let error = write(&inside("none/file"));
        assert_eq!(error.exit, Exit::IO);
        assert!(
            error.to_string().contains(&format!(
                "no new file in directory `{}`",
                inside("none").display()
            )),
            "{error}"
        );
        for (path, part) in [
            (folder.0.clone(), "it is a directory"),
            (inside("name/"), "not the name of a file"),
            (inside(".."), "not the name of a file"),
            (PathBuf::new(), "not the name of a file"),
            (PathBuf::from("/dev/null"), "it is a device"),
        ] {
            let error = write(&path);
            assert!(
                error.exit == Exit::CONFIG && error.cause.contains(part),
                "{error}"
            );
        }
        assert!(names(&folder).is_empty());
        let error = write(Path::new("/proc/file"));
        assert!(
            error.doing.contains("/proc/file") && error.cause.contains("`/proc`"),
            "{error}"
        );
    }

    #[test]
    fn a_directory_that_refuses_is_77_and_an_owner_that_is_refused_leaves_nothing() {
        if !trial::is_root(
            "a_directory_that_refuses_is_77_and_an_owner_that_is_refused_leaves_nothing",
        ) {
            return;
        }
        trial::apart(0, || {
            let folder = Folder::new();
            let open = Folder::new();
            fs::set_permissions(&open.0, Permissions::from_mode(0o777)).expect("its mode");
            // SAFETY: integers only; the forked process stays another user.
            assert_eq!(unsafe { libc::setresuid(1000, 1000, 0) }, 0);
            let error =
                write_whole(&folder.0.join("file"), b"x", 0o600, None, None).expect_err("refused");
            let text = format!(
                "no new file in directory `{}`: permission denied",
                folder.0.display()
            );
            assert_eq!((error.exit, error.cause), (Exit::NOPERM, text));
            let error =
                write_whole(&open.0.join("file"), b"x", 0o600, Some(0), None).expect_err("refused");
            assert_eq!(
                (error.exit, error.cause.as_str()),
                (Exit::NOPERM, "owner 0:: operation not permitted")
            );
            assert!(names(&open).is_empty());
            // SAFETY: back to root, to remove the folders.
            unsafe { libc::setresuid(0, 0, 0) };
        });
    }

    #[test]
    fn readers_see_the_old_file_or_the_new_one_and_never_a_part() {
        let folder = Folder::new();
        let path = folder.0.join("file");
        write_whole(&path, &[b'0'; 10_000], 0o600, None, None).expect("written");
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut reads = 0;
                while reads == 0 || !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let bytes = fs::read(&path).expect("it is always there");
                    assert!(bytes.len() == 10_000 && bytes.iter().all(|byte| *byte == bytes[0]));
                    reads += 1;
                }
            });
            for round in 0..50u8 {
                write_whole(&path, &[b'0' + round; 10_000], 0o600, None, None).expect("written");
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            reader.join().expect("no part was seen");
        });
    }

    #[test]
    fn reading_tells_each_fault_apart() {
        let folder = Folder::new();
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.0.join(name);
            fs::write(&path, bytes).expect("a file");
            path
        };
        let why = |path: &Path| read_limited(path, 10).expect_err("refused").why;
        assert_eq!(
            read_limited(&file("ten", "ünf Bytes".as_bytes()), 10).as_deref(),
            Ok("ünf Bytes")
        );
        assert_eq!(
            why(&file("eleven", b"12345678901")),
            Unreadable::TooLarge(10)
        );
        assert_eq!(why(&file("latin", b"abc\xfcdef")), Unreadable::NotUtf8(3));
        assert_eq!(why(&folder.0), Unreadable::Directory);
        assert_eq!(why(Path::new("/dev/zero")), Unreadable::TooLarge(10));
        assert_eq!(
            why(&folder.0.join("ten/x")),
            Unreadable::Other(libc::ENOTDIR)
        );
        let error = read_limited(&folder.0.join("none"), LIMIT).expect_err("missing");
        let text = format!(
            "cannot read `{}`: there is no such file",
            folder.0.join("none").display()
        );
        assert_eq!(error.to_string(), text);
        assert_eq!(
            (RunError::from(error.clone()).to_string(), error.exit()),
            (text, Exit::CONFIG)
        );
    }

    #[test]
    fn random_bytes_come_in_every_number_and_differ() {
        for count in [0, 1, 256, 257, 5000] {
            assert_eq!(random(count).expect("random").len(), count);
        }
        let (one, other) = (random(300).expect("random"), random(300).expect("random"));
        assert_ne!(one, other);
        assert_ne!(one[256..], [0; 44], "the end is filled too");
    }

    #[test]
    fn work_aside_lets_a_stop_through_and_survives_a_panic() {
        trial::on_runtime(async {
            assert_eq!(aside(|| 6 * 7).await, Ok(42));
            let (switch, shutdown) = crate::shutdown::channel();
            switch.request(crate::shutdown::Reason::Asked);
            let (release, held) = std::sync::mpsc::channel::<()>();
            // An fsync(2) that hangs, for all the caller can see.
            let stuck = aside(move || held.recv());
            tokio::select! {
                biased;
                _ = stuck => panic!("it cannot end before it is released"),
                () = shutdown.requested() => {}
            }
            drop(release);
            let error = aside(|| panic!("on purpose")).await.expect_err("a panic");
            assert_eq!(error.exit, Exit::SOFTWARE);
        });
    }
}
