//! One HTTP request or one TCP connection, for probes, `http` and `wait` steps and queue handlers.
//!
//! What is written is what is asked: no redirect is followed (a redirect is an answer like others) and no
//! proxy is used, whatever HTTP_PROXY says. A request has a connection of its own, so a probe always tests that the
//! service still accepts; only one of a quick stream ([`send_in_stream`]) may take that of the one before. Dropping a
//! future here closes its connection.

use crate::sys::network;
use crate::target::{Target, http_url, redact};
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Client, Method, Url};
use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

pub use crate::sys::network::Fault;

/// How much of an answer is kept.
pub const BODY_KEPT: usize = 4 * 1024;
/// How much of an answer is read; beyond this the connection is closed and the answer counts as complete.
pub const BODY_READ: usize = 1024 * 1024;

/// A request to send. Its `Debug` shows neither headers nor body.
#[derive(Clone)]
pub struct Request {
    /// `GET`, `POST`, …, as it goes on the wire.
    pub method: String,
    /// An `http` or `https` URL; a user and password in it become basic authentication.
    pub url: String,
    /// Names and values; a `host` here replaces the URL's.
    pub headers: Vec<(String, String)>,
    /// The body; none sends none.
    pub body: Option<Vec<u8>>,
    /// The limit for all of it: name, connection, TLS, request and answer.
    pub timeout: Duration,
}

impl Request {
    /// A `GET` with no headers of its own.
    pub fn get(url: String, timeout: Duration) -> Self {
        Self {
            method: "GET".to_owned(),
            url,
            headers: Vec::new(),
            body: None,
            timeout,
        }
    }
}

/// An answer, whatever its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// 200, 302, 503, …
    pub status: u16,
    /// The first [`BODY_KEPT`] bytes of the body.
    pub body_start: Vec<u8>,
}

/// Why there is no answer; the text names host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpError {
    /// The kind, for those who treat kinds differently.
    pub fault: Fault,
    text: String,
}

/// How long a connection of a stream waits for its next request: shorter than any service keeps one open, or a request
/// could meet a connection that is just being closed.
const STREAM_IDLE: Duration = Duration::from_millis(500);

/// The clients, made when first needed.
struct Clients {
    /// How long a connection is kept for the next request; none closes it.
    idle: Option<Duration>,
    /// For http: knows no CA, because loading the system's costs some 20 ms that a plain probe never uses.
    plain: OnceLock<Client>,
    /// For https: checks certificates against the system's CAs (SSL_CERT_FILE, SSL_CERT_DIR).
    tls: OnceLock<Client>,
}

static CLIENTS: Clients = Clients::new(None);
static STREAM: Clients = Clients::new(Some(STREAM_IDLE));

/// Sends `request` and reads its answer. Any status is `Ok`.
///
/// The answer is read to its end, or to [`BODY_READ`] bytes, so that the service is done with the request.
pub async fn send(request: &Request) -> Result<Response, HttpError> {
    send_with(&CLIENTS, request).await
}

/// The same for one of many requests that follow each other quickly: connections are used again.
pub async fn send_in_stream(request: &Request) -> Result<Response, HttpError> {
    send_with(&STREAM, request).await
}

/// Connects to `host:port` and closes the connection again.
pub async fn connect(host_port: &str, limit: Duration) -> Result<(), HttpError> {
    let target = Target::parse_tcp(host_port)
        .map_err(|error| HttpError::new(Fault::BadUrl, error.to_string()))?;
    let address = (target.host.as_str(), target.port);
    match timeout(limit, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(HttpError::caused(&target, &error)),
        Err(_) => Err(HttpError::new(
            Fault::TimedOut,
            format!("cannot connect to {target}: no connection within {limit:?}"),
        )),
    }
}

async fn send_with(clients: &Clients, request: &Request) -> Result<Response, HttpError> {
    let bad_url =
        |error: crate::target::TargetError| HttpError::new(Fault::BadUrl, error.to_string());
    let (url, target) = http_url(&request.url).map_err(bad_url)?;
    let built = build(clients, request, url, &target)?;
    match timeout(request.timeout, exchange(built, &target)).await {
        Ok(answer) => answer,
        Err(_) => Err(HttpError::new(
            Fault::TimedOut,
            format!(
                "no complete answer from {target} within {:?}",
                request.timeout
            ),
        )),
    }
}

