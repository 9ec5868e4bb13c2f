//! `http` and `wait`.

use std::net::TcpListener;
use std::time::Duration;

use crate::common::Place;
use crate::common::server::{Act, Server, answer};

fn http(more: &str) -> Place {
    Place::steps(&[&format!("timeout: 10s\nhttp: {{ {more} }}")])
}

#[test]
fn a_request_has_its_method_headers_and_body() {
    let server = Server::new([answer(200, "fine")]);
    let url = server.url("/index?a=b");
    let place = Place::with(&format!(
        "settings:\n  keys: {{ TOKEN: {{ default: let-me-in, secret: true }} }}\nroles:\n  r:\n    startup:\n      - http:\n          method: POST\n          url: {url}\n          headers: {{ Authorization: \"Bearer ${{TOKEN}}\" }}\n          json: {{ record: true, list: [1, \"x\"] }}\n      - http: {{ url: {url}, method: PUT, body: \"ping ${{TOKEN|length}}\" }}\n      - http: {{ url: {url} }}\n"
    ));
    let ended = place.play();
    ended.expect(0, "is done");
    let requests = server.requests();
    assert!(requests[0].starts_with("POST /index?a=b HTTP/1.1\r\n"));
    let head = requests[0].to_lowercase();
    assert!(
        head.contains("authorization: bearer let-me-in\r\n"),
        "{head}"
    );
    assert!(
        head.contains("content-type: application/json\r\n"),
        "{head}"
    );
    assert!(requests[0].ends_with(r#"{"record":true,"list":[1,"x"]}"#));
    assert!(requests[1].starts_with("PUT ") && requests[1].ends_with("\r\n\r\nping 9"));
    assert!(requests[2].starts_with("GET ") && requests[2].ends_with("\r\n\r\n"));
    assert!(!ended.stderr.contains("let-me-in"));
}

#[test]
fn the_status_decides() {
    for (status, more, fine) in [
        (200, "", true),
        (204, "", true),
        (299, "", true),
        (300, "", false),
        (404, "", false),
        (503, "", false),
        (404, ", expect_status: [404, 410]", true),
        (200, ", expect_status: [404, 410]", false),
    ] {
        let server = Server::new([answer(status, "")]);
        let ended = http(&format!("url: {}{more}", server.url("/x"))).play();
        if fine {
            ended.expect(0, "is done");
        } else {
            let url = server.url("/x");
            let why = format!("step `GET {url}` failed: the answer was {status}");
            ended.expect(1, &why);
            assert_eq!(ended.why(), why);
        }
    }
}

#[test]
fn a_redirect_is_an_answer_and_not_followed() {
    let redirect = answer(302, "").header("location", "/elsewhere");
    let server = Server::new([redirect]);
    http(&format!("url: {}", server.url("/")))
        .play()
        .expect(1, "the answer was 302");
    http(&format!("url: {}, expect_status: [302]", server.url("/")))
        .play()
        .expect(0, "is done");
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn an_answer_that_does_not_come() {
    let server = Server::new([Act::Hang]);
    let url = server.url("/");
    let place = Place::steps(&[&format!("timeout: 300ms\nhttp: {{ url: {url} }}")]);
    let ended = place.play();
    ended.expect(
        124,
        &format!("`GET {url}` failed: it took longer than 300ms"),
    );
    assert!(ended.took < Duration::from_secs(5));
    let reset = Server::new([Act::Reset]);
    http(&format!("url: {}", reset.url("/")))
        .play()
        .expect(69, &format!("no answer from {}", reset.address()));
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = closed.local_addr().expect("an address");
    drop(closed);
    http(&format!("url: http://{address}/")).play().expect(
        69,
        &format!("cannot connect to {address}: connection refused"),
    );
}

#[test]
fn a_failed_request_can_be_tried_again() {
    let server = Server::new([answer(503, ""), Act::Reset, answer(200, "")]);
    let place = Place::steps(&[&format!(
        "retry: {{ attempts: 3, backoff: {{ initial: 1ms }} }}\nhttp: {{ url: {} }}",
        server.url("/")
    )]);
    place.play().expect(0, "is done");
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn a_port_is_waited_for() {
    // The number stays ours while nobody listens on it: bound and not listening.
    let socket = Bound::new();
    let address = format!("127.0.0.1:{}", socket.port);
    let place = Place::steps(&[&format!("wait: {{ tcp: \"{address}\", interval: 10ms }}")]);
    let running = place.start(&["run", "r"]);
    running.wait_event("step-started");
    socket.listen();
    running.wait().expect(0, "is done");
}

/// A TCP socket with a port that refuses connections until it listens.
struct Bound {
    socket: socket::Fd,
    port: u16,
}

mod socket {
    use std::os::fd::OwnedFd;
    pub type Fd = OwnedFd;
}

impl Bound {
    fn new() -> Self {
        use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
        // SAFETY: plain calls on a socket of our own; the address has the size that is said.
        unsafe {
            let raw = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
            assert!(raw >= 0);
            let socket = OwnedFd::from_raw_fd(raw);
            let mut address: libc::sockaddr_in = std::mem::zeroed();
            address.sin_family = libc::AF_INET as libc::sa_family_t;
            address.sin_addr.s_addr = u32::from_be_bytes([127, 0, 0, 1]).to_be();
            let mut size = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            let at = (&raw mut address).cast();
            assert_eq!(libc::bind(socket.as_raw_fd(), at, size), 0);
            assert_eq!(libc::getsockname(socket.as_raw_fd(), at, &raw mut size), 0);
            let port = u16::from_be(address.sin_port);
            Self { socket, port }
        }
    }

    fn listen(&self) {
        use std::os::fd::AsRawFd;
        // SAFETY: a socket of our own.
        assert_eq!(unsafe { libc::listen(self.socket.as_raw_fd(), 8) }, 0);
    }
}

#[test]
fn a_url_is_waited_for() {
    let server = Server::new([answer(503, ""), Act::Reset, answer(302, "")]);
    let place = Place::steps(&[&format!(
        "wait: {{ http: \"{}\", interval: 10ms }}",
        server.url("/")
    )]);
    place.play().expect(0, "is done");
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn a_file_is_waited_for() {
    let place = Place::steps(&["wait: { file: there, interval: 10ms }"]);
    let running = place.start(&["run", "r"]);
    running.wait_event("step-started");
    std::fs::write(place.path("there"), "").expect("ours");
    running.wait().expect(0, "is done");
}

#[test]
fn a_wait_ends_with_what_was_last_seen() {
    let server = Server::new([answer(503, "")]);
    let url = server.url("/");
    for (what, last) in [
        ("file: gone".to_owned(), "there is no such file".to_owned()),
        (format!("http: \"{url}\""), "the answer was 503".to_owned()),
        (
            "tcp: \"127.0.0.1:1\"".to_owned(),
            "connection refused".to_owned(),
        ),
    ] {
        let place = Place::steps(&[&format!(
            "timeout: 500ms\nwait: {{ {what}, interval: 10ms }}"
        )]);
        let ended = place.play();
        ended
            .expect(124, &last)
            .expect(124, "it took longer than 500ms");
    }
    // One look takes part in the time of all of them.
    let hung = Server::new([Act::Hang]);
    let place = Place::steps(&[&format!(
        "timeout: 300ms\nwait: {{ http: \"{}\" }}",
        hung.url("/")
    )]);
    let ended = place.play();
    ended.expect(124, "it took longer than 300ms");
    assert!(ended.took < Duration::from_secs(5));
}
