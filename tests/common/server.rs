//! The scripted endpoint for tests that wait in threads and not in tasks.

use std::sync::{Arc, mpsc};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use super::DEADLINE;
pub use super::scripted::Act;
use super::scripted::Endpoint;

/// An answer with a body and no header of its own.
pub fn answer(status: u16, body: &str) -> Act {
    Act::answer(status, body)
}

/// A listening endpoint; it ends when dropped.
pub struct Server {
    endpoint: Arc<Endpoint>,
    _ends: oneshot::Sender<()>,
}

impl Server {
    /// Listens on a free port of 127.0.0.1.
    pub fn new(script: impl IntoIterator<Item = Act>) -> Self {
        let script: Vec<Act> = script.into_iter().collect();
        let (tell, told) = mpsc::channel();
        let (ends, end) = oneshot::channel();
        std::thread::spawn(move || {
            runtime().block_on(async {
                let endpoint = Endpoint::new(script).await;
                let _ = tell.send(Arc::new(endpoint));
                let _ = end.await;
            });
        });
        Self {
            endpoint: told.recv_timeout(DEADLINE).expect("it listens"),
            _ends: ends,
        }
    }

    /// `http://127.0.0.1:PORT` and `path`.
    pub fn url(&self, path: &str) -> String {
        self.endpoint.url(path)
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.endpoint.address()
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<String> {
        self.endpoint.requests()
    }

    /// Waits until this many requests have come.
    pub fn asked(&self, count: usize) {
        runtime().block_on(self.endpoint.asked(count));
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}