async fn exchange(
    request: reqwest::RequestBuilder,
    target: &Target,
) -> Result<Response, HttpError> {
    let caused = |error: reqwest::Error| HttpError::caused(target, &error);
    let mut answer = request.send().await.map_err(caused)?;
    let mut read = 0;
    let mut body_start = Vec::new();
    while read < BODY_READ {
        let Some(piece) = answer.chunk().await.map_err(caused)? else {
            break;
        };
        read += piece.len();
        let room = BODY_KEPT - body_start.len();
        body_start.extend_from_slice(&piece[..piece.len().min(room)]);
    }
    Ok(Response {
        status: answer.status().as_u16(),
        body_start,
    })
}

fn build(
    clients: &Clients,
    request: &Request,
    url: Url,
    target: &Target,
) -> Result<reqwest::RequestBuilder, HttpError> {
    let bad = |text: String| HttpError::new(Fault::BadRequest, text);
    let method = Method::from_bytes(request.method.as_bytes()).map_err(|_| {
        bad(format!(
            "`{}` is not an HTTP method",
            request.method.escape_debug()
        ))
    })?;
    let mut built = clients.of(target)?.request(method, url);
    for (name, value) in &request.headers {
        let key = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| bad(format!("`{}` is not a header name", name.escape_debug())))?;
        // The value may be a secret: it is not shown.
        let value = HeaderValue::from_str(value).map_err(|_| {
            bad(format!(
                "the value of header `{name}` has a line break or a control character"
            ))
        })?;
        built = built.header(key, value);
    }
    Ok(match &request.body {
        Some(body) => built.body(body.clone()),
        None => built,
    })
}

impl Clients {
    const fn new(idle: Option<Duration>) -> Self {
        Self {
            idle,
            plain: OnceLock::new(),
            tls: OnceLock::new(),
        }
    }

