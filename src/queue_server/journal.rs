//! The journal: every change as a line of JSON in one file, so that a killed server loses nothing it answered for.
//!
//! A thread of its own writes. While it waits for the disk the next requests' lines gather, and go out together with
//! one `fdatasync` (group commit). A line is whole when its newline is there: a server killed in the middle of one
//! had not answered for it, and the next start cuts it off. When the file has grown to a multiple of what it stands
//! for, it is written anew beside the old one and renamed over it; when that cannot be done, the old one is kept.
//!
//! The file holds message bodies: it is created with mode 0600. One server at a time has it, by `flock`.

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

/// Opens or creates the file and hands every record in it to `each`, in order.
pub fn open(path: &Path, mut each: impl FnMut(Record)) -> Result<Opened, RunError> {
    let fail = |cause: String| {
        RunError::new(
            Exit::IO,
            format!("cannot open the queue journal {}", path.display()),
            cause,
        )
    };
    let io = |error: io::Error| fail(error.to_string());
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

#[cfg(test)]
mod tests {
    use super::super::model::exchange::{Receive, Send};
    use super::super::model::{Broker, OnUse, Options, Stale};
    use super::*;
    use std::collections::BTreeMap;

    const T: u64 = 1_700_000_000_000;

    fn broker(seed: u64) -> Broker {
        Broker::new(Options {
            region: "r".into(),
            account: "a".into(),
            stale: Stale::Keep,
            on_use: OnUse::Refuse,
            in_flight_limit: 1000,
            seed,
        })
    }

    fn state(broker: &mut Broker) -> Vec<Record> {
        for name in broker.names("") {
            broker.queue(&name, T + 1000).unwrap();
        }
        broker.snapshot()
    }

    fn replayed(path: &Path) -> (Broker, Opened) {
        let mut broker = broker(9);
        let opened = open(path, |record| broker.apply(record)).unwrap();
        (broker, opened)
    }

    /// A life with a bit of everything; returns its records.
    fn live(broker: &mut Broker) -> Vec<Record> {
        broker.create("dead", &BTreeMap::new(), T).unwrap();
        let policy = format!(
            r#"{{"deadLetterTargetArn":"{}","maxReceiveCount":1}}"#,
            broker.arn("dead")
        );
        broker
            .create("q", &BTreeMap::from([("RedrivePolicy".into(), policy)]), T)
            .unwrap();
        let receive = Receive {
            max: 2,
            visibility: Some(1),
            attempt: None,
        };
        for body in ["a\nb", "\"ü\"", "c"] {
            broker
                .send(
                    "q",
                    Send {
                        body: body.into(),
                        ..Send::default()
                    },
                    T,
                )
                .unwrap();
        }
        let found = broker.receive("q", &receive, T).unwrap();
        broker.delete("q", &found[0].handle, T).unwrap();
        broker
            .change_visibility("q", &found[1].handle, 0, T)
            .unwrap();
        broker.receive("q", &receive, T + 500).unwrap();
        broker
            .start_move(&broker.arn("dead"), Some(&broker.arn("q")), None, T + 500)
            .unwrap();
        while broker.step_moves(T + 500).is_some() {}
        broker.drain()
    }

    #[test]
    fn a_journal_cut_at_any_byte_replays_to_the_state_after_its_whole_lines() {
        let folder = Folder::new("cut");
        let path = folder.0.join("queue.jsonl");
        let records = live(&mut broker(1));
        assert!(records.len() >= 12, "{records:?}");
        let mut bytes = HEADER.as_bytes().to_vec();
        records.iter().for_each(|record| put(&mut bytes, record));
        let mut states = Vec::new();
        let mut prefix = broker(2);
        states.push(state(&mut prefix));
        for record in &records {
            prefix.apply(record.clone());
            states.push(state(&mut prefix));
        }
        for end in 0..=bytes.len() {
            std::fs::write(&path, &bytes[..end]).unwrap();
            let (mut broker, opened) = replayed(&path);
            let lines = bytes[..end].iter().filter(|b| **b == b'\n').count();
            assert_eq!(
                state(&mut broker),
                states[lines.saturating_sub(1)],
                "cut at {end}"
            );
            drop(opened);
            let rest = std::fs::read(&path).unwrap();
            assert!(rest.ends_with(b"\n") && rest.len() <= end.max(HEADER.len()));
        }
    }

    #[tokio::test]
    async fn what_was_waited_for_is_in_the_file_and_the_next_life_goes_on_from_it() {
        let folder = Folder::new("lives");
        let path = folder.0.join("queue.jsonl");
        let (mut first, opened) = replayed(&path);
        let mut journal = Journal::start(opened, u64::MAX).unwrap();
        let records = live(&mut first);
        for record in &records {
            let ticket = journal.append(std::slice::from_ref(record), record.must_be_synced());
            journal
                .waiter()
                .wait(ticket, record.must_be_synced())
                .await
                .unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.ends_with(&format!("{}\n", serde_json::to_string(record).unwrap())));
        }
        let other = open(&path, |_| ()).unwrap_err();
        assert_eq!(
            (other.exit, other.cause.as_str()),
            (Exit::IO, "another server has it open")
        );
        journal.close().await;
        let (mut second, opened) = replayed(&path);
        assert_eq!(state(&mut second), state(&mut first));
        let mut journal = Journal::start(opened, u64::MAX).unwrap();
        second
            .send(
                "q",
                Send {
                    body: "later".into(),
                    ..Send::default()
                },
                T,
            )
            .unwrap();
        let ticket = journal.append(&second.drain(), true);
        journal.waiter().wait(ticket, true).await.unwrap();
        journal.close().await;
        assert_eq!(state(&mut replayed(&path).0), state(&mut second));
    }

    #[tokio::test]
    async fn a_grown_journal_is_written_anew_and_loses_nothing() {
        let folder = Folder::new("compact");
        let path = folder.0.join("queue.jsonl");
        let (mut broker, opened) = replayed(&path);
        let mut journal = Journal::start(opened, 4096).unwrap();
        broker.create("q", &BTreeMap::new(), T).unwrap();
        let (mut compactions, mut written) = (0, 0);
        let mut last = journal.append(&[], true);
        for round in 0..200 {
            let body = format!("{round:0100}");
            broker
                .send(
                    "q",
                    Send {
                        body,
                        ..Send::default()
                    },
                    T,
                )
                .unwrap();
            if round % 10 != 0 {
                let receive = Receive {
                    max: 1,
                    ..Receive::default()
                };
                let found = broker.receive("q", &receive, T).unwrap();
                broker.delete("q", &found[0].handle, T).unwrap();
            }
            let records = broker.drain();
            written += serde_json::to_string(&records).unwrap().len() as u64;
            last = journal.append(&records, true);
            if journal.wants_compaction() {
                compactions += 1;
                journal.compact(&broker.snapshot());
            }
        }
        journal.waiter().wait(last, true).await.unwrap();
        journal.close().await;
        assert!(compactions > 2, "{compactions}");
        assert!(std::fs::metadata(&path).unwrap().len() < written / 2);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(state(&mut replayed(&path).0), state(&mut broker));
        assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1);
    }

    #[test]
    fn a_file_of_another_kind_is_left_alone_and_a_damaged_line_is_named() {
        let folder = Folder::new("damaged");
        let path = folder.0.join("notes.txt");
        std::fs::write(&path, "my notes").unwrap();
        let error = open(&path, |_| ()).unwrap_err();
        assert_eq!(error.cause, "it is a file of another kind");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "my notes");
        std::fs::write(
            &path,
            format!("{HEADER}{{\"next\":5}}\n{{\"ne\n{{\"next\":6}}\n"),
        )
        .unwrap();
        let error = open(&path, |_| ()).unwrap_err();
        assert_eq!(error.cause, "line 3 is damaged");
        assert!(
            error
                .help
                .unwrap()
                .contains(&format!("first {} bytes", HEADER.len() + 11))
        );
        let nowhere = open(&folder.0.join("no/folder"), |_| ()).unwrap_err();
        assert_eq!(nowhere.exit, Exit::IO);
    }

    #[tokio::test]
    async fn a_disk_that_refuses_is_a_failure_for_everyone_who_waits() {
        let file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let opened = Opened {
            path: "/dev/full".into(),
            file,
            size: 0,
        };
        let mut journal = Journal::start(opened, u64::MAX).unwrap();
        let ticket = journal.append(&[Record::Next(1)], false);
        let waited = journal.waiter().wait(ticket, false).await;
        assert!(waited.unwrap_err().contains("No space left"));
        assert!(journal.waiter().failed().await.contains("No space left"));
    }

    /// A folder of a test's own.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("queue-journal-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}
