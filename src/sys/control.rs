//! The control socket: one line of JSON in, one line out, on a Unix socket that answers its own user and root only.
//!
//! What the lines say is nobody's business here. The file has mode 0600 from its first moment, and each peer's user is
//! checked besides (`SO_PEERCRED`, unix(7)): a mode can be changed, credentials cannot. A connection is kept open
//! after its answer until the peer closes it, so that whoever reads on learns when we are gone.

use super::reason;
use crate::outcome::{Exit, RunError};
use std::convert::Infallible;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

/// Where a runner listens unless it is told otherwise and may.
const USUAL: &str = "/run/runner.sock";

/// How long a line may be, in bytes, question or answer. A role of 1000 members has an answer of half a megabyte.
const LONGEST: u64 = 4 * 1024 * 1024;

/// How long a peer may take over its question.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many peers are talked to at once; more wait.
const PEERS: usize = 64;

/// Where a runner of this user may listen, best first.
pub fn places(named: Option<&Path>) -> Vec<PathBuf> {
    match named {
        Some(path) => vec![path.to_owned()],
        None => vec![PathBuf::from(USUAL), of_user(our_uid())],
    }
}

fn of_user(uid: u32) -> PathBuf {
    PathBuf::from(format!("/tmp/runner-{uid}.sock"))
}

fn our_uid() -> u32 {
    // SAFETY: no arguments.
    unsafe { libc::geteuid() }
}

/// The socket of this runner; its file goes when it is dropped.
#[derive(Debug)]
pub struct Door {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode: a file of the same name that is not ours stays.
    identity: (u64, u64),
    /// Places that were better and could not be had, each with the reason.
    pub passed_over: Vec<String>,
}

/// Why a place could not be had.
enum Refused {
    /// Another runner answers there; to listen elsewhere would hide this one behind it.
    Taken(Option<i32>),
    /// It cannot be used by us.
    Unusable(String),
}

