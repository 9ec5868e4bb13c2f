//! The threads that write to our stdout and stderr, each behind a bounded queue.
//!
//! The engine's thread never writes: nobody may be reading (a log driver that hangs, a paused terminal), and reaping,
//! heartbeats and signals must go on. A blocked stdout must not hide what we say on stderr, so each stream has a
//! thread; where both are the same object (a terminal, `2>&1`) they share one, which keeps lines whole and in order.
//! The descriptors stay blocking: O_NONBLOCK would be set for every process that shares them.
//!
//! Children's lines wait for room ([`Lane::room`]), which stops the reading of their pipes and so, in the end,
//! the children. Our own lines never wait: they have a reserve of their own and are counted when even that is full.

use super::frame::Stream;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How many bytes may wait before the children are paused.
const QUEUE: usize = 1024 * 1024;

/// How many bytes beyond [`QUEUE`] only our own lines may take.
const RESERVE: usize = 256 * 1024;

/// Small pieces are put together up to this size, in bytes, and written at once.
const PIECE: usize = 32 * 1024;

/// How long before the deadline of a stop the children's lines are given up for our own last ones.
const OWN_TIME: Duration = Duration::from_millis(100);

/// Who wrote a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Author {
    /// A child.
    Child,
    /// `runner` itself.
    Own,
}

/// Why a stream could not be written to.
#[derive(Debug)]
pub struct Failure {
    /// Which stream.
    pub stream: Stream,
    /// What the system says.
    pub error: io::Error,
    /// Whether it is given up for good; after "no space left" the next lines are tried again.
    pub given_up: bool,
}

/// Our stdout and stderr. Copies write to the same queues.
#[derive(Debug, Clone)]
pub struct Writer {
    out: Arc<Lane>,
    err: Arc<Lane>,
}

impl Writer {
    /// Before descriptors 1 and 2 of this process.
    ///
    /// # Errors
    /// When a descriptor or a thread cannot be had.
    pub fn standard() -> io::Result<Self> {
        let out = io::stdout().as_fd().try_clone_to_owned()?;
        let err = io::stderr().as_fd().try_clone_to_owned()?;
        Self::new(out, err)
    }

    /// Before two descriptors that can block.
    ///
    /// # Errors
    /// When the descriptors are not open or a thread cannot be had.
    pub fn new(out: OwnedFd, err: OwnedFd) -> io::Result<Self> {
        let (out, err) = (File::from(out), File::from(err));
        let object = |file: &File| file.metadata().map(|m| (m.dev(), m.ino()));
        let shared = object(&out)? == object(&err)?;
        let out = Lane::start(out, Stream::Stdout)?;
        let err = if shared {
            out.clone()
        } else {
            Lane::start(err, Stream::Stderr)?
        };
        Ok(Self { out, err })
    }

    /// The queue before one of the streams.
    pub(super) fn lane(&self, stream: Stream) -> &Arc<Lane> {
        match stream {
            Stream::Stdout => &self.out,
            Stream::Stderr => &self.err,
        }
    }

    fn lanes(&self) -> impl Iterator<Item = &Arc<Lane>> {
        let second = (!Arc::ptr_eq(&self.out, &self.err)).then_some(&self.err);
        std::iter::once(&self.out).chain(second)
    }

    /// Queues whole lines of our own, already redacted, for stderr. Never waits.
    pub fn log(&self, lines: &[u8]) {
        self.err.push(lines, Author::Own);
    }

    /// Returns when a stream could not be written to (nobody reads it any more, the disk is full). Each stream is
    /// told of once, to one waiter.
    pub async fn failure(&self) -> Failure {
        let next = async |lane: &Lane| {
            loop {
                if let Some(failure) = lane.state().failure.take() {
                    return failure;
                }
                lane.failed.notified().await;
            }
        };
        tokio::select! {
            failure = next(&self.out) => failure,
            failure = next(&self.err), if self.lanes().count() == 2 => failure,
        }
    }

