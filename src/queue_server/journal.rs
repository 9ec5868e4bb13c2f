//! The journal: every change as a line of JSON in one file, so that a killed server loses nothing it answered for.
//!
//! A thread of its own writes. While it waits for the disk the next requests' lines gather, and go out together with
//! one `fdatasync` (group commit). A line is whole when its newline is there: a server killed in the middle of one
//! had not answered for it, and the next start cuts it off. When the file has grown to a multiple of what it stands
//! for, it is written anew beside the old one and renamed over it; when that cannot be done, the old one is kept.
//!
//! The file holds message bodies: it is created with mode 0600. One server at a time has it, by `flock`.

#[cfg(test)]
mod tests;

use super::model::record::Record;
use crate::outcome::{Exit, RunError};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// The first line of every journal.
const HEADER: &str = "{\"runner_queue_journal\":1}\n";

/// A file that was read and can be appended to.
#[derive(Debug)]
pub struct Opened {
    path: PathBuf,
    file: File,
    size: u64,
}

/// Opens or creates the file, and its folder where that is missing, and hands every record in it to `each`, in order.
pub fn open(path: &Path, mut each: impl FnMut(Record)) -> Result<Opened, RunError> {
    let fail = |cause: String| {
        RunError::new(
            Exit::IO,
            format!("cannot open the queue journal {}", path.display()),
            cause,
        )
    };
    let io = |error: io::Error| fail(crate::sys::reason(&error));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(io)?;
    }
    let file = options().open(path).map_err(io)?;
    lock(&file, path).map_err(fail)?;
    let mut reader = BufReader::with_capacity(1 << 16, &file);
    let (mut sound, mut number, mut line) = (0_u64, 0_u64, Vec::new());
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line).map_err(io)?;
        number += 1;
        let whole = line.ends_with(b"\n");
        if number == 1 && line != HEADER.as_bytes() {
            // Nothing, or the beginning of a header that a kill cut short.
            if !whole && HEADER.as_bytes().starts_with(&line) {
                break;
            }
            return Err(fail("it is a file of another kind".to_owned())
                .with_help("name a file that does not exist yet"));
        }
        if !whole {
            break;
        }
        if number > 1 {
            let record = serde_json::from_slice(&line).map_err(|_| {
                fail(format!("line {number} is damaged")).with_help(format!(
                    "what stands before it is sound: keep a copy and cut the file to its first {sound} bytes"
                ))
            })?;
            each(record);
        }
        sound += read as u64;
    }
    if file.metadata().map_err(io)?.len() > sound {
        file.set_len(sound).map_err(io)?;
    }
    let mut opened = Opened {
        path: path.to_owned(),
        file,
        size: sound,
    };
    if sound == 0 {
        opened.file.write_all(HEADER.as_bytes()).map_err(io)?;
        opened.file.sync_all().map_err(io)?;
        sync_folder(path).map_err(io)?;
        opened.size = HEADER.len() as u64;
    }
    Ok(opened)
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600);
    options
}

/// Takes the file for this process. The inode is compared because another server may have renamed a new file over
/// the one that was just opened.
fn lock(file: &File, path: &Path) -> Result<(), String> {
    let taken = || "another server has it open".to_owned();
    match file.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => return Err(taken()),
        Err(std::fs::TryLockError::Error(error)) => return Err(error.to_string()),
    }
    let same = file
        .metadata()
        .and_then(|here| Ok(here.ino() == std::fs::metadata(path)?.ino()));
    match same {
        Ok(true) => Ok(()),
        Ok(false) => Err(taken()),
        Err(error) => Err(error.to_string()),
    }
}

/// A rename or a new file is durable when its folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// The writing side, while the server runs. When it is dropped, its thread writes what is left and ends.
#[derive(Debug)]
pub struct Journal {
    shared: Arc<Shared>,
    progress: watch::Receiver<Progress>,
    /// Bytes since the last compaction, and at how many there is one.
    grown: u64,
    compact_at: u64,
    least: u64,
}

/// The place of a request's last line in the order of all lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

#[derive(Debug, Default)]
struct Shared {
    pending: Mutex<Pending>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Pending {
    lines: Vec<u8>,
    ticket: u64,
    sync: bool,
    /// A whole new journal, and how many bytes of `lines` it stands for.
    anew: Option<(Vec<u8>, usize)>,
    close: bool,
}

#[derive(Debug, Clone, Default)]
struct Progress {
    written: u64,
    synced: u64,
    failed: Option<Arc<str>>,
}

impl Journal {
    /// Starts the writing thread. The file is compacted when it has grown by `least` bytes and by more than twice
    /// what it was compacted to.
    pub fn start(opened: Opened, least: u64) -> Result<Self, RunError> {
        let shared = Arc::new(Shared::default());
        let (sender, progress) = watch::channel(Progress::default());
        let grown = opened.size;
        std::thread::Builder::new()
            .name("queue-journal".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || write_all(opened, &shared, &sender)
            })
            .map_err(|error| {
                RunError::new(
                    Exit::UNAVAILABLE,
                    "cannot start the thread of the queue journal",
                    error.to_string(),
                )
            })?;
        Ok(Self {
            shared,
            progress,
            grown,
            compact_at: least,
            least,
        })
    }

