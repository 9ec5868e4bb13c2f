//! The threads that write to our stdout and stderr, each behind a bounded queue.
//!
//! The engine's thread never writes: nobody may be reading (a log driver that hangs, a paused terminal), and reaping,
//! heartbeats and signals must go on. A blocked stdout must not hide what we say on stderr, so each stream has a
//! thread; where both are the same object (a terminal, `2>&1`) they share one, which keeps lines whole and in order.
//! The descriptors stay blocking: O_NONBLOCK would be set for every process that shares them.
//!
//! Children's lines wait for room (`lane.rs`), which stops the reading of their pipes and so, in the end,
//! the children. Our own lines never wait: they have a reserve of their own and are counted when even that is full.

use super::frame::Stream;
pub use super::lane::Failure;
use super::lane::{Author, Lane};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long before the deadline of a stop the children's lines are given up for our own last ones.
const OWN_TIME: Duration = Duration::from_millis(100);

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
        tokio::select! {
            failure = self.out.failure() => failure,
            failure = self.err.failure(), if self.lanes().count() == 2 => failure,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::relay::lane::PIECE;
    use std::io::{ErrorKind, PipeReader, PipeWriter, Read, pipe};
    use std::os::fd::{AsRawFd, FromRawFd};

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
