//! An HTTP endpoint for tests that does exactly what its script says, one act a request.
//!
//! It speaks just enough HTTP/1.1, counts what it is asked, and can fail in the ways that no real server
//! or emulator can be made to. Behind the last act it answers as the last act says.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// What is done with one request.
#[derive(Debug, Clone)]
pub enum Act {
    /// These bytes are sent and the connection is closed.
    Raw(Vec<u8>),
    /// The same, after a pause.
    Slow(Duration, Vec<u8>),
    /// Nothing is ever sent.
    Hang,
    /// An answer that promises more than it sends.
    Cut,
    /// The connection is closed without a byte.
    Reset,
}

impl Act {
    pub fn raw(text: &str) -> Act {
        Act::Raw(text.as_bytes().to_vec())
    }

    /// A whole answer.
    pub fn answer(status: u16, body: &str) -> Act {
        Act::raw(&format!(
            "HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    /// The same with one more header.
    pub fn header(self, name: &str, value: &str) -> Act {
        let Act::Raw(bytes) = self else { return self };
        let text = String::from_utf8_lossy(&bytes);
        Act::raw(&text.replacen("\r\n", &format!("\r\n{name}: {value}\r\n"), 1))
    }
}

/// A running endpoint; it stops listening and drops its connections when dropped.
pub struct Endpoint {
    port: u16,
    seen: Arc<Seen>,
    listening: JoinHandle<()>,
}

struct Seen {
    requests: Mutex<Vec<String>>,
    asked: watch::Sender<usize>,
    closed: watch::Sender<usize>,
}

/// How long a test waits for what must happen.
const DEADLINE: Duration = Duration::from_secs(20);

impl Endpoint {
    /// Listens on a free port of 127.0.0.1.
    pub async fn new(script: impl IntoIterator<Item = Act>) -> Self {
        Self::start(script, None).await
    }

    /// The same with TLS.
    pub async fn with_tls(
        script: impl IntoIterator<Item = Act>,
        config: rustls::ServerConfig,
    ) -> Self {
        Self::start(script, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn start(script: impl IntoIterator<Item = Act>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let script: Vec<Act> = script.into_iter().collect();
        let seen = Arc::new(Seen {
            requests: Mutex::default(),
            asked: watch::channel(0).0,
            closed: watch::channel(0).0,
        });
        let shared = Arc::clone(&seen);
        let listening = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, script, tls) = (Arc::clone(&shared), script.clone(), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, &script, &seen).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, &script, &seen).await,
                            Err(_) => None,
                        },
                    };
                    seen.closed.send_modify(|closed| *closed += 1);
                });
            }
        });
        Self {
            port,
            seen,
            listening,
        }
    }

    /// Stops listening; when this returns, connections are refused.
    pub async fn end(mut self) {
        self.listening.abort();
        let _ = (&mut self.listening).await;
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `http://127.0.0.1:PORT` and `path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// Every request so far, as text.
    pub fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().expect("no panic").clone()
    }

    /// How many requests came so far.
    pub fn tries(&self) -> usize {
        *self.seen.asked.borrow()
    }

    /// Returns when `count` requests have come.
    pub async fn asked(&self, count: usize) {
        reaches(&self.seen.asked, count).await;
    }

    /// Returns when `count` connections have ended.
    pub async fn closed(&self, count: usize) {
        reaches(&self.seen.closed, count).await;
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn reaches(counter: &watch::Sender<usize>, count: usize) {
    let mut counter = counter.subscribe();
    let reached = counter.wait_for(|now| *now >= count);
    tokio::time::timeout(DEADLINE, reached)
        .await
        .expect("in time")
        .expect("the endpoint runs");
}

/// One connection: reads one request and plays the act for it. None when the client went away.
async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    script: &[Act],
    seen: &Seen,
) -> Option<()> {
    let request = read_request(&mut stream).await?;
    seen.requests.lock().expect("no panic").push(request);
    seen.asked.send_modify(|asked| *asked += 1);
    let number = *seen.asked.borrow() - 1;
    let act = script.get(number).or(script.last())?.clone();
    match act {
        Act::Raw(bytes) => send(&mut stream, &bytes).await,
        Act::Slow(pause, bytes) => {
            tokio::time::sleep(pause).await;
            send(&mut stream, &bytes).await
        }
        Act::Cut => {
            send(
                &mut stream,
                b"HTTP/1.1 200 x\r\ncontent-length: 99\r\n\r\n{\"Secr",
            )
            .await
        }
        Act::Reset => Some(()),
        Act::Hang => until_closed(&mut stream).await,
    }
}

/// Sends and closes in the way that lets the client read all of it.
async fn send(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), bytes: &[u8]) -> Option<()> {
    stream.write_all(bytes).await.ok()?;
    stream.shutdown().await.ok()?;
    until_closed(stream).await
}

async fn until_closed(stream: &mut (impl AsyncRead + Unpin)) -> Option<()> {
    let mut buffer = [0; 1024];
    while stream.read(&mut buffer).await.ok()? > 0 {}
    Some(())
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .and_then(|(_, value)| value.trim().parse().ok())
                .unwrap_or(0);
            if body.len() >= length {
                return Some(text);
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        if !bytes[0].is_ascii_alphabetic() {
            return Some("not HTTP".to_owned());
        }
    }
}