    /// Hands lines to the thread, in the order of the calls. With `sync`, the disk is asked to have them, and all
    /// before them.
    pub fn append(&mut self, records: &[Record], sync: bool) -> Ticket {
        let mut pending = self.shared.lock();
        let before = pending.lines.len();
        for record in records {
            put(&mut pending.lines, record);
        }
        self.grown += (pending.lines.len() - before) as u64;
        pending.ticket += u64::from(!records.is_empty());
        pending.sync |= sync;
        self.shared.wake.notify_one();
        Ticket(pending.ticket)
    }

    /// Whether the file has grown enough to be written anew.
    pub fn wants_compaction(&self) -> bool {
        self.grown >= self.compact_at
    }

    /// Writes the file anew from the records of the present state, which holds all that was appended before.
    pub fn compact(&mut self, snapshot: &[Record]) {
        let mut lines = HEADER.as_bytes().to_vec();
        for record in snapshot {
            put(&mut lines, record);
        }
        self.grown = 0;
        self.compact_at = self.least.max(2 * lines.len() as u64);
        let mut pending = self.shared.lock();
        pending.anew = Some((lines, pending.lines.len()));
        self.shared.wake.notify_one();
    }

    /// What waits for a ticket to be written (and, if `synced`, to be on the disk itself).
    pub fn waiter(&self) -> Waiter {
        Waiter(self.progress.clone())
    }
}

/// Waits for the thread without holding the journal.
#[derive(Debug)]
pub struct Waiter(watch::Receiver<Progress>);

impl Waiter {
    /// Returns when the ticket's lines are as durable as asked; with the cause when the disk refused.
    pub async fn wait(mut self, ticket: Ticket, synced: bool) -> Result<(), String> {
        let reached = |p: &Progress| (if synced { p.synced } else { p.written }) >= ticket.0;
        match self.0.wait_for(|p| p.failed.is_some() || reached(p)).await {
            Ok(progress) if reached(&progress) => Ok(()),
            Ok(progress) => Err(progress.failed.as_deref().unwrap_or_default().to_owned()),
            Err(_) => Err("the journal is closed".to_owned()),
        }
    }

    /// Returns when the disk refused, with the cause; never else.
    pub async fn failed(mut self) -> String {
        if let Ok(progress) = self.0.wait_for(|p| p.failed.is_some()).await
            && let Some(cause) = &progress.failed
        {
            return cause.as_ref().to_owned();
        }
        std::future::pending().await
    }
}

impl Journal {
    /// Writes what is left and returns when the file is closed. A disk that hangs holds this up: the caller has a
    /// deadline, and after it nothing is lost that was answered for.
    pub async fn close(mut self) {
        let mut progress = self.progress.clone();
        self.end();
        // The thread closes the file before it lets go of the sender.
        while progress.changed().await.is_ok() {}
    }

    fn end(&mut self) {
        self.shared.lock().close = true;
        self.shared.wake.notify_one();
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to do.
    fn take(&self) -> Pending {
        let idle = |p: &mut Pending| p.lines.is_empty() && p.anew.is_none() && !p.sync && !p.close;
        let waited = self.wake.wait_while(self.lock(), idle);
        let mut pending = waited.unwrap_or_else(PoisonError::into_inner);
        Pending {
            lines: std::mem::take(&mut pending.lines),
            ticket: pending.ticket,
            sync: std::mem::take(&mut pending.sync),
            anew: pending.anew.take(),
            close: pending.close,
        }
    }
}

fn put(lines: &mut Vec<u8>, record: &Record) {
    // A record is made of texts and numbers: it always serializes.
    if serde_json::to_writer(&mut *lines, record).is_ok() {
        lines.push(b'\n');
    }
}

/// The thread.
fn write_all(mut opened: Opened, shared: &Shared, progress: &watch::Sender<Progress>) {
    loop {
        let batch = shared.take();
        if let Err(error) = write(&mut opened, &batch, progress) {
            progress.send_modify(|p| p.failed = Some(error.to_string().into()));
            return;
        }
        if batch.close {
            return;
        }
    }
}

fn write(
    opened: &mut Opened,
    batch: &Pending,
    progress: &watch::Sender<Progress>,
) -> io::Result<()> {
    opened.file.write_all(&batch.lines)?;
    progress.send_modify(|p| p.written = batch.ticket);
    if batch.sync || batch.close || batch.anew.is_some() {
        opened.file.sync_data()?;
        progress.send_modify(|p| p.synced = batch.ticket);
    }
    if let Some((snapshot, stands_for)) = &batch.anew {
        match anew(&opened.path, snapshot, &batch.lines[*stands_for..]) {
            Ok(file) => opened.file = file,
            Err(error) => tracing::warn!(
                journal = %opened.path.display(), %error,
                "cannot compact the queue journal; it grows on"
            ),
        }
    }
    Ok(())
}

/// Writes a journal beside the old one and puts it in its place.
fn anew(path: &Path, snapshot: &[u8], later: &[u8]) -> io::Result<File> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let write = || {
        let mut file = options().open(&beside)?;
        file.set_len(0)?;
        file.try_lock().map_err(io::Error::from)?;
        file.write_all(snapshot)?;
        file.write_all(later)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        Ok(file)
    };
    match write() {
        Ok(file) => {
            // Once renamed there is no way back: what follows goes to the new file in any case.
            if let Err(error) = sync_folder(path) {
                tracing::warn!(journal = %path.display(), %error, "cannot sync the queue journal's folder");
            }
            Ok(file)
        }
        Err(error) => {
            let _ = std::fs::remove_file(&beside);
            Err(error)
        }
    }
}
