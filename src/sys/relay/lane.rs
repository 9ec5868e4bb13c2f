//! The bounded queue before one descriptor, and the thread that writes it.
//!
//! Only the thread writes, and it holds the lock while it takes a piece, never while it writes: nobody waits for
//! a reader of ours but those who ask to ([`Lane::room`], [`Lane::written`]).

use super::frame::Stream;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// How many bytes may wait before the children are paused.
const QUEUE: usize = 1024 * 1024;

/// How many bytes beyond [`QUEUE`] only our own lines may take.
const RESERVE: usize = 256 * 1024;

/// Small pieces are put together up to this size, in bytes, and written at once.
pub(super) const PIECE: usize = 32 * 1024;

/// Who wrote a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Author {
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
    /// Begins the thread; it ends when the lane is closed and empty.
    pub(super) fn start(file: File, stream: Stream) -> io::Result<Arc<Self>> {
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

    /// Returns the first failure, once.
    pub(super) async fn failure(&self) -> Failure {
        loop {
            if let Some(failure) = self.state().failure.take() {
                return failure;
            }
            self.failed.notified().await;
        }
    }

    /// After [`close`](Self::close): returns when everything is written or dropped.
    pub(super) async fn written(&self) {
        loop {
            let mut done = std::pin::pin!(self.written.notified());
            done.as_mut().enable();
            if self.state().is_idle() {
                return;
            }
            done.await;
        }
    }

    /// Takes no more of children.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        self.wake(&mut state);
        drop(state);
        self.work.notify_one();
    }

    /// Drops what is queued, of one author or of all; after the latter nothing more is written.
    pub(super) fn drop_lines(&self, author: Option<Author>) {
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

    /// Lines dropped or not written yet; those in the midst of a write count all.
    pub(super) fn undelivered(&self) -> u64 {
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
    use std::io::pipe;
    use std::os::fd::OwnedFd;

    #[test]
    fn our_own_lines_never_wait_and_are_counted_when_the_reserve_is_full() {
        let (_nobody, end) = pipe().unwrap();
        let lane = Lane::start(File::from(OwnedFd::from(end)), Stream::Stderr).unwrap();
        let line = [[b'x'; 999].as_slice(), b"\n"].concat();
        for _ in 0..2_000 {
            lane.push(&line, Author::Own);
        }
        let state = lane.state();
        assert!(!state.has_room() && state.queued <= QUEUE + RESERVE + line.len());
        assert!(state.dropped > 500, "{} dropped", state.dropped);
        drop(state);
        // What is not counted is in the pipe, 64 KiB by default.
        assert!(lane.undelivered() >= 2_000 - 66);
    }

    #[tokio::test]
    async fn a_full_disk_loses_lines_and_is_not_given_up() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let lane = Lane::start(full, Stream::Stdout).unwrap();
        lane.push(b"one\n", Author::Child);
        let failure = lane.failure().await;
        assert_eq!(failure.error.kind(), ErrorKind::StorageFull);
        assert!(!failure.given_up && !lane.state().over);
        lane.push(b"two\n", Author::Child);
        lane.close();
        lane.written().await;
        assert_eq!(lane.undelivered(), 2);
    }
}