    /// How many lines were dropped or are not written yet. The line in the middle of a blocked write counts whole.
    pub fn undelivered(&self) -> u64 {
        self.lanes().map(|lane| lane.undelivered()).sum()
    }

    /// Writes what is queued, but no longer than until `deadline`: shortly before it the children's lines are dropped
    /// so that our own may still go out, and at it all is. Afterwards nothing more is written. Returns how many lines
    /// were not delivered in the life of this writer.
    pub async fn close(&self, deadline: Instant) -> u64 {
        self.lanes().for_each(|lane| lane.close());
        let all_written = async || {
            for lane in self.lanes() {
                lane.written().await;
            }
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let early = deadline - OWN_TIME.min(left / 4);
        if tokio::time::timeout_at(early, all_written()).await.is_err() {
            self.lanes()
                .for_each(|lane| lane.drop_lines(Some(Author::Child)));
            if tokio::time::timeout_at(deadline, all_written())
                .await
                .is_err()
            {
                self.lanes().for_each(|lane| lane.drop_lines(None));
            }
        }
        self.undelivered()
    }
}

/// The queue before one descriptor, and the thread's side of it.
#[derive(Debug)]
pub(super) struct Lane {
    stream: Stream,
    state: Mutex<State>,
    /// For the thread: there is something to write, or the end.
    work: Condvar,
    /// For relays: there is room again.
    room: Notify,
    /// For `close`: everything is written.
    written: Notify,
    failed: Notify,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Piece>,
    /// Bytes in `queue`.
    queued: usize,
    /// Lines the thread has in hand; none when it has nothing.
    in_hand: Option<u64>,
    dropped: u64,
    /// No child's line is taken any more, and the thread ends with the last piece.
    closed: bool,
    /// The thread is gone or will write no more.
    over: bool,
    failure: Option<Failure>,
    /// The failure was told, or waits in `failure`.
    has_failed: bool,
    someone_waits: bool,
}

#[derive(Debug)]
struct Piece {
    author: Author,
    bytes: Vec<u8>,
}

impl Lane {
    fn start(file: File, stream: Stream) -> io::Result<Arc<Self>> {
        let lane = Arc::new(Self {
            stream,
            state: Mutex::default(),
            work: Condvar::new(),
            room: Notify::new(),
            written: Notify::new(),
            failed: Notify::new(),
        });
        let of_thread = lane.clone();
        std::thread::Builder::new()
            .name(format!("write-{}", stream.name()))
            .stack_size(64 * 1024)
            .spawn(move || of_thread.run(&file))?;
        Ok(lane)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues whole lines. A child's are refused once the lane is closed, our own when the reserve is full, all when
    /// nothing is written any more; what is refused is counted.
    pub(super) fn push(&self, lines: &[u8], author: Author) {
        let mut state = self.state();
        let refused = match author {
            Author::Child => state.closed,
            Author::Own => state.queued >= QUEUE + RESERVE,
        };
        if state.over || refused {
            state.dropped += count(lines);
            return;
        }
        state.queued += lines.len();
        match state.queue.back_mut() {
            Some(last) if last.author == author && last.bytes.len() + lines.len() <= PIECE => {
                last.bytes.extend_from_slice(lines);
            }
            _ => state.queue.push_back(Piece {
                author,
                bytes: lines.to_vec(),
            }),
        }
        drop(state);
        self.work.notify_one();
    }

    /// As [`push`](Self::push) for a child that does not wait: refused when there is no room.
    pub(super) fn push_if_room(&self, lines: &[u8]) {
        let mut state = self.state();
        if state.has_room() {
            drop(state);
            self.push(lines, Author::Child);
        } else {
            state.dropped += count(lines);
        }
    }

    /// Returns when there is room for a child's lines. A lane that takes no more has room: it
    /// counts what it drops.
    pub(super) async fn room(&self) {
        loop {
            let mut free = std::pin::pin!(self.room.notified());
            free.as_mut().enable();
            {
                let mut state = self.state();
                if state.has_room() {
                    return;
                }
                state.someone_waits = true;
            }
            free.await;
        }
    }

    async fn written(&self) {
        loop {
            let mut done = std::pin::pin!(self.written.notified());
            done.as_mut().enable();
            if self.state().is_idle() {
                return;
            }
            done.await;
        }
    }

    fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        self.wake(&mut state);
        drop(state);
        self.work.notify_one();
    }