impl Door {
    /// Listens on the first place that can be had; a socket file that nobody answers on is replaced.
    ///
    /// Needs a running tokio runtime.
    ///
    /// # Errors
    /// Where another runner has the place already, or no place can be had.
    pub fn open(places: &[PathBuf]) -> Result<Door, RunError> {
        let mut passed_over = Vec::new();
        for path in places {
            match listen(path) {
                Ok((listener, identity)) => {
                    return Ok(Door {
                        listener,
                        path: path.clone(),
                        identity,
                        passed_over,
                    });
                }
                Err(Refused::Taken(pid)) => {
                    let pid = pid.map_or(String::new(), |pid| format!(" (pid {pid})"));
                    let doing = format!("cannot listen on {}", path.display());
                    let cause = format!("another runner{pid} answers there");
                    return Err(RunError::new(Exit::UNAVAILABLE, doing, cause)
                        .with_help("set RUNNER_SOCKET to give this one a place of its own"));
                }
                Err(Refused::Unusable(why)) => {
                    passed_over.push(format!("{}: {why}", path.display()));
                }
            }
        }
        let cause = passed_over.join("; ");
        Err(
            RunError::new(Exit::IO, "cannot listen for health and status", cause)
                .with_help("RUNNER_SOCKET names another place"),
        )
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Answers every question of every peer; to be spawned on a `LocalSet`.
    pub async fn serve<F>(&self, answer: F) -> Infallible
    where
        F: AsyncFn(String) -> String + 'static,
    {
        let answer = Rc::new(answer);
        let peers = Arc::new(Semaphore::new(PEERS));
        loop {
            // The semaphore is never closed.
            let place = peers.clone().acquire_owned().await;
            let Ok((stream, _)) = self.listener.accept().await else {
                // Out of descriptors, most likely: those who talk now will go.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let answer = Rc::clone(&answer);
            tokio::task::spawn_local(async move {
                // A peer that goes away is its own business.
                let _ = talk(stream, &*answer).await;
                drop(place);
            });
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|there| there == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let there = fs::symlink_metadata(path)?;
    Ok((there.dev(), there.ino()))
}

fn listen(path: &Path) -> Result<(UnixListener, (u64, u64)), Refused> {
    let unusable = |error: io::Error| Refused::Unusable(reason(&error));
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(unusable(error)),
        // A link is not followed: it leads where somebody else points to.
        Ok(there) if !there.file_type().is_socket() => {
            return Err(Refused::Unusable("it is there and is no socket".to_owned()));
        }
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Ok(stream) => {
                let _ = stream.set_nonblocking(true);
                let peer = UnixStream::from_std(stream).and_then(|stream| stream.peer_cred());
                return Err(Refused::Taken(peer.ok().and_then(|peer| peer.pid())));
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(unusable)?;
            }
            Err(error) => return Err(unusable(error)),
        },
    }
    // The mask belongs to the whole process; no other thread makes files at this moment.
    // SAFETY: integers only.
    let mask = unsafe { libc::umask(0o177) };
    let bound = std::os::unix::net::UnixListener::bind(path);
    // SAFETY: as above.
    unsafe { libc::umask(mask) };
    let listener = bound.map_err(unusable)?;
    listener.set_nonblocking(true).map_err(unusable)?;
    let identity = identity(path).map_err(unusable)?;
    let listener = UnixListener::from_std(listener).map_err(unusable)?;
    Ok((listener, identity))
}

/// One question and its answer.
async fn talk(
    stream: UnixStream,
    answer: &(impl AsyncFn(String) -> String + 'static),
) -> io::Result<()> {
    let peer = stream.peer_cred()?;
    if peer.uid() != our_uid() && peer.uid() != 0 {
        return Ok(());
    }
    let mut stream = BufReader::new(stream);
    let question = tokio::time::timeout(PATIENCE, line(&mut stream)).await??;
    let mut text = answer(question).await;
    text.push('\n');
    stream.write_all(text.as_bytes()).await?;
    // Until the peer has gone; what else it says is not listened to.
    let mut rest = [0; 256];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// One line without its end.
async fn line(stream: &mut BufReader<UnixStream>) -> io::Result<String> {
    let mut text = Vec::new();
    stream.take(LONGEST).read_until(b'\n', &mut text).await?;
    if text.pop() != Some(b'\n') {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    String::from_utf8(text).map_err(|_| ErrorKind::InvalidData.into())
}

/// A connection to a runner that lives.
#[derive(Debug)]
pub struct Caller {
    stream: BufReader<UnixStream>,
    path: PathBuf,
}

impl Caller {
    /// Calls the runner that listens on the first of these places, and for root also those of other users.
    ///
    /// # Errors
    /// 69 where nobody listens, 77 where somebody does who does not answer us, or is not who he should be.
    pub async fn call(named: Option<&Path>) -> Result<Caller, RunError> {
        let mut places = places(named);
        if named.is_none() && our_uid() == 0 {
            places.extend(others().into_iter().filter(|path| *path != of_user(0)));
        }
        let mut refused = Vec::new();
        for path in &places {
            match connect(path).await {
                Ok(stream) => {
                    return Ok(Caller {
                        stream: BufReader::new(stream),
                        path: path.clone(),
                    });
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::NotFound | ErrorKind::ConnectionRefused
                    ) => {}
                Err(error) => refused.push(format!("{}: {}", path.display(), reason(&error))),
            }
        }
        if refused.is_empty() {
            let named: Vec<_> = places.iter().map(|p| p.display().to_string()).collect();
            let cause = format!("nobody answers on {}", named.join(" or "));
            return Err(
                RunError::new(Exit::UNAVAILABLE, "no runner is running here", cause)
                    .with_help("RUNNER_SOCKET or --socket names another place"),
            );
        }
        Err(
            RunError::new(Exit::NOPERM, "cannot ask the runner", refused.join("; "))
                .with_help("it answers its own user and root only"),
        )
    }

    /// Asks one question; waits for the answer as long as `limit`, or for ever.
    ///
    /// # Errors
    /// 69 where there is none.
    pub async fn ask(
        &mut self,
        question: &str,
        limit: Option<Duration>,
    ) -> Result<String, RunError> {
        let at = self.path.display().to_string();
        let exchange = async {
            self.stream
                .write_all(format!("{question}\n").as_bytes())
                .await?;
            line(&mut self.stream).await
        };
        let answered = match limit {
            Some(limit) => tokio::time::timeout(limit, exchange)
                .await
                .unwrap_or_else(|_| Err(ErrorKind::TimedOut.into())),
            None => exchange.await,
        };
        answered.map_err(|error| {
            let cause = match error.kind() {
                ErrorKind::TimedOut => "it does not answer in time".to_owned(),
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                    "it ended before it answered".to_owned()
                }
                _ => reason(&error),
            };
            RunError::new(
                Exit::UNAVAILABLE,
                format!("cannot ask the runner at {at}"),
                cause,
            )
        })
    }

    /// Waits until the runner is gone.
    pub async fn gone(mut self) {
        let mut rest = [0; 256];
        while self.stream.read(&mut rest).await.is_ok_and(|got| got > 0) {}
    }
}

/// Connects to a socket whose owner may speak for a runner of ours: ourselves or root, and for root the file's owner.
async fn connect(path: &Path) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(path).await?;
    let owner = stream.peer_cred()?.uid();
    // A file in /tmp may have been put there by anybody under another's name.
    let is_ours = owner == 0 || owner == our_uid() || (our_uid() == 0 && named_after(path, owner));
    if is_ours {
        return Ok(stream);
    }
    let why = format!("user {owner} listens there");
    Err(io::Error::new(ErrorKind::PermissionDenied, why))
}

/// Whether a path may belong to this user: it names no other one.
fn named_after(path: &Path, uid: u32) -> bool {
    path.parent() != Some(Path::new("/tmp")) || path == of_user(uid)
}

/// The sockets of other users.
fn others() -> Vec<PathBuf> {
    let entries = fs::read_dir("/tmp").into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            let uid = name
                .and_then(|name| name.strip_prefix("runner-"))
                .and_then(|rest| rest.strip_suffix(".sock"));
            uid.is_some_and(|uid| uid.parse::<u32>().is_ok())
        })
        .collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::trial;

    #[test]
    fn a_socket_in_tmp_speaks_for_the_user_it_is_named_after() {
        assert!(named_after(Path::new("/tmp/runner-1000.sock"), 1000));
        assert!(!named_after(Path::new("/tmp/runner-0.sock"), 1000));
        assert!(named_after(Path::new(USUAL), 1000));
    }

    #[test]
    fn places_are_the_named_one_alone_or_the_usual_ones() {
        assert_eq!(places(Some(Path::new("x"))), [PathBuf::from("x")]);
        let usual = places(None);
        assert_eq!(usual[0], Path::new(USUAL));
        assert_eq!(usual[1], of_user(our_uid()));
        assert_eq!(usual.len(), 2);
    }

    #[test]
    fn a_file_that_took_the_sockets_place_stays_and_a_long_name_is_an_error() {
        trial::on_runtime(async {
            let name = format!("runner-door-{}.sock", std::process::id());
            let path = std::env::temp_dir().join(name);
            let door = Door::open(std::slice::from_ref(&path)).expect("it is free");
            fs::remove_file(&path).expect("it is there");
            fs::write(&path, "another's").expect("it can be written");
            drop(door);
            assert_eq!(fs::read_to_string(&path).expect("it stayed"), "another's");
            fs::remove_file(&path).expect("it is ours");

            let long = std::env::temp_dir().join("x".repeat(120));
            let error = Door::open(&[long]).expect_err("sun_path has 108 bytes");
            let text = error.to_string();
            assert!(
                text.starts_with("cannot listen for health and status: "),
                "{text}"
            );
        });
    }
}
