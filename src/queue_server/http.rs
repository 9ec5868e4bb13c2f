//! The socket: HTTP/1.1 with keep-alive, and its limits.
//!
//! When a client closes its connection, hyper drops the request's future, and with it a waiting receive. A request
//! with an `Origin` header comes from a web page, which has no business here, and is turned away; so is one without
//! the protocol's content type, which keeps simple cross-site forms out.

use super::endpoint::{Answer, Asked, Endpoint};
use super::model::refusal::{Code, Refusal};
use crate::shutdown::Shutdown;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// A batch is 1 MiB of text; as JSON, six bytes for one are the worst case.
const MAX_BODY: usize = 12 << 20;
/// More wait to be accepted.
const MAX_CONNECTIONS: usize = 1024;
/// How long a connection may be idle or be sending a header: longer than clients keep idle connections (90 s in
/// hyper's pool), so that it is they who close them.
const HEADER_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
const CONTENT_TYPE: &str = "application/x-amz-json-1.0";

/// Everything that connections share.
#[derive(Debug)]
pub struct Connections {
    endpoint: Rc<Endpoint>,
    account: String,
    address: SocketAddr,
    requests: Cell<u64>,
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

impl Connections {
    /// None yet.
    pub fn new(endpoint: Rc<Endpoint>, account: String, address: SocketAddr) -> Self {
        Self {
            endpoint,
            account,
            address,
            requests: Cell::new(0),
        }
    }

    /// Accepts and serves connections until a stop is asked for, then lets requests under way finish within `grace`.
    pub async fn serve(self, listener: TcpListener, shutdown: &Shutdown, grace: Duration) {
        let shared = Rc::new(self);
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
                Ok((stream, _)) => {
                    let (shared, shutdown) = (Rc::clone(&shared), shutdown.clone());
                    tasks.spawn_local(async move {
                        shared.connection(stream, &shutdown).await;
                        drop(permit);
                    });
                }
                // No descriptor left, or the client was gone again: neither ends the server.
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    shutdown.sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(listener);
        let all = async { while tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(grace, all).await;
    }

    async fn connection(self: Rc<Self>, stream: TcpStream, shutdown: &Shutdown) {
        // Answers are small and waited for.
        let _ = stream.set_nodelay(true);
        let service = service_fn(|request| {
            let shared = Rc::clone(&self);
            async move { shared.request(request).await }
        });
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT);
        let mut connection =
            std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
        // An error is the client's: it went away or sent no HTTP.
        tokio::select! {
            biased;
            _ = connection.as_mut() => return,
            () = shutdown.requested() => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    }

    async fn request(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Closed> {
        self.requests.set(self.requests.get() + 1);
        if request.method() == Method::GET && request.uri().path() == "/health" {
            return Ok(Response::new(Full::new(Bytes::from_static(b"ok\n"))));
        }
        let (head, body) = request.into_parts();
        let action = match self.admit(&head.method, &head.headers) {
            Ok(action) => action,
            Err(refusal) => return Ok(self.refuse(&refusal)),
        };
        let body = match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY).collect())
            .await
        {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                let message = format!("The request is longer than {MAX_BODY} bytes.");
                return Ok(self.refuse(&Refusal::new(Code::RequestEntityTooLarge, message)));
            }
            Ok(Err(_)) | Err(_) => return Err(Closed),
        };
        let host = head
            .headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        let host = host.map_or_else(|| self.address.to_string(), str::to_owned);
        let asked = Asked {
            action: &action,
            body: &body,
            base: &format!("http://{host}/{}", self.account),
        };
        match self.endpoint.answer(asked).await {
            Answer::Say(Ok(json)) => Ok(self.respond(StatusCode::OK, json)),
            Answer::Say(Err(refusal)) => Ok(self.refuse(&refusal)),
            Answer::Hang => Err(Closed),
        }
    }

    /// The action of a request that may be read further.
    fn admit(&self, method: &Method, headers: &HeaderMap) -> Result<String, Refusal> {
        let text = |name| {
            headers
                .get(name)
                .and_then(|value: &HeaderValue| value.to_str().ok())
        };
        if headers.contains_key(header::ORIGIN) {
            return Err(Refusal::new(
                Code::AccessDenied,
                "This endpoint does not serve web pages.",
            ));
        }
        let content_type = text(header::CONTENT_TYPE).unwrap_or_default();
        if method != Method::POST || !content_type.starts_with(CONTENT_TYPE) {
            return Err(Refusal::new(
                Code::InvalidAction,
                format!(
                    "This endpoint speaks the AWS JSON 1.0 protocol alone: POST with content type {CONTENT_TYPE}."
                ),
            ));
        }
        let target = text(header::HeaderName::from_static("x-amz-target")).unwrap_or_default();
        Ok(target
            .strip_prefix("AmazonSQS.")
            .unwrap_or_default()
            .to_owned())
    }

    fn refuse(&self, refusal: &Refusal) -> Response<Full<Bytes>> {
        let code = refusal.code;
        let json = serde_json::json!({
            "__type": format!("com.amazonaws.sqs#{}", code.shape()),
            "message": refusal.message,
        });
        let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::BAD_REQUEST);
        let mut response = self.respond(status, json.to_string().into_bytes());
        let fault = if code.is_senders() {
            "Sender"
        } else {
            "Receiver"
        };
        if let Ok(value) = HeaderValue::from_str(&format!("{};{fault}", code.query())) {
            response.headers_mut().insert("x-amzn-query-error", value);
        }
        response
    }

    fn respond(&self, status: StatusCode, json: Vec<u8>) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(json)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        let id = format!(
            "{:08x}-0000-4000-8000-{:012x}",
            std::process::id(),
            self.requests.get()
        );
        if let Ok(id) = HeaderValue::from_str(&id) {
            headers.insert("x-amzn-requestid", id);
        }
        response
    }
}