    /// Drops what is queued, of one author or of all; after the latter nothing more is written.
    fn drop_lines(&self, author: Option<Author>) {
        let mut state = self.state();
        let State {
            queue,
            queued,
            dropped,
            ..
        } = &mut *state;
        queue.retain(|piece| {
            let kept = author.is_some_and(|author| author != piece.author);
            if !kept {
                *queued -= piece.bytes.len();
                *dropped += count(&piece.bytes);
            }
            kept
        });
        state.over |= author.is_none();
        self.wake(&mut state);
    }

    fn undelivered(&self) -> u64 {
        let state = self.state();
        let queued: u64 = state.queue.iter().map(|piece| count(&piece.bytes)).sum();
        state.dropped + queued + state.in_hand.unwrap_or(0)
    }

    /// Wakes those whose wish has come true.
    fn wake(&self, state: &mut State) {
        // Half empty, so that not every piece wakes every relay.
        if state.someone_waits && (state.closed || state.over || state.queued <= QUEUE / 2) {
            state.someone_waits = false;
            self.room.notify_waiters();
        }
        if state.closed && state.is_idle() {
            self.written.notify_waiters();
        }
    }

    // The thread's side.

    fn run(&self, file: &File) {
        while let Some(piece) = self.take() {
            if let Err((written, error)) = write_whole(file, &piece.bytes) {
                self.fail(error, count(&piece.bytes[written..]));
            }
        }
    }

