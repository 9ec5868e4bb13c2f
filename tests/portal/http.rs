//! A browser as small as can be: one request a connection, and whether it was answered.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long anything may take here. Nothing comes near it: the machine of a test may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// A header's value; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        let lines = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'));
        let mut values = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        values.next().map_or("", |(_, value)| value.trim())
    }

    /// The body as the JSON that it is.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// How a request went.
#[derive(Debug)]
pub enum Went {
    Answered(Answer),
    /// Nobody listened.
    Refused,
    /// The connection was made and then lost before the whole answer.
    Lost(io::Error),
}

impl Went {
    /// The answer that there has to be.
    pub fn answer(self) -> Answer {
        match self {
            Went::Answered(answer) => answer,
            other => panic!("no answer: {other:?}"),
        }
    }
}

/// Asks nginx.
pub fn ask(method: &str, target: &str, headers: &[(&str, &str)]) -> Went {
    let door = SocketAddr::from((Ipv4Addr::LOCALHOST, 8000));
    let mut stream = match TcpStream::connect_timeout(&door, PATIENCE) {
        Ok(stream) => stream,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Went::Refused,
        Err(error) => return Went::Lost(error),
    };
    match talk(&mut stream, method, target, headers) {
        Ok(answer) => Went::Answered(answer),
        Err(error) => Went::Lost(error),
    }
}

/// `GET`, and the answer that there has to be.
pub fn get(target: &str) -> Answer {
    ask("GET", target, &[]).answer()
}

fn talk(
    stream: &mut TcpStream,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
) -> io::Result<Answer> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut request =
        format!("{method} {target} HTTP/1.1\r\nHost: portal.example\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    if method == "POST" {
        request.push_str("Content-Length: 0\r\n");
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes())?;
    let mut whole = Vec::new();
    stream.read_to_end(&mut whole)?;
    read(&whole).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("{} bytes", whole.len()),
        )
    })
}

/// The answer, if it is whole.
fn read(whole: &[u8]) -> Option<Answer> {
    let end = whole.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&whole[..end]).into_owned();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let mut answer = Answer {
        status,
        head,
        body: whole[end + 4..].to_vec(),
    };
    let length = answer.header("content-length").parse::<usize>();
    let is_whole = match length {
        Ok(length) => answer.body.len() == length,
        Err(_) => answer.body.ends_with(b"0\r\n\r\n"), // chunked, never looked into here
    };
    if answer.header("transfer-encoding") == "chunked" && is_whole {
        answer.body.clear();
    }
    is_whole.then_some(answer)
}

/// Request after request, by some at once, until told to stop or until nobody listens.
pub struct Load {
    stop: Arc<AtomicBool>,
    told: Arc<Mutex<Vec<(String, Went)>>>,
    askers: Vec<JoinHandle<()>>,
}

impl Load {
    /// `askers` threads, each with one request at a time; every request has a path of its own.
    pub fn start(askers: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::new(Mutex::new(Vec::new()));
        let ask_on = |asker: usize| {
            let (stop, told) = (stop.clone(), told.clone());
            move || {
                for number in 0.. {
                    let path = format!("/echo/asker-{asker}-{number}");
                    let went = ask("GET", &path, &[]);
                    let over = matches!(went, Went::Refused) || stop.load(Ordering::Relaxed);
                    told.lock()
                        .expect("nobody panics with it")
                        .push((path, went));
                    if over {
                        break;
                    }
                }
            }
        };
        let askers = (0..askers)
            .map(|asker| std::thread::spawn(ask_on(asker)))
            .collect();
        Self { stop, told, askers }
    }

    /// How many requests are done.
    pub fn done(&self) -> usize {
        self.told.lock().expect("nobody panics with it").len()
    }

    /// Waits for the requests in hand; each path and how it went. None begins after this unless `to_the_end`, where
    /// they go on until nobody listens.
    pub fn finish(self, to_the_end: bool) -> Vec<(String, Went)> {
        self.stop.store(!to_the_end, Ordering::Relaxed);
        for asker in self.askers {
            asker.join().expect("an asker does not panic");
        }
        std::mem::take(&mut self.told.lock().expect("nobody panics with it"))
    }
}
