//! A small HTTP/1.1 server: connections, keep-alive and limits. What is answered is its [`Service`]'s business.
//!
//! When a client closes its connection, hyper drops the request's future, and with it whatever waits there. A request
//! with an `Origin` header comes from a web page, which has no business at any endpoint of ours; services turn it away
//! by [`Head::is_of_web_page`].

use super::reason;
use crate::shutdown::Shutdown;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// More wait to be accepted.
const MAX_CONNECTIONS: usize = 1024;
/// How long a connection may be idle or be sending a header: longer than clients keep idle connections (90 s in
/// hyper's pool), so that it is they who close them.
const HEADER_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// What answers.
pub trait Service {
    /// The longest body that is read, in bytes.
    const MAX_BODY: usize;

    /// Looks at a request before its body is read; an answer here is the end of it.
    fn admit(&self, head: &Head) -> Result<(), Answer>;

    /// The answer to a body over [`Service::MAX_BODY`].
    fn too_long(&self) -> Answer;

    /// Is told why a connection could not be accepted.
    fn cannot_accept(&self, why: String);

    /// Answers; none closes the connection without a word.
    fn answer(&self, head: &Head, body: Vec<u8>) -> impl Future<Output = Option<Answer>>;
}

/// A request without its body. Has no `Debug`: a header may be a secret.
pub struct Head {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    /// Who asks.
    pub peer: SocketAddr,
}

impl Head {
    /// `GET`, `POST`, …
    pub fn method(&self) -> &str {
        self.method.as_str()
    }

    /// The path, as it came.
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// What stands behind the `?`, in the way of forms.
    pub fn parameters(&self) -> Vec<(String, String)> {
        let query = self.uri.query().unwrap_or_default();
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs.into_owned().collect()
    }

    /// A header's value, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether a web page sent it.
    pub fn is_of_web_page(&self) -> bool {
        self.headers.contains_key(header::ORIGIN)
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Answer {
    /// A body of this content type.
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: vec![("content-type", content_type.to_owned())],
            body: body.into(),
        }
    }

    /// The same with one more header; one whose value no header can hold is left out.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl From<Answer> for Response<Full<Bytes>> {
    fn from(answer: Answer) -> Self {
        let mut response = Response::new(Full::new(Bytes::from(answer.body)));
        *response.status_mut() =
            StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        for (name, value) in answer.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                let name = HeaderName::from_static(name);
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

/// The connection is to be closed without an answer.
#[derive(Debug)]
struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed without an answer")
    }
}

impl std::error::Error for Closed {}

/// Accepts and serves connections until a stop is asked for, then lets requests under way finish within `grace`. To
/// run on a `LocalSet`. Dropped before, it drops its connections.
pub async fn serve<S: Service + 'static>(
    listener: TcpListener,
    service: Rc<S>,
    shutdown: &Shutdown,
    grace: Duration,
) {
    let free = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut tasks = JoinSet::new();
    loop {
        let accept = async {
            let permit = Arc::clone(&free).acquire_owned().await;
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            biased;
            () = shutdown.requested() => break,
            Some(_) = tasks.join_next() => continue,
            accepted = accept => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (service, shutdown) = (Rc::clone(&service), shutdown.clone());
                tasks.spawn_local(async move {
                    connection(stream, peer, service, &shutdown).await;
                    drop(permit);
                });
            }
            // No descriptor left, or the client was gone again: neither ends the server.
            Err(error) => {
                service.cannot_accept(reason(&error));
                shutdown.sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    let all = async { while tasks.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(grace, all).await;
}

async fn connection<S: Service>(
    stream: TcpStream,
    peer: SocketAddr,
    service: Rc<S>,
    shutdown: &Shutdown,
) {
    // Answers are small and waited for.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|asked| {
        let service = Rc::clone(&service);
        async move { request(&*service, peer, asked).await }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    // An error is the client's: it went away or sent no HTTP.
    tokio::select! {
        biased;
        _ = connection.as_mut() => return,
        () = shutdown.requested() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

async fn request<S: Service>(
    service: &S,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Closed> {
    let (parts, body) = request.into_parts();
    let head = Head {
        method: parts.method,
        uri: parts.uri,
        headers: parts.headers,
        peer,
    };
    if let Err(answer) = service.admit(&head) {
        return Ok(answer.into());
    }
    let body = Limited::new(body, S::MAX_BODY).collect();
    let body = match tokio::time::timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(body)) => body.to_bytes().into(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Ok(service.too_long().into()),
        Ok(Err(_)) | Err(_) => return Err(Closed),
    };
    let answer = service.answer(&head, body).await;
    answer.map(Response::from).ok_or(Closed)
}
