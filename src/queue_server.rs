//! `runner queue serve`: a small SQS endpoint for a laptop and for tests, durable across SIGKILL.
//!
//! It is a room of its own: only cli opens it, and nothing else of `runner` knows of it, so that a worker takes one
//! code path for it and for AWS. [`model`] decides (pure), [`journal`] remembers, [`protocol`] reads and writes JSON,
//! [`endpoint`] lets requests wait, [`http`] is the door. It checks no signature and asks for no credentials: it
//! listens on loopback unless told otherwise, and turns away whatever a web page sends.

pub mod endpoint;
pub mod http;
pub mod journal;
pub mod model;
pub mod protocol;
#[cfg(test)]
mod wire_tests;

use crate::outcome::{Exit, RunError};
use crate::shutdown::Shutdown;
use crate::sys::serve;
use endpoint::Endpoint;
use journal::Journal;
use model::refusal::Code;
use model::{Broker, OnUse, Options, Stale};
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::LocalSet;

/// What the server is told once.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it listens; 127.0.0.1:9324 by default, port 0 for any free one.
    pub listen: SocketAddr,
    /// The file that keeps the queues; without one they are gone when the server ends.
    pub journal: Option<PathBuf>,
    /// By how many bytes the journal grows before it is written anew; 16 MiB by default.
    pub compact_at: u64,
    /// The region in ARNs; `us-east-1` by default.
    pub region: String,
    /// The account in ARNs and URLs; `000000000000` by default.
    pub account: String,
    /// Whether a queue that is used and not there is created; by default it is refused, as on AWS.
    pub on_use: OnUse,
    /// What a handle from before the latest receive does; by default what AWS documents.
    pub stale: Stale,
    /// How many messages of one queue may be in flight; 120 000 by default, as on AWS.
    pub in_flight_limit: usize,
    /// What goes wrong on purpose; for tests alone, and nothing by default.
    pub faults: Vec<Fault>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 9324).into(),
            journal: None,
            compact_at: 16 << 20,
            region: "us-east-1".to_owned(),
            account: "000000000000".to_owned(),
            on_use: OnUse::default(),
            stale: Stale::default(),
            in_flight_limit: 120_000,
            faults: Vec::new(),
        }
    }
}

/// Something that goes wrong once.
#[derive(Debug, Clone)]
pub struct Fault {
    /// The action, as `ReceiveMessage`.
    pub action: String,
    /// Which request of that action, counted from 1.
    pub nth: u64,
    /// What goes wrong.
    pub kind: FaultKind,
}

/// What goes wrong.
#[derive(Debug, Clone)]
pub enum FaultKind {
    /// Nothing is done, and this is answered.
    Error(Code),
    /// These entries of a batch (counted from 0) are not done, and fail with this.
    Entries(Code, Vec<usize>),
    /// It is done and answered after this pause.
    Delay(Duration),
    /// Nothing is done and nothing answered until the client goes or the server stops.
    Hang,
    /// It is done, and the connection is closed without an answer.
    Drop,
}

/// How long requests under way may take once a stop was asked for.
const GRACE: Duration = Duration::from_secs(2);
/// How long the journal's last write may take. What was answered is in the file by then in any case.
const LAST_WRITE: Duration = Duration::from_secs(5);

/// Serves until a stop is asked for; `bound` is told the address once it listens. Waiting receives are then answered
/// at once, with nothing.
///
/// Errors: the address cannot be had (69), the journal cannot be opened or written (74). When the disk refuses a write
/// the server ends: what it holds in memory would no longer be what it promised to keep.
pub async fn serve(
    config: Config,
    shutdown: Shutdown,
    bound: impl FnOnce(SocketAddr),
) -> Result<(), RunError> {
    let cannot = |error: std::io::Error| {
        let doing = format!("cannot listen on {}", config.listen);
        RunError::new(Exit::UNAVAILABLE, doing, crate::sys::reason(&error))
    };
    let (broker, journal) = opened(&config)?;
    let listener = TcpListener::bind(config.listen).await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    let failed = journal.as_ref().map(Journal::waiter);
    let endpoint = Rc::new(Endpoint::new(
        broker,
        journal,
        config.faults,
        shutdown.clone(),
    ));
    bound(address);
    let account = config.account;
    let ended = LocalSet::new()
        .run_until(async {
            let failure = async {
                match failed {
                    Some(waiter) => waiter.failed().await,
                    None => std::future::pending().await,
                }
            };
            let moving = endpoint.run_moves();
            let door = Rc::new(http::Door::new(Rc::clone(&endpoint), account, address));
            tokio::select! {
                biased;
                cause = failure => Err(RunError::new(Exit::IO, "cannot write the queue journal", cause)),
                () = serve::serve(listener, door, &shutdown, GRACE) => Ok(()),
                () = moving => Ok(()),
            }
        })
        .await;
    if let Some(journal) = endpoint.close() {
        let _ = tokio::time::timeout(LAST_WRITE, journal.close()).await;
    }
    ended
}

/// The queues as the journal has them, and the journal.
fn opened(config: &Config) -> Result<(Broker, Option<Journal>), RunError> {
    let mut broker = Broker::new(Options {
        region: config.region.clone(),
        account: config.account.clone(),
        stale: config.stale,
        on_use: config.on_use,
        in_flight_limit: config.in_flight_limit,
        // The standard library's own randomness, which comes from the system.
        seed: RandomState::new().hash_one(0),
    });
    let Some(path) = &config.journal else {
        return Ok((broker, None));
    };
    let opened = journal::open(path, |record| broker.apply(record))?;
    let journal = Journal::start(opened, config.compact_at)?;
    Ok((broker, Some(journal)))
}
