//! An HTTP endpoint on loopback that answers as its script says, one act a request, and keeps what it was asked.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::DEADLINE;

/// What is done with one request; the last act goes on for ever.
#[derive(Clone)]
pub enum Act {
    /// An answer with this status, these headers (each ending in CR LF) and this body.
    Answer(u16, &'static str, String),
    /// Nothing is ever sent.
    Hang,
    /// The connection is closed without a byte.
    Reset,
}

/// An answer with a body and no header of its own.
pub fn answer(status: u16, body: &str) -> Act {
    Act::Answer(status, "", body.to_owned())
}

/// A listening endpoint.
pub struct Server {
    port: u16,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<String>>,
    more: Condvar,
    /// Connections that hang, kept open.
    open: Mutex<Vec<TcpStream>>,
}

impl Server {
    /// Listens on a free port of 127.0.0.1.
    pub fn new(script: impl IntoIterator<Item = Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let script: Vec<Act> = script.into_iter().collect();
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (script, seen) = (script.clone(), Arc::clone(&shared));
                std::thread::spawn(move || serve(stream, &script, &seen));
            }
        });
        Self { port, seen }
    }

    /// `http://127.0.0.1:PORT` and `path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().expect("no panic").clone()
    }

    /// Waits until this many requests have come.
    pub fn asked(&self, count: usize) {
        let requests = self.seen.requests.lock().expect("no panic");
        let (requests, _) = self
            .seen
            .more
            .wait_timeout_while(requests, DEADLINE, |requests| requests.len() < count)
            .expect("no panic");
        assert!(requests.len() >= count, "only {} requests", requests.len());
    }
}

fn serve(mut stream: TcpStream, script: &[Act], seen: &Seen) -> Option<()> {
    stream.set_read_timeout(Some(DEADLINE)).ok()?;
    let request = read_request(&mut stream)?;
    let number = {
        let mut requests = seen.requests.lock().expect("no panic");
        requests.push(request);
        seen.more.notify_all();
        requests.len() - 1
    };
    match script.get(number).or(script.last())? {
        Act::Answer(status, headers, body) => {
            let head = format!(
                "HTTP/1.1 {status} x\r\n{headers}connection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(head.as_bytes()).ok()?;
            stream.shutdown(std::net::Shutdown::Write).ok()?;
            // Closing with bytes unread would reset the connection under the answer.
            stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
            let _ = stream.read(&mut [0; 64]);
        }
        Act::Hang => seen.open.lock().expect("no panic").push(stream),
        Act::Reset => {}
    }
    Some(())
}

/// Reads a head and, with a content-length, its body.
fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
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
        match stream.read(&mut chunk).ok()? {
            0 => return None,
            length => bytes.extend_from_slice(&chunk[..length]),
        }
    }
}