    fn of(&self, target: &Target) -> Result<&Client, HttpError> {
        let cell = if target.tls { &self.tls } else { &self.plain };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        // reqwest panics where no provider is installed; an error here means that one is.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = Client::builder()
            .user_agent(concat!("runner/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .pool_max_idle_per_host(if self.idle.is_some() { usize::MAX } else { 0 })
            .pool_idle_timeout(self.idle);
        let builder = if target.tls {
            builder
        } else {
            builder.tls_certs_only([])
        };
        let client = builder.build().map_err(|error| {
            let why = network::innermost(&error);
            HttpError::new(
                Fault::Tls,
                format!("cannot load the CA certificates for {target}: {why}"),
            )
        })?;
        Ok(cell.get_or_init(|| client))
    }
}

impl HttpError {
    fn new(fault: Fault, text: String) -> Self {
        Self { fault, text }
    }

    fn caused(target: &Target, error: &(dyn std::error::Error + 'static)) -> Self {
        let (fault, why) = network::cause(error)
            .unwrap_or_else(|| (Fault::Unreachable, network::innermost(error)));
        let doing = match fault {
            Fault::ClosedEarly | Fault::NotHttp => "no answer from",
            _ => "cannot connect to",
        };
        Self::new(fault, format!("{doing} {target}: {why}"))
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for HttpError {}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({} {})", self.method, redact(&self.url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::scripted::{Act, Endpoint};

    fn get(url: String) -> Request {
        Request {
            method: "GET".to_owned(),
            url,
            headers: Vec::new(),
            body: None,
            timeout: Duration::from_secs(20),
        }
    }

    async fn fails(request: &Request) -> (Fault, String) {
        let error = send(request).await.expect_err("no answer");
        (error.fault, error.to_string())
    }

    #[tokio::test]
    async fn an_answer_is_its_status_and_the_start_of_its_body() {
        let big = "x".repeat(BODY_READ * 2);
        let endpoint = Endpoint::new([
            Act::answer(200, "fine"),
            Act::answer(302, "").header("location", "http://127.0.0.1:1/"),
            Act::answer(503, &big),
        ])
        .await;
        let request = Request {
            method: "POST".to_owned(),
            headers: vec![("X-Task".to_owned(), "7".to_owned())],
            body: Some(b"{}".to_vec()),
            ..get(endpoint.url("/index?x=1"))
        };
        let answer = send(&request).await.expect("an answer");
        assert_eq!(
            (answer.status, answer.body_start.as_slice()),
            (200, b"fine".as_slice())
        );
        assert_eq!(send(&request).await.expect("an answer").status, 302);
        let long = send(&request).await.expect("an answer");
        assert_eq!((long.status, long.body_start.len()), (503, BODY_KEPT));
        let seen = endpoint.requests();
        assert_eq!(seen.len(), 3);
        assert!(
            seen[0].starts_with("POST /index?x=1 HTTP/1.1\r\n"),
            "{}",
            seen[0]
        );
        assert!(seen[0].contains("x-task: 7\r\n") && seen[0].ends_with("\r\n\r\n{}"));
    }

    #[tokio::test]
    async fn each_failure_has_its_kind_and_names_host_and_port() {
        let endpoint = Endpoint::new([
            Act::Cut,
            Act::Reset,
            Act::raw("SSH-2.0-x\r\n\r\n"),
            Act::Hang,
        ])
        .await;
        let at = endpoint.address();
        let request = get(endpoint.url("/?k=CANARY").replace("//", "//u:CANARY@"));
        let early = format!(
            "no answer from {at}: the connection was closed before the answer was complete"
        );
        assert_eq!(fails(&request).await, (Fault::ClosedEarly, early.clone()));
        assert_eq!(fails(&request).await, (Fault::ClosedEarly, early));
        let garbage = format!("no answer from {at}: what came back is not HTTP");
        assert_eq!(fails(&request).await, (Fault::NotHttp, garbage));
        let hung = Request {
            timeout: Duration::from_millis(300),
            ..request.clone()
        };
        let late = format!("no complete answer from {at} within 300ms");
        assert_eq!(fails(&hung).await, (Fault::TimedOut, late));
        endpoint.end().await;
        let refused = format!("cannot connect to {at}: connection refused");
        assert_eq!(fails(&request).await, (Fault::Refused, refused));
        assert!(!format!("{request:?}").contains("CANARY"));
    }

    #[tokio::test]
    async fn what_cannot_be_sent_is_told_before_anything_is_sent() {
        let mut request = get("http://127.0.0.1:1/".to_owned());
        request.headers = vec![("authorization".to_owned(), "CANARY\n".to_owned())];
        let text = "the value of header `authorization` has a line break or a control character";
        assert_eq!(fails(&request).await, (Fault::BadRequest, text.to_owned()));
        request.method = "GE T".to_owned();
        assert_eq!(
            fails(&request).await,
            (Fault::BadRequest, "`GE T` is not an HTTP method".to_owned())
        );
        let (fault, _) = fails(&get("nonsense".to_owned())).await;
        assert_eq!(fault, Fault::BadUrl);
        let (fault, text) = fails(&get("http://nowhere.invalid/".to_owned())).await;
        assert_eq!(fault, Fault::Dns, "{text}");
        assert!(
            text.starts_with(
                "cannot connect to nowhere.invalid:80: the host name cannot be resolved: "
            ),
            "{text}"
        );
    }

    #[tokio::test]
    async fn plain_http_makes_no_tls_client_and_https_to_a_plain_port_is_a_tls_failure() {
        let clients = Clients::new(None);
        let endpoint =
            Endpoint::new([Act::answer(200, ""), Act::raw("HTTP/1.1 400 no\r\n\r\n")]).await;
        send_with(&clients, &get(endpoint.url("/")))
            .await
            .expect("an answer");
        assert!(clients.plain.get().is_some() && clients.tls.get().is_none());
        let secure = get(endpoint.url("/").replace("http:", "https:"));
        let error = send_with(&clients, &secure)
            .await
            .expect_err("no TLS there");
        assert_eq!(error.fault, Fault::Tls, "{error}");
    }

    #[tokio::test]
    async fn a_dropped_request_closes_its_connection() {
        let endpoint = Endpoint::new([Act::Hang]).await;
        let request = get(endpoint.url("/"));
        tokio::select! {
            _ = send(&request) => panic!("the endpoint does not answer"),
            () = endpoint.asked(1) => {}
        }
        endpoint.closed(1).await;
    }

    #[tokio::test]
    async fn tcp_connections() {
        let endpoint = Endpoint::new([Act::Hang]).await;
        let address = endpoint.address();
        let limit = Duration::from_secs(20);
        connect(&address, limit).await.expect("it listens");
        endpoint.end().await;
        let error = connect(&address, limit).await.expect_err("nobody listens");
        assert_eq!(
            error.to_string(),
            format!("cannot connect to {address}: connection refused")
        );
        assert_eq!(
            connect("5432", limit).await.expect_err("no port").fault,
            Fault::BadUrl
        );
    }
}