    /// The next piece, as soon as there is one; none when the lane is over.
    fn take(&self) -> Option<Piece> {
        let mut state = self.state();
        state.in_hand = None;
        loop {
            if let Some(piece) = state.queue.pop_front() {
                state.queued -= piece.bytes.len();
                state.in_hand = Some(count(&piece.bytes));
                self.wake(&mut state);
                return Some(piece);
            }
            state.over |= state.closed;
            self.wake(&mut state);
            if state.over {
                return None;
            }
            state = self
                .work
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn fail(&self, error: io::Error, lost: u64) {
        let given_up = !matches!(
            error.kind(),
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
        );
        let mut state = self.state();
        state.dropped += lost;
        state.in_hand = Some(0);
        if !state.has_failed {
            state.has_failed = true;
            state.failure = Some(Failure {
                stream: self.stream,
                error,
                given_up,
            });
            self.failed.notify_one();
        }
        drop(state);
        if given_up {
            self.drop_lines(None);
        }
    }
}

impl State {
    fn has_room(&self) -> bool {
        self.closed || self.over || self.queued < QUEUE
    }

    fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.in_hand.is_none()
    }
}

/// How many lines end in `bytes`, and one more for an end that was cut off.
fn count(bytes: &[u8]) -> u64 {
    let ends = memchr::memchr_iter(b'\n', bytes).count();
    let open = bytes.last().is_some_and(|&last| last != b'\n');
    (ends + usize::from(open)) as u64
}

/// Writes everything; on an error, with how many bytes were written before it.
fn write_whole(mut file: &File, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut at = 0;
    while at < bytes.len() {
        match file.write(&bytes[at..]) {
            Ok(0) => return Err((at, ErrorKind::WriteZero.into())),
            Ok(length) => at += length,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Another process that shares the descriptor made it non-blocking.
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait_writable(file),
            Err(error) => return Err((at, error)),
        }
    }
    Ok(())
}

fn wait_writable(file: &File) {
    let mut poll = libc::pollfd {
        fd: file.as_raw_fd(),
        events: libc::POLLOUT,
        revents: 0,
    };
    // SAFETY: `poll` is one valid pollfd for the duration of the call. Whatever it returns, write(2) tells.
    unsafe { libc::poll(&mut poll, 1, -1) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{PipeReader, PipeWriter, Read, pipe};
    use std::os::fd::FromRawFd;

    fn null() -> OwnedFd {
        File::options()
            .write(true)
            .open("/dev/null")
            .unwrap()
            .into()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    /// A writer whose stdout is a pipe, and the pipe's other end.
    fn before_a_pipe() -> (Writer, PipeReader) {
        let (reader, writer) = pipe().unwrap();
        (Writer::new(writer.into(), null()).unwrap(), reader)
    }

    fn all(mut reader: PipeReader) -> String {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    }

    /// `count` lines of 1 000 bytes.
    fn lines(count: usize) -> String {
        (0..count).map(|n| format!("{n:0999}\n")).collect()
    }

    /// More than a pipe and a piece can take, so that the thread blocks and lines stay queued.
    fn block(writer: &Writer, stream: Stream) {
        for line in lines(200).split_inclusive('\n') {
            writer.lane(stream).push(line.as_bytes(), Author::Child);
        }
    }

    async fn until(what: &str, mut reached: impl FnMut() -> bool) {
        let deadline = soon();
        while !reached() {
            assert!(Instant::now() < deadline, "never: {what}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn each_stream_goes_to_its_own_descriptor_and_our_lines_to_stderr() {
        let ((out, out_end), (err, err_end)) = (pipe().unwrap(), pipe().unwrap());
        let writer = Writer::new(out_end.into(), err_end.into()).unwrap();
        writer.lane(Stream::Stdout).push(b"out\n", Author::Child);
        writer.lane(Stream::Stderr).push(b"err\n", Author::Child);
        writer.log(b"own\n");
        assert_eq!(writer.close(soon()).await, 0);
        assert_eq!(
            (all(out).as_str(), all(err).as_str()),
            ("out\n", "err\nown\n")
        );
    }

    #[tokio::test]
    async fn a_blocked_stdout_does_not_hold_stderr_up() {
        let ((_nobody, out_end), (mut err, err_end)) = (pipe().unwrap(), pipe().unwrap());
        let writer = Writer::new(out_end.into(), err_end.into()).unwrap();
        block(&writer, Stream::Stdout);
        writer.log(b"own\n");
        let mut told = [0; 4];
        err.read_exact(&mut told).unwrap();
        assert_eq!(&told, b"own\n");
    }

    #[tokio::test]
    async fn one_object_behind_both_streams_has_one_queue_in_order() {
        let (reader, end) = pipe().unwrap();
        let second: PipeWriter = end.try_clone().unwrap();
        let writer = Writer::new(end.into(), second.into()).unwrap();
        let mut wanted = String::new();
        for n in 0..50 {
            let line = format!("{n}\n");
            let stream = if n % 2 == 0 {
                Stream::Stdout
            } else {
                Stream::Stderr
            };
            writer.lane(stream).push(line.as_bytes(), Author::Child);
            wanted += &line;
        }
        assert_eq!(writer.close(soon()).await, 0);
        assert_eq!(all(reader), wanted);
    }

    #[tokio::test]
    async fn what_is_not_out_at_the_deadline_is_dropped_and_counted() {
        let (writer, reader) = before_a_pipe();
        block(&writer, Stream::Stdout);
        let begun = Instant::now();
        let dropped = writer.close(begun + Duration::from_millis(200)).await;
        assert!(begun.elapsed() >= Duration::from_millis(200));
        let text = all(reader);
        let (delivered, piece) = (text.lines().count() as u64, PIECE as u64 / 1000);
        assert!(dropped > 0 && delivered > 0);
        // The piece in the middle of a blocked write counts as dropped and may still have come out.
        assert!(
            (200..=200 + piece).contains(&(dropped + delivered)),
            "{dropped} + {delivered}"
        );
        assert!(lines(200).starts_with(&text));
        writer.lane(Stream::Stdout).push(b"late\n", Author::Child);
        assert!(writer.undelivered() > 0);
    }

    #[tokio::test]
    async fn our_own_lines_outlive_the_childrens_at_a_stop() {
        let (out, end) = pipe().unwrap();
        let writer = Writer::new(null(), end.into()).unwrap();
        block(&writer, Stream::Stderr);
        writer.log(b"why it ended\n");
        writer.err.drop_lines(Some(Author::Child));
        let dropped = writer.undelivered();
        let reader = std::thread::spawn(move || all(out));
        assert!(writer.close(soon()).await > 0 && dropped > 0);
        assert!(reader.join().unwrap().ends_with("why it ended\n"));
    }

    #[tokio::test]
    async fn our_own_lines_never_wait_and_are_counted_when_the_reserve_is_full() {
        let (_nobody, end) = pipe().unwrap();
        let writer = Writer::new(null(), end.into()).unwrap();
        let line = lines(1);
        for _ in 0..2_000 {
            writer.log(line.as_bytes());
        }
        assert!(writer.err.state().dropped > 500);
        // What is not counted is in the pipe, 64 KiB by default.
        assert!(writer.undelivered() > 2_000 - 66);
    }

    #[tokio::test]
    async fn a_reader_that_is_gone_is_told_once_and_blocks_nobody() {
        let (writer, reader) = before_a_pipe();
        drop(reader);
        writer
            .lane(Stream::Stdout)
            .push(b"one\ntwo\n", Author::Child);
        let failure = writer.failure().await;
        assert_eq!(
            (failure.stream, failure.error.kind()),
            (Stream::Stdout, ErrorKind::BrokenPipe)
        );
        assert!(failure.given_up);
        for _ in 0..100 {
            writer.lane(Stream::Stdout).room().await;
            writer
                .lane(Stream::Stdout)
                .push(&[b'\n'; 64 * 1024], Author::Child);
        }
        let again = tokio::time::timeout(Duration::from_millis(20), writer.failure()).await;
        assert!(again.is_err());
        assert_eq!(writer.close(soon()).await, 2 + 100 * 64 * 1024);
    }

    #[tokio::test]
    async fn a_full_disk_loses_lines_and_is_not_given_up() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let writer = Writer::new(full.into(), null()).unwrap();
        writer.lane(Stream::Stdout).push(b"one\n", Author::Child);
        let failure = writer.failure().await;
        assert_eq!(
            (failure.error.kind(), failure.given_up),
            (ErrorKind::StorageFull, false)
        );
        assert!(!writer.out.state().over);
        writer.lane(Stream::Stdout).push(b"two\n", Author::Child);
        assert_eq!(writer.close(soon()).await, 2);
    }

    #[tokio::test]
    async fn a_descriptor_that_others_made_non_blocking_loses_nothing() {
        let (reader, end) = pipe().unwrap();
        // SAFETY: plain fcntl calls on a descriptor that `end` keeps open.
        unsafe {
            assert_eq!(
                libc::fcntl(end.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK),
                0
            )
        };
        let writer = Writer::new(end.into(), null()).unwrap();
        block(&writer, Stream::Stdout);
        let reader = std::thread::spawn(move || all(reader));
        assert_eq!(writer.close(soon()).await, 0);
        assert_eq!(reader.join().unwrap(), lines(200));
    }

    #[tokio::test]
    async fn the_descriptor_given_stays_blocking() {
        let (_reader, end) = pipe().unwrap();
        // SAFETY: dup returns a new descriptor that nothing else owns.
        let copy = unsafe { OwnedFd::from_raw_fd(libc::dup(end.as_raw_fd())) };
        let writer = Writer::new(copy, null()).unwrap();
        writer.lane(Stream::Stdout).push(b"x\n", Author::Child);
        until("written", || writer.undelivered() == 0).await;
        // SAFETY: a plain fcntl call on a descriptor that `end` keeps open.
        let flags = unsafe { libc::fcntl(end.as_raw_fd(), libc::F_GETFL) };
        assert_eq!(flags & libc::O_NONBLOCK, 0);
    }
}
