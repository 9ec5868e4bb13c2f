//! `moto_server` of `.venv`: a Secrets Manager on loopback that was not written by us.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{DEADLINE, Place, package, skip};

/// A running one.
pub struct Moto {
    child: Child,
    /// Where it listens.
    pub url: String,
    address: String,
}

impl Moto {
    /// Starts one on a free port and waits until it answers; none where `.venv` has none.
    pub fn start(test: &str) -> Option<Self> {
        let program = package().join(".venv/bin/moto_server");
        if !program.exists() {
            skip(test, "no .venv/bin/moto_server; `make venv` makes it");
            return None;
        }
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let child = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it can be started");
        let address = format!("127.0.0.1:{port}");
        let moto = Self {
            child,
            url: format!("http://{address}"),
            address,
        };
        let started = Instant::now();
        while TcpStream::connect(&moto.address).is_err() {
            assert!(started.elapsed() < DEADLINE, "moto_server does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(moto)
    }

    /// Makes a secret, of text.
    pub fn put(&self, name: &str, text: &str) {
        let body = serde_json::json!({"Name": name, "SecretString": text});
        self.ask("CreateSecret", &body);
    }

    /// Makes a secret, of bytes.
    pub fn put_binary(&self, name: &str, base64: &str) {
        let body = serde_json::json!({"Name": name, "SecretBinary": base64});
        self.ask("CreateSecret", &body);
    }

    /// One call of the JSON protocol; moto looks at no signature.
    pub fn ask(&self, operation: &str, body: &serde_json::Value) {
        let body = body.to_string();
        let request = format!(
            "POST / HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\
             authorization: AWS4-HMAC-SHA256 Credential=AKID/20250101/us-east-1/secretsmanager/aws4_request, SignedHeaders=host, Signature=0\r\n\
             content-type: application/x-amz-json-1.1\r\nx-amz-target: secretsmanager.{operation}\r\ncontent-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        assert!(answer.starts_with("HTTP/1.1 200"), "{operation}: {answer}");
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A place whose Secrets Manager is at `url`.
pub fn at(place: Place, url: &str) -> Place {
    place
        .env("AWS_ENDPOINT_URL", url)
        .env("AWS_ACCESS_KEY_ID", "testing")
        .env("AWS_SECRET_ACCESS_KEY", "testing")
        .env("AWS_EC2_METADATA_DISABLED", "true")
}
